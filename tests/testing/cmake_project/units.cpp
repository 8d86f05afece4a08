// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

TEST(Units, Leaks) {
  for (int n = 0; n < 3; ++n) EXPECT_GE(socket(AF_INET, SOCK_STREAM, 0), 0);
}

TEST(Units, Healthy) { close(socket(AF_INET, SOCK_STREAM, 0)); }
