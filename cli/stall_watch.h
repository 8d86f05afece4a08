// SPDX-License-Identifier: Apache-2.0
//
// Looks at the loops of a run while it goes on, and when one is busy with a turn for too long, at
// what its thread is doing. The recording tells afterwards how long a turn took; only who looks in
// the middle of it can tell by what.
//
// Thread-safety: made, stopped and asked by one thread; the looking is done on a thread of its own,
// which inherits the signal mask of who makes the object (all blocked, launch.h).
//
// Cost: of CPU time 10 µs a look and 3 µs a process with a recording, every quarter of the limit
// (but not more often than every 2 ms); 1 to 20 ms for a stall that is longer than all of its loop
// before. To the observed processes: nothing, but for the stalls of process/thread_glance.h, by
// which a thread that computes is stopped for some 50 µs.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "instrumentation/findings/stall_glance.h"
#include "instrumentation/process/thread_glance.h"
#include "instrumentation/recording/paths.h"
#include "instrumentation/recording/reader.h"
#include "instrumentation/snapshot/stack_names.h"
#include "instrumentation/symbols/unwind.h"

namespace loopscope::cli {

class StallWatch {
 public:
  /// Of the recordings of run `run`; a turn may be busy for `limit_ns`. Throws std::system_error if
  /// no thread can be had.
  StallWatch(std::vector<std::string> directories, pid_t run, std::uint64_t limit_ns);
  ~StallWatch();
  StallWatch(const StallWatch&) = delete;
  StallWatch& operator=(const StallWatch&) = delete;

  /// Ends the looking; what is still without names gets them. Throws nothing.
  void stop();

  /// After stop(): what made the looking end before that; empty: nothing.
  const std::string& trouble() const { return trouble_; }

  /// After stop(): of one image of a process, of each loop two at most.
  std::vector<findings::StallGlance> take(const recording::RecordingName& name);

 private:
  struct Sight;
  struct Watched {
    recording::Reader reader;
    recording::RecordingName name;
  };
  /// pid, start in ticks, image, loop id, generation
  using LoopKey = std::tuple<std::int32_t, std::uint64_t, unsigned, std::uint32_t, std::uint64_t>;
  struct Kept {
    findings::StallGlance glance;
    std::vector<symbols::UnwoundFrame> unnamed;
    std::optional<std::uint32_t> as_user;  // see ModuleRecord
  };
  struct LoopState {
    std::uint64_t turn = 0;  // seen busy last
    std::uint64_t first_seen_ns = 0;
    std::optional<process::ThreadTimes> at_first;
    unsigned glances = 0;
    std::optional<Kept> longest;
    /// The longest before it: the last turn may be one that the loop was left in.
    std::optional<Kept> before;
  };

  void guarded(const std::function<void()>& work);
  void watch();
  void find_recordings();
  void drop_ended(std::uint64_t now);
  std::uint64_t look(std::uint64_t now);
  std::uint64_t consider(const Watched& watched, const recording::StalledLoop& stalled);
  void glance(const Watched& watched, const recording::StalledLoop& stalled, LoopState& state);
  static std::optional<Sight> see(std::int32_t pid, std::int32_t thread_id,
                                  const std::function<bool()>& still,
                                  std::optional<std::uint32_t> as_user);
  bool name_one();
  void name(Kept& kept);

  const std::vector<std::string> directories_;
  const pid_t run_;
  const std::uint64_t limit_ns_;
  const std::uint64_t interval_ns_;

  // Of the watching thread; of who stopped it afterwards.
  std::shared_ptr<snapshot::StackNames> names_;
  std::map<std::string, Watched> watched_;      // by path
  std::map<std::string, unsigned> tried_;       // paths that could not be read so far: how often
  std::set<std::string> done_;                  // that are over, or cannot be read
  std::map<std::string, std::int64_t> listed_;  // directories as they were when they were listed
  std::uint64_t ended_looked_for_ns_ = 0;
  std::map<LoopKey, LoopState> loops_;
  unsigned glances_ = 0;
  std::string trouble_;

  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace loopscope::cli
