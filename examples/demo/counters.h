// SPDX-License-Identifier: Apache-2.0
//
// What the threads of the demo tell the admin page. Single numbers, so atomics are enough.
#pragma once

#include <atomic>
#include <cstdint>

namespace demo {

struct Counters {
  // written by the server
  std::atomic<std::uint64_t> connections{0};
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> messages{0};
  std::atomic<std::uint64_t> messages_per_second{0};
  std::atomic<std::uint64_t> idle_timeouts{0};
  // written by its misbehaviour
  std::atomic<std::uint64_t> leaked_fds{0};
  std::atomic<std::uint32_t> active_faults{0};  // a bit for each Fault
  std::atomic<int> forked_child{0};             // its pid; 0 again once it has been reaped
  // written by the load
  std::atomic<std::uint64_t> answers{0};
  std::atomic<std::uint64_t> not_sent{0};  // requests left out because the server lags behind
  std::atomic<std::uint64_t> reconnects{0};
};

/// Adds without a locked instruction: each number has one writing thread.
inline void add(std::atomic<std::uint64_t>& counter, std::uint64_t amount = 1) {
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

}  // namespace demo
