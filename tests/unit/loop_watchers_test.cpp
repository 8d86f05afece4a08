// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <thread>
#include <vector>

#include "loop_test_support.h"

namespace loopscope {
namespace {

using test::recorded;
using test::watcher;
using namespace std::chrono_literals;

class Pipe {
 public:
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) throw std::runtime_error("pipe2");
    read_end = ends[0];
    write_end = ends[1];
  }
  ~Pipe() {
    close(read_end);
    close(write_end);
  }
  void put() const { EXPECT_EQ(write(write_end, "x", 1), 1); }
  void take() const {
    char byte = 0;
    EXPECT_EQ(read(read_end, &byte, 1), 1);
  }
  int read_end;
  int write_end;
};

TEST(Loop, IoGetsTheEventsThatAreTrue) {
  Loop loop("io");
  const Pipe pipe;
  pipe.put();
  int seen = 0;
  Io io(loop, "reader", pipe.read_end, kRead, [&](int events) {
    seen = events;
    pipe.take();
  });
  Io writer(loop, "writer", pipe.write_end, kWrite, [&](int events) {
    EXPECT_EQ(events, kWrite);
    writer.stop();
  });
  loop.run_once();
  EXPECT_EQ(seen, kRead);
  EXPECT_EQ(io.fd(), pipe.read_end);
  EXPECT_TRUE(io.active());
  EXPECT_FALSE(writer.active());
  const auto loop_record = recorded("io");
  EXPECT_EQ(loop_record.iterations, 1u);
  EXPECT_EQ(loop_record.ready_events, 2u);
  EXPECT_EQ(watcher(loop_record, "reader").callback.count, 1u);
  EXPECT_EQ(watcher(loop_record, "reader").active, 1);
  EXPECT_EQ(watcher(loop_record, "reader").fd, pipe.read_end);
  EXPECT_EQ(watcher(loop_record, "writer").active, 0);
}

TEST(Loop, TimerLagIsExact) {
  Loop loop("lag");
  int beats = 0;
  // Due after 1, 2, 3 … ms; the first callback blocks the loop for 20 ms, so the second runs at
  // least 19 - 1 ms late.
  Timer beat(loop, "beat", 1ms, 1ms, [&] {
    if (++beats == 1) usleep(20'000);
    if (beats == 2) loop.stop();
  });
  loop.run();
  const auto lag = *watcher(recorded("lag"), "beat").lag;
  EXPECT_EQ(lag.count, 2u);
  EXPECT_GE(lag.max, 18'000'000u);
  EXPECT_EQ(recorded("lag").timer_lag.count, 2u);
}

TEST(Loop, OneShotTimerEndsAndCanBeRestarted) {
  Loop loop("one-shot");
  int calls = 0;
  Timer timer(loop, "once", 1ms, 0s, [&] { ++calls; });
  loop.run();
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(timer.active());
  EXPECT_EQ(watcher(recorded("one-shot"), "once").active, 0);
  timer.restart(1ms);
  EXPECT_TRUE(timer.active());
  loop.run();
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(watcher(recorded("one-shot"), "once").lag->count, 2u);
}

// again() moves the due time: a timer that is kept from firing by activity is not late when it
// fires at last.
TEST(Loop, AgainMovesTheDueTimeAndTheLagWithIt) {
  Loop loop("again");
  Timer timeout(loop, "inactivity", 0s, 50ms, [&] { loop.stop(); });
  timeout.again();
  int activity = 0;
  Timer active(loop, "activity", 10ms, 10ms, [&] {
    if (++activity <= 8) timeout.again();
    if (activity == 8) active.stop();
  });
  loop.run();
  const auto lag = *watcher(recorded("again"), "inactivity").lag;
  // The first expiry is the one of the constructor's "after 0"; see the count of activity for how
  // often it was put off.
  EXPECT_EQ(activity, 8);
  EXPECT_LT(lag.max, 40'000'000u) << "measured from the due time before again()";
}

TEST(Loop, KeepLoopAliveFalseLetsRunReturn) {
  Loop loop("alive");
  Timer background(loop, "background", 1h, 1h, [] {});
  background.keep_loop_alive(false);
  Timer once(loop, "once", 1ms, 0s, [] {});
  once.keep_loop_alive(false);
  Timer last(loop, "last", 5ms, 0s, [] {});
  loop.run();  // returns although `background` is active
  EXPECT_FALSE(once.active()) << "it ran before `last`, and libev stopped it";
  background.stop();
  // References are balanced: with nothing but a keep-alive watcher the loop runs again, without any
  // it returns.
  Timer again(loop, "again", 1ms, 0s, [] {});
  loop.run();
  loop.run();
}

TEST(Loop, PeriodicFollowsTheWallClock) {
  Loop loop("periodic");
  int calls = 0;
  Periodic periodic(loop, "tick", 0s, 10ms, [&] {
    if (++calls == 3) loop.stop();
  });
  loop.run();
  EXPECT_EQ(calls, 3);
  const auto record = watcher(recorded("periodic"), "tick");
  EXPECT_EQ(record.kind, recording::WatcherKind::kPeriodic);
  EXPECT_EQ(record.lag->count, 3u);
  EXPECT_LT(record.lag->min, 10'000'000u);
}

TEST(Loop, SignalRunsInTheLoop) {
  Loop loop("signal");
  int seen = 0;
  Signal signal(loop, "usr1", SIGUSR1, [&](int number) {
    seen = number;
    loop.stop();
  });
  Timer kill(loop, "kill", 1ms, 0s, [] { ::kill(getpid(), SIGUSR1); });
  loop.run();
  EXPECT_EQ(seen, SIGUSR1);
  EXPECT_EQ(watcher(recorded("signal"), "usr1").callback.count, 1u);
}

TEST(Loop, ChildTellsHowAProcessEnded) {
  Loop loop({.name = "child", .default_loop = true});
  const pid_t pid = fork();
  if (pid == 0) _exit(7);
  int status = 0;
  Child child(loop, "worker", pid, [&](int ended, int how) {
    EXPECT_EQ(ended, pid);
    status = how;
    loop.stop();
  });
  loop.run();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST(Loop, ChildNeedsTheDefaultLoop) {
  Loop loop("not default");
  EXPECT_THROW(Child(loop, "worker", 1, [](int, int) {}), std::invalid_argument);
}

TEST(Loop, StatSeesAFileChange) {
  char path[] = "/tmp/loopscope-stat-XXXXXX";
  const int fd = mkstemp(path);
  Loop loop("stat");
  off_t size = -1;
  Stat stat(loop, "file", path, 20ms, [&](const struct ::stat& now, const struct ::stat&) {
    size = now.st_size;
    loop.stop();
  });
  Timer change(loop, "change", 5ms, 0s, [&] { EXPECT_EQ(write(fd, "four", 4), 4); });
  Timer limit(loop, "limit", 10s, 0s, [&] { loop.stop(); });
  loop.run();
  EXPECT_EQ(size, 4);
  close(fd);
  unlink(path);
}

TEST(Loop, AsyncWakesFromAnotherThread) {
  Loop loop("async");
  int calls = 0;
  Async async(loop, "wake", [&] {
    ++calls;
    loop.stop();
  });
  std::thread sender([&] { async.send(); });
  loop.run();
  sender.join();
  EXPECT_EQ(calls, 1);
}

TEST(Loop, IdlePrepareCheckFork) {
  Loop loop("phases");
  std::string order;
  Prepare prepare(loop, "prepare", [&] { order += 'p'; });
  Check check(loop, "check", [&] { order += 'c'; });
  Idle idle(loop, "idle", [&] {
    order += 'i';
    idle.stop();
    loop.stop();
  });
  int forks = 0;
  Fork fork(loop, "fork", [&] { ++forks; });
  loop.run();
  EXPECT_EQ(order, "pci")
      << "prepare before the wait; check has the highest priority after it, idle the lowest";
  EXPECT_EQ(forks, 0);
  const auto record = recorded("phases");
  for (const char* name : {"prepare", "check", "idle"})
    EXPECT_EQ(watcher(record, name).callback.count, 1u) << name;
}

TEST(Loop, PriorityOrdersCallbacks) {
  Loop loop("priority");
  const Pipe first;
  const Pipe second;
  first.put();
  second.put();
  std::string order;
  Io low(loop, "low", first.read_end, kRead, [&](int) {
    order += 'l';
    first.take();
  });
  Io high(loop, "high", second.read_end, kRead, [&](int) {
    order += 'h';
    second.take();
  });
  low.set_priority(-2);
  high.set_priority(2);
  loop.run_once();
  EXPECT_EQ(order, "hl");
  EXPECT_THROW(low.set_priority(3), std::invalid_argument);
}

TEST(Loop, AWatcherMayDestroyItselfInItsCallback) {
  Loop loop("suicide");
  const Pipe pipe;
  pipe.put();
  auto io = std::make_unique<Io>();
  const std::string text(100, 'x');
  std::string after;
  *io = Io(loop, "connection", pipe.read_end, kRead, [&, text](int) {
    io.reset();
    after = text;  // the callable itself is still alive
  });
  loop.run_once();
  EXPECT_EQ(after, text);
  EXPECT_EQ(watcher(recorded("suicide"), "connection").active, 0);
  EXPECT_EQ(watcher(recorded("suicide"), "connection").callback.count, 1u);
}

TEST(Loop, WatchersMove) {
  Loop loop("move");
  std::vector<Timer> timers;
  int calls = 0;
  for (int i = 0; i < 100; ++i) timers.emplace_back(loop, "timer", 1ms, 0s, [&] { ++calls; });
  loop.run();
  EXPECT_EQ(calls, 100);
  timers[0] = Timer(loop, "other", 1ms, 0s, [&] { calls += 1000; });
  loop.run();
  EXPECT_EQ(calls, 1100);
  EXPECT_EQ(watcher(recorded("move"), "timer").callback.count, 100u);
}

TEST(Loop, AnExceptionEndsTheRunAndTheLoopStaysUsable) {
  Loop loop("throws");
  int others = 0;
  Timer thrower(loop, "thrower", 1ms, 0s, [] { throw std::runtime_error("from a callback"); });
  Timer other(loop, "other", 1ms, 0s, [&] { ++others; });
  try {
    loop.run();
    FAIL() << "the exception was lost";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "from a callback");
  }
  loop.run();
  EXPECT_EQ(others, 1);
  EXPECT_EQ(watcher(recorded("throws"), "thrower").callback.count, 1u)
      << "its time is recorded all the same";
}

// The C library unwinds a thread that ends with an exception of its own, which must not be caught.
TEST(Loop, AThreadMayEndInACallback) {
  // Left standing: libev's ev_run was left in the middle.
  static Loop* loop;
  static Timer* timer;
  pthread_t thread{};
  ASSERT_EQ(pthread_create(
                &thread, nullptr,
                [](void*) -> void* {
                  loop = new Loop("thread exit");
                  timer = new Timer(*loop, "exit", 1ms, 0s, [] { pthread_exit(nullptr); });
                  loop->run();
                  return timer;
                },
                nullptr),
            0);
  void* result = &thread;
  ASSERT_EQ(pthread_join(thread, &result), 0);
  EXPECT_EQ(result, nullptr);
}

TEST(Loop, ExceptionsPassThroughNestedRuns) {
  Loop loop("nested throw");
  Timer outer(loop, "outer", 1ms, 0s, [&] {
    Timer inner(loop, "inner", 1ms, 0s, [] { throw std::logic_error("inner"); });
    loop.run();
    FAIL() << "the inner run must throw";
  });
  EXPECT_THROW(loop.run(), std::logic_error);
}

TEST(Loop, NestedRunsAreOneLoop) {
  Loop loop("nested");
  int inner_calls = 0;
  Timer outer(loop, "outer", 1ms, 0s, [&] {
    Timer inner(loop, "inner", 5ms, 0s, [&] {
      ++inner_calls;
      loop.stop();
    });
    loop.run();
  });
  loop.run();
  EXPECT_EQ(inner_calls, 1);
  const auto record = recorded("nested");
  EXPECT_GE(record.iterations, 2u);
  EXPECT_EQ(record.phase, recording::Phase::kOutside);
  EXPECT_LT(watcher(record, "outer").callback.max, 5'000'000u)
      << "the nested wait is not the callback's time";
}

TEST(Loop, EveryBackendWorksAndIsNamed) {
  const std::pair<Backend, const char*> backends[] = {{Backend::kSelect, "select"},
                                                      {Backend::kPoll, "poll"},
                                                      {Backend::kEpoll, "epoll"},
                                                      {Backend::kLinuxAio, "linuxaio"},
                                                      {Backend::kIoUring, "io_uring"}};
  int tried = 0;
  for (const auto& [backend, name] : backends) {
    std::unique_ptr<Loop> loop;
    try {
      loop = std::make_unique<Loop>(
          LoopOptions{.name = std::string("backend ") + name, .backend = backend});
    } catch (const std::runtime_error& error) {
      // Kernels and sandboxes may forbid linuxaio and io_uring; the classic three must be there.
      EXPECT_TRUE(backend == Backend::kLinuxAio || backend == Backend::kIoUring) << error.what();
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos);
      continue;
    }
    ++tried;
    const Pipe pipe;
    int reads = 0;
    Io io(*loop, "pipe", pipe.read_end, kRead, [&](int) {
      pipe.take();
      ++reads;
      if (reads < 10) pipe.put();
    });
    pipe.put();
    Timer end(*loop, "end", 50ms, 0s, [&] { loop->stop(); });
    loop->run();
    EXPECT_EQ(reads, 10) << name;
    const auto record = recorded(std::string("backend ") + name);
    EXPECT_EQ(record.backend, name);
    EXPECT_GE(record.iterations, 1u);
    EXPECT_EQ(watcher(record, "pipe").callback.count, 10u);
    if (backend == Backend::kSelect || backend == Backend::kPoll || backend == Backend::kEpoll) {
      EXPECT_EQ(record.ready_events, 10u) << name;
      EXPECT_EQ(record.ready_unknown, 0u) << name;
    } else {
      EXPECT_EQ(record.ready_events, 0u) << name << ": not known, so not invented";
    }
    EXPECT_EQ(record.epoll_fd >= 0, backend == Backend::kEpoll) << name;
  }
  EXPECT_GE(tried, 3);
}

TEST(Loop, SeveralLoopsInSeveralThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      const std::string name = "worker " + std::to_string(t);
      Loop loop(name);
      int beats = 0;
      Timer beat(loop, "beat", 1ms, 1ms, [&] {
        if (++beats == 20 + t) loop.stop();
      });
      loop.run();
      EXPECT_EQ(watcher(recorded(name), "beat").callback.count, 20u + static_cast<unsigned>(t));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Loop, WrongArgumentsAreRefused) {
  Loop loop("wrong");
  EXPECT_THROW(Io(loop, "io", -1, kRead, [](int) {}), std::invalid_argument);
  EXPECT_THROW(Io(loop, "io", 0, 64, [](int) {}), std::invalid_argument);
  EXPECT_THROW(Io(loop, "io", 0, kRead, nullptr), std::invalid_argument);
  EXPECT_THROW(Timer(loop, "timer", -1s, 0s, [] {}), std::invalid_argument);
  EXPECT_THROW(Signal(loop, "signal", 0, [](int) {}), std::invalid_argument);
  EXPECT_THROW(Loop({.name = "wrong", .stall_threshold = 0ns}), std::invalid_argument);
}

// A turn that ends the program's interest in the loop is not followed by an endless "busy" one.
TEST(Loop, AfterRunTheLoopIsOutside) {
  Loop loop({.name = "after", .stall_threshold = 5ms});
  Timer end(loop, "end", 1ms, 0s, [&] { loop.stop(); });
  loop.run();
  usleep(20'000);
  const auto record = recorded("after");
  EXPECT_EQ(record.phase, recording::Phase::kOutside);
  EXPECT_EQ(record.stalls, 0u);
}

TEST(Loop, PollDelayOfASleepingLoopIsItsTimeoutsOverrun) {
  Loop loop("sleeping");
  Timer end(loop, "end", 20ms, 0s, [&] { loop.stop(); });
  loop.run();
  const auto record = recorded("sleeping");
  EXPECT_GE(record.timeouts, 1u);
  EXPECT_EQ(record.poll_delay.count, record.timeouts - record.nonblocking);
  ASSERT_FALSE(record.recent.empty());
  EXPECT_GE(record.recent.front().timeout_ns, 19'000'000);
}

}  // namespace
}  // namespace loopscope
