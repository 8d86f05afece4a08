// SPDX-License-Identifier: Apache-2.0
#include "cli/top_cells.h"

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "cli/run_summary.h"
#include "instrumentation/findings/text.h"
#include "instrumentation/process/descriptors.h"

namespace loopscope::cli::top {
namespace {

using findings::duration_text;
using recording::Histogram;
using recording::Life;
using snapshot::ProcessSnapshot;

/// From here on there is no time left for a burst.
constexpr double kNearlyFull = 0.9;
constexpr double kBusy = 0.7;

constexpr std::size_t kFullState = 16;

std::string quantile_text(const Histogram& histogram, double p) {
  if (histogram.count == 0) return "-";
  return short_duration(static_cast<std::uint64_t>(histogram.quantile(p)));
}

std::string number_text(std::int64_t value) { return value < 0 ? "-" : std::to_string(value); }

std::string clock_text(std::uint64_t realtime_ns) {
  const auto seconds = static_cast<std::time_t>(realtime_ns / 1'000'000'000);
  std::tm local{};
  localtime_r(&seconds, &local);
  char text[32];
  const std::size_t length = std::strftime(text, sizeof text, "%H:%M:%S", &local);
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%03u",
                static_cast<unsigned>(realtime_ns / 1'000'000 % 1000));
  return std::string(text, length) + fraction;
}

/// In four columns: "1024", "20k", "1M".
std::string round_count(std::uint64_t count) {
  if (count < 10'000) return std::to_string(count);
  return count < 1'000'000 ? std::to_string(count / 1000) + "k"
                           : std::to_string(count / 1'000'000) + "M";
}

/// "12/1024", "10k/20k".
std::string fds_text(const Row& row) {
  if (!row.open_fds) return "-";
  return round_count(*row.open_fds) + (row.fd_limit ? "/" + round_count(*row.fd_limit) : "");
}

}  // namespace

const std::vector<Column>& overview_columns() {
  static const std::vector<Column> kColumns = {
      {"PID", 7, true, 6, false, 'N', "process id"},
      {"STATE", 9, false, 2, true, 'S',
       "what the loop does now; ! and STALLED: a turn takes too long"},
      {"UTIL", 5, true, 1, true, 'P',
       "busy share of the time since the last refresh; 100%: saturated"},
      {"", 6, false, 11, true, 0, "the same as a bar"},
      {"10s", 4, true, 9, true, 0, "busy share of the last 10 s"},
      {"100s", 4, true, 10, true, 0, "busy share of the last 100 s"},
      {"TURN/S", 6, true, 7, true, 'T', "turns a second, within the window"},
      {"READY", 5, true, 13, true, 'E', "ready events a turn, within the window"},
      {"P50", 5, true, 12, true, 0, "half of the window's turns were busy for no longer"},
      {"P99", 5, true, 3, true, 'B', "99 % of the window's turns were busy for no longer"},
      {"LAG99", 5, true, 5, true, 'L',
       "99 % of the window's timers ran no later after they were due"},
      {"FDS", 9, true, 8, true, 'D', "open descriptors of the process / how many it may have"},
      {"FIND", 4, true, 4, true, 'F', "findings; ! with an error, ? with a warning"},
      {"LOOP", 12, false, 0, false, 'C', "command and loop"},
  };
  return kColumns;
}

Sort overview_sort(std::size_t column) {
  static constexpr Sort kSorts[] = {Sort::kPid,         Sort::kState,         Sort::kUtilization,
                                    Sort::kUtilization, Sort::kUtilization10, Sort::kUtilization100,
                                    Sort::kTurns,       Sort::kReady,         Sort::kBusyP50,
                                    Sort::kBusyP99,     Sort::kLag,           Sort::kFds,
                                    Sort::kFindings,    Sort::kName};
  return kSorts[std::min(column, std::size(kSorts) - 1)];
}

const std::vector<Column>& watcher_columns() {
  static const std::vector<Column> kColumns = {
      {"KIND", 8, false, 5, false, 0, "io, timer, signal, ..."},
      {"FD", 5, true, 6, false, 0, "the descriptor it watches"},
      {"CALL/S", 6, true, 3, true, 'T', "calls a second, within the window"},
      {"SHARE", 6, true, 1, true, 'P', "of the loop's busy time, within the window"},
      {"P50", 5, true, 7, true, 0, "half of its calls took no longer"},
      {"P99", 5, true, 2, true, 'B', "99 % of its calls took no longer"},
      {"MAX", 5, true, 4, true, 'M', "the longest call"},
      {"LAG99", 5, true, 4, true, 'L', "of a timer: 99 % ran no later after they were due"},
      {"WATCHER", 10, false, 0, false, 'C', "its name"},
  };
  return kColumns;
}

WatcherSort watcher_sort(std::size_t column) {
  static constexpr WatcherSort kSorts[] = {
      WatcherSort::kKind,  WatcherSort::kFd,  WatcherSort::kCalls,
      WatcherSort::kShare, WatcherSort::kP50, WatcherSort::kP99,
      WatcherSort::kMax,   WatcherSort::kLag, WatcherSort::kName};
  return kSorts[std::min(column, std::size(kSorts) - 1)];
}

const std::vector<Column>& descriptor_columns() {
  static const std::vector<Column> kColumns = {
      {"FD", 7, true, 1, false, 'N', "its number"},
      {"KIND", 9, false, 2, false, 0, "tcp, pipe, file, ..."},
      {"AGE", 5, true, 4, true, 'A', "since it was opened"},
      {"IDLE", 5, true, 3, true, 'I', "since its last event or call"},
      {"EVENTS", 6, true, 6, true, 'E', "waits that returned it"},
      {"EV/S", 5, true, 5, true, 'T', "the same a second, since the last refresh"},
      {"SHARE", 6, true, 7, true, 'P', "of its loop's waits that returned anything"},
      {"CALLS", 6, true, 9, true, 0, "calls that read, wrote or accepted"},
      {"EPOLL", 5, true, 8, false, 0, "the epoll descriptor it is registered in"},
      {"WHAT", 10, false, 0, false, 'C', "addresses, path or name"},
  };
  return kColumns;
}

DescriptorSort descriptor_sort(std::size_t column) {
  static constexpr DescriptorSort kSorts[] = {DescriptorSort::kFd,     DescriptorSort::kKind,
                                              DescriptorSort::kAge,    DescriptorSort::kIdle,
                                              DescriptorSort::kEvents, DescriptorSort::kRate,
                                              DescriptorSort::kShare,  DescriptorSort::kIoCalls,
                                              DescriptorSort::kEpoll,  DescriptorSort::kWhat};
  return kSorts[std::min(column, std::size(kSorts) - 1)];
}

const std::vector<Column>& turn_columns() {
  static const std::vector<Column> kColumns = {
      {"AT", 12, false, 2, true, 'A', "when its wait returned"},
      {"BUSY", 5, true, 0, true, 'B', "how long it took"},
      {"", 1, false, 1, true, 0, "!: a stall"},
      {"WAIT", 5, true, 4, true, 0, "how long it waited before"},
      {"READY", 5, true, 3, true, 'E', "ready events"},
      {"TURN", 9, true, 5, true, 'N', "its number"},
      {"LONGEST CALLBACK", 10, false, 0, false, 0, "the watcher that took most of it"},
  };
  return kColumns;
}

std::string state_text(const Row& row, bool full) {
  const auto pick = [full](const char* wide, const char* narrow) {
    return std::string(full ? wide : narrow);
  };
  switch (row.state) {
    case State::kNoLoop:
      return pick("  no loop", "  no loop");
    case State::kPolling:
      return "~ polling";
    case State::kDispatching:
      return pick("> dispatching", "> dispat.");
    case State::kOutside:
      return ". outside";
    case State::kStopped:
      return "# stopped";
    case State::kStalled:
      if (!full || row.loop == nullptr) return "! STALLED";
      return "! STALLED " + short_duration(row.loop->stalled_ns);
    case State::kExecuted:
      return "- exec";
    case State::kEnded:
      return "- ended";
    case State::kExited: {
      const auto& status = row.process->recording.exit_status;
      if (!status) return "- exited";
      return (full ? "- exited " : "- exit ") + std::to_string(*status);
    }
    case State::kKilled:
      if (!row.process->signal) return "X killed";
      return (full ? "X killed " : "X ") + signal_name(*row.process->signal);
  }
  return {};
}

std::string loop_text(const recording::LoopSnapshot& loop) { return findings::loop_text(loop); }

std::string end_text(const ProcessSnapshot& process) {
  const recording::RecordingSnapshot& recording = process.recording;
  switch (recording.life) {
    case Life::kRunning:
      return {};
    case Life::kExited:
      return recording.exit_status ? "exited with status " + std::to_string(*recording.exit_status)
                                   : "exited";
    case Life::kExecuted:
      return "became another program (exec)";
    case Life::kKilled:
      break;
  }
  if (process.signal) return "killed by " + signal_name(*process.signal);
  return "killed or crashed (its parent, which is told by what, is not recorded)";
}

Cell phase_text(const ProcessSnapshot& process, const recording::LoopSnapshot& loop) {
  if (process.recording.life != Life::kRunning) {
    const bool killed = process.recording.life == Life::kKilled;
    std::string text = end_text(process);
    if (!loop.ended && loop.phase == recording::Phase::kDispatching) {
      text += "; it was dispatching";
      if (loop.running_watcher != 0) {
        text += ", in the callback " + findings::watcher_text(loop, loop.running_watcher);
      }
    } else if (!loop.ended && loop.phase == recording::Phase::kPolling) {
      text += "; it was polling";
    }
    return {(killed ? "X " : "- ") + text, killed ? Style::kBad : Style::kDim};
  }
  const std::string since = " for " + duration_text(loop.phase_ns);
  switch (loop_state(process, loop)) {
    case State::kEnded:
      return {"- ended; its process runs on", Style::kDim};
    case State::kStopped:
      return {"# its process is stopped by a signal", Style::kWarning};
    case State::kPolling:
      return {"~ polling" + since, Style::kGood};
    case State::kOutside:
      return {". outside of the loop" + since, Style::kDim};
    default:
      break;
  }
  const bool stalled = loop.stalled_ns != 0;
  std::string text =
      stalled ? "! STALLED for " + duration_text(loop.stalled_ns) : "> dispatching" + since;
  if (loop.running_watcher != 0) {
    text += ", in the callback " + findings::watcher_text(loop, loop.running_watcher) + " for " +
            duration_text(loop.running_watcher_ns);
  }
  return {text, stalled ? Style::kBad : Style::kPlain};
}

Style severity_style(findings::Severity severity) {
  switch (severity) {
    case findings::Severity::kError:
      return Style::kBad;
    case findings::Severity::kWarning:
      return Style::kWarning;
    case findings::Severity::kInfo:
      break;
  }
  return Style::kPlain;
}

Style utilization_style(std::optional<double> utilization) {
  if (!utilization) return Style::kDim;
  return *utilization >= kNearlyFull ? Style::kBad
         : *utilization >= kBusy     ? Style::kWarning
                                     : Style::kPlain;
}

Cell overview_cell(const Row& row, std::size_t column, std::size_t width) {
  using namespace overview_column;
  const Style plain = row.over ? Style::kDim : Style::kPlain;
  const bool process = row.loop == nullptr;  // its numbers are for sorting
  switch (column) {
    case kPid:
      // Below its process it would be said twice.
      return {row.child ? "" : std::to_string(row.process->recording.pid), plain};
    case kState: {
      Style style = plain;
      if (row.state == State::kStalled) style = Style::kBad;
      if (row.state == State::kKilled) style = Style::kBad;
      if (row.state == State::kStopped) style = Style::kWarning;
      if (process && (row.state == State::kPolling || row.state == State::kDispatching ||
                      row.state == State::kOutside)) {
        return {"", plain};
      }
      return {state_text(row, width >= kFullState), style};
    }
    case kUtilization:
      if (process) return {"", plain};
      return {short_percent(row.utilization), utilization_style(row.utilization)};
    case kBar:
      if (process || !row.utilization) return {"", plain};
      return {bar(*row.utilization, width), utilization_style(row.utilization) == Style::kPlain
                                                ? Style::kMeter
                                                : utilization_style(row.utilization)};
    case kUtilization10:
      return {process ? "" : whole_percent(row.utilization_10), plain};
    case kUtilization100:
      return {process ? "" : whole_percent(row.utilization_100), plain};
    case kTurns:
      return {process ? "" : short_count(row.turns_per_second), plain};
    case kReady:
      return {process ? "" : short_count(row.ready_per_turn), plain};
    case kBusyP50:
      return {process ? "" : short_duration(row.busy_p50), plain};
    case kBusyP99:
      return {process ? "" : short_duration(row.busy_p99), plain};
    case kLag:
      return {process ? "" : short_duration(row.lag_p99), plain};
    case kFds:
      return {row.child ? "" : fds_text(row), plain};
    case kFindings: {
      if (row.findings == 0) return {"-", Style::kDim};
      const char* mark = row.worst == findings::Severity::kError     ? "!"
                         : row.worst == findings::Severity::kWarning ? "?"
                                                                     : "";
      return {std::to_string(row.findings) + mark, severity_style(row.worst)};
    }
    case kName:
    default:
      return {row.child ? "  " + row.name : row.name, row.over ? Style::kDim : Style::kBold};
  }
}

Cell watcher_cell(const WatcherWindow& row, std::size_t column) {
  switch (watcher_sort(column)) {
    case WatcherSort::kKind:
      return {findings::watcher_kind_name(row.watcher->kind)};
    case WatcherSort::kFd:
      return {number_text(row.watcher->fd)};
    case WatcherSort::kCalls:
      return {short_count(row.calls_per_second)};
    case WatcherSort::kShare:
      return {short_percent(row.share)};
    case WatcherSort::kP50:
      return {quantile_text(row.callback, 0.5)};
    case WatcherSort::kP99:
      return {quantile_text(row.callback, 0.99)};
    case WatcherSort::kMax:
      return {row.callback.count == 0 ? "-" : short_duration(row.callback.max)};
    case WatcherSort::kLag:
      return {row.lag ? quantile_text(*row.lag, 0.99) : "-"};
    case WatcherSort::kName:
      break;
  }
  return {row.watcher->name, Style::kBold};
}

Cell descriptor_cell(const DescriptorRow& row, std::size_t column) {
  const recording::FdRecord& fd = row.descriptor->record;
  // Without a ledger, or of one whose birth was not seen, only what the kernel says is known.
  const bool known = fd.origin != recording::FdOrigin::kUnknown && !row.descriptor->unseen;
  switch (descriptor_sort(column)) {
    case DescriptorSort::kFd:
      return {std::to_string(fd.fd)};
    case DescriptorSort::kKind:
      return {process::descriptor_kind_name(fd.kind)};
    case DescriptorSort::kAge:
      return {short_duration(row.age_ns)};
    case DescriptorSort::kIdle:
      return {short_duration(row.idle_ns)};
    case DescriptorSort::kEvents:
      return {known ? short_count(static_cast<double>(fd.events)) : "-"};
    case DescriptorSort::kRate:
      return {known ? short_count(row.events_per_second) : "-"};
    case DescriptorSort::kShare:
      return {short_percent(row.descriptor->event_share)};
    case DescriptorSort::kIoCalls:
      return {known ? short_count(static_cast<double>(fd.io_calls)) : "-"};
    case DescriptorSort::kEpoll:
      return {number_text(fd.registered_epoll_fd)};
    case DescriptorSort::kWhat:
      break;
  }
  return {row.what, Style::kBold};
}

namespace {
enum TurnColumn : std::size_t { kTurnAt, kTurnBusy, kTurnMark, kTurnWait, kTurnReady, kTurnNumber };
}

Cell turn_cell(const recording::LoopSnapshot& loop, const recording::Turn& turn,
               std::size_t column) {
  const bool stall = loop.stall_threshold_ns != 0 && turn.busy_ns >= loop.stall_threshold_ns;
  switch (column) {
    case kTurnAt:
      return {clock_text(turn.at_ns)};
    case kTurnBusy:
      return {short_duration(turn.busy_ns), stall ? Style::kBad : Style::kBold};
    case kTurnMark:
      return {stall ? "!" : "", Style::kBad};
    case kTurnWait:
      return {short_duration(turn.poll_ns)};
    case kTurnReady:
      return {number_text(turn.ready)};
    case kTurnNumber:
      return {std::to_string(turn.turn)};
    default:
      break;
  }
  if (turn.watcher == 0) return {"-", Style::kDim};
  return {findings::watcher_text(loop, turn.watcher) + " " + duration_text(turn.watcher_ns)};
}

bool turn_before(const recording::Turn& a, const recording::Turn& b, std::size_t column) {
  switch (column) {
    case kTurnAt:
      return a.at_ns < b.at_ns;
    case kTurnWait:
      return a.poll_ns < b.poll_ns;
    case kTurnReady:
      return a.ready < b.ready;
    case kTurnNumber:
      return a.turn < b.turn;
    case kTurnBusy:
    case kTurnMark:
      return a.busy_ns < b.busy_ns;
    default:
      return a.watcher_ns < b.watcher_ns;
  }
}

}  // namespace loopscope::cli::top
