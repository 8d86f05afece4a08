// SPDX-License-Identifier: Apache-2.0
//
// How the library and a probe in one process share one recording: the library asks whether there is
// a probe, and records its loops in the probe's recording. So an instrumented program that runs
// under the probe shows up once, with its named watchers and with the ledger of its descriptors.
#pragma once

#include <cstdint>

#include "instrumentation/recording/region.h"

namespace loopscope::recording {

/// What a probe offers; the symbol kProbeLinkSymbol is a function that returns it.
struct ProbeLink {
  std::uint32_t version;      // kVersion
  std::uint32_t region_size;  // sizeof(Region): both are compiled from the same sources
  /// The recording of this process; in a forked child it is made first. False if nothing is
  /// recorded.
  bool (*share)(Region* to) noexcept;
  /// The library records the loop on this epoll descriptor from now on.
  void (*leave)(int epoll_fd) noexcept;
};
inline constexpr char kProbeLinkSymbol[] = "loopscope_probe_link";
using ProbeLinkFunction = const ProbeLink*();

/// The probe in this process, null if there is none or one of another version.
const ProbeLink* find_probe() noexcept;

}  // namespace loopscope::recording
