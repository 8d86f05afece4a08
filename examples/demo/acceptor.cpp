// SPDX-License-Identifier: Apache-2.0
#include "acceptor.h"

#include <cerrno>
#include <utility>

namespace demo {
namespace {

using namespace std::chrono_literals;

/// A flood of new connections must not keep the old ones waiting.
constexpr int kMostPerTurn = 32;
constexpr auto kRest = 100ms;

}  // namespace

Acceptor::Acceptor(loopscope::Loop& loop, std::string_view watcher, std::uint16_t port,
                   OnSocket on_socket)
    : loop_(loop),
      on_socket_(std::move(on_socket)),
      listener_(listen_on_loopback(port)),
      port_(local_port(listener_)),
      io_(loop, watcher, listener_.get(), loopscope::kRead, [this](int) { on_ready(); }) {}

void Acceptor::stop() {
  rest_ = {};
  io_.stop();  // first, then close what it watched
  listener_ = {};
}

void Acceptor::on_ready() {
  for (int i = 0; i < kMostPerTurn; ++i) {
    UniqueFd socket = accept_from(listener_);
    if (!socket) {
      if (errno == EMFILE || errno == ENFILE) rest();
      return;
    }
    on_socket_(std::move(socket));
  }
}

/// Without a descriptor the connection cannot be accepted and stays ready: the loop would spin.
void Acceptor::rest() {
  io_.stop();
  rest_ = loopscope::Timer(loop_, "accept-rest", kRest, 0s, [this] { io_.start(); });
}

}  // namespace demo
