// SPDX-License-Identifier: Apache-2.0
//
// What `run` and `check` do before they start a program: find out whether the probe can get into
// it, and what its environment must hold for that; and how both speak to people.
//
// Thread-safety: no state.
#pragma once

#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace loopscope::cli {

struct ObservationOptions {
  std::string probe;                     // path; empty: the one that belongs to this command
  std::string stacks;                    // off, caller, full; empty: the probe's default
  std::string directory;                 // of the recordings; empty: where `loopscope serve` looks
  std::vector<std::string> probe_flags;  // "closes", "census", "stall=50000000": see docs/probe.md
  /// Lines of JavaScript as well: node is told, by NODE_OPTIONS, to load a small file that lies
  /// next to the probe.
  bool node_lines = false;
};

struct Observation {
  /// errno that execvp(3) will fail with; 0: nothing speaks against it.
  int exec_error = 0;
  /// The directory of the recordings cannot be had: what to tell the user; empty: it can.
  std::string unusable;
  /// Why nothing will be seen; empty: nothing is known against it.
  std::string unseen;
  /// To be set for the program.
  std::vector<std::pair<std::string, std::string>> environment;
  /// Where its recordings will be.
  std::vector<std::string> directories;
};

Observation observe(const char* program, const ObservationOptions& options);

/// How the variable that tells the probe of the run of process `run` begins; a comma or the end
/// follows.
std::string probe_run_option(int run);

/// After the program ended (or ran for a while) without a recording: why, to be put after "nothing
/// is seen of PROGRAM: ".
std::string why_nothing_was_recorded(const std::string& directory);

/// Recordings are held open, one descriptor each.
void allow_many_descriptors();

/// "loopscope: TEXT" to standard error in one piece, so that it does not mix with what the program
/// writes there.
void say(const std::string& text);

/// What an exception says, in words: "out of memory" for std::bad_alloc.
std::string what_of(const std::exception& error);

/// Says why; the exit status, as of env(1) and the shells: 127 or 126.
int cannot_start(const char* program, int error);

}  // namespace loopscope::cli
