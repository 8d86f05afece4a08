// SPDX-License-Identifier: Apache-2.0
#include <ev.h>

#include "loop_test_support.h"
#include "loopscope.h"

namespace loopscope {
namespace {

using test::recorded;
using test::watcher;

TEST(CApi, InstrumentsNamesAndReleases) {
  struct ev_loop* loop = ev_loop_new(0);
  loopscope_options options{};
  options.stall_threshold_ns = 5'000'000;
  options.recent_turns = 128;
  loopscope_loop* scope = loopscope_instrument(loop, "from C", &options);
  ASSERT_NE(scope, nullptr);
  EXPECT_EQ(loopscope_instrument(loop, "again", nullptr), scope);
  int calls = 0;
  ev_timer timer;
  ev_timer_init(
      &timer, [](struct ev_loop*, ev_timer* self, int) { ++*static_cast<int*>(self->data); }, 0.001,
      0.);
  timer.data = &calls;
  ev_timer_start(loop, &timer);
  loopscope_name_watcher(scope, &timer, LOOPSCOPE_TIMER, "once");
  ev_run(loop, 0);
  EXPECT_EQ(calls, 1);
  const auto record = recorded("from C");
  EXPECT_EQ(record.stall_threshold_ns, 5'000'000u);
  EXPECT_EQ(record.ring_turns, 128u);
  EXPECT_EQ(watcher(record, "once").callback.count, 1u);
  loopscope_release(scope);
  ev_loop_destroy(loop);
}

TEST(CApi, NullsAreHarmless) {
  EXPECT_EQ(loopscope_instrument(nullptr, nullptr, nullptr), nullptr);
  loopscope_name_watcher(nullptr, nullptr, LOOPSCOPE_IO, nullptr);
  loopscope_unname(nullptr, nullptr);
  loopscope_release(nullptr);
  EXPECT_STREQ(loopscope_recording_error(), "");
}

TEST(CApi, KindsAreTheRecordings) {
  EXPECT_EQ(static_cast<int>(LOOPSCOPE_IO), static_cast<int>(recording::WatcherKind::kIo));
  EXPECT_EQ(static_cast<int>(LOOPSCOPE_ASYNC), static_cast<int>(recording::WatcherKind::kAsync));
}

}  // namespace
}  // namespace loopscope
