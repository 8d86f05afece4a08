// SPDX-License-Identifier: Apache-2.0
#include "webui/server/connections.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace loopscope::webui {
namespace {

/// Whether `fd` is a TCP socket whose local address is `endpoint`. An outgoing connection cannot
/// be: its local port would be one that somebody listens on.
bool belongs_to(int fd, const Endpoint& endpoint) {
  sockaddr_storage local{};
  socklen_t size = sizeof local;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size) != 0) return false;
  if (local.ss_family != endpoint.address.ss_family) return false;
  int type = 0;
  size = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) return false;
  if (local.ss_family == AF_INET) {
    const auto& have = reinterpret_cast<const sockaddr_in&>(local);
    const auto& want = reinterpret_cast<const sockaddr_in&>(endpoint.address);
    return have.sin_port == want.sin_port &&
           (endpoint.wildcard || have.sin_addr.s_addr == want.sin_addr.s_addr);
  }
  if (local.ss_family == AF_INET6) {
    const auto& have = reinterpret_cast<const sockaddr_in6&>(local);
    const auto& want = reinterpret_cast<const sockaddr_in6&>(endpoint.address);
    return have.sin6_port == want.sin6_port &&
           (endpoint.wildcard ||
            std::memcmp(&have.sin6_addr, &want.sin6_addr, sizeof have.sin6_addr) == 0);
  }
  return false;
}

}  // namespace

void shut_down_connections(const Endpoint& endpoint) {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return;
  while (const dirent* entry = readdir(directory)) {  // NOLINT(concurrency-mt-unsafe): our own DIR
    char* end = nullptr;
    const long number = std::strtol(entry->d_name, &end, 10);
    if (end == entry->d_name || *end != '\0') continue;
    const int fd = static_cast<int>(number);
    if (!belongs_to(fd, endpoint)) continue;
    // The owner may close it and the host reuse its number at any moment: look again at a
    // duplicate, which stays what it is.
    const int mine = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (mine < 0) continue;
    if (belongs_to(mine, endpoint)) shutdown(mine, SHUT_RDWR);
    close(mine);
  }
  closedir(directory);
}

}  // namespace loopscope::webui
