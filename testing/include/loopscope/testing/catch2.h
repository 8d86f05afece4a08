// SPDX-License-Identifier: Apache-2.0
//
// Catch2 fails the very test case that leaves a descriptor open: include this in one source file of
// the test program, and link loopscope::testing. Catch2 2.13 and 3.
//
//   #define CATCH_CONFIG_MAIN            // Catch2 2 only, and only without Catch2WithMain
//   #include <loopscope/testing/catch2.h>
//
// A test case with sections runs once for each leaf section; every run is judged. The failure is
// added while Catch2 still holds the run open (at the end of the section that is the test case
// itself): by testCaseEnded the counts have been taken. Objects that live longer than a test case
// and are made on first use look like that test case's leak: make them before the session, or
// allow() them in default_options().
//
// Not thread-safe, as Catch2's listeners.
#pragma once

#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_test_macros.hpp>
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
#else
// Without this the single header keeps the listeners' interface to the file that has main.
#ifndef CATCH_CONFIG_EXTERNAL_INTERFACES
#define CATCH_CONFIG_EXTERNAL_INTERFACES
#endif
#include <catch2/catch.hpp>
#endif

#include <optional>
#include <string>
#include <vector>

#include "loopscope/testing/fd_leak_scope.h"

namespace loopscope::testing {

#if __has_include(<catch2/catch_test_macros.hpp>)
using CatchListenerBase = Catch::EventListenerBase;
#else
using CatchListenerBase = Catch::TestEventListenerBase;
#endif

class FdLeakCatchListener : public CatchListenerBase {
 public:
  using CatchListenerBase::CatchListenerBase;
  ~FdLeakCatchListener() {
    if (judging() == this) judging() = nullptr;
  }

  void sectionStarting(const Catch::SectionInfo& section) override {
    CatchListenerBase::sectionStarting(section);
    if (depth_++ == 0 && is_the_one()) scope_.emplace();
  }

  void sectionEnded(const Catch::SectionStats& section) override {
    if (--depth_ == 0 && scope_) judge();
    CatchListenerBase::sectionEnded(section);
  }

 private:
  /// Included in a second source file, this is registered twice.
  bool is_the_one() {
    if (judging() == nullptr) judging() = this;
    return judging() == this;
  }

  static const FdLeakCatchListener*& judging() {
    static const FdLeakCatchListener* listener = nullptr;
    return listener;
  }

  void judge() {
    const std::vector<FdLeak> leaks = scope_->leaks();
    scope_.reset();
    if (leaks.empty()) return;
    const std::string text = describe(leaks, "in this test case");
    try {
#ifdef CATCH_CONFIG_PREFIX_ALL
      CATCH_FAIL_CHECK(text);
#else
      FAIL_CHECK(text);
#endif
    } catch (...) {  // --abort: it is recorded, and nobody above us waits for the exception
    }
  }

  int depth_ = 0;
  std::optional<FdLeakScope> scope_;
};

namespace {
CATCH_REGISTER_LISTENER(FdLeakCatchListener)
}  // namespace

}  // namespace loopscope::testing
