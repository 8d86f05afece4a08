// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/region.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <initializer_list>

#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/command_name.h"
#include "instrumentation/recording/own_calls.h"
#include "instrumentation/recording/paths.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace loopscope::recording {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kHeaderArea = 8192;
static_assert(sizeof(Header) <= kHeaderArea);
constexpr std::uint64_t kMaxFdSlots = 1u << 20;
// Address space, not memory: halved until the host's limits (RLIMIT_AS, RLIMIT_FSIZE) allow it.
constexpr std::uint64_t kLargestHeap = 128ull << 20;
constexpr std::uint64_t kSmallestHeap = 1ull << 20;

/// False if it cannot be told.
bool get_limit(decltype(RLIMIT_AS) resource, rlimit& limit) noexcept {
  return own_call(OwnCall::kGetrlimit, [&] { return getrlimit(resource, &limit); }) == 0;
}

/// What a recording may take of the host's limits of memory (ulimit -v, ulimit -d): most is the
/// program's, an eighth is ours.
std::uint64_t our_share() noexcept {
  std::uint64_t share = ~0ull;
  for (const auto resource : {RLIMIT_AS, RLIMIT_DATA}) {
    rlimit limit{};
    if (get_limit(resource, limit) && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur / 8 < share) {
      share = limit.rlim_cur / 8;
    }
  }
  return share;
}

std::uint64_t largest_heap(std::uint64_t fixed, std::uint64_t share) noexcept {
  std::uint64_t heap = kLargestHeap;
  while (heap > kSmallestHeap && fixed + heap > share) heap /= 2;
  return heap;
}

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t to) {
  return (value + to - 1) / to * to;
}
/// Header and the front of the directory of loops: reserved at creation.
constexpr std::uint64_t kFirstPart = kHeaderArea + kLoopsAtStart * sizeof(LoopEntry);
static_assert(kFirstPart % kPage == 0);

/// Where the parts lie. Those of which every process uses the front come first: the page tables of
/// that are two pages then.
struct Parts {
  std::uint64_t loops = kHeaderArea;
  std::uint64_t modules = loops + round_up(kMaxLoops * sizeof(LoopEntry), kPage);
  std::uint64_t incidents = modules + round_up(kMaxModules * sizeof(Module), kPage);
  std::uint64_t sites = incidents + round_up(kMaxIncidents * sizeof(Incident), kPage);
  std::uint64_t script_frames = sites + round_up(kMaxSites * sizeof(Site), kPage);
  std::uint64_t fds = script_frames + round_up(kMaxScriptFrames * sizeof(ScriptFrameEntry), kPage);
  std::uint64_t details;
  std::uint64_t heap;

  explicit Parts(std::uint64_t fd_slots)
      : details(fds + round_up(fd_slots * sizeof(FdSlot), kPage)),
        heap(details + round_up(fd_slots * sizeof(FdDetail), kPage)) {}
};

[[gnu::format(printf, 2, 3)]] void explain(Region& region, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(region.error, sizeof region.error, format, arguments);
  va_end(arguments);
}

/// Reads a small file; returns the number of bytes, 0 on error.
std::size_t read_file(const char* path, char* to, std::size_t size) {
  const int fd = open_to_ask(path);
  if (fd < 0) return 0;
  std::size_t used = 0;
  while (used < size) {
    const ssize_t got = own_call(OwnCall::kRead, [&] { return read(fd, to + used, size - used); });
    if (got <= 0) break;
    used += static_cast<std::size_t>(got);
  }
  close_own(fd);
  return used;
}

/// As /proc/PID/cmdline has it: the arguments, each with its end.
void store_arguments(Header& header, const char* const* arguments, bool name_only) {
  std::size_t used = 0;
  for (; *arguments != nullptr; ++arguments) {
    if (name_only && used != 0) {
      header.argv_truncated = 1;
      break;
    }
    const std::size_t size = strlen(*arguments) + 1;
    const std::size_t room = kArgvBytes - used;
    memcpy(header.argv + used, *arguments, size < room ? size : room);
    used += size < room ? size : room;
    if (size > room) header.argv_truncated = 1;
  }
  header.argv_bytes = static_cast<std::uint32_t>(used);
}

void read_arguments(Header& header, bool name_only) {
  char arguments[kArgvBytes + 1];
  const std::size_t all = read_file("/proc/self/cmdline", arguments, sizeof arguments);
  const std::size_t first = strnlen(arguments, all) + 1;
  const std::size_t size = name_only && first < all ? first : all;
  header.argv_truncated = size > kArgvBytes || size < all ? 1 : 0;
  header.argv_bytes = static_cast<std::uint32_t>(size > kArgvBytes ? kArgvBytes : size);
  memcpy(header.argv, arguments, header.argv_bytes);
}

void describe_process(Header& header, const RegionSettings& settings) {
  if (settings.arguments != nullptr) {
    store_arguments(header, settings.arguments, settings.name_only);
  } else {
    read_arguments(header, settings.name_only);
  }
  header.argv[kArgvBytes - 1] = '\0';

  // argv[0], not /proc/self/exe (redis-server's names redis-check-rdb) and not comm (a thread may
  // have renamed itself).
  const TextPiece name = command_name(header.argv, names_this_program);
  constexpr std::size_t kLongest = sizeof header.command - 1;
  memcpy(header.command, name.text, name.size < kLongest ? name.size : kLongest);

  struct stat exe {};
  if (uninterrupted(OwnCall::kStat, [&] { return stat("/proc/self/exe", &exe); }) != 0) {
    if (errno != ENOENT && errno != EACCES) own_call_failed(OwnCall::kStat, errno);
  } else {
    header.exe_device = exe.st_dev;
    header.exe_inode = exe.st_ino;
  }
  char boot_id[kBootIdBytes] = "";
  if (settings.boot_id != nullptr) {
    memcpy(header.boot_id, settings.boot_id, strnlen(settings.boot_id, kBootIdBytes - 1));
  } else if (read_boot_id(boot_id)) {
    memcpy(header.boot_id, boot_id, sizeof boot_id);
  }
}

/// The directory, made if need be, and opened: what is looked at here is what is used, whatever the
/// path leads to by then. -1 for one that others could write to, for a link, and for what is no
/// directory at all.
int open_directory(Region& region, const char* path) {
  const auto try_open = [&] { return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); };
  int fd = uninterrupted(OwnCall::kOpen, try_open);
  if (fd < 0 && errno == ENOENT) {
    if (uninterrupted(OwnCall::kMkdir, [&] { return mkdir(path, 0700); }) != 0 && errno != EEXIST) {
      own_call_failed(OwnCall::kMkdir, errno);
      explain(region,
              "cannot make the directory %s: %s; set LOOPSCOPE_DIR to a directory you can write to",
              path, strerrordesc_np(errno));
      return -1;
    }
    fd = uninterrupted(OwnCall::kOpen, try_open);
  }
  if (fd < 0) {
    const int why = errno;
    own_call_failed(OwnCall::kOpen, why);
    if (why == ENOTDIR || why == ELOOP) {
      explain(region, "%s is not a directory; remove it or set LOOPSCOPE_DIR", path);
    } else {
      explain(region, "cannot open the directory %s: %s; set LOOPSCOPE_DIR to one you can write to",
              path, strerrordesc_np(why));
    }
    return -1;
  }
  struct stat status {};
  if (own_call(OwnCall::kStat, [&] { return fstat(fd, &status); }) != 0) {
    explain(region,
            "cannot look at the directory %s: %s; set LOOPSCOPE_DIR to one you can write to", path,
            strerrordesc_np(errno));
  } else if (status.st_uid != geteuid() || (status.st_mode & 0077) != 0) {
    explain(region,
            "%s must belong to you and be closed to others (chmod 700), or set LOOPSCOPE_DIR",
            path);
  } else {
    return fd;
  }
  close_own(fd);
  return -1;
}

void lay_out(Region& region, const Parts& parts, std::uint64_t fd_slots) {
  Header& header = *region.header();
  header.loops_offset = parts.loops;
  header.modules_offset = parts.modules;
  header.incidents_offset = parts.incidents;
  header.sites_offset = parts.sites;
  header.script_frames_offset = parts.script_frames;
  header.fds_offset = parts.fds;
  header.fd_slots = fd_slots;
  header.details_offset = parts.details;
  header.heap_offset = parts.heap;
  header.file_bytes = region.bytes;
}

/// posix_fallocate(3), which a signal may interrupt; 0 or an errno.
int allocate_part(int fd, std::uint64_t offset, std::uint64_t bytes) {
  int failure = 0;
  const int result = own_call(OwnCall::kFallocate, [&] {
    failure = posix_fallocate(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes));
    if (failure != 0) errno = failure;
    return failure != 0 ? -1 : 0;
  });
  return result != 0 ? failure : 0;
}

/// The name of a path whose directory is open.
const char* name_in(const char* path) { return strrchr(path, '/') + 1; }

/// A new file; -1 and the reason in `region` if it cannot be made.
int create_file(Region& region, int directory, const char* path) {
  // By its number: the function is one that the probe stands in front of.
  const auto fd = static_cast<int>(uninterrupted(OwnCall::kOpen, [&] {
    return syscall(SYS_openat, directory, name_in(path),
                   O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  }));
  if (fd < 0) {
    const int why = errno;
    if (why != EEXIST) own_call_failed(OwnCall::kOpen, why);
    explain(region, "cannot create %s: %s%s", path, strerrordesc_np(why),
            why == ENOSPC ? "; free some space there or set LOOPSCOPE_DIR"
                          : "; set LOOPSCOPE_DIR to a directory you can write to");
    errno = why;
  }
  return fd;
}

/// Maps the new file `fd` with its first part reserved.
unsigned char* map_file(Region& region, int fd, const char* path, std::uint64_t bytes) {
  unsigned char* base = nullptr;
  int why = 0;
  if (own_call(OwnCall::kFtruncate, [&] { return ftruncate(fd, static_cast<off_t>(bytes)); }) !=
      0) {
    why = errno;
    explain(region, "cannot size %s to %llu bytes: %s", path,
            static_cast<unsigned long long>(bytes), strerrordesc_np(why));
  } else if (why = allocate_part(fd, 0, kFirstPart); why != 0) {
    explain(region, "cannot reserve space for %s: %s; free some space there or set LOOPSCOPE_DIR",
            path, strerrordesc_np(why));
  } else {
    void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (mapped == MAP_FAILED) {
      why = errno;
      own_call_failed(OwnCall::kMmap, why);
      explain(region, "cannot map %s: %s", path, strerrordesc_np(why));
    } else {
      base = static_cast<unsigned char*>(mapped);
    }
  }
  errno = why;
  return base;
}

/// Growing a file beyond RLIMIT_FSIZE would send SIGXFSZ to the host.
std::uint64_t largest_file() {
  rlimit limit{};
  return get_limit(RLIMIT_FSIZE, limit) && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur : ~0ull;
}

struct FileWish {
  Parts parts;
  std::uint64_t share;    // of the memory that the host may map, bytes
  std::uint64_t largest;  // bytes
  std::uint64_t start_ticks;
  std::int32_t run_pid;
  /// Every process has descriptors: with the file at hand their first chunk is had for less than
  /// reserve() takes, and of the pages only those that are used are mapped.
  bool with_first_chunk;
};

/// A file in `directory`, mapped; null and the reason in `region` if it cannot be had.
unsigned char* make_file(Region& region, const char* directory, const FileWish& wish,
                         char (&path)[kPathBytes], std::uint64_t& bytes, bool& has_chunk) {
  // The path is told to readers, and the program may go elsewhere.
  char absolute[kPathBytes];
  if (directory[0] != '/') {
    const ssize_t size = read_own_link("/proc/self/cwd", absolute, sizeof absolute - 1);
    const std::size_t more = strlen(directory) + 2;
    if (size > 0 && absolute[0] == '/' && static_cast<std::size_t>(size) + more < sizeof absolute) {
      absolute[size] = '/';
      memcpy(absolute + size + 1, directory, more - 1);
      directory = absolute;
    }
  }
  const int handle = open_directory(region, directory);
  if (handle < 0) return nullptr;
  // Under `loopscope run`, that command does.
  // (Where no /proc tells who lives, nobody is taken for dead.)
  if (wish.run_pid == 0 && wish.start_ticks != 0) prune_directory(handle, kKeptRecordings);
  // The first number that is free: the files before it belong to what this process ran before an
  // exec.
  int fd = -1;
  for (unsigned image = 0; image < kMaxImages; ++image) {
    if (!recording_path(path, sizeof path, directory,
                        {getpid(), wish.start_ticks, image, wish.run_pid})) {
      explain(region,
              "the path of the recording directory is too long; set LOOPSCOPE_DIR to a "
              "shorter one");
      break;
    }
    fd = create_file(region, handle, path);
    if (fd >= 0 || errno != EEXIST) break;
  }
  if (fd < 0) {
    close_own(handle);
    return nullptr;
  }
  unsigned char* base = nullptr;
  for (std::uint64_t heap = largest_heap(wish.parts.heap, wish.share); heap >= kSmallestHeap;
       heap /= 2) {
    bytes = wish.parts.heap + heap;
    if (bytes > wish.largest) {
      explain(region, "the file size limit (ulimit -f) is too small for a recording");
      continue;
    }
    region.error[0] = '\0';
    base = map_file(region, fd, path, bytes);
    if (base != nullptr || (errno != ENOMEM && errno != EAGAIN && errno != EINTR)) break;
  }
  has_chunk = base != nullptr && wish.with_first_chunk &&
              allocate_part(fd, wish.parts.fds, kFdsPerChunk * sizeof(FdSlot)) == 0 &&
              allocate_part(fd, wish.parts.details, kFdsPerChunk * sizeof(FdDetail)) == 0;
  // The mapping keeps the file; the observed program sees no descriptor of ours.
  close_own(fd);
  if (base == nullptr) {
    own_call(OwnCall::kUnlink, [&] { return unlinkat(handle, name_in(path), 0); });
  }
  close_own(handle);
  return base;
}

}  // namespace

bool create_region(Region& region, const RegionSettings& settings) noexcept {
  region = Region{};

  rlimit limit{};
  std::uint64_t fd_slots = kMaxFdSlots;
  if (get_limit(RLIMIT_NOFILE, limit) && limit.rlim_max < kMaxFdSlots) fd_slots = limit.rlim_max;
  // Descriptors beyond these are dropped and counted.
  const std::uint64_t share = our_share();
  while (fd_slots > 1024 && Parts(fd_slots).heap + kSmallestHeap > share) fd_slots /= 2;
  if (fd_slots < 1024) fd_slots = 1024;  // descriptors above a lowered limit may still be open

  const Parts parts(fd_slots);
  // Twice our share at the most: in so little memory the program needs it for itself.
  if ((parts.heap + kSmallestHeap) / 2 > share) return false;
  char path[kPathBytes];
  std::uint64_t bytes = 0;
  const bool is_probe = settings.source == SourceKind::kProbe;
  const FileWish wish{parts,   share, largest_file(), read_start_ticks(getpid()), settings.run_pid,
                      is_probe};
  bool has_chunk = false;
  unsigned char* base = nullptr;
  char directory[kPathBytes / 2];
  if (settings.directory != nullptr) {
    base = make_file(region, settings.directory, wish, path, bytes, has_chunk);
  } else if (default_directory(directory, sizeof directory)) {
    base = make_file(region, directory, wish, path, bytes, has_chunk);
  } else {
    explain(region,
            "the path of the recording directory is too long; set LOOPSCOPE_DIR to a shorter one");
  }
  // A process that has become another user cannot write where its ancestor could.
  if (base == nullptr && settings.directory != nullptr && is_probe &&
      user_directory(directory, sizeof directory) && strcmp(directory, settings.directory) != 0) {
    base = make_file(region, directory, wish, path, bytes, has_chunk);
  }

  bool in_file = base != nullptr;
  if (!in_file) {
    for (std::uint64_t heap = largest_heap(parts.heap, share);
         base == nullptr && heap >= kSmallestHeap; heap /= 2) {
      bytes = parts.heap + heap;
      void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (mapped != MAP_FAILED) {
        base = static_cast<unsigned char*>(mapped);
      } else {
        own_call_failed(OwnCall::kMmap, errno);
      }
    }
    if (base == nullptr) return false;
  }

  region.base = base;
  region.bytes = bytes;
  lay_out(region, parts, fd_slots);
  if (in_file) {
    memcpy(region.path, path, strlen(path) + 1);
    region.reserves_lazily = true;
    if (has_chunk) region.header()->fd_chunks[0].store(1);
  }

  Header& header = *region.header();
  header.version = kVersion;
  header.header_bytes = sizeof(Header);
  header.source = settings.source;
  header.run_pid = settings.run_pid;
  header.pid = getpid();
  header.parent_pid = getppid();
  header.uid = geteuid();
  header.start_ticks = wish.start_ticks;
  header.started_monotonic_ns = monotonic_ns();
  header.started_realtime_ns = realtime_ns();
  header.clock = static_cast<std::uint32_t>(settings.clock);
  header.state.store(static_cast<std::uint32_t>(ProcessState::kRunning));
  describe_process(header, settings);
  __atomic_store_n(&header.magic, kMagic, __ATOMIC_RELEASE);
  return true;
}

bool reserve(const Region& region, std::uint64_t offset, std::uint64_t size) noexcept {
  if (!region.reserves_lazily) return true;
  if (region.sealed) {
    if (offset >= region.header()->heap_offset && offset + size <= region.prepared_end) return true;
    errno = EPERM;
    return false;
  }
  const std::uint64_t begin = offset / kPage * kPage;
  const std::uint64_t end = round_up(offset + size, kPage);
  // Fails with EFAULT where writing would raise SIGBUS (madvise(2), Linux 5.14).
  const auto populate = [&] {
    return madvise(region.base + begin, end - begin, MADV_POPULATE_WRITE);
  };
  if (uninterrupted(OwnCall::kMadvise, populate) == 0) return true;
  if (errno == EFAULT) errno = ENOSPC;  // what it means on a file system
  if (errno != EINVAL) {
    own_call_failed(OwnCall::kMadvise, errno);
    return false;
  }
  // Older kernel: reserve through the file, opened again (it may be gone after chroot or a change
  // of user).
  const int fd =
      own_call(OwnCall::kOpen, [&] { return open(region.path, O_RDWR | O_NOFOLLOW | O_CLOEXEC); });
  if (fd < 0) return false;
  const int failure = allocate_part(fd, begin, end - begin);
  close_own(fd);
  errno = failure;
  return failure == 0;
}

bool reserve_loop_entry(const Region& region, std::uint32_t index) noexcept {
  constexpr std::uint32_t kPerPage = kPage / sizeof(LoopEntry);
  if (index < kLoopsAtStart || index % kPerPage != 0) return true;
  return reserve(region, region.header()->loops_offset + index * sizeof(LoopEntry), kPage);
}

std::uint64_t allocate(const Region& region, std::uint64_t size) noexcept {
  Header& header = *region.header();
  const std::uint64_t wanted = round_up(size, 64);
  const std::uint64_t room = region.bytes - header.heap_offset;
  // Advanced first, so that no two threads get the same bytes.
  const std::uint64_t begin = __atomic_fetch_add(&header.heap_used.raw, wanted, __ATOMIC_RELAXED);
  if (begin > room || wanted > room - begin) {
    __atomic_fetch_sub(&header.heap_used.raw, wanted, __ATOMIC_RELAXED);
    errno = ENOMEM;
  } else if (reserve(region, header.heap_offset + begin, wanted)) {
    return header.heap_offset + begin;
  } else {
    // Given back unless another thread has taken what follows: a program that goes on making loops
    // on a full file system would use up the heap, and record none once there is space again.
    std::uint64_t end = begin + wanted;
    __atomic_compare_exchange_n(&header.heap_used.raw, &end, begin, false, __ATOMIC_RELAXED,
                                __ATOMIC_RELAXED);
  }
  if (header.recording_failed.load() == 0)
    header.recording_failed.store(static_cast<std::uint32_t>(errno));
  return 0;
}

bool ForkSentinel::arm() noexcept {
  // Without MADV_WIPEONFORK (before Linux 4.14) forks go unnoticed.
  static std::uint32_t never_forked = 1;
  word_ = &never_forked;
  // MAP_NORESERVE only keeps the kernel from joining it to a neighbour that it would be split from
  // again.
  void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  bool safe = page != MAP_FAILED;
  if (!safe) {
    own_call_failed(OwnCall::kMmap, errno);
  } else if (uninterrupted(OwnCall::kMadvise,
                           [&] { return madvise(page, kPage, MADV_WIPEONFORK); }) == 0) {
    word_ = static_cast<std::uint32_t*>(page);
  } else {
    safe = errno == EINVAL;
    if (!safe) own_call_failed(OwnCall::kMadvise, errno);
    own_call(OwnCall::kMunmap, [&] { return munmap(page, kPage); });
  }
  settle(1);
  return safe;
}

bool ForkSentinel::claim() noexcept {
  constexpr std::uint32_t kSettling = ~0u;
  std::uint32_t wiped = 0;
  if (__atomic_compare_exchange_n(word_, &wiped, kSettling, false, __ATOMIC_ACQ_REL,
                                  __ATOMIC_ACQUIRE))
    return true;
  while (__atomic_load_n(word_, __ATOMIC_ACQUIRE) == kSettling) sched_yield();
  return false;
}

}  // namespace loopscope::recording
