// SPDX-License-Identifier: Apache-2.0
//
// The part of an address after the question mark.
//
// Thread-safety: no state.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace loopscope::webui {

/// Calls `take(name, value)` for each part of the query; false as soon as one call is.
template <typename Take>
bool for_each_parameter(std::string_view query, const Take& take) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const std::size_t name = std::min(pair.find('='), pair.size());
    if (!take(pair.substr(0, name), pair.substr(std::min(name + 1, pair.size())))) return false;
  }
  return true;
}

/// The whole of `text` as a number.
template <typename Number>
bool read_number(std::string_view text, Number& number) {
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && rest == text.data() + text.size();
}

/// The number that a process' id begins with: "1234-987654", "1234-987654-1". None: it is no id.
std::optional<std::int32_t> pid_of_id(std::string_view id);

/// A value as it was before it was put into the query: "%C3%A4" and "+" undone. None: a percent
/// sign without two hexadecimal digits.
std::optional<std::string> decoded(std::string_view value);

}  // namespace loopscope::webui
