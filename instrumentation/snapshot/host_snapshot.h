// SPDX-License-Identifier: Apache-2.0
//
// Everything a view needs: the recordings of one or of all processes of this user, what /proc says
// of those processes, and what the rules conclude. Plain values; views only read them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "instrumentation/findings/finding.h"
#include "instrumentation/process/resources.h"
#include "instrumentation/recording/reader.h"
#include "instrumentation/recording/snapshot.h"

namespace loopscope::snapshot {

/// A process' descriptors. Every value may be unknown: the process is gone, is another user's, or
/// the source has no ledger.
struct DescriptorSummary {
  std::optional<std::uint64_t> open;
  std::optional<std::uint64_t> limit;  // soft RLIMIT_NOFILE
  std::optional<std::uint64_t> peak;
  std::optional<std::uint64_t> opened;
  std::optional<std::uint64_t> closed;
  /// Never with a count of 0; empty if unknown. At most Collector's census interval older than
  /// `open`.
  std::map<std::string, std::uint64_t> by_kind;
};

/// What is known of a loop beyond its recording.
struct LoopFacts {
  /// Descriptors registered in this loop's epoll set whose number is open now; none if its epoll fd
  /// is unknown.
  std::optional<std::uint64_t> registered_fds;
  /// Mean number of ready events per return of the recent turns, over registered_fds; none without
  /// turns or registrations.
  std::optional<double> active_ready_ratio;
};

struct ProcessSnapshot {
  recording::RecordingSnapshot recording;
  std::vector<LoopFacts> loop_facts;  // parallel to recording.loops; may be shorter: nothing known
  std::optional<process::Resources> resources;  // none: the process is gone
  DescriptorSummary fds;
  std::vector<findings::Finding> findings;

  /// Stable for a process' life and unique on a machine since boot: "PID-STARTTICKS"; after
  /// exec(3), which begins another recording, "PID-STARTTICKS-IMAGE".
  std::string id() const;
};

/// A recording, or a directory of recordings, that is there but cannot be read.
struct Unreadable {
  std::string path;
  std::string error;
};

enum class Mode { kInspector, kServe };

struct HostSnapshot {
  std::uint64_t taken_at_ns = 0;  // CLOCK_REALTIME
  std::string version;            // of loopscope
  Mode mode = Mode::kInspector;
  std::vector<ProcessSnapshot> processes;  // the living first, then the youngest first
  std::vector<Unreadable> unreadable;
};

// --- values that several views derive from a loop; one arithmetic for all
// -------------------------

struct LoopTimes {
  std::uint64_t busy_ns = 0;          // including the turn in progress
  std::uint64_t idle_ns = 0;          // including the poll in progress
  std::uint64_t unattributed_ns = 0;  // busy time outside any named callback
  std::optional<double> utilization;  // busy / (busy + idle); none before the first poll
};
LoopTimes loop_times(const recording::LoopSnapshot& loop) noexcept;

struct PollCounts {
  std::uint64_t blocking = 0;
  std::uint64_t nonblocking = 0;
  std::uint64_t events = 0;  // returned with events, saturated ones included
  std::uint64_t timeout = 0;
  std::uint64_t interrupted = 0;
  std::uint64_t error = 0;
  std::uint64_t saturated = 0;
  std::uint64_t unknown = 0;  // the source cannot see how they returned; in none of the above
};
PollCounts poll_counts(const recording::LoopSnapshot& loop) noexcept;

// --- collecting
// -----------------------------------------------------------------------------------

/// How far a follower of recent turns (a stream) has read, per process id. Belongs to one follower.
using StreamCursors = std::map<std::string, recording::TurnCursors>;

struct CollectOptions {
  std::size_t recent = 256;  // newest turns per loop, at most
  /// If set, `recent` holds only turns that are newer than the cursors say, `recent_lost` how many
  /// of those could no longer be had or were beyond `recent`, and the cursors are moved on. A loop
  /// without a cursor is given as without cursors.
  StreamCursors* cursors = nullptr;
};

struct CollectorTiming {
  /// Directories are scanned for new and vanished recordings at most so often.
  std::uint64_t rescan_ns = 250'000'000;
  /// Descriptors are counted by kind at most so often; dearer censuses (beyond 1 % of the time)
  /// less often.
  std::uint64_t census_ns = 100'000'000;
};

/// Takes HostSnapshots. Keeps what is dear to get between two calls: open recordings, the last
/// census of descriptors.
///
/// Ownership: shares nothing; the mapping under an attached Reader must outlive it. Thread-safety:
/// any method from any thread; `collect` calls run one after the other. Never call it on an
/// observed loop's thread. Cost: about 50 µs a loop and, as often as 1 % of the time allows, a
/// census (1 to 3 µs a descriptor).
class Collector {
 public:
  /// This process only, through `reader` (Reader::attach). Mode::kInspector.
  static std::unique_ptr<Collector> in_process(recording::Reader reader,
                                               CollectorTiming timing = {});

  /// Every recording in `directories`; none given: wherever recordings of this user may be.
  /// Mode::kServe.
  static std::unique_ptr<Collector> of_directories(std::vector<std::string> directories,
                                                   CollectorTiming timing = {});

  /// One recording file, of a process that lives or not. Mode::kServe. Its errors come with
  /// `collect`, as `unreadable`.
  static std::unique_ptr<Collector> of_file(std::string path, CollectorTiming timing = {});

  /// What cannot be read is in `unreadable`; never throws but std::bad_alloc.
  HostSnapshot collect(const CollectOptions& options = {});

  ~Collector();
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

 private:
  struct Impl;
  explicit Collector(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace loopscope::snapshot
