// SPDX-License-Identifier: Apache-2.0
//
// Copies what a loop's thread is writing meanwhile: the reader's side of the publication protocol
// (LoopHot in layout.h).
#pragma once

#include <cstdint>
#include <vector>

#include "instrumentation/recording/bytes.h"
#include "instrumentation/recording/snapshot.h"

namespace loopscope::recording {

struct LoopCopy {
  LoopHot hot;
  Histogram poll_wait;
  Histogram busy;
  Histogram ready;
  Histogram poll_delay;
  Histogram timer_lag;
  LoopWorst worst;  // all zeros in format 1
};

/// A name in the recording: up to its NUL, if it has one.
std::string text(const char* from, std::size_t size);

/// Whether the turn that LoopHot's current_ fields tell of is not yet among `turns`.
bool turn_is_open(const LoopHot& hot);

/// The loop whose block is at `block`. One exact cut if it can be had; otherwise `skew_turns` says
/// by how many turns its parts may differ. False if the bytes are not there.
bool copy_loop(const Bytes& bytes, std::uint64_t block, std::uint32_t version, LoopCopy& copy,
               std::uint64_t& skew_turns);

/// What copy_loop() is made of: one try to get an exact cut, and the parts as they come.
enum class Cut {
  kTaken,
  kMoved,
  kMissing
};  // kMoved: the writer was at it; kMissing: the bytes are
Cut copy_cut(const Bytes& bytes, std::uint64_t block, std::uint32_t version, LoopCopy& copy);
bool copy_pieces(const Bytes& bytes, std::uint64_t block, std::uint32_t version, LoopCopy& copy,
                 std::uint64_t& skew_turns);

/// The watcher whose block is at `offset`.
bool copy_watcher(const Bytes& bytes, std::uint64_t offset, WatcherSnapshot& watcher);

/// In today's layout, whichever the recording's `version`.
bool read_hot(const Bytes& bytes, std::uint64_t block, std::uint32_t version, LoopHot& hot);

/// Where a loop's turns are: its block, and the ring of `capacity` records.
struct TurnRing {
  std::uint64_t block;
  std::uint64_t ring;
  std::uint32_t capacity;
  std::uint32_t version;  // of the recording
};

/// The turns after `after` up to `head`, at most `limit` of them, the newest. Those that are
/// overwritten meanwhile are left out.
bool copy_turns(const Bytes& bytes, const TurnRing& turns, std::uint64_t head, std::uint64_t after,
                std::size_t limit, std::int64_t to_realtime, std::vector<Turn>& out);

/// What was served in the turns that copy_turns() gave; each exactly as it was written. Nothing if
/// the loop does not record it, or what says where it lies makes no sense. After the watchers.
void copy_served(const Bytes& bytes, std::uint64_t block, LoopSnapshot& loop);

}  // namespace loopscope::recording
