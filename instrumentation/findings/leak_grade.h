// SPDX-License-Identifier: Apache-2.0
//
// Whether descriptors that were open at a process' end are a leak. "Open at the end" alone says
// little: most healthy servers and runtimes end with some. So each open site is graded by what is
// known of it. docs/leak-grading.md has the grades in words, and what they were tuned on.
//
// Pure functions of their arguments; no state.
#pragma once

#include <cstdint>
#include <string>

#include "instrumentation/recording/descriptor_kind.h"

namespace loopscope::findings {

/// Whose code made the call that opened the descriptors.
///   kProgram   the program's own: not a file that the system's packages brought
///   kLibrary   a library of the system, called by the program's own code
///   kSystem    a program or runtime of the system by itself
///   kUnknown   the opening was not seen, or has no stack
enum class Opener { kProgram, kLibrary, kSystem, kUnknown };

/// How the process ended. kExited: by exit, _exit, quick_exit or return from main. kRunning: it had
/// not when the run was over.
enum class Ending { kExited, kKilled, kExec, kRunning };

/// What is known of one open site at the end of its process. Standard input, output and error and
/// what was inherited are not in it.
struct SiteEvidence {
  recording::DescriptorKind kind = recording::DescriptorKind::kOther;
  Opener opener = Opener::kUnknown;
  Ending ending = Ending::kExited;

  std::uint64_t live = 0;      // open at the end
  std::uint64_t opened = 0;    // ever, by this site
  std::uint64_t closed = 0;    // of those
  std::uint64_t per_call = 1;  // 2: pipe, socketpair

  // Of the live ones:
  std::uint64_t in_service = 0;    // in an epoll set, accepting, a loop's own epoll set, or in use
                                   // over time (see in_use_over_time())
  std::uint64_t thread_ended = 0;  // opened by a thread that was gone at the end
  std::uint64_t peer_closed = 0;   // TCP: the other side had closed, for kPeerClosedNs or longer

  std::uint64_t in_hand = 0;  // not in service; the one that a thread, not the main one, had
                              // just opened, see kInHandNs

  std::uint64_t run_ns = 0;     // how long the process ran
  std::uint64_t births_ns = 0;  // from the birth of the oldest live one to that of the youngest

  /// They were handed to another program by exec(3), which never touched them.
  bool lost_by_exec = false;
};

enum class Grade { kLeak, kKept };

enum class Reason {
  // kLeak
  kNeverClosed,      // the program's own code never closes what this site opens
  kNotAlwaysClosed,  // it closes some
  kRepeated,         // a library opens one after the other for the program
  kGrows,            // ever more through the run, none closed: whoever opened them
  kLostByExec,       // they passed to a program that does not know of them
  kManyAtKill,       // the process was killed, but several were left idle and none was ever closed
  // kKept
  kInService,
  kInHand,       // other threads were just at work on them when the process exited
  kKilledFirst,  // the process was killed before it could have closed them
  kStillRunning,
  kByExec,       // the process became another program, which has them now
  kLibraryOnce,  // a library keeps one or two
  kRuntime,      // a program or runtime of the system keeps them
  kNotSeen,      // nobody knows who opened them
};

struct Verdict {
  Grade grade = Grade::kKept;
  Reason reason = Reason::kNotSeen;
  /// How many of the live descriptors it is about: those not in service, of a leak.
  std::uint64_t count = 0;
};

/// So many live descriptors, spread over at least half of the run and none closed, are growth.
inline constexpr std::uint64_t kGrowthLive = 16;
/// A run shorter than this has no "through the run".
inline constexpr std::uint64_t kGrowthRunNs = 500'000'000;
/// Of a library of the system: so many calls are no cache any more.
inline constexpr std::uint64_t kRepeatedCalls = 3;
/// Of a process that was killed: so many idle ones of one site are not what it was busy with.
inline constexpr std::uint64_t kManyCalls = 3;
/// A thread that opens and closes in turn may be between the two when the main one exits: what it
/// opened so shortly before the end is in its hand, ...
inline constexpr std::uint64_t kInHandNs = 200'000'000;
/// ... if its site is in the habit of closing: so many for each.
inline constexpr std::uint64_t kHabit = 16;
/// A peer that closed so long ago was not just leaving.
inline constexpr std::uint64_t kPeerClosedNs = 1'000'000'000;

Verdict grade(const SiteEvidence& evidence) noexcept;

/// One sentence that says why, for the report: "Its code closes none of what it opens here."
const char* reason_text(Reason reason) noexcept;

/// A descriptor that is read or written now and then until the end (a log file): `io_calls` on it,
/// the last `idle_ns` before the end of a process that ran for `run_ns`.
bool in_use_over_time(std::uint64_t io_calls, std::uint64_t idle_ns, std::uint64_t run_ns) noexcept;

}  // namespace loopscope::findings
