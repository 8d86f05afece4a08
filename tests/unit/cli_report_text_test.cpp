// SPDX-License-Identifier: Apache-2.0
//
// A snapshot as text for people.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "cli/report.h"

namespace loopscope::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string report_of(recording::LoopSnapshot loop) {
  snapshot::ProcessSnapshot process;
  process.recording.pid = 4711;
  process.recording.command = "server";
  process.recording.loops.push_back(std::move(loop));
  process.loop_facts.resize(1);
  std::ostringstream out;
  write_report(out, process);
  return out.str();
}

/// One turn that ran "slow" for 2 s and two others, of which `kept` records are still there.
recording::LoopSnapshot a_loop(std::uint32_t kept) {
  recording::LoopSnapshot loop;
  loop.iterations = 1;
  loop.stall_threshold_ns = 100'000'000;
  loop.watchers.emplace_back().name = "slow";
  recording::Turn turn;
  turn.turn = 1;
  turn.busy_ns = 3'000'000'000;
  turn.watcher = 1;
  turn.watcher_ns = 2'000'000'000;
  turn.served_first = 0;
  turn.served_count = kept;
  turn.served_lost = 3 - kept;
  loop.recent.push_back(turn);
  std::vector<recording::Served> served(kept);
  for (recording::Served& one : served) {
    one.fd = 5;
    one.kind = recording::DescriptorKind::kPipe;
    one.ns = 500'000'000;
  }
  loop.served = std::make_shared<const std::vector<recording::Served>>(std::move(served));
  return loop;
}

TEST(ReportText, TheLongestCallbackIsToldThoughWhatWasServedIsLost) {
  EXPECT_THAT(report_of(a_loop(0)), HasSubstr("\"slow\" (io) 2 s and 2 more"));
  const std::string some = report_of(a_loop(2));
  EXPECT_THAT(some, HasSubstr("pipe 5 500 ms, pipe 5 500 ms and 1 more"));
  EXPECT_THAT(some, Not(HasSubstr("(io) 2 s")));
}

}  // namespace
}  // namespace loopscope::cli
