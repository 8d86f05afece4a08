// SPDX-License-Identifier: Apache-2.0
//
// Descriptors in use: the hooks that all look alike (IO in the table), and those that tell more
// than that the descriptor was used: addresses, descriptors that came in a message, timers.
#include <errno.h>
#include <string.h>
#include <time.h>

#include "instrumentation/probe/births.h"
#include "instrumentation/probe/hooks.h"
#include "instrumentation/probe/timers.h"

using namespace loopscope::probe;  // NOLINT(google-build-using-namespace): the definitions below
                                   // are C's

#define IO(result, name, parameters, arguments, fd)          \
  LOOPSCOPE_HOOK(result, name, parameters) {                 \
    Thread& thread = t_thread;                               \
    if (noting_for(thread)) [[likely]] {                     \
      note_use(thread, fd);                                  \
      return used(thread, fd, #name, g_real.name arguments); \
    }                                                        \
    return real().name arguments;                            \
  }
#define BIRTH(result, name, parameters, arguments, facts)
#define FIRST(result, name, parameters, arguments)
#define HOOK(result, name, parameters, arguments)
#define SAME(name, as)
#include "instrumentation/probe/hooks.def"

namespace loopscope::probe {

void note_message(Thread& thread, const struct msghdr* message, int flags,
                  const StackStart& site) noexcept {
  if (message->msg_control == nullptr || message->msg_controllen < sizeof(cmsghdr)) return;
  for (cmsghdr* part = CMSG_FIRSTHDR(message); part != nullptr;
       part = CMSG_NXTHDR(const_cast<msghdr*>(message), part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS ||
        part->cmsg_len < CMSG_LEN(0)) {
      continue;
    }
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      if (fd < 0) continue;
      Born facts(DescriptorKind::kOther, (flags & MSG_CMSG_CLOEXEC) != 0 ? kFdCloseOnExec : 0);
      facts.target = "received";
      facts.target_size = 8;
      born(thread, fd, site, facts);
    }
  }
}

// After the call: until the kernel has taken it, the address may be any pointer.
void note_connect(int fd, const struct sockaddr* address, socklen_t size, int returned) noexcept {
  if (returned == 0 || errno == EINPROGRESS || errno == EINTR) {
    g_ledger.set_peer(fd, address, size);
  }
}

}  // namespace loopscope::probe

LOOPSCOPE_HOOK(ssize_t, read, (int fd, void* to, size_t size)) {
  Thread& thread = t_thread;
  if (!noting_for(thread)) [[unlikely]]
    return real().read(fd, to, size);
  FdSlot* slot = g_ledger.slot(fd);
  if (slot != nullptr) [[likely]] {
    note_use(thread, fd);
    if (LedgerWriter::kind(*slot) == DescriptorKind::kTimerfd) [[unlikely]] {
      const ssize_t returned = used(thread, fd, "read", g_real.read(fd, to, size));
      if (returned == 8) timer_read(thread, fd, to);
      return returned;
    }
  }
  return used(thread, fd, "read", g_real.read(fd, to, size));
}
LOOPSCOPE_SAME(ssize_t, __read, read, (int fd, void* to, size_t size))

LOOPSCOPE_HOOK(ssize_t, __read_chk, (int fd, void* to, size_t size, size_t room)) {
  Thread& thread = t_thread;
  const bool noted = noting_for(thread);
  if (noted) note_use(thread, fd);
  ssize_t returned = real().__read_chk(fd, to, size, room);
  if (noted) returned = used(thread, fd, "read", returned);
  if (noted && returned == 8) {
    const FdSlot* slot = g_ledger.slot(fd);
    if (slot != nullptr && LedgerWriter::kind(*slot) == DescriptorKind::kTimerfd) {
      timer_read(thread, fd, to);
    }
  }
  return returned;
}

LOOPSCOPE_HOOK(ssize_t, recvmsg, (int fd, struct msghdr* message, int flags)) {
  Thread& thread = t_thread;
  if (!noting_for(thread)) return real().recvmsg(fd, message, flags);
  note_use(thread, fd);
  const ssize_t returned = used(thread, fd, "recvmsg", g_real.recvmsg(fd, message, flags));
  if (returned >= 0 && message->msg_controllen != 0) {
    note_message(thread, message, flags, caller_frame());
  }
  return returned;
}

LOOPSCOPE_HOOK(int, recvmmsg,
               (int fd, struct mmsghdr* messages, unsigned count, int flags,
                struct timespec* timeout)) {
  Thread& thread = t_thread;
  if (!noting_for(thread)) return real().recvmmsg(fd, messages, count, flags, timeout);
  note_use(thread, fd);
  const int returned =
      used(thread, fd, "recvmmsg", g_real.recvmmsg(fd, messages, count, flags, timeout));
  for (int i = 0; i < returned; ++i) {
    note_message(thread, &messages[i].msg_hdr, flags, caller_frame());
  }
  return returned;
}

LOOPSCOPE_HOOK(int, connect, (int fd, const struct sockaddr* address, socklen_t size)) {
  Thread& thread = t_thread;
  if (!noting_for(thread)) return real().connect(fd, address, size);
  note_use(thread, fd);
  const int returned = used(thread, fd, "connect", g_real.connect(fd, address, size));
  note_connect(fd, address, size, returned);
  return returned;
}
LOOPSCOPE_SAME(int, __connect, connect, (int fd, const struct sockaddr* address, socklen_t size))

LOOPSCOPE_HOOK(int, bind, (int fd, const struct sockaddr* address, socklen_t size)) {
  Thread& thread = t_thread;
  const int returned = real().bind(fd, address, size);
  if (returned == 0 && noting_for(thread)) g_ledger.set_local(fd, address, size);
  return used(thread, fd, "bind", returned);
}

LOOPSCOPE_HOOK(int, listen, (int fd, int backlog)) {
  Thread& thread = t_thread;
  const int returned = real().listen(fd, backlog);
  if (returned == 0 && noting_for(thread)) {
    g_ledger.set_flags(fd, loopscope::recording::kFdListening, 0);
  }
  return used(thread, fd, "listen", returned);
}

LOOPSCOPE_HOOK(int, timerfd_settime,
               (int fd, int flags, const struct itimerspec* wanted, struct itimerspec* was)) {
  Thread& thread = t_thread;
  const int returned = real().timerfd_settime(fd, flags, wanted, was);
  if (returned == 0 && noting_for(thread)) timer_set(thread, fd, flags, *wanted);
  return used(thread, fd, "timerfd_settime", returned);
}
