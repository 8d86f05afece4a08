// SPDX-License-Identifier: Apache-2.0
//
// loopscope::testing::FdLeakListener: GoogleTest fails the very test that leaves a descriptor open.
// Needs GoogleTest 1.10 or newer and loopscope::testing (target or libloopscope-testing).
//
//   int main(int argc, char** argv) {
//     ::testing::InitGoogleTest(&argc, argv);
//     loopscope::testing::FdLeakListener::install();
//     return RUN_ALL_TESTS();
//   }
//
// With gtest_main, in one source file:
//
//   static const bool fds_are_checked = loopscope::testing::FdLeakListener::install();
//
// A test is judged when its fixture is destroyed: SetUp, body, TearDown and destructor count. What
// SetUpTestSuite and environments open is no test's; what a suite opens and its TearDownTestSuite
// does not close fails the suite. A fixture that makes something shared on first use, inside a
// test, looks like that test's leak: move it to SetUpTestSuite, call keep(), or install(Judge::
// kSuite), which waits for TearDownTestSuite and then fails the suite, naming the test.
//
// GoogleTest runs listeners' OnTestEnd before the result is taken, the last listener first: a
// failure added here counts for the test and is printed before its "[  FAILED  ]" line. Listeners
// that handle OnTestPartResult belong before this one, as before any that adds failures.
//
// Not thread-safe, as GoogleTest's listeners: everything happens in the thread that runs the tests.
// default_options() are those of its scopes.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "loopscope/testing/fd_leak_scope.h"

namespace loopscope::testing {

class FdLeakListener : public ::testing::EmptyTestEventListener {
 public:
  enum class Judge {
    kTest,  // at the end of each test
    kSuite  // after TearDownTestSuite
  };

  /// Adds a listener, which GoogleTest then owns, after those that are there. True, for use in an
  /// initialiser. A second call changes nothing.
  static bool install(Judge judge = Judge::kTest) {
    if (installed() == nullptr) {
      installed() = new FdLeakListener(judge);
      ::testing::UnitTest::GetInstance()->listeners().Append(installed());
    }
    return true;
  }

  /// The descriptor that is open under this number may outlive the test, and the suite, that calls
  /// this. Throws std::invalid_argument if none is.
  static void keep(int fd) {
    FdLeakListener* const self = installed();
    if (self == nullptr) return;
    if (self->test_) self->test_->ignore(fd);
    if (self->suite_) self->suite_->ignore(fd);
  }

  explicit FdLeakListener(Judge judge) : judge_(judge) {}
  ~FdLeakListener() override {
    if (installed() == this) installed() = nullptr;
  }

  void OnTestSuiteStart(const ::testing::TestSuite&) override { suite_.emplace(); }

  void OnTestStart(const ::testing::TestInfo&) override { test_.emplace(); }

  void OnTestEnd(const ::testing::TestInfo& test) override {
    if (!test_) return;
    std::vector<FdLeak> leaks = test_->leaks();
    test_.reset();
    if (leaks.empty()) return;
    if (judge_ == Judge::kTest) fail(leaks, "in this test", test.file(), test.line());
    by_tests_.push_back({test.name(), std::move(leaks)});
  }

  void OnTestSuiteEnd(const ::testing::TestSuite&) override {
    if (!suite_) return;
    std::vector<FdLeak> rest = suite_->leaks();
    suite_.reset();
    for (ByTest& each : by_tests_) {
      std::vector<FdLeak> still_open;
      for (const FdLeak& leak : each.leaks) {
        const auto same = std::find_if(rest.begin(), rest.end(), [&](const FdLeak& other) {
          return other.fd == leak.fd && other.device == leak.device && other.inode == leak.inode &&
                 other.generation == leak.generation;
        });
        if (same == rest.end()) continue;
        rest.erase(same);
        still_open.push_back(leak);
      }
      if (judge_ == Judge::kSuite && !still_open.empty()) {
        fail(still_open, "in test " + each.test, "", 0);
      }
    }
    by_tests_.clear();
    if (!rest.empty()) fail(rest, "by the test suite, outside its tests,", "", 0);
  }

 private:
  struct ByTest {
    std::string test;
    std::vector<FdLeak> leaks;
  };

  static FdLeakListener*& installed() {
    static FdLeakListener* listener = nullptr;
    return listener;
  }

  /// At the line that opened the first of them, where that is known.
  static void fail(const std::vector<FdLeak>& leaks, const std::string& when, const char* file,
                   int line) {
    const auto known = std::find_if(leaks.begin(), leaks.end(),
                                    [](const FdLeak& leak) { return !leak.file.empty(); });
    if (known != leaks.end()) {
      ADD_FAILURE_AT(known->file.c_str(), known->line) << describe(leaks, when);
    } else {
      ADD_FAILURE_AT(file, line) << describe(leaks, when);
    }
  }

  Judge judge_;
  std::optional<FdLeakScope> suite_;
  std::optional<FdLeakScope> test_;
  std::vector<ByTest> by_tests_;  // of the suite that runs
};

}  // namespace loopscope::testing
