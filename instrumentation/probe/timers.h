// SPDX-License-Identifier: Apache-2.0
//
// When timerfds are due, so that the lag of the loop that reads them is exact. The 256 timers set
// last are known; any thread.
#pragma once

#include <sys/timerfd.h>

#include "instrumentation/probe/probe.h"

namespace loopscope::probe {

/// timerfd_settime has set it.
void timer_set(Thread& thread, int fd, int flags, const struct itimerspec& wanted) noexcept;
/// It was read: `expirations` points to the 8 bytes that were.
void timer_read(Thread& thread, int fd, const void* expirations) noexcept;

}  // namespace loopscope::probe
