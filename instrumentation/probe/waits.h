// SPDX-License-Identifier: Apache-2.0
//
// A wait call with what is recorded around it. `call` makes it and returns what it returned; it is
// called exactly once, and nothing is between it and the program that a cancellation could not
// unwind.
#pragma once

#include <poll.h>
#include <sys/time.h>
#include <time.h>

#include <cstdint>

#include "instrumentation/probe/births.h"
#include "instrumentation/probe/loops.h"

namespace loopscope::probe {

inline std::int64_t ns_of_ms(int timeout) noexcept {
  return timeout < 0 ? recording::kTimeoutInfinite : std::int64_t{timeout} * 1'000'000;
}
/// Whether a pointer can point to anything of the program's: null and the like are the kernel's to
/// refuse, with EFAULT. (That a page is not mapped cannot be known here: docs/probe.md.)
inline bool plausible(const void* pointer) noexcept {
  return reinterpret_cast<std::intptr_t>(pointer) >= 4096;
}
/// Centuries, where a program says "for ever" with the largest number, are no time at all.
inline std::int64_t ns_of(std::int64_t seconds, std::int64_t ns) noexcept {
  std::int64_t sum = 0;
  const bool too_long = __builtin_mul_overflow(seconds, std::int64_t{1'000'000'000}, &sum) ||
                        __builtin_add_overflow(sum, ns, &sum);
  return too_long ? recording::kTimeoutInfinite : sum;
}
inline std::int64_t ns_of_timespec(const struct timespec* timeout) noexcept {
  return plausible(timeout) ? ns_of(timeout->tv_sec, timeout->tv_nsec)
                            : recording::kTimeoutInfinite;
}
inline std::int64_t ns_of_timeval(const struct timeval* timeout) noexcept {
  return plausible(timeout) ? ns_of(timeout->tv_sec, std::int64_t{timeout->tv_usec} * 1'000)
                            : recording::kTimeoutInfinite;
}
/// The epoll descriptor that a poll waits for, alone or beside one other descriptor (Ruby adds the
/// one that wakes its thread up), else -1.
inline int epoll_among(const struct pollfd* fds, nfds_t count) noexcept {
  if (count == 0 || count > 2 || !plausible(fds)) return -1;
  for (nfds_t i = 0; i < count; ++i) {
    const FdSlot* slot = g_ledger.slot(fds[i].fd);
    if (slot != nullptr && LedgerWriter::kind(*slot) == DescriptorKind::kEpoll) return fds[i].fd;
  }
  return -1;
}

template <typename Call>
[[gnu::always_inline]] inline int wait_on_epoll(Thread& thread, int epfd,
                                                struct epoll_event* events, int most,
                                                std::int64_t timeout_ns, Call call) {
  if (!recording_for(thread) || thread.measuring) [[unlikely]]
    return call();
  Loop* loop = epoll_loop(thread, epfd);
  if (loop == nullptr) [[unlikely]]
    return used(thread, epfd, "epoll_wait", call());
  if (loop->waits_outside) [[unlikely]] {
    loop->waits_outside = false;
    timeout_ns = loop->outside_timeout;
  } else {
    begin_wait(thread, *loop, timeout_ns);
  }
  const int returned = call();
  // A signal handler has forked, and this is the child: the loop is the parent's.
  if (loop->recorder().forked()) [[unlikely]]
    return returned;
  end_wait(thread, *loop, returned, timeout_ns, most);
  if (returned > 0) {
    if (served(thread, *loop, events, returned)) [[unlikely]]
      events_after_close(thread, *loop, events, returned, caller_frame());
  }
  return used(thread, epfd, "epoll_wait", returned);
}

/// `epoll_fd`: what epoll_among() says; `any`: whether it waits for any descriptor at all (a poll
/// on none is a sleep); `caller`: where it was called.
template <typename Call>
[[gnu::always_inline]] inline int wait_by_poll(Thread& thread, const char* backend,
                                               const void* caller, int epoll_fd, bool any,
                                               std::int64_t timeout_ns, Call call) {
  if (!any || !recording_for(thread) || thread.measuring) return call();
  const std::uint32_t generation = g_probe.generation;
  if (epoll_fd >= 0) {
    if (Loop* loop = epoll_loop(thread, epoll_fd)) {
      // The poll before was ended by the other descriptor, which is there to interrupt it.
      if (loop->waits_outside) end_interrupted_wait(thread, *loop);
      begin_wait(thread, *loop, timeout_ns);
      loop->waits_outside = false;
      const int returned = call();
      if (!still(generation)) return returned;
      if (returned > 0) {
        loop->waits_outside = true;
        loop->outside_timeout = timeout_ns;
      } else {
        end_wait(thread, *loop, returned, timeout_ns, 0);
      }
      return returned;
    }
  }
  // In a thread that runs an epoll loop, a poll is something that a callback waits for.
  if (has_epoll_loop(thread)) return call();
  if (Loop* loop = site_loop(thread, caller)) {
    begin_wait(thread, *loop, timeout_ns);
    const int returned = call();
    if (still(generation)) end_wait(thread, *loop, returned, timeout_ns, 0);
    return returned;
  }
  const std::uint64_t began = now(thread);
  const int returned = call();
  if (still(generation)) note_wait(thread, caller, backend, began, returned, timeout_ns);
  return returned;
}

}  // namespace loopscope::probe
