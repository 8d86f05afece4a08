// SPDX-License-Identifier: Apache-2.0
//
// For the few things that are done rarely and by any thread; not in signal handlers. The word holds
// the pid of the holder's process, 0: free. Not pthread's: a child that was forked while a thread
// of its parent held it takes it over, as that thread is not there to give it back.
#pragma once

#include <sched.h>

#include <cstdint>

namespace loopscope::recording {

class SpinLock {
 public:
  /// `process`: the caller's pid. Not asked for here: a process may have forbidden itself getpid(2)
  /// by then.
  SpinLock(std::uint32_t& word, std::int32_t process) noexcept : word_(word) {
    const auto here = static_cast<std::uint32_t>(process);
    std::uint32_t holder = 0;
    while (!__atomic_compare_exchange_n(&word_, &holder, here, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED)) {
      if (holder != here) continue;  // given back meanwhile (0), or the parent's: from that
      holder = 0;
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
