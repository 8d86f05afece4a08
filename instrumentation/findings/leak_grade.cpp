// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/findings/leak_grade.h"

#include <algorithm>

namespace loopscope::findings {
namespace {

/// A pool is filled at the start, a cache soon after; what is opened again and again through the
/// run and never closed is neither.
bool grows(const SiteEvidence& evidence, std::uint64_t idle) noexcept {
  return evidence.closed == 0 && idle >= kGrowthLive && evidence.run_ns >= kGrowthRunNs &&
         evidence.births_ns >= evidence.run_ns / 2;
}

}  // namespace

bool in_use_over_time(std::uint64_t io_calls, std::uint64_t idle_ns,
                      std::uint64_t run_ns) noexcept {
  // In a short run everything was used lately.
  constexpr std::uint64_t kLongEnoughNs = 1'000'000'000;
  constexpr std::uint64_t kCalls = 8;
  return run_ns >= kLongEnoughNs && io_calls >= kCalls && idle_ns <= run_ns / 10;
}

Verdict grade(const SiteEvidence& evidence) noexcept {
  const std::uint64_t in_service = std::min(evidence.in_service, evidence.live);
  const bool habit = evidence.ending == Ending::kExited && !evidence.lost_by_exec &&
                     evidence.closed / kHabit >= evidence.in_hand;
  const std::uint64_t in_hand = habit ? std::min(evidence.in_hand, evidence.live - in_service) : 0;
  const std::uint64_t idle = evidence.live - in_service - in_hand;
  const std::uint64_t calls =
      (idle + evidence.per_call - 1) / std::max<std::uint64_t>(evidence.per_call, 1);
  const auto leak = [&](Reason reason) { return Verdict{Grade::kLeak, reason, idle}; };
  const auto kept = [&](Reason reason) { return Verdict{Grade::kKept, reason, evidence.live}; };

  if (evidence.ending == Ending::kExec) return kept(Reason::kByExec);
  if (idle == 0 && in_hand == 0) return kept(Reason::kInService);
  if (evidence.opener == Opener::kUnknown) return kept(Reason::kNotSeen);
  if (grows(evidence, idle)) return leak(Reason::kGrows);
  if (evidence.opener == Opener::kSystem) return kept(Reason::kRuntime);
  if (idle == 0) return kept(Reason::kInHand);
  switch (evidence.ending) {
    case Ending::kRunning:
      return kept(Reason::kStillRunning);
    case Ending::kKilled:
      if (evidence.opener == Opener::kProgram && evidence.closed == 0 && in_service == 0 &&
          calls >= kManyCalls) {
        return leak(Reason::kManyAtKill);
      }
      return kept(Reason::kKilledFirst);
    case Ending::kExited:
    case Ending::kExec:
      break;
  }
  if (evidence.opener == Opener::kLibrary) {
    return calls >= kRepeatedCalls ? leak(Reason::kRepeated) : kept(Reason::kLibraryOnce);
  }
  if (evidence.lost_by_exec) return leak(Reason::kLostByExec);
  return leak(evidence.closed == 0 ? Reason::kNeverClosed : Reason::kNotAlwaysClosed);
}

const char* reason_text(Reason reason) noexcept {
  switch (reason) {
    case Reason::kNeverClosed:
      return "Of those opened in this way none was ever closed.";
    case Reason::kNotAlwaysClosed:
      return "Others that were opened in this way were closed: on some path the close is missing.";
    case Reason::kRepeated:
      return "A library opens them, again and again, on behalf of this code: what it was asked to "
             "open is never given back.";
    case Reason::kGrows:
      return "More and more of them were open through the whole run, and none was ever closed.";
    case Reason::kLostByExec:
      return "The process then became another program by exec, which never used or closed them.";
    case Reason::kManyAtKill:
      return "The process was killed, but these lay idle, and none opened in this way was ever "
             "closed.";
    case Reason::kInService:
      return "in service until the end";
    case Reason::kInHand:
      return "a thread was just at work on it when the process ended";
    case Reason::kKilledFirst:
      return "the process was killed before it could have closed them";
    case Reason::kStillRunning:
      return "the process was still running";
    case Reason::kByExec:
      return "the process became another program";
    case Reason::kLibraryOnce:
      return "kept by a library of the system";
    case Reason::kRuntime:
      return "kept by a program or runtime of the system";
    case Reason::kNotSeen:
      return "opened out of sight";
  }
  return "";
}

}  // namespace loopscope::findings
