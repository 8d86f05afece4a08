// SPDX-License-Identifier: Apache-2.0
//
// The listener with GoogleTest's own main: installed by an initialiser, before InitGoogleTest.
#include "loopscope/testing/gtest.h"
#include "suites/openers.h"

static const bool fds_are_checked = loopscope::testing::FdLeakListener::install();

TEST(OwnMain, Leaks) {
  EXPECT_TRUE(fds_are_checked);
  suites::open_null();
}
TEST(OwnMain, Healthy) { ::close(suites::open_null()); }
