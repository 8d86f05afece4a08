// SPDX-License-Identifier: Apache-2.0
//
// Times on the command line.
//
// Thread-safety: no state.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace loopscope::cli {

/// Longer ones are as good as for ever, and sums of two still fit into nanoseconds.
inline constexpr std::chrono::nanoseconds kLongestDuration = std::chrono::hours(100 * 365 * 24);

/// A number that is not negative and a unit, with blanks between or without: "500us", "1.5 s"; ns,
/// us, ms, s, m, h. To the nanosecond; one that is longer is kLongestDuration. None: it is no such
/// thing.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);

}  // namespace loopscope::cli
