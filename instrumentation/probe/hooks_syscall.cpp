// SPDX-License-Identifier: Apache-2.0
//
// syscall(2) for the numbers that have hooks of their own: libuv closes descriptors this way. What
// is not in the list below never comes here (calls_x86_64.S).
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <type_traits>

#include "instrumentation/probe/hooks.h"
#include "instrumentation/probe/timers.h"
#include "instrumentation/probe/waits.h"

using namespace loopscope::probe;  // NOLINT(google-build-using-namespace): the definitions below
                                   // are C's

namespace {

/// Return a new descriptor or -1, and do nothing else.
constexpr long kBirths[] = {
    SYS_open,
    SYS_creat,
    SYS_openat,
    SYS_openat2,
    SYS_open_by_handle_at,
    SYS_socket,
    SYS_eventfd,
    SYS_eventfd2,
    SYS_timerfd_create,
    SYS_signalfd,
    SYS_signalfd4,
    SYS_inotify_init,
    SYS_inotify_init1,
    SYS_fanotify_init,
    SYS_memfd_create,
    SYS_pidfd_open,
    SYS_pidfd_getfd,
    SYS_userfaultfd,
    SYS_perf_event_open,
    SYS_io_uring_setup,
    SYS_epoll_create,
    SYS_epoll_create1,
    SYS_dup,
};

constexpr long kWanted[] = {
    SYS_read,        SYS_write,           SYS_readv,       SYS_writev,
    SYS_pread64,     SYS_pwrite64,        SYS_preadv,      SYS_pwritev,
    SYS_preadv2,     SYS_pwritev2,        SYS_sendto,      SYS_recvfrom,
    SYS_sendmsg,     SYS_recvmsg,         SYS_sendmmsg,    SYS_recvmmsg,
    SYS_accept,      SYS_accept4,         SYS_connect,     SYS_bind,
    SYS_listen,      SYS_shutdown,        SYS_socketpair,  SYS_pipe,
    SYS_pipe2,       SYS_timerfd_settime, SYS_epoll_ctl,   SYS_epoll_wait,
    SYS_epoll_pwait, SYS_epoll_pwait2,    SYS_poll,        SYS_ppoll,
    SYS_select,      SYS_pselect6,        SYS_dup2,        SYS_dup3,
    SYS_fcntl,       SYS_close,           SYS_close_range, SYS_exit_group,
    SYS_seccomp,     SYS_setuid,          SYS_setgid,      SYS_setgroups,
    SYS_setresuid,   SYS_setresgid,       SYS_chroot,      SYS_unshare,
    SYS_setns,       SYS_prctl,           SYS_exit,        SYS_execve,
    SYS_execveat,
};

struct Bits {
  std::uint64_t words[8];
};
constexpr Bits birth_bits() {
  Bits bits{};
  for (const long number : kBirths) bits.words[number / 64] |= 1ull << (number % 64);
  return bits;
}
constexpr Bits wanted_bits() {
  Bits bits = birth_bits();
  for (const long number : kWanted) bits.words[number / 64] |= 1ull << (number % 64);
  return bits;
}
constexpr Bits kBirthBits = birth_bits();

template <typename T>
T as(long value) noexcept {
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<T>(value);
  } else {
    return static_cast<T>(value);
  }
}

/// Of those that come to the default below.
const char* name_of(long number) noexcept {
  switch (number) {
    case SYS_write:
      return "write";
    case SYS_readv:
    case SYS_preadv:
    case SYS_preadv2:
    case SYS_pread64:
      return "read";
    case SYS_sendto:
      return "sendto";
    case SYS_recvfrom:
      return "recvfrom";
    case SYS_sendmsg:
    case SYS_sendmmsg:
      return "sendmsg";
    case SYS_shutdown:
      return "shutdown";
    default:
      return "write";  // writev and its like
  }
}

bool makes_descriptor(long number, int first) noexcept {
  if ((kBirthBits.words[number / 64] >> (number % 64) & 1) == 0) return false;
  // Given a descriptor, signalfd changes that one.
  return (number != SYS_signalfd && number != SYS_signalfd4) || first == -1;
}

/// What a call of kBirths made. Only once it has succeeded: before, its pointers may be anything.
Born birth_of(long number, const long* a) noexcept {
  switch (number) {
    case SYS_open:
      return opened_path(as<const char*>(a[0]), as<int>(a[1]));
    case SYS_creat:
      return opened_path(as<const char*>(a[0]), 0);
    case SYS_openat:
      return opened_path(as<const char*>(a[1]), as<int>(a[2]));
    case SYS_openat2: {
      std::uint64_t flags = 0;  // first member of struct open_how
      memcpy(&flags, as<const void*>(a[2]), sizeof flags);
      return opened_path(as<const char*>(a[1]), static_cast<int>(flags));
    }
    case SYS_open_by_handle_at:
      return opened_path("", as<int>(a[2]));
    case SYS_socket:
      return opened_socket(as<int>(a[0]), as<int>(a[1]));
    case SYS_eventfd:
      return Born(DescriptorKind::kEventfd);
    case SYS_eventfd2:
      return Born(DescriptorKind::kEventfd, close_on_exec(as<int>(a[1])));
    case SYS_timerfd_create:
      return opened_timer(as<int>(a[0]), as<int>(a[1]));
    case SYS_signalfd:
    case SYS_signalfd4:
      return Born(DescriptorKind::kSignalfd,
                  number == SYS_signalfd4 ? close_on_exec(as<int>(a[3])) : 0);
    case SYS_inotify_init:
      return Born(DescriptorKind::kInotify);
    case SYS_inotify_init1:
      return Born(DescriptorKind::kInotify, close_on_exec(as<int>(a[0])));
    case SYS_fanotify_init:
      return Born(DescriptorKind::kFanotify);
    case SYS_memfd_create:
      return opened_memfd(as<const char*>(a[0]), as<unsigned>(a[1]));
    case SYS_pidfd_open:
      return Born(DescriptorKind::kPidfd, kFdCloseOnExec);
    case SYS_pidfd_getfd:
      return Born(DescriptorKind::kOther, kFdCloseOnExec);
    case SYS_userfaultfd:
      return Born(DescriptorKind::kOther, close_on_exec(as<int>(a[0])));
    case SYS_perf_event_open:
      return Born(DescriptorKind::kOther, (a[4] & 8) != 0 ? kFdCloseOnExec : 0);
    case SYS_io_uring_setup:
      return Born(DescriptorKind::kIoUring, kFdCloseOnExec);
    case SYS_epoll_create:
      return Born(DescriptorKind::kEpoll);
    case SYS_epoll_create1:
      return Born(DescriptorKind::kEpoll, close_on_exec(as<int>(a[0])));
    case SYS_dup:
      return duplicated(as<int>(a[0]), 0);
    default:
      return Born(DescriptorKind::kOther);
  }
}

}  // namespace

extern "C" {
[[gnu::visibility("hidden")]] extern const Bits loopscope_wanted_calls;
constinit const Bits loopscope_wanted_calls = wanted_bits();
}

extern "C" [[gnu::visibility("hidden")]] long loopscope_syscall(long number, long a0, long a1,
                                                                long a2, long a3, long a4,
                                                                long a5) {
  Thread& thread = t_thread;
  const long a[] = {a0, a1, a2, a3, a4, a5};
  const auto call = [&] { return real().syscall(number, a0, a1, a2, a3, a4, a5); };
  const int fd = as<int>(a0);

  if (makes_descriptor(number, fd)) {
    if (!recording_for(thread)) return call();
    const long returned = call();
    if (returned >= 0) born(thread, as<int>(returned), caller_frame(), birth_of(number, a));
    return returned;
  }

  switch (number) {
    case SYS_close: {
      if (!noting_for(thread)) return call();
      const StackStart site = caller_frame();
      const bool known = closing(thread, fd, site);
      const long returned = call();
      after_close(thread, fd, known, as<int>(returned), "close", site);
      return returned;
    }
    case SYS_close_range: {
      if (!noting_for(thread)) return call();
      const std::uint64_t before = now(thread);
      const long returned = call();
      if (returned == 0) {
        note_close_range(thread, as<unsigned>(a0), as<unsigned>(a1), as<int>(a2), before,
                         caller_frame());
      }
      return returned;
    }
    case SYS_dup2:
    case SYS_dup3: {
      if (!noting_for(thread)) return call();
      const long returned = call();
      if (returned >= 0) {
        note_dup_over(thread, fd, as<int>(a1), number == SYS_dup3 ? as<int>(a2) : 0,
                      caller_frame());
      }
      return returned;
    }
    case SYS_fcntl: {
      if (!noting_for(thread)) return call();
      const long returned = call();
      note_fcntl(thread, fd, as<int>(a1), a2, as<int>(returned), caller_frame());
      return returned;
    }
    case SYS_pipe:
    case SYS_pipe2: {
      if (!recording_for(thread)) return call();
      const long returned = call();
      if (returned == 0) {
        const std::uint32_t flags = number == SYS_pipe2 ? close_on_exec(as<int>(a1)) : 0;
        note_pair(thread, as<const int*>(a0), Born(DescriptorKind::kPipe, kFdReadEnd | flags),
                  Born(DescriptorKind::kPipe, kFdWriteEnd | flags), caller_frame());
      }
      return returned;
    }
    case SYS_socketpair: {
      if (!recording_for(thread)) return call();
      const long returned = call();
      if (returned == 0) {
        const Born end = opened_socket(as<int>(a0), as<int>(a1));
        note_pair(thread, as<const int*>(a3), end, end, caller_frame());
      }
      return returned;
    }
    case SYS_accept:
    case SYS_accept4: {
      if (!recording_for(thread)) return call();
      note_use(thread, fd);
      const long returned = used(thread, fd, "accept", call());
      if (returned >= 0) {
        const auto* size = as<const socklen_t*>(a2);
        accepted(thread, as<int>(returned), fd, number == SYS_accept4 ? as<int>(a3) : 0,
                 caller_frame(), size != nullptr ? as<const sockaddr*>(a1) : nullptr,
                 size != nullptr ? *size : 0);
      }
      return returned;
    }
    case SYS_connect: {
      if (!noting_for(thread)) return call();
      note_use(thread, fd);
      const long returned = used(thread, fd, "connect", call());
      note_connect(fd, as<const sockaddr*>(a1), as<socklen_t>(a2), as<int>(returned));
      return returned;
    }
    case SYS_bind: {
      const long returned = call();
      if (returned == 0 && noting_for(thread)) {
        g_ledger.set_local(fd, as<const void*>(a1), as<socklen_t>(a2));
      }
      return used(thread, fd, "bind", returned);
    }
    case SYS_listen: {
      const long returned = call();
      if (returned == 0 && noting_for(thread)) {
        g_ledger.set_flags(fd, loopscope::recording::kFdListening, 0);
      }
      return used(thread, fd, "listen", returned);
    }
    case SYS_timerfd_settime: {
      const long returned = call();
      if (returned == 0 && noting_for(thread)) {
        timer_set(thread, fd, as<int>(a1), *as<const itimerspec*>(a2));
      }
      return used(thread, fd, "timerfd_settime", returned);
    }
    case SYS_epoll_ctl: {
      if (!recording_for(thread)) return call();
      std::uint32_t mask = 0;
      std::uint64_t before = 0;
      const auto* event = as<const epoll_event*>(a3);
      const bool registers = as<int>(a1) != EPOLL_CTL_DEL && plausible(event);
      if (registers) {
        mask = event->events;
        before = registering(thread, fd, as<int>(a2), event->data.u64);
      }
      const long returned = call();
      if (returned == 0) {
        registered(fd, as<int>(a1), as<int>(a2), mask);
      } else if (registers) {
        not_registered(as<int>(a2), before);
      }
      return used(thread, fd, "epoll_ctl", returned);
    }
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
      return wait_on_epoll(thread, fd, as<epoll_event*>(a1), as<int>(a2), ns_of_ms(as<int>(a3)),
                           [&] { return as<int>(call()); });
    case SYS_epoll_pwait2:
      return wait_on_epoll(thread, fd, as<epoll_event*>(a1), as<int>(a2),
                           ns_of_timespec(as<const timespec*>(a3)),
                           [&] { return as<int>(call()); });
    case SYS_poll:
      return wait_by_poll(thread, "poll", __builtin_return_address(0),
                          epoll_among(as<const pollfd*>(a0), as<nfds_t>(a1)), a1 != 0,
                          ns_of_ms(as<int>(a2)), [&] { return as<int>(call()); });
    case SYS_ppoll:
      return wait_by_poll(thread, "ppoll", __builtin_return_address(0),
                          epoll_among(as<const pollfd*>(a0), as<nfds_t>(a1)), a1 != 0,
                          ns_of_timespec(as<const timespec*>(a2)), [&] { return as<int>(call()); });
    case SYS_select:
      return wait_by_poll(thread, "select", __builtin_return_address(0), -1,
                          a0 > 0 && (a1 | a2 | a3) != 0, ns_of_timeval(as<const timeval*>(a4)),
                          [&] { return as<int>(call()); });
    case SYS_pselect6:
      return wait_by_poll(thread, "pselect", __builtin_return_address(0), -1,
                          a0 > 0 && (a1 | a2 | a3) != 0, ns_of_timespec(as<const timespec*>(a4)),
                          [&] { return as<int>(call()); });
    case SYS_recvmsg: {
      if (!noting_for(thread)) return call();
      note_use(thread, fd);
      const long returned = used(thread, fd, "recvmsg", call());
      const auto* message = as<const msghdr*>(a1);
      if (returned >= 0 && message->msg_controllen != 0) {
        note_message(thread, message, as<int>(a2), caller_frame());
      }
      return returned;
    }
    case SYS_recvmmsg: {
      if (!noting_for(thread)) return call();
      note_use(thread, fd);
      const long returned = used(thread, fd, "recvmmsg", call());
      for (long i = 0; i < returned; ++i) {
        note_message(thread, &as<mmsghdr*>(a1)[i].msg_hdr, as<int>(a3), caller_frame());
      }
      return returned;
    }
    case SYS_read: {
      if (!noting_for(thread)) return call();
      note_use(thread, fd);
      const long returned = used(thread, fd, "read", call());
      const FdSlot* slot = g_ledger.slot(fd);
      if (returned == 8 && slot != nullptr &&
          LedgerWriter::kind(*slot) == DescriptorKind::kTimerfd) {
        timer_read(thread, fd, as<const void*>(a1));
      }
      return returned;
    }
    case SYS_exit:
      // Of one thread of several; or all that seccomp's strict mode allows, in which even reading
      // the TSC is fatal.
      if (!__libc_single_threaded || g_probe.sealed) return call();
      [[fallthrough]];
    case SYS_exit_group:
      process_ends(thread, as<int>(a0));
      return call();
    case SYS_execve:
    case SYS_execveat: {
      const bool ours = begin_exec(thread);
      const long returned = call();
      if (ours) exec_failed();
      return returned;
    }
    case SYS_seccomp:
    case SYS_prctl:
      // SECCOMP_SET_MODE_STRICT and _FILTER; PR_SET_SECCOMP.
      if (number == SYS_seccomp ? a0 <= 1 : a0 == 22) seal(thread);
      return call();
    case SYS_setuid:
    case SYS_setgid:
    case SYS_setgroups:
    case SYS_setresuid:
    case SYS_setresgid:
    case SYS_chroot:
    case SYS_unshare:
    case SYS_setns:
      if (!live(thread)) come_alive(thread);
      return call();
    default:  // reads and writes of all kinds: the descriptor comes first
      if (noting_for(thread)) note_use(thread, fd);
      return used(thread, fd, name_of(number), call());
  }
}

#if !defined(__x86_64__)
LOOPSCOPE_HOOK(long, syscall, (long number, long a, long b, long c, long d, long e, long f)) {
  if (number >= 0 && number < 512 &&
      (loopscope_wanted_calls.words[number / 64] >> (number % 64) & 1) != 0) {
    return loopscope_syscall(number, a, b, c, d, e, f);
  }
  return real().syscall(number, a, b, c, d, e, f);
}
#endif
