// SPDX-License-Identifier: Apache-2.0
//
// counted_turns MODE BACKEND TURNS: runs a loop for about TURNS turns with every kind of wait
// return in it (events, many at once, timeouts, non-blocking waits, interruptions), then says on
// stdout what its recording counted, as one line of JSON. The integration test runs it under strace
// and compares.
//
//   MODE   loop    loopscope::Loop
//          raw     a plain libev loop, instrumented
//          nested  a loopscope::Loop run by a callback of another
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "instrumentation/recording/reader.h"
#include "loopscope/loop.h"

namespace {

using namespace std::chrono_literals;

constexpr int kPipes =
    150;  // more than libev's first array of 64 events, so that waits are saturated at first

unsigned backend_flags(const std::string& name) {
  if (name == "epoll") return EVBACKEND_EPOLL;
  if (name == "poll") return EVBACKEND_POLL;
  if (name == "select") return EVBACKEND_SELECT;
  std::exit(2);
}

loopscope::Backend backend(const std::string& name) {
  if (name == "epoll") return loopscope::Backend::kEpoll;
  if (name == "poll") return loopscope::Backend::kPoll;
  return loopscope::Backend::kSelect;
}

struct Pipes {
  std::array<std::array<int, 2>, kPipes> ends{};
  Pipes() {
    for (auto& pair : ends) {
      if (pipe2(pair.data(), O_NONBLOCK | O_CLOEXEC) != 0) std::exit(3);
    }
  }
  void put(int which) const { (void)!write(ends[static_cast<std::size_t>(which)][1], "x", 1); }
  void take(int which) const {
    char byte = 0;
    (void)!read(ends[static_cast<std::size_t>(which)][0], &byte, 1);
  }
};

/// Every turn makes a different number of pipes ready; every 50th makes none, so the next wait ends
/// by a timer.
void stir(const Pipes& pipes, int turn) {
  const int ready = turn % 50 == 0 ? 0 : turn % 97 == 0 ? kPipes : 1 + turn % 5;
  for (int i = 0; i < ready; ++i) pipes.put((turn * 7 + i) % kPipes);
}

/// Interrupts waits now and then.
void interrupt_sometimes() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, nullptr);
  const struct itimerval interval {
    {0, 3700}, { 0, 3700 }
  };
  setitimer(ITIMER_REAL, &interval, nullptr);
}

void say(const char* name) {
  const struct itimerval off {};
  setitimer(ITIMER_REAL, &off, nullptr);
  auto reader = loopscope::recording::read_own_process();
  if (!reader) std::exit(4);
  const auto taken = reader->read();
  if (!taken) std::exit(5);
  for (const auto& loop : taken->loops) {
    if (loop.name != name) continue;
    std::printf(
        "{\"iterations\":%llu,\"ready\":%llu,\"timeouts\":%llu,\"interrupted\":%llu,\"errors\":%"
        "llu,\"nonblocking\":%llu,"
        "\"saturated\":%llu,\"wait_count\":%llu,\"dropped_watchers\":%llu,\"error\":\"%s\"}\n",
        static_cast<unsigned long long>(loop.iterations),
        static_cast<unsigned long long>(loop.ready_events),
        static_cast<unsigned long long>(loop.timeouts),
        static_cast<unsigned long long>(loop.interrupted),
        static_cast<unsigned long long>(loop.errors),
        static_cast<unsigned long long>(loop.nonblocking),
        static_cast<unsigned long long>(loop.saturated),
        static_cast<unsigned long long>(loop.poll_wait.count),
        static_cast<unsigned long long>(
            taken->dropped[static_cast<std::size_t>(loopscope::recording::DropKind::kWatchers)]),
        taken->error.c_str());
  }
  if (!taken->path.empty()) unlink(taken->path.c_str());
}

void run_loop(const std::string& backend_name, int turns, bool nested) {
  const Pipes pipes;
  loopscope::Loop loop({.name = "counted", .backend = backend(backend_name)});
  int turn = 0;
  std::vector<loopscope::Io> readers;
  for (int i = 0; i < kPipes; ++i) {
    readers.emplace_back(loop, "pipe", pipes.ends[static_cast<std::size_t>(i)][0], loopscope::kRead,
                         [&pipes, i](int) { pipes.take(i); });
  }
  loopscope::Timer beat(loop, "beat", 2ms, 2ms, [] {});
  loopscope::Prepare prepare(loop, "stir", [&] {
    if (++turn >= turns) loop.stop();
    stir(pipes, turn);
  });
  loopscope::Timer idle_burst(loop, "burst", 20ms, 0s, [] {});
  std::unique_ptr<loopscope::Idle> idle;
  int idle_calls = 0;
  loopscope::Timer spin(loop, "spin", 30ms, 0s, [&] {
    idle = std::make_unique<loopscope::Idle>(loop, "idle", [&] {
      if (++idle_calls == 20) idle.reset();
    });
  });
  interrupt_sometimes();
  if (nested) {
    loopscope::Timer runs_inside(loop, "nested", 5ms, 0s, [&] {
      loopscope::Timer end(loop, "nested end", 10ms, 0s, [&] { loop.stop(); });
      loop.run();
    });
    loop.run();
  } else {
    while (turn < turns) loop.run();
  }
  say("counted");
}

struct RawState {
  Pipes pipes;
  int turn = 0;
  int turns = 0;
};

void run_raw(const std::string& backend_name, int turns) {
  static RawState state;
  state.turns = turns;
  struct ev_loop* loop = ev_loop_new(backend_flags(backend_name));
  loopscope::InstrumentedLoop& scope = loopscope::instrument(loop, {.name = "counted"});
  static std::array<ev_io, kPipes> readers;
  for (int i = 0; i < kPipes; ++i) {
    ev_io& io = readers[static_cast<std::size_t>(i)];
    ev_io_init(
        &io,
        [](struct ev_loop*, ev_io* self, int) {
          state.pipes.take(static_cast<int>(self - readers.data()));
        },
        state.pipes.ends[static_cast<std::size_t>(i)][0], EV_READ);
    ev_io_start(loop, &io);
    if (i % 2 == 0) scope.name(&io, "pipe");
  }
  static ev_timer beat;
  ev_timer_init(
      &beat, [](struct ev_loop*, ev_timer*, int) {}, 0.002, 0.002);
  ev_timer_start(loop, &beat);
  static ev_prepare prepare;
  ev_prepare_init(&prepare, [](struct ev_loop* running, ev_prepare*, int) {
    if (++state.turn >= state.turns) ev_break(running, EVBREAK_ALL);
    stir(state.pipes, state.turn);
  });
  ev_prepare_start(loop, &prepare);
  interrupt_sometimes();
  while (state.turn < turns) ev_run(loop, state.turn % 3 == 0 ? EVRUN_NOWAIT : 0);
  say("counted");
  ev_loop_destroy(loop);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("usage: counted_turns loop|raw|nested epoll|poll|select TURNS\n", stderr);
    return 2;
  }
  const std::string mode = argv[1];
  const int turns = std::atoi(argv[3]);
  if (mode == "raw") {
    run_raw(argv[2], turns);
  } else {
    run_loop(argv[2], turns, mode == "nested");
  }
}
