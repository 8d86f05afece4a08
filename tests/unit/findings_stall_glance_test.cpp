// SPDX-License-Identifier: Apache-2.0
//
// What the stall budget's finding says of a thread that was seen in the middle of its stall.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "instrumentation/findings/end_rules.h"
#include "tests/unit/fixtures.h"

namespace loopscope::findings {
namespace {

using namespace loopscope::fixtures;
using recording::StackFrame;
using testing::HasSubstr;
using testing::Not;

constexpr char kProgram[] = "/home/me/build/server";
constexpr char kLibc[] = "/usr/lib/x86_64-linux-gnu/libc.so.6";

StackFrame frame(const char* function, const char* file, int line, const char* module) {
  StackFrame frame;
  frame.function = function;
  frame.file = file;
  frame.line = line;
  frame.module = module;
  return frame;
}

recording::Stack stack(std::vector<StackFrame> frames) {
  return std::make_shared<const std::vector<StackFrame>>(std::move(frames));
}

/// A loop whose turn 17 took 80 ms, and somebody who saw it sleep.
class Stalled : public testing::Test {
 protected:
  Stalled() {
    recording_ = healthy_recording();
    recording_.loops.front().busy.add(80 * kMillisecond);
    auto& worst = recording_.loops.front().worst_turn.emplace();
    worst.turn = 17;
    worst.busy_ns = 80 * kMillisecond;
    worst.at_ns = recording_.started_ns + kSecond;
    glance_.loop_id = recording_.loops.front().id;
    glance_.generation = recording_.loops.front().generation;
    glance_.turn = 17;
    glance_.into_ns = 62 * kMillisecond;
    glance_.seen_ns = 75 * kMillisecond;
    glance_.doing = StallGlance::Doing::kBlocked;
    glance_.call = "clock_nanosleep";
    glance_.stack = stack({
        frame("__GI___clock_nanosleep@@GLIBC_2.17", "", 0, kLibc),
        frame("usleep", "", 0, kLibc),
        frame("slow_callback(int)", "/home/me/server.c", 42, kProgram),
        frame("main", "/home/me/server.c", 90, kProgram),
    });
  }

  Finding judge(std::uint64_t most_ns = 50 * kMillisecond) {
    const std::vector<StallGlance> glances = {glance_};
    Image image{recording_, [](std::size_t) { return recording::Stack(); }, kProgram};
    image.glances = glances;
    image.ending = ending_;
    const std::vector<Finding> found = evaluate_end({image, {.stall_ns = most_ns}, {}});
    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? Finding{} : found.front();
  }

  recording::RecordingSnapshot recording_;
  StallGlance glance_;
  Ending ending_ = Ending::kExited;
};

TEST_F(Stalled, NamesTheCallAndTheLine) {
  const Finding finding = judge();
  EXPECT_THAT(finding.detail, HasSubstr("It was turn 17, "));
  EXPECT_THAT(finding.detail,
              HasSubstr(" 62 ms into it the thread was in usleep (system call clock_nanosleep), "
                        "called at slow_callback (server.c:42)."));
  ASSERT_EQ(finding.places.size(), 1u);
  EXPECT_EQ(finding.places[0].role, "the thread was");
  EXPECT_EQ(finding.places[0].frame, 2u);
}

TEST_F(Stalled, WithinItsLimitIsNoFinding) {
  const std::vector<StallGlance> glances = {glance_};
  Image image{recording_, [](std::size_t) { return recording::Stack(); }, kProgram};
  image.glances = glances;
  EXPECT_TRUE(evaluate_end({image, {.stall_ns = 80 * kMillisecond}, {}}).empty());
}

TEST_F(Stalled, OfAnotherLoopSaysNothing) {
  glance_.generation += 2;
  const Finding finding = judge();
  EXPECT_THAT(finding.detail, Not(HasSubstr("the thread was")));
  EXPECT_TRUE(finding.places.empty());
}

TEST_F(Stalled, ByComputingTellsTheCpuTime) {
  glance_.doing = StallGlance::Doing::kComputing;
  glance_.call.clear();
  glance_.times = {{40 * kMillisecond, 39 * kMillisecond, kMillisecond}};
  glance_.stack = stack({frame("hash", "/home/me/hash.c", 7, kProgram),
                         frame("main", "/home/me/server.c", 90, kProgram)});
  EXPECT_THAT(judge().detail, HasSubstr("the thread was computing (39 ms of CPU in the 40 ms "
                                        "before) at hash (hash.c:7)."));
  glance_.times = {{40 * kMillisecond, 5 * kMillisecond, 34 * kMillisecond}};
  EXPECT_THAT(judge().detail, HasSubstr("5 ms of CPU in the 40 ms before; for 34 ms it was ready "
                                        "and others had the CPU) at hash"));
  glance_.times.reset();
  glance_.stack = stack({frame("__memmove_avx_unaligned_erms", "", 0, kLibc),
                         frame("copy", "/home/me/copy.c", 7, kProgram)});
  EXPECT_THAT(judge().detail, HasSubstr("was computing in memmove_avx_unaligned_erms, called at "
                                        "copy (copy.c:7)."));
}

TEST_F(Stalled, SkipsTheProbe) {
  glance_.call = "recvfrom";
  glance_.stack = stack({frame("__libc_recv", "", 0, kLibc),
                         frame("hook_recv", "hooks.cpp", 3, "/usr/lib/libloopscope-probe.so"),
                         frame("fetch", "/home/me/fetch.c", 8, kProgram)});
  EXPECT_THAT(judge().detail,
              HasSubstr("was in recv (system call recvfrom), called at fetch (fetch.c:8)."));
}

TEST_F(Stalled, WithoutAStackSaysWhy) {
  glance_.stack.reset();
  glance_.no_stack = "Operation not permitted (process 7 traces it)";
  const Finding finding = judge();
  EXPECT_THAT(finding.detail,
              HasSubstr("the thread was in the system call clock_nanosleep; its stack could not be "
                        "read: Operation not permitted (process 7 traces it)."));
  EXPECT_TRUE(finding.places.empty());
}

TEST_F(Stalled, StoppedIsSaid) {
  glance_.doing = StallGlance::Doing::kStopped;
  EXPECT_THAT(judge().detail, HasSubstr("the thread was stopped by a signal or a debugger at"));
}

TEST_F(Stalled, AnotherTurnIsNotTakenForTheLongest) {
  glance_.turn = 5;
  glance_.seen_ns = 60 * kMillisecond;
  const Finding finding = judge();
  EXPECT_THAT(finding.detail, HasSubstr("It was turn 17"));
  EXPECT_THAT(finding.detail, HasSubstr("Of turn 5, which stalled as well, was seen: 62 ms into"));
  EXPECT_EQ(finding.places.size(), 1u);
}

TEST_F(Stalled, ATurnThatNeverEndedIsTheLongest) {
  glance_.turn = 18;
  glance_.seen_ns = 3 * kSecond;
  ending_ = Ending::kKilled;
  const Finding finding = judge();
  EXPECT_THAT(finding.title, HasSubstr("stalled for more than 3 s"));
  EXPECT_THAT(finding.detail, HasSubstr("It was turn 18, which had not ended when the process did. "
                                        "62 ms into it the thread was in usleep"));
  EXPECT_THAT(finding.detail, Not(HasSubstr("turn 17")));
}

TEST_F(Stalled, WhoLeavesItsLoopAndExitsDoesNotStall) {
  glance_.turn = 18;
  glance_.seen_ns = 3 * kSecond;
  const Finding finding = judge();
  EXPECT_THAT(finding.title, HasSubstr("stalled for 80 ms"));
  EXPECT_THAT(finding.detail, HasSubstr("It was turn 17"));
  EXPECT_THAT(finding.detail, Not(HasSubstr("18")));
}

}  // namespace
}  // namespace loopscope::findings
