// SPDX-License-Identifier: Apache-2.0
//
// Values that tests of rules and views start from: a healthy process in which nothing is found. A
// test changes what it is about and nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "instrumentation/recording/histogram.h"
#include "instrumentation/recording/snapshot.h"
#include "instrumentation/snapshot/host_snapshot.h"

namespace loopscope::fixtures {

inline constexpr std::uint64_t kMicrosecond = 1'000;
inline constexpr std::uint64_t kMillisecond = 1'000'000;
inline constexpr std::uint64_t kSecond = 1'000'000'000;
/// 2026-03-01T12:00:00Z, when the snapshots are taken.
inline constexpr std::uint64_t kNow = 1'772'366'400 * kSecond;

inline recording::Histogram times(const std::vector<std::uint64_t>& values_ns) {
  recording::Histogram histogram;
  histogram.scale = recording::Histogram::Scale::kTime;
  for (const std::uint64_t value : values_ns) histogram.add(value);
  return histogram;
}

inline recording::Histogram counts(const std::vector<std::uint64_t>& values) {
  recording::Histogram histogram;
  histogram.scale = recording::Histogram::Scale::kCount;
  for (const std::uint64_t value : values) histogram.add(value);
  return histogram;
}

/// `count` equal turns without a gap between them, the last of them ending at `end_ns`.
inline std::vector<recording::Turn> turns(std::uint64_t count, const recording::Turn& like,
                                          std::uint64_t end_ns = kNow) {
  std::vector<recording::Turn> all(count, like);
  std::uint64_t end = end_ns;
  for (std::uint64_t i = count; i > 0; --i) {
    recording::Turn& turn = all[i - 1];
    turn.turn = i;
    turn.at_ns = end - turn.busy_ns;
    end = turn.at_ns - turn.poll_ns;
  }
  return all;
}

/// A turn that waited 10 ms for one event and dealt with it in 100 µs.
inline recording::Turn healthy_turn() {
  recording::Turn turn;
  turn.poll_ns = 10 * kMillisecond;
  turn.busy_ns = 100 * kMicrosecond;
  turn.timeout_ns = recording::kTimeoutInfinite;
  turn.ready = 1;
  turn.result = recording::WaitResult::kEvents;
  return turn;
}

/// A turn that asked for no wait, got nothing and did nothing.
inline recording::Turn spinning_turn() {
  recording::Turn turn;
  turn.poll_ns = 300;
  turn.busy_ns = 700;
  turn.timeout_ns = 0;
  turn.ready = 0;
  turn.result = recording::WaitResult::kTimeout;
  return turn;
}

inline recording::WatcherSnapshot watcher(std::string name, recording::WatcherKind kind) {
  recording::WatcherSnapshot watcher;
  watcher.name = std::move(name);
  watcher.kind = kind;
  watcher.active = 1;
  watcher.callback = times({});
  return watcher;
}

/// A loop with 1000 healthy turns, polling now.
inline recording::LoopSnapshot healthy_loop(std::string name = "main", std::uint32_t id = 0) {
  recording::LoopSnapshot loop;
  loop.id = id;
  loop.generation = 1;
  loop.name = std::move(name);
  loop.backend = "epoll";
  loop.thread_id = 4242;
  loop.epoll_fd = 5;
  loop.started_ns = kNow - 20 * kSecond;
  loop.iterations = 1000;
  loop.ready_events = 1000;
  loop.stall_threshold_ns = 100 * kMillisecond;
  loop.phase = recording::Phase::kPolling;
  loop.phase_ns = 5 * kMillisecond;
  loop.poll_wait = times(std::vector<std::uint64_t>(1000, 10 * kMillisecond));
  loop.busy = times(std::vector<std::uint64_t>(1000, 100 * kMicrosecond));
  loop.ready = counts(std::vector<std::uint64_t>(1000, 1));
  loop.poll_delay = times({});
  loop.timer_lag = times({});
  loop.recent = turns(500, healthy_turn(), kNow - loop.phase_ns);
  for (auto& turn : loop.recent) turn.turn += 500;
  loop.ring_turns = recording::kDefaultRingTurns;
  return loop;
}

inline recording::RecordingSnapshot healthy_recording() {
  recording::RecordingSnapshot recording;
  recording.version = recording::kVersion;
  recording.pid = 1234;
  recording.parent_pid = 1;
  recording.start_ticks = 987654;
  recording.command = "server";
  recording.argv = {"./server", "--port", "80"};
  recording.started_ns = kNow - 30 * kSecond;
  recording.taken_ns = kNow;
  recording.path = "/run/user/1000/loopscope/1234-987654-0.loopscope";
  recording.loops.push_back(healthy_loop());
  return recording;
}

inline snapshot::ProcessSnapshot healthy_process() {
  snapshot::ProcessSnapshot process;
  process.recording = healthy_recording();
  process.loop_facts = {{.registered_fds = 4, .active_ready_ratio = 0.25}};
  process::Resources resources;
  resources.pid = 1234;
  resources.parent_pid = 1;
  resources.state = 'S';
  resources.cpu_seconds = 1.25;
  resources.resident_bytes = 8 << 20;
  resources.start_ticks = 987654;
  resources.started_ns = process.recording.started_ns;
  process.resources = resources;
  process.fds.open = 12;
  process.fds.limit = 1024;
  process.fds.by_kind = {{"tcp", 8}, {"epoll", 1}, {"file", 3}};
  return process;
}

inline snapshot::HostSnapshot healthy_host() {
  snapshot::HostSnapshot host;
  host.taken_at_ns = kNow;
  host.version = "0.1.0";
  host.processes.push_back(healthy_process());
  return host;
}

/// A process as big as a view must bear: `loops` loops with `watchers` watchers each, whose
/// histograms span 1 µs to 0.1 s.
inline snapshot::HostSnapshot large_host(std::uint32_t loops, std::uint32_t watchers) {
  std::vector<std::uint64_t> spread;
  for (double ns = 1e3; ns < 1e8; ns *= 1.03) spread.push_back(static_cast<std::uint64_t>(ns));
  snapshot::HostSnapshot host = healthy_host();
  auto& process = host.processes.front();
  process.recording.loops.clear();
  for (std::uint32_t i = 0; i < loops; ++i) {
    recording::LoopSnapshot loop = healthy_loop("loop-" + std::to_string(i), i);
    loop.poll_wait = loop.busy = loop.poll_delay = loop.timer_lag = times(spread);
    loop.recent = turns(256, healthy_turn());
    for (std::uint32_t w = 0; w < watchers; ++w) {
      auto one = watcher("watcher-" + std::to_string(w), recording::WatcherKind::kTimer);
      one.callback = times(spread);
      one.lag = times(spread);
      loop.watchers.push_back(std::move(one));
    }
    process.recording.loops.push_back(std::move(loop));
  }
  process.loop_facts.assign(loops, {.registered_fds = 4, .active_ready_ratio = 0.25});
  return host;
}

}  // namespace loopscope::fixtures
