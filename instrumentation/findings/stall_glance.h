// SPDX-License-Identifier: Apache-2.0
//
// What the thread of a loop was doing in the middle of a turn that took too long, as somebody saw
// who looked from outside. Plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "instrumentation/recording/stack_frame.h"

namespace loopscope::findings {

struct StallGlance {
  enum class Doing { kUnknown, kComputing, kBlocked, kStopped };

  /// CPU time of the thread over the `over_ns` before the glance.
  struct Times {
    std::uint64_t over_ns = 0;
    std::uint64_t cpu_ns = 0;     // it ran
    std::uint64_t waited_ns = 0;  // it was ready to, but others had the CPUs
  };

  // Of LoopSnapshot.
  std::uint32_t loop_id = 0;
  std::uint64_t generation = 0;

  std::uint64_t turn = 0;
  std::uint64_t into_ns = 0;  // how long the turn had been busy
  std::uint64_t seen_ns = 0;  // how long it was when it was last seen so
  Doing doing = Doing::kUnknown;
  std::string call;     // the system call it was blocked in: "clock_nanosleep"
  std::string channel;  // and the kernel's function, if the kernel says
  std::optional<Times> times;
  recording::Stack stack;
  std::string no_stack;  // why there is none
};

}  // namespace loopscope::findings
