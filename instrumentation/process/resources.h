// SPDX-License-Identifier: Apache-2.0
//
// What a process uses, seen from outside: /proc/PID/stat and /proc/PID/statm, proc(5).
//
// Thread-safety: free functions without state. Cost: about 20 µs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace loopscope::process {

struct Resources {
  std::int32_t pid = 0;
  std::int32_t parent_pid = 0;
  char state = '?';  // R running, S sleeping, D in the kernel, T stopped, t traced, Z zombie …
  std::string comm;  // the main thread's name, at most 15 bytes; not necessarily UTF-8
  double cpu_seconds = 0;  // user and system, of all threads, also ended ones
  std::uint64_t resident_bytes = 0;
  std::uint64_t threads = 0;
  std::uint64_t start_ticks = 0;  // since boot; with the pid it names a process uniquely
  std::uint64_t started_ns = 0;   // CLOCK_REALTIME; as coarse as a tick, 10 ms
};

/// The facts of `pid`; none if there is no such process. A zombie still is one (`state` 'Z').
std::optional<Resources> read_resources(std::int32_t pid);

/// Parses a line of /proc/PID/stat; none if it is not one. `resident_bytes` is left to statm.
/// Exposed for tests: the name in it may hold any byte, ") R 1" included, so fields are counted
/// from the last ')'.
std::optional<Resources> parse_stat(std::string_view line);

}  // namespace loopscope::process
