// SPDX-License-Identifier: Apache-2.0
//
// Text for cells of a terminal: what is printable, how many columns it takes, numbers that fit in
// five of them.
//
// What is printable and how wide it is goes by the process' LC_CTYPE (wcwidth(3)): where that is
// not UTF-8, everything is ASCII. Thread-safety: no state but the locale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace loopscope::cli::top {

/// Whether LC_CTYPE is UTF-8.
bool unicode_terminal();

/// `text` that may come from anywhere, as it may go into one line of a terminal: no control
/// characters (a line break is one), no broken UTF-8, nothing that takes no column of its own
/// (combining marks, joiners) or turns the reading direction. '?' stands for what is not
/// printable; where the locale is not UTF-8, "us" for "µs", '~' for "…" and '?' for the rest.
std::string clean(std::string_view text);

/// How many columns text takes that clean() made.
std::size_t columns(std::string_view text);

/// `text` cleaned and cut to at most `width` columns; what is cut ends in "…".
std::string cut(std::string_view text, std::size_t width);

/// `text` cleaned, in exactly `width` columns: cut, or padded on the right (`right`: on the left).
std::string fit(std::string_view text, std::size_t width, bool right = false);

/// `text` cleaned and in lines of at most `width` columns, broken between words where that can be;
/// every line but the first begins with `indent` spaces. At least one line.
std::vector<std::string> wrap(std::string_view text, std::size_t width, std::size_t indent = 0);

// --- numbers that fit in five columns; "-": none
// ------------------------------------------------------------------

/// "35ns", "1.2µs", "212ms", "1.25s", "17min", "5h", "12d".
std::string short_duration(std::optional<std::uint64_t> ns);

/// "0.25", "12.3", "1234", "12.3k", "4.5M".
std::string short_count(std::optional<double> count);

/// "0.4%", "12.3%", "100%"; never "100%" for less than all, never "0%" for more than nothing.
std::string short_percent(std::optional<double> share);

/// In four columns: "<1%", "12%", "100%".
std::string whole_percent(std::optional<double> share);

/// A bar of `width` columns, filled for `share` (0 to 1).
std::string bar(double share, std::size_t width);

}  // namespace loopscope::cli::top
