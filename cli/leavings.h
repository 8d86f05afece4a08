// SPDX-License-Identifier: Apache-2.0
//
// What ended processes have left in a directory of recordings, removed beyond a number: such a
// directory is memory. Programs that record by themselves do the same when they start
// (prune_directory), for `run` and `check` this is done by the command.
//
// Thread-safety: no state. Cost: 10 µs a recording in the directory, and as much for each that is
// removed.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <ctime>
#include <set>
#include <string>

#include "instrumentation/recording/paths.h"

namespace loopscope::cli {

/// Whether somebody may still write to a file, in whatever container: kUnknown where the file
/// system or our rights do not tell.
enum class Written { kNoLonger, kStill, kUnknown };
Written is_written(const std::string& path);

/// The recordings in `directory` whose names say that they are of the run of process `run`. Before
/// its program is started: of those who had that number before. One that cannot be read holds none.
std::set<std::string> recordings_of_run(const std::string& directory, pid_t run);

struct Leavings {
  std::string directory;
  pid_t run = 0;                                   // who asks
  const std::set<std::string>* earlier = nullptr;  // recordings_of_run() before it began
  bool own_too = false;  // else those of the run itself are neither counted nor removed
  std::size_t keep = recording::kKeptRecordings;
};

/// Removes recordings of ended processes but for the newest `keep`; how many. Never one
/// - whose process lives, whatever it runs by now, or cannot be asked about,
/// - of a `loopscope run` or `check` that lives and is not `run`,
/// - that somebody still writes to: a process of another container, which cannot be seen from here.
///   Where that cannot be told it has to be an hour old at `now`,
/// - of a run some process of which is such a one: it may not have read it yet,
/// - of another user, unless it is of this run,
/// and nothing that is no recording. Who has one open goes on reading it. Best effort.
std::size_t clear_away(const Leavings& leavings, std::time_t now = std::time(nullptr),
                       Written (*written)(const std::string&) = is_written);

}  // namespace loopscope::cli
