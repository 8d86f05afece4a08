// SPDX-License-Identifier: Apache-2.0
//
// What a run was told to keep: no turn busy for longer than --max-stall, no timer later than
// --max-timer-lag, no busy p99 above --max-busy-p99.
#include <cmath>

#include "instrumentation/findings/blame.h"
#include "instrumentation/findings/end_evidence.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {
namespace {

using recording::LoopSnapshot;

Finding budget(const char* rule, const LoopSnapshot& loop) {
  Finding finding;
  finding.rule = rule;
  finding.severity = Severity::kError;
  finding.subject = loop.name;
  return finding;
}

/// Whether the process was killed in the turn that was seen. One that ends by itself has left its
/// loop: what it does then is no turn.
bool never_ended(const StallGlance& glance, const EndEvidence& evidence, const LoopSnapshot& loop) {
  return evidence.image.ending == Ending::kKilled &&
         (loop.busy.count == 0 || glance.seen_ns > loop.busy.max);
}

/// What was seen of this loop's longest stall, else of another; null: nothing.
const StallGlance* glance_at(const EndEvidence& evidence, const LoopSnapshot& loop) {
  const StallGlance* found = nullptr;
  for (const StallGlance& glance : evidence.image.glances) {
    if (glance.loop_id != loop.id || glance.generation != loop.generation) continue;
    if (never_ended(glance, evidence, loop)) return &glance;
    const std::uint64_t finished = loop.busy.count != 0 ? loop.busy.max : 0;
    if (glance.seen_ns > finished && evidence.image.ending != Ending::kRunning) continue;
    if (found == nullptr || (loop.worst_turn && loop.worst_turn->turn == glance.turn)) {
      found = &glance;
    }
  }
  return found;
}

/// "usleep" of "__GI_usleep@@GLIBC_2.2.5".
std::string_view library_function(std::string_view function) {
  function = bare_function(function);
  function = function.substr(0, function.find('@'));
  for (const std::string_view prefix : {"__GI_", "__libc_"}) {
    if (function.starts_with(prefix)) function.remove_prefix(prefix.size());
  }
  const std::size_t name = function.find_first_not_of('_');
  return name == std::string_view::npos ? function : function.substr(name);
}

/// The function of somebody else's library that the frame to look at called; empty: none.
std::string called_from(const Place& place) {
  if (!place.stack || !place.frame || *place.frame >= place.stack->size()) return "";
  const recording::StackFrame& from = (*place.stack)[*place.frame];
  for (std::size_t at = *place.frame; at-- > 0;) {
    const recording::StackFrame& frame = (*place.stack)[at];
    // The probe stands between; and what was compiled into the program is no call of a library.
    if (frame.module == from.module || frame.function.empty() ||
        base_name(frame.module).starts_with("libloopscope")) {
      continue;
    }
    return std::string(library_function(frame.function));
  }
  return "";
}

/// "in usleep (system call clock_nanosleep), called", "computing (24 ms of CPU in the last 25 ms)":
/// what precedes "at" and the place.
std::string doing_text(const StallGlance& glance, const std::string& called) {
  std::string cpu;
  if (const auto& times = glance.times; times && times->over_ns != 0) {
    cpu = duration_text(times->cpu_ns) + " of CPU in the " + duration_text(times->over_ns) +
          " before";
    if (times->waited_ns > times->over_ns / 2) {
      cpu += "; for " + duration_text(times->waited_ns) + " it was ready and others had the CPU";
    }
  }
  switch (glance.doing) {
    case StallGlance::Doing::kBlocked: {
      std::string text = "blocked";
      const std::string kernel =
          glance.channel.empty() ? "" : ", in the kernel's " + glance.channel;
      if (!called.empty()) {
        text = "in " + called;
        if (glance.call.empty() || glance.call == called) {
          text += ", called";
        } else {
          text += " (system call " + glance.call + "), called";
        }
      } else if (!glance.call.empty()) {
        text = glance.call.starts_with("system call") ? "in " + glance.call
                                                      : "in the system call " + glance.call;
      } else {
        text += kernel;
      }
      return text;
    }
    case StallGlance::Doing::kComputing:
      if (called.empty()) return cpu.empty() ? "computing" : "computing (" + cpu + ")";
      return "computing in " + called + (cpu.empty() ? "" : " (" + cpu + ")") + ", called";
    case StallGlance::Doing::kStopped:
      return "stopped by a signal or a debugger";
    case StallGlance::Doing::kUnknown:
      break;
  }
  return "";
}

Place place_of(const StallGlance& glance, const Image& image) {
  Place place;
  place.role = "the thread was";
  place.stack = glance.stack;
  if (place.stack) place.frame = blame(*place.stack, image.executable).frame;
  return place;
}

/// "50 ms into it the thread was in usleep, called at slow_callback (server.c:42)."
std::string glance_text(const StallGlance& glance, const Place& place) {
  const std::string doing = doing_text(glance, called_from(place));
  std::string text = duration_text(glance.into_ns) + " into it the thread was";
  if (!doing.empty()) text += " " + doing;
  if (place.frame) {
    text += " at " + place_name((*place.stack)[*place.frame]);
  } else if (!glance.no_stack.empty()) {
    text += "; its stack could not be read: " + glance.no_stack;
  }
  return text + ".";
}

void check_stall(const EndEvidence& evidence, const LoopSnapshot& loop, std::vector<Finding>& out) {
  const std::uint64_t most = *evidence.budgets.stall_ns;
  const StallGlance* glance = glance_at(evidence, loop);
  const std::uint64_t finished = loop.busy.count != 0 ? loop.busy.max : 0;
  // A turn that never ended (the process did first) is in no histogram.
  const bool endless = glance != nullptr && never_ended(*glance, evidence, loop);
  const std::uint64_t longest =
      std::max({finished, loop.stalled_ns, endless ? glance->seen_ns : 0});
  if (longest <= most) return;
  Finding finding = budget("stall-budget", loop);
  finding.title = loop_text(loop) + " stalled for " + (endless ? "more than " : "") +
                  duration_text(longest) + ", more than the " + duration_text(most) + " it may";
  std::uint64_t over = endless ? 1 : 0;
  for (const recording::Turn& turn : loop.recent) over += turn.busy_ns > most ? 1 : 0;
  finding.count = std::max<std::uint64_t>(over, 1);

  const auto& worst = loop.worst_turn;
  std::string seen;
  if (glance != nullptr) {
    Place place = place_of(*glance, evidence.image);
    seen = glance_text(*glance, place);
    const bool is_worst = endless || (worst && worst->turn == glance->turn);
    if (!is_worst) {
      seen =
          "Of turn " + std::to_string(glance->turn) + ", which stalled as well, was seen: " + seen;
    }
    if (place.stack) finding.places.push_back(std::move(place));
  } else {
    seen = "What its thread was doing was not seen.";
  }
  if (endless) {
    finding.detail = "It was turn " + std::to_string(glance->turn) +
                     ", which had not ended when the process did.";
  } else if (worst && worst->busy_ns == loop.busy.max) {
    finding.since_ns = worst->at_ns;
    finding.detail = "It was turn " + std::to_string(worst->turn) + ", " +
                     after_start(worst->at_ns, evidence.image.recording);
    if (worst->ready >= 0) {
      finding.detail += ", with " + std::to_string(worst->ready) + " descriptor" +
                        (worst->ready == 1 ? "" : "s") + " ready";
    }
    finding.detail += ".";
  }
  if (!seen.empty()) finding.detail += (finding.detail.empty() ? "" : " ") + seen;
  if (!endless && worst && worst->busy_ns == loop.busy.max) {
    const std::string watcher = watcher_text(loop, worst->watcher);
    if (!watcher.empty()) {
      finding.detail += " " + duration_text(worst->watcher_ns) + " of it went to " + watcher + ".";
    }
    if (worst->served_fd >= 0) {
      finding.detail += " " + duration_text(worst->served_ns) + " went by serving descriptor " +
                        std::to_string(worst->served_fd) + ".";
      FoundDescriptor served;
      served.fd = worst->served_fd;
      if (evidence.image.recording.ledger) {
        for (const auto& fd : evidence.image.recording.ledger->fds) {
          if (fd.fd == worst->served_fd && fd.opened_ns <= worst->at_ns) {
            served = make_descriptor(fd);
          }
        }
      }
      finding.descriptors.push_back(std::move(served));
      if (worst->served_site) {
        finding.places.push_back(
            make_place("the descriptor it served was opened", evidence.image, worst->served_site));
      }
    }
  }
  if (over > 1) {
    finding.detail += (finding.detail.empty() ? "" : " ") + std::to_string(over) + " of the last " +
                      std::to_string(loop.recent.size()) + " turns were too long.";
  }
  finding.advice =
      "Move the work to a thread, split it over several turns, or replace the blocking call by an "
      "asynchronous one: until the turn ends, nothing else of this loop runs.";
  out.push_back(std::move(finding));
}

void check_timer_lag(const EndEvidence& evidence, const LoopSnapshot& loop,
                     std::vector<Finding>& out) {
  const std::uint64_t most = *evidence.budgets.timer_lag_ns;
  if (loop.timer_lag.count == 0 || loop.timer_lag.max <= most) return;
  Finding finding = budget("timer-lag-budget", loop);
  finding.title = "a timer of " + loop_text(loop) + " ran " + duration_text(loop.timer_lag.max) +
                  " late, more than the " + duration_text(most) + " it may";
  if (const auto& worst = loop.worst_lag; worst && worst->lag_ns == loop.timer_lag.max) {
    finding.since_ns = worst->at_ns;
    finding.detail = "It ran " + after_start(worst->at_ns, evidence.image.recording);
    const std::string watcher = watcher_text(loop, worst->watcher);
    finding.detail += watcher.empty() ? "." : ", in " + watcher + ".";
  }
  finding.detail += (finding.detail.empty() ? "" : " ") + std::string("p99 of the lag is ") +
                    duration_text(static_cast<std::uint64_t>(loop.timer_lag.quantile(0.99))) +
                    " over " + std::to_string(loop.timer_lag.count) + " timers.";
  if (loop.worst_turn) {
    finding.detail += " The longest turn of this loop was busy for " +
                      duration_text(loop.worst_turn->busy_ns) + ".";
  }
  finding.advice =
      "A timer waits for the turn before it: look at what the loop's longest turns do "
      "(--max-stall). If none is long, the machine was busy: run it with less beside it.";
  out.push_back(std::move(finding));
}

void check_busy_p99(const EndEvidence& evidence, const LoopSnapshot& loop,
                    std::vector<Finding>& out) {
  // With fewer turns the 99th percentile is the longest one.
  constexpr std::uint64_t kTurns = 100;
  const std::uint64_t most = *evidence.budgets.busy_p99_ns;
  if (loop.busy.count < kTurns) return;
  const auto p99 = static_cast<std::uint64_t>(std::llround(loop.busy.quantile(0.99)));
  if (p99 <= most) return;
  Finding finding = budget("busy-p99-budget", loop);
  finding.title = "p99 of the busy part of " + loop_text(loop) + "'s turns is " +
                  duration_text(p99) + ", more than the " + duration_text(most) + " it may be";
  finding.detail = "Over " + std::to_string(loop.busy.count) + " turns; p50 " +
                   duration_text(static_cast<std::uint64_t>(loop.busy.quantile(0.5))) +
                   ", longest " + duration_text(loop.busy.max) + ".";
  finding.advice =
      "One turn in a hundred keeps all other watchers waiting for so long: look at "
      "what takes the time in most turns, not at the longest.";
  out.push_back(std::move(finding));
}

}  // namespace

void check_budgets(const EndEvidence& evidence, std::vector<Finding>& out) {
  for (const LoopSnapshot& loop : evidence.image.recording.loops) {
    if (evidence.budgets.stall_ns) check_stall(evidence, loop, out);
    if (evidence.budgets.timer_lag_ns) check_timer_lag(evidence, loop, out);
    if (evidence.budgets.busy_p99_ns) check_busy_p99(evidence, loop, out);
  }
}

}  // namespace loopscope::findings
