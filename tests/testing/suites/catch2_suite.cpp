// SPDX-License-Identifier: Apache-2.0
//
// Test cases that leak and test cases that do not, under Catch2's listener. Run by catch2_test.py.
#ifndef CATCH2_WITH_MAIN
#define CATCH_CONFIG_MAIN
#endif
#include "loopscope/testing/catch2.h"
#include "suites/openers.h"

TEST_CASE("leaks one") {
  suites::open_null();
  CHECK(true);
}

TEST_CASE("leaks in one section") {
  SECTION("closes") {
    ::close(suites::open_null());
    CHECK(true);
  }
  SECTION("leaks") {
    suites::open_eventfd();
    CHECK(true);
  }
  SECTION("inner") {
    SECTION("closes too") { CHECK(true); }
  }
}

TEST_CASE("leaks and throws") {
  suites::open_null();
  throw 3;
}

TEST_CASE("healthy") {
  ::close(suites::open_null());
  CHECK(true);
}

TEST_CASE("healthy with sections") {
  const int fd = suites::open_null();
  SECTION("first") { CHECK(fd >= 0); }
  SECTION("second") { CHECK(fd >= 0); }
  ::close(fd);
}
