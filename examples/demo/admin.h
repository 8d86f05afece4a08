// SPDX-License-Identifier: Apache-2.0
//
// The page with the buttons: a small HTTP/1.1 server on a loop and thread of its own, so that it
// answers while the server is stuck. Loopback only.
//
//     GET  /           the page
//     GET  /state      the counters as JSON
//     POST /do/NAME    commits a fault; see kFaults
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "acceptor.h"
#include "counters.h"
#include "line_connection.h"
#include "misbehaviour.h"
#include "socket.h"

namespace demo {

class Admin {
 public:
  using Commit = std::function<void(Fault)>;

  /// Throws std::system_error if it cannot listen.
  Admin(loopscope::Loop& loop, std::uint16_t port, const Counters& counters, Commit commit);
  ~Admin();

  std::uint16_t port() const { return acceptor_.port(); }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port()) + "/"; }
  /// Where loopscope shows this process; linked to unless empty.
  void set_page_url(std::string url) { page_url_ = std::move(url); }

 private:
  struct Session;

  void add_session(UniqueFd socket);
  void on_line(Session& session, std::string_view line);
  std::string respond(const Session& session);
  std::string page() const;
  std::string state() const;

  loopscope::Loop& loop_;
  const Counters& counters_;
  Commit commit_;
  std::string page_url_;
  std::uint64_t next_id_ = 0;
  std::unordered_map<std::uint64_t, std::unique_ptr<Session>> sessions_;
  Acceptor acceptor_;
};

}  // namespace demo
