// SPDX-License-Identifier: Apache-2.0
//
// The demo's own load: clients of the server on a second thread, on the loop "load".
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string_view>
#include <vector>

#include "counters.h"
#include "line_connection.h"
#include "loop_thread.h"
#include "socket.h"

namespace demo {

/// How often a client sends: `burst` requests every `interval`.
struct Pace {
  loopscope::Seconds interval;
  unsigned burst;
};

/// One client. It stays connected: after a failure it tries again, later each time, and never in
/// step with the others.
class Client {
 public:
  Client(loopscope::Loop& loop, std::uint16_t port, Pace pace, unsigned seed, Counters& counters);

 private:
  /// What lives as long as a connection.
  struct Session {
    LineConnection connection;
    loopscope::Timer send;
    loopscope::Timer heartbeat;
    loopscope::Timer answer_timeout;
    unsigned unanswered = 0;
  };

  void connect();
  void on_connect_result();
  void start_session(UniqueFd socket);
  void on_send();
  void send_request(std::string_view line);
  void on_line(std::string_view line);
  void on_disconnected();
  void reconnect_later();
  double random(double least, double most);

  loopscope::Loop& loop_;
  std::uint16_t port_;
  Pace pace_;
  std::minstd_rand generator_;
  Counters& counters_;
  unsigned sent_ = 0;
  int failures_ = 0;  // since the server last answered
  UniqueFd connecting_socket_;
  loopscope::Io connecting_;
  loopscope::Timer reconnect_;
  std::unique_ptr<Session> session_;
};

struct LoadOptions {
  unsigned connections = 50;
  double rate = 2000;  // messages a second, of all together
};

class Load {
 public:
  Load(const LoadOptions& options, std::uint16_t port, Counters& counters);
  ~Load();

  void start() { thread_.start(); }
  /// The clients hang up.
  void stop();

 private:
  LoopThread thread_;
  std::vector<std::unique_ptr<Client>> clients_;
};

}  // namespace demo
