// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "cli/run_summary.h"
#include "fixtures.h"

namespace loopscope::cli {
namespace {

using fixtures::kSecond;
using testing::HasSubstr;
using testing::Not;

RunOutcome outcome() {
  RunOutcome outcome;
  outcome.argv = {"./server", "--port", "80"};
  outcome.pid = 1234;
  outcome.duration_ns = 12'345'000'000;
  return outcome;
}

/// PROGRAM with a healthy loop, as it is after its end.
snapshot::HostSnapshot host() {
  snapshot::HostSnapshot host;
  host.version = "1.2.3";
  host.processes.push_back(fixtures::healthy_process());
  snapshot::ProcessSnapshot& process = host.processes[0];
  process.recording.life = recording::Life::kExited;
  process.recording.exit_status = 0;
  process.recording.ended_ns = process.recording.started_ns + 12 * kSecond;
  process.fds.opened = 20;
  process.fds.closed = 17;
  process.fds.open = 3;
  return host;
}

snapshot::ProcessSnapshot child(std::int32_t pid, bool with_loop) {
  snapshot::ProcessSnapshot process = fixtures::healthy_process();
  process.recording.pid = pid;
  process.recording.parent_pid = 1234;
  process.recording.command = "child";
  process.recording.path = "/x/" + std::to_string(pid) + "-1-0-77.loopscope";
  process.recording.life = recording::Life::kExited;
  process.recording.exit_status = 0;
  process.recording.ended_ns = process.recording.started_ns + kSecond;
  process.fds = {};
  process.fds.opened = 4;
  process.fds.closed = 3;
  if (!with_loop) process.recording.loops.clear();
  return process;
}

std::string text(const RunOutcome& outcome, const snapshot::HostSnapshot& host) {
  std::ostringstream out;
  write_run_summary(out, outcome, host);
  return out.str();
}

TEST(RunSummary, OneProcessWithOneLoop) {
  const std::string shown = text(outcome(), host());
  EXPECT_EQ(shown,
            "loopscope: ./server (pid 1234) exited with status 0 after 12.3 s\n"
            "                         turns  utilization  busy p99     max  poll delay p99  max  "
            "timer lag p99  max  ready a turn\n"
            "  loop \"main\" (epoll 5)   1000        1.0 %    100 µs  100 µs               -    -  "
            "            -    -          1.00\n"
            "  descriptors: 20 opened, 17 closed, 3 still open\n");
}

TEST(RunSummary, InheritedDescriptorsAreNoLeaks) {
  snapshot::HostSnapshot with = host();
  with.processes.front().fds.ledger.emplace().inherited = 3;
  EXPECT_THAT(text(outcome(), with), HasSubstr("3 still open (3 were at the start)\n"));
}

TEST(RunSummary, HowItEnded) {
  RunOutcome killed = outcome();
  killed.end = {true, 11};
  EXPECT_THAT(text(killed, host()), HasSubstr("was killed by SIGSEGV after"));
  killed.end = {true, 40};
  EXPECT_THAT(text(killed, host()), HasSubstr("was killed by signal 40 after"));
  killed.end = {false, 3};
  EXPECT_THAT(text(killed, host()), HasSubstr("exited with status 3 after"));
}

TEST(RunSummary, NothingRecorded) {
  RunOutcome unseen = outcome();
  unseen.unseen = "it is statically linked";
  EXPECT_EQ(text(unseen, {}),
            "loopscope: ./server (pid 1234) exited with status 0 after 12.3 s; nothing was "
            "recorded: it is statically linked\n");
}

TEST(RunSummary, FindingsHaveALineEach) {
  snapshot::HostSnapshot found = host();
  for (int i = 0; i < 7; ++i) {
    findings::Finding finding;
    finding.rule = "loop-stall";
    finding.severity = findings::Severity::kWarning;
    finding.title = "stalled\n" + std::to_string(i);
    found.processes[0].findings.push_back(finding);
  }
  const std::string shown = text(outcome(), found);
  EXPECT_THAT(shown, HasSubstr("  warning: stalled?0 [loop-stall]\n"));
  EXPECT_THAT(shown, HasSubstr("  and 2 findings more: loopscope report 1234\n"));
  EXPECT_THAT(shown, Not(HasSubstr("stalled?5")));
}

TEST(RunSummary, ManyProcessesAreALine) {
  snapshot::HostSnapshot many = host();
  for (int i = 0; i < 200; ++i) many.processes.push_back(child(2000 + i, i < 3));
  many.processes[100].recording.exit_status = 1;
  many.folded.count = 1800;
  many.folded.killed = 5;
  many.folded.opened = 1800;
  many.folded.closed = 1700;
  const std::string shown = text(outcome(), many);
  // PROGRAM, three with loops, eight others.
  EXPECT_THAT(shown, HasSubstr("  child (pid 2002) exited with status 0 after 1 s\n"));
  EXPECT_THAT(shown,
              HasSubstr("exited with status 0 after 1 s; descriptors: 4 opened, 3 closed\n"));
  EXPECT_THAT(shown, HasSubstr("  and 1989 processes more: 1 failed, 5 killed, 2556 descriptors "
                               "opened, 2267 closed\n"));
  EXPECT_LT(std::count(shown.begin(), shown.end(), '\n'), 40);
}

TEST(RunSummary, ProgramComesFirstThenWhoTurnedMost) {
  snapshot::HostSnapshot some;
  some.processes = {child(3000, false), child(3001, true), child(3002, true),
                    fixtures::healthy_process()};
  some.processes[2].recording.loops[0].iterations = 5000;
  std::vector<std::int32_t> pids;
  for (const auto* process : summary_order(some, 1234)) pids.push_back(process->recording.pid);
  EXPECT_THAT(pids, testing::ElementsAre(1234, 3002, 3001, 3000));
}

TEST(RunSummary, ImagesOfOneProcess) {
  snapshot::HostSnapshot images = host();
  images.processes.push_back(images.processes[0]);
  images.processes[0].recording.path = "/x/1234-987654-1-77.loopscope";
  images.processes[1].recording.path = "/x/1234-987654-0-77.loopscope";
  images.processes[1].recording.command = "sh";
  images.processes[1].recording.life = recording::Life::kKilled;  // as it left it
  const std::string shown = text(outcome(), images);
  EXPECT_THAT(shown, HasSubstr("  sh (pid 1234) became another program after 12 s\n"));
  EXPECT_EQ(summary_order(images, 1234)[0]->recording.command, "sh");

  // Without a loop it is no news.
  images.processes[1].recording.loops.clear();
  EXPECT_THAT(text(outcome(), images), Not(HasSubstr("became")));
  EXPECT_FALSE(worth_a_line(images.processes[1], outcome(), images));
  EXPECT_TRUE(worth_a_line(images.processes[0], outcome(), images));
}

TEST(RunSummary, WhoeverLivesOn) {
  snapshot::HostSnapshot daemons = host();
  daemons.processes.push_back(child(2000, true));
  daemons.processes[1].recording.life = recording::Life::kRunning;
  EXPECT_THAT(text(outcome(), daemons), HasSubstr("  child (pid 2000) still runs\n"));
  EXPECT_THAT(text(outcome(), daemons),
              HasSubstr("  1 descendant runs on; `loopscope serve` goes on showing it\n"));
  daemons.processes.push_back(daemons.processes[1]);
  EXPECT_THAT(text(outcome(), daemons), HasSubstr("  2 descendants run on; "));
}

TEST(RunSummary, Json) {
  snapshot::HostSnapshot shown = host();
  shown.processes[0].recording.argv.emplace_back("\xff");  // not UTF-8
  RunOutcome killed = outcome();
  killed.end = {true, 15};
  const auto json = nlohmann::json::parse(run_summary_json(killed, shown));
  EXPECT_EQ(json["schema"], "loopscope.run/1");
  EXPECT_EQ(json["state"], "killed");
  EXPECT_EQ(json["signal"], "SIGTERM");
  EXPECT_TRUE(json["exit_status"].is_null());
  EXPECT_TRUE(json["url"].is_null());
  EXPECT_TRUE(json["unseen"].is_null());
  const auto& process = json["processes"].at(0);
  EXPECT_EQ(process["signal"], "SIGTERM");
  EXPECT_EQ(process["fds"]["opened"], 20);
  EXPECT_EQ(process["fds"]["open"], 3);
  EXPECT_DOUBLE_EQ(process["duration_seconds"], 12);
  const auto& loop = process["loops"].at(0);
  EXPECT_EQ(loop["iterations"], 1000);
  EXPECT_DOUBLE_EQ(loop["busy_turn_seconds"]["max"], 100e-6);
  EXPECT_NEAR(loop["busy_turn_seconds"]["p99"], 100e-6, 3e-6);
  EXPECT_EQ(loop["timer_lag_seconds"]["count"], 0);
  EXPECT_TRUE(loop["timer_lag_seconds"]["max"].is_null()) << "unknown is not 0";
}

TEST(RunSummary, SignalNames) {
  EXPECT_EQ(signal_name(15), "SIGTERM");
  EXPECT_EQ(signal_name(40), "signal 40");
}

}  // namespace
}  // namespace loopscope::cli
