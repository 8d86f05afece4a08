// SPDX-License-Identifier: Apache-2.0
//
// What goes wrong with descriptor numbers: closes and uses of one that is not open (EBADF), and
// events for one that was closed before its wait began. Noted with the place of the call, and of
// the close and the open before it as far as they are known.
//
// Nothing here is called while all goes well: the hooks come here with a call that has failed, or
// with an event that looks strange. Any thread, also in signal handlers. errno is kept. Cost: as a
// birth; of a sweep over numbers that were never open 20 ns each.
//
// Not noted, as programs ask so whether a number is open, or mean all numbers there may be: dup,
// dup2, fcntl's F_GETFD, F_GETFL, F_SETFD and F_DUPFD, ioctl's FIOCLEX and questions to terminals,
// epoll_ctl of a number that is not open (event libraries learn so that it is gone).
#pragma once

#include <errno.h>

#include "instrumentation/probe/places.h"
#include "instrumentation/probe/probe.h"

struct epoll_event;

namespace loopscope::probe {

/// A close of `fd` returned EBADF. `was_known`: it had counted as open.
void close_failed(Thread& thread, int fd, bool was_known, const char* call,
                  const StackStart& site) noexcept;

/// Before a number that does not count as open is closed by a call that cannot tell (fclose may
/// fail for other reasons): it is born out of sight, or not open at all.
void closing_unknown(Thread& thread, int fd, const char* call, const StackStart& site) noexcept;

/// A call on `fd` returned EBADF: because the number is not open, or because it is open for other
/// things.
void use_failed(Thread& thread, int fd, const char* call, const StackStart& site) noexcept;

/// What a call on `fd` returned, looked at.
template <typename Result>
[[gnu::always_inline]] inline Result used(Thread& thread, int fd, const char* call,
                                          Result returned) noexcept {
  if (returned < 0 && errno == EBADF) [[unlikely]]
    use_failed(thread, fd, call, caller_frame());
  return returned;
}

/// served() saw an event of a descriptor that is gone.
void events_after_close(Thread& thread, Loop& loop, const struct epoll_event* events, int count,
                        const StackStart& site) noexcept;

}  // namespace loopscope::probe
