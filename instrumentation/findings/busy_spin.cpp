// SPDX-License-Identifier: Apache-2.0
//
// A spin: the loop asks the kernel not to wait, gets nothing, and asks again. One core burns for
// nothing; typical causes are an idle or async watcher that arms itself again each turn, a regular
// file watched for io (libev then never waits), or a timer that is always due.
//
// The recent turns must show that it spins now. They do not show that it lasts: at a million turns
// a second the whole ring is a few milliseconds, and rounding a timeout down makes thousands of
// such turns before a timer, harmlessly. So it must also last, by one of: the recent turns' own
// span, the time since an earlier snapshot, the loop's whole life.
#include <algorithm>

#include "instrumentation/findings/rules.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {
namespace {

/// Turns. Fewer are a start-up, a burst of idle work, or too few to speak of shares.
constexpr std::uint64_t kLeastTurns = 200;
/// Turns. More would take a loop with a large ring longer to be noticed, and to be forgiven.
constexpr std::size_t kMostTurns = 2048;
/// Share of the recent turns that are spins, in per cent. A spinning loop still handles real events
/// now and then.
constexpr std::uint64_t kSpinPercent = 90;
/// A spin shorter than this costs nobody anything.
constexpr std::uint64_t kLeastSpanNs = 50'000'000;
/// The last turn is at most so long ago, else it has stopped.
constexpr std::uint64_t kNowNs = 2'000'000'000;
/// A turn that was busy for so long has done some work: a computation cut into idle callbacks polls
/// like a spin, but is meant. A callback that only arms itself again takes microseconds.
constexpr std::uint64_t kWorkNs = 1'000'000;
/// Share of the time that went by in the loop's spinning turns, in per cent. Below, the loop mostly
/// waits after all.
constexpr std::uint64_t kTimePercent = 50;

bool is_spin(const recording::Turn& turn) {
  return turn.timeout_ns == 0 && turn.ready == 0 && turn.busy_ns < kWorkNs;
}

/// The watcher that ran in more than half of the spins, index + 1; else 0.
std::uint32_t usual_watcher(const recording::LoopSnapshot& loop,
                            std::span<const recording::Turn> recent, std::uint64_t spins) {
  std::vector<std::uint64_t> seen(loop.watchers.size() + 1);
  for (const auto& turn : recent) {
    if (is_spin(turn) && turn.watcher < seen.size()) ++seen[turn.watcher];
  }
  for (std::size_t i = 1; i < seen.size(); ++i) {
    if (seen[i] * 2 > spins) return static_cast<std::uint32_t>(i);
  }
  return 0;
}

void check(const recording::LoopSnapshot& loop, const Evidence& evidence,
           const std::optional<LoopWindow>& window, std::vector<Finding>& out) {
  std::span<const recording::Turn> recent(loop.recent);
  if (recent.size() > kMostTurns) recent = recent.last(kMostTurns);
  const std::uint64_t turns = recent.size();
  if (loop.ended || turns < kLeastTurns) return;
  std::uint64_t spins = 0, spin_ns = 0;
  for (const auto& turn : recent) {
    if (!is_spin(turn)) continue;
    ++spins;
    spin_ns += turn.poll_ns + turn.busy_ns;
  }
  if (spins * 100 < turns * kSpinPercent) return;

  const auto& first = recent.front();
  const auto& last = recent.back();
  const std::uint64_t end = last.at_ns + last.busy_ns;
  const std::uint64_t begin = first.at_ns - std::min(first.poll_ns, first.at_ns);
  if (evidence.recording.taken_ns > end + kNowNs) return;
  const std::uint64_t span = end > begin ? end - begin : 0;
  if (spin_ns * 100 < span * kTimePercent) return;

  // Time the loop spent in turns like these: their number by their mean length, as double, because
  // a hostile recording could hold any count.
  const double mean_ns = static_cast<double>(spin_ns) / static_cast<double>(spins);
  const auto lasts = [&](std::uint64_t nonblocking, std::uint64_t iterations, double length_ns) {
    const double spent_ns = static_cast<double>(nonblocking) * mean_ns;
    return static_cast<double>(nonblocking) * 100 >=
               static_cast<double>(iterations) * kSpinPercent &&
           spent_ns >= kLeastSpanNs && spent_ns * 100 >= length_ns * kTimePercent;
  };
  const double life_ns = static_cast<double>(evidence.recording.taken_ns) -
                         static_cast<double>(loop.started_ns) -
                         static_cast<double>(loop.outside_ns);
  const bool by_window =
      window && lasts(window->nonblocking, window->iterations, double(window->length_ns));
  const bool by_life = lasts(loop.nonblocking, loop.iterations, std::max(life_ns, 0.0));
  if (span < kLeastSpanNs && !by_window && !by_life) return;

  Finding finding;
  finding.rule = "busy-spin";
  finding.severity = Severity::kWarning;
  finding.subject = loop.name;
  finding.count = spins;
  finding.title = loop_text(loop) + " spins: " + percent_text(spins, turns) + " of its last " +
                  std::to_string(turns) + " turns polled without waiting and got nothing";
  finding.detail = "These turns took " + duration_text(span) + ", " +
                   duration_text(static_cast<std::uint64_t>(mean_ns)) + " each; " +
                   std::to_string(loop.nonblocking) + " of all " + std::to_string(loop.iterations) +
                   " polls did not wait.";
  if (span >= kLeastSpanNs) finding.since_ns = begin;
  const std::string watcher = watcher_text(loop, usual_watcher(loop, recent, spins));
  if (!watcher.empty()) {
    finding.detail += " The callback that ran in most of them is " + watcher + ".";
  }
  finding.advice =
      "Look for an idle watcher that stays active, a watcher that arms or feeds itself again each "
      "turn, a timer that is always due, or a regular file watched for io (libev then never "
      "waits). Stop idle watchers while there is nothing to do.";
  out.push_back(std::move(finding));
}

}  // namespace

void check_busy_spin(const Evidence& evidence, std::vector<Finding>& out) {
  for (std::size_t i = 0; i < evidence.recording.loops.size(); ++i) {
    check(evidence.recording.loops[i], evidence,
          i < evidence.windows.size() ? evidence.windows[i] : std::nullopt, out);
  }
}

}  // namespace loopscope::findings
