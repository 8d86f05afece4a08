// SPDX-License-Identifier: Apache-2.0
//
// The signals that an instruction raises in its own thread. loopscope never masks them in a program
// that is not its own: while one is masked, the kernel ends the process without asking its handler
// (a crash reporter's; a sandbox's, which answers SIGSYS). Source: force_sig_info_to_task in the
// kernel's kernel/signal.c; pthread_sigmask(3) of POSIX: undefined if masked when raised.
#pragma once

#include <signal.h>

namespace loopscope::recording {

inline constexpr int kFaultSignals[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};

/// All others, for pthread_sigmask(3).
inline sigset_t all_but_faults() noexcept {
  sigset_t all;
  sigfillset(&all);
  for (const int signal : kFaultSignals) sigdelset(&all, signal);
  return all;
}

}  // namespace loopscope::recording
