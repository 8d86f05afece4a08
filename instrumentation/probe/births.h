// SPDX-License-Identifier: Apache-2.0
//
// What a call that makes a descriptor tells about it, from its arguments alone: the probe asks the
// kernel nothing.
#pragma once

#include <cstdint>
#include <cstring>

#include "instrumentation/probe/incidents.h"
#include "instrumentation/probe/probe.h"

namespace loopscope::probe {

using recording::kFdAccepted;
using recording::kFdCloseOnExec;
using recording::kFdNonBlocking;
using recording::kFdReadEnd;
using recording::kFdWriteEnd;

struct Born {
  DescriptorKind kind;
  std::uint32_t flags;
  const char* target;
  std::size_t target_size;
  int pair_fd = -1;

  explicit Born(DescriptorKind its_kind, std::uint32_t its_flags = 0) noexcept
      : kind(its_kind), flags(its_flags), target(nullptr), target_size(0) {}
};

/// O_CLOEXEC and O_NONBLOCK; EFD_, TFD_, SFD_, IN_ and EPOLL_ flags have the same values (Linux'
/// uapi headers), and so have SOCK_CLOEXEC and SOCK_NONBLOCK.
inline std::uint32_t close_on_exec(int flags) noexcept {
  return ((flags & O_CLOEXEC) != 0 ? kFdCloseOnExec : 0) |
         ((flags & O_NONBLOCK) != 0 ? kFdNonBlocking : 0);
}

inline bool starts_with(const char* text, const char* with) noexcept {
  while (*with != '\0') {
    if (*text++ != *with++) return false;
  }
  return true;
}

/// The rest of a path in /dev.
inline DescriptorKind opened_device(const char* name) noexcept {
  switch (name[0]) {
    case 't':
      return starts_with(name, "tty") ? DescriptorKind::kTty : DescriptorKind::kDevice;
    case 'p':
      return starts_with(name, "pts/") || starts_with(name, "ptmx") ? DescriptorKind::kTty
                                                                    : DescriptorKind::kDevice;
    case 'c':
      return starts_with(name, "console") ? DescriptorKind::kTty : DescriptorKind::kDevice;
    case 's':
      return starts_with(name, "shm/") ? DescriptorKind::kFile : DescriptorKind::kDevice;
    case 'm':
      return starts_with(name, "mqueue/") ? DescriptorKind::kFile : DescriptorKind::kDevice;
    default:
      return DescriptorKind::kDevice;
  }
}

inline Born opened_path(const char* path, int flags) noexcept {
  DescriptorKind kind = DescriptorKind::kFile;
  if ((flags & O_TMPFILE) == O_DIRECTORY) {  // O_TMPFILE holds its bit
    kind = DescriptorKind::kDirectory;
  } else if (path[0] == '/' && path[1] == 'd' && path[2] == 'e' && path[3] == 'v' &&
             path[4] == '/') {
    kind = opened_device(path + 5);
  }
  Born born(kind, close_on_exec(flags) | ((flags & O_APPEND) != 0 ? recording::kFdAppend : 0));
  born.target = path;
  born.target_size = strlen(path);
  return born;
}

inline Born opened_memfd(const char* name, unsigned flags) noexcept {
  Born born(DescriptorKind::kMemfd, (flags & 1u) != 0 ? kFdCloseOnExec : 0);  // MFD_CLOEXEC
  born.target = name;
  born.target_size = strlen(name);
  return born;
}

/// Which clock a timer runs on is needed again when it is set.
inline constexpr unsigned kFdClockShift = 24;
inline Born opened_timer(int clock, int flags) noexcept {
  return Born(DescriptorKind::kTimerfd,
              close_on_exec(flags) | (static_cast<std::uint32_t>(clock) & 0xF) << kFdClockShift);
}

inline Born opened_socket(int domain, int type) noexcept {
  DescriptorKind kind = DescriptorKind::kSocket;
  const int base = type & 0xF;
  if (domain == AF_INET || domain == AF_INET6) {
    if (base == SOCK_STREAM) kind = DescriptorKind::kTcp;
    if (base == SOCK_DGRAM) kind = DescriptorKind::kUdp;
  } else if (domain == AF_UNIX) {
    kind = DescriptorKind::kUnix;
  } else if (domain == AF_NETLINK) {
    kind = DescriptorKind::kNetlink;
  }
  return Born(kind, close_on_exec(type));
}

/// As its original, but for the flag that dup(2) clears.
inline Born duplicated(int from, std::uint32_t flags) noexcept {
  constexpr std::uint32_t kKept = recording::kFdNonBlocking | recording::kFdListening |
                                  recording::kFdAccepted | recording::kFdReadEnd |
                                  recording::kFdWriteEnd | recording::kFdAppend |
                                  (0xFu << kFdClockShift);
  const FdSlot* slot = g_ledger.slot(from);
  if (slot == nullptr || !LedgerWriter::is_open(*slot)) return Born(DescriptorKind::kOther, flags);
  Born born(LedgerWriter::kind(*slot), flags | (slot->facts.load() & kKept));
  born.target = g_ledger.detail(from).target.raw;
  born.target_size = strnlen(born.target, recording::kTargetBytes - 1);
  return born;
}

/// `fd` was born at the call that `site` returns from. errno is kept.
void born(Thread& thread, int fd, const StackStart& site, const Born& facts) noexcept;

/// After accept: the peer as the call gave it, null if it was not asked.
void accepted(Thread& thread, int fd, int listener, int flags, const StackStart& site,
              const struct sockaddr* peer, socklen_t size) noexcept;

/// What is noted of a close at `site`; nothing where closes are not asked for.
LedgerWriter::Death death_at(Thread& thread, const StackStart& site) noexcept;
/// Before a descriptor is closed at `site`; false if it was not known to be open. Then
/// after_close(), with errno as the call left it.
bool closing(Thread& thread, int fd, const StackStart& site) noexcept;
inline void after_close(Thread& thread, int fd, bool was_known, int returned, const char* call,
                        const StackStart& site) noexcept {
  if (was_known && returned == 0) [[likely]]
    return;
  // EINTR, EIO: the descriptor is gone all the same (close(2), "Dealing with error returns").
  if (returned != 0 && errno == EBADF) {
    close_failed(thread, fd, was_known, call, site);
  } else if (!was_known) {
    g_ledger.closed_unseen_birth();
  }
}

/// A descriptor is used.
inline void note_use(Thread& thread, int fd) noexcept;

}  // namespace loopscope::probe

#include "instrumentation/probe/loops.h"

namespace loopscope::probe {

/// CLOCK_MONOTONIC to the tick of the kernel (1 to 10 ms): a quarter of the cost.
std::uint64_t coarse_ns() noexcept;

inline void note_use(Thread& thread, int fd) noexcept {
  FdSlot* slot = g_ledger.slot(fd);
  if (slot == nullptr) [[unlikely]]
    return;
  LedgerWriter::bump(slot->io_calls);
  if (thread.turn.started_ns != 0) {
    slot->activity_ns.store(thread.turn.started_ns);
    if (thread.turn.slot != slot) switch_served(thread, *slot);
  } else {
    slot->activity_ns.store(coarse_ns());
  }
}

}  // namespace loopscope::probe
