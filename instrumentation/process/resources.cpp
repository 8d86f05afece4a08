// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/process/resources.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <ctime>

namespace loopscope::process {
namespace {

std::uint64_t ticks_per_second() {
  static const auto ticks = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  return ticks;
}

std::uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(now.tv_nsec);
}

/// When the machine started. Taken once: computed anew each time, a process' start time would
/// jitter, and a metric that must stay constant would change with every scrape.
std::uint64_t boot_realtime_ns() {
  static const std::uint64_t boot = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME);
  return boot;
}

/// A small file of /proc at once: such a file is only consistent within one read(2).
std::optional<std::string_view> read_small(std::int32_t pid, const char* name, char* buffer,
                                           std::size_t size) {
  char path[48];
  std::snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  ssize_t got = 0;
  do {
    got = ::read(fd, buffer, size);
  } while (got < 0 && errno == EINTR);
  ::close(fd);
  if (got <= 0) return std::nullopt;  // ESRCH: it ended after we had opened the file
  return std::string_view(buffer, static_cast<std::size_t>(got));
}

/// Takes the next number off `text`, separated by spaces; false if there is none.
template <typename T>
bool take_number(std::string_view& text, T& value) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()));
  return true;
}

}  // namespace

std::optional<Resources> parse_stat(std::string_view line) {
  const std::size_t open = line.find('(');
  const std::size_t close = line.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
    return std::nullopt;
  }
  Resources resources;
  std::string_view head = line.substr(0, open);
  if (!take_number(head, resources.pid)) return std::nullopt;
  resources.comm = line.substr(open + 1, close - open - 1);

  std::string_view rest = line.substr(close + 1);
  if (rest.size() < 3 || rest[0] != ' ') return std::nullopt;
  resources.state = rest[1];
  rest.remove_prefix(2);
  // proc(5) numbers the fields from 1, the state is field 3. Some are negative (tpgid, nice).
  constexpr std::size_t kFirst = 4;
  constexpr std::size_t kParent = 4, kUser = 14, kSystem = 15, kThreads = 20, kStart = 22;
  std::array<std::int64_t, kStart - kFirst + 1> fields{};
  for (auto& field : fields) {
    if (!take_number(rest, field)) return std::nullopt;
  }
  const auto unsigned_field = [&](std::size_t number) {
    return static_cast<std::uint64_t>(fields[number - kFirst]);
  };
  resources.parent_pid = static_cast<std::int32_t>(fields[kParent - kFirst]);
  resources.cpu_seconds = static_cast<double>(unsigned_field(kUser) + unsigned_field(kSystem)) /
                          static_cast<double>(ticks_per_second());
  resources.threads = unsigned_field(kThreads);
  resources.start_ticks = unsigned_field(kStart);
  resources.started_ns =
      boot_realtime_ns() + resources.start_ticks * (1'000'000'000u / ticks_per_second());
  return resources;
}

std::optional<Resources> read_resources(std::int32_t pid) {
  char buffer[1024];
  const auto stat = read_small(pid, "stat", buffer, sizeof(buffer));
  if (!stat) return std::nullopt;
  auto resources = parse_stat(*stat);
  if (!resources) return std::nullopt;
  if (auto statm = read_small(pid, "statm", buffer, sizeof(buffer))) {
    std::uint64_t pages = 0;
    static const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    if (take_number(*statm, pages) && take_number(*statm, pages)) {  // total size, resident
      resources->resident_bytes = pages * page_bytes;
    }
  }
  return resources;
}

}  // namespace loopscope::process
