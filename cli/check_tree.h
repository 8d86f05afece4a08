// SPDX-License-Identifier: Apache-2.0
//
// What the processes of one `loopscope check` left in their recordings. Each is read once, after
// its process has ended, and its file is removed; what is needed for a verdict stays.
//
// Thread-safety: one thread. Cost: 50 µs for a process, most of it system calls; naming the stacks
// of suspects comes on top.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "instrumentation/findings/end_rules.h"
#include "instrumentation/recording/paths.h"
#include "instrumentation/recording/reader.h"
#include "instrumentation/recording/snapshot.h"
#include "instrumentation/snapshot/stack_names.h"

namespace loopscope::cli {

/// One image (exec begins another) of one process.
struct TreeImage {
  recording::RecordingName name;
  recording::RecordingSnapshot recording;  // with details; `recent` only where a budget wants it
  std::map<std::size_t, recording::Stack> stacks;  // by site id, those that were named
};

class CheckTree {
 public:
  CheckTree(std::vector<std::string> directories, pid_t run);
  ~CheckTree();
  CheckTree(const CheckTree&) = delete;
  CheckTree& operator=(const CheckTree&) = delete;

  /// Reads what ended since the last call.
  void tend();

  /// Processes whose recording is there and that still run: pid, start in ticks.
  std::vector<std::pair<pid_t, std::uint64_t>> running() const;

  /// Ends those of running() by that signal.
  void signal_all(int signal) const;

  /// Reads the rest, of processes that still run as well, and removes all files. By process, its
  /// images in turn; to be called once.
  std::vector<TreeImage> finish();

  /// The named stack of a site; null if it has none.
  recording::Stack stack_of(TreeImage& image, std::size_t site);

  /// What could not be read: "PATH: why".
  const std::vector<std::string>& unreadable() const { return unreadable_; }

 private:
  struct Open {
    recording::Reader reader;
    recording::RecordingName name;
  };

  void scan();
  void remove_files();
  bool take(const std::string& path, Open& open, bool also_running);

  const std::vector<std::string> directories_;
  const pid_t run_;
  std::shared_ptr<snapshot::StackNames> names_;
  std::map<std::string, Open> open_;  // by path: not taken yet
  std::set<std::string> seen_;        // paths that were taken, or cannot be read
  std::vector<TreeImage> images_;
  std::vector<std::string> written_;                       // files that were taken, not yet removed
  std::set<std::pair<std::int32_t, std::uint64_t>> gone_;  // processes: pid, start in ticks
  std::vector<std::string> unreadable_;
};

}  // namespace loopscope::cli
