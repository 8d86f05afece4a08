// SPDX-License-Identifier: Apache-2.0
#include "testing/own_descriptors.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "instrumentation/process/descriptors.h"
#include "instrumentation/recording/ledger_copy.h"

namespace loopscope::testing {
namespace {

bool look_without_lock(int fd, OwnDescriptor& descriptor) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return false;
  descriptor.fd = fd;
  descriptor.device = status.st_dev;
  descriptor.inode = status.st_ino;
  descriptor.type = status.st_mode & S_IFMT;
  return true;
}

/// All numbers up to the limit: what is left when /proc/self/fd cannot be opened, above all because
/// a test leaked until EMFILE.
std::vector<std::int32_t> try_all_numbers() {
  rlimit limit{};
  std::int32_t end = 1 << 20;
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    end = static_cast<std::int32_t>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
  }
  std::vector<std::int32_t> numbers;
  for (std::int32_t fd = 0; fd < end; ++fd) {
    if (::fcntl(fd, F_GETFD) != -1) numbers.push_back(fd);
  }
  return numbers;
}

/// One end of a socket; empty if it has no name.
std::string address(int fd, int (*name_of)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (name_of(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return "";
  size = std::min<socklen_t>(size, sizeof storage);
  if (storage.ss_family != AF_UNIX) return recording::address_text(&storage, size);
  if (size <= offsetof(sockaddr_un, sun_path)) return "";
  const auto* local = reinterpret_cast<const sockaddr_un*>(&storage);
  std::string path(local->sun_path, size - offsetof(sockaddr_un, sun_path));
  if (path.front() == '\0') {  // abstract: a name, not a path
    path.front() = '@';
    return path;
  }
  return path.c_str();  // without the terminating zero
}

std::string socket_text(int fd) {
  const std::string local = address(fd, ::getsockname);
  const std::string peer = address(fd, ::getpeername);
  if (!peer.empty()) return (local.empty() ? "unbound" : local) + " -> " + peer;
  int listens = 0;
  socklen_t size = sizeof listens;
  ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
  if (local.empty()) return "";
  return listens != 0 ? local + " (listening)" : local;
}

}  // namespace

bool same_file(const OwnDescriptor& a, const OwnDescriptor& b) {
  return a.device == b.device && a.inode == b.inode && a.type == b.type;
}

std::mutex& own_descriptors_mutex() {
  static auto* const mutex = new std::mutex;  // for ever: static destructors may hold scopes
  return *mutex;
}

std::vector<OwnDescriptor> list_own_descriptors() {
  const std::lock_guard lock(own_descriptors_mutex());
  const auto listed = process::list_open(::getpid());
  const std::vector<std::int32_t> numbers =
      listed && listed->listed ? listed->numbers : try_all_numbers();
  std::vector<OwnDescriptor> descriptors;
  descriptors.reserve(numbers.size());
  for (const std::int32_t number : numbers) {
    OwnDescriptor descriptor;
    if (look_without_lock(number, descriptor)) descriptors.push_back(descriptor);
  }
  return descriptors;
}

bool look_at(int fd, OwnDescriptor& descriptor) {
  const std::lock_guard lock(own_descriptors_mutex());
  return look_without_lock(fd, descriptor);
}

OwnTarget target_of(int fd) {
  const auto described = process::describe_descriptor(::getpid(), fd);
  if (!described) return {"other", ""};
  OwnTarget target{process::descriptor_kind_name(described->kind), described->target};
  if (described->target.starts_with("socket:[")) {
    if (std::string addresses = socket_text(fd); !addresses.empty()) {
      target.target = std::move(addresses);
    }
  }
  return target;
}

}  // namespace loopscope::testing
