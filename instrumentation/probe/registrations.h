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

/// The descriptor that was registered with that data; -1: not known.
int find_registration(int epoll_fd, std::uint64_t data) noexcept;

/// In a forked child.
void registrations_forked() noexcept;

}  // namespace loopscope::probe
