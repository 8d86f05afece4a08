// SPDX-License-Identifier: Apache-2.0
//
// The faults that the demo's server commits on request, each a small copy of one that real servers
// have, so that one can see what it looks like in loopscope.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "counters.h"
#include "loopscope/loop.h"
#include "protocol.h"

namespace demo {

enum class Fault {
  kSlowCallback,
  kLeak,
  kTimerStorm,
  kBusySpin,
  kBlockingResolve,
  kForkWithoutLoopFork,
  kDropClients,
  kKill
};

struct FaultText {
  Fault fault;
  const char* name;  // of the flag, and in the admin page's addresses
  const char* text;
};

inline constexpr FaultText kFaults[] = {
    {Fault::kSlowCallback, "slow-callback", "the next message's handler blocks for 200 ms"},
    {Fault::kLeak, "leak",
     "from now on, or no longer: ten times a second a PING leaves a descriptor open (no more than "
     "500, so that the demo goes on)"},
    {Fault::kTimerStorm, "timer-storm", "5000 timers are due at once, every 10 ms for 5 s"},
    {Fault::kBusySpin, "busy-spin", "for 5 s, an idle watcher keeps the loop from waiting"},
    {Fault::kBlockingResolve, "blocking-resolve",
     "a name is looked up in the loop's thread, which takes 300 ms"},
    {Fault::kForkWithoutLoopFork, "fork-without-loop-fork",
     "a forked child polls the server's epoll set for 2 s; it has a recording of its own, which "
     "loopscope serve shows"},
    {Fault::kDropClients, "drop-clients",
     "all clients are cut off, and come back after a while that differs for each"},
    {Fault::kKill, "kill",
     "the process kills itself by SIGKILL, without a goodbye, as the kernel does when memory runs "
     "out"},
};

std::optional<Fault> find_fault(std::string_view name);

/// Belongs to the loop's thread.
class Misbehaviour {
 public:
  Misbehaviour(loopscope::Loop& loop, Counters& counters, std::function<void()> drop_clients);

  void commit(Fault fault);
  void commit_slow_callback_every(loopscope::Seconds interval);
  /// Ends what is going on.
  void stop();

  /// The server's message handler calls it for each request.
  void on_request(const Request& request);

 private:
  void leak();
  void start_timer_storm();
  void start_busy_spin();
  void resolve_soon();
  void fork_without_loop_fork();
  void kill_soon();
  void set_active(Fault fault, bool active);

  loopscope::Loop& loop_;
  Counters& counters_;
  std::function<void()> drop_clients_;
  bool leaking_ = false;
  std::chrono::steady_clock::time_point next_leak_{};
  unsigned slow_callbacks_ = 0;  // still to come
  loopscope::Timer slow_callback_every_;
  std::vector<loopscope::Timer> storm_;
  loopscope::Timer storm_end_;
  loopscope::Idle spinner_;
  loopscope::Timer spinner_end_;
  loopscope::Timer resolver_;
  loopscope::Timer killer_;
};

}  // namespace demo
