// SPDX-License-Identifier: Apache-2.0
//
// What `loopscope run` says when PROGRAM has ended: a few lines for people, or "loopscope.run/1"
// (docs/run.md) for scripts.
//
// Thread-safety: no state.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "cli/launch.h"
#include "instrumentation/snapshot/host_snapshot.h"

namespace loopscope::cli {

/// What the command itself saw.
struct RunOutcome {
  std::vector<std::string> argv;
  pid_t pid = 0;
  End end;
  std::uint64_t started_ns = 0;   // CLOCK_REALTIME
  std::uint64_t duration_ns = 0;  // until its end
  std::string url;                // empty: nothing was served
  std::string unseen;             // why nothing is seen; empty: it is, or nobody knows
};

/// Whether there is anything to say of a process: not of a program that only became another one
/// (env, a shell that starts the last command), which is its beginning.
bool worth_a_line(const snapshot::ProcessSnapshot& process, const RunOutcome& outcome,
                  const snapshot::HostSnapshot& host);

/// Processes in the order they are worth looking at: PROGRAM (its images in turn), then those with
/// loops by turns, then the others by start.
std::vector<const snapshot::ProcessSnapshot*> summary_order(const snapshot::HostSnapshot& host,
                                                            pid_t program);

/// "SIGTERM"; "signal 40" for one without a name.
std::string signal_name(int signal);

/// At most a dozen processes; the others in one line. Strings of recordings are made printable.
void write_run_summary(std::ostream& out, const RunOutcome& outcome,
                       const snapshot::HostSnapshot& host);

/// One line of JSON: every process.
std::string run_summary_json(const RunOutcome& outcome, const snapshot::HostSnapshot& host);

/// How a process ended, by its recording and what the command knows of PROGRAM.
struct Fate {
  enum class Kind { kRunning, kExited, kKilled, kExec };
  Kind kind = Kind::kRunning;
  int status = -1;  // of kExited; -1: unknown
  int signal = 0;   // of kKilled; 0: unknown
};
Fate fate_of(const snapshot::ProcessSnapshot& process, const RunOutcome& outcome,
             const snapshot::HostSnapshot& host);

}  // namespace loopscope::cli
