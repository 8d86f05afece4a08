// SPDX-License-Identifier: Apache-2.0
#include "misbehaviour.h"

#include <ev.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <thread>
#include <utility>

namespace demo {
namespace {

using namespace std::chrono_literals;

constexpr auto kSlowCallback = 200ms;
constexpr std::uint64_t kMostLeaked = 500;
/// Slow enough to be watched: below the limit that shells give (1024), a leak of 50 s.
constexpr auto kLeakInterval = 100ms;
constexpr std::size_t kStormTimers = 5000;
constexpr auto kStormInterval = 10ms;
constexpr auto kStormLength = 5s;
constexpr auto kSpinLength = 5s;
constexpr auto kResolveTime = 300ms;
/// Whoever pressed the button gets an answer before.
constexpr auto kKillAfter = 300ms;
constexpr int kChildTurns = 100;
constexpr auto kChildPause = 20ms;

/// A lookup in the way that blocks. This name is found in /etc/hosts, so nothing leaves the
/// machine; the rest of the time stands for a name server that takes long.
void resolve_blocking() {
  const auto end = std::chrono::steady_clock::now() + kResolveTime;
  addrinfo* found = nullptr;
  if (getaddrinfo("localhost", nullptr, nullptr, &found) == 0) freeaddrinfo(found);
  std::this_thread::sleep_until(end);
}

void run_no_callbacks(struct ev_loop* /*loop*/) {}

/// A child that should have called loop.after_fork(), or left the loop alone. What it does to its
/// parent is made harmless by one line, so that the demo can go on: it polls and runs no callbacks.
/// Otherwise it would read from the parent's clients and, with every watcher it stops, take a
/// descriptor out of the parent's epoll set.
[[noreturn]] void run_forked_child(loopscope::Loop& loop) {
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  ev_set_invoke_pending_cb(loop.native_handle(), run_no_callbacks);
  for (int turn = 0; turn < kChildTurns; ++turn) {
    loop.poll();
    std::this_thread::sleep_for(kChildPause);
  }
  _exit(0);
}

}  // namespace

std::optional<Fault> find_fault(std::string_view name) {
  for (const FaultText& fault : kFaults) {
    if (name == fault.name) return fault.fault;
  }
  return std::nullopt;
}

Misbehaviour::Misbehaviour(loopscope::Loop& loop, Counters& counters,
                           std::function<void()> drop_clients)
    : loop_(loop), counters_(counters), drop_clients_(std::move(drop_clients)) {}

void Misbehaviour::commit(Fault fault) {
  switch (fault) {
    case Fault::kSlowCallback:
      ++slow_callbacks_;
      set_active(fault, true);
      break;
    case Fault::kLeak:
      leaking_ = !leaking_;
      set_active(fault, leaking_);
      break;
    case Fault::kTimerStorm:
      start_timer_storm();
      break;
    case Fault::kBusySpin:
      start_busy_spin();
      break;
    case Fault::kBlockingResolve:
      resolve_soon();
      break;
    case Fault::kForkWithoutLoopFork:
      fork_without_loop_fork();
      break;
    case Fault::kDropClients:
      drop_clients_();
      break;
    case Fault::kKill:
      kill_soon();
      break;
  }
}

void Misbehaviour::commit_slow_callback_every(loopscope::Seconds interval) {
  slow_callback_every_ = loopscope::Timer(loop_, "slow-callback-every", interval, interval,
                                          [this] { commit(Fault::kSlowCallback); });
}

void Misbehaviour::stop() {
  leaking_ = false;
  slow_callbacks_ = 0;
  slow_callback_every_ = {};
  storm_.clear();
  storm_end_ = {};
  spinner_ = {};
  spinner_end_ = {};
  resolver_ = {};
  killer_ = {};
  counters_.active_faults = 0;
}

void Misbehaviour::on_request(const Request& request) {
  if (slow_callbacks_ > 0) {
    if (--slow_callbacks_ == 0) set_active(Fault::kSlowCallback, false);
    std::this_thread::sleep_for(kSlowCallback);
  }
  if (leaking_ && request.kind == Request::Kind::kPing) leak();
}

void Misbehaviour::leak() {
  const auto now = std::chrono::steady_clock::now();
  if (counters_.leaked_fds >= kMostLeaked || now < next_leak_) return;
  next_leak_ = now + kLeakInterval;
  // The fault: nobody keeps the number, so nobody can close it.
  if (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) add(counters_.leaked_fds);
}

void Misbehaviour::start_timer_storm() {
  storm_.clear();
  storm_.reserve(kStormTimers);
  for (std::size_t i = 0; i < kStormTimers; ++i) {
    storm_.emplace_back(loop_, "storm", kStormInterval, kStormInterval, [] {});
  }
  set_active(Fault::kTimerStorm, true);
  storm_end_ = loopscope::Timer(loop_, "storm-end", kStormLength, 0s, [this] {
    storm_.clear();
    set_active(Fault::kTimerStorm, false);
  });
}

void Misbehaviour::start_busy_spin() {
  spinner_ = loopscope::Idle(loop_, "spinner", [] {});
  set_active(Fault::kBusySpin, true);
  spinner_end_ = loopscope::Timer(loop_, "spinner-end", kSpinLength, 0s, [this] {
    spinner_ = {};
    set_active(Fault::kBusySpin, false);
  });
}

void Misbehaviour::resolve_soon() {
  set_active(Fault::kBlockingResolve, true);
  resolver_ = loopscope::Timer(loop_, "resolver", 0s, 0s, [this] {
    resolve_blocking();
    set_active(Fault::kBlockingResolve, false);
  });
}

void Misbehaviour::fork_without_loop_fork() {
  if (counters_.forked_child != 0) return;  // one at a time
  const pid_t child = fork();
  if (child == 0) run_forked_child(loop_);
  if (child < 0) {
    std::perror("demo: fork");
    return;
  }
  counters_.forked_child = child;
}

void Misbehaviour::kill_soon() {
  set_active(Fault::kKill, true);
  killer_ = loopscope::Timer(loop_, "killer", kKillAfter, 0s, [] { raise(SIGKILL); });
}

void Misbehaviour::set_active(Fault fault, bool active) {
  const std::uint32_t bit = 1U << static_cast<unsigned>(fault);
  if (active) {
    counters_.active_faults |= bit;
  } else {
    counters_.active_faults &= ~bit;
  }
}

}  // namespace demo
