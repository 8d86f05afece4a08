// SPDX-License-Identifier: Apache-2.0
//
// What a turn served, read while it is being written as fast as can be, and after kill -9: what is
// read is exactly what was written, and what is missing is counted. Number of records, who, when
// and for how long follow a rule of the turn's number.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "instrumentation/recording/loop_recorder.h"
#include "instrumentation/recording/reader.h"

namespace loopscope::recording {
namespace {

using namespace std::chrono_literals;

constexpr int kKills = 100;

/// Mostly few; now and then more than a small ring holds.
std::uint64_t count_of(std::uint64_t turn) { return turn % 1000 == 0 ? 300 : turn % 5; }
std::uint32_t fd_of(std::uint64_t turn, std::uint64_t i) {
  return static_cast<std::uint32_t>(turn * 31 + i) & 0xFFFFF;
}
DescriptorKind kind_of(std::uint64_t turn) {
  return static_cast<DescriptorKind>(turn % kDescriptorKinds);
}
std::uint64_t start_of(std::uint64_t turn, std::uint64_t i) { return i * 1000 + turn % 100; }
std::uint64_t duration_of(std::uint64_t turn, std::uint64_t i) { return turn % 700 + i; }

/// Times are made up, so that they can be checked; the recorder takes them as they are.
void write_turn(LoopRecorder& recorder, std::uint64_t turn) {
  recorder.poll_begin();
  recorder.poll_end({1, WaitResult::kEvents, false, kTimeoutInfinite});
  const std::uint64_t began = recorder.turn_started_ns();
  for (std::uint64_t i = 0; i < count_of(turn); ++i) {
    const std::uint64_t from = began + start_of(turn, i);
    recorder.served(
        pack_descriptor(fd_of(turn, i), kind_of(turn), static_cast<std::uint32_t>(turn)), from,
        from + duration_of(turn, i));
  }
}

struct Tally {
  std::uint64_t turns = 0;
  std::uint64_t whole = 0;
  std::uint64_t partly = 0;
  std::uint64_t gone = 0;
};

void check(const LoopSnapshot& loop, Tally& tally) {
  ASSERT_NE(loop.served, nullptr);
  std::uint64_t last = 0;
  for (const Turn& turn : loop.recent) {
    ASSERT_GT(turn.turn, last);
    last = turn.turn;
    ASSERT_NE(turn.served_first, Turn::kNoServed);
    const std::uint64_t written = count_of(turn.turn);
    ASSERT_EQ(turn.served_count + turn.served_lost, written) << "turn " << turn.turn;
    ASSERT_LE(std::uint64_t{turn.served_first} + turn.served_count, loop.served->size());
    for (std::uint64_t i = turn.served_lost; i < written; ++i) {
      const Served& served = (*loop.served)[turn.served_first + i - turn.served_lost];
      ASSERT_EQ(served.fd, static_cast<std::int32_t>(fd_of(turn.turn, i)));
      ASSERT_EQ(served.kind, kind_of(turn.turn));
      ASSERT_EQ(served.generation, turn.turn & kServedGenerationMask);
      ASSERT_EQ(served.start_ns, start_of(turn.turn, i));
      ASSERT_EQ(served.ns, duration_of(turn.turn, i));
    }
    ++tally.turns;
    if (written == 0) continue;
    ++(turn.served_lost == 0 ? tally.whole : turn.served_count != 0 ? tally.partly : tally.gone);
  }
}

void look(Reader& reader, std::uint32_t id, Tally& tally) {
  const auto taken = reader.read({.recent = 4096, .served = true});
  ASSERT_TRUE(taken) << taken.error().message;
  for (const LoopSnapshot& loop : taken->loops) {
    if (loop.id == id) check(loop, tally);
  }
}

LoopSettings settings(const char* name, std::uint32_t turns) {
  LoopSettings settings;
  settings.name = name;
  settings.ring_turns = turns;
  settings.served = ServedKind::kDescriptors;
  return settings;
}

/// Small rings are run over while they are read; a large one grows first.
TEST(ServedWriterReader, InOneProcess) {
  for (const std::uint32_t turns : {64u, 4096u}) {
    LoopRecorder recorder(settings("served", turns));
    std::atomic<bool> stop{false};
    std::thread writer([&] {
      for (std::uint64_t turn = 1; !stop.load(std::memory_order_relaxed); ++turn) {
        write_turn(recorder, turn);
      }
    });
    auto reader = read_own_process();
    Tally tally;
    const auto end = std::chrono::steady_clock::now() + 1s;
    while (reader && std::chrono::steady_clock::now() < end && !testing::Test::HasFatalFailure()) {
      look(*reader, recorder.id(), tally);
    }
    stop = true;
    writer.join();
    ASSERT_TRUE(reader);
    look(*reader, recorder.id(), tally);
    EXPECT_GT(tally.whole, 0u);
  }
}

/// What the victim tells; it survives it.
struct Shared {
  std::atomic<std::uint64_t> turns;
  std::atomic<bool> ready;
  std::uint32_t id;
  char path[512];
};

[[noreturn]] void victim(Shared& shared, std::uint32_t ring_turns) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // whatever becomes of the test
  LoopRecorder recorder(settings("victim", ring_turns));
  snprintf(shared.path, sizeof shared.path, "%s", ProcessRecorder::instance().region().path);
  shared.id = recorder.id();
  for (std::uint64_t turn = 1;; ++turn) {
    write_turn(recorder, turn);
    shared.turns = turn;  // written; not finished yet
    if (turn == 10) shared.ready = true;
  }
}

TEST(ServedWriterReader, ThroughTheFileAndAfterKill9) {
  auto* shared = static_cast<Shared*>(
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(shared, MAP_FAILED);
  std::mt19937 random(std::random_device{}());
  Tally alive;
  Tally dead;
  for (int round = 0; round < kKills && !testing::Test::HasFatalFailure(); ++round) {
    shared->ready = false;
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) victim(*shared, round % 2 == 0 ? 64 : 4096);
    while (!shared->ready) {
      ASSERT_EQ(waitpid(child, nullptr, WNOHANG), 0) << "the victim died by itself";
      std::this_thread::yield();
    }
    auto reader = Reader::open(shared->path);
    if (reader) look(*reader, shared->id, alive);
    // Some live until the largest ring has been run over.
    while (round % 10 == 9 && shared->turns < 10'000) std::this_thread::yield();
    usleep(random() % 3000);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    ASSERT_TRUE(reader) << reader.error().message;
    const auto taken = reader->read({.recent = 4096, .served = true});
    unlink(shared->path);
    ASSERT_TRUE(taken) << taken.error().message;
    ASSERT_EQ(taken->loops.size(), 1u);
    const LoopSnapshot& loop = taken->loops[0];
    check(loop, dead);
    // Nobody writes any more: of the newest turns everything is there.
    ASSERT_FALSE(loop.recent.empty());
    const Turn& last = loop.recent.back();
    EXPECT_GE(last.turn + 1, shared->turns);
    // A ring of 64 turns has room for 256 records; one may be in progress.
    if (count_of(last.turn) < 100 && count_of(last.turn + 1) < 100) {
      EXPECT_EQ(last.served_lost, 0u) << "turn " << last.turn;
    }
  }
  EXPECT_GT(alive.turns, 0u);
  EXPECT_GT(dead.whole, 0u);
  EXPECT_GT(dead.gone, 0u) << "some rings must have been run over";
  munmap(shared, sizeof(Shared));
}

}  // namespace
}  // namespace loopscope::recording
