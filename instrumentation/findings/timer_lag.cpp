// SPDX-License-Identifier: Apache-2.0
//
// Timers that run late although nothing is called a stall: many turns, each short enough, between
// due time and callback; or a machine without a free processor.
#include "instrumentation/findings/rules.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {
namespace {

/// In ns. A tenth of a second is where people notice, and far beyond what the kernel's timer slack
/// (50 µs) or libev's rounding to milliseconds explain.
constexpr double kLagNs = 100e6;
/// The share of expirations that must be late is the rest. Not 1 %: one long turn makes every timer
/// that falls due meanwhile late, so 50 timers and one hiccup (which loop-stall tells of) make 5 %
/// of a thousand.
constexpr double kQuantile = 0.9;
/// Expirations. Among fewer, the timers of one hiccup are soon a tenth.
constexpr std::uint64_t kLeastSamples = 1000;

}  // namespace

void check_timer_lag(const Evidence& evidence, std::vector<Finding>& out) {
  for (const auto& loop : evidence.recording.loops) {
    const auto& lag = loop.timer_lag;
    if (lag.count < kLeastSamples) continue;
    const double late = lag.quantile(kQuantile);
    if (!(late > kLagNs)) continue;
    Finding finding;
    finding.rule = "timer-lag";
    finding.severity = Severity::kWarning;
    finding.subject = loop.name;
    finding.count = lag.count;
    finding.title = "timers of " + loop_text(loop) + " run late: one in ten by " +
                    duration_text(static_cast<std::uint64_t>(late)) + " or more";
    finding.detail = "Of " + std::to_string(lag.count) + " expirations, half were up to " +
                     duration_text(static_cast<std::uint64_t>(lag.quantile(0.5))) +
                     " late, the latest " + duration_text(lag.max) + ".";
    const recording::WatcherSnapshot* worst = nullptr;
    for (const auto& watcher : loop.watchers) {
      if (!watcher.lag || watcher.lag->count == 0) continue;
      if (worst == nullptr || watcher.lag->max > worst->lag->max) worst = &watcher;
    }
    if (worst != nullptr) {
      finding.detail += " The latest of the named ones is \"" + worst->name + "\".";
    }
    finding.advice =
        "Compare with the busy time per turn: long turns delay timers, so look for the callbacks "
        "that take most of it. If turns are short, the process does not get the processor.";
    out.push_back(std::move(finding));
  }
}

}  // namespace loopscope::findings
