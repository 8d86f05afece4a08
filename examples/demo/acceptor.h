// SPDX-License-Identifier: Apache-2.0
//
// A listening socket on a loop: hands out connections, some at a time, and rests when the process
// has no descriptor left for them.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "loopscope/loop.h"
#include "socket.h"

namespace demo {

class Acceptor {
 public:
  using OnSocket = std::function<void(UniqueFd)>;

  /// Listens on 127.0.0.1; port 0: a free one. Throws std::system_error if it cannot.
  Acceptor(loopscope::Loop& loop, std::string_view watcher, std::uint16_t port, OnSocket on_socket);
  Acceptor(const Acceptor&) = delete;  // the callbacks refer to it
  Acceptor& operator=(const Acceptor&) = delete;

  std::uint16_t port() const { return port_; }

  /// No more connections: new ones are refused.
  void stop();

 private:
  void on_ready();
  void rest();

  loopscope::Loop& loop_;
  OnSocket on_socket_;
  UniqueFd listener_;
  std::uint16_t port_;
  loopscope::Io io_;  // after listener_, so that it stops before the socket is closed
  loopscope::Timer rest_;
};

}  // namespace demo
