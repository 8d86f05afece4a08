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
    const std::uint32_t ready = facts_ready(record.facts.load());
    if (ready != kFactsReadyUnknown) copy.ready.add(ready);
  }
  return true;
}

/// What is under LoopHot::sequence, but for `hot`.
static bool read_rest(const Bytes& bytes, std::uint64_t block, std::uint32_t version,
                      LoopCopy& copy) {
  using Scale = Histogram::Scale;
  copy.worst = {};
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
         (version == 1 ||
          bytes.read(block + offsetof(LoopBlock, worst), &copy.worst, sizeof copy.worst)) &&
         add_unfolded(bytes, block, copy);
}

/// The reader's side of LoopHot::sequence. The fences are what the argument there needs of it:
/// loads within one read() are in no order.
Cut copy_cut(const Bytes& bytes, std::uint64_t block, std::uint32_t version, LoopCopy& copy) {
  std::uint64_t before = 0;
  if (!bytes.read(block, &before, sizeof before)) return Cut::kMissing;
  if (before % 2 != 0) return Cut::kMoved;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (!read_hot(bytes, block, version, copy.hot) || !read_rest(bytes, block, version, copy)) {
    return Cut::kMissing;
  }
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  std::uint64_t after = 0;
  if (!bytes.read(block, &after, sizeof after)) return Cut::kMissing;
  return after == before ? Cut::kTaken : Cut::kMoved;
}

/// Each value is one that was there at some moment between the two loads of `turns`; `skew_turns`
/// is how many turns passed there, and those that may be counted twice or not at all.
bool copy_pieces(const Bytes& bytes, std::uint64_t block, std::uint32_t version, LoopCopy& copy,
                 std::uint64_t& skew_turns) {
  if (!read_hot(bytes, block, version, copy.hot)) return false;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (!read_rest(bytes, block, version, copy)) return false;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
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

bool copy_loop(const Bytes& bytes, std::uint64_t block, std::uint32_t version, LoopCopy& copy,
               std::uint64_t& skew_turns) {
  skew_turns = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const Cut cut = copy_cut(bytes, block, version, copy);
    if (cut != Cut::kMoved) return cut == Cut::kTaken;
  }
  // Too fast a loop (a turn shorter than the copy), or a writer that died inside a section.
  return copy_pieces(bytes, block, version, copy, skew_turns);
}

bool copy_watcher(const Bytes& bytes, std::uint64_t offset, WatcherSnapshot& watcher) {
  constexpr std::size_t kFront = offsetof(WatcherBlock, callback_buckets);
  alignas(WatcherBlock) unsigned char front[sizeof(WatcherBlock)];  // of which the front is read
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    // As copy_cut() does; what the last attempt brings is taken as it is.
    std::uint64_t before = 0;
    if (!bytes.read(offset, &before, sizeof before)) return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (!bytes.read(offset, front, kFront)) return false;
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
    if (after == before && after % 2 == 0) break;
  }
  return true;
}

/// Format 1 says nothing of what was served, and has the fields elsewhere.
static std::uint64_t facts_from_1(std::uint64_t facts) {
  const auto ready = static_cast<std::uint32_t>(facts >> 34);
  constexpr std::uint32_t kUnknown = (1u << 30) - 1;
  return pack_facts(ready == kUnknown ? kReadyUnknown : static_cast<std::int32_t>(ready),
                    facts >> 32 & 3, facts >> 16 & 0x3FF, 0, facts & 0xFFFF);
}

static Turn to_turn(const TurnRecord& record, std::uint64_t number, std::int64_t to_realtime,
                    std::uint32_t version) {
  const std::uint64_t times = record.poll_and_busy.load();
  const std::uint64_t others = record.timeout_and_watcher.load();
  std::uint64_t facts = record.facts.load();
  if (version == 1) facts = facts_from_1(facts);
  const std::uint32_t ready = facts_ready(facts);
  Turn turn;
  turn.turn = number;
  turn.at_ns = record.at_ns.load() + static_cast<std::uint64_t>(to_realtime);
  turn.poll_ns = unpack_duration(static_cast<std::uint32_t>(times));
  turn.busy_ns = unpack_duration(static_cast<std::uint32_t>(times >> 32));
  turn.timeout_ns = unpack_timeout(static_cast<std::uint32_t>(others));
  turn.watcher_ns = unpack_duration(static_cast<std::uint32_t>(others >> 32));
  turn.ready = ready == kFactsReadyUnknown ? kReadyUnknown : static_cast<std::int32_t>(ready);
  turn.result = static_cast<WaitResult>(facts_result(facts));
  turn.watcher = facts_watcher(facts);
  turn.served_lost = facts_served(facts);  // until they are found
  return turn;
}

/// The turns after `after`, at most `limit` of them, the newest; true unless the file is short.
bool copy_turns(const Bytes& bytes, const TurnRing& turns, std::uint64_t head, std::uint64_t after,
                std::size_t limit, std::int64_t to_realtime, std::vector<Turn>& out) {
  const std::uint32_t capacity = turns.capacity;
  std::uint64_t first = head > capacity ? head - capacity + 1 : 1;
  first = std::max(first, after + 1);
  if (head >= limit) first = std::max(first, head - limit + 1);
  if (first > head) return true;
  const std::uint64_t wanted = head - first + 1;
  std::vector<TurnRecord> records(wanted);
  if (!read_records(bytes, turns.ring, capacity, first - 1, head, records.data())) return false;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  LoopHot now;
  // `turns` is there in every version.
  if (!read_hot(bytes, turns.block, kVersion, now)) return false;
  // The writer may be inside turn `turns` + 1, whose record takes the place of the one a whole ring
  // earlier.
  const std::uint64_t overwritten =
      now.turns.load() + 1 > capacity ? now.turns.load() + 1 - capacity : 0;
  out.reserve(wanted);
  for (std::uint64_t i = 0; i < wanted; ++i) {
    if (first + i <= overwritten || !is_of_turn(records[i], first + i)) continue;
    out.push_back(to_turn(records[i], first + i, to_realtime, turns.version));
  }
  return true;
}

/// Where the chunks of a loop's ServedRecords are.
struct ServedChunks {
  ServedKind kind = ServedKind::kNone;
  std::uint32_t count = 0;
  std::uint64_t offsets[kServedChunks] = {};

  bool read(const Bytes& bytes, std::uint64_t block) {
    if (!bytes.read(block + offsetof(LoopBlock, served_kind), &kind, sizeof kind) ||
        (kind != ServedKind::kWatchers && kind != ServedKind::kDescriptors) ||
        !bytes.read(block + offsetof(LoopBlock, served_chunk_count), &count, sizeof count) ||
        count == 0 || count > kServedChunks) {
      return false;
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return bytes.read(block + offsetof(LoopBlock, served_chunks), offsets,
                      count * sizeof(std::uint64_t)) &&
           std::all_of(offsets, offsets + count, [](std::uint64_t at) { return at % 64 == 0; });
  }
};

/// The readable ServedRecords, oldest first; false if the bytes are not there.
static bool read_served(const Bytes& bytes, std::uint64_t block, ServedChunks& chunks,
                        std::vector<ServedRecord>& out) {
  const std::uint64_t head_at = block + offsetof(LoopBlock, hot) + offsetof(LoopHot, served);
  std::uint64_t head = 0;
  // The count first: once it is beyond the chunks that there are, there will be no more of them.
  if (!bytes.read(head_at, &head, sizeof head)) return false;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (!chunks.read(bytes, block)) return false;
  const std::uint64_t capacity = std::uint64_t{chunks.count} * kServedPerChunk;
  const std::uint64_t first = head >= capacity ? head - capacity + 1 : 0;  // records before it
  out.resize(head - first);
  for (std::uint64_t done = first; done < head;) {
    const std::uint64_t place = done % capacity;
    const std::uint64_t in_chunk = place % kServedPerChunk;
    const std::uint64_t some = std::min<std::uint64_t>(head - done, kServedPerChunk - in_chunk);
    if (!bytes.read(chunks.offsets[place / kServedPerChunk] + in_chunk * sizeof(ServedRecord),
                    out.data() + (done - first), some * sizeof(ServedRecord))) {
      return false;
    }
    done += some;
  }
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  std::uint64_t now = 0;
  if (!bytes.read(head_at, &now, sizeof now)) return false;
  // As with the turns: the writer may be inside record `now` + 1.
  const std::uint64_t overwritten = now + 1 > capacity ? now + 1 - capacity : 0;
  if (overwritten > first) {
    const std::uint64_t gone = std::min<std::uint64_t>(overwritten - first, out.size());
    out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(gone));
  }
  return true;
}

static Served to_served(const ServedRecord& record, ServedKind kind, std::size_t watchers) {
  const auto who = static_cast<std::uint32_t>(record.turn_and_who.load() >> 32);
  const std::uint64_t times = record.start_and_duration.load();
  Served served;
  if (kind == ServedKind::kWatchers) {
    served.watcher = who <= watchers ? who : 0;
  } else {
    const std::uint32_t descriptor = who >> 20 & 0x1F;
    served.fd = static_cast<std::int32_t>(who & 0xFFFFF);
    served.kind = descriptor < kDescriptorKinds ? static_cast<DescriptorKind>(descriptor)
                                                : DescriptorKind::kOther;
    served.generation = static_cast<std::uint8_t>(who >> 25);
  }
  served.start_ns = unpack_duration(static_cast<std::uint32_t>(times));
  served.ns = unpack_duration(static_cast<std::uint32_t>(times >> 32));
  return served;
}

void copy_served(const Bytes& bytes, std::uint64_t block, LoopSnapshot& loop) {
  ServedChunks chunks;
  std::vector<ServedRecord> records;
  if (!read_served(bytes, block, chunks, records)) return;
  // Both are in order. From the newest back: what is newer than the turn is of turns that are not
  // in `recent`, the one in progress first of all.
  const auto turn_of = [&records](std::size_t i) {
    return static_cast<std::uint32_t>(records[i].turn_and_who.load());
  };
  std::size_t end = records.size();
  std::vector<std::pair<std::size_t, std::size_t>> ranges(loop.recent.size());
  std::size_t kept = 0;
  for (std::size_t i = loop.recent.size(); i > 0; --i) {
    Turn& turn = loop.recent[i - 1];
    const auto number = static_cast<std::uint32_t>(turn.turn);
    while (end > 0 && static_cast<std::int32_t>(turn_of(end - 1) - number) > 0) --end;
    std::size_t begin = end;
    // A turn that was given up half-way (recording was paused) left records of the next one's
    // number: no more than the turn says are its own.
    const std::uint32_t wanted = turn.served_lost;
    while (begin > 0 && end - begin < wanted && turn_of(begin - 1) == number) --begin;
    ranges[i - 1] = {begin, end};
    turn.served_count = static_cast<std::uint32_t>(end - begin);
    turn.served_lost = wanted - turn.served_count;
    kept += turn.served_count;
    while (begin > 0 && turn_of(begin - 1) == number) --begin;
    end = begin;
  }
  std::vector<Served> served;
  served.reserve(kept);
  for (std::size_t i = 0; i < loop.recent.size(); ++i) {
    loop.recent[i].served_first = static_cast<std::uint32_t>(served.size());
    for (std::size_t at = ranges[i].first; at < ranges[i].second; ++at) {
      served.push_back(to_served(records[at], chunks.kind, loop.watchers.size()));
    }
  }
  loop.served = std::make_shared<const std::vector<Served>>(std::move(served));
}

}  // namespace loopscope::recording
