// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>

#include "cli/listen.h"

namespace loopscope::cli {
namespace {

using Place = std::pair<std::string, std::uint16_t>;

TEST(Listen, UnderstandsFourWays) {
  EXPECT_EQ(parse_listen("10.0.0.1:80"), Place("10.0.0.1", 80));
  EXPECT_EQ(parse_listen("[::1]:65535"), Place("[::1]", 65535));
  EXPECT_EQ(parse_listen(":0"), Place("127.0.0.1", 0));
  EXPECT_EQ(parse_listen("9464"), Place("127.0.0.1", 9464));
  EXPECT_EQ(parse_listen(kDefaultListen), Place("127.0.0.1", 9464));
}

TEST(Listen, RefusesWhatIsNone) {
  for (const char* text : {"", ":", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "::1",
                           "127.0.0.1:80x", "localhost"}) {
    EXPECT_FALSE(parse_listen(text)) << text;
  }
}

}  // namespace
}  // namespace loopscope::cli
