// SPDX-License-Identifier: Apache-2.0
//
// A poll that returns as many events as it has room for may have left some behind. libev grows its
// array by itself, so a few are normal; many say that events are ready faster than the loop can
// take them. A loop that makes room for as many events as it has descriptors registered (Python's
// selectors) leaves nothing behind, however often all of them are ready.
#include "instrumentation/findings/rules.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {
namespace {

/// Polls. libev's array doubles each time: from 64 to a million takes 14.
constexpr std::uint64_t kLeastSaturated = 20;
/// Of all turns, in per cent. A burst now and then is no bottleneck.
constexpr std::uint64_t kLeastPercent = 1;

/// Whether more descriptors are registered than the largest batch had room for.
bool room_was_short(const Evidence& evidence, const recording::LoopSnapshot& loop) {
  std::uint64_t registered = 0;
  for (const auto& [fd, epoll_fd] : evidence.recording.registered) {
    if (epoll_fd == loop.epoll_fd) ++registered;
  }
  return registered > loop.ready.max;
}

}  // namespace

void check_batch_saturated(const Evidence& evidence, std::vector<Finding>& out) {
  for (const auto& loop : evidence.recording.loops) {
    if (loop.saturated < kLeastSaturated) continue;
    if (loop.saturated < loop.iterations / 100 * kLeastPercent +
                             (loop.iterations % 100 * kLeastPercent + 99) / 100) {
      continue;
    }
    if (!room_was_short(evidence, loop)) continue;
    Finding finding;
    finding.rule = "batch-saturated";
    finding.severity = Severity::kInfo;
    finding.subject = loop.name;
    finding.count = loop.saturated;
    finding.title = std::to_string(loop.saturated) + " polls of " + loop_text(loop) +
                    " returned as many events as there was room for";
    finding.detail = "That is " + percent_text(loop.saturated, loop.iterations) + " of " +
                     std::to_string(loop.iterations) +
                     " polls. More descriptors may have been ready; they had to wait for the next "
                     "turn.";
    finding.advice =
        "If busy time per turn grows with it, the loop is overloaded: spread the "
        "descriptors over several loops, or do less per event.";
    out.push_back(std::move(finding));
  }
}

}  // namespace loopscope::findings
