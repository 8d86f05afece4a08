// SPDX-License-Identifier: Apache-2.0
//
// What the reports of `loopscope check` have in common.
//
// Thread-safety: no state.
#pragma once

#include <cstddef>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "cli/check_report.h"

namespace loopscope::cli {

/// "error", "warning", … of the finding's grade, "new", "baseline", … of what became of it.
const char* status_name(CheckedFinding::Status status);

/// A file of a frame: relative to the repository where it lies below it, else as it is; `.` and
/// `..` in it resolved.
std::string shown_file(const CheckResult& result, const std::string& file);

/// "exited with 3", "was killed by SIGSEGV", "was ended after 30 s (--timeout)".
std::string end_text(const CheckResult& result);

/// PROGRAM as it was given; never empty.
std::string program_name(const CheckResult& result);

/// "worker (pid 4243)", "worker (pid 4243) and 2 processes more".
std::string where_found(const CheckResult& result, const CheckedFinding& checked);

/// How many processes were judged.
std::size_t judged(const CheckResult& result);

/// A finding as write_check_text() writes it: headline, place, stacks, descriptors, evidence;
/// `with_advice`: and what to do.
void write_finding_text(std::ostream& out, const CheckResult& result, const CheckedFinding& checked,
                        const TextStyle& style, bool with_advice);

/// One frame of a stack that a reader is shown, or a run of frames that say nothing to him.
struct ShownFrame {
  std::string text;   // "Client::connect", "… 3 frames of libev.so.4"; printable
  std::string where;  // "src/client.cpp:42", "libfoo.so.1+0x1234"; empty for a run
  bool first_look = false;
};
/// The program's own frames and what they called; runs of the others folded, where every program
/// begins left out. At most `most` lines.
std::vector<ShownFrame> shown_frames(const CheckResult& result, const findings::Place& place,
                                     std::size_t most);

}  // namespace loopscope::cli
