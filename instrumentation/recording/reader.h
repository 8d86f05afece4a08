// SPDX-License-Identifier: Apache-2.0
//
// Reads a recording: that of this process through its own mapping, anybody else's through pread(2)
// on the file. A file is never mapped for reading, so one that is truncated meanwhile gives an
// error instead of SIGBUS; every offset and count in it is checked before use. Reading never writes
// to the recording and never makes its writer wait.
//
// Thread-safety: a Reader may be used from one thread at a time; any number of Readers may read one
// recording. Cost: about 30 µs a loop plus 1 µs a watcher for a file, a third of that in process;
// of a source with a ledger 0.1 µs a descriptor.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "instrumentation/recording/bytes.h"
#include "instrumentation/recording/ledger_copy.h"
#include "instrumentation/recording/result.h"
#include "instrumentation/recording/snapshot.h"

namespace loopscope::recording {

/// How far a follower of recent turns has read, per loop: (loop id, generation) -> last turn seen.
using TurnCursors = std::map<std::pair<std::uint32_t, std::uint64_t>, std::uint64_t>;

struct ReadOptions {
  std::size_t recent = 256;  // newest turns per loop, at most
  /// If set, `recent` holds only turns after the cursor (still at most `recent` of them, the
  /// newest), the number that were missed is in `recent_lost`, and the cursors are moved forward.
  TurnCursors* cursors = nullptr;
  /// With the texts of descriptors: target, addresses.
  bool details = false;
  /// With what was served in the turns. 0.1 ms more for a loop whose ring is full.
  bool served = false;
};

/// A loop whose turn has been busy for long, and still is.
struct StalledLoop {
  std::uint32_t loop_id = 0;
  std::uint64_t generation = 0;
  std::int32_t thread_id = 0;
  std::uint64_t turn = 0;        // the one in progress
  std::uint64_t age_ns = 0;      // how long it has been busy
  std::uint64_t longest_ns = 0;  // the longest finished turn; 0: none yet
};

/// Answers of TurnFollower::next().
enum class Follow {
  kTurn,        // one more turn
  kEnd,         // nothing newer yet
  kOverrun,     // the writer was faster: `lost` turns are gone, go on with next()
  kWriterGone,  // nothing newer, and the process no longer lives
};

class Reader {
 public:
  /// Opens a recording file. Errors: not there, no permission, not a recording, another version
  /// (both are named), truncated. Where others may place files, links should not be followed
  /// (open_recording).
  static Result<Reader> open(const std::string& path, bool follow_link = true);

  /// Reads this process' own recording from its mapping (`recorder.h`, process_region()). The
  /// mapping must outlive the Reader.
  static Result<Reader> attach(const void* base, std::uint64_t size, const std::string& path,
                               const std::string& error);

  Result<RecordingSnapshot> read(const ReadOptions& options = {});

  /// FdSlot::generation of each of `numbers` at this moment: 0 for one that the ledger never saw.
  /// Empty if they cannot be had.
  std::vector<std::uint32_t> generations(const std::vector<std::int32_t>& numbers) const;

  /// The loops that are busy with one turn for at least so long. For looking often: reads only what
  /// it must, 2 µs a recording and 1 µs a loop. Whether the process still lives is not asked: one
  /// that was killed in a turn seems to be busy with it for ever. Empty for format 1.
  std::vector<StalledLoop> stalled(std::uint64_t at_least_ns) const;

  /// Follows the turns of one loop one by one; starts at the oldest still there.
  Follow next(std::uint32_t loop_id, std::uint64_t& cursor, Turn& turn, std::uint64_t& lost);

  const std::string& path() const { return path_; }
  std::int32_t pid() const { return header_.pid; }
  bool alive() const;  // the process that writes it still lives
  /// Of the file (not what it says itself).
  std::uint32_t owner() const { return owner_; }

  Reader(Reader&&) noexcept;
  Reader& operator=(Reader&&) noexcept;
  ~Reader();

 private:
  Reader(std::unique_ptr<Bytes> bytes, std::string path, std::string error);
  bool load_header(Header& header) const;
  Result<void> check_header();
  bool started_before_recording(std::uint64_t ticks) const;
  bool became_another_program() const;
  /// Which of the descriptors that were served are still what has their number.
  static void find_gone(RecordingSnapshot& recording);
  static void put_worst(const LoopWorst& worst, LoopSnapshot& loop, std::int64_t to_realtime);
  bool read_loop(std::uint32_t id, LoopSnapshot& loop, const ReadOptions& options,
                 std::int64_t to_realtime, bool alive) const;

  std::unique_ptr<Bytes> bytes_;
  std::string path_;
  std::string error_;
  bool own_process_ = false;
  std::uint32_t owner_ = 0;
  Header header_{};
  LedgerCopier ledger_;
};

/// A Reader of what this process itself records (creates the recording if there is none yet). After
/// fork(2) make a new one.
Result<Reader> read_own_process();

}  // namespace loopscope::recording
