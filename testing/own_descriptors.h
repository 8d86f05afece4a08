// SPDX-License-Identifier: Apache-2.0
//
// The descriptors of this process: which are open, and what tells one from the next that is given
// the same number.
//
// Thread-safety: free functions, from any thread; listing takes a lock, because it opens a
// descriptor that another thread's listing would see. Cost: 1 µs a descriptor.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace loopscope::testing {

struct OwnDescriptor {
  int fd = -1;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint32_t type = 0;  // st_mode & S_IFMT
};

/// Whether both are the same file, as far as the kernel tells: all of its anonymous inodes (epoll,
/// eventfd, timerfd ...) are one, and the id that an eventfd shows in fdinfo is given again as soon
/// as it is free.
bool same_file(const OwnDescriptor& a, const OwnDescriptor& b);

/// Held by whatever opens descriptors in this library for a moment, so that a scope of another
/// thread does not take them for leaks. Taken by the functions below.
std::mutex& own_descriptors_mutex();

/// Rising. Works without /proc, and when the process has no descriptor to spare, by asking for one
/// number after the other; then it takes 0.1 µs for each number up to the limit.
std::vector<OwnDescriptor> list_own_descriptors();

/// False if `fd` is not open.
bool look_at(int fd, OwnDescriptor& descriptor);

struct OwnTarget {
  std::string kind;
  std::string target;
};
/// What people call it; a socket by its addresses.
OwnTarget target_of(int fd);

}  // namespace loopscope::testing
