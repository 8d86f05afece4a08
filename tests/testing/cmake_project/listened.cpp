// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <loopscope/testing/gtest.h>

static const bool fds_are_checked = loopscope::testing::FdLeakListener::install();

TEST(Listened, Leaks) {
  EXPECT_TRUE(fds_are_checked);
  open("/dev/null", O_RDONLY | O_CLOEXEC);  // LINE: listened
}
