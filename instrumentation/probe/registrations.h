// SPDX-License-Identifier: Apache-2.0
//
// Which descriptor an event is of: epoll gives back the data that epoll_ctl was given, which may be
// a pointer.
//
// Where the low half of the data is the descriptor itself (libuv, nginx' channel, libev, Python
// ...) nothing has to be kept. Otherwise (epoll descriptor, data) -> descriptor is kept in a table.
//
// Thread-safety: note() and find() from any thread; find() never waits. Cost: find() 1 ns, or 5 to
// 15 ns through the table. Memory: 16 bytes a registration, doubled while the table grows.
#pragma once

#include <cstdint>

#include "instrumentation/probe/probe.h"

namespace loopscope::probe {

/// epoll_ctl registered `fd` or changed its registration.
void note_registration(Thread& thread, int epoll_fd, int fd, std::uint64_t data) noexcept;

/// The descriptor that was registered with that data, and its generation then.
struct Registration {
  static constexpr std::uint32_t kBits = 0xFFFFF;  // as many of the generation are kept
  int fd = -1;                                     // -1: not known
  bool has_generation = false;                     // where the data names the descriptor: not kept
  bool shared = false;                             // others have, or had, that data in that set
  std::uint32_t generation = 0;
};
Registration find_registration(int epoll_fd, std::uint64_t data) noexcept;

/// Whether the descriptor seems to have been closed since it was registered. (One that was
/// registered while it did not count as open was opened out of sight. Where several have the same
/// data nobody can tell whose event it is.)
inline bool is_gone(const FdSlot& slot, const Registration& found) noexcept {
  const std::uint32_t now = slot.generation.load();
  if (found.shared) return false;
  if (found.has_generation) return (now & Registration::kBits) != found.generation;
  return now % 2 == 0 && now != 0;
}

/// Whether all that passed here is known; then is_gone() can be relied on.
bool registrations_complete() noexcept;

/// In a forked child.
void registrations_forked() noexcept;

}  // namespace loopscope::probe
