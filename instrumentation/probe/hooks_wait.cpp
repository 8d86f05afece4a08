// SPDX-License-Identifier: Apache-2.0
//
// The wait calls, and what is waited for.
#include "instrumentation/probe/hooks.h"
#include "instrumentation/probe/registrations.h"
#include "instrumentation/probe/waits.h"

using namespace loopscope::probe;  // NOLINT(google-build-using-namespace): the definitions below
                                   // are C's

namespace loopscope::probe {

std::uint64_t registering(Thread& thread, int epfd, int fd, std::uint64_t data) noexcept {
  FdSlot* slot = g_ledger.slot_for_writing(fd);
  if (slot == nullptr) return 0;
  const std::uint64_t before = slot->registered_data.load();
  slot->registered_data.store(data);
  note_registration(thread, epfd, fd, data);
  return before;
}

void not_registered(int fd, std::uint64_t before) noexcept {
  if (FdSlot* slot = g_ledger.slot(fd)) slot->registered_data.store(before);
}

void registered(int epfd, int operation, int fd, std::uint32_t mask) noexcept {
  FdSlot* slot = g_ledger.slot(fd);
  if (slot == nullptr) return;
  if (operation != EPOLL_CTL_DEL) {
    slot->registered_events.store(mask);
    slot->registered_epoll_fd.store(epfd + 1);
    g_ledger.registered(fd);
  } else if (slot->registered_epoll_fd.load() == epfd + 1) {
    slot->registered_epoll_fd.store(0);
    slot->registered_events.store(0);
  }
}

}  // namespace loopscope::probe

LOOPSCOPE_HOOK(int, epoll_wait, (int epfd, struct epoll_event* events, int most, int timeout)) {
  return wait_on_epoll(t_thread, epfd, events, most, ns_of_ms(timeout),
                       [&] { return real().epoll_wait(epfd, events, most, timeout); });
}

LOOPSCOPE_HOOK(int, epoll_pwait,
               (int epfd, struct epoll_event* events, int most, int timeout,
                const sigset_t* mask)) {
  return wait_on_epoll(t_thread, epfd, events, most, ns_of_ms(timeout),
                       [&] { return real().epoll_pwait(epfd, events, most, timeout, mask); });
}

LOOPSCOPE_HOOK(int, epoll_pwait2,
               (int epfd, struct epoll_event* events, int most, const struct timespec* timeout,
                const sigset_t* mask)) {
  return wait_on_epoll(t_thread, epfd, events, most, ns_of_timespec(timeout),
                       [&] { return real().epoll_pwait2(epfd, events, most, timeout, mask); });
}

LOOPSCOPE_HOOK(int, epoll_ctl, (int epfd, int operation, int fd, struct epoll_event* event)) {
  Thread& thread = t_thread;
  if (!recording_for(thread)) return real().epoll_ctl(epfd, operation, fd, event);
  // Known before the kernel has it: another thread may be told of an event at once.
  std::uint32_t mask = 0;
  std::uint64_t before = 0;
  const bool registers = operation != EPOLL_CTL_DEL && plausible(event);
  if (registers) {
    mask = event->events;
    before = registering(thread, epfd, fd, event->data.u64);
  }
  const int returned = g_real.epoll_ctl(epfd, operation, fd, event);
  if (returned == 0) {
    registered(epfd, operation, fd, mask);
  } else if (registers) {
    not_registered(fd, before);
  }
  return used(thread, epfd, "epoll_ctl", returned);
}

LOOPSCOPE_HOOK(int, poll, (struct pollfd * fds, nfds_t count, int timeout)) {
  return wait_by_poll(t_thread, "poll", __builtin_return_address(0), epoll_among(fds, count),
                      count != 0, ns_of_ms(timeout),
                      [&] { return real().poll(fds, count, timeout); });
}
LOOPSCOPE_SAME(int, __poll, poll, (struct pollfd * fds, nfds_t count, int timeout))

LOOPSCOPE_HOOK(int, __poll_chk, (struct pollfd * fds, nfds_t count, int timeout, size_t size)) {
  return wait_by_poll(t_thread, "poll", __builtin_return_address(0), epoll_among(fds, count),
                      count != 0, ns_of_ms(timeout),
                      [&] { return real().__poll_chk(fds, count, timeout, size); });
}

LOOPSCOPE_HOOK(int, ppoll,
               (struct pollfd * fds, nfds_t count, const struct timespec* timeout,
                const sigset_t* mask)) {
  return wait_by_poll(t_thread, "ppoll", __builtin_return_address(0), epoll_among(fds, count),
                      count != 0, ns_of_timespec(timeout),
                      [&] { return real().ppoll(fds, count, timeout, mask); });
}

LOOPSCOPE_HOOK(int, __ppoll_chk,
               (struct pollfd * fds, nfds_t count, const struct timespec* timeout,
                const sigset_t* mask, size_t size)) {
  return wait_by_poll(t_thread, "ppoll", __builtin_return_address(0), epoll_among(fds, count),
                      count != 0, ns_of_timespec(timeout),
                      [&] { return real().__ppoll_chk(fds, count, timeout, mask, size); });
}

LOOPSCOPE_HOOK(int, select,
               (int count, fd_set* read, fd_set* write, fd_set* except, struct timeval* timeout)) {
  // Read before the call: Linux' select changes it.
  const std::int64_t asked = ns_of_timeval(timeout);
  return wait_by_poll(t_thread, "select", __builtin_return_address(0), -1,
                      count > 0 && (read != nullptr || write != nullptr || except != nullptr),
                      asked, [&] { return real().select(count, read, write, except, timeout); });
}
LOOPSCOPE_SAME(int, __select, select,
               (int count, fd_set* read, fd_set* write, fd_set* except, struct timeval* timeout))

LOOPSCOPE_HOOK(int, pselect,
               (int count, fd_set* read, fd_set* write, fd_set* except,
                const struct timespec* timeout, const sigset_t* mask)) {
  return wait_by_poll(t_thread, "pselect", __builtin_return_address(0), -1,
                      count > 0 && (read != nullptr || write != nullptr || except != nullptr),
                      ns_of_timespec(timeout),
                      [&] { return real().pselect(count, read, write, except, timeout, mask); });
}
