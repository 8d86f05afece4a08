// SPDX-License-Identifier: Apache-2.0
//
// A stall: a busy part longer than the loop's threshold, by the wall clock. Whatever the cause
// (computing, a blocking call, a page read from a slow disk), no other watcher of the loop runs
// meanwhile.
#include <algorithm>

#include "instrumentation/findings/rules.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {
namespace {

/// Enough to see whether it is always the same callback; more would not be read.
constexpr std::size_t kTurnsShown = 3;

constexpr const char* kAdvice =
    "Move the work to a thread, split it over several turns, or replace the blocking call by an "
    "asynchronous one: until the callback returns, no other watcher of this loop runs.";

/// About the finished stalls; `stalled`, the longest first, are those whose turns are at hand, of
/// `finished` that there were.
std::string longest_turns(const recording::LoopSnapshot& loop,
                          const std::vector<const recording::Turn*>& stalled,
                          std::uint64_t finished) {
  std::string text;
  if (stalled.size() >= finished) {
    text = stalled.size() == 1 ? "It was" : "The longest:";
    if (loop.stalled_ns != 0) text = stalled.size() == 1 ? "The earlier one:" : "The earlier ones:";
  } else {
    text = "Of the " + std::to_string(finished) +
           (loop.stalled_ns != 0 ? " earlier ones, " : ", ") + std::to_string(stalled.size()) +
           (stalled.size() == 1 ? " is" : " are") + " still among the recorded turns";
    // A turn's time is rounded in the ring, the histogram's maximum is not.
    if (loop.busy.max > stalled.front()->busy_ns + stalled.front()->busy_ns / 64) {
      text += ", but not the longest (" + duration_text(loop.busy.max) + ")";
    }
    text += ":";
  }
  const char* separator = " ";
  for (std::size_t i = 0; i < std::min(kTurnsShown, stalled.size()); ++i) {
    const recording::Turn& turn = *stalled[i];
    text += separator;
    separator = "; ";
    text += duration_text(turn.busy_ns) + " in turn " + std::to_string(turn.turn);
    const std::string watcher = watcher_text(loop, turn.watcher);
    if (!watcher.empty()) text += ", " + duration_text(turn.watcher_ns) + " of it in " + watcher;
  }
  return text + ".";
}

void check(const recording::LoopSnapshot& loop, const Evidence& evidence,
           std::vector<Finding>& out) {
  if (loop.stalls == 0 && loop.stalled_ns == 0) return;

  std::vector<const recording::Turn*> stalled;
  for (const auto& turn : loop.recent) {
    if (loop.stall_threshold_ns != 0 && turn.busy_ns >= loop.stall_threshold_ns) {
      stalled.push_back(&turn);
    }
  }

  Finding finding;
  finding.rule = "loop-stall";
  finding.subject = loop.name;
  finding.count = std::max<std::uint64_t>(loop.stalls, 1);
  finding.advice = kAdvice;
  const std::string threshold =
      "The threshold is " + duration_text(loop.stall_threshold_ns) + " of busy time in one turn.";
  if (loop.stalled_ns != 0) {
    finding.severity = Severity::kError;
    finding.title = loop_text(loop) + " has been stalled for " + duration_text(loop.stalled_ns);
    if (finding.count > 1) finding.title += ", its stall no. " + std::to_string(finding.count);
    finding.since_ns = evidence.recording.taken_ns - loop.stalled_ns;
    const std::string watcher = watcher_text(loop, loop.running_watcher);
    finding.detail = watcher.empty() ? "It has not polled since; no named callback is running. "
                                     : "It is in " + watcher + ", for " +
                                           duration_text(loop.running_watcher_ns) + " now. ";
    if (evidence.process_state == 'T' || evidence.process_state == 't') {
      finding.detail += "The process is stopped, by a signal or a debugger. ";
    }
    finding.detail += threshold;
  } else {
    finding.severity = Severity::kWarning;
    finding.title = loop_text(loop) + " stalled " + times_text(loop.stalls) +
                    (loop.stalls == 1 ? ", for " : ", the longest ") + duration_text(loop.busy.max);
    finding.detail = threshold;
    // The first can be dated only if none has fallen off the ring.
    if (!stalled.empty() && stalled.size() >= loop.stalls) {
      finding.since_ns = stalled.front()->at_ns;
    }
  }
  if (!stalled.empty()) {
    std::stable_sort(stalled.begin(), stalled.end(),
                     [](const auto* a, const auto* b) { return a->busy_ns > b->busy_ns; });
    const std::uint64_t in_progress = loop.stalled_ns != 0 ? 1 : 0;
    finding.detail +=
        " " + longest_turns(loop, stalled, finding.count - std::min(finding.count, in_progress));
  }
  out.push_back(std::move(finding));
}

}  // namespace

void check_loop_stall(const Evidence& evidence, std::vector<Finding>& out) {
  for (const auto& loop : evidence.recording.loops) check(loop, evidence, out);
}

}  // namespace loopscope::findings
