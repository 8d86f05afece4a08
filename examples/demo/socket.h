// SPDX-License-Identifier: Apache-2.0
//
// The few socket calls that the demo needs: non-blocking, close-on-exec, on loopback.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <utility>

namespace demo {

/// Owns a descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0) close(fd_);
  }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// Listens on 127.0.0.1; port 0: a free one. Throws std::system_error.
UniqueFd listen_on_loopback(std::uint16_t port);

/// The port a socket is bound to.
std::uint16_t local_port(const UniqueFd& socket);

/// The next connection; empty if there is none, with the reason in errno.
UniqueFd accept_from(const UniqueFd& listener);

/// Begins to connect to 127.0.0.1; the socket becomes writable when that has worked or failed.
/// Empty if it failed at once.
UniqueFd begin_connect(std::uint16_t port);

/// Whether a connection that was begun is there now.
bool is_connected(const UniqueFd& socket);

}  // namespace demo
