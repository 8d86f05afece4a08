// SPDX-License-Identifier: Apache-2.0
//
// The recording as it lies in memory and in the file. docs/recording-format.md tells it in words
// and pictures.
//
//   offset 0              Header              identity, directory of the parts, drop counters
//   loops_offset          LoopEntry[]         where each loop's block is
//   modules_offset        Module[]            files that the code of sites lies in; the probe only
//   incidents_offset      Incident[]          what went wrong with descriptor numbers; likewise
//   sites_offset          Site[]              where they were opened; likewise
//   script_frames_offset  ScriptFrameEntry[]  lines of scripts that sites name; likewise
//   fds_offset            FdSlot[]            by descriptor number; reserved as numbers are used
//   details_offset        FdDetail[]          likewise; the probe only
//   heap_offset           blocks              LoopBlock, WatcherBlock, what was served; handed out
//                                             upwards, never returned
//
// Every struct has a fixed size and explicit padding; offsets are from the start of the file. All
// integers are in the writer's byte order (a reader on another architecture sees a wrong magic and
// refuses).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "instrumentation/recording/cell.h"
#include "instrumentation/recording/descriptor_kind.h"
#include "instrumentation/recording/histogram.h"

namespace loopscope::recording {

inline constexpr std::uint64_t kMagic = 0x00504353504f4f4cull;  // "LOOPSCP\0"
/// Raised with every change of layout or meaning. A reader accepts exactly the versions it knows.
inline constexpr std::uint32_t kVersion = 3;

enum class SourceKind : std::uint32_t { kLibrary = 1, kProbe = 2, kKernel = 3 };
/// kExecuted: the process runs another program now; its recording, if it makes one, is the next
/// image.
enum class ProcessState : std::uint32_t { kRunning = 1, kExited = 2, kExecuted = 3 };
enum class Phase : std::uint32_t { kOutside = 0, kDispatching = 1, kPolling = 2 };

/// How a wait call ended.
enum class WaitResult : std::uint32_t { kEvents = 0, kTimeout = 1, kInterrupted = 2, kError = 3 };

/// libev's kinds of watcher, plus what other libraries may add later. Appended to, never
/// renumbered.
enum class WatcherKind : std::uint32_t {
  kIo = 1,
  kTimer,
  kPeriodic,
  kSignal,
  kChild,
  kStat,
  kIdle,
  kPrepare,
  kCheck,
  kFork,
  kAsync,
  kEmbed,
  kCleanup,
};

/// What is dropped when a table is full or memory cannot be had: counted per kind, shown
/// everywhere.
/// kEvents: ready events whose descriptor could not be told; kSites, kModules: opens that are
/// recorded without their stack; kWaits: waits that were not measured (in a signal handler that
/// interrupted the recorder itself); kIncidents: of a place where no other was noted.
enum class DropKind : std::uint32_t {
  kLoops = 0,
  kWatchers,
  kFds,
  kSites,
  kModules,
  kEvents,
  kWaits,
  kIncidents,
  kCount = 8
};

/// System calls that the recorder and the probe make for themselves. Appended to, never renumbered;
/// own_call_name() has their names.
enum class OwnCall : std::uint32_t {
  kOther = 0,  // more kinds of failure than there is room for
  kOpen,
  kRead,
  kClose,
  kStat,
  kMkdir,
  kFtruncate,
  kFallocate,
  kMmap,
  kMunmap,
  kMadvise,
  kGetdents,
  kLseek,
  kUnlink,
  kReadlink,
  kGetrlimit,
  kPoll,
  kFcntl,
  kGetsockopt,
  kPrctl,
  kSigprocmask,
  kTgkill,
  kThreadKey,  // pthread_key_create, pthread_setspecific: memory for the end of threads
  kCount
};

inline constexpr std::int64_t kTimeoutInfinite = -1;
inline constexpr std::int64_t kTimeoutUnknown = -2;
inline constexpr std::int32_t kReadyUnknown = -1;
/// In LoopHot::current_result, beside the WaitResult: the call returned as many events as it was
/// allowed to.
inline constexpr std::uint16_t kSaturatedBit = 0x100;

inline constexpr std::size_t kCommandBytes = 64;
inline constexpr std::size_t kArgvBytes = 2048;
inline constexpr std::size_t kNameBytes = 64;
inline constexpr std::uint64_t kFoldTurns = 32;  // a power of two
inline constexpr std::uint32_t kMinRingTurns = 2 * kFoldTurns;
inline constexpr std::uint32_t kMaxLoops = 1024;
inline constexpr std::uint32_t kMaxWatchers = 512;  // names per loop
inline constexpr std::uint32_t kDefaultRingTurns = 4096;
/// What was served lies in chunks of a page, which are reserved as they are used: two records for
/// each turn in the ring, but no more than this.
inline constexpr std::uint32_t kServedPerChunk = 256;
inline constexpr std::uint32_t kServedChunks = 32;
/// Descriptor slots are reserved 64 numbers at a time: few processes have more open, and each page
/// costs its start 2 to 3 µs.
inline constexpr std::uint32_t kFdsPerChunk = 64;
inline constexpr std::uint32_t kFdChunks = 16384;
inline constexpr std::uint32_t kMaxSites = 8192;
inline constexpr std::uint32_t kMaxModules = 1024;
inline constexpr std::uint32_t kSiteFrames = 16;
inline constexpr std::uint32_t kReaped = 32;
inline constexpr std::uint32_t kMaxIncidents = 256;
/// Lines of scripts (Python, Ruby, node) that opened descriptors.
inline constexpr std::uint32_t kMaxScriptFrames = 4096;
inline constexpr std::uint32_t kSiteScriptFrames = 6;
/// Room for counters by kind, more than there are kinds.
inline constexpr std::size_t kKindSlots = 32;
static_assert(kDescriptorKinds <= kKindSlots);

/// Room for failures of own calls: one for each pair of call and errno; the last has all the rest.
inline constexpr std::uint32_t kOwnFailures = 32;

/// What own calls failed with, here and in forked children that got no recording. `what`: OwnCall
/// in the low half, errno in the high one; 0: not used, and so are all after it.
struct alignas(16) OwnFailure {
  Cell<std::uint32_t> what;
  Cell<std::uint32_t> retried;  // made again at once: nothing was lost
  Cell<std::uint64_t> failed;   // given up: what was wanted was done otherwise, or not at all
};

/// Header::has_ledger.
inline constexpr std::uint32_t kHasLedger = 1;
inline constexpr std::uint32_t kForked = 2;  // off a recorded process, whose program it runs

struct alignas(64) Header {
  std::uint64_t magic;  // written last at creation: a file without it is not ready
  std::uint32_t version;
  std::uint32_t header_bytes;
  std::uint64_t file_bytes;
  SourceKind source;
  std::int32_t pid;
  std::int32_t parent_pid;
  std::uint32_t uid;
  std::uint64_t
      start_ticks;  // /proc/PID/stat field 22: with pid, says whether the process still lives
  std::uint64_t started_monotonic_ns;
  std::uint64_t started_realtime_ns;
  std::uint32_t clock;        // ClockKind
  Cell<std::uint32_t> state;  // ProcessState
  Cell<std::int32_t> exit_status;
  Cell<std::uint32_t> exit_status_known;
  Cell<std::uint64_t> ended_realtime_ns;
  std::uint64_t exe_device;  // of /proc/self/exe; 0: not known. A process that runs another file
                             // now has called exec(3).
  std::uint64_t exe_inode;
  char boot_id[40];
  char command[kCommandBytes];
  std::uint32_t argv_bytes;  // NUL-separated, as /proc/PID/cmdline
  std::uint32_t argv_truncated;
  char argv[kArgvBytes];

  /// The `loopscope run` or `check` that this process runs under; 0: none.
  std::int32_t run_pid;
  /// 0, or kHasLedger and perhaps kForked. The source keeps a ledger: descriptors' births and
  /// deaths are recorded, the fd_ counters below count. 0 for the library.
  std::uint32_t has_ledger;
  Cell<std::uint32_t> lock;  // of the writing process: guards making loops
  /// The ledger's open descriptors were compared with the kernel's as the process ended or called
  /// exec(3), see EndCensus.
  Cell<std::uint32_t> end_census;

  std::uint64_t loops_offset;
  std::uint64_t fds_offset;
  std::uint64_t fd_slots;
  std::uint64_t details_offset;
  std::uint64_t sites_offset;
  std::uint64_t modules_offset;
  std::uint64_t incidents_offset;
  std::uint64_t script_frames_offset;
  std::uint64_t heap_offset;
  Cell<std::uint64_t> heap_used;  // bytes from heap_offset
  Cell<std::uint32_t> loop_count;
  Cell<std::uint32_t>
      recording_failed;  // errno of the first reservation that failed later on, 0: none
  Cell<std::uint64_t> dropped[static_cast<std::size_t>(DropKind::kCount)];

  // --- the ledger's counters ---
  Cell<std::uint32_t> site_count;          // in use, published with release
  Cell<std::uint32_t> module_count;        // likewise
  Cell<std::uint32_t> incident_count;      // likewise
  Cell<std::uint32_t> script_frame_count;  // likewise
  Cell<std::int64_t> fd_open;              // by the ledger: inherited + opened - closed
  Cell<std::int64_t> fd_peak;
  Cell<std::uint64_t> fd_inherited;  // open when the recording began
  Cell<std::uint64_t> fd_met;        // not seen opened, but closed or used: born out of sight
  Cell<std::uint64_t>
      fd_lost;  // a number that was opened while it counted as open: closed out of sight
  Cell<std::uint64_t> bad_closes;             // close of a number that was not open (EBADF)
  Cell<std::uint64_t> accepts;                // accept calls that returned a descriptor
  Cell<std::uint64_t> fd_opened[kKindSlots];  // by DescriptorKind
  Cell<std::uint64_t> fd_closed[kKindSlots];

  /// Children that this process has waited for: pid in the high half, status as wait(2) gives it in
  /// the low one. How a child was killed only its parent learns. Place: number mod kReaped.
  Cell<std::uint64_t> reaped_count;
  Cell<std::uint64_t> reaped[kReaped];

  /// Bit c: slots [c·kFdsPerChunk, (c + 1)·kFdsPerChunk) are reserved. Others must not be touched,
  /// not even to read: on a full file system a read of a hole through the mapping raises SIGBUS
  /// too.
  Cell<std::uint64_t> fd_chunks[kFdChunks / 64];

  OwnFailure own_failures[kOwnFailures];
};

/// Header::end_census. kNone: it ended by a signal, by a system call of its own, or without being
/// asked for: what it had open at its end is what the ledger says.
enum class EndCensus : std::uint32_t { kNone = 0, kDone = 1 };

struct alignas(16) LoopEntry {
  Cell<std::uint64_t> block_offset;  // 0: not yet; published with release
  Cell<std::uint64_t> generation;    // raised when an ended loop's block is given to a new loop
};

/// How the ledger came to know a descriptor.
enum class FdOrigin : std::uint8_t {
  kUnknown = 0,
  kOpened = 1,     // its opening was seen
  kInherited = 2,  // open when the recording began
  kMet = 3,        // born out of sight (inside libc, by io_uring), met when it was used
};

/// Bits of FdSlot::facts: kind in the low byte, FdOrigin in the next, flags above.
inline constexpr std::uint32_t kFdKindMask = 0xFF;
inline constexpr unsigned kFdOriginShift = 8;
inline constexpr std::uint32_t kFdCloseOnExec = 1u << 16;
inline constexpr std::uint32_t kFdNonBlocking = 1u << 17;
inline constexpr std::uint32_t kFdListening = 1u << 18;
inline constexpr std::uint32_t kFdAccepted = 1u << 19;
inline constexpr std::uint32_t kFdReadEnd = 1u << 20;      // of a pipe
inline constexpr std::uint32_t kFdWriteEnd = 1u << 21;     // of a pipe
inline constexpr std::uint32_t kFdLibraryLoop = 1u << 22;  // an epoll set the library records
/// By the census at the process' end: the thread that opened it was gone.
inline constexpr std::uint32_t kFdThreadEnded = 1u << 23;
// 24 to 27: the clock of a timerfd.
inline constexpr std::uint32_t kFdAppend = 1u << 28;  // opened with O_APPEND
inline constexpr std::uint32_t kFdLocked = 1u << 29;  // holds a lock, by fcntl, flock or lockf

/// One descriptor number. The library notes where it is registered, the probe everything.
///
/// `generation` is raised when the number is opened (then it is odd) and when it is closed (even);
/// 0: the ledger never saw it. Written by whichever thread uses the descriptor; that a birth comes
/// after the death before it is the kernel's doing. Birth: release fence; detail and slot;
/// generation with release. Reader: generation; acquire fence; slot; acquire fence; detail; acquire
/// fence; generation again. Odd and unchanged, it is one descriptor's values, as with a sequence
/// (counters in it may be some calls apart); a writer killed in between leaves the number closed. A
/// number that is closed and being opened while it is copied may come with parts of both. Checked
/// by tests/model.
struct alignas(64) FdSlot {
  Cell<std::uint32_t> generation;
  Cell<std::int32_t> registered_epoll_fd;  // epoll fd + 1; 0: in no epoll set
  Cell<std::uint32_t> registered_events;
  Cell<std::uint32_t> facts;
  Cell<std::uint64_t> registered_data;  // epoll_event.data, as a number
  Cell<std::uint64_t> events;           // times a wait returned it, since it was opened
  Cell<std::uint64_t> activity_ns;      // last event or I/O call; as exact as the turn it fell in
  Cell<std::uint64_t> busy_ns;          // time of turns attributed to it
  Cell<std::uint32_t> io_calls;         // reads, writes, accepts ... on it
  Cell<std::uint32_t> site;             // index of the site that opened it, plus 1; 0: unknown
  Cell<std::uint32_t> turn;             // low half of the turn that returned it last
  Cell<std::int32_t> turn_thread;       // thread of that turn
};

inline constexpr std::size_t kTargetBytes = 152;

/// What is rarely written and rarely read of a descriptor. Belongs to the generation it carries.
struct alignas(64) FdDetail {
  Cell<std::uint32_t> generation;
  Cell<std::int32_t> thread_id;  // that opened it
  Cell<std::uint64_t> opened_ns;
  Cell<std::int32_t> pair_fd;  // the other end of a pipe or socket pair, plus 1
  // Of the close that ended it; only where closes are asked for (the probe's option `closes`).
  Cell<std::uint32_t> close_site;  // index plus 1; 0: unknown
  Cell<std::uint64_t> closed_ns;
  Cell<std::int32_t> close_thread_id;
  /// By the census at the process' end: a TCP socket whose peer had closed (CLOSE_WAIT), and for
  /// how long, ms, plus 1; 0: not so, or not asked.
  Cell<std::uint32_t> peer_closed_ms;
  Text<kTargetBytes> target;  // path as given, or the name of a memfd; a path too long: its end
  Text<32> local;             // struct sockaddr_in or sockaddr_in6, as the kernel gave it
  Text<32> peer;              // likewise
};

/// kOpen: opens descriptors of one kind. kCall: closes or uses them.
enum class SiteRole : std::uint32_t { kOpen = 0, kCall = 1 };

/// One place in the program: a stack, as far as it is recorded.
struct alignas(64) Site {
  Cell<std::uint64_t> hash;
  Cell<std::uint32_t> kind;         // DescriptorKind
  Cell<std::uint32_t> frame_count;  // 0: opened without a stack
  Cell<std::uint64_t> opened;
  Cell<std::uint64_t> closed;
  Cell<std::uint64_t> first_ns;
  Cell<std::uint64_t> last_ns;
  Cell<std::uint64_t> peak;  // most that were open at once
  Cell<std::uint64_t> reserved;
  Cell<std::uint64_t> frames[kSiteFrames];   // return addresses, innermost first
  Cell<std::uint16_t> modules[kSiteFrames];  // index of the module each lies in, plus 1
  Cell<std::uint32_t> role;                  // SiteRole
  Cell<std::uint32_t> script_count;
  /// Of an interpreter: the lines of the script, innermost first; index plus 1.
  Cell<std::uint32_t> scripts[kSiteScriptFrames];
};

/// A line of a script that an interpreter was executing.
struct alignas(64) ScriptFrameEntry {
  Cell<std::uint64_t> hash;  // of what follows
  Cell<std::uint32_t> line;
  Cell<std::uint32_t> reserved;
  Text<80> function;
  Text<160> file;  // a path too long: its end
};

/// What went wrong with a descriptor number; never renumbered.
enum class IncidentKind : std::uint32_t {
  kDoubleClose = 1,       // close failed with EBADF: it was open once, and closed
  kCloseNeverOpened = 2,  // likewise, but this process never had it open
  kUseAfterClose = 3,     // another call failed with EBADF: it was open once, and closed
  kUseNeverOpened = 4,
  kEventAfterClose = 5,  // a wait returned an event for a number that had been closed: a duplicate
                         // keeps the registration alive
};

/// All incidents of one kind between the same places.
struct alignas(64) Incident {
  Cell<std::uint64_t> hash;  // of kind and sites; published with release
  Cell<std::uint32_t> kind;  // IncidentKind
  Cell<std::uint32_t> descriptor_kind;
  Cell<std::uint32_t> site;        // where it happened: index plus 1; 0: unknown
  Cell<std::uint32_t> close_site;  // where the number was closed before
  Cell<std::uint32_t> open_site;   // and where opened before that
  Cell<std::int32_t> thread_id;    // of the first
  Cell<std::uint64_t> count;
  Cell<std::uint64_t> first_ns;
  Cell<std::uint64_t> last_ns;
  Cell<std::uint64_t> opened_ns;  // of the first's descriptor; 0: unknown
  Cell<std::uint64_t> closed_ns;
  Cell<std::int32_t> close_thread_id;
  Cell<std::int32_t> fd;  // of the first
  Cell<std::int32_t> last_fd;
  /// How often the number was the neighbour of the one before: a loop over all numbers does that.
  Cell<std::uint32_t> consecutive;
  Text<24> call;  // "close", "recv"
};

inline constexpr std::uint32_t kModulePathTruncated = 1;
inline constexpr std::uint32_t kModuleExecutable = 2;  // the program's own file

/// A file that code was mapped from.
struct alignas(64) Module {
  Cell<std::uint64_t> begin;  // of its mapping
  Cell<std::uint64_t> end;
  Cell<std::uint64_t> bias;  // what is added to an address in the file's ELF headers
  Cell<std::uint32_t> build_id_bytes;
  Cell<std::uint32_t> flags;  // kModulePathTruncated, kModuleExecutable
  Text<32> build_id;          // bytes, at most 31
  Text<256> path;
};

struct HistogramTotals {
  Cell<std::uint64_t> sum;
  Cell<std::uint64_t> min;  // min and max are 2^64-1 while the histogram is empty
  Cell<std::uint64_t> max;
};

/// A duration in 32 bits: exact below 2^27 ns (134 ms), above it 27 significant bits (7 decimal
/// places) and a shift.
inline constexpr std::uint64_t kExactDuration = 1u << 27;  // shorter ones are kept to the ns
constexpr std::uint32_t pack_duration(std::uint64_t ns) noexcept {
  if (ns < kExactDuration) return static_cast<std::uint32_t>(ns);
  constexpr std::uint64_t kLongest = (1ull << 56) - 1;  // 2.2 years: shift 29
  const std::uint64_t bounded = ns < kLongest ? ns : kLongest;
  const auto shift = static_cast<unsigned>(std::bit_width(bounded)) - 27;
  return (shift << 27) | static_cast<std::uint32_t>((bounded >> shift) & ((1u << 27) - 1));
}
/// Two of them in one word, the first in the low half; as a rule both are short.
constexpr std::uint64_t pack_durations(std::uint64_t low_ns, std::uint64_t high_ns) noexcept {
  if ((low_ns | high_ns) < kExactDuration) [[likely]]
    return low_ns | high_ns << 32;
  return pack_duration(low_ns) | std::uint64_t{pack_duration(high_ns)} << 32;
}
constexpr std::uint64_t unpack_duration(std::uint32_t packed) noexcept {
  return static_cast<std::uint64_t>(packed & ((1u << 27) - 1)) << (packed >> 27);
}

/// A timeout likewise, but whole milliseconds, which is what epoll_wait and poll take, are exact
/// (up to 37 hours): shift 30 says that the other bits are milliseconds, shift 31 that there is no
/// time.
inline constexpr std::uint32_t kPackedMilliseconds = 30u << 27;
inline constexpr std::uint32_t kPackedInfinite = 31u << 27;
inline constexpr std::uint32_t kPackedUnknown = kPackedInfinite + 1;
constexpr std::uint32_t pack_timeout(std::int64_t ns) noexcept {
  if (ns < 0) return ns == kTimeoutInfinite ? kPackedInfinite : kPackedUnknown;
  const auto time = static_cast<std::uint64_t>(ns);
  if (time >= (1u << 27) && time % 1'000'000 == 0 && time / 1'000'000 < (1u << 27)) {
    return kPackedMilliseconds | static_cast<std::uint32_t>(time / 1'000'000);
  }
  return pack_duration(time);
}
constexpr std::int64_t unpack_timeout(std::uint32_t packed) noexcept {
  if (packed == kPackedInfinite) return kTimeoutInfinite;
  if (packed >= kPackedInfinite) return kTimeoutUnknown;
  if (packed >= kPackedMilliseconds) return std::int64_t{packed - kPackedMilliseconds} * 1'000'000;
  return static_cast<std::int64_t>(unpack_duration(packed));
}

/// One finished turn: the wait that began it, then its busy part. Turn n lies at place (n - 1) mod
/// ring_turns.
struct alignas(32) TurnRecord {
  Cell<std::uint64_t> at_ns;                // CLOCK_MONOTONIC at the wait's return
  Cell<std::uint64_t> poll_and_busy;        // durations, poll in the low half
  Cell<std::uint64_t> timeout_and_watcher;  // timeout in the low half; the longest named callback
  Cell<std::uint64_t> facts;                // see pack_facts
};

/// bits 0…15 low half of the turn's number, 16…25 longest callback's watcher (index + 1, 0: none),
/// 26…41 how many served records it has (65535: so many or more), 42…43 WaitResult, 44…63 ready
/// events (all ones: unknown; more than fit count as the most that do).
inline constexpr std::uint32_t kFactsReadyUnknown = (1u << 20) - 1;
inline constexpr std::uint32_t kFactsMostServed = 0xFFFF;
static_assert(kMaxWatchers < 1u << 10);
constexpr std::uint64_t pack_facts(std::int32_t ready, std::uint16_t result, std::uint32_t watcher,
                                   std::uint64_t served, std::uint64_t turn) noexcept {
  std::uint32_t bounded = kFactsReadyUnknown;
  if (ready >= 0) {
    bounded = static_cast<std::uint32_t>(ready);
    if (bounded >= kFactsReadyUnknown) bounded = kFactsReadyUnknown - 1;
  }
  return (turn & 0xFFFF) | (static_cast<std::uint64_t>(watcher) << 16) |
         ((served < kFactsMostServed ? served : kFactsMostServed) << 26) |
         (static_cast<std::uint64_t>(result & 3u) << 42) |
         (static_cast<std::uint64_t>(bounded) << 44);
}
constexpr std::uint32_t facts_watcher(std::uint64_t facts) noexcept { return facts >> 16 & 0x3FF; }
constexpr std::uint32_t facts_served(std::uint64_t facts) noexcept { return facts >> 26 & 0xFFFF; }
constexpr std::uint32_t facts_result(std::uint64_t facts) noexcept { return facts >> 42 & 3; }
constexpr std::uint32_t facts_ready(std::uint64_t facts) noexcept {
  return static_cast<std::uint32_t>(facts >> 44);
}

/// Who it is that ServedRecords of a loop name.
enum class ServedKind : std::uint32_t { kNone = 0, kWatchers = 1, kDescriptors = 2 };

/// A stretch of a turn's busy part in which one watcher's callback ran, or one descriptor was
/// served. Those of a turn follow each other, in time too, and do not overlap: one in which another
/// is nested has a record for each of its parts. Record n (1, 2, 3 …) lies at place (n - 1) mod
/// (chunks × kServedPerChunk).
struct alignas(16) ServedRecord {
  Cell<std::uint64_t> turn_and_who;        // low half of the turn's number; see pack_watcher
  Cell<std::uint64_t> start_and_duration;  // durations: since the wait's return in the low half
};

/// The high half of turn_and_who. Of a watcher: index + 1 (0: it has no name). Of a descriptor:
/// bits 0…19 its number, 20…24 its kind, 25…31 the low bits of its generation.
constexpr std::uint32_t pack_descriptor(std::uint32_t fd, DescriptorKind kind,
                                        std::uint32_t generation) noexcept {
  return (fd & 0xFFFFF) | (static_cast<std::uint32_t>(kind) & 0x1F) << 20 | generation << 25;
}
inline constexpr std::uint32_t kServedGenerationMask = 0x7F;
static_assert(kDescriptorKinds <= 32);

/// What changes with every turn, on as few cache lines as possible.
///
/// `sequence` is odd while the writer is inside. Writer: store odd (W1); release fence; the data;
/// store even with release (W2). Reader (copy_cut): load even (A); acquire fence; the data; acquire
/// fence; load again (B). An A that sees W2 brings the data before it; data of a later section
/// brings its W1, and B is not A. So a copy with A = B is one moment. Both fences of the reader are
/// needed: loads within one copy are in no order. A writer killed inside leaves it odd, and what it
/// had done: `turns` says of which turn (see current_turn), the histograms may have that turn
/// twice, how its wait ended may not be counted. A reader that keeps losing, or finds it odd for
/// ever, copies piece by piece (copy_pieces) and says by how many turns the pieces may differ.
/// tests/model runs writer and reader in every execution that C++ allows, and kills the writer
/// after each of its stores.
struct alignas(64) LoopHot {
  Cell<std::uint64_t> sequence;
  Cell<Phase> phase;
  Cell<std::uint32_t> running_watcher;  // index + 1 of the callback running now; 0: none
  Cell<std::uint64_t> phase_since_ns;
  Cell<std::uint64_t> watcher_since_ns;
  Cell<std::uint64_t> turns;  // finished ones: the ring's head
  // The turn in progress. Counted by a reader while current_turn is the low half of turns + 1: the
  // store that raises `turns` also ends it, so that a writer killed at any instruction leaves it
  // counted once.
  Cell<std::uint64_t> current_poll_ns;
  Cell<std::int64_t> current_timeout_ns;
  Cell<std::int32_t> current_ready;
  Cell<std::uint16_t> current_result;
  Cell<std::uint16_t> current_turn;

  // Finished turns only, like everything below. Returns with events = turns - timeouts -
  // interrupted - errors.
  /// Turns 1 … folded are counted in the histograms poll_wait, busy and ready; those after it,
  /// never more than kFoldTurns, only lie in the ring, where their durations are exact. A histogram
  /// costs a turn three cache lines, 32 turns at once hardly more.
  Cell<std::uint64_t> folded;
  Cell<std::uint64_t> nonblocking;
  Cell<std::uint64_t> timeouts;
  Cell<std::uint64_t> interrupted;
  Cell<std::uint64_t> errors;
  Cell<std::uint64_t> saturated;
  Cell<std::uint64_t> ready_unknown;  // turns whose number of ready events could not be seen
  Cell<std::uint64_t> stalls;
  Cell<std::uint64_t>
      spins;  // turns that polled with timeout 0, got nothing and ran no named callback
  Cell<std::uint64_t> backend_rebuilds;  // libev threw its epoll set away without a fork
  Cell<std::uint64_t> outside_ns;

  HistogramTotals poll_wait;
  HistogramTotals busy;
  HistogramTotals ready;
  HistogramTotals poll_delay;
  HistogramTotals timer_lag;

  /// ServedRecords ever written: the head of their ring. Not guarded by `sequence`.
  Cell<std::uint64_t> served;
};

/// The longest turn and the latest timer, for what has left the ring. Under LoopHot::sequence, as
/// what is counted is. `turn` and `lag_ns` are 0 while there is none yet and while the rest is
/// replaced: a writer killed there leaves none rather than a mixture of two.
struct alignas(64) LoopWorst {
  Cell<std::uint64_t> turn;
  Cell<std::uint64_t> at_ns;  // CLOCK_MONOTONIC at the wait's return
  Cell<std::uint64_t> busy_ns;
  Cell<std::int32_t> ready;
  Cell<std::uint32_t> watcher;  // the longest named callback, index + 1; 0: none
  Cell<std::uint64_t> watcher_ns;
  Cell<std::int32_t> served_fd;  // the descriptor that took most of it, plus 1; 0: unknown
  Cell<std::uint32_t> served_generation;
  Cell<std::uint64_t> served_ns;
  Cell<std::uint32_t> served_site;  // that opened it, plus 1
  Cell<std::uint32_t> lag_watcher;  // of the latest timer, index + 1; 0: unknown
  Cell<std::uint64_t> lag_ns;
  Cell<std::uint64_t> lag_at_ns;
};

struct alignas(64) LoopBlock {
  LoopHot hot;

  // Written when the loop is made or its nature changes, outside `sequence`; each field by itself.
  Text<kNameBytes> name;
  Text<16> backend;
  Cell<std::uint32_t> ended;
  Cell<std::int32_t> thread_id;
  Cell<std::int32_t> epoll_fd;          // -1: none or not known yet
  Cell<std::uint32_t> used_after_fork;  // run in a forked child without ev_loop_fork
  Cell<std::uint64_t> stall_threshold_ns;
  Cell<std::uint64_t> started_monotonic_ns;
  Cell<std::uint32_t> ring_turns;  // a power of two
  Cell<std::uint32_t> watcher_count;
  Cell<std::uint64_t> ring_offset;  // TurnRecord[ring_turns]
  Cell<std::uint64_t> watcher_offsets[kMaxWatchers];

  Cell<std::uint64_t> poll_wait_buckets[kTimeBuckets];
  Cell<std::uint64_t> busy_buckets[kTimeBuckets];
  Cell<std::uint64_t> poll_delay_buckets[kTimeBuckets];
  Cell<std::uint64_t> timer_lag_buckets[kTimeBuckets];
  Cell<std::uint64_t> ready_buckets[kCountBuckets];

  LoopWorst worst;

  Cell<ServedKind> served_kind;
  /// In use. Grows only until the ring is filled for the first time.
  Cell<std::uint32_t> served_chunk_count;
  Cell<std::uint64_t> served_chunks[kServedChunks];  // offsets of ServedRecord[kServedPerChunk]
};

/// All watchers of one name and kind in a loop. `sequence` as in LoopHot.
struct alignas(64) WatcherBlock {
  Cell<std::uint64_t> sequence;
  HistogramTotals callback;
  HistogramTotals lag;
  Cell<std::int32_t> active;  // watchers of this name that are started
  Cell<std::int32_t> fd;      // of the one started last; -1: none

  Text<kNameBytes> name;
  Cell<WatcherKind> kind;
  Cell<std::uint32_t> has_lag;
  Cell<std::uint64_t> lag_offset;  // buckets of the lag histogram; 0 if !has_lag
  Cell<std::uint64_t> callback_buckets[kTimeBuckets];
};

inline constexpr std::size_t kServedChunkBytes = sizeof(ServedRecord) * kServedPerChunk;
inline constexpr std::size_t kLagBucketsBytes = sizeof(Cell<std::uint64_t>) * kTimeBuckets;

static_assert(sizeof(TurnRecord) == 32);
static_assert(sizeof(ServedRecord) == 16);
static_assert(sizeof(FdSlot) == 64);
static_assert(sizeof(LoopEntry) == 16);
static_assert(offsetof(LoopHot, folded) == 64);
static_assert(sizeof(Header) % 64 == 0 && offsetof(Header, fd_chunks) < 4096);
static_assert(sizeof(FdDetail) == 256);
static_assert(sizeof(Site) == 256);
static_assert(sizeof(Module) == 320);
static_assert(sizeof(ScriptFrameEntry) == 256);
static_assert(sizeof(Incident) == 128);
static_assert(sizeof(LoopWorst) == 128);
static_assert(std::is_trivially_copyable_v<Header> && std::is_trivially_copyable_v<LoopBlock> &&
              std::is_trivially_copyable_v<WatcherBlock>);

}  // namespace loopscope::recording
