// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/reader.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "instrumentation/recording/directory.h"
#include "instrumentation/recording/loop_copy.h"
#include "instrumentation/recording/paths.h"
#include "instrumentation/recording/process_recorder.h"
#include "instrumentation/recording/redact.h"

namespace loopscope::recording {
namespace {

std::string read_boot() {
  char id[40] = {};
  const int fd = ::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  const ssize_t size = ::read(fd, id, sizeof id - 1);
  close(fd);
  if (size <= 0) return "";
  if (char* newline = std::strchr(id, '\n')) *newline = '\0';
  return id;
}

/// Whether that is the name of the boot that this is. If there is none to be had (no descriptor is
/// left to ask by, no /proc) it is taken for it, and the next one is asked for again: a server must
/// not call all processes ended because of one bad moment.
bool is_this_boot(const std::string& boot_id) {
  static std::atomic<const std::string*> known{nullptr};
  const std::string* now = known.load(std::memory_order_acquire);
  if (now == nullptr) {
    std::string read = read_boot();
    if (read.empty()) return true;
    const auto* made = new std::string(std::move(read));  // one a process, kept
    if (known.compare_exchange_strong(now, made, std::memory_order_acq_rel)) {
      now = made;
    } else {
      delete made;
    }
  }
  return boot_id == *now;
}

/// Format 2's header is the front of today's: it has no own_failures.
constexpr std::uint32_t kVersion2 = 2;
constexpr std::uint32_t kHeaderBytes2 = 5376;
constexpr std::uint32_t kHeaderFront2 = offsetof(Header, own_failures);
static_assert(kHeaderFront2 == 5328);

/// The end of format 1's header. Its front, up to and with `argv`, is that of today's, and so are
/// the parts that it points to; it has no ledger.
struct HeaderEnd1 {
  static constexpr std::uint32_t kVersion = 1;
  static constexpr std::uint32_t kHeaderBytes = 2560;
  static constexpr std::size_t kOffset = 2264;
  static constexpr std::uint32_t kFdsPerChunk = 1024;

  std::uint64_t loops_offset;
  std::uint64_t fds_offset;
  std::uint64_t fd_slots;
  std::uint64_t heap_offset;
  Cell<std::uint64_t> heap_used;
  Cell<std::uint32_t> loop_count;
  Cell<std::uint32_t> recording_failed;
  Cell<std::uint64_t> dropped[static_cast<std::size_t>(DropKind::kCount)];
  Cell<std::uint64_t> fd_chunks[16];

  void put_into(Header& header) const {
    header.loops_offset = loops_offset;
    header.fds_offset = fds_offset;
    header.fd_slots = fd_slots;
    header.details_offset = header.sites_offset = header.modules_offset = heap_offset;
    header.incidents_offset = header.script_frames_offset = heap_offset;
    header.heap_offset = heap_offset;
    header.heap_used = heap_used;
    header.loop_count = loop_count;
    header.recording_failed = recording_failed;
    std::memcpy(header.dropped, dropped, sizeof dropped);
    constexpr unsigned kPerChunk = kFdsPerChunk / recording::kFdsPerChunk;
    for (unsigned chunk = 0; chunk < std::size(fd_chunks) * 64; ++chunk) {
      if ((fd_chunks[chunk / 64].load() >> (chunk % 64) & 1) == 0) continue;
      for (unsigned part = chunk * kPerChunk; part < (chunk + 1) * kPerChunk; ++part) {
        Cell<std::uint64_t>& word = header.fd_chunks[part / 64];
        word.store(word.load() | 1ull << (part % 64));
      }
    }
  }
};
static_assert(offsetof(Header, argv) + kArgvBytes == HeaderEnd1::kOffset);
static_assert(sizeof(HeaderEnd1) + HeaderEnd1::kOffset <= HeaderEnd1::kHeaderBytes);
static_assert(offsetof(LoopBlock, worst) == 45568 && sizeof(WatcherBlock) == 9408 &&
              offsetof(FdSlot, registered_epoll_fd) == 4);

}  // namespace

Reader::Reader(std::unique_ptr<Bytes> bytes, std::string path, std::string error)
    : bytes_(std::move(bytes)), path_(std::move(path)), error_(std::move(error)) {}
Reader::Reader(Reader&&) noexcept = default;
Reader& Reader::operator=(Reader&&) noexcept = default;
Reader::~Reader() = default;

Result<Reader> Reader::open(const std::string& path, bool follow_link) {
  int fd = -1;
  if (follow_link) {
    // O_NONBLOCK: a FIFO of that name must not make us wait.
    fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
      const int why = errno;
      const auto code = why == ENOENT   ? Error::Code::kNotFound
                        : why == EACCES ? Error::Code::kPermission
                                        : Error::Code::kSystem;
      return Error{code, "cannot open " + path + ": " + std::strerror(why)};
    }
  } else {
    const auto opened = open_recording(path);
    if (!opened) return opened.error();
    fd = *opened;
  }
  auto bytes = bytes_of_file(fd);
  struct stat status {};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    return Error{Error::Code::kFormat,
                 path + " is not a regular file, so not a loopscope recording"};
  }
  Reader reader(std::move(bytes), path, "");
  reader.owner_ = status.st_uid;
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
  Reader reader(bytes_of_memory(base, size), path, error);
  reader.own_process_ = true;
  reader.owner_ = geteuid();
  if (auto checked = reader.check_header(); !checked) return checked.error();
  return reader;
}

/// As the file has it, in today's layout; only the front if it is of a version that is not known.
bool Reader::load_header(Header& header) const {
  header = Header{};
  if (!bytes_->read(0, &header, HeaderEnd1::kOffset)) return false;
  if (header.version == HeaderEnd1::kVersion) {
    HeaderEnd1 end;
    if (!bytes_->read(HeaderEnd1::kOffset, &end, sizeof end)) return false;
    end.put_into(header);
    return true;
  }
  if (header.version == kVersion2) return bytes_->read(0, &header, kHeaderFront2);
  return header.version != kVersion || bytes_->read(0, &header, sizeof header);
}

Result<void> Reader::check_header() {
  const std::string name = path_.empty() ? "this process' recording" : path_;
  if (!load_header(header_) || header_.magic != kMagic) {
    // A recording is complete a few microseconds after its file appears; until then its magic is
    // zero.
    return Error{Error::Code::kFormat,
                 name + " is not a loopscope recording (or one that is just being created)"};
  }
  const std::uint32_t wanted_bytes = header_.version == kVersion    ? sizeof(Header)
                                     : header_.version == kVersion2 ? kHeaderBytes2
                                     : header_.version == HeaderEnd1::kVersion
                                         ? HeaderEnd1::kHeaderBytes
                                         : 0;
  if (wanted_bytes == 0 || header_.header_bytes != wanted_bytes) {
    return Error{Error::Code::kOtherVersion,
                 name + " has recording format " + std::to_string(header_.version) +
                     ", this loopscope reads format 1, format 2 and format " +
                     std::to_string(kVersion) +
                     "; use the loopscope that belongs to the program that wrote it"};
  }
  const std::uint64_t size = header_.file_bytes;
  const auto fits = [size](std::uint64_t offset, std::uint64_t bytes) {
    return offset <= size && bytes <= size - offset;
  };
  if (header_.fd_slots > (1u << 24) || header_.loops_offset % 64 != 0 ||
      header_.fds_offset % 64 != 0 || !fits(header_.loops_offset, kMaxLoops * sizeof(LoopEntry)) ||
      !fits(header_.fds_offset, header_.fd_slots * sizeof(FdSlot)) ||
      !fits(header_.heap_offset, 0) ||
      (header_.has_ledger != 0 &&
       (header_.details_offset % 64 != 0 || header_.sites_offset % 64 != 0 ||
        header_.modules_offset % 64 != 0 || header_.incidents_offset % 64 != 0 ||
        header_.script_frames_offset % 64 != 0 ||
        !fits(header_.details_offset, header_.fd_slots * sizeof(FdDetail)) ||
        !fits(header_.sites_offset, kMaxSites * sizeof(Site)) ||
        !fits(header_.modules_offset, kMaxModules * sizeof(Module)) ||
        !fits(header_.incidents_offset, kMaxIncidents * sizeof(Incident)) ||
        !fits(header_.script_frames_offset, kMaxScriptFrames * sizeof(ScriptFrameEntry))))) {
    return Error{Error::Code::kFormat, name + " is damaged: its parts lie outside the file"};
  }
  return {};
}

/// Of a process with the pid of a recording that could not ask when its own had started: whether it
/// is that one, and no later one of the same number.
bool Reader::started_before_recording(std::uint64_t ticks) const {
  const auto now = [](clockid_t id) {
    timespec time{};
    clock_gettime(id, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u +
           static_cast<std::uint64_t>(time.tv_nsec);
  };
  const std::uint64_t suspended = now(CLOCK_BOOTTIME) - now(CLOCK_MONOTONIC);
  const auto tick_ns = 1'000'000'000u / static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK));
  return ticks * tick_ns <= header_.started_monotonic_ns + suspended;
}

bool Reader::alive() const {
  // Ourselves, whatever /proc says: there may be none in a chroot.
  if (own_process_ && header_.pid == getpid()) return true;
  if (!is_this_boot(text(header_.boot_id, sizeof header_.boot_id))) return false;
  const std::uint64_t ticks = ask_start_ticks(header_.pid);
  if (ticks == 0) return false;
  if (ticks == kTicksUnknown) {
    // No descriptor is left to ask by, or no memory: all that can be told is that there is one.
    if (kill(header_.pid, 0) != 0 && errno == ESRCH) return false;
  } else if (header_.start_ticks == 0) {
    if (!started_before_recording(ticks)) return false;
  } else if (ticks != header_.start_ticks) {
    return false;
  }
  if (!may_speak_of(owner_, header_.pid)) return false;
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

/// For a recording whose process has not said goodbye and is not `alive()`.
bool Reader::became_another_program() const {
  if (const std::string next = next_image_path(path_); !next.empty()) {
    if (access(next.c_str(), F_OK) == 0) return true;
  }
  return is_this_boot(text(header_.boot_id, sizeof header_.boot_id)) && header_.start_ticks != 0 &&
         read_start_ticks(header_.pid) == header_.start_ticks && may_speak_of(owner_, header_.pid);
}

std::vector<std::uint32_t> Reader::generations(const std::vector<std::int32_t>& numbers) const {
  Header now;
  std::vector<std::uint32_t> generations;
  if (!load_header(now) || !copy_generations(*bytes_, header_, now, numbers, generations)) {
    generations.clear();
  }
  return generations;
}

Result<RecordingSnapshot> Reader::read(const ReadOptions& options) {
  Header now;
  if (!load_header(now)) {
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
  out.forked = (header_.has_ledger & kForked) != 0;
  out.command = text(header_.command, sizeof header_.command);
  const std::size_t argv_bytes = std::min<std::size_t>(header_.argv_bytes, kArgvBytes);
  for (std::size_t at = 0; at < argv_bytes;) {
    out.argv.push_back(text(header_.argv + at, argv_bytes - at));
    at += out.argv.back().size() + 1;
  }
  if (hides_secrets()) out.argv = redacted(out.argv);
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
  for (const OwnFailure& failure : now.own_failures) {
    const std::uint32_t what = failure.what.load();
    const OwnFailures told{static_cast<OwnCall>(what & 0xFFFF), static_cast<int>(what >> 16),
                           failure.failed.load(), failure.retried.load()};
    if (told.failed != 0 || told.retried != 0) out.own_failures.push_back(told);
  }

  out.run_pid = header_.run_pid;
  const std::uint64_t reaped = now.reaped_count.load();
  for (std::uint64_t i = reaped > kReaped ? reaped - kReaped : 0; i < reaped; ++i) {
    const std::uint64_t child = now.reaped[i % kReaped].load();
    out.reaped.emplace_back(static_cast<std::int32_t>(child >> 32), static_cast<int>(child));
  }
  const bool lives = alive();
  out.finished = !lives;
  switch (static_cast<ProcessState>(now.state.load())) {
    case ProcessState::kExited:
      out.life = Life::kExited;
      out.ended_ns = now.ended_realtime_ns.load();
      if (now.exit_status_known.load() != 0) out.exit_status = now.exit_status.load();
      break;
    case ProcessState::kExecuted:
      out.life = Life::kExecuted;
      out.ended_ns = now.ended_realtime_ns.load();
      break;
    default:
      out.life = lives                      ? Life::kRunning
                 : became_another_program() ? Life::kExecuted
                                            : Life::kKilled;
  }
  // While the process has said goodbye but not gone, nothing runs on.
  const bool running = out.life == Life::kRunning;

  // Instants in the recording are CLOCK_MONOTONIC; this boot's can be placed exactly, an earlier
  // boot's by its start.
  const std::int64_t to_realtime =
      is_this_boot(text(header_.boot_id, sizeof header_.boot_id))
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

  // Whether there is a ledger is said once it is begun, after the header was made.
  if (now.has_ledger != 0 && header_.has_ledger == 0) {
    if (auto checked = check_header(); !checked) return checked.error();
  }
  bool read = true;
  if (header_.has_ledger != 0) {
    read = ledger_.copy(*bytes_, header_, now, to_realtime, options.details, out.ledger.emplace(),
                        out.registered);
  } else {
    read = copy_registrations(*bytes_, header_, now, out.registered);
  }
  if (!read) {
    return Error{Error::Code::kFormat,
                 path_ + " is damaged or truncated: its descriptors cannot be read"};
  }
  if (options.served) find_gone(out);
  if (is_foreign(owner_)) {
    out.as_user = owner_;
    if (out.ledger) {
      for (ModuleRecord& module : out.ledger->modules) module.as_user = owner_;
    }
  }
  return out;
}

void Reader::find_gone(RecordingSnapshot& recording) {
  if (!recording.ledger) return;
  const std::vector<FdRecord>& fds = recording.ledger->fds;  // open ones, rising
  for (LoopSnapshot& loop : recording.loops) {
    if (!loop.served) continue;
    std::vector<Served> served = *loop.served;
    for (const Turn& turn : loop.recent) {
      for (std::uint32_t i = 0; i < turn.served_count; ++i) {
        Served& one = served[turn.served_first + i];
        // Even: the ledger did not know what had the number then.
        if (one.fd < 0 || one.generation % 2 == 0) continue;
        const auto now = std::lower_bound(
            fds.begin(), fds.end(), one.fd,
            [](const FdRecord& record, std::int32_t fd) { return record.fd < fd; });
        // The record has the low bits of a generation: after 64 lives of a number they are there
        // again.
        one.gone = now == fds.end() || now->fd != one.fd ||
                   (now->generation & kServedGenerationMask) != one.generation ||
                   turn.at_ns + one.start_ns + one.ns < now->opened_ns;
      }
    }
    loop.served = std::make_shared<const std::vector<Served>>(std::move(served));
  }
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
  if (!copy_loop(*bytes_, block_at, header_.version, copy, loop.skew_turns)) return false;
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
    if (at == 0 || at % 64 != 0 || !copy_watcher(*bytes_, at, watcher)) return false;
    loop.watchers.push_back(std::move(watcher));
  }
  if (loop.running_watcher > loop.watchers.size()) loop.running_watcher = 0;
  put_worst(copy.worst, loop, to_realtime);

  const std::uint32_t capacity = block->ring_turns.load();
  const std::uint64_t ring = block->ring_offset.load();
  if (capacity < kMinRingTurns || capacity > (1u << 20) || (capacity & (capacity - 1)) != 0 ||
      ring % 64 != 0)
    return false;
  std::uint64_t* cursor = nullptr;
  if (options.cursors != nullptr) cursor = &(*options.cursors)[{id, generation}];
  const std::uint64_t after = cursor != nullptr ? *cursor : 0;
  const std::uint64_t head = hot.turns.load();
  const TurnRing turns{block_at, ring, capacity, header_.version};
  if (!copy_turns(*bytes_, turns, head, after, options.recent, to_realtime, loop.recent)) {
    return false;
  }
  if (options.served && header_.version >= 2) copy_served(*bytes_, block_at, loop);
  for (Turn& turn : loop.recent) {
    if (turn.watcher > loop.watchers.size()) turn.watcher = 0;
  }
  if (cursor != nullptr) {
    loop.recent_lost = head > after ? head - after - loop.recent.size() : 0;
    *cursor = std::max(*cursor, head);
  }

  // Given to another loop while we read: leave it out, the next snapshot has the new one.
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  LoopEntry again;
  if (!bytes_->read(entry_at, &again, sizeof again)) return false;
  if (again.generation.load() != generation) loop.generation = 0;
  return true;
}

void Reader::put_worst(const LoopWorst& worst, LoopSnapshot& loop, std::int64_t to_realtime) {
  const auto watcher = [&loop](std::uint32_t index) {
    return index <= loop.watchers.size() ? index : 0;
  };
  if (worst.turn.load() != 0) {
    WorstTurn& turn = loop.worst_turn.emplace();
    turn.turn = worst.turn.load();
    turn.at_ns = worst.at_ns.load() + static_cast<std::uint64_t>(to_realtime);
    turn.busy_ns = worst.busy_ns.load();
    turn.ready = worst.ready.load();
    turn.watcher = watcher(worst.watcher.load());
    turn.watcher_ns = worst.watcher_ns.load();
    turn.served_fd = std::max(worst.served_fd.load(), 0) - 1;
    turn.served_ns = worst.served_ns.load();
    const std::uint32_t site = worst.served_site.load();
    if (site != 0 && site <= kMaxSites) turn.served_site = site - 1;
  }
  if (worst.lag_ns.load() != 0) {
    WorstLag& lag = loop.worst_lag.emplace();
    lag.lag_ns = worst.lag_ns.load();
    lag.at_ns = worst.lag_at_ns.load() + static_cast<std::uint64_t>(to_realtime);
    lag.watcher = watcher(worst.lag_watcher.load());
  }
}

std::vector<StalledLoop> Reader::stalled(std::uint64_t at_least_ns) const {
  std::vector<StalledLoop> stalled;
  Cell<std::uint32_t> count;
  if (header_.version != kVersion ||
      !bytes_->read(offsetof(Header, loop_count), &count, sizeof count)) {
    return stalled;
  }
  std::vector<LoopEntry> entries(std::min(count.load(), kMaxLoops));
  if (entries.empty() ||
      !bytes_->read(header_.loops_offset, entries.data(), entries.size() * sizeof(LoopEntry))) {
    return stalled;
  }
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  for (std::uint32_t id = 0; id < entries.size(); ++id) {
    const std::uint64_t block_at = entries[id].block_offset.load();
    const std::uint64_t generation = entries[id].generation.load();
    if (block_at == 0 || block_at % 64 != 0 || generation % 2 == 0) continue;
    LoopHot hot;
    constexpr std::size_t kFront = offsetof(LoopHot, current_poll_ns);
    if (!bytes_->read(block_at, &hot, kFront)) continue;
    const std::uint64_t now = monotonic_ns();
    const std::uint64_t since = hot.phase_since_ns.load();
    if (hot.phase.load() != Phase::kDispatching || now < since || now - since < at_least_ns) {
      continue;
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    // One that moved meanwhile is not stalled.
    std::uint64_t sequence = 0;
    Cell<std::uint32_t> ended;
    LoopWorst worst;
    StalledLoop loop;
    loop.loop_id = id;
    loop.generation = generation;
    loop.turn = hot.turns.load() + 1;
    loop.age_ns = now - since;
    LoopEntry again;
    if (!bytes_->read(block_at + offsetof(LoopBlock, ended), &ended, sizeof ended) ||
        !bytes_->read(block_at + offsetof(LoopBlock, thread_id), &loop.thread_id,
                      sizeof loop.thread_id) ||
        !bytes_->read(block_at + offsetof(LoopBlock, worst), &worst, offsetof(LoopWorst, ready)) ||
        !bytes_->read(block_at, &sequence, sizeof sequence) ||
        !bytes_->read(header_.loops_offset + id * sizeof(LoopEntry), &again, sizeof again) ||
        ended.load() != 0 || sequence != hot.sequence.load() || sequence % 2 != 0 ||
        again.generation.load() != generation) {
      continue;
    }
    if (worst.turn.load() != 0) loop.longest_ns = worst.busy_ns.load();
    stalled.push_back(loop);
  }
  return stalled;
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
  if (block_at == 0 || block_at % 64 != 0 || !read_hot(*bytes_, block_at, header_.version, hot) ||
      !bytes_->read(block_at + offsetof(LoopBlock, ring_turns), &capacity, sizeof capacity) ||
      !bytes_->read(block_at + offsetof(LoopBlock, ring_offset), &ring, sizeof ring) ||
      capacity < kMinRingTurns || ring % 64 != 0) {
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
  if (copy_turns(*bytes_, {block_at, ring, capacity, header_.version}, wanted, cursor, 1, 0,
                 turns) &&
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
