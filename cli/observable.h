// SPDX-License-Identifier: Apache-2.0
//
// Whether the probe can get into a program, found out from its file before it is started.
//
//   PROGRAM ──► found as execvp(3) would ──► "#!"? its interpreter, and so on ──► ELF header
//                                                                                  │
//               cannot be started ◄── not there, not executable                    │
//               LD_PRELOAD does nothing ◄── static, setuid, other machine, musl ◄──┘
//
// What a file cannot say (a recording directory that is full, a seccomp filter) shows only later,
// by a recording that does not appear: why_no_recording().
//
// Thread-safety: no state. Cost: a few reads, about 50 µs.
#pragma once

#include <string>

namespace loopscope::cli {

struct Examination {
  /// errno of the execvp(3) that must fail; 0: nothing speaks against it. Only an attempt knows for
  /// sure (text file busy, too many arguments).
  int exec_error = 0;

  /// Why nothing will be seen, to be put after "cannot see inside PROGRAM: "; empty: nothing is
  /// known against it. A program that cannot be examined (no read permission) gets the benefit of
  /// the doubt.
  std::string obstacle;

  /// LD_PRELOAD would make its loader complain or fail instead of merely doing nothing: leave it
  /// alone.
  bool preload_harms = false;

  /// "libasan.so.8" if gcc's AddressSanitizer is linked to it, which refuses to start unless it
  /// comes first in LD_PRELOAD. Clang's is inside the program and does not mind.
  std::string address_sanitizer;
};

/// What `execvp(program, …)` with this PATH (null: the variable is not set) will meet.
Examination examine(const char* program, const char* path_variable);

/// Why no recording can be made in `directory`, to be put after "nothing is recorded: "; empty:
/// it looks fine. Makes the directory if it is not there, as the probe would.
std::string why_no_recording(const std::string& directory);

/// Why the loader could not be told of this probe in LD_PRELOAD; empty: it can.
std::string why_not_preloadable(const std::string& probe);

}  // namespace loopscope::cli
