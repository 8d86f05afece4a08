// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/symbols/memory_left.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace loopscope::symbols {

std::uint64_t memory_left() noexcept {
  rlimit space{}, data{};
  const bool limited = getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY;
  const bool data_limited = getrlimit(RLIMIT_DATA, &data) == 0 && data.rlim_cur != RLIM_INFINITY;
  if (!limited && !data_limited) return UINT64_MAX;

  char text[128];
  const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t size = 0;
  do {
    size = read(fd, text, sizeof text - 1);
  } while (size < 0 && errno == EINTR);
  close(fd);
  if (size <= 0) return 0;
  text[size] = '\0';
  // In pages: size resident shared text lib data; the last with all stacks, which RLIMIT_DATA does
  // not count: rather too little.
  unsigned long long all = 0, private_data = 0;
  // NOLINTNEXTLINE(cert-err34-c)
  if (std::sscanf(text, "%llu %*u %*u %*u %*u %llu", &all, &private_data) != 2) return 0;
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const auto left = [page](rlim_t limit, std::uint64_t pages) {
    return limit > pages * page ? limit - pages * page : 0;
  };
  std::uint64_t least = UINT64_MAX;
  if (limited) least = std::min<std::uint64_t>(least, left(space.rlim_cur, all));
  if (data_limited) least = std::min<std::uint64_t>(least, left(data.rlim_cur, private_data));
  return least;
}

}  // namespace loopscope::symbols
