// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/probe/census.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "instrumentation/probe/ask.h"
#include "instrumentation/probe/births.h"

namespace loopscope::probe {
namespace {

using recording::EndCensus;
using recording::FdDetail;
using recording::FdOrigin;
using recording::Header;

/// The calling thread's: the main thread may have ended, and then /proc/self shows nothing.
constexpr char kDirectory[] = "/proc/thread-self/fd";

constexpr int kMostPeers = 1024;

/// Threads that ended lately: the kernel knows one for some µs after it was joined.
constexpr std::uint32_t kEndedThreads = 256;
std::int32_t g_ended_threads[kEndedThreads];
std::uint32_t g_ended = 0;

Header& header() noexcept { return *g_probe.process->region().header(); }

/// One that cannot be asked about has not gone.
bool is_open_here(int fd) noexcept { return ask_kernel(fd) != Answer::kNotOpen; }

/// False: not a socket any more, or the kernel could not say.
template <typename Value>
bool ask_socket(int fd, int level, int option, Value& value) noexcept {
  socklen_t size = sizeof value;
  const int result = recording::uninterrupted(recording::OwnCall::kGetsockopt, [&] {
    return getsockopt(fd, level, option, &value, &size);
  });
  // Of a socket that is none of TCP, or a number that was closed meanwhile, that is the answer.
  if (result != 0 && errno != EBADF && errno != ENOTSOCK && errno != EOPNOTSUPP &&
      errno != ENOPROTOOPT) {
    recording::own_call_failed(recording::OwnCall::kGetsockopt, errno);
  }
  return result == 0;
}

/// What the kernel writes a descriptor's target as: "socket:[123]", "anon_inode:[eventfd]",
/// "/memfd:name (deleted)", a path.
DescriptorKind kind_of(int fd, const char* target) noexcept {
  if (starts_with(target, "socket:")) {
    int domain = 0;
    int type = 0;
    if (!ask_socket(fd, SOL_SOCKET, SO_DOMAIN, domain) ||
        !ask_socket(fd, SOL_SOCKET, SO_TYPE, type)) {
      return DescriptorKind::kSocket;
    }
    return opened_socket(domain, type).kind;
  }
  struct Name {
    const char* text;
    DescriptorKind kind;
  };
  static constexpr Name kNames[] = {
      {"pipe:", DescriptorKind::kPipe},
      {"pidfd:", DescriptorKind::kPidfd},
      {"/memfd:", DescriptorKind::kMemfd},
      {"anon_inode:[eventfd", DescriptorKind::kEventfd},
      {"anon_inode:[eventpoll", DescriptorKind::kEpoll},
      {"anon_inode:[timerfd", DescriptorKind::kTimerfd},
      {"anon_inode:[signalfd", DescriptorKind::kSignalfd},
      {"anon_inode:[fanotify", DescriptorKind::kFanotify},
      {"anon_inode:[pidfd", DescriptorKind::kPidfd},
      {"anon_inode:[io_uring", DescriptorKind::kIoUring},
      {"anon_inode:inotify", DescriptorKind::kInotify},
  };
  for (const Name& name : kNames) {
    if (starts_with(target, name.text)) return name.kind;
  }
  if (target[0] != '/') return DescriptorKind::kOther;
  struct stat status {};
  if (recording::uninterrupted(recording::OwnCall::kStat, [&] { return fstat(fd, &status); }) !=
      0) {
    if (errno != EBADF) recording::own_call_failed(recording::OwnCall::kStat, errno);
  } else {
    if (S_ISDIR(status.st_mode)) return DescriptorKind::kDirectory;
    if (S_ISFIFO(status.st_mode)) return DescriptorKind::kPipe;
  }
  return opened_path(target, 0).kind;
}

/// What the kernel says it refers to, with its NUL; how long that is, or -1: closed meanwhile.
ssize_t target_of(int fd, char* target, std::size_t size) noexcept {
  char link[sizeof kDirectory + 16];
  memcpy(link, kDirectory, sizeof kDirectory - 1);
  char* at = link + sizeof kDirectory - 1;
  *at++ = '/';
  char digits[12];
  int count = 0;
  unsigned rest = static_cast<unsigned>(fd);
  do {
    digits[count++] = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest != 0);
  while (count > 0) *at++ = digits[--count];
  *at = '\0';
  const ssize_t length = recording::read_own_link(link, target, size - 1);
  if (length >= 0) target[length] = '\0';
  return length;
}

/// A number that the kernel has open and the ledger has not.
void meet(int fd) noexcept {
  char target[512];
  const ssize_t size = target_of(fd, target, sizeof target);
  if (size < 0) return;
  LedgerWriter::Birth birth;
  birth.kind = kind_of(fd, target);
  const long flags = descriptor_flags(fd);
  if (flags > 0 && (flags & FD_CLOEXEC) != 0) birth.flags = kFdCloseOnExec;
  birth.target = target;
  birth.target_size = static_cast<std::size_t>(size);
  g_ledger.met(fd, birth);
}

/// Closes in the ledger what it has open in [first, end) though the kernel has not. What was opened
/// after `before_ns` is left alone.
void forget_closed(std::uint32_t first, std::uint32_t end, std::uint64_t before_ns) noexcept {
  for (std::uint64_t number = first; number < end && number < g_ledger.slots(); ++number) {
    const int fd = static_cast<int>(number);
    const FdSlot* slot = g_ledger.slot(fd);
    if (slot == nullptr) {
      number |= recording::kFdsPerChunk - 1;
    } else if (LedgerWriter::is_open(*slot) && g_ledger.detail(fd).opened_ns.load() <= before_ns &&
               !is_open_here(fd) && g_ledger.closed(fd)) {
      g_ledger.was_closed_unseen(fd);
    }
  }
}

/// Whether all that the ledger has open is open. Where it has as many as the kernel, both have the
/// same: one that was opened and one that was closed out of sight would make up for each other.
bool all_are_open() noexcept {
  for (std::uint64_t number = 0; number < g_ledger.slots(); ++number) {
    const int fd = static_cast<int>(number);
    const FdSlot* slot = g_ledger.slot(fd);
    if (slot == nullptr) {
      number |= recording::kFdsPerChunk - 1;
    } else if (LedgerWriter::is_open(*slot) && !is_open_here(fd)) {
      return false;
    }
  }
  return true;
}

/// Numbers that the kernel has open and the ledger may not.
struct Unknown {
  int numbers[256];
  int count;
};

bool counts_as_open(int fd) noexcept {
  const FdSlot* slot = g_ledger.slot(fd);
  return slot != nullptr && LedgerWriter::is_open(*slot);
}

/// Those that are still so.
void meet_all(Unknown& unknown) noexcept {
  for (int i = 0; i < unknown.count; ++i) {
    if (!counts_as_open(unknown.numbers[i])) meet(unknown.numbers[i]);
  }
  unknown.count = 0;
}

/// False if the kernel's list cannot be had: no /proc, no descriptor left to read it by.
bool compare(std::uint64_t before_ns) noexcept {
  struct Entry {  // struct linux_dirent64
    std::uint64_t inode;
    std::int64_t offset;
    std::uint16_t size;
    std::uint8_t type;
    char name[1];
  };
  // One census at a time: not on a stack that may be small.
  alignas(8) static char buffer[8192];
  static Unknown unknown;
  unknown.count = 0;
  const auto directory = static_cast<int>(recording::own_call(recording::OwnCall::kOpen, [&] {
    return g_real.syscall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(kDirectory),
                          O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
  }));
  if (directory < 0) return false;
  // The kernel lists them in rising order.
  std::uint32_t next = 0;
  long got = 0;
  const auto list = [&] {
    return g_real.syscall(SYS_getdents64, directory, reinterpret_cast<long>(buffer), sizeof buffer,
                          0, 0, 0);
  };
  while ((got = recording::own_call(recording::OwnCall::kGetdents, list)) > 0) {
    for (long at = 0; at < got;) {
      const auto* entry = reinterpret_cast<const Entry*>(buffer + at);
      at += entry->size;
      std::uint32_t number = 0;
      const char* digit = entry->name;
      for (; *digit >= '0' && *digit <= '9'; ++digit) {
        number = number * 10 + static_cast<std::uint32_t>(*digit - '0');
      }
      if (*digit != '\0' || digit == entry->name || number > INT_MAX) continue;  // . and ..
      if (number >= next) forget_closed(next, number, before_ns);
      next = number + 1;
      const int fd = static_cast<int>(number);
      if (fd == directory || counts_as_open(fd)) continue;
      if (unknown.count == static_cast<int>(sizeof unknown.numbers / sizeof unknown.numbers[0])) {
        meet_all(unknown);
      }
      unknown.numbers[unknown.count++] = fd;
    }
  }
  if (g_real.syscall(SYS_close, directory, 0, 0, 0, 0, 0) != 0) {
    recording::own_call_failed(recording::OwnCall::kClose, errno);
  }
  if (got < 0) return false;
  forget_closed(next, g_ledger.slots(), before_ns);
  // One that was closed out of sight may have had the number that we were given.
  forget_closed(static_cast<std::uint32_t>(directory), static_cast<std::uint32_t>(directory) + 1,
                before_ns);
  if (unknown.count != 0 && !__libc_single_threaded) {
    // Another thread may be between the call that opened or closes one, and its note of it.
    const timespec moment{0, 1'000'000};
    nanosleep(&moment, nullptr);
  }
  meet_all(unknown);
  return true;
}

template <typename Look>
void for_each_open(Look look) noexcept {
  for (std::uint64_t number = 0; number < g_ledger.slots(); ++number) {
    const int fd = static_cast<int>(number);
    FdSlot* slot = g_ledger.slot(fd);
    if (slot == nullptr) {
      number |= recording::kFdsPerChunk - 1;
    } else if (LedgerWriter::is_open(*slot) && !look(fd, *slot)) {
      return;
    }
  }
}

/// TCP sockets whose peer has closed. Since when is not kept by the kernel: since the last segment
/// that came is the least, and mostly that was the one that said so.
void look_at_peers() noexcept {
  constexpr auto kTcp = static_cast<std::size_t>(DescriptorKind::kTcp);
  if (header().fd_opened[kTcp].load() <= header().fd_closed[kTcp].load()) return;
  int left = kMostPeers;
  for_each_open([&](int fd, FdSlot& slot) noexcept {
    if (LedgerWriter::kind(slot) != DescriptorKind::kTcp) return true;
    tcp_info info{};
    if (ask_socket(fd, IPPROTO_TCP, TCP_INFO, info) && info.tcpi_state == TCP_CLOSE_WAIT) {
      const std::uint32_t age = info.tcpi_last_ack_recv;
      g_ledger.detail(fd).peer_closed_ms.store(age < ~0u ? age + 1 : age);
    }
    return --left > 0;
  });
}

/// What came in a message, or is a duplicate of something inherited: nobody has asked what it is.
void look_at_kinds() noexcept {
  for_each_open([&](int fd, FdSlot& slot) noexcept {
    const std::uint32_t origin = slot.facts.load() >> recording::kFdOriginShift & 0xFF;
    if (fd <= 2 || LedgerWriter::kind(slot) != DescriptorKind::kOther ||
        origin != static_cast<std::uint32_t>(FdOrigin::kOpened)) {
      return true;
    }
    char target[512];
    const ssize_t size = target_of(fd, target, sizeof target);
    if (size < 0) return true;
    g_ledger.set_kind(fd, kind_of(fd, target));
    if (g_ledger.detail(fd).target.raw[0] == '\0') {
      g_ledger.set_target(fd, target, static_cast<std::size_t>(size));
    }
    return true;
  });
}

bool has_ended(std::int32_t thread_id) noexcept {
  for (const std::int32_t& ended : g_ended_threads) {
    if (__atomic_load_n(&ended, __ATOMIC_RELAXED) == thread_id) return true;
  }
  if (recording::uninterrupted(recording::OwnCall::kTgkill, [&] {
        return g_real.syscall(SYS_tgkill, getpid(), thread_id, 0, 0, 0, 0);
      }) == 0) {
    return false;
  }
  if (errno == ESRCH) return true;
  recording::own_call_failed(recording::OwnCall::kTgkill, errno);
  return false;
}

/// Descriptors whose thread is gone.
void look_at_threads(const Thread& thread) noexcept {
  if (__libc_single_threaded) return;
  constexpr std::uint32_t kRemembered = 64;
  struct Known {
    std::int32_t thread_id;
    bool ended;
  } known[kRemembered] = {};
  for_each_open([&](int fd, FdSlot& slot) noexcept {
    const FdDetail& detail = g_ledger.detail(fd);
    const std::int32_t opener = detail.thread_id.load();
    if (opener == 0 || opener == thread.tid || detail.generation.load() != slot.generation.load()) {
      return true;
    }
    Known& there = known[static_cast<std::uint32_t>(opener) % kRemembered];
    if (there.thread_id != opener) there = {opener, has_ended(opener)};
    if (there.ended) g_ledger.set_flags(fd, recording::kFdThreadEnded, 0);
    return true;
  });
}

}  // namespace

void take_census(Thread& thread) noexcept {
  if (!g_probe.census || g_probe.sealed || !noting_for(thread) || !g_probe.process->active()) {
    return;
  }
  const int saved = errno;
  {
    // A handler of the program's would open and close unseen.
    const Undisturbed undisturbed;
    const Quiet quiet(thread);
    // By which process: a child may be forked while another thread of its parent takes one.
    static std::int32_t taking = 0;
    const std::int32_t self = getpid();
    if (__atomic_exchange_n(&taking, self, __ATOMIC_ACQUIRE) != self) {
      const std::uint64_t before_ns = now(thread);
      struct stat status {};
      // The size is the number of open descriptors (Linux 6.2).
      // Not of kDirectory: the probe has asked for this one when it started, so that it takes 1 µs
      // now and not 10. Of a main thread that has ended it says 0.
      const bool agree = count_open(status) && status.st_size > 0 &&
                         status.st_size == header().fd_open.load() && all_are_open();
      if (agree || compare(before_ns)) {
        look_at_kinds();
        look_at_peers();
        look_at_threads(thread);
        header().end_census.store_release(static_cast<std::uint32_t>(EndCensus::kDone));
      }
      __atomic_store_n(&taking, 0, __ATOMIC_RELEASE);
    }
  }
  errno = saved;
}

void undo_census() noexcept {
  if (g_probe.census && g_probe.process->active() && g_probe.process->settled()) {
    header().end_census.store_release(static_cast<std::uint32_t>(EndCensus::kNone));
  }
}

void thread_ended(std::int32_t thread_id) noexcept {
  if (!g_probe.census) return;
  const std::uint32_t place = __atomic_fetch_add(&g_ended, 1, __ATOMIC_RELAXED) % kEndedThreads;
  __atomic_store_n(&g_ended_threads[place], thread_id, __ATOMIC_RELAXED);
}

void thread_began(std::int32_t thread_id) noexcept {
  if (!g_probe.census || __atomic_load_n(&g_ended, __ATOMIC_RELAXED) == 0) return;
  // A number that was given to an earlier thread.
  for (std::int32_t& ended : g_ended_threads) {
    if (__atomic_load_n(&ended, __ATOMIC_RELAXED) == thread_id) {
      __atomic_store_n(&ended, 0, __ATOMIC_RELAXED);
    }
  }
}

}  // namespace loopscope::probe
