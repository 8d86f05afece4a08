// SPDX-License-Identifier: Apache-2.0
//
// loopscope::instrument() on loops that a program already has.
#include <ev.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <unistd.h>

#include <stdexcept>

#include "loop_test_support.h"

namespace loopscope {
namespace {

using test::recorded;
using test::watcher;
using namespace std::chrono_literals;

int g_released = 0;
int g_acquired = 0;
int g_invoked = 0;
void host_release(struct ev_loop*) noexcept { ++g_released; }
void host_acquire(struct ev_loop*) noexcept { ++g_acquired; }
void host_invoke(struct ev_loop* loop) {
  ++g_invoked;
  ev_invoke_pending(loop);
}

class Instrument : public testing::Test {
 protected:
  Instrument() : loop_(ev_loop_new(EVBACKEND_EPOLL)) {
    g_released = g_acquired = g_invoked = 0;
    ev_timer_init(
        &timer_, [](struct ev_loop*, ev_timer* timer, int) { ++*static_cast<int*>(timer->data); },
        0.001, 0.001);
    timer_.data = &calls_;
    ev_timer_start(loop_, &timer_);
  }
  ~Instrument() override {
    if (loop_ != nullptr) ev_loop_destroy(loop_);
  }

  struct ev_loop* loop_;
  ev_timer timer_{};
  int calls_ = 0;
};

TEST_F(Instrument, OneLineRecordsALoop) {
  instrument(loop_, {.name = "plain"});
  for (int i = 0; i < 5; ++i) ev_run(loop_, EVRUN_ONCE);
  const auto record = recorded("plain");
  EXPECT_EQ(record.iterations, 5u);
  EXPECT_EQ(record.timeouts, 5u);
  EXPECT_EQ(record.backend, "epoll");
  EXPECT_EQ(calls_, 5);
}

TEST_F(Instrument, TwiceIsOnce) {
  InstrumentedLoop& first = instrument(loop_, {.name = "twice"});
  EXPECT_EQ(&instrument(loop_, {.name = "other name"}), &first);
  ev_run(loop_, EVRUN_ONCE);
  EXPECT_EQ(recorded("twice").iterations, 1u);
}

TEST_F(Instrument, NullIsRefused) { EXPECT_THROW(instrument(nullptr), std::invalid_argument); }

TEST_F(Instrument, NamedWatchersAreTimedAndKeepTheirDataAndCallback) {
  InstrumentedLoop& scope = instrument(loop_, {.name = "named"});
  scope.name(&timer_, "tick");
  EXPECT_EQ(timer_.data, &calls_);
  for (int i = 0; i < 5; ++i) ev_run(loop_, EVRUN_ONCE);
  EXPECT_EQ(calls_, 5);
  const auto tick = watcher(recorded("named"), "tick");
  EXPECT_EQ(tick.callback.count, 5u);
  EXPECT_EQ(tick.lag->count, 5u);
  EXPECT_EQ(tick.active, 1);

  scope.unname(&timer_);
  ev_run(loop_, EVRUN_ONCE);
  EXPECT_EQ(calls_, 6);
  EXPECT_EQ(watcher(recorded("named"), "tick").callback.count, 5u);
}

TEST_F(Instrument, ARawTimersLagIsMeasuredFromItsDueTime) {
  InstrumentedLoop& scope = instrument(loop_, {.name = "raw lag"});
  ev_timer_stop(loop_, &timer_);
  ev_timer once;
  ev_timer_init(
      &once, [](struct ev_loop*, ev_timer*, int) {}, 0.005, 0.);
  ev_timer blocker;
  ev_timer_init(
      &blocker, [](struct ev_loop*, ev_timer*, int) { usleep(30'000); }, 0.001, 0.);
  ev_timer_start(loop_, &once);
  ev_timer_start(loop_, &blocker);
  scope.name(&once, "once");
  ev_run(loop_, 0);
  const auto lag = *watcher(recorded("raw lag"), "once").lag;
  ASSERT_EQ(lag.count, 1u);
  EXPECT_GE(lag.min, 25'000'000u) << "due after 5 ms, but the loop was blocked from 1 ms to 31 ms";
  EXPECT_LT(lag.min, 500'000'000u);
}

TEST_F(Instrument, ATimerInvokedByHandHasNoLag) {
  InstrumentedLoop& scope = instrument(loop_, {.name = "by hand"});
  ev_timer never;
  ev_timer_init(
      &never, [](struct ev_loop*, ev_timer*, int) {}, 1., 0.);
  scope.name(&never, "never started");
  ev_invoke(loop_, &never, EV_TIMER);
  const auto record = watcher(recorded("by hand"), "never started");
  EXPECT_EQ(record.callback.count, 1u);
  EXPECT_EQ(record.lag->count, 0u);
}

TEST_F(Instrument, NamingAgainAfterInitWorks) {
  InstrumentedLoop& scope = instrument(loop_, {.name = "renamed"});
  scope.name(&timer_, "old name");
  ev_run(loop_, EVRUN_ONCE);
  scope.name(&timer_, "new name");
  ev_run(loop_, EVRUN_ONCE);
  EXPECT_EQ(calls_, 2) << "the host's callback, not our own wrapped twice";
  const auto record = recorded("renamed");
  EXPECT_EQ(watcher(record, "old name").callback.count, 1u);
  EXPECT_EQ(watcher(record, "new name").callback.count, 1u);
  EXPECT_EQ(watcher(record, "old name").active, 0);
}

TEST_F(Instrument, ACallbackMayUnnameAndStopItsWatcher) {
  static InstrumentedLoop* scope;
  scope = &instrument(loop_, {.name = "self"});
  ev_set_cb(&timer_, [](struct ev_loop* loop, ev_timer* timer, int) {
    scope->unname(timer);
    ev_timer_stop(loop, timer);
  });
  scope->name(&timer_, "tick");
  ev_run(loop_, 0);
  EXPECT_EQ(watcher(recorded("self"), "tick").callback.count, 1u);
}

// A watcher is plain memory to libev: copied, moved to another loop, used after its loop is gone.
TEST_F(Instrument, ANamedWatcherThatWandersKeepsItsCallback) {
  InstrumentedLoop& scope = instrument(loop_, {.name = "wandering"});
  scope.name(&timer_, "tick");
  ev_timer_stop(loop_, &timer_);
  ev_timer copy = timer_;
  ev_timer_set(&copy, 0.001, 0.);
  ev_timer_start(loop_, &copy);
  ev_run(loop_, EVRUN_ONCE);
  EXPECT_EQ(calls_, 1) << "a copy";

  struct ev_loop* other = ev_loop_new(0);
  ev_timer_set(&timer_, 0.001, 0.);
  ev_timer_start(other, &timer_);
  ev_run(other, EVRUN_ONCE);
  EXPECT_EQ(calls_, 2) << "on a loop that is not recorded";
  instrument(other, {.name = "other"});
  ev_timer_start(other, &timer_);
  ev_run(other, EVRUN_ONCE);
  EXPECT_EQ(calls_, 3) << "on another recorded loop";
  ev_loop_destroy(other);

  scope.release();
  ev_timer_start(loop_, &timer_);
  ev_run(loop_, EVRUN_ONCE);
  EXPECT_EQ(calls_, 4) << "after release()";
}

TEST_F(Instrument, ReleasedInANamedCallback) {
  static InstrumentedLoop* scope;
  scope = &instrument(loop_, {.name = "released inside"});
  ev_set_cb(&timer_, [](struct ev_loop*, ev_timer* timer, int) {
    if (++*static_cast<int*>(timer->data) == 2) scope->release();
  });
  scope->name(&timer_, "tick");
  for (int i = 0; i < 4; ++i) ev_run(loop_, EVRUN_ONCE);
  EXPECT_EQ(calls_, 4);
  const auto record = recorded("released inside");
  EXPECT_TRUE(record.ended);
  EXPECT_EQ(record.iterations, 2u);
}

TEST_F(Instrument, HooksSetBeforeKeepWorking) {
  ev_set_loop_release_cb(loop_, host_release, host_acquire);
  ev_set_invoke_pending_cb(loop_, host_invoke);
  InstrumentedLoop& scope = instrument(loop_, {.name = "hooks before"});
  for (int i = 0; i < 3; ++i) ev_run(loop_, EVRUN_ONCE);
  EXPECT_EQ(g_released, 3);
  EXPECT_EQ(g_acquired, 3);
  EXPECT_GE(g_invoked, 3);
  EXPECT_EQ(recorded("hooks before").iterations, 3u);
  scope.release();
  ev_run(loop_, EVRUN_ONCE);
  EXPECT_EQ(g_released, 4) << "given back by release()";
  EXPECT_EQ(recorded("hooks before").iterations, 3u);
}

TEST_F(Instrument, HooksSetAfterwardsKeepWorking) {
  InstrumentedLoop& scope = instrument(loop_, {.name = "hooks after"});
  ev_set_loop_release_cb(loop_, host_release, host_acquire);
  ev_set_invoke_pending_cb(loop_, host_invoke);
  for (int i = 0; i < 3; ++i) ev_run(loop_, EVRUN_ONCE);
  EXPECT_EQ(g_released, 3);
  EXPECT_EQ(g_acquired, 3);
  EXPECT_GE(g_invoked, 3);
  EXPECT_EQ(recorded("hooks after").iterations, 3u);
  ev_set_loop_release_cb(loop_, nullptr, nullptr);
  ev_run(loop_, EVRUN_ONCE);
  EXPECT_EQ(g_released, 3);
  EXPECT_EQ(recorded("hooks after").iterations, 4u);
  scope.release();
}

TEST_F(Instrument, ADestroyedLoopIsForgotten) {
  instrument(loop_, {.name = "destroyed"}).name(&timer_, "tick");
  ev_run(loop_, EVRUN_ONCE);
  ev_loop_destroy(loop_);
  loop_ = nullptr;
  const auto record = recorded("destroyed");
  EXPECT_TRUE(record.ended);
  EXPECT_EQ(record.iterations, 1u);
}

TEST_F(Instrument, InstrumentedFromInsideACallback) {
  ev_set_cb(&timer_, [](struct ev_loop* loop, ev_timer* timer, int) {
    if (++*static_cast<int*>(timer->data) == 1) instrument(loop, {.name = "inside"});
    if (*static_cast<int*>(timer->data) == 4) ev_break(loop, EVBREAK_ALL);
  });
  ev_run(loop_, 0);
  const auto record = recorded("inside");
  EXPECT_EQ(record.iterations, 3u);
  EXPECT_EQ(record.phase, recording::Phase::kOutside);
}

TEST_F(Instrument, ALoopThatRanBeforeShowsWhatIsRegistered) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ev_io io;
  ev_io_init(
      &io, [](struct ev_loop*, ev_io*, int) {}, ends[0], EV_READ);
  ev_io_start(loop_, &io);
  ev_run(loop_, EVRUN_ONCE);
  InstrumentedLoop& scope = instrument(loop_, {.name = "ran before"});
  ev_run(loop_, EVRUN_ONCE);
  const int epoll_fd = recorded("ran before").epoll_fd;
  ASSERT_GE(epoll_fd, 0);
  auto reader = recording::read_own_process();
  ASSERT_TRUE(reader);
  const auto taken = reader->read();
  ASSERT_TRUE(taken);
  EXPECT_NE(
      std::find(taken->registered.begin(), taken->registered.end(), std::pair(ends[0], epoll_fd)),
      taken->registered.end());
  scope.release();
  ev_io_stop(loop_, &io);
  close(ends[0]);
  close(ends[1]);
}

// libev looks at errno after its hooks: what ours do must not change it.
TEST_F(Instrument, AnInterruptedWaitIsCountedAndSurvived) {
  instrument(loop_, {.name = "interrupted"});
  ev_timer_stop(loop_, &timer_);
  struct sigaction action {};
  action.sa_handler = [](int) {};
  struct sigaction before {};
  sigaction(SIGALRM, &action, &before);
  struct itimerval interval {
    {0, 2000}, { 0, 2000 }
  };
  setitimer(ITIMER_REAL, &interval, nullptr);
  ev_timer_set(&timer_, 0.05, 0.);
  ev_timer_start(loop_, &timer_);
  ev_run(loop_, 0);
  interval = {};
  setitimer(ITIMER_REAL, &interval, nullptr);
  sigaction(SIGALRM, &before, nullptr);
  const auto record = recorded("interrupted");
  EXPECT_GE(record.interrupted, 5u);
  EXPECT_EQ(calls_, 1);
}

TEST_F(Instrument, OtherWaitsOfTheThreadAreNotTheLoops) {
  instrument(loop_, {.name = "not mine"});
  ev_run(loop_, EVRUN_ONCE);
  const int other = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event {};
  EXPECT_EQ(epoll_wait(other, &event, 1, 0), 0);
  EXPECT_EQ(poll(nullptr, 0, 0), 0);
  close(other);
  EXPECT_EQ(recorded("not mine").iterations, 1u);
}

TEST_F(Instrument, PauseAndGoOn) {
  InstrumentedLoop& scope = instrument(loop_, {.name = "pausing"});
  ev_run(loop_, EVRUN_ONCE);
  scope.pause(true);
  for (int i = 0; i < 5; ++i) ev_run(loop_, EVRUN_ONCE);
  scope.pause(false);
  ev_run(loop_, EVRUN_ONCE);
  EXPECT_EQ(recorded("pausing").iterations, 2u);
  EXPECT_EQ(calls_, 7);
}

TEST_F(Instrument, ManyTimesAndGone) {
  for (int i = 0; i < 300; ++i) {
    instrument(loop_, {.name = "again", .recent_turns = 16}).release();
  }
  ev_run(loop_, EVRUN_ONCE);
  EXPECT_EQ(calls_, 1);
}

}  // namespace
}  // namespace loopscope
