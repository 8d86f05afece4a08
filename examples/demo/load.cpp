// SPDX-License-Identifier: Apache-2.0
#include "load.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "protocol.h"

namespace demo {
namespace {

using namespace std::chrono_literals;
using loopscope::Seconds;

constexpr Seconds kHeartbeat = 1s;
/// No answer for so long, to requests or heartbeats: the server is gone.
constexpr Seconds kAnswerTimeout = 5s;
/// Waits before new attempts: 50 ms, 100 ms, … up to this.
constexpr Seconds kFirstBackoff = 50ms;
constexpr Seconds kLongestBackoff = 5s;
/// When the server lags behind, waiting requests must not pile up without limit.
constexpr unsigned kMostUnanswered = 64;
/// More timers a second would load the clients more than the server.
constexpr Seconds kShortestInterval = 10ms;
/// One request in ten asks for some work.
constexpr unsigned kWorkEvery = 10;
constexpr unsigned kWorkMicroseconds = 50;

Pace pace_of(const LoadOptions& options) {
  const double rate = options.rate / std::max(options.connections, 1U);  // of one client
  const Seconds interval = std::max(Seconds(1 / rate), kShortestInterval);
  return {interval, static_cast<unsigned>(std::max(1L, std::lround(rate * interval.count())))};
}

}  // namespace

Client::Client(loopscope::Loop& loop, std::uint16_t port, Pace pace, unsigned seed,
               Counters& counters)
    : loop_(loop), port_(port), pace_(pace), generator_(seed), counters_(counters) {
  // Not all at the same moment.
  reconnect_ =
      loopscope::Timer(loop_, "reconnect", Seconds(random(0, 0.5)), 0s, [this] { connect(); });
}

void Client::connect() {
  connecting_socket_ = begin_connect(port_);
  if (!connecting_socket_) {
    reconnect_later();
    return;
  }
  connecting_ = loopscope::Io(loop_, "connect", connecting_socket_.get(), loopscope::kWrite,
                              [this](int) { on_connect_result(); });
}

void Client::on_connect_result() {
  connecting_ = {};
  UniqueFd socket = std::move(connecting_socket_);
  if (is_connected(socket)) {
    start_session(std::move(socket));
  } else {
    reconnect_later();
  }
}

void Client::start_session(UniqueFd socket) {
  session_.reset(new Session{
      LineConnection(
          loop_, "server", std::move(socket), [this](std::string_view line) { on_line(line); },
          [this] { on_disconnected(); }),
      loopscope::Timer(loop_, "send", pace_.interval * random(0, 1), pace_.interval,
                       [this] { on_send(); }),
      loopscope::Timer(loop_, "heartbeat", kHeartbeat * random(0, 1), kHeartbeat,
                       [this] { send_request(ping()); }),
      loopscope::Timer(loop_, "answer-timeout", kAnswerTimeout, kAnswerTimeout,
                       [this] { on_disconnected(); })});
}

void Client::on_send() {
  for (unsigned i = 0; i < pace_.burst; ++i) {
    if (++sent_ % kWorkEvery == 0) {
      send_request(work(kWorkMicroseconds));
    } else {
      send_request(echo(std::string(static_cast<std::size_t>(random(16, 256)), 'x')));
    }
  }
}

void Client::send_request(std::string_view line) {
  if (session_->unanswered >= kMostUnanswered) {
    add(counters_.not_sent);
    return;
  }
  ++session_->unanswered;
  session_->connection.send(line);
}

void Client::on_line(std::string_view /*line*/) {
  // Only an answer proves that the server is well. If being connected did, a server that accepts
  // and hangs up at once would have all its clients back at once, again and again.
  failures_ = 0;
  --session_->unanswered;
  session_->answer_timeout.again();
  add(counters_.answers);
}

void Client::on_disconnected() {
  session_.reset();
  reconnect_later();
}

/// Exponential back-off gives a server in trouble room to recover; jitter keeps clients that lost
/// it at the same moment from coming back at the same moment.
void Client::reconnect_later() {
  const Seconds longest =
      std::min(kFirstBackoff * std::exp2(std::min(failures_, 16)), kLongestBackoff);
  ++failures_;
  add(counters_.reconnects);
  reconnect_.restart(longest * random(0.5, 1));
}

double Client::random(double least, double most) {
  return std::uniform_real_distribution<double>(least, most)(generator_);
}

Load::Load(const LoadOptions& options, std::uint16_t port, Counters& counters)
    : thread_({.name = "load"}) {
  const Pace pace = pace_of(options);
  for (unsigned i = 0; i < options.connections; ++i) {
    clients_.push_back(std::make_unique<Client>(thread_.loop(), port, pace, i + 1, counters));
  }
}

Load::~Load() { stop(); }

void Load::stop() {
  thread_.stop();
  clients_.clear();
}

}  // namespace demo
