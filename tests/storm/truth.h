// SPDX-License-Identifier: Apache-2.0
//
// What a victim knows of itself, in memory that survives it: each count before and after the
// operation that it counts, so that a recording must lie between the two whenever the victim ends.
//
// Thread-safety: each of `threads` is written by one thread, everything is read by the driver.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstdint>

namespace loopscope::storm {

inline constexpr int kThreads = 2;

struct alignas(64) ThreadTruth {
  std::atomic<std::int32_t> thread_id;
  std::atomic<std::uint64_t> waits;  // that returned, as far as the program has seen it
  std::atomic<std::uint64_t> timeouts;
  std::atomic<std::uint64_t> events;
  std::atomic<std::uint64_t> opening;  // descriptors that are open or about to be
  std::atomic<std::uint64_t> opened;
  std::atomic<std::uint64_t> closing;
  std::atomic<std::uint64_t> closed;
};

struct Truth {
  ThreadTruth threads[kThreads];
  std::atomic<std::uint64_t> forks;   // children that were waited for
  std::atomic<std::uint32_t> ready;   // every thread has turned
  std::atomic<std::uint32_t> finish;  // asked of the victim: end by itself
};

inline constexpr int kForkedOpens = 3;  // of each forked child, which ends with this status
inline constexpr int kForkedCloses = 2;
inline constexpr int kForkedStatus = 7;

/// `fd`: of a memory file of that size. Null: there is none.
inline Truth* map_truth(int fd) {
  void* memory = mmap(nullptr, sizeof(Truth), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<Truth*>(memory);
}

}  // namespace loopscope::storm
