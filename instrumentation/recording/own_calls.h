// SPDX-License-Identifier: Apache-2.0
//
// System calls that the recorder and the probe make for themselves, and fail: each is counted, by
// call and errno, in the recording (Header::own_failures). An answer is no failure: a name that is
// free (ENOENT), a number that is not open (EBADF), a thread that is gone (ESRCH).
//
// Thread-safety: any thread, signal handlers. Cost: none where nothing fails; then some 20 ns.
// errno is left as the call set it. Nothing of libstdc++.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "instrumentation/recording/layout.h"

namespace loopscope::recording {

/// `call` failed with `error` and was given up.
void own_call_failed(OwnCall call, int error) noexcept;
/// It failed and is made again.
void own_call_retried(OwnCall call, int error) noexcept;

/// What failed before there was a recording to count it in is counted in this one. Any thread.
void adopt_own_failures(Header& header) noexcept;

/// Makes `call` (which returns -1 and sets errno) again while a signal interrupts it; a call that
/// fails so for ever is a failure like another.
template <typename Call>
auto uninterrupted(OwnCall which, Call call) noexcept {
  constexpr int kTries = 64;
  for (int left = kTries;; --left) {
    const auto result = call();
    if (result != -1 || errno != EINTR || left == 0) return result;
    own_call_retried(which, EINTR);
  }
}

/// Likewise, and counts a failure.
template <typename Call>
auto own_call(OwnCall which, Call call) noexcept {
  const auto result = uninterrupted(which, call);
  if (result == -1) own_call_failed(which, errno);
  return result;
}

/// Opens a file that tells something; -1: that there is none, or none for us, is an answer, all
/// else a failure.
inline int open_to_ask(const char* path) noexcept {
  const int fd = uninterrupted(OwnCall::kOpen, [&] { return open(path, O_RDONLY | O_CLOEXEC); });
  if (fd < 0 && errno != ENOENT && errno != EACCES && errno != ENOTDIR) {
    own_call_failed(OwnCall::kOpen, errno);
  }
  return fd;
}

/// readlink(2) below /proc; -1 likewise.
inline ssize_t read_own_link(const char* path, char* to, std::size_t size) noexcept {
  const ssize_t length =
      uninterrupted(OwnCall::kReadlink, [&] { return readlink(path, to, size); });
  if (length < 0 && errno != ENOENT && errno != EACCES && errno != ENOTDIR) {
    own_call_failed(OwnCall::kReadlink, errno);
  }
  return length;
}

/// Whatever close(2) says, the descriptor is gone: it is not to be closed again.
inline void close_own(int fd) noexcept {
  if (close(fd) != 0) own_call_failed(OwnCall::kClose, errno);
}

}  // namespace loopscope::recording
