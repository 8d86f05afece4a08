// SPDX-License-Identifier: Apache-2.0
//
// Tests that leak and tests that do not, under the listener. Run by gtest_test.py, which knows what
// each must come to.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "loopscope/testing/gtest.h"
#include "suites/openers.h"

namespace {

TEST(Leaks, One) { suites::open_null(); }

TEST(Leaks, Pair) {
  int ends[2];
  suites::open_pair(ends);
}

TEST(Leaks, HundredEventfds) {
  for (int i = 0; i < 100; ++i) suites::open_eventfd();
}

/// The number was open at the start: closed, and given to another file.
TEST(Leaks, Reuse) {
  const int old = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  {
    loopscope::testing::FdLeakScope inner;
    ::close(old);
    const int now = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
    ASSERT_EQ(now, old);
    const auto leaks = inner.leaks();
    ASSERT_EQ(leaks.size(), 1u);
    EXPECT_TRUE(leaks[0].reused);
    EXPECT_EQ(leaks[0].target, "/dev/zero");
  }
}

TEST(Leaks, InAFailedTest) {
  suites::open_null();
  FAIL() << "for another reason";
}

/// The kernel gives all eventfds one inode: only the probe's ledger tells them apart.
TEST(LedgerOnly, ReuseOfAnEventfd) {
  const int old = suites::open_eventfd();
  {
    loopscope::testing::FdLeakScope inner;
    ::close(old);
    ASSERT_EQ(suites::open_eventfd(), old);
    std::printf("found %zu\n", inner.leaks().size());
  }
  ::close(old);
}

/// The census cannot open /proc/self/fd any more, and no test after it works: run alone.
TEST(Exhausting, UntilNoneIsLeft) {
  while (suites::open_null() >= 0) {
  }
}

TEST(Healthy, Nothing) {}

TEST(Healthy, Closed) { ::close(suites::open_null()); }

TEST(Healthy, OpenedBeforeClosedInside) {
  const int fd = suites::open_null();
  {
    loopscope::testing::FdLeakScope inner;
    ::close(fd);
    EXPECT_TRUE(inner.leaks().empty());
  }
}

TEST(Healthy, Skipped) { GTEST_SKIP(); }

TEST(Healthy, Capture) {
  ::testing::internal::CaptureStdout();
  std::puts("captured");
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "captured\n");
}

TEST(HealthyDeathTest, ChildOpens) {
  EXPECT_EXIT(
      {
        suites::open_null();
        std::exit(3);
      },
      ::testing::ExitedWithCode(3), "");
}

TEST(Healthy, Kept) {
  static const int kept = suites::open_null();
  loopscope::testing::FdLeakListener::keep(kept);
}
TEST(Healthy, AfterKept) {}

/// What a suite shares is no test's.
class Shared : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { shared_ = suites::open_null(); }
  static void TearDownTestSuite() { ::close(shared_); }
  void SetUp() override { own_ = suites::open_eventfd(); }
  void TearDown() override { ::close(own_); }
  static int shared_;
  int own_ = -1;
};
int Shared::shared_ = -1;
TEST_F(Shared, First) {}
TEST_F(Shared, Second) {}

/// A suite that forgets what it shares.
class Forgetful : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { suites::open_eventfd(); }
};
TEST_F(Forgetful, First) {}
TEST_F(Forgetful, Second) {}

/// Made on first use inside a test, closed with the suite: a leak of the first test unless judged
/// at the suite's end.
class Lazy : public ::testing::Test {
 protected:
  void SetUp() override {
    if (shared_ < 0) shared_ = suites::open_null();
  }
  static void TearDownTestSuite() {
    ::close(shared_);
    shared_ = -1;
  }
  static int shared_;
};
int Lazy::shared_ = -1;
TEST_F(Lazy, First) {}
TEST_F(Lazy, Second) {}

}  // namespace

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  using Listener = loopscope::testing::FdLeakListener;
  const bool suite = argc > 1 && std::strcmp(argv[1], "--judge=suite") == 0;
  Listener::install(suite ? Listener::Judge::kSuite : Listener::Judge::kTest);
  Listener::install();  // twice is once
  return RUN_ALL_TESTS();
}
