// SPDX-License-Identifier: Apache-2.0
//
// For the few things that are done rarely and by any thread. Not pthread's: a forked child can
// reset it.
#pragma once

#include <sched.h>

#include <cstdint>

namespace loopscope::recording {

class SpinLock {
 public:
  explicit SpinLock(std::uint32_t& word) noexcept : word_(word) {
    std::uint32_t free = 0;
    while (
        !__atomic_compare_exchange_n(&word_, &free, 1u, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
      free = 0;
      sched_yield();
    }
  }
  ~SpinLock() { __atomic_store_n(&word_, 0u, __ATOMIC_RELEASE); }
  SpinLock(const SpinLock&) = delete;
  SpinLock& operator=(const SpinLock&) = delete;

 private:
  std::uint32_t& word_;
};

}  // namespace loopscope::recording
