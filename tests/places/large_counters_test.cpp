// SPDX-License-Identifier: Apache-2.0
//
// Loops that have turned a billion times and more. No test waits for that: a loop's counters are
// set in its recording, and the writer goes on from there, across 2^16, 2^31, 2^32, 2^53 and 2^63
// turns. The reader, the JSON and the metrics must say the same number, to the last digit where the
// format has room for it.
#include <gtest/gtest.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "instrumentation/metrics/collector.h"
#include "instrumentation/recording/ledger.h"
#include "instrumentation/recording/loop_recorder.h"
#include "instrumentation/recording/reader.h"
#include "instrumentation/snapshot/json.h"

namespace loopscope::recording {
namespace {

constexpr std::uint64_t kBusy = 1'000;  // ns of each turn that is not made but set
constexpr std::uint64_t kPoll = 3'000;
constexpr std::uint64_t kLive = 100;  // turns that are made after those

LoopBlock& block_of(const LoopRecorder& recorder) {
  const Region& region = ProcessRecorder::instance().region();
  return *region.at<LoopBlock>(region.loops()[recorder.id()].block_offset.load());
}

void set(HistogramTotals& totals, Cell<std::uint64_t>& bucket, std::uint64_t count,
         std::uint64_t value) {
  bucket.store(count);
  totals.sum.store(count * value);
  totals.min.store(value);
  totals.max.store(value);
}

/// As if the loop had made `turns` turns.
void make_old(const LoopRecorder& recorder, std::uint64_t turns) {
  LoopBlock& block = block_of(recorder);
  block.hot.turns.store(turns);
  block.hot.folded.store(turns);
  block.hot.timeouts.store(turns / 2);
  block.hot.nonblocking.store(turns / 4);
  // A sum of ns reaches 2^64 after 584 years; from there on the time of a turn is one that fits.
  const std::uint64_t fits = turns < (1ull << 51) ? 1 : 0;
  set(block.hot.busy, block.busy_buckets[time_index(kBusy * fits)], turns, kBusy * fits);
  set(block.hot.poll_wait, block.poll_wait_buckets[time_index(kPoll * fits)], turns, kPoll * fits);
  set(block.hot.ready, block.ready_buckets[count_index(1)], turns, 1);
}

snapshot::HostSnapshot host_of(const std::string& loop) {
  auto reader = read_own_process();
  EXPECT_TRUE(reader);
  auto taken = reader->read({.recent = 4096, .served = true});
  EXPECT_TRUE(taken);
  std::erase_if(taken->loops, [&](const LoopSnapshot& one) { return one.name != loop; });
  EXPECT_EQ(taken->loops.size(), 1u);
  snapshot::HostSnapshot host;
  host.taken_at_ns = taken->taken_ns;
  host.processes.emplace_back();
  host.processes[0].recording = std::move(*taken);
  host.processes[0].loop_facts.resize(1);
  return host;
}

/// What stands behind `name` and its labels, as text.
std::string sample(const std::string& page, const std::string& name) {
  for (std::size_t at = page.find("\n" + name); at != std::string::npos;
       at = page.find("\n" + name, at + 1)) {
    const char after = page[at + 1 + name.size()];
    if (after != '{' && after != ' ') continue;
    const std::size_t end = page.find('\n', at + 1);
    return page.substr(page.rfind(' ', end) + 1, end - page.rfind(' ', end) - 1);
  }
  return "none";
}

TEST(LargeCounters, AreRightInEveryView) {
  const std::uint64_t olds[] = {(1ull << 16) - 50, 1'000'000'000,     (1ull << 31) - 50,
                                (1ull << 32) - 50, 1'000'000'000'000, (1ull << 53) - 150,
                                (1ull << 53) - 50, (1ull << 63) - 50, ~0ull - 200};
  int tried = 0;
  for (const std::uint64_t old : olds) {
    const std::string name = "old-" + std::to_string(old);
    SCOPED_TRACE(name);
    LoopRecorder recorder({.name = name.c_str(), .backend = "epoll", .ring_turns = 256});
    const WatcherRef watcher = recorder.watcher("beat", 4, WatcherKind::kTimer);
    make_old(recorder, old);
    recorder.enter();
    for (std::uint64_t i = 0; i < kLive; ++i) {
      recorder.poll_begin();
      recorder.poll_end({1, WaitResult::kEvents, false, kTimeoutInfinite});
      recorder.callback_end(recorder.callback_begin(watcher, true), watcher);
      if (i % 7 == 0 || i == kLive - 1) {
        // In a turn, which counts.
        const auto host = host_of(name);
        ASSERT_EQ(host.processes[0].recording.loops[0].iterations, old + i + 1);
      }
    }
    recorder.leave();
    const snapshot::HostSnapshot host = host_of(name);
    const LoopSnapshot& loop = host.processes[0].recording.loops[0];
    const std::uint64_t turns = old + kLive;
    EXPECT_EQ(loop.iterations, turns);
    EXPECT_EQ(loop.busy.count, turns);
    EXPECT_EQ(loop.poll_wait.count, turns);
    EXPECT_EQ(loop.ready.count, turns);
    EXPECT_EQ(loop.ready_events, turns);
    EXPECT_EQ(loop.timeouts, old / 2);
    EXPECT_EQ(loop.watchers.at(0).callback.count, kLive);
    // The turns that were made, all of them and no others, each with its callback.
    ASSERT_EQ(loop.recent.size(), kLive);
    for (std::uint64_t i = 0; i < kLive; ++i) {
      ASSERT_EQ(loop.recent[i].turn, old + 1 + i);
      ASSERT_EQ(loop.recent[i].ready, 1);
      ASSERT_EQ(loop.recent[i].watcher, 1u);
      ASSERT_EQ(loop.recent[i].served_count, 1u);
      ASSERT_EQ(loop.recent[i].served_lost, 0u);
    }
    // Half of all turns, and more, were those that were set.
    const double median = loop.busy.quantile(0.5);
    if (old < 1ull << 51) {
      EXPECT_NEAR(median, kBusy, kBusy * 0.03);
    }

    const std::string text = snapshot::to_json(host);
    EXPECT_NE(text.find("\"iterations\":" + std::to_string(turns) + ","), std::string::npos);
    EXPECT_NE(text.find("\"ready_events\":" + std::to_string(turns) + ","), std::string::npos);
    EXPECT_NE(text.find("{\"turn\":" + std::to_string(turns) + ","), std::string::npos);
    const auto json = nlohmann::json::parse(text)["processes"][0]["loops"][0];
    EXPECT_EQ(json["iterations"].get<std::uint64_t>(), turns);
    EXPECT_TRUE(json["iterations"].is_number_integer());
    EXPECT_EQ(json["busy_turn_seconds"]["count"].get<std::uint64_t>(), turns);
    EXPECT_EQ(json["polls"]["timeout"].get<std::uint64_t>(), old / 2);
    EXPECT_EQ(json["polls"]["nonblocking"].get<std::uint64_t>(), old / 4);
    EXPECT_EQ(json["polls"]["blocking"].get<std::uint64_t>(), turns - old / 4);
    std::uint64_t in_buckets = 0;
    for (const auto& bucket : json["busy_turn_seconds"]["buckets"]) {
      in_buckets += bucket[1].get<std::uint64_t>();
    }
    EXPECT_EQ(in_buckets, turns);
    if (old < 1ull << 51 && old > 1'000'000) {
      EXPECT_NEAR(json["utilization"].get<double>(), 0.25, 0.001);
      EXPECT_NEAR(json["busy_seconds"].get<double>(), static_cast<double>(old) * 1e-6,
                  static_cast<double>(old) * 1e-8);
    }

    const std::string page = metrics::to_text(host, metrics::LabelMode::kSingle);
    const std::string said = sample(page, "loopscope_iterations_total");
    const std::string counted = sample(page, "loopscope_busy_seconds_count");
    if (turns <= 1ull << 53) {
      EXPECT_EQ(said, std::to_string(turns)) << "exact, without an exponent";
      EXPECT_EQ(counted, std::to_string(turns));
    } else {
      // Of what the format writes, 16 digits.
      EXPECT_NEAR(std::stod(said) / static_cast<double>(turns), 1, 1e-15);
      EXPECT_NEAR(std::stod(counted) / static_cast<double>(turns), 1, 1e-15);
    }
    ++tried;
  }
  if (!HasFailure()) {
    std::printf(
        "reliability: large-counters: %d loops from 2^16 to 2^64 turns, %llu more made by each "
        "across 2^16, 2^31, 2^32, 2^53 and 2^63: recording, JSON and metrics equal to the last "
        "digit, metrics up to 2^53\n",
        tried, static_cast<unsigned long long>(kLive));
  }
}

// A follower does not lose its place where the low halves of the turns' numbers begin anew.
TEST(LargeCounters, TheStreamsCursorGoesOn) {
  for (const std::uint64_t old : {(1ull << 16) - 30, (1ull << 32) - 30, (1ull << 63) - 30}) {
    const std::string name = "followed-" + std::to_string(old);
    SCOPED_TRACE(name);
    LoopRecorder recorder({.name = name.c_str(), .backend = "epoll", .ring_turns = 64});
    make_old(recorder, old);
    recorder.enter();
    auto reader = read_own_process();
    ASSERT_TRUE(reader);
    std::uint64_t cursor = old;
    std::uint64_t seen = 0;
    for (int i = 0; i < 200; ++i) {
      recorder.poll_begin();
      recorder.poll_end({1, WaitResult::kEvents, false, kTimeoutInfinite});
      recorder.poll_begin();
      Turn turn;
      std::uint64_t lost = 0;
      if (i % 10 != 9) continue;
      while (reader->next(recorder.id(), cursor, turn, lost) == Follow::kTurn) {
        ASSERT_EQ(turn.turn, old + ++seen);
      }
      ASSERT_EQ(lost, 0u);
      ASSERT_EQ(seen, static_cast<std::uint64_t>(i) + 1);
      recorder.poll_end({1, WaitResult::kEvents, false, kTimeoutInfinite});
      recorder.leave();
      recorder.enter();
      // That leave ended a turn of its own.
      ++i;
    }
  }
}

// One number opened and closed 2^31 times: its generation begins anew.
TEST(LargeCounters, AGenerationThatWrapsIsStillOneDescriptor) {
  static LedgerWriter ledger;
  ledger.attach(ProcessRecorder::instance());
  constexpr int kFd = 600;
  LedgerWriter::Birth birth;
  birth.kind = DescriptorKind::kPipe;
  birth.now_ns = monotonic_ns();
  ledger.opened(kFd, birth);
  ASSERT_TRUE(ledger.closed(kFd));
  ledger.slot(kFd)->generation.store(~std::uint32_t{1});
  const auto open_there = [] {
    auto reader = read_own_process();
    auto taken = reader->read({});
    if (!taken || !taken->ledger) throw std::runtime_error("no ledger");
    for (const FdRecord& fd : taken->ledger->fds) {
      if (fd.fd == kFd) return true;
    }
    return false;
  };
  for (int i = 0; i < 4; ++i) {
    SCOPED_TRACE(i);
    EXPECT_FALSE(open_there());
    ledger.opened(kFd, birth);
    EXPECT_TRUE(open_there());
    EXPECT_TRUE(ledger.closed(kFd));
    EXPECT_FALSE(ledger.closed(kFd)) << "twice";
  }
  EXPECT_EQ(ledger.slot(kFd)->generation.load(), 6u);
}

}  // namespace
}  // namespace loopscope::recording
