// SPDX-License-Identifier: Apache-2.0
//
// What the suites' tests open. Each function's name and line are what a report must say; none may
// be inlined, or the line would still be right but the function another.
#pragma once

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

namespace suites {

[[gnu::noinline]] inline int open_null() {
  return ::open("/dev/null", O_RDONLY | O_CLOEXEC);  // LINE: open_null
}

[[gnu::noinline]] inline int open_eventfd() {
  return ::eventfd(0, EFD_CLOEXEC);  // LINE: open_eventfd
}

/// Both ends stay open.
[[gnu::noinline]] inline void open_pair(int (&ends)[2]) {
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();  // LINE: pair
}

}  // namespace suites
