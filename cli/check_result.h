// SPDX-License-Identifier: Apache-2.0
//
// What `loopscope check` found: plain values, made once when PROGRAM and its children have ended.
// Every report (text, JSON, JUnit, SARIF, GitHub annotations) is a function of this and nothing
// else.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/launch.h"
#include "instrumentation/findings/finding.h"

namespace loopscope::cli {

/// One process (or one image of it: exec begins another) of the tree.
struct CheckedProcess {
  std::int32_t pid = 0;
  std::int32_t parent_pid = 0;
  std::string command;  // "nginx"
  std::vector<std::string> argv;
  std::uint64_t started_ns = 0;  // CLOCK_REALTIME
  std::uint64_t ended_ns = 0;    // 0: unknown, or it has not ended

  enum class Ending { kExited, kKilled, kExec, kRunning };
  Ending ending = Ending::kExited;
  int status = -1;  // of kExited; -1: unknown
  int signal = 0;   // of kKilled; 0: unknown

  std::uint64_t opened = 0;
  std::uint64_t closed = 0;
  std::uint64_t inherited = 0;
  std::uint64_t open_at_end = 0;  // of those it opened; standard input, output and error excepted
  /// Its ledger was compared with the kernel's at its end.
  bool census = false;
  /// Why no verdict is given: "ignored: --ignore-process git", "it only became another program";
  /// empty: it was judged.
  std::string unjudged;
};

/// A finding and what becomes of it.
struct CheckedFinding {
  findings::Finding finding;
  std::size_t process = 0;    // index into CheckResult::processes: the first it was found in
  std::size_t processes = 1;  // in how many; their counts are added in finding.count
  /// The others of them, indices likewise: `processes` - 1, or empty if that is not known.
  std::vector<std::size_t> also_in;

  /// The same in every run as long as the code does not move: rule, kind, and functions and files
  /// (not lines) of the first place's stack. 16 hex digits.
  std::string fingerprint;

  /// kNew counts; kBaseline was there before (--baseline); kSuppressed: an entry matches;
  /// kFewer: fewer than --min-count.
  enum class Status { kNew, kBaseline, kSuppressed, kFewer };
  Status status = Status::kNew;
  std::string suppressed_by;  // name of the entry

  /// Makes the run fail: kNew, and an error (with --strict: whatever it is).
  bool fails = false;

  /// Where to look first: the frame of the first place. File relative to CheckResult::root where it
  /// lies below it (else as the debug information says); empty: no line is known.
  std::string file;
  int line = 0;
  std::string function;
  std::string module;        // path
  std::uint64_t offset = 0;  // in the module, where no line is known
};

/// An entry that matched something.
struct UsedSuppression {
  std::string name;
  std::string reason;
  std::string source;  // "FILE:LINE", or "shipped with loopscope"
  std::size_t findings = 0;
  std::uint64_t descriptors = 0;
};

struct CheckResult {
  std::string version;  // of loopscope
  std::vector<std::string> argv;
  pid_t pid = 0;
  End end;                        // PROGRAM's
  bool timed_out = false;         // and was ended for it
  std::uint64_t started_ns = 0;   // CLOCK_REALTIME
  std::uint64_t duration_ns = 0;  // until PROGRAM's end

  std::vector<CheckedProcess> processes;  // PROGRAM first, then by start
  std::vector<CheckedFinding> findings;  // worst first: those that fail, then by severity and count
  std::vector<UsedSuppression> suppressions;
  std::vector<std::string> unused_suppressions;  // of the user's own files: "FILE:LINE name"
  bool baseline = false;                         // --baseline was given
  /// Fingerprints of the baseline that were not found any more.
  std::size_t baseline_gone = 0;
  bool strict = false;
  /// Rules of budgets that were set ("stall-budget"): the others were not judged.
  std::vector<std::string> budgets;
  /// Directory of the repository, without a slash at its end; files below it are shown relative to
  /// it. Empty: there is none.
  std::string root;

  /// Why PROGRAM could not be observed; empty: it was. Then exit_status() is 3 or PROGRAM's own.
  std::string unseen;
  /// What a reader must know: dropped records, processes still running, no debug information.
  std::vector<std::string> notes;

  /// As in the contract: PROGRAM's own if it failed, else 3 if it could not be observed, 1 if
  /// something fails the run, 0. A program that was ended for its time-out and then exits with 0
  /// has not succeeded: 124, as timeout(1) has it.
  int exit_status() const;
};

/// Findings: by severity those that are kNew, and how many are not and why.
struct CheckCounts {
  std::size_t errors = 0;
  std::size_t warnings = 0;
  std::size_t infos = 0;
  std::size_t suppressed = 0;
  std::size_t baseline = 0;
  std::size_t fewer = 0;
};
CheckCounts count(const CheckResult& result);

}  // namespace loopscope::cli
