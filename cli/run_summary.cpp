// SPDX-License-Identifier: Apache-2.0
#include "cli/run_summary.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>
#include <ostream>
#include <tuple>

#include "cli/report.h"
#include "cli/run_recordings.h"
#include "cli/text_table.h"
#include "instrumentation/findings/finding.h"
#include "instrumentation/findings/text.h"

namespace loopscope::cli {
namespace {

using findings::duration_text;
using recording::Histogram;
using recording::Life;
using recording::LoopSnapshot;
using snapshot::ProcessSnapshot;

/// A screen: whoever started a thousand processes wants to know how many, not which.
constexpr std::size_t kShownProcesses = 12;
constexpr std::size_t kShownLoops = 12;
constexpr std::size_t kShownFindings = 5;

std::uint64_t turns_of(const ProcessSnapshot& process) {
  std::uint64_t turns = 0;
  for (const LoopSnapshot& loop : process.recording.loops) turns += loop.iterations;
  return turns;
}

std::string quantile_text(const Histogram& histogram) {
  if (histogram.count == 0) return "-";
  return duration_text(static_cast<std::uint64_t>(histogram.quantile(0.99)));
}

std::string max_text(const Histogram& histogram) {
  return histogram.count == 0 ? "-" : duration_text(histogram.max);
}

std::string fixed(double value, const char* format) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string loop_name(const LoopSnapshot& loop) {
  std::string name = findings::loop_text(loop) + " (" + loop.backend;
  if (loop.epoll_fd >= 0) name += " " + std::to_string(loop.epoll_fd);
  return printable(name + ")");
}

void write_loops(std::ostream& out, const std::string& indent, const ProcessSnapshot& process) {
  std::vector<const LoopSnapshot*> loops;
  for (const LoopSnapshot& loop : process.recording.loops) loops.push_back(&loop);
  if (loops.empty()) return;
  std::stable_sort(loops.begin(), loops.end(),
                   [](const auto* a, const auto* b) { return a->iterations > b->iterations; });
  Table table(indent,
              {"", "turns", "utilization", "busy p99", "max", "poll delay p99", "max",
               "timer lag p99", "max", "ready a turn"},
              {true, false, false, false, false, false, false, false, false, false});
  for (std::size_t i = 0; i < std::min(kShownLoops, loops.size()); ++i) {
    const LoopSnapshot& loop = *loops[i];
    const auto utilization = snapshot::loop_times(loop).utilization;
    table.row({loop_name(loop), std::to_string(loop.iterations),
               utilization ? fixed(*utilization * 100, "%.1f %%") : "-", quantile_text(loop.busy),
               max_text(loop.busy), quantile_text(loop.poll_delay), max_text(loop.poll_delay),
               quantile_text(loop.timer_lag), max_text(loop.timer_lag),
               loop.iterations == 0 ? "-"
                                    : fixed(static_cast<double>(loop.ready_events) /
                                                static_cast<double>(loop.iterations),
                                            "%.2f")});
  }
  table.print(out);
  if (loops.size() > kShownLoops) {
    out << indent << "and " << loops.size() - kShownLoops << " more, with fewer turns\n";
  }
}

/// "10 opened, 8 closed, 5 still open (3 were at the start)"; empty: nothing is known.
std::string descriptors_text(const snapshot::DescriptorSummary& fds) {
  std::string text;
  const auto add = [&text](std::optional<std::uint64_t> count, const char* what) {
    if (count) text += (text.empty() ? "" : ", ") + std::to_string(*count) + " " + what;
  };
  add(fds.opened, "opened");
  add(fds.closed, "closed");
  add(fds.open, "still open");
  // They would look like leaks.
  if (fds.open && fds.ledger && fds.ledger->inherited != 0) {
    text += " (" + std::to_string(fds.ledger->inherited) + " were at the start)";
  }
  return text;
}

void write_findings(std::ostream& out, const std::string& indent, const ProcessSnapshot& process) {
  const std::size_t shown = std::min(kShownFindings, process.findings.size());
  for (std::size_t i = 0; i < shown; ++i) {
    const findings::Finding& finding = process.findings[i];
    out << indent << findings::severity_name(finding.severity) << ": " << printable(finding.title)
        << " [" << printable(finding.rule) << "]\n";
  }
  if (process.findings.size() > shown) {
    out << indent << "and " << counted(process.findings.size() - shown, "finding")
        << " more: loopscope report " << process.recording.pid << "\n";
  }
}

std::string fate_text(const Fate& fate) {
  switch (fate.kind) {
    case Fate::Kind::kRunning:
      return "still runs";
    case Fate::Kind::kExited:
      return fate.status < 0 ? "exited" : "exited with status " + std::to_string(fate.status);
    case Fate::Kind::kKilled:
      return fate.signal == 0 ? "was killed or crashed"
                              : "was killed by " + signal_name(fate.signal);
    case Fate::Kind::kExec:
      return "became another program";
  }
  return "";
}

/// How long its recording was written; 0: unknown.
std::uint64_t lived_ns(const ProcessSnapshot& process) {
  const recording::RecordingSnapshot& recording = process.recording;
  const std::uint64_t end =
      recording.life == Life::kRunning ? recording.taken_ns : recording.ended_ns;
  return end > recording.started_ns ? end - recording.started_ns : 0;
}

/// What is said of processes that are too many to be shown one by one.
struct ProcessTotals {
  std::uint64_t processes = 0;
  std::uint64_t with_loops = 0;  // as far as known: not of those that the collector has folded
  std::uint64_t turns = 0;
  std::uint64_t failed = 0;  // exited with another status than 0; as far as known
  std::uint64_t killed = 0;
  std::uint64_t opened = 0;  // descriptors
  std::uint64_t closed = 0;

  void add(const ProcessSnapshot& process) {
    const recording::RecordingSnapshot& recording = process.recording;
    ++processes;
    with_loops += recording.loops.empty() ? 0 : 1;
    turns += turns_of(process);
    failed += recording.life == Life::kExited && recording.exit_status.value_or(0) != 0;
    killed += recording.life == Life::kKilled;
    opened += process.fds.opened.value_or(0);
    closed += process.fds.closed.value_or(0);
  }
  void add(const snapshot::FoldedProcesses& folded) {
    processes += folded.count;
    killed += folded.killed;
    opened += folded.opened;
    closed += folded.closed;
  }
};

/// One line for those that are not shown.
void write_totals(std::ostream& out, const ProcessTotals& totals) {
  if (totals.processes == 0) return;
  out << "  and " << totals.processes << (totals.processes == 1 ? " process" : " processes")
      << " more";
  std::string text;
  const auto add = [&text](const std::string& what) { text += (text.empty() ? "" : ", ") + what; };
  if (totals.with_loops != 0) {
    add(std::to_string(totals.with_loops) + " with loops, " + counted(totals.turns, "turn"));
  }
  if (totals.failed != 0) add(std::to_string(totals.failed) + " failed");
  if (totals.killed != 0) add(std::to_string(totals.killed) + " killed");
  if (totals.opened != 0 || totals.closed != 0) {
    add(counted(totals.opened, "descriptor") + " opened, " + std::to_string(totals.closed) +
        " closed");
  }
  out << (text.empty() ? "" : ": ") << text << "\n";
}

}  // namespace

std::string signal_name(int signal) {
  const char* name = sigabbrev_np(signal);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(signal);
}

std::vector<const ProcessSnapshot*> summary_order(const snapshot::HostSnapshot& host,
                                                  pid_t program) {
  std::vector<std::tuple<bool, std::uint64_t, std::uint64_t, unsigned, const ProcessSnapshot*>>
      ranked;
  for (const ProcessSnapshot& process : host.processes) {
    const bool other = process.recording.pid != program;
    ranked.emplace_back(other, other ? ~turns_of(process) : 0,
                        other ? process.recording.started_ns : 0,
                        recording_name(process.recording.path).image, &process);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<const ProcessSnapshot*> order;
  order.reserve(ranked.size());
  for (const auto& entry : ranked) order.push_back(std::get<4>(entry));
  return order;
}

bool worth_a_line(const ProcessSnapshot& process, const RunOutcome& outcome,
                  const snapshot::HostSnapshot& host) {
  return fate_of(process, outcome, host).kind != Fate::Kind::kExec ||
         !process.recording.loops.empty() || !process.findings.empty();
}

Fate fate_of(const ProcessSnapshot& process, const RunOutcome& outcome,
             const snapshot::HostSnapshot& host) {
  const recording::RecordingSnapshot& recording = process.recording;
  // While it lives, and after its end: a later image tells.
  const unsigned image = recording_name(recording.path).image;
  const bool superseded =
      std::any_of(host.processes.begin(), host.processes.end(), [&](const auto& other) {
        return other.recording.pid == recording.pid &&
               other.recording.start_ticks == recording.start_ticks &&
               recording_name(other.recording.path).image > image;
      });
  if (superseded || recording.life == Life::kExecuted) return {Fate::Kind::kExec, -1, 0};
  if (recording.pid == outcome.pid) {
    if (outcome.end.killed) return {Fate::Kind::kKilled, -1, outcome.end.number};
    return {Fate::Kind::kExited, outcome.end.number, 0};
  }
  switch (recording.life) {
    case Life::kRunning:
      return {Fate::Kind::kRunning, -1, 0};
    case Life::kExited:
      return {Fate::Kind::kExited, recording.exit_status.value_or(-1), 0};
    case Life::kExecuted:
    case Life::kKilled:
      break;
  }
  // Known if its parent, which waited for it, is recorded too.
  return {Fate::Kind::kKilled, -1, process.signal.value_or(0)};
}

void write_run_summary(std::ostream& out, const RunOutcome& outcome,
                       const snapshot::HostSnapshot& host) {
  const std::string program =
      printable(outcome.argv.empty() ? std::string() : outcome.argv.front());
  const Fate end{outcome.end.killed ? Fate::Kind::kKilled : Fate::Kind::kExited, outcome.end.number,
                 outcome.end.number};
  out << "loopscope: " << program << " (pid " << outcome.pid << ") " << fate_text(end) << " after "
      << duration_text(outcome.duration_ns);
  if (host.processes.empty()) out << "; nothing was recorded";
  if (!outcome.unseen.empty()) out << ": " << printable(outcome.unseen);
  out << "\n";

  const std::vector<const ProcessSnapshot*> order = summary_order(host, outcome.pid);
  ProcessTotals others;
  others.add(host.folded);
  std::size_t shown = 0, running = 0;
  for (const ProcessSnapshot* process : order) {
    if (!worth_a_line(*process, outcome, host)) continue;
    const Fate fate = fate_of(*process, outcome, host);
    if (fate.kind == Fate::Kind::kRunning) ++running;
    const bool is_program = process->recording.pid == outcome.pid;
    if (shown >= kShownProcesses) {
      others.add(*process);
      continue;
    }
    ++shown;
    std::string indent = "  ";
    const std::string descriptors = descriptors_text(process->fds);
    // The first line has said it of PROGRAM.
    const bool introduced = !is_program || fate.kind == Fate::Kind::kExec;
    if (introduced) {
      out << indent << printable(process->recording.command) << " (pid " << process->recording.pid
          << ") " << fate_text(fate);
      if (const std::uint64_t lived = lived_ns(*process);
          lived != 0 && fate.kind != Fate::Kind::kRunning) {
        out << " after " << duration_text(lived);
      }
      if (process->recording.loops.empty() && !descriptors.empty()) {
        out << "; descriptors: " << descriptors;
      }
      out << "\n";
      indent += "  ";
    }
    write_loops(out, indent, *process);
    if (!descriptors.empty() && (!introduced || !process->recording.loops.empty())) {
      out << indent << "descriptors: " << descriptors << "\n";
    }
    if (!process->recording.error.empty()) {
      out << indent << "problem: " << printable(process->recording.error) << "\n";
    }
    write_findings(out, indent, *process);
  }
  write_totals(out, others);
  for (const snapshot::Unreadable& unreadable : host.unreadable) {
    out << "  unreadable: " << printable(unreadable.error) << "\n";
  }
  if (running != 0) {
    out << "  " << counted(running, "descendant") << (running == 1 ? " runs" : " run")
        << " on; `loopscope serve` goes on showing " << (running == 1 ? "it" : "them") << "\n";
  }
}

}  // namespace loopscope::cli
