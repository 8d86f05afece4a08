// SPDX-License-Identifier: Apache-2.0
#include "cli/duration.h"

#include <charconv>
#include <cmath>
#include <system_error>
#include <utility>

namespace loopscope::cli {

std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  double number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number) || std::signbit(number)) return std::nullopt;
  std::string_view unit = text.substr(static_cast<std::size_t>(rest - text.data()));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  static constexpr std::pair<std::string_view, double> kUnits[] = {
      {"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
  for (const auto& [name, ns] : kUnits) {
    if (name != unit) continue;
    if (number * ns >= static_cast<double>(kLongestDuration.count())) return kLongestDuration;
    return std::chrono::nanoseconds(std::llround(number * ns));
  }
  return std::nullopt;
}

}  // namespace loopscope::cli
