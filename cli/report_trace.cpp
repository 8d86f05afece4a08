// SPDX-License-Identifier: Apache-2.0
#include "cli/report_trace.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "instrumentation/findings/text.h"
#include "instrumentation/process/descriptors.h"
#include "instrumentation/snapshot/json.h"

namespace loopscope::cli {
namespace {

using recording::LoopSnapshot;
using recording::Turn;
using snapshot::json_string;

/// Beyond every thread id that Linux gives out: the track of a loop that shares its thread.
constexpr std::int64_t kFirstTrack = std::int64_t{1} << 22;
/// The page has `at` as a double of seconds: less than this apart is the same instant.
constexpr std::int64_t kRoundingNs = 1000;
/// Readers cut microseconds to whole nanoseconds: a slice that ends with what holds it would end
/// after it for some of them.
constexpr std::int64_t kInsideNs = 4;
constexpr std::int64_t kLeastBinNs = 1'000'000;
constexpr std::int64_t kMostBins = 200;
/// A recording may say anything; sums of times below this do not overflow.
constexpr std::uint64_t kLongestNs = std::uint64_t{1} << 60;
constexpr std::int64_t kEndOfTime = std::int64_t{1} << 62;
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::min() / 2;

// Slow: as the page has it (turns.ts), measured against the loop's whole life.
constexpr std::uint64_t kEnoughTurns = 200;
constexpr double kOutlierFactor = 10;
constexpr double kOutlierFloorSeconds = 1e-3;

std::int64_t bounded(std::uint64_t ns, std::uint64_t most = kLongestNs) {
  return static_cast<std::int64_t>(std::min(ns, most));
}

/// When the wait returned. A date, so beyond kLongestNs.
std::int64_t instant(const Turn& turn) { return bounded(turn.at_ns, 2 * kLongestNs); }

/// Nanoseconds as microseconds, exactly.
std::string micros(std::int64_t ns) {
  std::string text = std::to_string(ns / 1000);
  const auto rest = static_cast<unsigned>(ns % 1000);
  if (rest == 0) return text;
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%03u", rest);
  text += fraction;
  text.erase(text.find_last_not_of('0') + 1);
  return text;
}

std::string seconds(std::uint64_t ns) {
  char text[48];
  std::snprintf(text, sizeof text, "%llu.%09llu",
                static_cast<unsigned long long>(ns / 1'000'000'000),
                static_cast<unsigned long long>(ns % 1'000'000'000));
  std::string trimmed = text;
  trimmed.erase(trimmed.find_last_not_of('0') + 1);
  if (trimmed.back() == '.') trimmed.pop_back();
  return trimmed;
}

/// The members of "args": what is not known is left out.
class Args {
 public:
  Args& add(const char* name, const std::string& json) {
    text_ += (text_.empty() ? "\"" : ",\"") + std::string(name) + "\":" + json;
    return *this;
  }
  Args& number(const char* name, std::uint64_t value) { return add(name, std::to_string(value)); }
  std::string text() const { return "\"args\":{" + text_ + "}"; }

 private:
  std::string text_;
};

struct Event {
  std::int64_t ns = 0;   // since the first turn's wait began
  std::int64_t end = 0;  // of a slice
  char phase = 'X';
  std::string rest;  // what follows "ts" and "dur"
};

/// Such that a reader who adds it to `start` in doubles of microseconds does not come out behind
/// `end`: at times 1 ns less.
std::int64_t duration(std::int64_t start, std::int64_t end) {
  const auto double_of = [](std::int64_t ns) { return static_cast<double>(ns) / 1000; };
  const std::int64_t length = end - start;
  return double_of(start) + double_of(length) > double_of(end) ? length - 1 : length;
}

struct Placed {
  const Turn* turn = nullptr;
  std::int64_t wait_from = 0;
  std::int64_t at = 0;
  std::int64_t busy_to = 0;
  std::optional<std::int64_t>
      hole_from;  // the end of the turn before, if turns between are missing
};

std::vector<Placed> place(const std::vector<Turn>& turns, std::int64_t base) {
  std::vector<Placed> placed;
  placed.reserve(turns.size());
  std::optional<std::uint64_t> number;
  std::int64_t end = kNever;
  for (const Turn& turn : turns) {
    const std::int64_t wait = bounded(turn.poll_ns);
    std::int64_t at = instant(turn) - base;
    if (number && turn.turn == *number + 1 && std::abs(at - wait - end) < kRoundingNs) {
      at = end + wait;
    }
    at = std::min(std::max(at, end), kEndOfTime);
    const std::int64_t wait_from = std::max(at - wait, end);
    std::optional<std::int64_t> hole_from;
    if (number && turn.turn != *number + 1) hole_from = end;
    end = std::min(at + bounded(turn.busy_ns), kEndOfTime);
    number = turn.turn;
    placed.push_back({&turn, wait_from, at, end, hole_from});
  }
  return placed;
}

/// Another loop of the process may have its name: see the page's loops.ts.
std::string label(const LoopSnapshot& loop, const std::vector<LoopSnapshot>& all) {
  const std::string number = "loop " + std::to_string(loop.id);
  if (loop.name.empty()) return number;
  bool alike = false;
  bool other_threads = true;
  for (const LoopSnapshot& other : all) {
    if (other.id == loop.id || other.name != loop.name) continue;
    alike = true;
    other_threads = other_threads && other.thread_id != loop.thread_id;
  }
  if (!alike) return loop.name;
  if (other_threads) return loop.name + " · thread " + std::to_string(loop.thread_id);
  return loop.name + " · " +
         (loop.epoll_fd < 0 ? number : "epoll " + std::to_string(loop.epoll_fd));
}

/// Seconds beyond which a turn is slow though it is no stall; none: too few turns to say.
std::optional<double> outlier(const recording::Histogram& busy) {
  if (busy.count < kEnoughTurns) return std::nullopt;
  const auto rank =
      static_cast<std::uint64_t>(std::ceil(0.99 * static_cast<double>(busy.count) - 1e-9));
  double p99 = static_cast<double>(busy.max) / 1e9;
  std::uint64_t seen = 0;
  for (const auto& [index, count] : busy.buckets) {
    seen += count;
    if (seen < rank) continue;
    p99 = std::min(p99, busy.upper_bound(index));
    break;
  }
  return std::max(kOutlierFloorSeconds, kOutlierFactor * p99);
}

const std::string* watcher_name(const LoopSnapshot& loop, std::uint32_t watcher) {
  return watcher != 0 && watcher <= loop.watchers.size() ? &loop.watchers[watcher - 1].name
                                                         : nullptr;
}

/// Collects the events of one process.
class Writer {
 public:
  explicit Writer(std::int32_t pid) : pid_(pid) {}

  void slice(std::int64_t tid, std::int64_t from, std::int64_t to, const char* category,
             const std::string& name, const Args& args) {
    events_.push_back({from, to, 'X', ids(tid) + named(category, name) + args.text()});
  }
  void instant(std::int64_t tid, std::int64_t at, const char* category, const std::string& name,
               const Args& args) {
    events_.push_back(
        {at, at, 'i', ids(tid) + ",\"s\":\"t\"" + named(category, name) + args.text()});
  }
  void counter(std::int64_t tid, std::int64_t at, const std::string& name, const Args& args) {
    events_.push_back(
        {at, at, 'C', ids(tid) + ",\"name\":" + json_string(name) + "," + args.text()});
  }
  void meta(std::int64_t tid, const char* name, const Args& args) {
    head_.push_back({0, 0, 'M', ids(tid) + ",\"name\":\"" + name + "\"," + args.text()});
  }

  /// The array of all events; `first` receives when the first of them is: there time begins.
  std::string text(std::int64_t& first) {
    // Of one track they are in order already, what holds before what is held.
    std::stable_sort(events_.begin(), events_.end(),
                     [](const Event& a, const Event& b) { return a.ns < b.ns; });
    first = events_.empty() ? 0 : events_.front().ns;
    for (Event& event : events_) {
      event.ns -= first;
      event.end -= first;
    }
    std::string out = "[\n";
    const char* separator = "";
    for (const auto* list : {&head_, &events_}) {
      for (const Event& event : *list) {
        out += separator;
        out += R"({"ph":")";
        out += event.phase;
        out += R"(","ts":)" + micros(event.ns);
        if (event.phase == 'X') out += ",\"dur\":" + micros(duration(event.ns, event.end));
        out += event.rest + "}";
        separator = ",\n";
      }
    }
    return out + "\n]";
  }

 private:
  std::string ids(std::int64_t tid) const {
    return ",\"pid\":" + std::to_string(pid_) + ",\"tid\":" + std::to_string(tid);
  }
  static std::string named(const char* category, const std::string& name) {
    return ",\"cat\":\"" + std::string(category) + "\",\"name\":" + json_string(name) + ",";
  }

  std::int32_t pid_;
  std::vector<Event> head_;
  std::vector<Event> events_;
};

void write_served(Writer& out, std::int64_t tid, const LoopSnapshot& loop, const Placed& placed) {
  const Turn& turn = *placed.turn;
  if (!loop.served || turn.served_first == Turn::kNoServed) return;
  const std::size_t last = std::min<std::size_t>(
      loop.served->size(), std::size_t{turn.served_first} + turn.served_count);
  std::int64_t from = placed.at;
  for (std::size_t i = turn.served_first; i < last; ++i) {
    const recording::Served& served = (*loop.served)[i];
    const std::int64_t start = placed.at + bounded(served.start_ns);
    const std::int64_t begin = std::max(from, start);
    const std::int64_t end = std::min(placed.busy_to - kInsideNs, start + bounded(served.ns));
    if (end < begin) continue;  // not of this turn, whatever the record says
    from = end;
    Args args;
    args.number("turn", turn.turn);
    std::string name = "unnamed";
    std::int32_t fd = served.fd;
    if (const std::string* watcher = watcher_name(loop, served.watcher)) {
      const recording::WatcherSnapshot& row = loop.watchers[served.watcher - 1];
      name = *watcher;
      fd = row.active == 1 ? row.fd : -1;
      args.add("kind", json_string(findings::watcher_kind_name(row.kind)));
    } else if (served.fd >= 0) {
      const std::string kind = process::descriptor_kind_name(served.kind);
      name = kind + " fd " + std::to_string(served.fd);
      args.add("kind", json_string(kind));
    }
    if (fd >= 0) args.number("fd", static_cast<std::uint64_t>(fd));
    out.slice(tid, begin, end, "served", name, args);
  }
}

void write_turn(Writer& out, std::int64_t tid, const LoopSnapshot& loop, const Placed& placed,
                std::optional<double> unusual) {
  const Turn& turn = *placed.turn;
  Args wait;
  wait.number("turn", turn.turn);
  if (turn.timeout_ns >= 0) {
    wait.add("timeout", seconds(static_cast<std::uint64_t>(turn.timeout_ns)));
  } else if (turn.timeout_ns == recording::kTimeoutInfinite) {
    wait.add("timeout", "-1");
  }
  if (turn.ready != recording::kReadyUnknown) {
    wait.add("result", json_string(snapshot::wait_result_name(turn.result)));
  }
  if (turn.ready >= 0) wait.number("ready", static_cast<std::uint64_t>(turn.ready));
  out.slice(tid, placed.wait_from, placed.at, "wait", "wait", wait);

  const std::string* watcher = watcher_name(loop, turn.watcher);
  Args busy;
  busy.number("turn", turn.turn);
  busy.add("at", json_string(snapshot::rfc3339(turn.at_ns)));
  if (turn.ready >= 0) busy.number("ready", static_cast<std::uint64_t>(turn.ready));
  if (watcher != nullptr) {
    busy.add("watcher", json_string(*watcher)).add("watcher_seconds", seconds(turn.watcher_ns));
  }
  if (loop.served && turn.served_lost != 0) busy.number("served_lost", turn.served_lost);
  out.slice(tid, placed.at, placed.busy_to, "busy", "busy", busy);

  const bool stall = turn.busy_ns > loop.stall_threshold_ns;
  if (stall || (unusual && static_cast<double>(turn.busy_ns) / 1e9 > *unusual)) {
    Args args;
    args.number("turn", turn.turn).add("busy", seconds(turn.busy_ns));
    if (watcher != nullptr) args.add("watcher", json_string(*watcher));
    out.instant(tid, placed.at, "slow", stall ? "stall" : "slow turn", args);
  }
  write_served(out, tid, loop, placed);
}

/// What the loop was in when it was looked at. Of a process that is gone nobody knows since when.
void write_unfinished(Writer& out, std::int64_t tid, const LoopSnapshot& loop, bool running,
                      std::int64_t taken, std::int64_t last) {
  if (loop.ended || loop.phase == recording::Phase::kOutside) return;
  const bool busy = loop.phase == recording::Phase::kDispatching;
  const std::string* watcher = busy ? watcher_name(loop, loop.running_watcher) : nullptr;
  Args about;
  if (busy && loop.current_ready && *loop.current_ready >= 0) {
    about.number("ready", static_cast<std::uint64_t>(*loop.current_ready));
  }
  if (watcher != nullptr) about.add("watcher", json_string(*watcher));
  if (!running) {
    if (last == kNever) return;
    const std::string name = watcher != nullptr ? "at its end in " + *watcher
                             : busy             ? "at its end busy"
                                                : "at its end waiting";
    out.instant(tid, last, "end", name, about);
    return;
  }
  const std::int64_t start = std::max(last, taken - bounded(loop.phase_ns));
  if (taken <= start) return;
  about.add("in_progress", "true");
  out.slice(tid, start, taken, busy ? "busy" : "wait", busy ? "busy" : "wait", about);
}

std::int64_t bin_width(std::int64_t span) {
  for (std::int64_t power = kLeastBinNs;; power *= 10) {
    for (const std::int64_t step : {1, 2, 5}) {
      if (step * power >= span / kMostBins + (span % kMostBins != 0)) return step * power;
    }
  }
}

/// busy / (busy + wait) of the turns, bin by bin; none where no turn is, or where turns are
/// missing.
void write_utilization(Writer& out, std::int64_t tid, const std::string& name,
                       const std::vector<Placed>& placed, std::int64_t width) {
  std::map<std::int64_t, std::pair<std::int64_t, std::int64_t>> bins;  // busy, all
  const auto add = [&](std::int64_t from, std::int64_t to, bool busy) {
    for (std::int64_t bin = from / width; bin * width < to; ++bin) {
      const std::int64_t part = std::min(to, (bin + 1) * width) - std::max(from, bin * width);
      auto& [of_busy, all] = bins[bin];
      all += part;
      if (busy) of_busy += part;
    }
  };
  for (const Placed& turn : placed) {
    add(turn.wait_from, turn.at, false);
    add(turn.at, turn.busy_to, true);
  }
  for (const Placed& turn : placed) {
    if (!turn.hole_from || turn.wait_from <= *turn.hole_from) continue;
    bins.erase(bins.lower_bound(*turn.hole_from / width),
               bins.upper_bound((turn.wait_from - 1) / width));
  }
  for (const auto& [bin, sums] : bins) {
    if (sums.second <= 0) continue;
    char ratio[16];
    std::snprintf(ratio, sizeof ratio, "%.3f",
                  static_cast<double>(sums.first) / static_cast<double>(sums.second));
    out.counter(tid, bin * width, name, Args().add("ratio", ratio));
  }
}

}  // namespace

std::string trace_text(const snapshot::HostSnapshot& host,
                       const snapshot::ProcessSnapshot& process) {
  const recording::RecordingSnapshot& recording = process.recording;
  const std::vector<LoopSnapshot>& loops = recording.loops;
  const bool running = recording.life == recording::Life::kRunning;

  std::optional<std::int64_t> base;
  std::size_t turns = 0;
  for (const LoopSnapshot& loop : loops) {
    turns += loop.recent.size();
    if (loop.recent.empty()) continue;
    const Turn& first = loop.recent.front();
    const std::int64_t begin = instant(first) - bounded(first.poll_ns);
    base = std::min(base.value_or(begin), begin);
  }
  const std::int64_t taken = bounded(recording.taken_ns, 2 * kLongestNs);
  if (!base) base = taken;

  std::vector<std::vector<Placed>> lanes;
  std::int64_t span = 0;
  for (const LoopSnapshot& loop : loops) {
    lanes.push_back(place(loop.recent, *base));
    if (!lanes.back().empty()) span = std::max(span, lanes.back().back().busy_to);
  }
  const std::int64_t width = bin_width(span);

  Writer out(recording.pid);
  out.meta(recording.pid, "process_name", Args().add("name", json_string(recording.command)));
  for (std::size_t i = 0; i < loops.size(); ++i) {
    const LoopSnapshot& loop = loops[i];
    const bool shared =
        std::any_of(loops.begin(), loops.begin() + static_cast<std::ptrdiff_t>(i),
                    [&](const LoopSnapshot& other) { return other.thread_id == loop.thread_id; });
    const std::int64_t tid =
        shared ? kFirstTrack + static_cast<std::int64_t>(i) : std::int64_t{loop.thread_id};
    const std::string name = label(loop, loops);
    out.meta(tid, "thread_name", Args().add("name", json_string(name)));
    out.meta(tid, "thread_sort_index", Args().number("sort_index", i));
    const std::vector<Placed>& placed = lanes[i];
    const std::optional<double> unusual = outlier(loop.busy);
    for (const Placed& turn : placed) write_turn(out, tid, loop, turn, unusual);
    write_unfinished(out, tid, loop, running, taken - *base,
                     placed.empty() ? kNever : placed.back().busy_to);
    for (const Placed& turn : placed) {
      if (turn.turn->ready < 0) continue;
      const auto ready = static_cast<std::uint64_t>(turn.turn->ready);
      out.counter(tid, turn.at, name + ": ready events", Args().number("events", ready));
    }
    write_utilization(out, tid, name + ": utilization", placed, width);
  }

  std::int64_t first = 0;
  const std::string events = out.text(first);
  std::string text = "{\"otherData\":{\"writer\":" + json_string("loopscope " + host.version);
  text += ",\"process\":" + json_string(process.id());
  text += ",\"command\":" + json_string(recording.command);
  text += ",\"start\":" + json_string(snapshot::rfc3339(static_cast<std::uint64_t>(
                              std::max<std::int64_t>(0, *base + first))));
  text += ",\"taken_at\":" + json_string(snapshot::rfc3339(recording.taken_ns));
  text += ",\"turns\":" + std::to_string(turns);
  text += "},\n\"traceEvents\":" + events + "}\n";
  return text;
}

}  // namespace loopscope::cli
