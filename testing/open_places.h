// SPDX-License-Identifier: Apache-2.0
//
// Where descriptors of this process were opened: from the recording that the probe keeps in this
// process, named by the symboliser.
//
// Thread-safety: free functions, from any thread; naming takes a lock. Cost: generations() 0.1 µs a
// descriptor; find_places() reads the ledger (0.3 µs a descriptor in it), then symbols: the first
// frame of a program 20 ms for 28 MB of debug information, every further one 20 to 300 µs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "loopscope/testing/fd_leak_scope.h"

namespace loopscope::testing {

enum class ProbeState {
  kPresent,
  kAbsent,        // not preloaded
  kOtherVersion,  // preloaded, but of another loopscope than this library
  kNotRecording   // there, but it could not make a recording
};
ProbeState probe_state();

/// FdSlot::generation of each of `numbers`: odd for one that the probe's ledger has open. All 0
/// where there is no probe.
std::vector<std::uint32_t> generations(const std::vector<std::int32_t>& numbers);

/// Fills where, stack and thread_id of those that the ledger knows, and target where it knows a
/// better one.
void find_places(std::vector<FdLeak>& leaks);

}  // namespace loopscope::testing
