// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/recorder.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <initializer_list>
#include <new>

namespace loopscope::recording {
namespace {

/// Blocks of ended loops are kept readable until this many are waiting; then the longest ended is
/// given to the next new loop.
constexpr std::uint32_t kKeptEndedLoops = 8;

/// What a loop does between its last callback and its next wait (epoll_ctl calls, timer heap) stays
/// below this.
constexpr std::uint64_t kLongestBookkeeping = 1'000'000;

class SpinLock {
 public:
  explicit SpinLock(std::uint32_t& word) noexcept : word_(word) {
    std::uint32_t free = 0;
    while (
        !__atomic_compare_exchange_n(&word_, &free, 1u, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
      free = 0;
      sched_yield();
    }
  }
  ~SpinLock() { __atomic_store_n(&word_, 0u, __ATOMIC_RELEASE); }
  SpinLock(const SpinLock&) = delete;
  SpinLock& operator=(const SpinLock&) = delete;

 private:
  std::uint32_t& word_;
};

void count(HistogramTotals& totals, Cell<std::uint64_t>& bucket, std::uint64_t value) noexcept {
  bucket.add(1);
  totals.sum.add(value);
  if (value < totals.min.load()) totals.min.store(value);
  if (value > totals.max.load()) totals.max.store(value);
}

void clear(HistogramTotals& totals) noexcept {
  totals.sum.store(0);
  totals.min.store(~0ull);
  totals.max.store(0);
}

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
  std::uint32_t size = 16;
  while (size < wanted && size < (1u << 20)) size <<= 1;
  return size;
}

ProcessRecorder* g_process = nullptr;

}  // namespace

// --- the process
// ------------------------------------------------------------------------------------------------------

ProcessRecorder& ProcessRecorder::instance(SourceKind source) noexcept {
  static std::uint32_t lock = 0;
  alignas(ProcessRecorder) static unsigned char storage[sizeof(ProcessRecorder)];
  ProcessRecorder* made = existing();
  if (made != nullptr) return *made;
  const SpinLock guard(lock);
  made = existing();
  if (made == nullptr) {
    // Never destroyed: loops may be running while static destructors run.
    made = ::new (static_cast<void*>(storage)) ProcessRecorder;
    made->start(source);
    __atomic_store_n(&g_process, made, __ATOMIC_RELEASE);
  }
  return *made;
}

ProcessRecorder* ProcessRecorder::existing() noexcept {
  return __atomic_load_n(&g_process, __ATOMIC_ACQUIRE);
}

void ProcessRecorder::start(SourceKind source) noexcept {
  const int saved = errno;
  source_ = source;
  clock_ = choose_clock();
  sentinel_.arm();
  create_region(region_, source_, clock_);
  errno = saved;
}

std::uint32_t ProcessRecorder::settle_fork() noexcept {
  std::uint32_t generation = sentinel_.value();
  if (generation != 0 && generation != ~0u) return generation;
  if (sentinel_.claim()) {
    const int saved = errno;
    // The parent's mapping stays where it is: loops still copy their names out of it (and it is
    // never written to).
    memset(fd_chunks_, 0, sizeof fd_chunks_);
    lock_ = 0;
    create_region(region_, source_, clock_);
    sentinel_.settle(++generation_);
    errno = saved;
  }
  return sentinel_.value();
}

void ProcessRecorder::drop(DropKind kind) noexcept {
  if (!active()) return;
  __atomic_fetch_add(&region_.header()->dropped[static_cast<std::size_t>(kind)].raw, 1,
                     __ATOMIC_RELAXED);
}

void ProcessRecorder::register_fd(int fd, int epoll_fd, std::uint32_t events) noexcept {
  settle_fork();
  if (!active() || fd < 0) return;
  const auto number = static_cast<std::uint32_t>(fd);
  if (number >= region_.header()->fd_slots) return drop(DropKind::kFds);
  const std::uint32_t chunk = number / kFdsPerChunk;
  const std::uint64_t bit = 1ull << (chunk % 64);
  if ((__atomic_load_n(&fd_chunks_[chunk / 64], __ATOMIC_ACQUIRE) & bit) == 0) {
    if (epoll_fd < 0) return;
    const int saved = errno;
    const std::uint64_t size = kFdsPerChunk * sizeof(FdSlot);
    const bool reserved = reserve(region_, region_.header()->fds_offset + chunk * size, size);
    errno = saved;
    if (!reserved) return drop(DropKind::kFds);
    __atomic_fetch_or(&fd_chunks_[chunk / 64], bit, __ATOMIC_RELEASE);
  }
  FdSlot& slot = region_.fds()[number];
  slot.generation.add(1);
  slot.registered_events.store(events);
  slot.registered_epoll_fd.store(epoll_fd + 1);
}

void ProcessRecorder::ended(int status, bool status_known) noexcept {
  // A forked child that recorded nothing gets no recording just for its end.
  if (!active() || sentinel_.value() != generation_) return;
  Header& header = *region_.header();
  header.exit_status.store(status);
  header.exit_status_known.store(status_known ? 1 : 0);
  header.ended_realtime_ns.store(realtime_ns());
  header.state.store_release(static_cast<std::uint32_t>(ProcessState::kExited));
}

// --- a loop
// -----------------------------------------------------------------------------------------------------------

LoopRecorder::LoopRecorder(const LoopSettings& settings) noexcept
    : process_(ProcessRecorder::instance()),
      sentinel_(process_.sentinel_.word()),
      generation_(process_.settle_fork()),
      clock_(process_.clock()) {
  allocate_block(settings);
}

LoopRecorder::~LoopRecorder() {
  settle_fork();
  leave();
  if (block_ != nullptr) block_->ended.store_release(1);
}

void LoopRecorder::allocate_block(const LoopSettings& settings) noexcept {
  block_ = nullptr;
  ring_ = nullptr;
  watcher_count_ = 0;
  stall_threshold_ns_ = settings.stall_threshold_ns;
  if (!process_.active()) return;

  const int saved = errno;
  const SpinLock guard(process_.lock_);
  const Region& region = process_.region_;
  Header& header = *region.header();
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
    // Odd while the block changes hands: a reader that sees it, or sees it change, starts again.
    entry->generation.store(entry->generation.load() + 1);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    block_ = region.at<LoopBlock>(entry->block_offset.load());
  } else if (made < kMaxLoops) {
    const std::uint64_t ring_bytes = turns * sizeof(TurnRecord);
    const std::uint64_t offset = allocate(region, sizeof(LoopBlock) + ring_bytes);
    if (offset != 0) {
      id_ = made;
      entry = &region.loops()[made];
      entry->generation.store(1);
      block_ = region.at<LoopBlock>(offset);
      block_->ring_turns.store(turns);
      block_->ring_offset.store(offset + sizeof(LoopBlock));
      entry->block_offset.store_release(offset);
    }
  }
  if (block_ == nullptr) {
    process_.drop(DropKind::kLoops);
    errno = saved;
    return;
  }

  LoopBlock& block = *block_;
  LoopHot& hot = block.hot;
  sequence_ = (hot.sequence.load() + 1) & ~1ull;
  open_section();
  hot.phase.store(Phase::kOutside);
  hot.running_watcher.store(0);
  hot.phase_since_ns.store(clock_.now());
  hot.watcher_since_ns.store(0);
  hot.turns.store(0);
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
  for (std::uint32_t i = 0; i <= ring_mask_; ++i) ring_[i].turn.store(0);

  if (id_ == made) {
    header.loop_count.store_release(made + 1);
  } else {
    entry->generation.store_release(entry->generation.load() + 1);
  }
  errno = saved;
}

void LoopRecorder::move_to_child() noexcept {
  const LoopBlock* old = block_;
  const std::uint32_t old_count = watcher_count_;
  WatcherBlock* old_watchers[kMaxWatchers];
  memcpy(old_watchers, watchers_, sizeof(WatcherBlock*) * old_count);

  generation_ = process_.settle_fork();
  clock_ = Clock(process_.clock());
  // The turn and the callback that were in progress at the fork belong to the parent.
  turn_open_ = false;
  poll_start_ = 0;
  running_ = 0;
  thread_id_ = 0;
  epoll_fd_ = -1;
  callbacks_ = 0;
  top_watcher_ = 0;
  top_ns_ = 0;
  if (old == nullptr) return;

  LoopSettings settings;
  settings.name = old->name.raw;
  settings.backend = old->backend.raw;
  settings.stall_threshold_ns = stall_threshold_ns_;
  settings.ring_turns = old->ring_turns.load();
  allocate_block(settings);
  for (std::uint32_t i = 0; i < old_count; ++i) {
    const WatcherBlock& was = *old_watchers[i];
    watcher_active(watcher(was.name.raw, strnlen(was.name.raw, kNameBytes), was.kind.load()),
                   was.active.load(), was.fd.load());
  }
}

void LoopRecorder::open_section() noexcept {
  block_->hot.sequence.store(sequence_ + 1);
  __atomic_thread_fence(__ATOMIC_RELEASE);
}

void LoopRecorder::close_section() noexcept { block_->hot.sequence.store_release(sequence_ += 2); }

void LoopRecorder::pause(bool paused) noexcept {
  if (paused == paused_) return;
  paused_ = paused;
  // A turn that was recorded only in part is not counted.
  turn_open_ = false;
  poll_start_ = 0;
  if (block_ == nullptr) return;
  settle_fork();
  open_section();
  block_->hot.current_turn.store(static_cast<std::uint16_t>(block_->hot.turns.load()));
  block_->hot.phase.store(Phase::kOutside);
  block_->hot.phase_since_ns.store(clock_.now());
  close_section();
}

void LoopRecorder::enter() noexcept {
  settle_fork();
  if (block_ == nullptr || paused_) return;
  if (thread_id_ == 0) {
    thread_id_ = static_cast<std::int32_t>(syscall(SYS_gettid));
    block_->thread_id.store(thread_id_);
  }
  mark_ = clock_.now();
  block_->hot.outside_ns.add(mark_ - block_->hot.phase_since_ns.load());
}

void LoopRecorder::leave() noexcept {
  settle_fork();
  thread_id_ = 0;  // the next run may be on another thread
  if (block_ == nullptr || paused_) return;
  const std::uint64_t now = clock_.now();
  open_section();
  if (turn_open_) finish_turn(now);
  block_->hot.phase.store(Phase::kOutside);
  block_->hot.phase_since_ns.store(now);
  close_section();
}

void LoopRecorder::maybe_entering() noexcept {
  settle_fork();
  if (block_ == nullptr || paused_ || !turn_open_ || dispatch_end_ == 0) return;
  if (clock_.now() - dispatch_end_ <= kLongestBookkeeping) return;
  open_section();
  finish_turn(dispatch_end_);
  close_section();
}

void LoopRecorder::maybe_leaving() noexcept {
  settle_fork();
  if (block_ == nullptr || paused_ || !turn_open_) return;
  dispatch_end_ = clock_.now();
  open_section();
  block_->hot.phase.store(Phase::kOutside);
  block_->hot.phase_since_ns.store(dispatch_end_);
  close_section();
}

void LoopRecorder::poll_begin() noexcept {
  settle_fork();
  if (block_ == nullptr || paused_) return;
  const std::uint64_t now = clock_.now();
  poll_start_ = now;
  open_section();
  if (turn_open_) {
    const bool was_outside = dispatch_end_ != 0 && now - dispatch_end_ > kLongestBookkeeping;
    finish_turn(was_outside ? dispatch_end_ : now);
  }
  dispatch_end_ = 0;
  block_->hot.phase.store(Phase::kPolling);
  block_->hot.phase_since_ns.store(now);
  close_section();
}

void LoopRecorder::poll_end(const WaitOutcome& outcome) noexcept {
  settle_fork();
  if (block_ == nullptr || paused_ || poll_start_ == 0) return;
  const std::uint64_t now = clock_.now();
  poll_ns_ = now - poll_start_;
  turn_start_ = now;
  mark_ = now;
  excluded_ns_ += poll_ns_;
  outcome_ = outcome;
  turn_open_ = true;

  open_section();
  LoopHot& hot = block_->hot;
  hot.phase.store(Phase::kDispatching);
  hot.phase_since_ns.store(now);
  hot.current_poll_ns.store(poll_ns_);
  hot.current_timeout_ns.store(outcome.timeout_ns);
  hot.current_ready.store(outcome.ready);
  hot.current_result.store(static_cast<std::uint16_t>(static_cast<unsigned>(outcome.result) |
                                                      (outcome.saturated ? kSaturatedBit : 0u)));
  hot.current_turn.store(static_cast<std::uint16_t>(hot.turns.load() + 1));
  close_section();
}

void LoopRecorder::finish_turn(std::uint64_t now) noexcept {
  LoopBlock& block = *block_;
  LoopHot& hot = block.hot;
  const std::uint64_t busy = now - turn_start_;
  const std::uint64_t turn = hot.turns.load() + 1;

  TurnRecord& record = ring_[(turn - 1) & ring_mask_];
  record.turn.store(0);
  __atomic_thread_fence(__ATOMIC_RELEASE);
  record.at_ns.store(turn_start_);
  record.poll_ns.store(poll_ns_);
  record.busy_ns.store(busy);
  record.timeout_ns.store(outcome_.timeout_ns);
  record.watcher_ns.store(top_ns_);
  record.ready.store(outcome_.ready);
  record.watcher.store(static_cast<std::uint16_t>(top_watcher_));
  record.result.store(static_cast<std::uint16_t>(outcome_.result));
  record.turn.store_release(turn);
  // Published last: once a reader has copied the ring and `turns` has not moved past what it
  // copied, the copy is whole.
  hot.turns.store_release(turn);

  count(hot.poll_wait, block.poll_wait_buckets[time_index(poll_ns_)], poll_ns_);
  count(hot.busy, block.busy_buckets[time_index(busy)], busy);
  if (outcome_.ready >= 0) [[likely]] {
    const auto ready = static_cast<std::uint64_t>(outcome_.ready);
    count(hot.ready, block.ready_buckets[count_index(ready)], ready);
  } else {
    hot.ready_unknown.add(1);
  }
  if (outcome_.result != WaitResult::kEvents) {
    if (outcome_.result == WaitResult::kTimeout) {
      hot.timeouts.add(1);
      if (outcome_.timeout_ns > 0) {
        const auto asked = static_cast<std::uint64_t>(outcome_.timeout_ns);
        const std::uint64_t delay = poll_ns_ > asked ? poll_ns_ - asked : 0;
        count(hot.poll_delay, block.poll_delay_buckets[time_index(delay)], delay);
      }
    } else {
      (outcome_.result == WaitResult::kInterrupted ? hot.interrupted : hot.errors).add(1);
    }
  }
  if (outcome_.timeout_ns == 0) {
    hot.nonblocking.add(1);
    if (outcome_.ready == 0 && callbacks_ == 0) hot.spins.add(1);
  }
  if (outcome_.saturated) hot.saturated.add(1);
  if (busy >= stall_threshold_ns_) [[unlikely]]
    hot.stalls.add(1);

  turn_open_ = false;
  callbacks_ = 0;
  top_watcher_ = 0;
  top_ns_ = 0;
}

void LoopRecorder::mark() noexcept {
  if (block_ != nullptr && !paused_) mark_ = clock_.now();
}

LoopRecorder::CallbackFrame LoopRecorder::callback_begin(WatcherRef watcher,
                                                         bool exact_start) noexcept {
  settle_fork();
  if (block_ == nullptr || paused_) return {0, 0, 0, 0};
  const std::uint64_t start = exact_start ? clock_.now() : mark_;
  const CallbackFrame frame{start, excluded_ns_, running_, generation_};
  excluded_ns_ = 0;
  running_ = watcher;
  block_->hot.watcher_since_ns.store(start);
  block_->hot.running_watcher.store(watcher);
  return frame;
}

void LoopRecorder::callback_end(const CallbackFrame& frame, WatcherRef watcher) noexcept {
  // A callback that began in the parent, or while recording was off, has no usable start.
  if (settle_fork() || block_ == nullptr || paused_ || frame.generation != generation_) return;
  const std::uint64_t now = clock_.now();
  const std::uint64_t total = now - frame.start_ns;
  const std::uint64_t own = total > excluded_ns_ ? total - excluded_ns_ : 0;
  excluded_ns_ = frame.excluded_ns + total;
  running_ = frame.outer;
  mark_ = now;
  block_->hot.running_watcher.store(frame.outer);
  ++callbacks_;
  if (WatcherBlock* block = watcher_block(watcher)) {
    const std::uint64_t sequence = block->sequence.load();
    block->sequence.store(sequence + 1);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    count(block->callback, block->callback_buckets[time_index(own)], own);
    block->sequence.store_release(sequence + 2);
    if (own > top_ns_) {
      top_ns_ = own;
      top_watcher_ = watcher;
    }
  }
}

void LoopRecorder::timer_lag(WatcherRef watcher, std::uint64_t due_ns,
                             std::uint64_t ran_ns) noexcept {
  settle_fork();
  if (block_ == nullptr || paused_) return;
  const std::uint64_t lag = ran_ns > due_ns ? ran_ns - due_ns : 0;
  const std::uint32_t index = time_index(lag);
  open_section();
  count(block_->hot.timer_lag, block_->timer_lag_buckets[index], lag);
  close_section();
  if (WatcherBlock* block = watcher_block(watcher);
      block != nullptr && block->has_lag.load() != 0) {
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
  if (block_ == nullptr) return 0;
  name_size = kept_name(name, name_size);
  for (std::uint32_t i = 0; i < watcher_count_; ++i) {
    const char* there = watchers_[i]->name.raw;
    if (watchers_[i]->kind.load() == kind && strnlen(there, kNameBytes) == name_size &&
        memcmp(there, name, name_size) == 0) {
      return i + 1;
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
  std::uint64_t offset = block_->watcher_offsets[watcher_count_].load();
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
  block_->watcher_offsets[watcher_count_].store(offset);
  watchers_[watcher_count_++] = block;
  block_->watcher_count.store_release(watcher_count_);
  return watcher_count_;
}

void LoopRecorder::watcher_active(WatcherRef watcher, int change, int fd) noexcept {
  settle_fork();
  if (WatcherBlock* block = watcher_block(watcher)) {
    block->active.add(change);
    if (change > 0) block->fd.store(fd);
  }
}

void LoopRecorder::set_backend(const char* backend) noexcept {
  if (block_ != nullptr) block_->backend.store(backend, static_cast<unsigned>(strlen(backend)));
}

void LoopRecorder::set_epoll_fd(int epoll_fd) noexcept {
  settle_fork();
  epoll_fd_ = epoll_fd;
  if (block_ != nullptr) block_->epoll_fd.store(epoll_fd);
}

void LoopRecorder::set_used_after_fork(bool used) noexcept {
  settle_fork();
  if (block_ != nullptr) block_->used_after_fork.store(used ? 1 : 0);
}

void LoopRecorder::backend_rebuilt() noexcept {
  settle_fork();
  if (block_ != nullptr) block_->hot.backend_rebuilds.add(1);
}

void LoopRecorder::set_stall_threshold(std::uint64_t threshold_ns) noexcept {
  settle_fork();
  stall_threshold_ns_ = threshold_ns;
  if (block_ != nullptr) block_->stall_threshold_ns.store(threshold_ns);
}

}  // namespace loopscope::recording
