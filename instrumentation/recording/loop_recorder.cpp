// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/loop_recorder.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <initializer_list>

#include "instrumentation/recording/spin_lock.h"

namespace loopscope::recording {
namespace {

/// Blocks of ended loops are kept readable until this many are waiting; then the longest ended is
/// given to the next new loop.
constexpr std::uint32_t kKeptEndedLoops = 8;

void clear_buckets(Cell<std::uint64_t>* buckets, std::size_t size) noexcept {
  for (std::size_t i = 0; i < size; ++i) buckets[i].store(0);
}

/// How much of a name is kept: at most kNameBytes - 1 bytes, never cutting a UTF-8 sequence in two.
std::size_t kept_name(const char* name, std::size_t size) noexcept {
  if (size <= kNameBytes - 1) return size;
  size = kNameBytes - 1;
  while (size > 0 && (static_cast<unsigned char>(name[size]) & 0xC0) == 0x80) --size;
  return size;
}

std::uint32_t ring_size(std::uint32_t wanted) noexcept {
  std::uint32_t size = kMinRingTurns;
  while (size < wanted && size < (1u << 20)) size <<= 1;
  return size;
}

/// Chunks of ServedRecords for a ring of so many turns.
std::uint32_t served_chunks(std::uint32_t turns) noexcept {
  const std::uint32_t wanted = 2 * turns / kServedPerChunk;
  return wanted < 1 ? 1 : wanted < kServedChunks ? wanted : kServedChunks;
}

}  // namespace

void LoopRecorder::clear(HistogramTotals& totals) noexcept {
  totals.sum.store(0);
  totals.min.store(~0ull);
  totals.max.store(~0ull);
}

void LoopRecorder::widen(HistogramTotals& totals, std::uint64_t value) noexcept {
  const bool empty = totals.max.load() == ~0ull;
  if (empty || value > totals.max.load()) totals.max.store(value);
  if (empty || value < totals.min.load()) totals.min.store(value);
}

void LoopRecorder::count_rare(std::int32_t ready) noexcept {
  LoopHot& hot = block_->hot;
  const std::uint16_t flags = hot.current_result.load();
  const std::int64_t timeout = hot.current_timeout_ns.load();
  if (ready < 0) hot.ready_unknown.add(1);
  switch (static_cast<WaitResult>(flags & 3u)) {
    case WaitResult::kTimeout:
      hot.timeouts.add(1);
      if (timeout > 0) {
        const auto asked = static_cast<std::uint64_t>(timeout);
        const std::uint64_t poll = hot.current_poll_ns.load();
        const std::uint64_t delay = poll > asked ? poll - asked : 0;
        count(hot.poll_delay, block_->poll_delay_buckets[time_index(delay)], delay);
      }
      break;
    case WaitResult::kInterrupted:
      hot.interrupted.add(1);
      break;
    case WaitResult::kError:
      hot.errors.add(1);
      break;
    case WaitResult::kEvents:
      break;
  }
  if (timeout == 0) {
    hot.nonblocking.add(1);
    if (ready == 0 && callbacks_ == 0) hot.spins.add(1);
  }
  if ((flags & kSaturatedBit) != 0) hot.saturated.add(1);
}

void LoopRecorder::long_turn(std::uint64_t turn, std::uint64_t busy) noexcept {
  if (busy >= stall_threshold_ns_) block_->hot.stalls.add(1);
  if (busy <= worst_busy_ns_) return;
  LoopWorst& worst = block_->worst;
  worst.turn.store(0);
  worst.at_ns.store(turn_start_);
  worst.busy_ns.store(busy);
  worst.ready.store(block_->hot.current_ready.load());
  worst.watcher.store(top_watcher_);
  worst.watcher_ns.store(top_ns_);
  worst.served_fd.store(0);
  worst.served_generation.store(0);
  worst.served_ns.store(0);
  worst.served_site.store(0);
  worst.turn.store(turn);
  worst_is_new_ = true;
  // Every turn beyond the longest, and every stall, comes here.
  worst_busy_ns_ = busy;
  long_ns_ = busy + 1 < stall_threshold_ns_ ? busy + 1 : stall_threshold_ns_;
}

void LoopRecorder::worst_served(int fd, std::uint32_t generation, std::uint64_t ns,
                                std::uint32_t site) noexcept {
  worst_is_new_ = false;
  if (block_ == nullptr || fd < 0) return;
  LoopWorst& worst = block_->worst;
  open_section();
  worst.served_generation.store(generation);
  worst.served_ns.store(ns);
  worst.served_site.store(site);
  worst.served_fd.store(fd + 1);
  close_section();
}

void LoopRecorder::fold(std::uint64_t last, std::uint64_t poll, std::uint64_t busy) noexcept {
  LoopBlock& block = *block_;
  LoopHot& hot = block.hot;
  for (std::uint64_t turn = hot.folded.load() + 1; turn <= last; ++turn) {
    const TurnRecord& record = ring_[(turn - 1) & ring_mask_];
    const std::uint64_t times = record.poll_and_busy.load();
    const bool given = turn == last;
    const std::uint64_t waited = given ? poll : unpack_duration(static_cast<std::uint32_t>(times));
    const std::uint64_t worked =
        given ? busy : unpack_duration(static_cast<std::uint32_t>(times >> 32));
    count(hot.poll_wait, block.poll_wait_buckets[time_index(waited)], waited);
    count(hot.busy, block.busy_buckets[time_index(worked)], worked);
    const std::uint32_t ready = facts_ready(record.facts.load());
    if (ready != kFactsReadyUnknown) {
      count(hot.ready, block.ready_buckets[count_index(ready)], ready);
    }
    // Each by itself: a writer killed in here leaves at most one counted twice. (One histogram
    // after the other, with sums in registers, was not faster.)
    hot.folded.store_release(turn);
  }
}

LoopRecorder::LoopRecorder(const LoopSettings& settings) noexcept
    : sentinel_(ProcessRecorder::instance().sentinel()),
      generation_(ProcessRecorder::instance().settle_fork()),
      clock_(ProcessRecorder::instance().clock()),
      process_(ProcessRecorder::instance()) {
  allocate_block(settings);
}

LoopRecorder::~LoopRecorder() {
  settle_fork();
  leave();
  if (made_block_ != nullptr) made_block_->ended.store_release(1);
}

void LoopRecorder::withdraw() noexcept {
  if (made_block_ == nullptr) return;
  LoopEntry& entry = process_.region_.loops()[id_];
  entry.generation.store((entry.generation.load() + 1) & ~1ull);
  made_block_->ended.store_release(1);
  made_block_ = block_ = nullptr;
}

void LoopRecorder::allocate_block(const LoopSettings& settings) noexcept {
  block_ = nullptr;
  made_block_ = nullptr;
  ring_ = nullptr;
  watcher_count_ = 0;
  memset(watchers_, 0, sizeof watchers_);
  stall_threshold_ns_ = settings.stall_threshold_ns;
  long_ns_ = stall_threshold_ns_ < 1 ? stall_threshold_ns_ : 1;
  worst_busy_ns_ = 0;
  worst_lag_ns_ = 0;
  worst_is_new_ = false;
  served_at_ = served_end_ = nullptr;
  served_ = served_before_ = 0;
  served_chunk_ = served_chunks_ = 0;
  if (!process_.active()) return;

  const int saved = errno;
  const Region& region = process_.region_;
  Header& header = *region.header();
  const SpinLock guard(header.lock.raw, header.pid);
  const std::uint32_t turns = ring_size(settings.ring_turns);
  const std::uint32_t made = header.loop_count.load();

  // An ended loop's block with a ring of this size, the longest ended first.
  std::uint32_t ended = 0;
  std::uint32_t candidate = made;
  for (std::uint32_t i = 0; i < made; ++i) {
    const auto* block = region.at<LoopBlock>(region.loops()[i].block_offset.load());
    if (block->ended.load() == 0) continue;
    ++ended;
    if (block->ring_turns.load() != turns) continue;
    if (candidate == made ||
        block->hot.phase_since_ns.load() <
            region.at<LoopBlock>(region.loops()[candidate].block_offset.load())
                ->hot.phase_since_ns.load()) {
      candidate = i;
    }
  }

  LoopEntry* entry = nullptr;
  if (candidate != made && (ended >= kKeptEndedLoops || made == kMaxLoops)) {
    id_ = candidate;
    entry = &region.loops()[candidate];
    // Even while the block changes hands: a reader that sees it, or sees it change, starts again.
    // One that was withdrawn is even already.
    entry->generation.store((entry->generation.load() + 1) & ~1ull);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    block_ = region.at<LoopBlock>(entry->block_offset.load());
  } else if (made < kMaxLoops && reserve_loop_entry(region, made)) {
    const std::uint64_t ring_bytes = turns * sizeof(TurnRecord);
    const bool serves = settings.served != ServedKind::kNone;
    const std::uint64_t offset =
        allocate(region, sizeof(LoopBlock) + ring_bytes + (serves ? kServedChunkBytes : 0));
    if (offset != 0) {
      id_ = made;
      entry = &region.loops()[made];
      entry->generation.store(1);
      block_ = region.at<LoopBlock>(offset);
      block_->ring_turns.store(turns);
      block_->ring_offset.store(offset + sizeof(LoopBlock));
      if (serves) {
        block_->served_chunks[0].store(offset + sizeof(LoopBlock) + ring_bytes);
        block_->served_chunk_count.store(1);
      }
      entry->block_offset.store_release(offset);
    }
  }
  if (block_ == nullptr) {
    process_.drop(DropKind::kLoops);
    errno = saved;
    return;
  }

  made_block_ = block_;
  LoopBlock& block = *block_;
  LoopHot& hot = block.hot;
  sequence_ = (hot.sequence.load() + 1) & ~1ull;
  open_section();
  hot.phase.store(Phase::kOutside);
  hot.running_watcher.store(0);
  hot.phase_since_ns.store(clock_.now());
  hot.watcher_since_ns.store(0);
  hot.turns.store(0);
  hot.folded.store(0);
  hot.served.store(0);
  hot.current_turn.store(0);
  for (Cell<std::uint64_t>* counter :
       {&hot.nonblocking, &hot.timeouts, &hot.interrupted, &hot.errors, &hot.saturated,
        &hot.ready_unknown, &hot.stalls, &hot.spins, &hot.backend_rebuilds, &hot.outside_ns}) {
    counter->store(0);
  }
  for (HistogramTotals* totals :
       {&hot.poll_wait, &hot.busy, &hot.ready, &hot.poll_delay, &hot.timer_lag})
    clear(*totals);
  for (auto* buckets : {block.poll_wait_buckets, block.busy_buckets, block.poll_delay_buckets,
                        block.timer_lag_buckets}) {
    clear_buckets(buckets, kTimeBuckets);
  }
  clear_buckets(block.ready_buckets, kCountBuckets);
  block.worst.turn.store(0);
  block.worst.lag_ns.store(0);
  close_section();

  block.name.store(settings.name,
                   static_cast<unsigned>(kept_name(settings.name, strlen(settings.name))));
  set_backend(settings.backend);
  block.ended.store(0);
  block.thread_id.store(0);
  block.epoll_fd.store(-1);
  block.used_after_fork.store(0);
  block.stall_threshold_ns.store(settings.stall_threshold_ns);
  block.started_monotonic_ns.store(clock_.now());
  block.watcher_count.store(0);
  ring_ = region.at<TurnRecord>(block.ring_offset.load());
  ring_mask_ = block.ring_turns.load() - 1;
  for (std::uint32_t i = 0; i <= ring_mask_; ++i) ring_[i].facts.store(0);
  // A block that changes hands keeps its chunks; the count alone says what in them is in use.
  block.served_kind.store(settings.served);
  if (settings.served != ServedKind::kNone) served_chunks_ = served_chunks(turns);
  served_chunk_ = ~0u;  // the first is the next

  if (id_ == made) {
    header.loop_count.store_release(made + 1);
  } else {
    entry->generation.store_release(entry->generation.load() + 1);
  }
  errno = saved;
}

void LoopRecorder::forget_progress() noexcept {
  turn_start_ = 0;
  poll_start_ = 0;
  dispatch_end_ = 0;
  running_ = 0;
  excluded_ns_ = 0;
  callbacks_ = 0;
  top_watcher_ = 0;
  top_ns_ = 0;
  served_before_ = served_;
  ++stamp_;
}

void LoopRecorder::interrupt_callback(std::uint64_t now) noexcept {
  if (turn_start_ == 0) return;
  // Since its start or, if that is later, since what was nested in it before ended (or this turn's
  // wait did).
  const std::uint64_t since = block_->hot.watcher_since_ns.load();
  put_served(running_, mark_ > since ? mark_ : since, now);
}

bool LoopRecorder::served_grows() const noexcept {
  if (block_ == nullptr || !served_needs_room()) return false;
  const std::uint32_t made = block_->served_chunk_count.load();
  // Only where all that there are have just been filled for the first time: a record's place must
  // not change.
  return made < served_chunks_ && served_ == std::uint64_t{made} * kServedPerChunk;
}

void LoopRecorder::prepare_served() noexcept {
  if (block_ == nullptr || served_chunks_ == 0 || !served_needs_room()) return;
  if (served_grows()) add_served_chunk();
  const std::uint32_t made = block_->served_chunk_count.load();
  if (made == 0) return;
  const std::uint32_t next = served_chunk_ + 1 < made ? served_chunk_ + 1 : 0;
  served_chunk_ = next;
  served_at_ = process_.region_.at<ServedRecord>(block_->served_chunks[next].load());
  served_end_ = served_at_ + kServedPerChunk;
}

/// One more at the end. If there is no room, there will not be from then on.
void LoopRecorder::add_served_chunk() noexcept {
  const Region& region = process_.region_;
  const Header& header = *region.header();
  // What loops and names will want comes first.
  constexpr std::uint64_t kKeptWhenSealed = 512 * 1024;
  const std::uint64_t room =
      (region.sealed ? region.prepared_end : region.bytes) - header.heap_offset;
  const std::uint64_t kept = region.sealed ? kKeptWhenSealed : room / 2;
  std::uint64_t offset = 0;
  if (header.heap_used.load() + kServedChunkBytes + kept <= room) {
    const int saved = errno;
    offset = allocate(region, kServedChunkBytes);
    errno = saved;
  }
  const std::uint32_t made = block_->served_chunk_count.load();
  if (offset == 0) {
    served_chunks_ = made;
    return;
  }
  block_->served_chunks[made].store(offset);
  block_->served_chunk_count.store_release(made + 1);
}

void LoopRecorder::move_to_child() noexcept {
  const LoopBlock* old = made_block_;
  const bool paused = block_ == nullptr;
  const std::uint32_t old_count = watcher_count_;
  WatcherBlock* old_watchers[kMaxWatchers + 1];
  memcpy(old_watchers, watchers_, sizeof watchers_);

  generation_ = process_.settle_fork();
  clock_ = Clock(process_.clock());
  // The turn and the callback that were in progress at the fork belong to the parent.
  forget_progress();
  thread_id_ = 0;
  if (old == nullptr) return;

  LoopSettings settings;
  settings.name = old->name.raw;
  settings.backend = old->backend.raw;
  settings.stall_threshold_ns = stall_threshold_ns_;
  settings.ring_turns = old->ring_turns.load();
  settings.served = old->served_kind.load();
  allocate_block(settings);
  for (WatcherRef ref = 1; ref <= old_count; ++ref) {
    const WatcherBlock& was = *old_watchers[ref];
    watcher_active(watcher(was.name.raw, strnlen(was.name.raw, kNameBytes), was.kind.load()),
                   was.active.load(), was.fd.load());
  }
  if (paused) block_ = nullptr;
}

void LoopRecorder::pause(bool paused) noexcept {
  settle_fork();
  if (made_block_ == nullptr || paused == (block_ == nullptr)) return;
  block_ = made_block_;
  // A turn that was recorded only in part is not counted.
  forget_progress();
  block_->hot.running_watcher.store(0);
  open_section();
  block_->hot.current_turn.store(static_cast<std::uint16_t>(block_->hot.turns.load()));
  block_->hot.phase.store(Phase::kOutside);
  block_->hot.phase_since_ns.store(clock_.now());
  close_section();
  if (paused) block_ = nullptr;
}

void LoopRecorder::enter() noexcept {
  settle_fork();
  if (block_ == nullptr) return;
  enter(thread_id_ != 0 ? thread_id_ : static_cast<std::int32_t>(syscall(SYS_gettid)));
}

void LoopRecorder::enter(std::int32_t thread_id) noexcept {
  settle_fork();
  if (block_ == nullptr) return;
  thread_id_ = thread_id;
  block_->thread_id.store(thread_id);
  mark_ = clock_.now();
  block_->hot.outside_ns.add(mark_ - block_->hot.phase_since_ns.load());
}

void LoopRecorder::leave() noexcept {
  settle_fork();
  leave_at(block_ != nullptr ? clock_.now() : 0);
}

void LoopRecorder::leave_at(std::uint64_t now) noexcept {
  settle_fork();
  thread_id_ = 0;  // the next run may be on another thread
  if (block_ == nullptr) return;
  open_section();
  // Another clock than ours may be a little behind.
  if (turn_start_ != 0) finish_turn(now > turn_start_ ? now : turn_start_);
  block_->hot.phase.store(Phase::kOutside);
  block_->hot.phase_since_ns.store(now);
  close_section();
}

void LoopRecorder::maybe_entering() noexcept {
  settle_fork();
  if (block_ == nullptr || turn_start_ == 0 || dispatch_end_ == 0) return;
  if (clock_.now() - dispatch_end_ <= kLongestBookkeeping) return;
  open_section();
  finish_turn(dispatch_end_);
  close_section();
}

void LoopRecorder::maybe_leaving() noexcept {
  settle_fork();
  if (block_ == nullptr || turn_start_ == 0) return;
  dispatch_end_ = clock_.now();
  open_section();
  block_->hot.phase.store(Phase::kOutside);
  block_->hot.phase_since_ns.store(dispatch_end_);
  close_section();
}

void LoopRecorder::timer_lag(WatcherRef watcher, std::uint64_t due_ns,
                             std::uint64_t ran_ns) noexcept {
  settle_fork();
  if (block_ == nullptr) return;
  const std::uint64_t lag = ran_ns > due_ns ? ran_ns - due_ns : 0;
  const std::uint32_t index = time_index(lag);
  open_section();
  count(block_->hot.timer_lag, block_->timer_lag_buckets[index], lag);
  if (lag > worst_lag_ns_) [[unlikely]] {
    worst_lag_ns_ = lag;
    LoopWorst& worst = block_->worst;
    worst.lag_ns.store(0);
    worst.lag_watcher.store(watcher);
    worst.lag_at_ns.store(ran_ns);
    worst.lag_ns.store(lag);
  }
  close_section();
  if (WatcherBlock* block = watchers_[watcher]; block != nullptr && block->has_lag.load() != 0) {
    const std::uint64_t sequence = block->sequence.load();
    block->sequence.store(sequence + 1);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    count(block->lag, process_.region_.at<Cell<std::uint64_t>>(block->lag_offset.load())[index],
          lag);
    block->sequence.store_release(sequence + 2);
  }
}

// --- rarely
// -----------------------------------------------------------------------------------------------------------

WatcherRef LoopRecorder::watcher(const char* name, std::size_t name_size,
                                 WatcherKind kind) noexcept {
  settle_fork();
  if (made_block_ == nullptr) return 0;
  name_size = kept_name(name, name_size);
  for (WatcherRef ref = 1; ref <= watcher_count_; ++ref) {
    const char* there = watchers_[ref]->name.raw;
    if (watchers_[ref]->kind.load() == kind && strnlen(there, kNameBytes) == name_size &&
        memcmp(there, name, name_size) == 0) {
      return ref;
    }
  }
  if (watcher_count_ == kMaxWatchers) {
    process_.drop(DropKind::kWatchers);
    return 0;
  }

  const int saved = errno;
  const Region& region = process_.region_;
  const bool has_lag = kind == WatcherKind::kTimer || kind == WatcherKind::kPeriodic;
  // A block left by an ended loop that had this slot before, else a new one.
  std::uint64_t offset = made_block_->watcher_offsets[watcher_count_].load();
  std::uint64_t lag_offset = offset != 0 ? region.at<WatcherBlock>(offset)->lag_offset.load() : 0;
  if (offset == 0) offset = allocate(region, sizeof(WatcherBlock));
  if (has_lag && offset != 0 && lag_offset == 0) lag_offset = allocate(region, kLagBucketsBytes);
  errno = saved;
  if (offset == 0 || (has_lag && lag_offset == 0)) {
    process_.drop(DropKind::kWatchers);
    return 0;
  }
  auto* block = region.at<WatcherBlock>(offset);
  block->sequence.store(0);
  clear(block->callback);
  clear(block->lag);
  block->active.store(0);
  block->fd.store(-1);
  block->name.store(name, static_cast<unsigned>(name_size));
  block->kind.store(kind);
  block->has_lag.store(has_lag ? 1 : 0);
  block->lag_offset.store(lag_offset);
  clear_buckets(block->callback_buckets, kTimeBuckets);
  if (lag_offset != 0) clear_buckets(region.at<Cell<std::uint64_t>>(lag_offset), kTimeBuckets);
  made_block_->watcher_offsets[watcher_count_].store(offset);
  watchers_[++watcher_count_] = block;
  made_block_->watcher_count.store_release(watcher_count_);
  return watcher_count_;
}

void LoopRecorder::watcher_active(WatcherRef watcher, int change, int fd) noexcept {
  settle_fork();
  if (WatcherBlock* block = watchers_[watcher]) {
    block->active.add(change);
    if (change > 0) block->fd.store(fd);
  }
}

void LoopRecorder::set_backend(const char* backend) noexcept {
  if (made_block_ != nullptr)
    made_block_->backend.store(backend, static_cast<unsigned>(strlen(backend)));
}

void LoopRecorder::set_epoll_fd(int epoll_fd) noexcept {
  settle_fork();
  if (made_block_ != nullptr) made_block_->epoll_fd.store(epoll_fd);
}

void LoopRecorder::set_used_after_fork(bool used) noexcept {
  settle_fork();
  if (made_block_ != nullptr) made_block_->used_after_fork.store(used ? 1 : 0);
}

void LoopRecorder::backend_rebuilt() noexcept {
  settle_fork();
  if (made_block_ != nullptr) made_block_->hot.backend_rebuilds.add(1);
}

}  // namespace loopscope::recording
