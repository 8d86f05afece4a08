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
#include <set>
#include <string>
#include <vector>

#include "instrumentation/findings/finding.h"
#include "instrumentation/process/descriptors.h"
#include "instrumentation/process/resources.h"
#include "instrumentation/recording/reader.h"
#include "instrumentation/recording/snapshot.h"
#include "instrumentation/snapshot/loop_series.h"
#include "instrumentation/snapshot/stack_names.h"

namespace loopscope::snapshot {

/// What a source that keeps a ledger knows besides.
struct LedgerSummary {
  std::map<std::string, std::uint64_t> opened_by_kind;  // never with a count of 0
  std::map<std::string, std::uint64_t> closed_by_kind;
  std::uint64_t inherited = 0;      // open when the recording began
  std::uint64_t unseen = 0;         // open now, and the ledger has not seen their birth
  std::uint64_t met = 0;            // likewise, but noticed by the ledger when they were used; ever
  std::uint64_t closed_unseen = 0;  // closed, and the ledger has not seen it; ever
  std::uint64_t accepts = 0;
  std::uint64_t bad_closes = 0;  // of numbers that were not open
};

/// A process' descriptors. Every value may be unknown: the process is gone, is another user's, or
/// the source has no ledger.
struct DescriptorSummary {
  /// The kernel's number. Of a process that has ended, what the ledger had as open at its end.
  std::optional<std::uint64_t> open;
  std::optional<std::uint64_t> limit;  // soft RLIMIT_NOFILE
  std::optional<std::uint64_t> peak;
  std::optional<std::uint64_t> opened;
  std::optional<std::uint64_t> closed;
  /// Never with a count of 0; empty if unknown. At most Collector's census interval older than
  /// `open`.
  std::map<std::string, std::uint64_t> by_kind;
  std::optional<LedgerSummary> ledger;
};

/// A place that opens descriptors of one kind.
struct OpenSite {
  std::size_t id = 0;  // stable in its recording
  process::DescriptorKind kind = process::DescriptorKind::kOther;
  std::uint64_t live = 0;  // open now
  std::uint64_t opened = 0;
  std::uint64_t closed = 0;
  std::uint64_t peak = 0;
  std::optional<std::uint64_t> oldest_ns;  // CLOCK_REALTIME: birth of the oldest that is open
  std::shared_ptr<const std::vector<StackFrame>> stack;  // innermost first; null: none is recorded
};

/// One open descriptor.
struct Descriptor {
  recording::FdRecord record;
  bool unseen = false;  // known from the kernel alone: number, kind, target
  /// Of the waits of its loop that returned events, the share that returned this one.
  std::optional<double> event_share;
};

/// What is known of a loop beyond its recording.
struct LoopFacts {
  /// Descriptors registered in this loop's epoll set whose number is open now; none if its epoll fd
  /// is unknown.
  std::optional<std::uint64_t> registered_fds;
  /// Mean number of ready events per return of the recent turns, over registered_fds; none without
  /// turns or registrations.
  std::optional<double> active_ready_ratio;
  /// None: not asked for a series of looks, each loop stands for itself.
  std::optional<LoopPlace> place = {};
};

struct ProcessSnapshot {
  recording::RecordingSnapshot recording;
  std::vector<LoopFacts> loop_facts;  // parallel to recording.loops; may be shorter: nothing known
  std::optional<process::Resources> resources;  // none: the process is gone
  DescriptorSummary fds;
  std::vector<findings::Finding> findings;
  /// That ended it, if its parent was told so and is recorded itself.
  std::optional<int> signal;

  /// Most open ones first, at most kMostSites of `sites_total`. (Those in recording.ledger, and its
  /// `fds`, are not kept.)
  std::vector<OpenSite> sites;
  std::size_t sites_total = 0;
  static constexpr std::size_t kMostSites = 200;
  /// None unless asked for, see CollectOptions.
  std::optional<std::vector<Descriptor>> descriptors;
  std::size_t descriptors_left_out = 0;

  /// Stable for a process' life and unique on a machine since boot: "PID-STARTTICKS"; after
  /// exec(3), which begins another recording, "PID-STARTTICKS-IMAGE".
  std::string id() const;
};

/// A recording, or a directory of recordings, that is there but cannot be read.
struct Unreadable {
  std::string path;
  std::string error;
};

/// Processes that ended and are no longer shown one by one.
struct FoldedProcesses {
  std::uint64_t count = 0;
  std::uint64_t exited = 0;  // exec(3) included
  std::uint64_t killed = 0;
  std::uint64_t opened = 0;  // descriptors, over all of them
  std::uint64_t closed = 0;
  std::uint64_t open_at_end = 0;
};

enum class Mode { kInspector, kServe };

struct HostSnapshot {
  std::uint64_t taken_at_ns = 0;  // CLOCK_REALTIME
  std::string version;            // of loopscope
  Mode mode = Mode::kInspector;
  std::vector<ProcessSnapshot> processes;  // the living first, then the youngest first
  std::vector<Unreadable> unreadable;      // directories first
  FoldedProcesses folded;
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
  /// With ProcessSnapshot::descriptors: 0.3 µs a descriptor more, and 2 µs for those whose target
  /// only the kernel knows.
  bool descriptors = false;
  /// For a table of descriptors: as `descriptors`, but all of them (kMostInTable), and of running
  /// processes nothing that such a table does not show: no turns, findings or open sites.
  bool table = false;
  /// With LoopSnapshot::served: 0.1 ms a loop more.
  bool served = false;
  /// Only processes of this number.
  std::optional<std::int32_t> pid = {};
};

/// At most so many descriptors of a process are in a snapshot.
inline constexpr std::size_t kMostListed = 65536;
/// And in a table of them: more cannot be in a ledger. 350 bytes each.
inline constexpr std::size_t kMostInTable = 1u << 20;

struct CollectorTiming {
  /// Directories are scanned for new and vanished recordings at most so often.
  std::uint64_t rescan_ns = 250'000'000;
  /// Descriptors are counted by kind at most so often; dearer censuses (beyond 1 % of the time)
  /// less often.
  std::uint64_t census_ns = 100'000'000;
  /// One snapshot spends at most so long on naming stacks; what is not named then is named by a
  /// later one.
  std::uint64_t naming_ns = 50'000'000;
};

/// Takes HostSnapshots. Keeps what is dear to get between two calls: open recordings, the last
/// census of descriptors, named stacks, and what a process that has ended left behind (a recording
/// is read once after its process' end).
///
/// Ownership: shares nothing but the StackNames; the mapping under an attached Reader must outlive
/// it. Thread-safety: any method from any thread; `collect` calls run one after the other. Never
/// call it on an observed loop's thread. Cost: about 50 µs a loop, 0.2 µs a descriptor in a ledger
/// and, as often as 1 % of the time allows, a census (1 to 3 µs a descriptor). The first snapshot
/// of a process with descriptors that its ledger does not know waits for
/// DescriptorAccount::kSettleNs.
class Collector {
 public:
  /// This process only, through `reader` (Reader::attach). Mode::kInspector.
  static std::unique_ptr<Collector> in_process(recording::Reader reader,
                                               CollectorTiming timing = {});

  /// Every recording in `directories`; none given: wherever recordings of this user may be.
  /// Mode::kServe. The living first, then the newest, at most
  /// - half as many as we may have descriptors, as each living one takes one,
  /// - of each directory `most_of_another` of another user's (not root's), who may make as many as
  ///   he likes, and never more than half of what is left then. In a directory of his no more than
  ///   kNamesLookedAt times so many entries are looked at.
  /// How many are left out is said in `unreadable`, with the directory's path.
  static std::unique_ptr<Collector> of_directories(std::vector<std::string> directories,
                                                   CollectorTiming timing = {},
                                                   std::size_t most_of_another = kMostOfAnother);
  static constexpr std::size_t kMostOfAnother = 1024;
  static constexpr std::size_t kNamesLookedAt = 8;

  /// The recordings in `directories` (none given: wherever they may be) that belong to the
  /// `loopscope run` of process `run_pid`, as their names say. Mode::kServe. What a process left at
  /// its end stays, though its file does not: of those that have ended, all but the newest
  /// kKeptRecordings are removed after they were read, so that a run of many short processes does
  /// not fill the directory. At most kShownEnded of them are given one by one, the others as
  /// `folded`. `earlier`: paths of such a name that belong to who had that number before.
  /// `program`: whom the run started; it counts as the newest, as it may be who knows how the
  /// others ended.
  static std::unique_ptr<Collector> of_run(std::vector<std::string> directories,
                                           std::int32_t run_pid, CollectorTiming timing = {},
                                           std::set<std::string> earlier = {},
                                           std::int32_t program = 0);
  static constexpr std::size_t kShownEnded = 256;

  /// One recording file, of a process that lives or not. Mode::kServe. Its errors come with
  /// `collect`, as `unreadable`.
  /// `follow_link`: not where the path was not named by who asks, but found.
  static std::unique_ptr<Collector> of_file(std::string path, CollectorTiming timing = {},
                                            bool follow_link = true);

  /// What cannot be read is in `unreadable`; never throws but std::bad_alloc.
  HostSnapshot collect(const CollectOptions& options = {});

  /// Only looks for recordings of ended processes, reads and (of a run) removes them: to be called
  /// every second or so while nobody wants a snapshot.
  void tend();

  /// Who names the frames of open sites; before the first collect(). Without, they are modules and
  /// offsets.
  void name_stacks(std::shared_ptr<StackNames> names);

  ~Collector();
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

 private:
  struct Impl;
  explicit Collector(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace loopscope::snapshot
