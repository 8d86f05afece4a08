// SPDX-License-Identifier: Apache-2.0
//
// What several threads of a program write: every interleaving of the real code.
#include "threads_model.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

#include "instrumentation/recording/ledger.h"
#include "instrumentation/recording/region.h"
#include "instrumentation/recording/spin_lock.h"
#include "memory_model.h"
#include "mutants.h"

namespace loopscope::recording {
namespace {

using model::Threads;

std::uint64_t g_executions = 0;

/// After the last.
class Report : public testing::Environment {
 public:
  void TearDown() override {
    std::printf(
        "reliability: protocol-model-threads: %s interleavings of threads that close one "
        "number, make one site, take a lock, settle a fork, take memory\n",
        model::counted(g_executions).c_str());
    std::printf("reliability: protocol-mutants: %u mutants of the code, each caught\n",
                model::g_mutants_caught);
  }
};
[[maybe_unused]] testing::Environment* const g_report =
    testing::AddGlobalTestEnvironment(new Report);

void tell(const char* what, const Threads::Count& count) {
  EXPECT_TRUE(count.ended) << "not all interleavings were tried";
  EXPECT_FALSE(count.stuck) << "everybody waits";
  EXPECT_GT(count.executions, 1u);
  g_executions += count.executions;
  std::printf("%s: %s interleavings\n", what, model::counted(count.executions).c_str());
}

class LedgerThreads {
 public:
  LedgerThreads() : ledger(std::make_unique<LedgerWriter>()) {
    model::believe_single_threaded(false);
    ledger->attach(ProcessRecorder::instance());
    const Region& region = ProcessRecorder::instance().region();
    threads.share(region.base, region.header()->heap_offset);
    threads.share(ledger.get(), sizeof *ledger);
  }
  Header& header() { return *ProcessRecorder::instance().region().header(); }
  Site& site(SiteRef ref) { return ProcessRecorder::instance().region().sites()[ref - 1]; }

  std::unique_ptr<LedgerWriter> ledger;
  Threads threads;
};

constexpr int kFd = 70;

TEST(ThreadsModel, OfTwoThatCloseANumberOneDoes) {
  LedgerThreads scene;
  scene.ledger->opened(kFd, {.kind = DescriptorKind::kPipe, .now_ns = 1});
  const std::int64_t open = scene.header().fd_open.load();
  const std::uint32_t generation = scene.ledger->slot(kFd)->generation.load();
  bool did[2];
  for (bool& one : did) {
    scene.threads.add([&] { one = scene.ledger->closed(kFd, {.thread_id = 1, .now_ns = 2}); });
  }
  const auto count = scene.threads.explore([&] {
    EXPECT_NE(did[0], did[1]);
    EXPECT_EQ(scene.header().fd_open.load(), open - 1);
    EXPECT_EQ(scene.ledger->slot(kFd)->generation.load(), generation + 1);
    return !testing::Test::HasFailure();
  });
  tell("two that close one number", count);
  scene.ledger->closed(kFd);
}

/// No module has code there.
constexpr std::uintptr_t kFrames[] = {0x1000, 0x2000};

TEST(ThreadsModel, OneStackIsOneSite) {
  LedgerThreads scene;
  SiteRef made[2];
  for (SiteRef& one : made) {
    scene.threads.add([&] { one = scene.ledger->site(DescriptorKind::kPipe, kFrames, 2, 5); });
  }
  const auto count = scene.threads.explore([&] {
    EXPECT_NE(made[0], 0u);
    EXPECT_EQ(made[0], made[1]);
    EXPECT_GE(scene.header().site_count.load(), made[0]);
    unsigned named = 0;
    for (SiteRef ref = 1; ref <= scene.header().site_count.load(); ++ref) {
      named += scene.site(ref).hash.load() == scene.site(made[0]).hash.load() ? 1 : 0;
    }
    EXPECT_EQ(named, 1u);
    return !testing::Test::HasFailure();
  });
  tell("two that make one site", count);
}

TEST(ThreadsModel, TheLockIsOneThreads) {
  for (const bool broken : {false, true}) {
    alignas(64) std::uint32_t lock[16] = {};
    alignas(64) std::uint32_t counter[16] = {};
    Threads threads;
    threads.share(lock, sizeof lock);
    threads.share(counter, sizeof counter);
    if (broken) threads.weaken(lock, sizeof lock);
    for (int i = 0; i < 2; ++i) {
      threads.add([&] {
        const SpinLock guard(lock[0], getpid());
        __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
      });
    }
    bool right = true;
    const auto count = threads.explore([&] { return right = counter[0] == 2; });
    EXPECT_EQ(right, !broken);
    if (broken) {
      model::expect_caught(right ? "" : "two held it", "a lock that is not released");
    } else {
      tell("two at a lock", count);
    }
  }
}

/// A thread of the parent held it while another one forked.
TEST(ThreadsModel, AForkedChildTakesTheLockOver) {
  alignas(64) std::uint32_t lock[16] = {static_cast<std::uint32_t>(getppid())};
  alignas(64) std::uint32_t counter[16] = {};
  Threads threads;
  threads.share(lock, sizeof lock);
  threads.share(counter, sizeof counter);
  for (int i = 0; i < 2; ++i) {
    threads.add([&] {
      const SpinLock guard(lock[0], getpid());
      __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
    });
  }
  bool right = true;
  const auto count = threads.explore([&] { return right = counter[0] == 2 && lock[0] == 0; });
  EXPECT_TRUE(right);
  tell("two at a lock that the parent held", count);
}

TEST(ThreadsModel, OneOfAForkedChildsThreadsSettlesIt) {
  for (const bool broken : {false, true}) {
    ForkSentinel sentinel;
    sentinel.arm();
    auto* word = const_cast<std::uint32_t*>(sentinel.word());
    *word = 0;  // as in a child
    alignas(64) std::uint32_t made[16] = {};
    Threads threads;
    threads.share(word, 8);
    threads.share(made, sizeof made);
    if (broken) threads.weaken(word, 8);
    bool blind = false;
    for (int i = 0; i < 2; ++i) {
      threads.add([&] {
        if (sentinel.claim()) {
          __atomic_fetch_add(made + 2, 1u, __ATOMIC_RELAXED);
          __atomic_store_n(made, 7u, __ATOMIC_RELAXED);
          sentinel.settle(2);
        }
        blind |= sentinel.value() == 2 && __atomic_load_n(made, __ATOMIC_RELAXED) != 7;
      });
    }
    const auto count = threads.explore([&] {
      const bool once = made[2] == 1;
      EXPECT_TRUE(once);
      return once && !blind;
    });
    EXPECT_EQ(blind, broken);
    if (broken) {
      model::expect_caught(blind ? "blind" : "", "a sentinel that is not released");
    } else {
      tell("two that find themselves forked", count);
    }
  }
}

TEST(ThreadsModel, TwoGetBytesOfTheirOwn) {
  const Region& region = ProcessRecorder::instance().region();
  Threads threads;
  threads.share(region.header(), sizeof(Header));
  std::uint64_t got[2];
  for (std::uint64_t& one : got) {
    threads.add([&] { one = allocate(region, 100); });
  }
  const auto count = threads.explore([&] {
    EXPECT_TRUE(got[0] != 0 && got[1] != 0);
    EXPECT_EQ(got[0] > got[1] ? got[0] - got[1] : got[1] - got[0], 128u);
    return !testing::Test::HasFailure();
  });
  tell("two that take memory", count);
}

}  // namespace
}  // namespace loopscope::recording
