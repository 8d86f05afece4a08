// SPDX-License-Identifier: Apache-2.0
//
// How much memory a limit of this process (ulimit -v, ulimit -d) still leaves it. libdw ends the
// process when there is none: where little is left, one does without names.
//
// Thread-safety: no state. Cost: two system calls without a limit, 5 µs with one.
#pragma once

#include <cstdint>

namespace loopscope::symbols {

/// In bytes; UINT64_MAX without a limit.
std::uint64_t memory_left() noexcept;

/// With less than this libdw is not called: its tables of one large program have room in it.
inline constexpr std::uint64_t kLeastMemoryLeft = std::uint64_t{64} << 20;

}  // namespace loopscope::symbols
