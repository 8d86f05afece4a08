// SPDX-License-Identifier: Apache-2.0
//
// kill -9 at random moments: the recording opens each time, and its last turn is at most one behind
// the truth.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>

#include "instrumentation/recording/reader.h"
#include "loopscope/loop.h"

namespace loopscope {
namespace {

constexpr int kKills = 200;

/// The truth, kept by the victim's callback in memory that survives it.
struct Truth {
  std::atomic<std::uint64_t> turns;
  std::atomic<bool> ready;
  char path[512];
};

[[noreturn]] void victim(Truth& truth) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // whatever becomes of the test
  Loop loop("victim");
  int ends[2];
  if (pipe(ends) != 0) _exit(1);
  Io io(loop, "pipe", ends[0], kRead, [&](int) {
    // The wait that led here has returned: the recording must know of it already.
    truth.turns.fetch_add(1);
    char byte = 0;
    if (read(ends[0], &byte, 1) != 1 || write(ends[1], &byte, 1) != 1) _exit(2);
    if (truth.turns == 10) {
      snprintf(truth.path, sizeof truth.path, "%s", recording_path().c_str());
      truth.ready = true;
    }
  });
  if (write(ends[1], "x", 1) != 1) _exit(3);
  loop.run();
  _exit(4);
}

TEST(Crash, Kill9AtRandomMoments) {
  auto* truth = static_cast<Truth*>(
      mmap(nullptr, sizeof(Truth), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(truth, MAP_FAILED);
  std::mt19937 random(std::random_device{}());
  int torn = 0;
  for (int round = 0; round < kKills; ++round) {
    truth->turns = 0;
    truth->ready = false;
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) victim(*truth);
    while (!truth->ready) {
      ASSERT_EQ(waitpid(child, nullptr, WNOHANG), 0) << "the victim died by itself";
      std::this_thread::yield();
    }
    usleep(random() % 3000);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the victim ended by itself: " << status;

    auto reader = recording::Reader::open(truth->path);
    ASSERT_TRUE(reader) << reader.error().message;
    const auto taken = reader->read({.recent = 4096});
    ASSERT_TRUE(taken) << taken.error().message;
    unlink(truth->path);
    EXPECT_EQ(taken->life, recording::Life::kKilled);
    ASSERT_EQ(taken->loops.size(), 1u);
    const recording::LoopSnapshot& loop = taken->loops[0];
    const std::uint64_t turns = truth->turns;
    ASSERT_GE(loop.iterations, turns) << "round " << round;
    ASSERT_LE(loop.iterations, turns + 1) << "round " << round;
    ASSERT_FALSE(loop.recent.empty());
    // The ring has finished turns; one more may have been in progress.
    EXPECT_GE(loop.recent.back().turn + 1, turns);
    for (std::size_t i = 1; i < loop.recent.size(); ++i) {
      ASSERT_EQ(loop.recent[i].turn, loop.recent[i - 1].turn + 1);
    }
    if (loop.skew_turns != 0) ++torn;
  }
  RecordProperty("killed_inside_a_section", torn);
  munmap(truth, sizeof(Truth));
}

}  // namespace
}  // namespace loopscope
