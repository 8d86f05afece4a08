// SPDX-License-Identifier: Apache-2.0
//
// A screen as values: lines of styled text, cut to size. What draws makes one, what owns the
// terminal paints it; tests read it.
//
// Thread-safety: plain values.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/top_text.h"

namespace loopscope::cli::top {

/// What a text is, not how it looks: a terminal without colours shows the same words.
enum class Style {
  kPlain,
  kDim,
  kBold,
  kGood,
  kWarning,
  kBad,
  kMeter,
  kTitle,   // a table's header
  kKey,     // what a key does, in the bar at the bottom
  kActive,  // of several panes the one that is shown
};

struct Span {
  std::string text;
  Style style = Style::kPlain;
};

struct Line {
  std::vector<Span> spans;
  bool selected = false;
  Style fill = Style::kPlain;  // of the line's rest

  Line() = default;
  explicit Line(std::string_view text, Style style = Style::kPlain) { add(text, style); }
  /// Whatever is added is cleaned (top_text.h): nothing that moves the cursor gets in here.
  Line& add(std::string_view text, Style style = Style::kPlain) {
    spans.push_back({clean(text), style});
    return *this;
  }
  std::string text() const {
    std::string all;
    for (const Span& span : spans) all += span.text;
    return all;
  }
};

struct Canvas {
  std::size_t width = 0;
  std::size_t height = 0;
  std::vector<Line> lines;  // at most `height`, none wider than `width`
  /// Where the terminal's cursor is, for those who follow it; shown only while text is typed.
  std::size_t cursor_row = 0;
  std::size_t cursor_column = 0;
  bool cursor_shown = false;

  /// Cuts what is too wide or too much.
  void crop() {
    if (lines.size() > height) lines.resize(height);
    for (Line& line : lines) {
      std::size_t left = width;
      for (Span& span : line.spans) {
        if (columns(span.text) > left) span.text = cut(span.text, left);
        left -= std::min(left, columns(span.text));
      }
    }
    cursor_row = height == 0 ? 0 : std::min(cursor_row, height - 1);
    cursor_column = width == 0 ? 0 : std::min(cursor_column, width - 1);
  }
};

/// A column of a table.
struct Column {
  const char* title;
  std::size_t width;
  bool right;        // aligned
  int rank;          // the smaller, the longer it stays when there is little room
  bool descending;   // sorted by it, the largest first
  char key;          // sorts by it; 0: none
  const char* what;  // it means
};

/// Which of `all` are shown in `width` columns with a space between two: by rank, as long as the
/// last, which takes what is left, gets `least`. Rising; the last is always among them.
std::vector<std::size_t> choose_columns(const std::vector<Column>& all, std::size_t width,
                                        std::size_t least);

}  // namespace loopscope::cli::top
