// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "cli/run_linger.h"

namespace loopscope::cli {
namespace {

using namespace std::chrono_literals;

std::optional<std::chrono::nanoseconds> parsed(const std::string& text) {
  const auto linger = parse_linger(text);
  if (!linger) return std::nullopt;
  return linger->time;
}

TEST(LingerTest, ATimeIsInSecondsOrHasAUnit) {
  EXPECT_EQ(parsed("0"), 0ns);
  EXPECT_EQ(parsed("90"), 90s);
  EXPECT_EQ(parsed("1.5"), 1500ms);
  EXPECT_EQ(parsed("90s"), 90s);
  EXPECT_EQ(parsed("500ms"), 500ms);
  EXPECT_EQ(parsed("5m"), 5min);
  EXPECT_EQ(parsed("0.5h"), 30min);
  EXPECT_EQ(parsed("forever"), Linger::kForever);
  EXPECT_EQ(parsed("99999999999h"), Linger::kForever) << "longer than anybody waits";
}

TEST(LingerTest, NothingElseIsOne) {
  for (const char* text : {"", "s", "soon", "-1", "-0", "+1", "1d", "5 m", "5M", " 5", "5 ", "nan",
                           "inf", "1e3", "0x10", "Forever", "1s2"}) {
    EXPECT_EQ(parsed(text), std::nullopt) << text;
  }
}

TEST(LingerTest, IsSaidInSeconds) {
  EXPECT_EQ(linger_text(*parse_linger("5m")), "300 s");
  EXPECT_EQ(linger_text(*parse_linger("1.5")), "1.5 s");
  EXPECT_EQ(linger_text(*parse_linger("500ms")), "0.5 s");
  EXPECT_EQ(linger_text(*parse_linger("forever")), "");
}

}  // namespace
}  // namespace loopscope::cli
