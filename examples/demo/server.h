// SPDX-License-Identifier: Apache-2.0
//
// The observed program: a TCP server on the loop "server", with an inactivity timeout for each
// connection and one place where every message is handled.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>

#include "acceptor.h"
#include "counters.h"
#include "line_connection.h"
#include "loop_thread.h"
#include "misbehaviour.h"
#include "socket.h"

namespace demo {

struct ServerOptions {
  std::uint16_t port = 0;  // 0: a free one
  std::chrono::nanoseconds stall_threshold = std::chrono::milliseconds(100);
  loopscope::Seconds slow_callback_every{0};  // 0: never
};

class Server {
 public:
  /// Throws std::system_error if it cannot listen.
  Server(const ServerOptions& options, Counters& counters);
  ~Server();

  std::uint16_t port() const { return acceptor_.port(); }

  void start() { thread_.start(); }
  /// Any thread.
  void commit(Fault fault);
  /// Takes no more connections, lets the clients have their answers, but not for ever, and ends.
  void stop();

 private:
  struct Session {
    LineConnection connection;
    loopscope::Timer idle_timeout;
  };
  using Sessions = std::unordered_map<std::uint64_t, std::unique_ptr<Session>>;

  void add_session(UniqueFd socket);
  void remove_session(std::uint64_t id);
  void on_message(Session& session, std::string_view line);
  void drop_clients();
  void on_stats();
  void shut_down();

  Counters& counters_;
  LoopThread thread_;
  std::uint64_t next_id_ = 0;
  std::uint64_t messages_at_last_stats_ = 0;
  bool stopping_ = false;
  Sessions sessions_;
  Misbehaviour misbehaviour_;
  Acceptor acceptor_;
  loopscope::Timer stats_;
  loopscope::Timer drain_deadline_;
};

}  // namespace demo
