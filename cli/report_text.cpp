// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <ostream>
#include <string>
#include <vector>

#include "cli/report.h"
#include "cli/text_table.h"
#include "instrumentation/findings/text.h"
#include "instrumentation/process/descriptors.h"
#include "instrumentation/process/resources.h"
#include "instrumentation/snapshot/json.h"

namespace loopscope::cli {
namespace {

using findings::duration_text;
using recording::Histogram;
using recording::Life;
using recording::LoopSnapshot;
using recording::Phase;
using recording::Turn;
using snapshot::ProcessSnapshot;

constexpr std::size_t kSlowestTurns = 10;
constexpr std::size_t kLastTurns = 10;
constexpr std::size_t kWatcherRows = 30;
constexpr std::size_t kSiteRows = 10;
constexpr std::size_t kSiteFrames = 6;

std::string time_text(std::uint64_t realtime_ns, const char* format) {
  const auto seconds = static_cast<std::time_t>(realtime_ns / 1'000'000'000);
  std::tm local{};
  localtime_r(&seconds, &local);
  char text[64];
  return std::string(text, std::strftime(text, sizeof text, format, &local));
}

std::string instant_text(std::uint64_t realtime_ns) {
  return realtime_ns == 0 ? "unknown" : time_text(realtime_ns, "%Y-%m-%d %H:%M:%S %z");
}

std::string clock_text(std::uint64_t realtime_ns) {
  char fraction[8];
  std::snprintf(fraction, sizeof fraction, ".%03u",
                static_cast<unsigned>(realtime_ns / 1'000'000 % 1000));
  return time_text(realtime_ns, "%H:%M:%S") + fraction;
}

std::string bytes_text(std::uint64_t bytes) {
  char text[32];
  if (bytes >= 1u << 30) {
    std::snprintf(text, sizeof text, "%.1f GiB", static_cast<double>(bytes) / (1u << 30));
  } else {
    std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1u << 20));
  }
  return text;
}

std::string value_text(const Histogram& histogram, double value) {
  if (histogram.scale == Histogram::Scale::kTime) {
    return duration_text(static_cast<std::uint64_t>(value));
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.0f", value);
  return text;
}

std::vector<std::string> histogram_row(const std::string& name, const Histogram& histogram) {
  if (histogram.count == 0) return {name, "0", "-", "-", "-"};
  return {name, std::to_string(histogram.count), value_text(histogram, histogram.quantile(0.5)),
          value_text(histogram, histogram.quantile(0.99)),
          value_text(histogram, static_cast<double>(histogram.max))};
}

std::string source_text(recording::SourceKind source) {
  switch (source) {
    case recording::SourceKind::kLibrary:
      return "library";
    case recording::SourceKind::kProbe:
      return "probe";
    case recording::SourceKind::kKernel:
      return "kernel";
  }
  return "unknown source";
}

std::string state_text(const recording::RecordingSnapshot& recording) {
  switch (recording.life) {
    case Life::kRunning:
      return "running";
    case Life::kExited:
      return recording.exit_status ? "exited with status " + std::to_string(*recording.exit_status)
                                   : "exited";
    case Life::kKilled:
      return "ended without a goodbye (killed or crashed)";
    case Life::kExecuted:
      return "became another program (exec)";
  }
  return "unknown";
}

std::string watcher_text(const LoopSnapshot& loop, std::uint32_t watcher) {
  return printable(findings::watcher_text(loop, watcher));
}

std::string phase_text(const LoopSnapshot& loop, bool running) {
  const std::string since = running ? " for " + duration_text(loop.phase_ns) : "";
  const std::string was = running ? "now " : "at its end ";
  switch (loop.phase) {
    case Phase::kPolling:
      return was + "polling" + since;
    case Phase::kDispatching: {
      std::string text = was + "dispatching" + since;
      if (loop.running_watcher != 0) {
        text += ", in the callback " + watcher_text(loop, loop.running_watcher);
        if (running) text += " for " + duration_text(loop.running_watcher_ns);
      }
      return text;
    }
    case Phase::kOutside:
      return was + "outside of the loop" + since;
  }
  return {};
}

std::string timeout_text(std::int64_t timeout_ns) {
  if (timeout_ns >= 0) return duration_text(static_cast<std::uint64_t>(timeout_ns));
  return timeout_ns == recording::kTimeoutInfinite ? "none" : "?";
}

std::string result_text(const Turn& turn) {
  if (turn.ready == recording::kReadyUnknown) return "?";
  return snapshot::wait_result_name(turn.result);
}

/// The longest things that a turn served, "tcp 17 1.2 s, pipe 5 3 ms and 3 more"; the longest
/// callback, if only that is known still; empty if nothing is.
std::string served_text(const LoopSnapshot& loop, const Turn& turn) {
  constexpr std::size_t kNamed = 3;
  if (!loop.served || turn.served_first == Turn::kNoServed) return {};
  const auto first = loop.served->begin() + static_cast<std::ptrdiff_t>(turn.served_first);
  std::vector<recording::Served> served(first,
                                        first + static_cast<std::ptrdiff_t>(turn.served_count));
  const std::size_t shown = std::min(kNamed, served.size());
  std::partial_sort(
      served.begin(), served.begin() + static_cast<std::ptrdiff_t>(shown), served.end(),
      [](const recording::Served& a, const recording::Served& b) { return a.ns > b.ns; });
  std::string text;
  for (std::size_t i = 0; i < shown; ++i) {
    const recording::Served& one = served[i];
    if (i > 0) text += ", ";
    if (one.fd >= 0) {
      text += process::descriptor_kind_name(one.kind);
      text += " " + std::to_string(one.fd);
      if (one.gone.value_or(false)) text += " (closed since)";
    } else {
      const std::string name = watcher_text(loop, one.watcher);
      text += name.empty() ? "a callback without a name" : name;
    }
    text += " " + duration_text(one.ns);
  }
  std::size_t others = served.size() - shown + turn.served_lost;
  if (shown == 0 && others != 0 && turn.watcher != 0) {
    text = watcher_text(loop, turn.watcher) + " " + duration_text(turn.watcher_ns);
    --others;
  }
  if (others != 0) text += (text.empty() ? "" : " and ") + std::to_string(others) + " more";
  return text;
}

void print_turns(std::ostream& out, const LoopSnapshot& loop, const std::vector<Turn>& turns) {
  // Where it is not known what was served, the longest callback is.
  Table table("    ",
              {"turn", "at", "poll wait", "timeout", "ready", "by", "busy",
               loop.served ? "served" : "longest callback"},
              {false, true, false, false, false, true, false, true});
  for (const Turn& turn : turns) {
    std::string longest = served_text(loop, turn);
    if (!loop.served) {
      longest = watcher_text(loop, turn.watcher);
      if (!longest.empty()) longest += " " + duration_text(turn.watcher_ns);
    }
    table.row({std::to_string(turn.turn), clock_text(turn.at_ns), duration_text(turn.poll_ns),
               timeout_text(turn.timeout_ns), turn.ready >= 0 ? std::to_string(turn.ready) : "?",
               result_text(turn), duration_text(turn.busy_ns), longest});
  }
  table.print(out);
}

void write_loop(std::ostream& out, const LoopSnapshot& loop, const snapshot::LoopFacts& facts,
                bool running) {
  const snapshot::LoopTimes times = snapshot::loop_times(loop);
  out << "\n"
      << printable(findings::loop_text(loop)) << "  " << printable(loop.backend) << ", thread "
      << loop.thread_id;
  if (loop.epoll_fd >= 0) out << ", epoll descriptor " << loop.epoll_fd;
  out << (loop.ended ? ", ended" : "") << "\n";
  if (!loop.ended) out << "  " << phase_text(loop, running) << "\n";
  out << "  " << counted(loop.iterations, "turn") << ", "
      << counted(loop.ready_events, "ready event");
  if (facts.registered_fds) out << ", " << counted(*facts.registered_fds, "registered descriptor");
  out << "\n  busy " << duration_text(times.busy_ns) << ", waiting "
      << duration_text(times.idle_ns);
  if (times.utilization) {
    char percent[32];
    std::snprintf(percent, sizeof percent, "%.1f %%", *times.utilization * 100);
    out << ": utilization " << percent;
  }
  out << "\n  " << counted(loop.stalls, "stall") << " (busy for more than "
      << duration_text(loop.stall_threshold_ns) << ")";
  if (loop.stalled_ns != 0) out << ", one in progress for " << duration_text(loop.stalled_ns);
  out << "\n";
  const snapshot::PollCounts polls = snapshot::poll_counts(loop);
  out << "  waits: " << polls.events << " returned events, " << polls.timeout << " timed out, "
      << polls.interrupted << " interrupted, " << polls.error << " failed";
  if (polls.unknown != 0) out << ", " << polls.unknown << " returned unseen";
  out << "; " << polls.nonblocking << " did not block\n";
  if (loop.used_after_fork) out << "  used in a forked child without ev_loop_fork()\n";
  if (loop.skew_turns != 0) {
    out << "  these numbers may be " << counted(loop.skew_turns, "turn") << " apart\n";
  }
  out << "\n";

  Table table("  ", {"", "count", "p50", "p99", "max"}, {true, false, false, false, false});
  table.row(histogram_row("poll wait", loop.poll_wait));
  table.row(histogram_row("busy", loop.busy));
  table.row(histogram_row("poll delay", loop.poll_delay));
  table.row(histogram_row("timer lag", loop.timer_lag));
  table.row(histogram_row("ready events", loop.ready));
  table.print(out);

  // A handful of turns needs no choice of the slowest.
  if (loop.recent.size() > kLastTurns) {
    std::vector<Turn> slowest = loop.recent;
    const auto end =
        slowest.begin() + static_cast<std::ptrdiff_t>(std::min(kSlowestTurns, slowest.size()));
    std::partial_sort(slowest.begin(), end, slowest.end(),
                      [](const Turn& a, const Turn& b) { return a.busy_ns > b.busy_ns; });
    slowest.erase(end, slowest.end());
    out << "\n  slowest of the last " << counted(loop.recent.size(), "turn") << "\n";
    print_turns(out, loop, slowest);
  }
  if (!loop.recent.empty()) {
    const std::size_t shown = std::min(kLastTurns, loop.recent.size());
    out << "\n  last turns\n";
    print_turns(out, loop,
                {loop.recent.end() - static_cast<std::ptrdiff_t>(shown), loop.recent.end()});
  }

  if (loop.watchers.empty()) return;
  std::vector<const recording::WatcherSnapshot*> watchers;
  for (const auto& watcher : loop.watchers) watchers.push_back(&watcher);
  std::stable_sort(watchers.begin(), watchers.end(),
                   [](const auto* a, const auto* b) { return a->callback.sum > b->callback.sum; });
  out << "\n  watchers, by the time their callbacks took\n";
  Table rows("    ",
             {"name", "kind", "active", "calls", "time", "p50", "p99", "max", "lag p99", "lag max"},
             {true, true, false, false, false, false, false, false, false, false});
  for (std::size_t i = 0; i < std::min(kWatcherRows, watchers.size()); ++i) {
    const recording::WatcherSnapshot& watcher = *watchers[i];
    const Histogram& callback = watcher.callback;
    std::vector<std::string> cells = histogram_row("", callback);
    std::vector<std::string> lag = watcher.lag ? histogram_row("", *watcher.lag)
                                               : std::vector<std::string>{"", "", "", "", ""};
    rows.row({printable(watcher.name), findings::watcher_kind_name(watcher.kind),
              std::to_string(watcher.active), cells[1], duration_text(callback.sum), cells[2],
              cells[3], cells[4], lag[3], lag[4]});
  }
  rows.print(out);
  if (watchers.size() > kWatcherRows) {
    out << "    and " << watchers.size() - kWatcherRows << " more: --format json has them all\n";
  }
  if (times.unattributed_ns != 0) {
    out << "    outside any named callback: " << duration_text(times.unattributed_ns) << "\n";
  }
}

/// "handle_request  server.c:120", "libssl.so.3+0x1234", "0x7f…" for code that is in no file.
std::string frame_text(const snapshot::StackFrame& frame) {
  char number[24];
  std::snprintf(number, sizeof number, "0x%llx", static_cast<unsigned long long>(frame.offset));
  const std::string module = printable(frame.module.substr(frame.module.rfind('/') + 1));
  const std::string place = module.empty() ? number : module + "+" + number;
  if (frame.function.empty()) return place;
  std::string text = printable(frame.function);
  if (frame.file.empty()) return text + "  " + place;
  text += "  " + printable(frame.file.substr(frame.file.rfind('/') + 1));
  return frame.line > 0 ? text + ":" + std::to_string(frame.line) : text;
}

void write_sites(std::ostream& out, const ProcessSnapshot& process, std::uint64_t now_ns) {
  std::size_t shown = 0;
  for (const snapshot::OpenSite& site : process.sites) {
    if (site.live == 0 || shown == kSiteRows) break;  // the most open ones come first
    if (shown++ == 0) out << "\n  where the open ones were opened\n";
    out << "    " << site.live << " " << process::descriptor_kind_name(site.kind) << " open ("
        << site.opened << " opened, at most " << site.peak << " at once";
    if (site.oldest_ns && now_ns > *site.oldest_ns) {
      out << ", the oldest for " << duration_text(now_ns - *site.oldest_ns);
    }
    out << ")\n";
    const std::size_t frames = site.stack ? std::min(kSiteFrames, site.stack->size()) : 0;
    for (std::size_t i = 0; i < frames; ++i) {
      out << "      " << frame_text((*site.stack)[i]) << "\n";
    }
    if (site.stack && site.stack->size() > frames) {
      out << "      and " << site.stack->size() - frames << " callers more\n";
    }
  }
  const auto open = static_cast<std::size_t>(
      std::count_if(process.sites.begin(), process.sites.end(),
                    [](const snapshot::OpenSite& site) { return site.live != 0; }));
  if (open > shown) out << "    and " << open - shown << " more places: --format json\n";
}

void write_open_descriptors(std::ostream& out, const ProcessSnapshot& process,
                            std::uint64_t now_ns) {
  if (!process.descriptors) return;
  out << "\n  open descriptors\n";
  Table table("    ", {"fd", "kind", "age", "idle", "events", "i/o calls", "epoll", "what"},
              {false, true, false, false, false, false, false, true});
  const auto age = [now_ns](std::uint64_t then) {
    return then != 0 && now_ns > then ? duration_text(now_ns - then) : std::string("-");
  };
  for (const snapshot::Descriptor& descriptor : *process.descriptors) {
    const recording::FdRecord& fd = descriptor.record;
    const bool known = process.fds.ledger && !descriptor.unseen;
    std::string what = fd.local.empty() ? "" : printable(fd.local);
    if (!fd.peer.empty()) what += (what.empty() ? "to " : " to ") + printable(fd.peer);
    if (fd.listening) what += (what.empty() ? "" : ", ") + std::string("listening");
    if (what.empty()) what = printable(fd.target);
    if (known && fd.origin == recording::FdOrigin::kInherited) what += "  (inherited)";
    if (process.fds.ledger && descriptor.unseen) what += "  (not seen opened)";
    table.row({std::to_string(fd.fd), process::descriptor_kind_name(fd.kind), age(fd.opened_ns),
               age(fd.activity_ns), known ? std::to_string(fd.events) : "-",
               known ? std::to_string(fd.io_calls) : "-",
               fd.registered_epoll_fd >= 0 ? std::to_string(fd.registered_epoll_fd) : "-", what});
  }
  table.print(out);
  if (process.descriptors_left_out != 0) {
    out << "    and " << process.descriptors_left_out << " more\n";
  }
}

void write_descriptors(std::ostream& out, const ProcessSnapshot& process) {
  const snapshot::DescriptorSummary& fds = process.fds;
  if (!fds.open && fds.by_kind.empty()) return;
  const recording::RecordingSnapshot& recording = process.recording;
  const bool running = recording.life == Life::kRunning;
  out << "\ndescriptors  ";
  if (fds.open) out << *fds.open << (running ? " open" : " open at the end");
  if (fds.limit) out << " of at most " << *fds.limit;
  if (fds.peak) out << ", peak " << *fds.peak;
  if (fds.opened && fds.closed) {
    out << "; " << *fds.opened << " opened, " << *fds.closed << " closed";
  }
  if (fds.ledger && fds.ledger->inherited != 0)
    out << ", " << fds.ledger->inherited << " inherited";
  out << "\n";
  std::string kinds;
  for (const auto& [kind, count] : fds.by_kind) {
    kinds += (kinds.empty() ? "  " : ", ") + printable(kind) + " " + std::to_string(count);
  }
  if (!kinds.empty()) out << kinds << "\n";
  if (fds.ledger) {
    if (fds.ledger->unseen != 0) {
      out << "  " << fds.ledger->unseen << " of the open ones were not seen opened\n";
    }
    if (fds.ledger->closed_unseen != 0) {
      out << "  " << counted(fds.ledger->closed_unseen, "close") << " not seen\n";
    }
    if (fds.ledger->bad_closes != 0) {
      out << "  " << counted(fds.ledger->bad_closes, "close") << " of a number that was not open\n";
    }
  }
  const std::uint64_t now_ns = running ? recording.taken_ns : recording.ended_ns;
  write_sites(out, process, now_ns);
  write_open_descriptors(out, process, now_ns);
}

void write_findings(std::ostream& out, const std::vector<findings::Finding>& all) {
  out << "\nfindings";
  if (all.empty()) {
    out << "  none\n";
    return;
  }
  out << "\n";
  for (const findings::Finding& finding : all) {
    out << "  " << findings::severity_name(finding.severity) << "  " << printable(finding.title)
        << "  [" << printable(finding.rule) << "]\n";
    if (!finding.detail.empty()) out << "    " << printable(finding.detail) << "\n";
    if (!finding.advice.empty()) out << "    -> " << printable(finding.advice) << "\n";
  }
}

/// Length of the UTF-8 sequence at `at`; 0: it is none, or a control character (C0, DEL, C1).
std::size_t printable_length(const std::string& text, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(at);
  if (first < 0x80) return first >= 0x20 && first != 0x7F ? 1 : 0;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) return 0;
  }
  const unsigned second = byte(at + 1);
  if (first == 0xC2 && second < 0xA0) return 0;  // C1
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
      (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) {
    return 0;  // overlong, surrogate, beyond Unicode
  }
  // Marks that turn the reading direction could make a line read as something else.
  if (first == 0xE2 && ((second == 0x80 && byte(at + 2) >= 0xAA && byte(at + 2) <= 0xAE) ||
                        (second == 0x81 && byte(at + 2) >= 0xA6 && byte(at + 2) <= 0xA9))) {
    return 0;
  }
  return length;
}

}  // namespace

std::string printable(const std::string& text) {
  std::string clean;
  clean.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = printable_length(text, at);
    if (length == 0) {
      clean += '?';
      ++at;
    } else {
      clean.append(text, at, length);
      at += length;
    }
  }
  return clean;
}

void write_report(std::ostream& out, const ProcessSnapshot& process) {
  const recording::RecordingSnapshot& recording = process.recording;
  const bool running = recording.life == Life::kRunning;
  out << printable(recording.command) << "  pid " << recording.pid << ", " << state_text(recording)
      << "\n";
  if (!recording.argv.empty()) {
    out << "  command    ";
    for (const std::string& argument : recording.argv) out << " " << printable(argument);
    out << "\n";
  }
  out << "  started     " << instant_text(recording.started_ns);
  if (running && recording.taken_ns > recording.started_ns) {
    out << ", " << duration_text(recording.taken_ns - recording.started_ns) << " ago";
  }
  out << "\n";
  if (!running) {
    out << "  ended       " << instant_text(recording.ended_ns);
    if (recording.ended_ns > recording.started_ns && recording.started_ns != 0) {
      out << ", after " << duration_text(recording.ended_ns - recording.started_ns);
    }
    out << "\n";
  }
  if (process.resources) {
    char cpu[32];
    std::snprintf(cpu, sizeof cpu, "%.2f s", process.resources->cpu_seconds);
    out << "  uses        " << cpu << " of CPU, " << bytes_text(process.resources->resident_bytes)
        << " of memory, " << counted(process.resources->threads, "thread") << "\n";
  }
  out << "  recording   " << (recording.path.empty() ? "in memory" : printable(recording.path))
      << " (" << source_text(recording.source) << ", format " << recording.version << ")\n";
  if (!recording.error.empty()) out << "  problem     " << printable(recording.error) << "\n";

  if (recording.loops.empty()) out << "\nno loop has run\n";
  for (std::size_t i = 0; i < recording.loops.size(); ++i) {
    write_loop(out, recording.loops[i],
               i < process.loop_facts.size() ? process.loop_facts[i] : snapshot::LoopFacts{},
               running);
  }
  write_descriptors(out, process);
  write_findings(out, process.findings);

  std::string dropped;
  for (std::size_t i = 0; i < std::size(recording.dropped); ++i) {
    const char* kind = findings::drop_kind_name(i);
    if (kind == nullptr || recording.dropped[i] == 0) continue;
    dropped += (dropped.empty() ? "" : ", ") + std::to_string(recording.dropped[i]) + " " + kind;
  }
  if (!dropped.empty()) out << "\ndropped (not recorded for want of room)  " << dropped << "\n";
  const std::string failed = findings::own_failures_text(recording.own_failures);
  if (!failed.empty()) out << "\nfailed system calls of loopscope's own  " << failed << "\n";
}

void write_list(std::ostream& out, const snapshot::HostSnapshot& host) {
  Table table("  ", {"pid", "state", "started", "command", "file"},
              {false, true, true, true, true});
  for (const ProcessSnapshot& process : host.processes) {
    const recording::RecordingSnapshot& recording = process.recording;
    const char* state = recording.life == Life::kRunning    ? "running"
                        : recording.life == Life::kExited   ? "exited"
                        : recording.life == Life::kExecuted ? "exec"
                                                            : "killed";
    table.row({std::to_string(recording.pid), state, instant_text(recording.started_ns),
               printable(recording.command), printable(recording.path)});
  }
  table.print(out);
}

}  // namespace loopscope::cli
