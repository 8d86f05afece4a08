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
  std::vector<findings::StallGlance> glances;      // stall_watch.h; filled by who has them
};

/// Those that called exec(3) and are the last of their process: what it became made no recording.
/// `images` as finish() gives them.
std::vector<const TreeImage*> lost_in_exec(const std::vector<TreeImage>& images);

class CheckTree {
 public:
  /// Before PROGRAM is started: what is there is not of this run, and the leavings of killed runs
  /// are removed.
  CheckTree(std::vector<std::string> directories, pid_t run);
  ~CheckTree();
  CheckTree(const CheckTree&) = delete;
  CheckTree& operator=(const CheckTree&) = delete;

  /// Reads what ended since the last call.
  void tend();

  /// Processes that were started below PROGRAM and still run, recorded or not (a forked child gets
  /// a recording when it opens something): by what their environment says of this run. Cost: 30 µs
  /// a process of this user.
  std::vector<pid_t> running() const;

  /// Sends those of running() that signal.
  void signal_all(int signal) const;

  /// Reads the rest, of processes that still run as well, and removes all files. By process, its
  /// images in turn; to be called once.
  std::vector<TreeImage> finish();

  /// The named stack of a site; null if it has none.
  recording::Stack stack_of(TreeImage& image, std::size_t site);

  /// What could not be read, by path, and why.
  const std::map<std::string, std::string>& unreadable() const { return unreadable_; }

  /// After finish(): why processes of the run may have been missed, as the system refused to show
  /// their recordings again and again. Empty: none was.
  const std::string& missed() const { return missed_; }

 private:
  struct Open {
    recording::Reader reader;
    recording::RecordingName name;
  };

  void scan();
  void remove_files();
  bool take(const std::string& path, Open& open, bool also_running);
  void name_suspects(TreeImage& image);
  std::vector<pid_t> running_by_recordings() const;

  const std::vector<std::string> directories_;
  const pid_t run_;
  std::shared_ptr<snapshot::StackNames> names_;
  std::map<std::string, Open> open_;  // by path: not taken yet
  std::set<std::string> seen_;        // paths that were taken
  std::vector<TreeImage> images_;
  std::vector<std::string> written_;                       // files that were taken, not yet removed
  std::set<std::pair<std::int32_t, std::uint64_t>> gone_;  // processes: pid, start in ticks
  std::map<std::string, std::string> unreadable_;
  std::map<std::string, std::string> refused_;  // by path: of what may be read the next time
  std::string missed_;
};

}  // namespace loopscope::cli
