// SPDX-License-Identifier: Apache-2.0
#include "cli/top_text.h"

#include <langinfo.h>
#include <wchar.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "cli/report.h"

namespace loopscope::cli::top {
namespace {

/// The character at `at` of valid UTF-8, and its length.
char32_t decode(std::string_view text, std::size_t at, std::size_t& length) {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[at + i]));
  };
  const char32_t first = byte(0);
  length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (at + length > text.size()) {
    length = 1;
    return U'?';
  }
  if (length == 1) return first;
  char32_t character = first & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) character = character << 6 | (byte(i) & 0x3F);
  return character;
}

int width_of(char32_t character) {
  if (character < 0x80) return 1;
  return wcwidth(static_cast<wchar_t>(character));
}

std::string formatted(const char* format, double value) {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

/// At most three digits and a point: "1.25", "12.3", "123". Rounded first, so that 9.996 is "10.0".
std::string three_digits(double value) {
  if (value < 9.995) return formatted("%.2f", value);
  if (value < 99.95) return formatted("%.1f", value);
  return formatted("%.0f", value);
}

/// At most two digits below ten: "1.2", "12", "123".
std::string two_digits(double value) {
  return value < 9.95 ? formatted("%.1f", value) : formatted("%.0f", value);
}

}  // namespace

bool unicode_terminal() { return std::strcmp(nl_langinfo(CODESET), "UTF-8") == 0; }

std::string clean(std::string_view text) {
  const bool ascii =
      std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < 127; });
  if (ascii) return std::string(text);
  const std::string valid = printable(std::string(text));
  const bool unicode = unicode_terminal();
  std::string result;
  result.reserve(valid.size());
  for (std::size_t at = 0, length = 0; at < valid.size(); at += length) {
    const char32_t character = decode(valid, at, length);
    if (character < 0x80) {
      result += static_cast<char>(character);
    } else if (unicode) {
      const int width = width_of(character);
      if (width < 0) {
        result += '?';
      } else if (width > 0) {
        result.append(valid, at, length);
      }
    } else {
      result += character == U'µ' ? 'u' : character == U'…' ? '~' : '?';
    }
  }
  return result;
}

std::size_t columns(std::string_view text) {
  std::size_t sum = 0;
  for (std::size_t at = 0, length = 0; at < text.size(); at += length) {
    sum += static_cast<std::size_t>(std::max(0, width_of(decode(text, at, length))));
  }
  return sum;
}

std::string cut(std::string_view text, std::size_t width) {
  // However long a name is, only its beginning can be seen: 4 bytes a column, and room for what
  // takes none.
  const std::size_t seen = std::max<std::size_t>(width * 16, 256);
  std::string whole = clean(text.substr(0, seen));
  if (text.size() <= seen && columns(whole) <= width) return whole;
  if (width == 0) return {};
  std::size_t at = 0, taken = 0, length = 0;
  while (at < whole.size()) {
    const auto wide = static_cast<std::size_t>(std::max(0, width_of(decode(whole, at, length))));
    if (taken + wide > width - 1) break;
    taken += wide;
    at += length;
  }
  whole.resize(at);
  return whole + (unicode_terminal() ? "…" : "~");
}

std::string fit(std::string_view text, std::size_t width, bool right) {
  std::string result = cut(text, width);
  const std::size_t taken = columns(result);
  if (taken >= width) return result;
  if (right) {
    result.insert(0, width - taken, ' ');
  } else {
    result.append(width - taken, ' ');
  }
  return result;
}

std::vector<std::string> wrap(std::string_view text, std::size_t width, std::size_t indent) {
  width = std::max<std::size_t>(width, 1);
  if (indent + 2 > width) indent = 0;  // a character may take two
  const std::string whole = clean(text);
  std::vector<std::string> lines;
  std::string line;
  std::size_t taken = 0;
  const auto end_line = [&] {
    lines.push_back(line);
    line.assign(indent, ' ');
    taken = indent;
  };
  bool first_word = true;
  for (std::size_t at = 0; at < whole.size();) {
    if (whole[at] == ' ') {
      ++at;
      continue;
    }
    const std::string word = whole.substr(at, whole.find(' ', at) - at);
    at += word.size();
    std::size_t wide = columns(word);
    if (!first_word && taken + 1 + wide > width) {
      end_line();
      first_word = true;
    }
    if (!first_word) {
      line += ' ';
      ++taken;
    }
    first_word = false;
    // A word that is longer than a line.
    std::size_t from = 0;
    while (taken + wide > width) {
      std::size_t to = from, length = 0;
      while (to < word.size()) {
        const auto next = static_cast<std::size_t>(std::max(0, width_of(decode(word, to, length))));
        if (taken + next > width && to > from) break;
        taken += next;
        wide -= std::min(wide, next);
        to += length;
        if (taken >= width) break;
      }
      line.append(word, from, to - from);
      from = to;
      if (from >= word.size()) break;
      end_line();
    }
    line.append(word, from, word.size() - from);
    taken += wide;
  }
  lines.push_back(line);
  return lines;
}

std::string short_duration(std::optional<std::uint64_t> ns) {
  if (!ns) return "-";
  const auto value = static_cast<double>(*ns);
  if (*ns < 1000) return std::to_string(*ns) + "ns";
  if (value < 999.5e3) return two_digits(value / 1e3) + "µs";
  if (value < 999.5e6) return two_digits(value / 1e6) + "ms";
  if (value < 9.995e9) return formatted("%.2fs", value / 1e9);
  if (value < 99.95e9) return formatted("%.1fs", value / 1e9);
  if (value < 600e9) return formatted("%.0fs", std::floor(value / 1e9));
  if (value < 100 * 60e9) return formatted("%.0fmin", std::floor(value / 60e9));
  if (value < 100 * 3600e9) return formatted("%.0fh", std::floor(value / 3600e9));
  if (value < 1000 * 24 * 3600e9) return formatted("%.0fd", std::floor(value / (24 * 3600e9)));
  return formatted("%.0fy", std::floor(value / (365.25 * 24 * 3600e9)));
}

std::string short_count(std::optional<double> count) {
  if (!count) return "-";
  const double value = *count;
  if (value < 0.005) return "0";
  if (value < 99.95)
    return value == std::floor(value) ? formatted("%.0f", value) : three_digits(value);
  if (value < 9999.5) return formatted("%.0f", value);
  static constexpr const char* kUnits[] = {"k", "M", "G", "T"};
  double scaled = value;
  const char* unit = "P";
  for (const char* candidate : kUnits) {
    scaled /= 1000;
    unit = candidate;
    if (scaled < 999.5) break;
  }
  if (scaled >= 999.5) return ">999T";
  return (scaled < 99.95 ? formatted("%.1f", scaled) : formatted("%.0f", scaled)) + unit;
}

std::string short_percent(std::optional<double> share) {
  if (!share) return "-";
  const double percent = *share * 100;
  if (percent <= 0) return "0%";
  if (percent < 0.1) return "<0.1%";
  if (percent >= 100) return "100%";
  // Rounded down, so that it is full only when it is.
  return formatted("%.1f%%", std::min(99.9, std::floor(percent * 10) / 10));
}

std::string whole_percent(std::optional<double> share) {
  if (!share) return "-";
  if (*share <= 0) return "0%";
  if (*share < 0.01) return "<1%";
  return formatted("%.0f%%", *share >= 1 ? 100 : std::min(99.0, std::floor(*share * 100)));
}

std::string bar(double share, std::size_t width) {
  const double clamped = std::clamp(share, 0.0, 1.0);
  std::string text;
  if (!unicode_terminal()) {
    auto full = static_cast<std::size_t>(std::lround(clamped * static_cast<double>(width)));
    if (full == 0 && clamped > 0.005 && width != 0) full = 1;
    return std::string(full, '#') + std::string(width - full, '.');
  }
  static constexpr const char* kEighths[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
  auto eighths = static_cast<std::size_t>(std::lround(clamped * 8 * static_cast<double>(width)));
  if (eighths == 0 && clamped > 0.005) eighths = 1;
  for (std::size_t i = 0; i < width; ++i) {
    const std::size_t here = std::min<std::size_t>(eighths, 8);
    text += kEighths[here];
    eighths -= here;
  }
  return text;
}

}  // namespace loopscope::cli::top
