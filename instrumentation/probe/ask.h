// SPDX-License-Identifier: Apache-2.0
//
// What the probe asks the kernel about descriptors, past its own hooks. A question that could not
// be asked is not answered by no.
//
// Any thread, signal handlers; keeps nothing. Cost: a system call each. errno is not kept.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "instrumentation/probe/real.h"
#include "instrumentation/recording/own_calls.h"

namespace loopscope::probe {

enum class Answer { kOpen, kNotOpen, kNotAsked };

/// fcntl(F_GETFD) of a number: its flags, or -1 and errno.
inline long descriptor_flags(int fd) noexcept {
  const long flags = recording::uninterrupted(recording::OwnCall::kFcntl, [&] {
    return g_real.syscall(SYS_fcntl, fd, F_GETFD, 0, 0, 0, 0);
  });
  if (flags < 0 && errno != EBADF) recording::own_call_failed(recording::OwnCall::kFcntl, errno);
  return flags;
}

inline Answer ask_kernel(int fd) noexcept {
  if (descriptor_flags(fd) >= 0) return Answer::kOpen;
  return errno == EBADF ? Answer::kNotOpen : Answer::kNotAsked;
}

/// The size of /proc/self/fd is the number of open descriptors (Linux 6.2). False: not known.
inline bool count_open(struct stat& status) noexcept {
  const int result = recording::uninterrupted(recording::OwnCall::kStat,
                                              [&] { return stat("/proc/self/fd", &status); });
  if (result != 0 && errno != ENOENT && errno != EACCES) {
    recording::own_call_failed(recording::OwnCall::kStat, errno);
  }
  return result == 0;
}

}  // namespace loopscope::probe
