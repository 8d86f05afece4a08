// SPDX-License-Identifier: Apache-2.0
//
// The findings that a team knows and does not want to hear of again: `loopscope check --baseline
// FILE` fails on new ones only, `--update-baseline` writes the file. It is kept with the sources,
// so it is the same whoever writes it, and has one finding a line for diffs to be readable:
//
//   {"schema":"loopscope.baseline/1","findings":[
//   {"fingerprint":"0123456789abcdef","rule":"fd-leak","where":"Client::connect
//   (client.cpp)","count":3}
//   ]}
//
// A finding is known by its fingerprint alone; the rest is for people. More descriptors at a known
// place are not new.
//
// Thread-safety: values, and free functions without state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/check_result.h"
#include "instrumentation/findings/finding.h"
#include "instrumentation/recording/result.h"

namespace loopscope::cli {

struct BaselineEntry {
  std::string fingerprint;  // 16 hex digits
  std::string rule;
  std::string where;        // "Client::connect (client.cpp)": without a line, which moves
  std::uint64_t count = 0;  // of findings with one fingerprint, their sum
};

struct Baseline {
  std::vector<BaselineEntry> findings;  // by rule, then place, then fingerprint; each one once

  /// Null if it is not in it.
  const BaselineEntry* find(std::string_view fingerprint) const;
};

/// The same in every run, on every machine, as long as the code does not move, and no other for
/// another place: 16 hex digits, FNV-1a (64 bits) over rule, kind, and function and file name of up
/// to three frames: the one that the finding blames (Place::frame) and those of its callers that
/// are the program's own or of the same module. Left out, so that they may change: lines,
/// addresses, directories, parameter lists (bare_function()), system libraries on the way. A frame
/// without a function is its module's name, without version. `command` counts only where no frame
/// has a name.
std::string fingerprint(const findings::Finding& finding, std::string_view command);

/// What the baseline of a run is: what fails it or would without a baseline. What is suppressed or
/// too few (--min-count) is not in it, nor, unless `result.strict`, what is no error.
Baseline baseline_of(const CheckResult& result);

/// How many of the baseline's fingerprints the run did not find any more.
std::size_t gone(const Baseline& baseline, const CheckResult& result);

/// Errors say the file, what is wrong with it, and what to do.
recording::Result<Baseline> read_baseline(const std::string& path);

/// The file's text.
std::string baseline_text(const Baseline& baseline);

/// Replaces the file as a whole, or leaves it as it was and says what failed. A symbolic link stays
/// one; permissions stay.
recording::Result<void> write_baseline(const std::string& path, const Baseline& baseline);

}  // namespace loopscope::cli
