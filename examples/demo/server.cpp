// SPDX-License-Identifier: Apache-2.0
#include "server.h"

#include <string>
#include <utility>

#include "protocol.h"

namespace demo {
namespace {

using namespace std::chrono_literals;

/// Clients send a heartbeat every second; one that misses several is gone, even if its end of the
/// connection never said so.
constexpr auto kIdleTimeout = 5s;
constexpr auto kStatsInterval = 1s;
constexpr auto kDrainDeadline = 300ms;

void compute_for(std::chrono::microseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

}  // namespace

Server::Server(const ServerOptions& options, Counters& counters)
    : counters_(counters),
      thread_({.name = "server", .stall_threshold = options.stall_threshold}),
      misbehaviour_(thread_.loop(), counters, [this] { drop_clients(); }),
      acceptor_(thread_.loop(), "accept", options.port,
                [this](UniqueFd socket) { add_session(std::move(socket)); }),
      stats_(thread_.loop(), "stats", kStatsInterval, kStatsInterval, [this] { on_stats(); }) {
  if (options.slow_callback_every.count() > 0) {
    misbehaviour_.commit_slow_callback_every(options.slow_callback_every);
  }
}

Server::~Server() { stop(); }

void Server::commit(Fault fault) {
  thread_.post([this, fault] { misbehaviour_.commit(fault); });
}

void Server::stop() {
  thread_.post([this] { shut_down(); });
  thread_.join();
}

void Server::add_session(UniqueFd socket) {
  const std::uint64_t id = next_id_++;
  sessions_[id].reset(new Session{
      LineConnection(
          thread_.loop(), "client", std::move(socket),
          [this, id](std::string_view line) { on_message(*sessions_.at(id), line); },
          [this, id] { remove_session(id); }),
      // Repeats, so that again() can start it over with every message; that costs no system call.
      loopscope::Timer(thread_.loop(), "idle-timeout", kIdleTimeout, kIdleTimeout, [this, id] {
        add(counters_.idle_timeouts);
        remove_session(id);
      })});
  add(counters_.accepted);
  counters_.connections = sessions_.size();
}

void Server::remove_session(std::uint64_t id) {
  sessions_.erase(id);
  counters_.connections = sessions_.size();
  if (stopping_ && sessions_.empty()) thread_.loop().stop();
}

/// Every message of every client comes through here: the place for limits, logs and counters.
void Server::on_message(Session& session, std::string_view line) {
  session.idle_timeout.again();
  add(counters_.messages);
  const Request request = parse_request(line);
  misbehaviour_.on_request(request);
  switch (request.kind) {
    case Request::Kind::kPing:
      session.connection.send("PONG\n");
      break;
    case Request::Kind::kEcho:
      session.connection.send(echo(request.text));
      break;
    case Request::Kind::kWork:
      compute_for(std::chrono::microseconds(request.microseconds));
      session.connection.send("DONE " + std::to_string(request.microseconds) + "\n");
      break;
    case Request::Kind::kUnknown:
      session.connection.send("ERROR PING, ECHO text or WORK microseconds\n");
      break;
  }
}

void Server::drop_clients() {
  sessions_.clear();
  counters_.connections = 0;
}

void Server::on_stats() {
  const std::uint64_t messages = counters_.messages;
  counters_.messages_per_second = messages - messages_at_last_stats_;
  messages_at_last_stats_ = messages;
}

void Server::shut_down() {
  stopping_ = true;
  misbehaviour_.stop();
  acceptor_.stop();
  for (auto& [id, session] : sessions_) session->connection.finish();
  drain_deadline_ = loopscope::Timer(thread_.loop(), "drain-deadline", kDrainDeadline, 0s,
                                     [this] { thread_.loop().stop(); });
  if (sessions_.empty()) thread_.loop().stop();
}

}  // namespace demo
