// SPDX-License-Identifier: Apache-2.0
#include "cli/top_model.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <tuple>
#include <unordered_map>

#include "instrumentation/findings/text.h"
#include "instrumentation/process/descriptors.h"
#include "instrumentation/recording/histogram.h"

namespace loopscope::cli::top {
namespace {

using recording::Histogram;
using recording::Life;
using recording::LoopSnapshot;
using snapshot::ProcessSnapshot;

constexpr std::uint64_t kSecond = 1'000'000'000;
/// Copies are kept one a second for the short window, one in ten seconds for the long one; a window
/// begins at the copy that is nearest to its length.
constexpr std::uint64_t kShortStep = kSecond;
constexpr std::uint64_t kShortWindow = 10 * kSecond;
constexpr std::uint64_t kLongStep = 10 * kSecond;
constexpr std::uint64_t kLongWindow = 100 * kSecond;

std::uint64_t minus(std::uint64_t a, std::uint64_t b) { return a > b ? a - b : 0; }

std::uint64_t bucket_first(const Histogram& histogram, std::uint32_t index) {
  return histogram.scale == Histogram::Scale::kTime
             ? static_cast<std::uint64_t>(recording::time_bucket_begin_seconds(index) * 1e9)
             : recording::count_bucket_first(index);
}

std::uint64_t bucket_last(const Histogram& histogram, std::uint32_t index) {
  return histogram.scale == Histogram::Scale::kTime
             ? static_cast<std::uint64_t>(recording::time_bucket_end_seconds(index) * 1e9)
             : recording::count_bucket_last(index);
}

std::optional<std::uint64_t> quantile(const Histogram& histogram, double p) {
  if (histogram.count == 0) return std::nullopt;
  return static_cast<std::uint64_t>(histogram.quantile(p));
}

/// An earlier copy of a loop cannot have more turns; a slot that began anew can.
bool earlier(const LoopSnapshot& before, const LoopSnapshot& now) {
  return before.iterations <= now.iterations && before.busy.count <= now.busy.count;
}

template <typename T>
std::optional<T> larger(std::optional<T> a, std::optional<T> b) {
  if (!a) return b;
  return b && *b > *a ? b : a;
}

}  // namespace

const char* window_name(Window window) noexcept {
  switch (window) {
    case Window::kInterval:
      return "last interval";
    case Window::kTenSeconds:
      return "10 s";
    case Window::kHundredSeconds:
      return "100 s";
    case Window::kLife:
      return "since start";
  }
  return "";
}

Histogram difference(const Histogram& now, const Histogram& before) {
  Histogram result;
  result.scale = now.scale;
  result.sum = minus(now.sum, before.sum);
  auto old = before.buckets.begin();
  for (const auto& [index, count] : now.buckets) {
    while (old != before.buckets.end() && old->first < index) ++old;
    const std::uint64_t had = old != before.buckets.end() && old->first == index ? old->second : 0;
    if (count <= had) continue;
    result.buckets.emplace_back(index, count - had);
    result.count += count - had;
  }
  if (result.buckets.empty()) return result;
  // A record of all times was set in between: then it is exact.
  const bool first = before.count == 0;
  result.min = first || now.min < before.min
                   ? now.min
                   : std::max(now.min, bucket_first(now, result.buckets.front().first));
  result.max = first || now.max > before.max
                   ? now.max
                   : std::min(now.max, bucket_last(now, result.buckets.back().first));
  return result;
}

std::optional<double> utilization_between(const LoopSnapshot& now, const LoopSnapshot& before) {
  const snapshot::LoopTimes end = snapshot::loop_times(now);
  const snapshot::LoopTimes begin = snapshot::loop_times(before);
  const std::uint64_t busy = minus(end.busy_ns, begin.busy_ns);
  const std::uint64_t idle = minus(end.idle_ns, begin.idle_ns);
  if (busy + idle == 0) return std::nullopt;
  return static_cast<double>(busy) / static_cast<double>(busy + idle);
}

// --- History
// --------------------------------------------------------------------------------------

void History::add(const snapshot::HostSnapshot& host, std::uint64_t monotonic_ns) {
  previous_ns_ = newest_ns_;
  newest_ns_ = monotonic_ns;
  newest_realtime_ns_ = host.taken_at_ns;
  std::map<LoopKey, std::deque<Sample>> kept;
  std::set<std::string> seen_running;
  for (const ProcessSnapshot& process : host.processes) {
    const std::string id = process.id();
    const bool running = process.recording.life == Life::kRunning;
    if (running || running_.contains(id)) seen_running.insert(id);
    for (const LoopSnapshot& loop : process.recording.loops) {
      const LoopKey key{id, loop.id, loop.generation};
      std::deque<Sample> samples;
      if (const auto found = loops_.find(key); found != loops_.end()) {
        samples = std::move(found->second);
      }
      if (!samples.empty() && !earlier(*samples.back().loop, loop)) samples.clear();
      if (!running && !samples.empty() && samples.back().loop->iterations == loop.iterations) {
        // Ended: another copy would be the same.
        samples.push_back({monotonic_ns, samples.back().loop});
      } else {
        auto copy = std::make_shared<LoopSnapshot>(loop);
        copy->recent = {};
        samples.push_back({monotonic_ns, std::move(copy)});
      }
      // Of what is older than the last two copies, the first of each step stays.
      std::deque<Sample> thinned;
      std::uint64_t last_step = ~std::uint64_t{0};
      for (std::size_t i = 0; i < samples.size(); ++i) {
        const std::uint64_t age = monotonic_ns - samples[i].at_ns;
        if (age > kLongWindow + kLongStep) continue;
        const bool newest = i + 2 >= samples.size();
        // Steps of both kinds are numbered apart.
        const std::uint64_t step = age > kShortWindow + kShortStep
                                       ? samples[i].at_ns / kLongStep
                                       : (samples[i].at_ns / kShortStep) | (std::uint64_t{1} << 63);
        if (!newest && step == last_step) continue;
        last_step = step;
        thinned.push_back(std::move(samples[i]));
      }
      kept.emplace(key, std::move(thinned));
    }
  }
  loops_ = std::move(kept);
  running_ = std::move(seen_running);
}

std::optional<double> History::interval_seconds() const {
  if (previous_ns_ == 0) return std::nullopt;
  return static_cast<double>(newest_ns_ - previous_ns_) / 1e9;
}

History::Base History::base(const LoopKey& key, const LoopSnapshot& now, Window window) const {
  const std::uint64_t life = minus(newest_realtime_ns_, now.started_ns);
  const Base whole{nullptr, static_cast<double>(life) / 1e9};
  const auto found = loops_.find(key);
  if (window == Window::kLife || found == loops_.end() || found->second.size() < 2) return whole;
  const std::deque<Sample>& samples = found->second;
  const Sample* best = &samples[samples.size() - 2];
  if (window != Window::kInterval) {
    const std::uint64_t length = window == Window::kTenSeconds ? kShortWindow : kLongWindow;
    if (life <= length) return whole;
    const auto off = [&](const Sample& sample) {
      const std::uint64_t age = newest_ns_ - sample.at_ns;
      return age > length ? age - length : length - age;
    };
    for (const Sample& sample : samples) {
      if (&sample != &samples.back() && off(sample) < off(*best)) best = &sample;
    }
  }
  return {best->loop.get(), static_cast<double>(newest_ns_ - best->at_ns) / 1e9};
}

std::optional<double> History::utilization(const LoopKey& key, const LoopSnapshot& now,
                                           Window window) const {
  const Base from = base(key, now, window);
  if (from.loop == nullptr) return snapshot::loop_times(now).utilization;
  return utilization_between(now, *from.loop);
}

LoopWindow History::loop(const LoopKey& key, const LoopSnapshot& now, Window window) const {
  const Base from = base(key, now, window);
  static const LoopSnapshot kNothing;
  const LoopSnapshot& before = from.loop != nullptr ? *from.loop : kNothing;
  LoopWindow result;
  result.seconds = from.seconds;
  result.since_start = from.loop == nullptr;
  result.turns = minus(now.iterations, before.iterations);
  result.stalls = minus(now.stalls, before.stalls);
  result.busy_ns = minus(snapshot::loop_times(now).busy_ns, snapshot::loop_times(before).busy_ns);
  result.utilization = utilization_between(now, before);
  if (from.seconds > 0) {
    result.turns_per_second = static_cast<double>(result.turns) / from.seconds;
  }
  const std::uint64_t seen = minus(result.turns, minus(now.ready_unknown, before.ready_unknown));
  if (seen != 0) {
    result.ready_per_turn = static_cast<double>(minus(now.ready_events, before.ready_events)) /
                            static_cast<double>(seen);
  }
  result.poll_wait = difference(now.poll_wait, before.poll_wait);
  result.busy = difference(now.busy, before.busy);
  result.poll_delay = difference(now.poll_delay, before.poll_delay);
  result.timer_lag = difference(now.timer_lag, before.timer_lag);
  result.ready = difference(now.ready, before.ready);
  return result;
}

std::vector<WatcherWindow> History::watchers(const LoopKey& key, const LoopSnapshot& now,
                                             Window window) const {
  const Base from = base(key, now, window);
  // Slots are given in order, so that a watcher's index is its own; its name tells if not.
  const auto earlier_one = [&](std::size_t index) -> const recording::WatcherSnapshot* {
    if (from.loop == nullptr) return nullptr;
    const auto& all = from.loop->watchers;
    const recording::WatcherSnapshot& watcher = now.watchers[index];
    const auto same = [&](const recording::WatcherSnapshot& other) {
      return other.kind == watcher.kind && other.name == watcher.name;
    };
    if (index < all.size() && same(all[index])) return &all[index];
    const auto found = std::find_if(all.begin(), all.end(), same);
    return found != all.end() ? &*found : nullptr;
  };
  std::uint64_t busy = snapshot::loop_times(now).busy_ns;
  if (from.loop != nullptr) busy = minus(busy, snapshot::loop_times(*from.loop).busy_ns);
  static const Histogram kEmpty;
  std::vector<WatcherWindow> result;
  result.reserve(now.watchers.size());
  for (std::size_t i = 0; i < now.watchers.size(); ++i) {
    const recording::WatcherSnapshot& watcher = now.watchers[i];
    const recording::WatcherSnapshot* before = earlier_one(i);
    WatcherWindow row;
    row.watcher = &watcher;
    row.callback = difference(watcher.callback, before != nullptr ? before->callback : kEmpty);
    if (watcher.lag) {
      row.lag = difference(*watcher.lag, before != nullptr && before->lag ? *before->lag : kEmpty);
    }
    std::uint64_t ns = watcher.callback.sum;
    if (now.running_watcher == i + 1) ns += now.running_watcher_ns;
    if (before != nullptr) {
      std::uint64_t had = before->callback.sum;
      if (from.loop->running_watcher != 0 &&
          from.loop->running_watcher ==
              static_cast<std::size_t>(before - from.loop->watchers.data()) + 1) {
        had += from.loop->running_watcher_ns;
      }
      ns = minus(ns, had);
    }
    row.ns = ns;
    if (from.seconds > 0) {
      row.calls_per_second = static_cast<double>(row.callback.count) / from.seconds;
    }
    if (busy != 0) {
      row.share = std::min(1.0, static_cast<double>(ns) / static_cast<double>(busy));
    }
    result.push_back(std::move(row));
  }
  return result;
}

// --- the overview
// ---------------------------------------------------------------------------------

State process_state(const ProcessSnapshot& process) {
  switch (process.recording.life) {
    case Life::kExited:
      return State::kExited;
    case Life::kKilled:
      return State::kKilled;
    case Life::kExecuted:
      return State::kExecuted;
    case Life::kRunning:
      break;
  }
  const char state = process.resources ? process.resources->state : '?';
  return state == 'T' || state == 't' ? State::kStopped : State::kNoLoop;
}

State loop_state(const ProcessSnapshot& process, const LoopSnapshot& loop) {
  const State of_process = process_state(process);
  if (process.recording.life != Life::kRunning) return of_process;
  if (loop.ended) return State::kEnded;
  if (of_process == State::kStopped) return State::kStopped;
  if (loop.stalled_ns != 0) return State::kStalled;
  switch (loop.phase) {
    case recording::Phase::kPolling:
      return State::kPolling;
    case recording::Phase::kDispatching:
      return State::kDispatching;
    case recording::Phase::kOutside:
      break;
  }
  return State::kOutside;
}

bool is_about(const findings::Finding& finding, const ProcessSnapshot& process,
              const LoopSnapshot& loop) {
  if (finding.subject != loop.name) return false;
  const auto alike =
      std::count_if(process.recording.loops.begin(), process.recording.loops.end(),
                    [&](const LoopSnapshot& other) { return other.name == loop.name; });
  if (alike == 1) return true;
  // Several of that name (or without one): the words of the finding say which.
  const auto names = [&](const LoopSnapshot& one) {
    const std::string text = "loop " + std::to_string(one.id);
    const std::size_t at = finding.title.find(text);
    if (at == std::string::npos) return false;
    const std::size_t end = at + text.size();
    return end == finding.title.size() ||
           std::isdigit(static_cast<unsigned char>(finding.title[end])) == 0;
  };
  if (names(loop)) return true;
  return std::none_of(process.recording.loops.begin(), process.recording.loops.end(), names);
}

std::pair<const findings::Finding*, const ProcessSnapshot*> worst_finding(
    const snapshot::HostSnapshot& host) {
  std::pair<const findings::Finding*, const ProcessSnapshot*> worst{};
  for (const ProcessSnapshot& process : host.processes) {
    if (process.recording.life != Life::kRunning) continue;
    for (const findings::Finding& finding : process.findings) {
      if (worst.first == nullptr || finding.severity > worst.first->severity) {
        worst = {&finding, &process};
      }
    }
  }
  return worst;
}

bool contains(const std::string& text, const std::string& part) {
  const auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) ==
           std::tolower(static_cast<unsigned char>(b));
  };
  return std::search(text.begin(), text.end(), part.begin(), part.end(), same) != text.end() ||
         part.empty();
}

std::string key_text(const LoopKey& key) {
  return key.process + "/" + std::to_string(key.loop) + "." + std::to_string(key.generation);
}

namespace {

std::string process_words(const ProcessSnapshot& process) {
  std::string words = std::to_string(process.recording.pid) + " " + process.recording.command;
  for (const std::string& argument : process.recording.argv) words += " " + argument;
  return words;
}

/// As people tell it from its process' others: of several with one name, by number, too.
std::string short_loop_name(const ProcessSnapshot& process, const LoopSnapshot& loop) {
  if (loop.name.empty()) return "loop " + std::to_string(loop.id);
  const auto& all = process.recording.loops;
  const auto alike = std::count_if(
      all.begin(), all.end(), [&](const LoopSnapshot& other) { return other.name == loop.name; });
  return alike == 1 ? loop.name : loop.name + " #" + std::to_string(loop.id);
}

/// What a view sorts by: greater is "more". None sorts last, whichever way.
using SortValue = std::optional<std::tuple<double, std::string>>;

SortValue number(double value) { return std::tuple(value, std::string()); }
template <typename T>
SortValue number(std::optional<T> value) {
  if (!value) return std::nullopt;
  return number(static_cast<double>(*value));
}
SortValue text(const std::string& value) { return std::tuple(0.0, value); }

SortValue sort_value(const Row& row, Sort sort) {
  switch (sort) {
    case Sort::kPid:
      return number(static_cast<double>(row.process->recording.pid));
    case Sort::kState:
      return number(static_cast<double>(row.state));
    case Sort::kUtilization:
      return number(row.utilization);
    case Sort::kUtilization10:
      return number(row.utilization_10);
    case Sort::kUtilization100:
      return number(row.utilization_100);
    case Sort::kTurns:
      return number(row.turns_per_second);
    case Sort::kReady:
      return number(row.ready_per_turn);
    case Sort::kBusyP50:
      return number(row.busy_p50);
    case Sort::kBusyP99:
      return number(row.busy_p99);
    case Sort::kLag:
      return number(row.lag_p99);
    case Sort::kFds:
      return number(row.open_fds);
    case Sort::kFindings:
      // One error is more than any number of warnings.
      if (row.findings == 0) return number(0.0);
      return number(static_cast<double>(row.worst) * 1e6 + static_cast<double>(row.findings));
    case Sort::kName:
      return text(row.name);
  }
  return std::nullopt;
}

/// Whether `a` goes before `b`; equals keep their order.
bool before(const SortValue& a, const SortValue& b, bool descending) {
  if (a.has_value() != b.has_value()) return a.has_value();
  if (!a) return false;
  return descending ? *b < *a : *a < *b;
}

template <typename T, typename ValueOf>
void sort_rows(std::vector<T>& rows, bool descending, const ValueOf& value_of) {
  std::vector<std::pair<SortValue, std::size_t>> order;
  order.reserve(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) order.emplace_back(value_of(rows[i]), i);
  std::stable_sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    return before(a.first, b.first, descending);
  });
  std::vector<T> sorted;
  sorted.reserve(rows.size());
  for (const auto& [value, index] : order) sorted.push_back(std::move(rows[index]));
  rows = std::move(sorted);
}

void sort_overview(std::vector<Row>& rows, const OverviewOptions& options) {
  sort_rows(rows, options.descending,
            [&](const Row& row) { return sort_value(row, options.sort); });
  std::stable_partition(rows.begin(), rows.end(), [](const Row& row) { return !row.over; });
}

Row process_row(const ProcessSnapshot& process, const std::string& id) {
  Row row;
  row.process = &process;
  row.key = {id, 0, 0};
  row.state = process_state(process);
  row.over = process.recording.life != Life::kRunning;
  row.name = process.recording.command;
  row.open_fds = process.fds.open;
  row.fd_limit = process.fds.limit;
  for (const findings::Finding& finding : process.findings) {
    ++row.findings;
    row.worst = std::max(row.worst, finding.severity);
  }
  return row;
}

Row loop_row(const ProcessSnapshot& process, const LoopSnapshot& loop, const std::string& id,
             const History& history, const OverviewOptions& options) {
  Row row;
  row.process = &process;
  row.loop = &loop;
  row.key = {id, loop.id, loop.generation};
  row.state = loop_state(process, loop);
  row.over = loop.ended || process.recording.life != Life::kRunning;
  row.child = options.tree;
  row.name = options.tree ? short_loop_name(process, loop)
                          : process.recording.command + ": " + short_loop_name(process, loop);
  for (const findings::Finding& finding : process.findings) {
    if (!is_about(finding, process, loop)) continue;
    ++row.findings;
    row.worst = std::max(row.worst, finding.severity);
  }
  if (!options.tree) {
    row.open_fds = process.fds.open;
    row.fd_limit = process.fds.limit;
    // What is about the process has no line of its own.
    for (const findings::Finding& finding : process.findings) {
      const auto& loops = process.recording.loops;
      const bool of_a_loop =
          std::any_of(loops.begin(), loops.end(),
                      [&](const LoopSnapshot& other) { return is_about(finding, process, other); });
      if (of_a_loop) continue;
      ++row.findings;
      row.worst = std::max(row.worst, finding.severity);
    }
  }
  if (row.over) return row;
  row.utilization = history.utilization(row.key, loop, Window::kInterval);
  row.utilization_10 = history.utilization(row.key, loop, Window::kTenSeconds);
  row.utilization_100 = history.utilization(row.key, loop, Window::kHundredSeconds);
  const LoopWindow window = history.loop(row.key, loop, options.window);
  row.turns_per_second = window.turns_per_second;
  row.ready_per_turn = window.ready_per_turn;
  row.busy_p50 = quantile(window.busy, 0.5);
  row.busy_p99 = quantile(window.busy, 0.99);
  row.lag_p99 = quantile(window.timer_lag, 0.99);
  return row;
}

}  // namespace

Overview overview(const snapshot::HostSnapshot& host, const History& history,
                  const OverviewOptions& options) {
  Overview result;
  std::vector<std::vector<Row>> groups;  // in a tree: a process, then its loops
  for (const ProcessSnapshot& process : host.processes) {
    const recording::RecordingSnapshot& recording = process.recording;
    const bool running = recording.life == Life::kRunning;
    // What only became another program is told by that one's recording.
    if (recording.life == Life::kExecuted && recording.loops.empty()) continue;
    const std::string id = process.id();
    if (!running && !options.ended && !history.seen_running(id)) {
      ++result.left_out;
      continue;
    }
    const std::string words = process_words(process);
    const bool whole = contains(words, options.filter);
    std::vector<Row> loops;
    for (const LoopSnapshot& loop : recording.loops) {
      if (!whole && !contains(words + " " + short_loop_name(process, loop), options.filter))
        continue;
      loops.push_back(loop_row(process, loop, id, history, options));
    }
    if (loops.empty() && !whole) continue;
    if (!options.tree) {
      if (loops.empty()) loops.push_back(process_row(process, id));
      for (Row& row : loops) result.rows.push_back(std::move(row));
      continue;
    }
    sort_overview(loops, options);
    Row parent = process_row(process, id);
    parent.name = recording.argv.empty() ? recording.command : std::string();
    for (const std::string& argument : recording.argv) {
      parent.name += (parent.name.empty() ? "" : " ") + argument;
    }
    for (const Row& row : loops) {
      parent.utilization = larger(parent.utilization, row.utilization);
      parent.utilization_10 = larger(parent.utilization_10, row.utilization_10);
      parent.utilization_100 = larger(parent.utilization_100, row.utilization_100);
      parent.turns_per_second = larger(parent.turns_per_second, row.turns_per_second);
      parent.ready_per_turn = larger(parent.ready_per_turn, row.ready_per_turn);
      parent.busy_p50 = larger(parent.busy_p50, row.busy_p50);
      parent.busy_p99 = larger(parent.busy_p99, row.busy_p99);
      parent.lag_p99 = larger(parent.lag_p99, row.lag_p99);
      if (!row.over) parent.state = std::max(parent.state, row.state);
    }
    loops.insert(loops.begin(), std::move(parent));
    groups.push_back(std::move(loops));
  }
  if (!options.tree) {
    sort_overview(result.rows, options);
    return result;
  }
  sort_rows(groups, options.descending,
            [&](const std::vector<Row>& group) { return sort_value(group.front(), options.sort); });
  std::stable_partition(groups.begin(), groups.end(),
                        [](const std::vector<Row>& group) { return !group.front().over; });
  for (std::vector<Row>& group : groups) {
    for (Row& row : group) result.rows.push_back(std::move(row));
  }
  return result;
}

// --- descriptors and watchers
// ---------------------------------------------------------------------

std::vector<DescriptorRow> descriptor_rows(const ProcessSnapshot& process,
                                           const ProcessSnapshot* before, double seconds,
                                           DescriptorSort sort, bool descending,
                                           const std::string& filter) {
  std::vector<DescriptorRow> rows;
  if (!process.descriptors) return rows;
  std::unordered_map<std::int32_t, const recording::FdRecord*> earlier;
  if (before != nullptr && before->descriptors && seconds > 0) {
    for (const snapshot::Descriptor& descriptor : *before->descriptors) {
      earlier.emplace(descriptor.record.fd, &descriptor.record);
    }
  }
  const recording::RecordingSnapshot& recording = process.recording;
  const std::uint64_t now =
      recording.life == Life::kRunning ? recording.taken_ns : recording.ended_ns;
  const auto since = [now](std::uint64_t then) -> std::optional<std::uint64_t> {
    if (then == 0 || now == 0) return std::nullopt;
    return minus(now, then);
  };
  rows.reserve(process.descriptors->size());
  for (const snapshot::Descriptor& descriptor : *process.descriptors) {
    const recording::FdRecord& fd = descriptor.record;
    DescriptorRow row;
    row.descriptor = &descriptor;
    row.what = fd.local;
    if (!fd.peer.empty()) row.what += (row.what.empty() ? "to " : " to ") + fd.peer;
    if (fd.listening) row.what += row.what.empty() ? "listening" : ", listening";
    if (row.what.empty()) row.what = fd.target;
    if (!filter.empty() && !contains(std::to_string(fd.fd) + " " +
                                         process::descriptor_kind_name(fd.kind) + " " + row.what,
                                     filter)) {
      continue;
    }
    row.age_ns = since(fd.opened_ns);
    row.idle_ns = since(fd.activity_ns);
    if (const auto found = earlier.find(fd.fd);
        found != earlier.end() && found->second->generation == fd.generation) {
      row.events_per_second =
          static_cast<double>(minus(fd.events, found->second->events)) / seconds;
    }
    rows.push_back(std::move(row));
  }
  sort_rows(rows, descending, [&](const DescriptorRow& row) -> SortValue {
    const recording::FdRecord& fd = row.descriptor->record;
    switch (sort) {
      case DescriptorSort::kFd:
        return number(static_cast<double>(fd.fd));
      case DescriptorSort::kKind:
        return text(process::descriptor_kind_name(fd.kind));
      case DescriptorSort::kAge:
        return number(row.age_ns);
      case DescriptorSort::kIdle:
        return number(row.idle_ns);
      case DescriptorSort::kEvents:
        return number(static_cast<double>(fd.events));
      case DescriptorSort::kRate:
        return number(row.events_per_second);
      case DescriptorSort::kShare:
        return number(row.descriptor->event_share);
      case DescriptorSort::kIoCalls:
        return number(static_cast<double>(fd.io_calls));
      case DescriptorSort::kEpoll:
        if (fd.registered_epoll_fd < 0) return std::nullopt;
        return number(static_cast<double>(fd.registered_epoll_fd));
      case DescriptorSort::kWhat:
        return text(row.what);
    }
    return std::nullopt;
  });
  return rows;
}

void arrange(std::vector<WatcherWindow>& watchers, WatcherSort sort, bool descending,
             const std::string& filter) {
  std::erase_if(watchers, [&](const WatcherWindow& row) {
    return !contains(row.watcher->name + " " + findings::watcher_kind_name(row.watcher->kind),
                     filter);
  });
  sort_rows(watchers, descending, [&](const WatcherWindow& row) -> SortValue {
    switch (sort) {
      case WatcherSort::kCalls:
        return number(row.calls_per_second);
      case WatcherSort::kShare:
        return number(row.share);
      case WatcherSort::kP50:
        return number(quantile(row.callback, 0.5));
      case WatcherSort::kP99:
        return number(quantile(row.callback, 0.99));
      case WatcherSort::kMax:
        if (row.callback.count == 0) return std::nullopt;
        return number(static_cast<double>(row.callback.max));
      case WatcherSort::kLag:
        return row.lag ? number(quantile(*row.lag, 0.99)) : std::nullopt;
      case WatcherSort::kFd:
        if (row.watcher->fd < 0) return std::nullopt;
        return number(static_cast<double>(row.watcher->fd));
      case WatcherSort::kKind:
        return text(findings::watcher_kind_name(row.watcher->kind));
      case WatcherSort::kName:
        return text(row.watcher->name);
    }
    return std::nullopt;
  });
}

// --- Cursor
// ---------------------------------------------------------------------------------------

void Cursor::follow(const std::vector<std::string>& keys, std::size_t height) {
  if (keys.empty()) {
    index = first = 0;
    return;
  }
  index = std::min(index, keys.size() - 1);
  if (!key.empty() && keys[index] != key) {
    const auto found = std::find(keys.begin(), keys.end(), key);
    if (found != keys.end()) index = static_cast<std::size_t>(found - keys.begin());
    key = keys[index];
  }
  height = std::max<std::size_t>(height, 1);
  if (index < first) first = index;
  if (index >= first + height) first = index - height + 1;
  // No empty lines below while there are rows above.
  first = std::min(first, keys.size() > height ? keys.size() - height : 0);
}

void Cursor::move(const std::vector<std::string>& keys, std::ptrdiff_t rows) {
  if (keys.empty()) return;
  const auto last = static_cast<std::ptrdiff_t>(keys.size()) - 1;
  index = static_cast<std::size_t>(
      std::clamp(static_cast<std::ptrdiff_t>(std::min(index, keys.size() - 1)) + rows,
                 std::ptrdiff_t{0}, last));
  key = keys[index];
}

}  // namespace loopscope::cli::top
