// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/process/descriptors.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>

#include "instrumentation/process/resources.h"

namespace loopscope::process {
namespace {

using recording::Error;
using recording::Result;

constexpr const char* kKindNames[] = {"tcp",     "udp",       "unix",    "netlink",  "socket",
                                      "pipe",    "eventfd",   "timerfd", "signalfd", "epoll",
                                      "inotify", "fanotify",  "memfd",   "pidfd",    "io_uring",
                                      "file",    "directory", "device",  "tty",      "other"};
static_assert(std::size(kKindNames) == kDescriptorKinds);

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using Directory = std::unique_ptr<DIR, CloseDir>;

std::string fd_directory(std::int32_t pid) { return "/proc/" + std::to_string(pid) + "/fd"; }

Error process_error(std::int32_t pid, int error) {
  const bool gone = error == ENOENT || error == ESRCH;
  const bool denied = error == EACCES || error == EPERM;
  std::string message = "cannot count the descriptors of process " + std::to_string(pid) + ": " +
                        (gone ? "it has ended" : std::strerror(error));
  if (denied) message += "; try as its user or as root";
  return {gone     ? Error::Code::kNotFound
          : denied ? Error::Code::kPermission
                   : Error::Code::kSystem,
          std::move(message)};
}

/// The kernel's own count; 0 also means "before Linux 6.2".
Result<std::uint64_t> kernel_count(std::int32_t pid) {
  struct stat status {};
  if (::stat(fd_directory(pid).c_str(), &status) != 0) return process_error(pid, errno);
  return static_cast<std::uint64_t>(status.st_size);
}

/// A process without a single descriptor exists, but one that reports none has usually ended and
/// waits for its parent.
bool is_zombie(std::int32_t pid) {
  const auto resources = read_resources(pid);
  return !resources || resources->state == 'Z' || resources->state == 'X';
}

/// The numbers open in `pid`, rising, without the one this listing needs itself.
Result<std::vector<std::int32_t>> list_numbers(std::int32_t pid, Directory& directory) {
  directory.reset(::opendir(fd_directory(pid).c_str()));
  if (!directory) return process_error(pid, errno);
  const int own = pid == ::getpid() ? ::dirfd(directory.get()) : -1;
  std::vector<std::int32_t> numbers;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) {
      if (errno != 0) return process_error(pid, errno);
      break;
    }
    std::int32_t number = -1;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    const auto parsed = std::from_chars(entry->d_name, end, number);
    if (parsed.ec != std::errc{} || parsed.ptr != end || number == own) continue;
    numbers.push_back(number);
  }
  // procfs lists them in order already; a promise to our callers must not rest on that.
  if (!std::is_sorted(numbers.begin(), numbers.end())) std::sort(numbers.begin(), numbers.end());
  return numbers;
}

bool is_tty(unsigned major) {
  // Linux' admin-guide/devices.txt: virtual consoles and serial lines, /dev/tty and /dev/ptmx,
  // pseudo terminals, USB modems and USB serial lines.
  return major == 4 || major == 5 || (major >= 136 && major <= 143) || major == 166 || major == 188;
}

/// A path needs its inode's type. statx(2) with AT_STATX_DONT_SYNC answers from what the kernel
/// has: stat(2) would ask the server of a network file system and could hang with it.
DescriptorKind kind_of_inode(int directory, const char* name) {
  struct statx status {};
  if (::statx(directory, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &status) != 0) {
    return DescriptorKind::kOther;
  }
  switch (status.stx_mode & S_IFMT) {
    case S_IFREG:
      return DescriptorKind::kFile;
    case S_IFDIR:
      return DescriptorKind::kDirectory;
    case S_IFIFO:
      return DescriptorKind::kPipe;
    case S_IFCHR:
      return is_tty(status.stx_rdev_major) ? DescriptorKind::kTty : DescriptorKind::kDevice;
    case S_IFBLK:
      return DescriptorKind::kDevice;
    default:
      return DescriptorKind::kOther;
  }
}

/// The kind of descriptor `number`, whose link `name` in `directory` reads `target`. `prefix`: the
/// path of /proc/PID/fd, empty for our own process.
DescriptorKind kind_of_link(int directory, const std::string& prefix, std::int32_t number,
                            const char* name, std::string_view target) {
  const DescriptorKind kind = kind_of_target(target);
  if (kind == DescriptorKind::kSocket) {
    constexpr const char* kAttribute = "system.sockprotoname";
    char protocol[32];
    ssize_t size = 0;
    if (prefix.empty()) {  // our own: no path to walk
      size = ::fgetxattr(number, kAttribute, protocol, sizeof(protocol));
    } else {
      char path[64];
      std::snprintf(path, sizeof(path), "%s/%d", prefix.c_str(), number);
      size = ::getxattr(path, kAttribute, protocol, sizeof(protocol));
    }
    if (size <= 0) return DescriptorKind::kSocket;
    return kind_of_protocol({protocol, ::strnlen(protocol, static_cast<std::size_t>(size))});
  }
  if (!target.empty() && target.front() == '/' && kind != DescriptorKind::kMemfd) {
    return kind_of_inode(directory, name);
  }
  return kind;
}

DescriptorKind kind_of_descriptor(int directory, const std::string& prefix, std::int32_t number) {
  char name[16];
  *std::to_chars(name, name + sizeof(name) - 1, number).ptr = '\0';
  char target[64];  // enough to tell; a longer path is cut, which does not matter
  const ssize_t length = ::readlinkat(directory, name, target, sizeof(target));
  if (length < 0) return DescriptorKind::kOther;  // closed meanwhile
  return kind_of_link(directory, prefix, number, name, {target, static_cast<std::size_t>(length)});
}

}  // namespace

const char* descriptor_kind_name(DescriptorKind kind) noexcept {
  const auto index = static_cast<std::size_t>(kind);
  return index < kDescriptorKinds ? kKindNames[index] : "other";
}

DescriptorKind kind_of_target(std::string_view target) noexcept {
  if (target.starts_with("socket:[")) return DescriptorKind::kSocket;
  if (target.starts_with("pipe:[")) return DescriptorKind::kPipe;
  if (target.starts_with("pidfd:[")) return DescriptorKind::kPidfd;  // pidfs, Linux >= 6.9
  constexpr std::string_view kAnonymous = "anon_inode:";
  if (target.starts_with(kAnonymous)) {
    target.remove_prefix(kAnonymous.size());
    // Most are written in brackets, inotify is not.
    if (target.size() >= 2 && target.front() == '[' && target.back() == ']') {
      target = target.substr(1, target.size() - 2);
    }
    static constexpr std::pair<std::string_view, DescriptorKind> kNames[] = {
        {"eventpoll", DescriptorKind::kEpoll}, {"eventfd", DescriptorKind::kEventfd},
        {"timerfd", DescriptorKind::kTimerfd}, {"signalfd", DescriptorKind::kSignalfd},
        {"inotify", DescriptorKind::kInotify}, {"fanotify", DescriptorKind::kFanotify},
        {"pidfd", DescriptorKind::kPidfd},     {"io_uring", DescriptorKind::kIoUring},
    };
    for (const auto& [name, kind] : kNames) {
      if (target == name) return kind;
    }
    return DescriptorKind::kOther;
  }
  if (target.starts_with("/memfd:")) return DescriptorKind::kMemfd;
  if (target.starts_with("/dev/pts/") || target.starts_with("/dev/tty")) {
    return DescriptorKind::kTty;
  }
  if (target.starts_with("/dev/") && !target.starts_with("/dev/shm/")) {
    return DescriptorKind::kDevice;
  }
  if (target.starts_with('/')) return DescriptorKind::kFile;
  return DescriptorKind::kOther;
}

DescriptorKind kind_of_protocol(std::string_view protocol) noexcept {
  if (protocol == "TCP" || protocol == "TCPv6" || protocol == "MPTCP" || protocol == "MPTCPv6") {
    return DescriptorKind::kTcp;
  }
  if (protocol == "UDP" || protocol == "UDPv6" || protocol == "UDP-Lite" ||
      protocol == "UDPLITEv6") {
    return DescriptorKind::kUdp;
  }
  if (protocol.starts_with("UNIX")) return DescriptorKind::kUnix;  // UNIX-STREAM since Linux 5.14
  if (protocol == "NETLINK") return DescriptorKind::kNetlink;
  return DescriptorKind::kSocket;
}

bool DescriptorCensus::contains(std::int32_t number) const {
  return std::binary_search(numbers.begin(), numbers.end(), number);
}

static Result<OpenNumbers> list_open_in(std::int32_t pid, Directory& directory) {
  const auto counted = kernel_count(pid);
  if (!counted) return counted.error();
  OpenNumbers open;
  open.open = *counted;
  auto numbers = list_numbers(pid, directory);
  if (!numbers) {
    // The count is public, the list is not.
    if (numbers.error().code != Error::Code::kPermission || open.open == 0) {
      if (is_zombie(pid)) return process_error(pid, ESRCH);
      return numbers.error();
    }
    return open;
  }
  open.numbers = *std::move(numbers);
  if (open.open == 0) {
    if (open.numbers.empty() && is_zombie(pid)) return process_error(pid, ESRCH);
    open.open = open.numbers.size();
  }
  open.listed = true;
  return open;
}

Result<OpenNumbers> list_open(std::int32_t pid) {
  Directory directory;
  return list_open_in(pid, directory);
}

std::optional<DescriptorTarget> describe_descriptor(std::int32_t pid, std::int32_t number) {
  if (number < 0) return std::nullopt;
  const std::string prefix = fd_directory(pid);
  const std::string path = prefix + "/" + std::to_string(number);
  char target[PATH_MAX];
  const ssize_t length = ::readlink(path.c_str(), target, sizeof(target));
  if (length < 0) return std::nullopt;
  const std::string_view text(target, static_cast<std::size_t>(length));
  return DescriptorTarget{kind_of_link(AT_FDCWD, prefix, number, path.c_str(), text),
                          std::string(text)};
}

std::vector<DescribedDescriptor> describe_descriptors(
    std::int32_t pid, const std::vector<std::int32_t>& numbers,
    const std::vector<DescribedDescriptor>& before) {
  std::vector<DescribedDescriptor> described;
  const std::string path = fd_directory(pid);
  const Directory directory(::opendir(path.c_str()));
  if (!directory) return described;
  described.reserve(numbers.size());
  const int from = ::dirfd(directory.get());
  const std::string prefix = pid == ::getpid() ? std::string() : path;
  auto known = before.begin();
  char target[PATH_MAX];
  for (const std::int32_t number : numbers) {
    if (number < 0 || (prefix.empty() && number == from)) continue;
    char name[16];
    *std::to_chars(name, name + sizeof(name) - 1, number).ptr = '\0';
    const ssize_t length = ::readlinkat(from, name, target, sizeof(target));
    if (length < 0) continue;
    const std::string_view text(target, static_cast<std::size_t>(length));
    while (known != before.end() && known->number < number) ++known;
    const bool same_socket = known != before.end() && known->number == number &&
                             text.starts_with("socket:[") && known->what.target == text;
    const DescriptorKind kind =
        same_socket ? known->what.kind : kind_of_link(from, prefix, number, name, text);
    described.push_back({number, {kind, std::string(text)}});
  }
  return described;
}

Result<DescriptorCensus> take_census(std::int32_t pid, const CensusOptions& options) {
  Directory directory;
  auto listed = list_open_in(pid, directory);
  if (!listed) return listed.error();
  DescriptorCensus census;
  census.open = listed->open;
  census.listed = listed->listed;
  if (!census.listed) {
    census.limit = descriptor_limit(pid);
    return census;
  }
  census.numbers = std::move(listed->numbers);

  const std::string prefix = pid == ::getpid() ? std::string() : fd_directory(pid);
  const std::size_t examined = std::min(census.numbers.size(), options.examine);
  for (std::size_t i = 0; i < examined; ++i) {
    const DescriptorKind kind =
        kind_of_descriptor(::dirfd(directory.get()), prefix, census.numbers[i]);
    ++census.by_kind[static_cast<std::size_t>(kind)];
  }
  census.unexamined = census.numbers.size() - examined;
  census.by_kind[static_cast<std::size_t>(DescriptorKind::kOther)] += census.unexamined;
  census.limit = descriptor_limit(pid);
  return census;
}

Result<std::uint64_t> open_descriptors(std::int32_t pid) {
  auto counted = kernel_count(pid);
  if (!counted || *counted != 0) return counted;
  Directory directory;
  const auto numbers = list_numbers(pid, directory);
  if (numbers && !numbers->empty()) return std::uint64_t{numbers->size()};
  if (is_zombie(pid)) return process_error(pid, ESRCH);
  if (!numbers) return numbers.error();
  return std::uint64_t{0};
}

std::optional<std::uint64_t> descriptor_limit(std::int32_t pid) {
  rlimit limit{};
  if (::prlimit(pid, RLIMIT_NOFILE, nullptr, &limit) == 0) {
    if (limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
    return limit.rlim_cur;
  }
  // prlimit(2) wants the same user; this file does not.
  std::ifstream file("/proc/" + std::to_string(pid) + "/limits");
  std::string line;
  constexpr std::string_view kName = "Max open files";
  while (std::getline(file, line)) {
    if (!line.starts_with(kName)) continue;
    const std::size_t begin = line.find_first_not_of(' ', kName.size());
    std::uint64_t soft = 0;
    if (begin == std::string::npos) return std::nullopt;
    const auto parsed = std::from_chars(line.data() + begin, line.data() + line.size(), soft);
    if (parsed.ec != std::errc{}) return std::nullopt;  // "unlimited"
    return soft;
  }
  return std::nullopt;
}

bool descriptor_is_open(std::int32_t pid, std::int32_t number) noexcept {
  if (number < 0) return false;
  if (pid == ::getpid()) return ::fcntl(number, F_GETFD) != -1;
  char path[64];
  std::snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, number);
  struct stat status {};
  return ::lstat(path, &status) == 0;
}

}  // namespace loopscope::process
