// SPDX-License-Identifier: Apache-2.0
//
// A loop that turns as fast as it can, read as fast as can be: by a thread (ThreadSanitizer sees
// both sides) and by another process through the file. The writer's numbers follow a rule of the
// turn's number, so a torn copy shows.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "instrumentation/recording/loop_recorder.h"
#include "instrumentation/recording/reader.h"

namespace loopscope::recording {
namespace {

using namespace std::chrono_literals;

constexpr std::int32_t kReadyCycle = 7;

std::int32_t ready_of(std::uint64_t turn) { return static_cast<std::int32_t>(turn % kReadyCycle); }

/// Sum of ready_of over turns 1 … n.
std::uint64_t ready_sum(std::uint64_t n) {
  const std::uint64_t rest = n % kReadyCycle;
  return n / kReadyCycle * (kReadyCycle * (kReadyCycle - 1) / 2) + rest * (rest + 1) / 2;
}

/// Turns of which ready_of is zero.
std::uint64_t timeouts(std::uint64_t n) { return n / kReadyCycle; }

void write_turn(LoopRecorder& recorder, WatcherRef watcher, std::uint64_t turn) {
  recorder.poll_begin();
  const std::int32_t ready = ready_of(turn);
  recorder.poll_end({ready, ready == 0 ? WaitResult::kTimeout : WaitResult::kEvents, false,
                     static_cast<std::int64_t>(turn) * 1'000'000});
  recorder.callback_end(recorder.callback_begin(watcher, true), watcher);
}

struct Tally {
  std::uint64_t snapshots = 0;
  std::uint64_t exact = 0;
  std::uint64_t turns = 0;
  std::uint64_t lost = 0;
};

/// One look: everything that must hold of it.
void check(Reader& reader, std::uint32_t id, TurnCursors& cursors, std::uint64_t& last_turn,
           Tally& tally) {
  const auto taken = reader.read({.recent = 4096, .cursors = &cursors});
  ASSERT_TRUE(taken) << taken.error().message;
  const LoopSnapshot* loop = nullptr;
  for (const LoopSnapshot& each : taken->loops) {
    if (each.id == id) loop = &each;
  }
  if (loop == nullptr) return;
  ++tally.snapshots;

  const std::uint64_t n = loop->iterations;
  if (loop->skew_turns == 0) {
    ++tally.exact;
    ASSERT_EQ(loop->ready_events, ready_sum(n)) << "after " << n << " turns";
    ASSERT_EQ(loop->timeouts, timeouts(n));
    ASSERT_EQ(loop->poll_wait.count, n);
    ASSERT_EQ(loop->ready.count, n);
    ASSERT_EQ(loop->poll_delay.count, timeouts(n));
    ASSERT_EQ(loop->busy.count, n - (loop->current_ready ? 1 : 0));
  } else {
    // Not one cut, and it says by how much at most: so many turns may be missing, ahead, or counted
    // twice (a writer held up between a histogram's count and `folded`). Which ones is not said, so
    // each may have had the most ready events.
    const std::uint64_t skew = loop->skew_turns + 1;
    const std::uint64_t least = n > skew ? n - skew : 0;
    const std::uint64_t most_ready = skew * (kReadyCycle - 1);
    ASSERT_GE(loop->ready_events + most_ready, ready_sum(n));
    ASSERT_LE(loop->ready_events, ready_sum(n) + most_ready)
        << n << " skew " << skew << " poll_wait " << loop->poll_wait.count;
    ASSERT_GE(loop->timeouts, timeouts(least));
    ASSERT_LE(loop->timeouts, timeouts(n + skew))
        << n << " skew " << skew << " open " << (loop->current_ready ? 1 : 0) << " poll_wait "
        << loop->poll_wait.count << " busy " << loop->busy.count;
    ASSERT_GE(loop->poll_wait.count, least);
    ASSERT_LE(loop->poll_wait.count, n + skew);
  }

  // The ring: every turn in order, none torn; what is missing is counted.
  for (const Turn& turn : loop->recent) {
    ASSERT_GT(turn.turn, last_turn);
    ASSERT_EQ(turn.ready, ready_of(turn.turn));
    ASSERT_EQ(turn.timeout_ns, static_cast<std::int64_t>(turn.turn) * 1'000'000);
    last_turn = turn.turn;
    ++tally.turns;
  }
  tally.lost += loop->recent_lost;
  const std::uint64_t cursor = cursors.at({id, loop->generation});
  ASSERT_EQ(tally.turns + tally.lost, cursor) << "seen and lost add up to what was written";
}

TEST(WriterReader, InOneProcess) {
  LoopRecorder recorder({.name = "fast", .ring_turns = 1024});
  const WatcherRef watcher = recorder.watcher("callback", 8, WatcherKind::kIo);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    recorder.enter();
    for (std::uint64_t turn = 1; !stop.load(std::memory_order_relaxed); ++turn)
      write_turn(recorder, watcher, turn);
    recorder.leave();
  });
  auto reader = read_own_process();
  ASSERT_TRUE(reader);
  TurnCursors cursors;
  std::uint64_t last_turn = 0;
  Tally tally;
  const auto end = std::chrono::steady_clock::now() + 2s;
  while (std::chrono::steady_clock::now() < end && !testing::Test::HasFatalFailure()) {
    check(*reader, recorder.id(), cursors, last_turn, tally);
  }
  stop = true;
  writer.join();
  check(*reader, recorder.id(), cursors, last_turn, tally);
  EXPECT_GT(tally.snapshots, 50u);
  EXPECT_GT(tally.exact, 0u);
  EXPECT_GT(tally.lost, 0u) << "this writer is faster than the reader, and the reader says so";
}

TEST(WriterReader, ASlowReaderIsToldWhatItMissed) {
  LoopRecorder recorder({.name = "overrun", .ring_turns = 64});
  const WatcherRef watcher = recorder.watcher("callback", 8, WatcherKind::kIo);
  auto reader = read_own_process();
  ASSERT_TRUE(reader);
  std::uint64_t cursor = 0;
  std::uint64_t seen = 0;
  std::uint64_t lost = 0;
  std::uint64_t written = 0;
  recorder.enter();
  for (int burst = 0; burst < 50; ++burst) {
    for (int i = 0; i < 10 + burst * 7; ++i) write_turn(recorder, watcher, ++written);
    for (bool more = true; more;) {
      Turn turn;
      std::uint64_t gap = 0;
      switch (reader->next(recorder.id(), cursor, turn, gap)) {
        case Follow::kTurn:
          ASSERT_EQ(turn.ready, ready_of(turn.turn));
          ++seen;
          break;
        case Follow::kOverrun:
          lost += gap;
          break;
        case Follow::kEnd:
        case Follow::kWriterGone:
          more = false;
          break;
      }
    }
  }
  recorder.leave();
  EXPECT_GT(lost, 0u);
  EXPECT_EQ(seen + lost, written - 1)
      << "the last turn was still in progress when the reader looked";
}

TEST(WriterReader, InTwoProcesses) {
  // The child tells where its recording is and then turns until it is killed.
  struct Shared {
    std::atomic<bool> ready;
    char path[512];
    std::uint32_t id;
  };
  auto* shared = static_cast<Shared*>(
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(shared, MAP_FAILED);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // whatever becomes of the test
    LoopRecorder recorder({.name = "other process", .ring_turns = 4096});
    const WatcherRef watcher = recorder.watcher("callback", 8, WatcherKind::kIo);
    snprintf(shared->path, sizeof shared->path, "%s", ProcessRecorder::instance().region().path);
    shared->id = recorder.id();
    recorder.enter();
    shared->ready = true;
    for (std::uint64_t turn = 1;; ++turn) write_turn(recorder, watcher, turn);
  }
  while (!shared->ready) std::this_thread::yield();
  auto reader = Reader::open(shared->path);
  ASSERT_TRUE(reader) << reader.error().message;
  TurnCursors cursors;
  std::uint64_t last_turn = 0;
  Tally tally;
  const auto end = std::chrono::steady_clock::now() + 2s;
  while (std::chrono::steady_clock::now() < end && !testing::Test::HasFatalFailure()) {
    check(*reader, shared->id, cursors, last_turn, tally);
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  check(*reader, shared->id, cursors, last_turn, tally);
  EXPECT_GT(tally.snapshots, 50u);
  const auto last = reader->read();
  ASSERT_TRUE(last);
  EXPECT_EQ(last->life, Life::kKilled);
  unlink(shared->path);
  munmap(shared, sizeof(Shared));
}

}  // namespace
}  // namespace loopscope::recording
