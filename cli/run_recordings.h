// SPDX-License-Identifier: Apache-2.0
//
// The recordings of one `loopscope run`: PROGRAM's, its children's, and of what they became. Their
// names end in the run's pid.
//
// Thread-safety: any method from any thread. Cost: that of a Collector.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "instrumentation/recording/paths.h"
#include "instrumentation/snapshot/host_snapshot.h"

namespace loopscope::cli {

/// What the name of a recording says; all zero for a path that is not a recording's.
recording::RecordingName recording_name(const std::string& path);

class RunRecordings {
 public:
  RunRecordings(std::vector<std::string> directories, pid_t run, pid_t program);

  snapshot::HostSnapshot collect(const snapshot::CollectOptions& options) {
    return collector_->collect(options);
  }

  /// For the page: frames by function and line.
  void name_stacks();

  /// Once a second, see Collector::tend().
  void tend() { collector_->tend(); }

  /// Whether PROGRAM has a recording. Looks at names only.
  bool has_program() const;

 private:
  const std::vector<std::string> directories_;
  const pid_t run_;
  const pid_t program_;
  const std::unique_ptr<snapshot::Collector> collector_;
};

}  // namespace loopscope::cli
