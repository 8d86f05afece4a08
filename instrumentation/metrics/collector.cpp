// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/metrics/collector.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "instrumentation/findings/rules.h"
#include "instrumentation/findings/text.h"
#include "instrumentation/process/descriptors.h"

namespace loopscope::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using recording::Histogram;
using recording::LoopSnapshot;
using snapshot::HostSnapshot;
using snapshot::ProcessSnapshot;

using Labels = std::vector<ClientMetric::Label>;

/// Bounds 2^0 … 2^24 µs (1 µs … 16.8 s) for times and 2^0 … 2^16 for counts. Fixed: buckets that
/// depended on the data could not be summed over loops or time.
constexpr unsigned kTimePowers = 25;
constexpr unsigned kCountPowers = 17;

constexpr double kNanosecond = 1e-9;

/// The exposition format wants UTF-8; a name in a recording may be anything. Replaces what is not
/// UTF-8 by U+FFFD.
std::string valid_utf8(const std::string& text) {
  const auto continuation = [&](std::size_t at) {
    return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
  };
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80                    ? 1
                               : lead >= 0xc2 && lead <= 0xdf ? 2
                               : lead >= 0xe0 && lead <= 0xef ? 3
                               : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                              : 0;
    bool valid = length != 0;
    for (std::size_t k = 1; k < length; ++k) valid = valid && continuation(i + k);
    if (valid && length >= 3) {  // overlong forms, surrogates, beyond U+10FFFF
      const auto second = static_cast<unsigned char>(text[i + 1]);
      valid = !(lead == 0xe0 && second < 0xa0) && !(lead == 0xed && second >= 0xa0) &&
              !(lead == 0xf0 && second < 0x90) && !(lead == 0xf4 && second >= 0x90);
    }
    if (valid) {
      out.append(text, i, length);
      i += length;
    } else {
      out += "\xef\xbf\xbd";
      ++i;
    }
  }
  return out;
}

ClientMetric with_labels(const Labels& common, std::initializer_list<ClientMetric::Label> more) {
  ClientMetric metric;
  metric.label.reserve(common.size() + more.size());
  metric.label.insert(metric.label.end(), common.begin(), common.end());
  metric.label.insert(metric.label.end(), more.begin(), more.end());
  return metric;
}

/// One family being filled; the samples of one metric must stand together whatever they come from.
class Family {
 public:
  Family(std::string name, std::string help, MetricType type) {
    family_.name = std::move(name);
    family_.help = std::move(help);
    family_.type = type;
  }

  void value(double value, const Labels& common,
             std::initializer_list<ClientMetric::Label> more = {}) {
    ClientMetric metric = with_labels(common, more);
    (family_.type == MetricType::Counter ? metric.counter.value : metric.gauge.value) = value;
    family_.metric.push_back(std::move(metric));
  }
  void value(std::uint64_t count, const Labels& common,
             std::initializer_list<ClientMetric::Label> more = {}) {
    value(static_cast<double>(count), common, more);
  }

  void histogram(const Histogram& histogram, const Labels& common,
                 std::initializer_list<ClientMetric::Label> more = {}) {
    const bool times = histogram.scale == Histogram::Scale::kTime;
    const unsigned powers = times ? kTimePowers : kCountPowers;
    ClientMetric metric = with_labels(common, more);
    auto& out = metric.histogram;
    out.sample_count = histogram.count;
    out.sample_sum = static_cast<double>(histogram.sum) * (times ? kNanosecond : 1.0);
    out.bucket.resize(powers + 1);
    for (unsigned k = 0; k < powers; ++k) {
      // Divided, not multiplied by 1e-6: the nearest double to a decimal fraction prints as that.
      const double bound = static_cast<double>(std::uint64_t{1} << k) / (times ? 1e6 : 1.0);
      out.bucket[k] = {histogram.count_up_to_power(k), bound};
    }
    out.bucket[powers] = {histogram.count, std::numeric_limits<double>::infinity()};
    family_.metric.push_back(std::move(metric));
  }

  void move_to(std::vector<MetricFamily>& out) {
    if (!family_.metric.empty()) out.push_back(std::move(family_));
  }

 private:
  MetricFamily family_;
};

/// A recording that is exported, with its labels made once.
struct Exported {
  const ProcessSnapshot* process = nullptr;
  Labels labels;
  struct Loop {
    const LoopSnapshot* loop = nullptr;
    snapshot::LoopFacts facts;
    Labels labels;
    std::shared_ptr<const LoopSnapshot> sum;  // what `loop` points to, where others were before it
  };
  std::vector<Loop> loops;
  /// A process may have two recordings at once, the library's and the probe's: what is said of the
  /// process is said once, with the other one's counts in it.
  bool of_the_process = true;
  std::vector<const ProcessSnapshot*> others;
};

/// Names that are given out in one process.
struct LoopNames {
  std::map<std::string, unsigned> seen;
  std::set<std::string> taken;
};

/// The name and the place among those of that name; empty: its series is another loop's now.
std::string name_of_place(const std::string& name, const snapshot::LoopPlace& place) {
  if (place.number == 0) return "";
  return place.number == 1 ? name : name + "#" + std::to_string(place.number);
}

/// Names of the loops, each different: in order of id the second "main" is "main#2". Where their
/// places are known, these say it.
std::vector<std::string> unique_loop_names(const ProcessSnapshot& process, LoopNames& given) {
  const std::vector<LoopSnapshot>& loops = process.recording.loops;
  std::vector<std::size_t> order(loops.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    // The living first: a loop that is made again under the name of one that ended takes over its
    // label.
    return std::tuple(loops[a].ended, loops[a].id, loops[a].generation) <
           std::tuple(loops[b].ended, loops[b].id, loops[b].generation);
  });
  std::vector<std::string> names(loops.size());
  for (const std::size_t i : order) {
    // An empty label is no label to Prometheus.
    const std::string name = loops[i].name.empty() ? "loop" : valid_utf8(loops[i].name);
    if (i < process.loop_facts.size() && process.loop_facts[i].place) {
      std::string placed = name_of_place(name, *process.loop_facts[i].place);
      if (placed.empty() || given.taken.insert(placed).second) {
        names[i] = std::move(placed);
        continue;
      }
    }
    unsigned& count = given.seen[name];
    std::string unique;
    do {
      unique = ++count == 1 ? name : name + "#" + std::to_string(count);
    } while (!given.taken.insert(unique).second);  // a loop may really be called "main#2"
    names[i] = std::move(unique);
  }
  return names;
}

std::vector<Exported> exported_processes(const HostSnapshot& host, LabelMode mode) {
  std::vector<const ProcessSnapshot*> living;
  for (const ProcessSnapshot& process : host.processes) {
    if (process.recording.life == recording::Life::kRunning) living.push_back(&process);
  }
  // Of two recordings of one process the one with a ledger speaks for it.
  std::stable_partition(living.begin(), living.end(), [](const ProcessSnapshot* process) {
    return process->fds.ledger.has_value();
  });
  std::vector<Exported> all;
  std::map<std::pair<std::string, std::int32_t>, std::pair<std::size_t, LoopNames>> known;
  for (const ProcessSnapshot* each : living) {
    const ProcessSnapshot& process = *each;
    if (mode == LabelMode::kSingle && process.recording.pid != living.front()->recording.pid) {
      continue;  // nothing would tell it apart
    }
    const std::string command = mode == LabelMode::kMulti ? process.recording.command : "";
    const std::pair key(command, process.recording.pid);
    const auto [first, fresh] = known.try_emplace(key, all.size(), LoopNames{});
    Exported exported;
    exported.process = &process;
    exported.of_the_process = fresh;
    if (!fresh) all[first->second.first].others.push_back(&process);
    if (mode == LabelMode::kMulti) {
      exported.labels = {{"process", valid_utf8(process.recording.command)},
                         {"pid", std::to_string(process.recording.pid)}};
    }
    std::vector<std::string> names = unique_loop_names(process, first->second.second);
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i].empty()) continue;
      Exported::Loop& loop = exported.loops.emplace_back();
      loop.loop = &process.recording.loops[i];
      if (i < process.loop_facts.size()) loop.facts = process.loop_facts[i];
      if (loop.facts.place && loop.facts.place->before) {
        auto sum = std::make_shared<LoopSnapshot>(*loop.facts.place->before);
        snapshot::add_counts(*sum, *loop.loop);
        sum->stalled_ns = loop.loop->stalled_ns;
        loop.loop = sum.get();
        loop.sum = std::move(sum);
      }
      loop.labels = exported.labels;
      loop.labels.push_back({"loop", std::move(names[i])});
    }
    all.push_back(std::move(exported));
  }
  return all;
}

/// Calls `fill(family, loop, facts, labels)` for every loop.
template <typename Fill>
void add_per_loop(std::vector<MetricFamily>& out, const std::vector<Exported>& processes,
                  Family family, const Fill& fill) {
  for (const Exported& exported : processes) {
    for (const Exported::Loop& loop : exported.loops) {
      fill(family, *loop.loop, loop.facts, loop.labels);
    }
  }
  family.move_to(out);
}

template <typename Fill>
void add_per_process(std::vector<MetricFamily>& out, const std::vector<Exported>& processes,
                     Family family, const Fill& fill) {
  for (const Exported& exported : processes) {
    if (exported.of_the_process) fill(family, *exported.process, exported.labels);
  }
  family.move_to(out);
}

/// As add_per_process; `fill` gets all recordings of the process.
template <typename Fill>
void add_over_recordings(std::vector<MetricFamily>& out, const std::vector<Exported>& processes,
                         Family family, const Fill& fill) {
  for (const Exported& exported : processes) {
    if (!exported.of_the_process) continue;
    std::vector<const ProcessSnapshot*> recordings = {exported.process};
    recordings.insert(recordings.end(), exported.others.begin(), exported.others.end());
    fill(family, recordings, exported.labels);
  }
  family.move_to(out);
}

/// Counters by kind, all kinds, so that each series begins at 0.
void add_by_kind(std::vector<MetricFamily>& out, const std::vector<Exported>& processes,
                 Family family,
                 std::map<std::string, std::uint64_t> snapshot::LedgerSummary::*member) {
  add_per_process(out, processes, std::move(family),
                  [member](Family& filled, const ProcessSnapshot& process, const Labels& labels) {
                    if (!process.fds.ledger) return;
                    const auto& counts = (*process.fds.ledger).*member;
                    for (std::size_t i = 0; i < process::kDescriptorKinds; ++i) {
                      const char* kind =
                          process::descriptor_kind_name(static_cast<process::DescriptorKind>(i));
                      const auto found = counts.find(kind);
                      filled.value(found != counts.end() ? found->second : std::uint64_t{0}, labels,
                                   {{"kind", kind}});
                    }
                  });
}

void add_loops(std::vector<MetricFamily>& out, const std::vector<Exported>& processes) {
  using Facts = snapshot::LoopFacts;
  const auto histogram = [&](const char* name, const char* help, Histogram LoopSnapshot::*member) {
    add_per_loop(out, processes, Family(name, help, MetricType::Histogram),
                 [&](Family& family, const LoopSnapshot& loop, const Facts&, const Labels& labels) {
                   family.histogram(loop.*member, labels);
                 });
  };

  add_per_loop(out, processes,
               Family("loopscope_iterations_total", "Turns of the loop: waits that returned.",
                      MetricType::Counter),
               [](Family& family, const LoopSnapshot& loop, const Facts&, const Labels& labels) {
                 family.value(loop.iterations, labels);
               });
  histogram("loopscope_poll_wait_seconds",
            "Time of one turn spent in the wait call, waiting for events.",
            &LoopSnapshot::poll_wait);
  histogram(
      "loopscope_busy_seconds",
      "Time of one finished turn outside the wait call: callbacks and the library's own work.",
      &LoopSnapshot::busy);
  histogram("loopscope_poll_delay_seconds",
            "How much longer than asked a wait took that ended by its timeout.",
            &LoopSnapshot::poll_delay);
  histogram("loopscope_timer_lag_seconds", "How long after its due time a timer's callback ran.",
            &LoopSnapshot::timer_lag);
  histogram("loopscope_ready_events", "Events returned by one wait call.", &LoopSnapshot::ready);
  add_per_loop(
      out, processes,
      Family("loopscope_callback_seconds", "Time of one callback, by the watcher's name and kind.",
             MetricType::Histogram),
      [](Family& family, const LoopSnapshot& loop, const Facts&, const Labels& labels) {
        for (const auto& watcher : loop.watchers) {
          family.histogram(watcher.callback, labels,
                           {{"watcher", valid_utf8(watcher.name)},
                            {"kind", findings::watcher_kind_name(watcher.kind)}});
        }
      });
  add_per_loop(
      out, processes,
      Family("loopscope_poll_returns_total",
             "Waits that returned, by how. Each is counted once: \"saturated\" are those that "
             "returned as many events as there was room for, \"events\" the others with events. "
             "Waits whose result cannot be seen (linuxaio, io_uring) are not counted here.",
             MetricType::Counter),
      [](Family& family, const LoopSnapshot& loop, const Facts&, const Labels& labels) {
        const snapshot::PollCounts polls = snapshot::poll_counts(loop);
        const std::uint64_t saturated = std::min(polls.saturated, polls.events);
        family.value(polls.events - saturated, labels, {{"result", "events"}});
        family.value(polls.timeout, labels, {{"result", "timeout"}});
        family.value(polls.interrupted, labels, {{"result", "interrupted"}});
        family.value(polls.error, labels, {{"result", "error"}});
        family.value(saturated, labels, {{"result", "saturated"}});
      });
  add_per_loop(out, processes,
               Family("loopscope_registered_fds", "Descriptors registered in the loop's epoll set.",
                      MetricType::Gauge),
               [](Family& family, const LoopSnapshot&, const Facts& facts, const Labels& labels) {
                 if (facts.registered_fds) family.value(*facts.registered_fds, labels);
               });
  add_per_loop(out, processes,
               Family("loopscope_active_ready_ratio",
                      "Mean number of ready events per wait of the recent turns, over the number "
                      "of registered descriptors.",
                      MetricType::Gauge),
               [](Family& family, const LoopSnapshot&, const Facts& facts, const Labels& labels) {
                 if (facts.active_ready_ratio) family.value(*facts.active_ready_ratio, labels);
               });
  add_per_loop(out, processes,
               Family("loopscope_stalls_total",
                      "Turns that were busy for longer than the stall threshold, the one in "
                      "progress included.",
                      MetricType::Counter),
               [](Family& family, const LoopSnapshot& loop, const Facts&, const Labels& labels) {
                 family.value(loop.stalls, labels);
               });
  add_per_loop(
      out, processes,
      Family("loopscope_stalled_seconds",
             "Age of the stall in progress; 0 while the loop is not stalled.", MetricType::Gauge),
      [](Family& family, const LoopSnapshot& loop, const Facts&, const Labels& labels) {
        family.value(static_cast<double>(loop.stalled_ns) * kNanosecond, labels);
      });
}

void add_processes(std::vector<MetricFamily>& out, const std::vector<Exported>& processes) {
  add_per_process(
      out, processes, Family("loopscope_open_fds", "Open descriptors, by kind.", MetricType::Gauge),
      [](Family& family, const ProcessSnapshot& process, const Labels& labels) {
        const auto& by_kind = process.fds.by_kind;
        if (by_kind.empty()) return;  // not known
        for (std::size_t i = 0; i < process::kDescriptorKinds; ++i) {
          const char* kind = process::descriptor_kind_name(static_cast<process::DescriptorKind>(i));
          const auto found = by_kind.find(kind);
          family.value(found != by_kind.end() ? found->second : std::uint64_t{0}, labels,
                       {{"kind", kind}});
        }
      });
  add_by_kind(out, processes,
              Family("loopscope_fd_opens_total",
                     "Descriptors opened, by kind, as the probe saw it; without those that the "
                     "process was started with.",
                     MetricType::Counter),
              &snapshot::LedgerSummary::opened_by_kind);
  add_by_kind(out, processes,
              Family("loopscope_fd_closes_total",
                     "Descriptors closed, by kind, as the probe saw it.", MetricType::Counter),
              &snapshot::LedgerSummary::closed_by_kind);
  using Recordings = std::vector<const ProcessSnapshot*>;
  add_over_recordings(
      out, processes,
      Family("loopscope_findings", "Findings there are now, by rule and severity.",
             MetricType::Gauge),
      [](Family& family, const Recordings& recordings, const Labels& labels) {
        for (const findings::Rule& rule : findings::rules()) {
          for (const findings::Severity severity : rule.severities) {
            std::uint64_t count = 0;
            for (const ProcessSnapshot* process : recordings) {
              for (const auto& finding : process->findings) {
                count += finding.rule == rule.name && finding.severity == severity;
              }
            }
            family.value(count, labels,
                         {{"rule", rule.name}, {"severity", findings::severity_name(severity)}});
          }
        }
      });
  add_over_recordings(
      out, processes,
      Family("loopscope_suspected_leaked_fds",
             "Descriptors that lie idle at places which open ever more and close none (rule "
             "fd-growth).",
             MetricType::Gauge),
      [](Family& family, const Recordings& recordings, const Labels& labels) {
        std::uint64_t count = 0;
        bool known = false;  // 0 is said only where leaks would be seen
        for (const ProcessSnapshot* process : recordings) {
          known = known || process->fds.ledger.has_value();
          for (const auto& finding : process->findings) {
            if (finding.rule == "fd-growth") count += finding.count;
          }
        }
        if (known) family.value(count, labels, {});
      });
  add_over_recordings(
      out, processes,
      Family("loopscope_dropped_records_total",
             "Records dropped because a table was full or memory was short, by kind.",
             MetricType::Counter),
      [](Family& family, const Recordings& recordings, const Labels& labels) {
        constexpr auto kKinds = static_cast<std::size_t>(recording::DropKind::kCount);
        for (std::size_t i = 0; i < kKinds; ++i) {
          const char* kind = findings::drop_kind_name(i);
          if (kind == nullptr) continue;
          std::uint64_t dropped = 0;
          for (const ProcessSnapshot* process : recordings)
            dropped += process->recording.dropped[i];
          family.value(dropped, labels, {{"kind", kind}});
        }
      });
  add_over_recordings(
      out, processes,
      Family(
          "loopscope_own_failures_total",
          "System calls of loopscope's own in the process that failed, by call, errno and whether "
          "they were given up or made again.",
          MetricType::Counter),
      [](Family& family, const Recordings& recordings, const Labels& labels) {
        // Of a process image at most as many as its recording has places; an exec begins another.
        std::map<std::tuple<std::string, std::string, std::string>, std::uint64_t> counts;
        for (const ProcessSnapshot* process : recordings) {
          for (const recording::OwnFailures& one : process->recording.own_failures) {
            const std::string call = findings::own_call_name(one.call);
            const std::string error = findings::errno_name(one.error);
            if (one.failed != 0) counts[{call, error, "gave_up"}] += one.failed;
            if (one.retried != 0) counts[{call, error, "retried"}] += one.retried;
          }
        }
        for (const auto& [what, count] : counts) {
          const auto& [call, error, outcome] = what;
          family.value(count, labels, {{"call", call}, {"errno", error}, {"outcome", outcome}});
        }
      });

  add_per_process(out, processes,
                  Family("process_open_fds", "Number of open file descriptors.", MetricType::Gauge),
                  [](Family& family, const ProcessSnapshot& process, const Labels& labels) {
                    if (process.fds.open) family.value(*process.fds.open, labels);
                  });
  add_per_process(
      out, processes,
      Family("process_max_fds", "Maximum number of open file descriptors.", MetricType::Gauge),
      [](Family& family, const ProcessSnapshot& process, const Labels& labels) {
        if (process.fds.limit) family.value(*process.fds.limit, labels);
      });
  const auto resource = [&](const char* name, const char* help, MetricType type, auto value) {
    add_per_process(out, processes, Family(name, help, type),
                    [&](Family& family, const ProcessSnapshot& process, const Labels& labels) {
                      if (process.resources) {
                        family.value(static_cast<double>(value(*process.resources)), labels);
                      }
                    });
  };
  using process::Resources;
  resource("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.",
           MetricType::Counter, [](const Resources& r) { return r.cpu_seconds; });
  resource("process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
           MetricType::Gauge,
           [](const Resources& r) { return static_cast<double>(r.started_ns) * kNanosecond; });
  resource("process_resident_memory_bytes", "Resident memory size in bytes.", MetricType::Gauge,
           [](const Resources& r) { return r.resident_bytes; });
}

}  // namespace

LabelMode label_mode(const HostSnapshot& host) noexcept {
  return host.mode == snapshot::Mode::kServe ? LabelMode::kMulti : LabelMode::kSingle;
}

std::vector<MetricFamily> to_metric_families(const HostSnapshot& host, LabelMode mode) {
  std::vector<MetricFamily> families;
  const std::vector<Exported> processes = exported_processes(host, mode);
  add_loops(families, processes);
  add_processes(families, processes);
  Family build("loopscope_build_info", "Constant 1; the label is loopscope's version.",
               MetricType::Gauge);
  build.value(1.0, {}, {{"version", host.version}});
  build.move_to(families);
  return families;
}

std::string to_text(const HostSnapshot& host, LabelMode mode) {
  return prometheus::TextSerializer{}.Serialize(to_metric_families(host, mode));
}

LoopCollectable::LoopCollectable(std::function<HostSnapshot()> source, LabelMode mode)
    : source_(std::move(source)), mode_(mode) {
  if (!source_) throw std::invalid_argument("LoopCollectable needs a source of snapshots");
}

std::vector<MetricFamily> LoopCollectable::Collect() const {
  return to_metric_families(source_(), mode_);
}

}  // namespace loopscope::metrics
