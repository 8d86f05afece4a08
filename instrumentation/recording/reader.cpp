// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "instrumentation/recording/directory.h"
#include "instrumentation/recording/paths.h"
#include "instrumentation/recording/process_recorder.h"

namespace loopscope::recording {
namespace {

/// Tries to get one exact cut of a loop before settling for pieces. A loop that turns every
/// microsecond leaves a gap often enough for a copy in memory; through pread(2) more tries seldom
/// help.
constexpr int kAttempts = 24;

class MemoryBytes final : public Bytes {
 public:
  MemoryBytes(const void* base, std::uint64_t size)
      : base_(static_cast<const unsigned char*>(base)), size_(size) {}

  bool read(std::uint64_t offset, void* to, std::size_t size) const override {
    if (offset > size_ || size > size_ - offset) return false;
    const unsigned char* from = base_ + offset;
    auto* out = static_cast<unsigned char*>(to);
    // Words, each loaded atomically: the writer stores while we copy. All offsets and sizes in the
    // format are multiples of 4.
    std::size_t at = 0;
    if (offset % 8 == 0) {
      for (; at + 8 <= size; at += 8) {
        const std::uint64_t word =
            __atomic_load_n(reinterpret_cast<const std::uint64_t*>(from + at), __ATOMIC_RELAXED);
        std::memcpy(out + at, &word, 8);
      }
    }
    for (; at + 4 <= size; at += 4) {
      const std::uint32_t word =
          __atomic_load_n(reinterpret_cast<const std::uint32_t*>(from + at), __ATOMIC_RELAXED);
      std::memcpy(out + at, &word, 4);
    }
    for (; at < size; ++at) out[at] = __atomic_load_n(from + at, __ATOMIC_RELAXED);
    return true;
  }

 private:
  const unsigned char* base_;
  std::uint64_t size_;
};

class FileBytes final : public Bytes {
 public:
  explicit FileBytes(int fd) : fd_(fd) {}
  ~FileBytes() override { close(fd_); }
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;

  bool read(std::uint64_t offset, void* to, std::size_t size) const override {
    if (offset > static_cast<std::uint64_t>(INT64_MAX) - size) return false;
    auto* out = static_cast<char*>(to);
    while (size > 0) {
      const ssize_t got = pread(fd_, out, size, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      out += got;
      offset += static_cast<std::uint64_t>(got);
      size -= static_cast<std::size_t>(got);
    }
    return true;
  }

 private:
  int fd_;
};

std::string text(const char* from, std::size_t size) { return {from, strnlen(from, size)}; }

std::string boot_id() {
  char id[40] = {};
  const int fd = ::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  const ssize_t size = ::read(fd, id, sizeof id - 1);
  close(fd);
  if (size <= 0) return "";
  if (char* newline = std::strchr(id, '\n')) *newline = '\0';
  return id;
}

/// Copies the part of a histogram that is in use; `min` and `max` say which. Buckets outside it are
/// empty.
bool read_histogram(const Bytes& bytes, std::uint64_t offset, const HistogramTotals& totals,
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

struct LoopCopy {
  LoopHot hot;
  Histogram poll_wait;
  Histogram busy;
  Histogram ready;
  Histogram poll_delay;
  Histogram timer_lag;
};

bool turn_is_open(const LoopHot& hot) {
  return hot.current_turn.load() == static_cast<std::uint16_t>(hot.turns.load() + 1);
}
void close_turn(LoopHot& hot) {
  hot.current_turn.store(static_cast<std::uint16_t>(hot.turns.load()));
}

bool read_hot(const Bytes& bytes, std::uint64_t block, LoopHot& hot) {
  return bytes.read(block, &hot, sizeof hot);
}

bool read_histograms(const Bytes& bytes, std::uint64_t block, LoopCopy& copy) {
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
                        Scale::kTime, copy.timer_lag);
}

/// One exact cut if it can be had (see LoopHot), else an exact `hot` with histograms copied after
/// it; `skew_turns` then says how many turns passed meanwhile.
bool copy_loop(const Bytes& bytes, std::uint64_t block, LoopCopy& copy, std::uint64_t& skew_turns) {
  skew_turns = 0;
  std::uint64_t after = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (!read_hot(bytes, block, copy.hot)) return false;
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
  if (!read_hot(bytes, block, copy.hot) || !read_histograms(bytes, block, copy)) return false;
  LoopHot later;
  if (!read_hot(bytes, block, later)) return false;
  skew_turns = later.turns.load() - copy.hot.turns.load() + 2;
  // A writer that is still at it may have counted the turn in progress meanwhile: rather leave it
  // out than count it twice.
  if (std::memcmp(&later, &copy.hot, sizeof later) != 0) close_turn(copy.hot);
  return true;
}

bool read_watcher(const Bytes& bytes, std::uint64_t offset, WatcherSnapshot& watcher) {
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

Turn to_turn(const TurnRecord& record, std::uint64_t number, std::int64_t to_realtime) {
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
bool read_turns(const Bytes& bytes, std::uint64_t block, std::uint64_t ring, std::uint32_t capacity,
                std::uint64_t head, std::uint64_t after, std::size_t limit,
                std::int64_t to_realtime, std::vector<Turn>& out) {
  std::uint64_t first = head > capacity ? head - capacity + 1 : 1;
  first = std::max(first, after + 1);
  if (head >= limit) first = std::max(first, head - limit + 1);
  if (first > head) return true;
  const std::uint64_t wanted = head - first + 1;
  std::vector<TurnRecord> records(wanted);
  const std::uint64_t from = (first - 1) % capacity;
  const std::uint64_t straight = std::min<std::uint64_t>(wanted, capacity - from);
  if (!bytes.read(ring + from * sizeof(TurnRecord), records.data(), straight * sizeof(TurnRecord)))
    return false;
  if (straight < wanted &&
      !bytes.read(ring, records.data() + straight, (wanted - straight) * sizeof(TurnRecord))) {
    return false;
  }
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  LoopHot now;
  if (!read_hot(bytes, block, now)) return false;
  // The writer may be inside turn `turns` + 1, whose record takes the place of the one a whole ring
  // earlier.
  const std::uint64_t overwritten =
      now.turns.load() + 1 > capacity ? now.turns.load() + 1 - capacity : 0;
  out.reserve(wanted);
  for (std::uint64_t i = 0; i < wanted; ++i) {
    if (first + i <= overwritten || (records[i].facts.load() & 0xFFFF) != ((first + i) & 0xFFFF))
      continue;
    out.push_back(to_turn(records[i], first + i, to_realtime));
  }
  return true;
}

}  // namespace

Reader::Reader(std::unique_ptr<Bytes> bytes, std::string path, std::string error)
    : bytes_(std::move(bytes)), path_(std::move(path)), error_(std::move(error)) {}
Reader::Reader(Reader&&) noexcept = default;
Reader& Reader::operator=(Reader&&) noexcept = default;
Reader::~Reader() = default;

Result<Reader> Reader::open(const std::string& path) {
  // O_NONBLOCK: a FIFO of that name must not make us wait.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const int why = errno;
    const auto code = why == ENOENT   ? Error::Code::kNotFound
                      : why == EACCES ? Error::Code::kPermission
                                      : Error::Code::kSystem;
    return Error{code, "cannot open " + path + ": " + std::strerror(why)};
  }
  auto bytes = std::make_unique<FileBytes>(fd);
  struct stat status {};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    return Error{Error::Code::kFormat,
                 path + " is not a regular file, so not a loopscope recording"};
  }
  Reader reader(std::move(bytes), path, "");
  if (auto checked = reader.check_header(); !checked) return checked.error();
  if (reader.header_.file_bytes > static_cast<std::uint64_t>(status.st_size)) {
    return Error{Error::Code::kFormat, path + " is truncated: " + std::to_string(status.st_size) +
                                           " of " + std::to_string(reader.header_.file_bytes) +
                                           " bytes"};
  }
  return reader;
}

Result<Reader> Reader::attach(const void* base, std::uint64_t size, const std::string& path,
                              const std::string& error) {
  Reader reader(std::make_unique<MemoryBytes>(base, size), path, error);
  if (auto checked = reader.check_header(); !checked) return checked.error();
  return reader;
}

Result<void> Reader::check_header() {
  const std::string name = path_.empty() ? "this process' recording" : path_;
  if (!bytes_->read(0, &header_, sizeof header_) || header_.magic != kMagic) {
    // A recording is complete a few microseconds after its file appears; until then its magic is
    // zero.
    return Error{Error::Code::kFormat,
                 name + " is not a loopscope recording (or one that is just being created)"};
  }
  if (header_.version != kVersion || header_.header_bytes != sizeof(Header)) {
    return Error{Error::Code::kOtherVersion,
                 name + " has recording format " + std::to_string(header_.version) +
                     ", this loopscope reads format " + std::to_string(kVersion) +
                     "; use the loopscope that belongs to the program that wrote it"};
  }
  const std::uint64_t size = header_.file_bytes;
  const auto fits = [size](std::uint64_t offset, std::uint64_t bytes) {
    return offset <= size && bytes <= size - offset;
  };
  if (header_.fd_slots > (1u << 24) || header_.loops_offset % 64 != 0 ||
      header_.fds_offset % 64 != 0 || !fits(header_.loops_offset, kMaxLoops * sizeof(LoopEntry)) ||
      !fits(header_.fds_offset, header_.fd_slots * sizeof(FdSlot)) ||
      !fits(header_.heap_offset, 0)) {
    return Error{Error::Code::kFormat, name + " is damaged: its parts lie outside the file"};
  }
  return {};
}

bool Reader::alive() const {
  static const std::string this_boot = boot_id();
  if (text(header_.boot_id, sizeof header_.boot_id) != this_boot) return false;
  const std::uint64_t ticks = read_start_ticks(header_.pid);
  if (ticks == 0 || ticks != header_.start_ticks) return false;
  // After an exec the same process runs another program; if that records, it writes another file.
  const std::string exe_path = "/proc/" + std::to_string(header_.pid) + "/exe";
  struct stat exe {};
  if (header_.exe_inode != 0 && stat(exe_path.c_str(), &exe) == 0 &&
      (exe.st_ino != header_.exe_inode || exe.st_dev != header_.exe_device)) {
    return false;
  }
  const std::string next = next_image_path(path_);
  return next.empty() || access(next.c_str(), F_OK) != 0;
}

Result<RecordingSnapshot> Reader::read(const ReadOptions& options) {
  Header now;
  if (!bytes_->read(0, &now, sizeof now)) {
    return Error{Error::Code::kFormat, path_ + " is truncated: it has lost its header"};
  }
  RecordingSnapshot out;
  out.version = header_.version;
  out.source = header_.source;
  out.clock = header_.clock == static_cast<std::uint32_t>(ClockKind::kTsc) ? ClockKind::kTsc
                                                                           : ClockKind::kMonotonic;
  out.pid = header_.pid;
  out.parent_pid = header_.parent_pid;
  out.start_ticks = header_.start_ticks;
  out.command = text(header_.command, sizeof header_.command);
  const std::size_t argv_bytes = std::min<std::size_t>(header_.argv_bytes, kArgvBytes);
  for (std::size_t at = 0; at < argv_bytes;) {
    out.argv.push_back(text(header_.argv + at, argv_bytes - at));
    at += out.argv.back().size() + 1;
  }
  out.started_ns = header_.started_realtime_ns;
  out.taken_ns = realtime_ns();
  out.path = path_;
  out.error = error_;
  if (const std::uint32_t failed = now.recording_failed.load(); failed != 0) {
    if (!out.error.empty()) out.error += "; ";
    out.error +=
        std::string("the recording could not grow: ") + std::strerror(static_cast<int>(failed));
  }
  std::memcpy(out.dropped, now.dropped, sizeof out.dropped);

  const bool lives = alive();
  if (now.state.load() == static_cast<std::uint32_t>(ProcessState::kExited)) {
    out.life = Life::kExited;
    out.ended_ns = now.ended_realtime_ns.load();
    if (now.exit_status_known.load() != 0) out.exit_status = now.exit_status.load();
  } else {
    out.life = lives ? Life::kRunning : Life::kKilled;
  }
  // While the process has said goodbye but not gone, nothing runs on.
  const bool running = out.life == Life::kRunning;

  // Instants in the recording are CLOCK_MONOTONIC; this boot's can be placed exactly, an earlier
  // boot's by its start.
  static const std::string this_boot = boot_id();
  const std::int64_t to_realtime =
      text(header_.boot_id, sizeof header_.boot_id) == this_boot
          ? static_cast<std::int64_t>(realtime_ns() - monotonic_ns())
          : static_cast<std::int64_t>(header_.started_realtime_ns - header_.started_monotonic_ns);

  const std::uint32_t loops = std::min(now.loop_count.load(), kMaxLoops);
  for (std::uint32_t id = 0; id < loops; ++id) {
    LoopSnapshot loop;
    if (!read_loop(id, loop, options, to_realtime, running)) {
      return Error{Error::Code::kFormat, path_ + " is damaged or truncated: loop " +
                                             std::to_string(id) + " cannot be read"};
    }
    if (loop.generation != 0) out.loops.push_back(std::move(loop));
  }

  std::vector<FdSlot> slots(kFdsPerChunk);
  for (std::uint64_t chunk = 0; chunk < kFdChunks; ++chunk) {
    const std::uint64_t first = chunk * kFdsPerChunk;
    if (first >= header_.fd_slots) break;
    if ((now.fd_chunks[chunk / 64].load() >> (chunk % 64) & 1) == 0) continue;
    const std::uint64_t size = std::min<std::uint64_t>(kFdsPerChunk, header_.fd_slots - first);
    if (!bytes_->read(header_.fds_offset + first * sizeof(FdSlot), slots.data(),
                      size * sizeof(FdSlot)))
      break;
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::int32_t epoll_fd = slots[i].registered_epoll_fd.load() - 1;
      if (epoll_fd >= 0)
        out.registered.emplace_back(static_cast<std::int32_t>(first + i), epoll_fd);
    }
  }
  return out;
}

bool Reader::read_loop(std::uint32_t id, LoopSnapshot& loop, const ReadOptions& options,
                       std::int64_t to_realtime, bool running) const {
  LoopEntry entry;
  const std::uint64_t entry_at = header_.loops_offset + id * sizeof(LoopEntry);
  if (!bytes_->read(entry_at, &entry, sizeof entry)) return false;
  __atomic_thread_fence(
      __ATOMIC_ACQUIRE);  // with the release stores of block_offset and generation
  const std::uint64_t block_at = entry.block_offset.load();
  const std::uint64_t generation = entry.generation.load();
  if (block_at == 0 || generation % 2 == 0)
    return true;  // being made or handed over just now: not there yet
  if (block_at % 64 != 0) return false;

  LoopCopy copy;
  if (!copy_loop(*bytes_, block_at, copy, loop.skew_turns)) return false;
  constexpr std::size_t kColdSize = offsetof(LoopBlock, poll_wait_buckets) - sizeof(LoopHot);
  auto block = std::make_unique<LoopBlock>();
  if (!bytes_->read(block_at + sizeof(LoopHot),
                    reinterpret_cast<unsigned char*>(block.get()) + sizeof(LoopHot), kColdSize)) {
    return false;
  }

  const LoopHot& hot = copy.hot;
  loop.id = id;
  loop.generation = generation;
  loop.name = text(block->name.raw, sizeof block->name.raw);
  loop.backend = text(block->backend.raw, sizeof block->backend.raw);
  loop.ended = block->ended.load() != 0;
  loop.thread_id = block->thread_id.load();
  loop.epoll_fd = block->epoll_fd.load();
  loop.used_after_fork = block->used_after_fork.load() != 0;
  loop.started_ns = block->started_monotonic_ns.load() + static_cast<std::uint64_t>(to_realtime);
  loop.stall_threshold_ns = block->stall_threshold_ns.load();
  loop.ring_turns = block->ring_turns.load();

  loop.poll_wait = std::move(copy.poll_wait);
  loop.busy = std::move(copy.busy);
  loop.ready = std::move(copy.ready);
  loop.poll_delay = std::move(copy.poll_delay);
  loop.timer_lag = std::move(copy.timer_lag);
  loop.iterations = hot.turns.load();
  loop.nonblocking = hot.nonblocking.load();
  loop.timeouts = hot.timeouts.load();
  loop.interrupted = hot.interrupted.load();
  loop.errors = hot.errors.load();
  loop.saturated = hot.saturated.load();
  loop.ready_unknown = hot.ready_unknown.load();
  loop.spins = hot.spins.load();
  loop.backend_rebuilds = hot.backend_rebuilds.load();
  loop.outside_ns = hot.outside_ns.load();
  loop.stalls = hot.stalls.load();

  const std::uint64_t now = monotonic_ns();
  const auto age = [now](std::uint64_t since) { return now > since ? now - since : 0; };
  const auto phase = static_cast<std::uint32_t>(hot.phase.load());
  loop.phase = phase <= 2 ? static_cast<Phase>(phase) : Phase::kOutside;
  loop.phase_ns = running && !loop.ended ? age(hot.phase_since_ns.load()) : 0;
  loop.running_watcher = hot.running_watcher.load();
  loop.running_watcher_ns =
      running && loop.running_watcher != 0 ? age(hot.watcher_since_ns.load()) : 0;

  if (turn_is_open(hot)) {
    const std::uint16_t flags = hot.current_result.load();
    const std::int32_t ready = hot.current_ready.load();
    const std::int64_t timeout = hot.current_timeout_ns.load();
    const std::uint64_t poll = hot.current_poll_ns.load();
    loop.current_ready = ready;
    ++loop.iterations;
    loop.poll_wait.add(poll);
    if (ready >= 0) {
      loop.ready.add(static_cast<std::uint64_t>(ready));
    } else {
      ++loop.ready_unknown;
    }
    switch (static_cast<WaitResult>(flags & 3u)) {
      case WaitResult::kTimeout:
        ++loop.timeouts;
        if (timeout > 0) {
          const auto asked = static_cast<std::uint64_t>(timeout);
          loop.poll_delay.add(poll > asked ? poll - asked : 0);
        }
        break;
      case WaitResult::kInterrupted:
        ++loop.interrupted;
        break;
      case WaitResult::kError:
        ++loop.errors;
        break;
      case WaitResult::kEvents:
        break;
    }
    if (timeout == 0) ++loop.nonblocking;
    if ((flags & kSaturatedBit) != 0) ++loop.saturated;
    if (loop.phase == Phase::kDispatching && loop.phase_ns >= loop.stall_threshold_ns) {
      ++loop.stalls;
      loop.stalled_ns = loop.phase_ns;
    }
  }
  loop.ready_events = loop.ready.sum;

  const std::uint32_t watchers = std::min(block->watcher_count.load(), kMaxWatchers);
  for (std::uint32_t i = 0; i < watchers; ++i) {
    const std::uint64_t at = block->watcher_offsets[i].load();
    WatcherSnapshot watcher;
    if (at == 0 || at % 64 != 0 || !read_watcher(*bytes_, at, watcher)) return false;
    loop.watchers.push_back(std::move(watcher));
  }
  if (loop.running_watcher > loop.watchers.size()) loop.running_watcher = 0;

  const std::uint32_t capacity = block->ring_turns.load();
  const std::uint64_t ring = block->ring_offset.load();
  if (capacity < 16 || capacity > (1u << 20) || (capacity & (capacity - 1)) != 0 || ring % 64 != 0)
    return false;
  std::uint64_t* cursor = nullptr;
  if (options.cursors != nullptr) cursor = &(*options.cursors)[{id, generation}];
  const std::uint64_t after = cursor != nullptr ? *cursor : 0;
  const std::uint64_t head = hot.turns.load();
  if (!read_turns(*bytes_, block_at, ring, capacity, head, after, options.recent, to_realtime,
                  loop.recent)) {
    return false;
  }
  for (Turn& turn : loop.recent) {
    if (turn.watcher > loop.watchers.size()) turn.watcher = 0;
  }
  if (cursor != nullptr) {
    loop.recent_lost = head > after ? head - after - loop.recent.size() : 0;
    *cursor = std::max(*cursor, head);
  }

  // Given to another loop while we read: leave it out, the next snapshot has the new one.
  LoopEntry again;
  if (!bytes_->read(entry_at, &again, sizeof again)) return false;
  if (again.generation.load() != generation) loop.generation = 0;
  return true;
}

Follow Reader::next(std::uint32_t loop_id, std::uint64_t& cursor, Turn& turn, std::uint64_t& lost) {
  lost = 0;
  LoopEntry entry;
  if (loop_id >= kMaxLoops ||
      !bytes_->read(header_.loops_offset + loop_id * sizeof(LoopEntry), &entry, sizeof entry)) {
    return Follow::kEnd;
  }
  const std::uint64_t block_at = entry.block_offset.load();
  LoopHot hot;
  std::uint32_t capacity = 0;
  std::uint64_t ring = 0;
  if (block_at == 0 || block_at % 64 != 0 || !read_hot(*bytes_, block_at, hot) ||
      !bytes_->read(block_at + offsetof(LoopBlock, ring_turns), &capacity, sizeof capacity) ||
      !bytes_->read(block_at + offsetof(LoopBlock, ring_offset), &ring, sizeof ring) ||
      capacity < 16 || ring % 64 != 0) {
    return Follow::kEnd;
  }
  const std::uint64_t head = hot.turns.load();
  if (cursor >= head) return alive() ? Follow::kEnd : Follow::kWriterGone;
  // One more than the ring holds may be half overwritten already.
  const std::uint64_t oldest = head + 1 > capacity ? head + 2 - capacity : 1;
  if (cursor + 1 < oldest) {
    lost = oldest - 1 - cursor;
    cursor = oldest - 1;
    return Follow::kOverrun;
  }
  std::vector<Turn> turns;
  const std::uint64_t wanted = cursor + 1;
  if (read_turns(*bytes_, block_at, ring, capacity, wanted, cursor, 1, 0, turns) &&
      turns.size() == 1) {
    cursor = wanted;
    turn = turns.front();
    return Follow::kTurn;
  }
  lost = 1;  // overwritten while it was copied
  cursor = wanted;
  return Follow::kOverrun;
}

Result<Reader> read_own_process() {
  ProcessRecorder& process = ProcessRecorder::instance();
  process.settle_fork();
  if (!process.active()) {
    return Error{Error::Code::kSystem, "nothing is recorded: there is no memory for a recording"};
  }
  const Region& region = process.region();
  return Reader::attach(region.base, region.bytes, region.path, region.error);
}

}  // namespace loopscope::recording
