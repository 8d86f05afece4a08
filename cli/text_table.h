// SPDX-License-Identifier: Apache-2.0
//
// Aligned columns and counted words, for what people read in a terminal.
//
// Thread-safety: plain values.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace loopscope::cli {

/// Rows of cells, aligned when printed; the columns named so to the left, the others to the right.
/// Every row has as many cells as the header.
class Table {
 public:
  Table(std::string indent, std::vector<std::string> header, std::vector<bool> left);
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.size() == 1; }
  void print(std::ostream& out) const;

 private:
  std::string indent_;
  std::vector<bool> left_;
  std::vector<std::vector<std::string>> rows_;
};

/// "1 turn", "2 turns".
std::string counted(std::uint64_t count, const std::string& what);

}  // namespace loopscope::cli
