// SPDX-License-Identifier: Apache-2.0
//
// The recordings of one `loopscope run`: PROGRAM's, its children's, and of what they became. Their
// names end in the run's pid.
//
// Thread-safety: any method from any thread. Cost: that of a Collector.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/launch.h"
#include "instrumentation/recording/paths.h"
#include "instrumentation/snapshot/host_snapshot.h"

namespace loopscope::cli {

/// What the name of a recording says; all zero for a path that is not a recording's.
recording::RecordingName recording_name(const std::string& path);

class RunRecordings {
 public:
  /// Before PROGRAM is started: what is there is not of this run, whatever its name says.
  RunRecordings(std::vector<std::string> directories, pid_t run, pid_t program);

  snapshot::HostSnapshot collect(const snapshot::CollectOptions& options);

  /// How PROGRAM ended, and when (CLOCK_REALTIME), which we know who waited for it: one that was
  /// killed cannot say so itself.
  void program_ended(const End& end, std::uint64_t at_ns);

  /// For the page: frames by function and line.
  void name_stacks();

  /// Once a second, see Collector::tend().
  void tend() { collector_->tend(); }

  /// Removes what ended processes of earlier runs have left, but for the newest (leavings.h).
  void clear_earlier() const;

  /// When nothing more will be collected: likewise, and of what ended processes of this run have
  /// left; of all of them its own that are in `last`, the last snapshot, are the newest.
  void clear_all(const snapshot::HostSnapshot& last) const;

  /// Whether PROGRAM has a recording. Looks at names only.
  bool has_program() const;

 private:
  void clear(bool own_too) const;

  const std::vector<std::string> directories_;
  const pid_t run_;
  const pid_t program_;
  std::map<std::string, std::set<std::string>> earlier_;  // by directory
  std::unique_ptr<snapshot::Collector> collector_;
  mutable std::mutex mutex_;
  std::optional<std::pair<End, std::uint64_t>> end_;  // of PROGRAM
};

}  // namespace loopscope::cli
