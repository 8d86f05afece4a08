// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/loop_copy.h"

#include <algorithm>
#include <cstring>

namespace loopscope::recording {

std::string text(const char* from, std::size_t size) { return {from, strnlen(from, size)}; }

/// Tries to get one exact cut of a loop before settling for pieces. A loop that turns every
/// microsecond leaves a gap often enough for a copy in memory; through pread(2) more tries seldom
/// help.
static constexpr int kAttempts = 24;

/// Copies the part of a histogram that is in use; `min` and `max` say which. Buckets outside it are
/// empty.
static bool read_histogram(const Bytes& bytes, std::uint64_t offset, const HistogramTotals& totals,
                           Histogram::Scale scale, Histogram& out) {
  out = Histogram{};
  out.scale = scale;
  const std::uint64_t min = totals.min.load();
  const std::uint64_t max = totals.max.load();
  if (min > max || max == ~0ull) return true;  // empty
  const std::uint32_t first = scale == Histogram::Scale::kTime ? time_index(min) : count_index(min);
  const std::uint32_t last = scale == Histogram::Scale::kTime ? time_index(max) : count_index(max);
  std::uint64_t counts[kTimeBuckets];
  if (!bytes.read(offset + first * sizeof(std::uint64_t), counts,
                  (last - first + 1) * sizeof(std::uint64_t)))
    return false;
  for (std::uint32_t i = first; i <= last; ++i) {
    if (counts[i - first] == 0) continue;
    out.buckets.emplace_back(i, counts[i - first]);
    out.count += counts[i - first];
  }
  out.sum = totals.sum.load();
  out.min = min;
  out.max = max;
  return true;
}

bool turn_is_open(const LoopHot& hot) {
  return hot.current_turn.load() == static_cast<std::uint16_t>(hot.turns.load() + 1);
}
static void close_turn(LoopHot& hot) {
  hot.current_turn.store(static_cast<std::uint16_t>(hot.turns.load()));
}

/// Format 1 has no `folded`: what follows it lies one word earlier, and all turns are in the
/// histograms.
static void convert_from_1(LoopHot& hot) {
  constexpr std::size_t kMoved =
      offsetof(LoopHot, timer_lag) + sizeof(HistogramTotals) - offsetof(LoopHot, nonblocking);
  std::memmove(&hot.nonblocking, &hot.folded, kMoved);
  hot.folded.store(hot.turns.load());
}

bool read_hot(const Bytes& bytes, std::uint64_t block, std::uint32_t version, LoopHot& hot) {
  if (!bytes.read(block, &hot, sizeof hot)) return false;
  if (version == 1) convert_from_1(hot);
  return true;
}

/// The records of the turns after `after` up to and with `head`; false if the bytes are not there.
static bool read_records(const Bytes& bytes, std::uint64_t ring, std::uint32_t capacity,
                         std::uint64_t after, std::uint64_t head, TurnRecord* to) {
  const std::uint64_t wanted = head - after;
  const std::uint64_t from = after % capacity;
  const std::uint64_t straight = std::min<std::uint64_t>(wanted, capacity - from);
  return bytes.read(ring + from * sizeof(TurnRecord), to, straight * sizeof(TurnRecord)) &&
         (straight == wanted ||
          bytes.read(ring, to + straight, (wanted - straight) * sizeof(TurnRecord)));
}

static bool is_of_turn(const TurnRecord& record, std::uint64_t turn) {
  return (record.facts.load() & 0xFFFF) == (turn & 0xFFFF);
}

/// Adds the turns that lie in the ring and are not in the histograms yet.
static bool add_unfolded(const Bytes& bytes, std::uint64_t block, LoopCopy& copy) {
  const std::uint64_t turns = copy.hot.turns.load();
  const std::uint64_t folded = copy.hot.folded.load();
  // More cannot be: a copy that is torn (the sequence will tell), or a damaged file.
  if (folded >= turns || turns - folded > kFoldTurns) return true;
  std::uint32_t capacity = 0;
  std::uint64_t ring = 0;
  TurnRecord records[kFoldTurns];
  if (!bytes.read(block + offsetof(LoopBlock, ring_turns), &capacity, sizeof capacity) ||
      !bytes.read(block + offsetof(LoopBlock, ring_offset), &ring, sizeof ring) ||
      capacity < kFoldTurns || !read_records(bytes, ring, capacity, folded, turns, records)) {
    return false;
  }
  for (std::uint64_t turn = folded + 1; turn <= turns; ++turn) {
    const TurnRecord& record = records[turn - folded - 1];
    if (!is_of_turn(record, turn)) continue;  // only in a torn copy
    const std::uint64_t times = record.poll_and_busy.load();
    copy.poll_wait.add(unpack_duration(static_cast<std::uint32_t>(times)));
    copy.busy.add(unpack_duration(static_cast<std::uint32_t>(times >> 32)));
    const auto ready = static_cast<std::uint32_t>(record.facts.load() >> 34);
    if (ready != kFactsReadyUnknown) copy.ready.add(ready);
  }
  return true;
}

static bool read_histograms(const Bytes& bytes, std::uint64_t block, LoopCopy& copy) {
  using Scale = Histogram::Scale;
  return read_histogram(bytes, block + offsetof(LoopBlock, poll_wait_buckets), copy.hot.poll_wait,
                        Scale::kTime, copy.poll_wait) &&
         read_histogram(bytes, block + offsetof(LoopBlock, busy_buckets), copy.hot.busy,
                        Scale::kTime, copy.busy) &&
         read_histogram(bytes, block + offsetof(LoopBlock, ready_buckets), copy.hot.ready,
                        Scale::kCount, copy.ready) &&
         read_histogram(bytes, block + offsetof(LoopBlock, poll_delay_buckets), copy.hot.poll_delay,
                        Scale::kTime, copy.poll_delay) &&
         read_histogram(bytes, block + offsetof(LoopBlock, timer_lag_buckets), copy.hot.timer_lag,
                        Scale::kTime, copy.timer_lag) &&
         add_unfolded(bytes, block, copy);
}

/// One exact cut if it can be had (see LoopHot), else an exact `hot` with histograms copied after
/// it; `skew_turns` then says how many turns passed meanwhile.
bool copy_loop(const Bytes& bytes, std::uint64_t block, std::uint32_t version, LoopCopy& copy,
               std::uint64_t& skew_turns) {
  skew_turns = 0;
  std::uint64_t after = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (!read_hot(bytes, block, version, copy.hot)) return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    const std::uint64_t before = copy.hot.sequence.load();
    if (before % 2 != 0) continue;
    // `hot` was copied front to back, so its own words are one cut only if the sequence has not
    // moved either.
    if (!read_histograms(bytes, block, copy)) return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (!bytes.read(block, &after, sizeof after)) return false;
    if (after == before) return true;
  }
  // Too fast a loop (a turn shorter than the copy), or a writer that died inside a section: take
  // the pieces as they come. Each value is one that was there at some moment between the two loads
  // of `turns`.
  if (!read_hot(bytes, block, version, copy.hot) || !read_histograms(bytes, block, copy))
    return false;
  LoopHot later;
  if (!read_hot(bytes, block, version, later)) return false;
  skew_turns = later.turns.load() - copy.hot.turns.load() + 2;
  // Folded while the histograms were copied: what was added from the ring may be in them as well.
  if (later.folded.load() != copy.hot.folded.load()) skew_turns += kFoldTurns;
  // A writer that is still at it may have counted the turn in progress meanwhile: rather leave it
  // out than count it twice.
  if (later.sequence.load() != copy.hot.sequence.load()) close_turn(copy.hot);
  return true;
}

bool copy_watcher(const Bytes& bytes, std::uint64_t offset, WatcherSnapshot& watcher) {
  constexpr std::size_t kFront = offsetof(WatcherBlock, callback_buckets);
  alignas(WatcherBlock) unsigned char front[kFront];
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (!bytes.read(offset, front, kFront)) return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    const auto& block = *reinterpret_cast<const WatcherBlock*>(front);
    watcher.name = text(block.name.raw, kNameBytes);
    watcher.kind = block.kind.load();
    watcher.active = block.active.load();
    watcher.fd = block.fd.load();
    if (!read_histogram(bytes, offset + kFront, block.callback, Histogram::Scale::kTime,
                        watcher.callback))
      return false;
    if (block.has_lag.load() != 0) {
      Histogram lag;
      if (!read_histogram(bytes, block.lag_offset.load(), block.lag, Histogram::Scale::kTime, lag))
        return false;
      watcher.lag = std::move(lag);
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    std::uint64_t after = 0;
    if (!bytes.read(offset, &after, sizeof after)) return false;
    if (after == block.sequence.load() && after % 2 == 0) break;
  }
  return true;
}

static Turn to_turn(const TurnRecord& record, std::uint64_t number, std::int64_t to_realtime) {
  const std::uint64_t times = record.poll_and_busy.load();
  const std::uint64_t others = record.timeout_and_watcher.load();
  const std::uint64_t facts = record.facts.load();
  const auto ready = static_cast<std::uint32_t>(facts >> 34);
  Turn turn;
  turn.turn = number;
  turn.at_ns = record.at_ns.load() + static_cast<std::uint64_t>(to_realtime);
  turn.poll_ns = unpack_duration(static_cast<std::uint32_t>(times));
  turn.busy_ns = unpack_duration(static_cast<std::uint32_t>(times >> 32));
  turn.timeout_ns = unpack_timeout(static_cast<std::uint32_t>(others));
  turn.watcher_ns = unpack_duration(static_cast<std::uint32_t>(others >> 32));
  turn.ready = ready == kFactsReadyUnknown ? kReadyUnknown : static_cast<std::int32_t>(ready);
  turn.result = static_cast<WaitResult>((facts >> 32) & 3u);
  turn.watcher = static_cast<std::uint32_t>((facts >> 16) & 0xFFFF);
  return turn;
}

/// The turns after `after`, at most `limit` of them, the newest; true unless the file is short.
bool copy_turns(const Bytes& bytes, std::uint64_t block, std::uint64_t ring, std::uint32_t capacity,
                std::uint64_t head, std::uint64_t after, std::size_t limit,
                std::int64_t to_realtime, std::vector<Turn>& out) {
  std::uint64_t first = head > capacity ? head - capacity + 1 : 1;
  first = std::max(first, after + 1);
  if (head >= limit) first = std::max(first, head - limit + 1);
  if (first > head) return true;
  const std::uint64_t wanted = head - first + 1;
  std::vector<TurnRecord> records(wanted);
  if (!read_records(bytes, ring, capacity, first - 1, head, records.data())) return false;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  LoopHot now;
  if (!read_hot(bytes, block, kVersion, now)) return false;  // `turns` is there in every version
  // The writer may be inside turn `turns` + 1, whose record takes the place of the one a whole ring
  // earlier.
  const std::uint64_t overwritten =
      now.turns.load() + 1 > capacity ? now.turns.load() + 1 - capacity : 0;
  out.reserve(wanted);
  for (std::uint64_t i = 0; i < wanted; ++i) {
    if (first + i <= overwritten || !is_of_turn(records[i], first + i)) continue;
    out.push_back(to_turn(records[i], first + i, to_realtime));
  }
  return true;
}

}  // namespace loopscope::recording
