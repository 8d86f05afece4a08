// SPDX-License-Identifier: Apache-2.0
//
// Findings that are known and meant: entries of suppression files, and whether one matches.
//
//   # One entry: a name, then indented "key: pattern" lines. All of them must match.
//   suppress: ruby-vm-timer
//     reason: the Ruby VM keeps two eventfds for its timer thread
//     rule: fd-leak
//     kind: eventfd
//     function: setup_communication_pipe_internal
//     module: libruby*
//
// Keys: reason (required), rule, process (command name), kind, target (path, name, address or peer
// of any of its descriptors), function, file, module (each: some frame of the first place's stack),
// opener (the module of its innermost frame that is no script line: the code that made the call),
// script (the file of its innermost script line: a worker that was forked has its parent's lines
// further out, so that `file` would match all that it opens).
// Patterns are those of fnmatch(3), without FNM_PATHNAME: `*` matches `/` too. A pattern of file,
// module, opener or script without a `/` is held against the last part of the path, one of function
// without a `(` against the name without parameters too. A key given again must match as well,
// perhaps another frame. At least one key but `reason`, `rule` and `process`: nothing is silenced
// as a whole.
//
// A line whose first character is `#` (after spaces) is a comment; lines may end with CRLF.
//
// Thread-safety: values. Cost: a few string comparisons an entry and frame.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instrumentation/findings/finding.h"

namespace loopscope::findings {

struct Suppression {
  std::string name;
  std::string reason;
  std::string source;  // "FILE:LINE" of its first line; kShipped of those that ship
  std::vector<std::pair<std::string, std::string>> conditions;  // key, pattern; without `reason`
};

struct SuppressionError {
  std::string where;    // "FILE:LINE"
  std::string message;  // what is wrong, and what would be right
};

struct ParsedSuppressions {
  std::vector<Suppression> entries;  // those that are good
  /// None: the file is good. At most kMostSuppressionErrors, the last of which then says that there
  /// are more.
  std::vector<SuppressionError> errors;
};

inline constexpr std::size_t kMostSuppressionErrors = 20;
/// Bytes. No name that a compiler makes is longer; a file with longer lines is something else.
inline constexpr std::size_t kLongestSuppressionLine = 16384;
inline constexpr std::string_view kShipped = "shipped with loopscope";

/// Parses the text of a suppression file called `file`.
ParsedSuppressions parse_suppressions(std::string_view text, const std::string& file);

/// Those that ship with loopscope (instrumentation/findings/shipped.supp), compiled in.
const std::vector<Suppression>& shipped_suppressions();

/// The first of `entries` that matches a finding of a process of that command; null: none.
const Suppression* find_suppression(const std::vector<Suppression>& entries, const Finding& finding,
                                    std::string_view command);

/// A ready entry that matches `finding` in any run, with a reason to be filled in:
/// --gen-suppressions. It goes by the frame that the finding blames; a comment instead if there is
/// nothing to go by (a stalled loop has no stack).
std::string suppression_for(const Finding& finding, std::string_view command);

}  // namespace loopscope::findings
