// SPDX-License-Identifier: Apache-2.0
//
// What a thread of another process is doing right now, seen from outside, and its stack.
//
// A thread that is blocked in a system call is not touched: /proc says where its stack is, and the
// memory of a thread that does not run can be copied as it is. Only its callee-saved registers
// stay unknown, so that unwinding ends at the first function that keeps a frame pointer.
//
// One that runs has to be stopped for an instant (PTRACE_SEIZE, PTRACE_INTERRUPT): registers and
// stack are copied, and it goes on; unwinding comes afterwards. A stop is not always without a
// trace: the kernel ends some calls by it with EINTR (epoll_wait, recv with a timeout, semop, ...)
// and others early (half of a large write). Therefore
//
//   - a blocked thread is stopped only in calls that the kernel goes on with as if nothing had
//     been (resumes_unnoticed());
//   - a running one may have entered a call in the microseconds between the look and the stop: what
//     the stop made end with EINTR is set up to be called again, which is what the kernel itself
//     does with poll or pause. Only a timeout then begins anew; and a large write that was caught
//     on its way ends early.
//
// Permission is that of ptrace(2): the same user, and where Yama restricts it (Debian and Ubuntu
// may), a descendant of ours.
//
// Thread-safety: free functions without state. Cost: a look 15 µs; a copy 30 to 100 µs; of a thread
// that is stopped as much, and it loses as much.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "instrumentation/process/stack_copy.h"

namespace loopscope::process {

/// Since the thread's start; /proc/PID/task/TID/schedstat.
struct ThreadTimes {
  std::uint64_t cpu_ns = 0;     // it ran
  std::uint64_t waited_ns = 0;  // it was ready to, but others had the CPUs
};

/// None: no such thread, or a kernel that does not count.
std::optional<ThreadTimes> read_thread_times(std::int32_t pid, std::int32_t thread_id);

/// A system call that a thread is blocked in.
struct SystemCall {
  /// It is blocked, but not by a call: it waits for a page of memory.
  static constexpr std::int64_t kNone = -1;

  std::int64_t number = kNone;
  std::array<std::uint64_t, 6> arguments{};
  std::uint64_t stack_pointer = 0;
  std::uint64_t program_counter = 0;

  friend bool operator==(const SystemCall&, const SystemCall&) = default;
};

struct ThreadLook {
  char state = '?';  // R runs or could, S sleeps, D sleeps and cannot be woken, T stopped, t traced
  /// None: it runs, or we may not know.
  std::optional<SystemCall> call;
  std::string channel;  // the kernel's function that it waits in; empty: not known
};

/// None: no such thread.
std::optional<ThreadLook> look_at_thread(std::int32_t pid, std::int32_t thread_id);

/// Parses /proc/PID/task/TID/syscall: "running", or the number, six arguments, stack pointer and
/// program counter; of a thread that is blocked without a call "-1" and the last two. Exposed for
/// tests.
std::optional<SystemCall> parse_system_call(const std::string& line);

/// "clock_nanosleep"; "system call 999" for one that this version does not know; empty for kNone.
std::string system_call_name(std::int64_t number);

/// Whether the kernel goes on with a call that a stop has interrupted, its timeout included.
bool resumes_unnoticed(std::int64_t number);

/// What became of an attempt to copy a stack.
struct StackAttempt {
  std::optional<StackCopy> copy;
  std::string why;  // there is none: "it has gone on", "Operation not permitted (...)"
};

/// Of a thread that is blocked as `look` says, without stopping it. Not if it has gone on
/// meanwhile.
StackAttempt copy_blocked_stack(std::int32_t pid, std::int32_t thread_id, const ThreadLook& look);

/// Stops the thread for it. `still_wanted` is asked when all is ready for the stop. Not to be
/// called for a thread of this process.
StackAttempt copy_stack(std::int32_t pid, std::int32_t thread_id,
                        const std::function<bool()>& still_wanted);

}  // namespace loopscope::process
