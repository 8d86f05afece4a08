// SPDX-License-Identifier: Apache-2.0
#include "cli/top_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "fixtures.h"

namespace loopscope::cli::top {
namespace {

using fixtures::kMicrosecond;
using fixtures::kMillisecond;
using fixtures::kNow;
using fixtures::kSecond;
using testing::ElementsAre;

constexpr std::uint64_t kStart = 5'000 * kSecond;  // of the monotonic clock

snapshot::HostSnapshot host_at(std::uint64_t seconds) {
  snapshot::HostSnapshot host;
  host.taken_at_ns = kNow + seconds * kSecond;
  host.processes.push_back(fixtures::healthy_process());
  return host;
}

recording::LoopSnapshot& loop_of(snapshot::HostSnapshot& host) {
  return host.processes.at(0).recording.loops.at(0);
}

LoopKey key_of(const snapshot::HostSnapshot& host) {
  const auto& process = host.processes.at(0);
  return {process.id(), process.recording.loops.at(0).id, process.recording.loops.at(0).generation};
}

/// `turns` more turns, each so busy and after such a wait.
void run(recording::LoopSnapshot& loop, std::uint64_t turns, std::uint64_t busy_ns,
         std::uint64_t wait_ns) {
  for (std::uint64_t i = 0; i < turns; ++i) {
    loop.busy.add(busy_ns);
    loop.poll_wait.add(wait_ns);
    loop.ready.add(2);
  }
  loop.iterations += turns;
  loop.ready_events += 2 * turns;
}

TEST(TopDifference, IsWhatCameBetween) {
  const auto before = fixtures::times({1000, 1000, 50'000});
  auto now = before;
  now.add(1000);
  now.add(2'000'000);
  const auto between = difference(now, before);
  EXPECT_EQ(between.count, 2u);
  EXPECT_EQ(between.sum, 2'001'000u);
  EXPECT_EQ(between.max, 2'000'000u);  // a new record: exact
  EXPECT_NEAR(static_cast<double>(between.min), 1000, 32);
  EXPECT_NEAR(between.quantile(0.5), 1000, 32);
}

TEST(TopDifference, NothingCameBetween) {
  const auto one = fixtures::times({1000, 70'000});
  EXPECT_EQ(difference(one, one).count, 0u);
  EXPECT_EQ(difference(one, one).sum, 0u);
}

TEST(TopDifference, AnOldRecordIsNoneOfThisWindow) {
  const auto before = fixtures::times({900 * kMillisecond});
  auto now = before;
  now.add(1 * kMillisecond);
  EXPECT_LE(difference(now, before).max, 1'032'000u);
  EXPECT_GE(difference(now, before).max, 1 * kMillisecond);
}

TEST(TopHistory, TheFirstSnapshotIsTheWholeLife) {
  History history;
  const auto host = host_at(0);
  history.add(host, kStart);
  const auto& loop = host.processes[0].recording.loops[0];
  const LoopWindow window = history.loop(key_of(host), loop, Window::kInterval);
  EXPECT_TRUE(window.since_start);
  EXPECT_EQ(window.turns, 1000u);
  EXPECT_DOUBLE_EQ(*window.turns_per_second, 50);  // 1000 turns in 20 s
  EXPECT_FALSE(history.interval_seconds());
}

TEST(TopHistory, RatesAndUtilizationOfTheLastInterval) {
  History history;
  auto host = host_at(0);
  loop_of(host).phase_ns = 0;
  history.add(host, kStart);
  run(loop_of(host), 100, 8 * kMillisecond, 2 * kMillisecond);
  host.taken_at_ns += 2 * kSecond;
  history.add(host, kStart + 2 * kSecond);
  const LoopWindow window = history.loop(key_of(host), loop_of(host), Window::kInterval);
  EXPECT_FALSE(window.since_start);
  EXPECT_DOUBLE_EQ(window.seconds, 2);
  EXPECT_EQ(window.turns, 100u);
  EXPECT_DOUBLE_EQ(*window.turns_per_second, 50);
  EXPECT_DOUBLE_EQ(*window.ready_per_turn, 2);
  EXPECT_DOUBLE_EQ(*window.utilization, 0.8);
  EXPECT_EQ(window.busy.count, 100u);
  EXPECT_NEAR(window.busy.quantile(0.99), 8e6, 8e6 * 0.032);
}

TEST(TopHistory, TheTurnInProgressIsBusyTime) {
  History history;
  auto host = host_at(0);
  loop_of(host).phase = recording::Phase::kDispatching;
  loop_of(host).phase_ns = 0;
  history.add(host, kStart);
  loop_of(host).phase_ns = kSecond;
  history.add(host, kStart + kSecond);
  EXPECT_DOUBLE_EQ(*history.utilization(key_of(host), loop_of(host), Window::kInterval), 1);
}

TEST(TopHistory, NothingPassedIsNotZero) {
  History history;
  const auto host = host_at(0);
  history.add(host, kStart);
  history.add(host, kStart + kSecond);
  const auto& loop = host.processes[0].recording.loops[0];
  EXPECT_FALSE(history.utilization(key_of(host), loop, Window::kInterval));
  EXPECT_FALSE(history.loop(key_of(host), loop, Window::kInterval).ready_per_turn);
}

TEST(TopHistory, WindowsOfTenAndHundredSeconds) {
  History history;
  auto host = host_at(0);
  loop_of(host).started_ns = kNow - 1000 * kSecond;
  loop_of(host).phase_ns = 0;
  // One turn a second: a millisecond busy at first, two in the last 50 s, three in the last five.
  for (std::uint64_t second = 0; second <= 150; ++second) {
    if (second != 0) {
      const std::uint64_t busy = second > 145 ? 3 : second > 100 ? 2 : 1;
      run(loop_of(host), 1, busy * kMillisecond, (1000 - busy) * kMillisecond);
    }
    host.taken_at_ns = kNow + second * kSecond;
    history.add(host, kStart + second * kSecond);
  }
  const LoopWindow ten = history.loop(key_of(host), loop_of(host), Window::kTenSeconds);
  EXPECT_DOUBLE_EQ(ten.seconds, 10);
  EXPECT_EQ(ten.turns, 10u);
  EXPECT_EQ(ten.busy_ns, (5 * 3 + 5 * 2) * kMillisecond);
  const LoopWindow hundred = history.loop(key_of(host), loop_of(host), Window::kHundredSeconds);
  EXPECT_NEAR(hundred.seconds, 100, 5);  // one copy in ten seconds is kept
  EXPECT_EQ(hundred.turns, static_cast<std::uint64_t>(hundred.seconds));
  EXPECT_EQ(history.loop(key_of(host), loop_of(host), Window::kLife).turns, 1150u);
}

TEST(TopHistory, WindowsAreAsLongWhenLookedAtMoreOften) {
  History history;
  auto host = host_at(0);
  loop_of(host).started_ns = kNow - 1000 * kSecond;
  for (std::uint64_t tick = 0; tick <= 4 * 120; ++tick) {
    run(loop_of(host), 1, kMillisecond, 249 * kMillisecond);
    host.taken_at_ns = kNow + tick * kSecond / 4;
    history.add(host, kStart + tick * kSecond / 4);
  }
  EXPECT_NEAR(history.loop(key_of(host), loop_of(host), Window::kTenSeconds).seconds, 10, 0.5);
  EXPECT_NEAR(history.loop(key_of(host), loop_of(host), Window::kHundredSeconds).seconds, 100, 5);
  EXPECT_DOUBLE_EQ(history.loop(key_of(host), loop_of(host), Window::kInterval).seconds, 0.25);
}

TEST(TopHistory, ALoopYoungerThanTheWindowHasLivedInIt) {
  History history;
  auto host = host_at(0);
  loop_of(host).started_ns = kNow - 4 * kSecond;
  history.add(host, kStart);
  host.taken_at_ns += kSecond;
  history.add(host, kStart + kSecond);
  const LoopWindow window = history.loop(key_of(host), loop_of(host), Window::kTenSeconds);
  EXPECT_TRUE(window.since_start);
  EXPECT_DOUBLE_EQ(window.seconds, 5);
}

TEST(TopHistory, ASlotThatBeganAnewHasNoPast) {
  History history;
  auto host = host_at(0);
  history.add(host, kStart);
  loop_of(host) = fixtures::healthy_loop();
  loop_of(host).iterations = 3;
  loop_of(host).busy = fixtures::times({1, 2, 3});
  history.add(host, kStart + kSecond);
  EXPECT_EQ(history.loop(key_of(host), loop_of(host), Window::kInterval).turns, 3u);
}

TEST(TopHistory, SharesOfWatchers) {
  History history;
  auto host = host_at(0);
  auto& loop = loop_of(host);
  loop.phase_ns = 0;
  loop.watchers = {fixtures::watcher("read", recording::WatcherKind::kIo),
                   fixtures::watcher("tick", recording::WatcherKind::kTimer)};
  loop.watchers[1].lag = fixtures::times({});
  history.add(host, kStart);
  run(loop, 10, 10 * kMillisecond, 90 * kMillisecond);
  for (int i = 0; i < 10; ++i) loop.watchers[0].callback.add(7 * kMillisecond);
  for (int i = 0; i < 5; ++i) loop.watchers[1].callback.add(2 * kMillisecond);
  loop.watchers[1].lag->add(kMillisecond);
  history.add(host, kStart + kSecond);
  auto rows = history.watchers(key_of(host), loop, Window::kInterval);
  arrange(rows, WatcherSort::kShare, true, "");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].watcher->name, "read");
  EXPECT_DOUBLE_EQ(*rows[0].share, 0.7);
  EXPECT_DOUBLE_EQ(*rows[0].calls_per_second, 10);
  EXPECT_DOUBLE_EQ(*rows[1].share, 0.1);
  EXPECT_EQ(rows[1].lag->count, 1u);
  arrange(rows, WatcherSort::kName, true, "TICK");
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].watcher->name, "tick");
}

TEST(TopHistory, TheCallbackThatRunsNowCountsForItsShare) {
  History history;
  auto host = host_at(0);
  auto& loop = loop_of(host);
  loop.watchers = {fixtures::watcher("slow", recording::WatcherKind::kIo)};
  loop.phase = recording::Phase::kDispatching;
  loop.phase_ns = 0;
  history.add(host, kStart);
  loop.phase_ns = 2 * kSecond;
  loop.running_watcher = 1;
  loop.running_watcher_ns = kSecond;
  history.add(host, kStart + 2 * kSecond);
  EXPECT_DOUBLE_EQ(*history.watchers(key_of(host), loop, Window::kInterval)[0].share, 0.5);
}

// --- the overview

/// Three processes with a loop each: pids 1 to 3, busy for 10, 50 and 90 % of the last second.
struct Three {
  History history;
  snapshot::HostSnapshot host;
  Three() {
    host.taken_at_ns = kNow;
    for (int i = 1; i <= 3; ++i) {
      auto process = fixtures::healthy_process();
      process.recording.pid = i;
      process.recording.command = "server" + std::to_string(i);
      process.recording.path = "/x/" + std::to_string(i) + "-987654-0.loopscope";
      process.recording.loops[0].phase_ns = 0;
      host.processes.push_back(process);
    }
    history.add(host, kStart);
    host.taken_at_ns += kSecond;
    const std::uint64_t busy[] = {1, 5, 9};
    for (std::size_t i = 0; i < 3; ++i) {
      run(host.processes[i].recording.loops[0], 100, busy[i] * kMillisecond,
          (10 - busy[i]) * kMillisecond);
    }
    history.add(host, kStart + kSecond);
  }
  std::vector<int> pids(const OverviewOptions& options) const {
    std::vector<int> all;
    for (const Row& row : overview(host, history, options).rows) {
      all.push_back(row.process->recording.pid);
    }
    return all;
  }
};

TEST(TopOverview, SortsByUtilization) {
  const Three three;
  OverviewOptions options;
  EXPECT_THAT(three.pids(options), ElementsAre(3, 2, 1));
  options.descending = false;
  EXPECT_THAT(three.pids(options), ElementsAre(1, 2, 3));
  const auto rows = overview(three.host, three.history, options).rows;
  EXPECT_DOUBLE_EQ(*rows[0].utilization, 0.1);
  EXPECT_DOUBLE_EQ(*rows[2].utilization, 0.9);
  EXPECT_EQ(rows[0].name, "server1: main");
}

TEST(TopOverview, WhatIsNotKnownComesLastEitherWay) {
  Three three;
  three.host.processes[2].recording.loops.clear();
  OverviewOptions options;
  EXPECT_THAT(three.pids(options), ElementsAre(2, 1, 3));
  options.descending = false;
  EXPECT_THAT(three.pids(options), ElementsAre(1, 2, 3));
}

TEST(TopOverview, FiltersByCommandArgumentsLoopAndPid) {
  Three three;
  three.host.processes[0].recording.argv = {"/opt/Server", "--tls"};
  three.host.processes[1].recording.loops[0].name = "acceptor";
  OverviewOptions options;
  options.filter = "TLS";
  EXPECT_THAT(three.pids(options), ElementsAre(1));
  options.filter = "accept";
  EXPECT_THAT(three.pids(options), ElementsAre(2));
  options.filter = "server3";
  EXPECT_THAT(three.pids(options), ElementsAre(3));
  options.filter = "nothing";
  EXPECT_THAT(three.pids(options), ElementsAre());
}

TEST(TopOverview, ATreeKeepsLoopsBelowTheirProcess) {
  Three three;
  auto second = fixtures::healthy_loop("second", 1);
  three.host.processes[0].recording.loops.push_back(second);
  OverviewOptions options;
  options.tree = true;
  const auto rows = overview(three.host, three.history, options).rows;
  ASSERT_EQ(rows.size(), 7u);
  EXPECT_EQ(rows[0].loop, nullptr);
  EXPECT_EQ(rows[0].process->recording.pid, 3);  // by its busiest loop
  EXPECT_EQ(rows[1].name, "main");
  EXPECT_TRUE(rows[1].child);
  for (std::size_t i = 1; i < rows.size(); ++i) {
    if (rows[i].loop != nullptr) {
      EXPECT_EQ(rows[i].process, rows[i - 1].process);
    }
  }
}

TEST(TopOverview, EndedOnesAreShownIfTheyEndedHere) {
  Three three;
  three.host.processes[2].recording.life = recording::Life::kKilled;
  three.host.processes[2].signal = 9;
  auto old = fixtures::healthy_process();
  old.recording.pid = 4;
  old.recording.life = recording::Life::kExited;
  three.host.processes.push_back(old);
  three.history.add(three.host, kStart + 2 * kSecond);
  OverviewOptions options;
  options.sort = Sort::kPid;
  EXPECT_THAT(three.pids(options), ElementsAre(2, 1, 3));  // what has ended comes last
  const Overview all = overview(three.host, three.history, options);
  EXPECT_EQ(all.left_out, 1u);
  EXPECT_EQ(all.rows[2].state, State::kKilled);
  EXPECT_FALSE(all.rows[2].utilization);  // nothing happens any more
  options.ended = true;
  EXPECT_EQ(three.pids(options).size(), 4u);
}

TEST(TopOverview, States) {
  auto process = fixtures::healthy_process();
  auto& loop = process.recording.loops[0];
  EXPECT_EQ(loop_state(process, loop), State::kPolling);
  loop.phase = recording::Phase::kDispatching;
  EXPECT_EQ(loop_state(process, loop), State::kDispatching);
  loop.stalled_ns = kSecond;
  EXPECT_EQ(loop_state(process, loop), State::kStalled);
  process.resources.emplace().state = 'T';
  EXPECT_EQ(loop_state(process, loop), State::kStopped);
  process.recording.life = recording::Life::kExited;
  EXPECT_EQ(loop_state(process, loop), State::kExited);
}

TEST(TopOverview, FindingsBelongToTheLoopTheyName) {
  auto process = fixtures::healthy_process();
  process.recording.loops[0].name = "";
  process.recording.loops.push_back(fixtures::healthy_loop("", 1));
  process.recording.loops.push_back(fixtures::healthy_loop("", 10));
  findings::Finding finding;
  finding.subject = "";
  finding.title = "loop 1 was busy";
  const auto& loops = process.recording.loops;
  EXPECT_FALSE(is_about(finding, process, loops[0]));
  EXPECT_TRUE(is_about(finding, process, loops[1]));
  EXPECT_FALSE(is_about(finding, process, loops[2]));
  finding.subject = "process";
  EXPECT_FALSE(is_about(finding, process, loops[1]));
}

TEST(TopDescriptors, RatesAreOfTheSameDescriptorOnly) {
  auto process = fixtures::healthy_process();
  process.descriptors.emplace();
  for (int fd = 3; fd < 6; ++fd) {
    snapshot::Descriptor descriptor;
    descriptor.record.fd = fd;
    descriptor.record.generation = 1;
    descriptor.record.events = 100;
    descriptor.record.opened_ns = kNow - static_cast<std::uint64_t>(fd) * kSecond;
    descriptor.record.target = "/tmp/" + std::to_string(fd);
    process.descriptors->push_back(descriptor);
  }
  auto before = process;
  (*process.descriptors)[0].record.events = 120;
  (*process.descriptors)[1].record.generation = 3;  // another one with that number
  auto rows = descriptor_rows(process, &before, 2, DescriptorSort::kAge, true, "");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].descriptor->record.fd, 5);  // the oldest
  EXPECT_EQ(*rows[0].age_ns, 5 * kSecond);
  EXPECT_DOUBLE_EQ(*rows[0].events_per_second, 0);
  EXPECT_FALSE(rows[1].events_per_second);
  EXPECT_DOUBLE_EQ(*rows[2].events_per_second, 10);
  rows = descriptor_rows(process, nullptr, 0, DescriptorSort::kFd, false, "tmp/4");
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].what, "/tmp/4");
}

TEST(TopCursor, FollowsItsRow) {
  Cursor cursor;
  cursor.move({"a", "b", "c"}, 1);
  cursor.follow({"c", "a", "b"}, 10);
  EXPECT_EQ(cursor.index, 2u);
  cursor.follow({"c", "a"}, 10);  // "b" is gone: what took its place, or the last
  EXPECT_EQ(cursor.index, 1u);
  EXPECT_EQ(cursor.key, "a");
  cursor.follow({"a", "c"}, 10);
  EXPECT_EQ(cursor.index, 0u);
}

TEST(TopCursor, StaysFirstUntilItIsMoved) {
  Cursor cursor;
  cursor.follow({"a", "b"}, 10);
  cursor.follow({"b", "a"}, 10);
  EXPECT_EQ(cursor.index, 0u);
}

TEST(TopCursor, KeepsItsRowInSight) {
  std::vector<std::string> keys;
  for (int i = 0; i < 100; ++i) keys.push_back(std::to_string(i));
  Cursor cursor;
  cursor.move(keys, 50);
  cursor.follow(keys, 10);
  EXPECT_EQ(cursor.first, 41u);
  cursor.move(keys, -20);
  cursor.follow(keys, 10);
  EXPECT_EQ(cursor.first, 30u);
  cursor.move(keys, 1000);
  cursor.follow(keys, 10);
  EXPECT_EQ(cursor.index, 99u);
  EXPECT_EQ(cursor.first, 90u);
  keys.resize(5);
  cursor.follow(keys, 10);
  EXPECT_EQ(cursor.first, 0u);
  cursor.follow({}, 10);
  EXPECT_EQ(cursor.index, 0u);
}

}  // namespace
}  // namespace loopscope::cli::top
