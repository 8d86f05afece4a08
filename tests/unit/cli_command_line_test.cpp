// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <variant>
#include <vector>

#include "cli/command_line.h"
#include "cli/duration.h"

namespace loopscope::cli {
namespace {

using std::chrono::nanoseconds;
using testing::HasSubstr;
using testing::IsEmpty;

class CommandLine : public testing::Test {
 protected:
  /// The status, or -1 if there is something to do.
  int read(std::vector<std::string> words) {
    words.insert(words.begin(), "loopscope");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    std::ostringstream out, err;
    const Wanted wanted = read_command_line(static_cast<int>(words.size()), argv.data(), out, err);
    out_ = out.str();
    err_ = err.str();
    const int* status = std::get_if<int>(&wanted);
    return status != nullptr ? *status : -1;
  }
  std::string out_, err_;
};

TEST_F(CommandLine, AnActionIsReadAndNotDone) {
  EXPECT_EQ(read({"run", "--no-http", "--", "no-such-program"}), -1);
  EXPECT_EQ(read({"check", "--max-stall", "1.5 s", "--", "[a,b]", "--help"}), -1);
  EXPECT_EQ(read({"serve", "--listen", "0.0.0.0:1"}), -1);
  EXPECT_EQ(read({"report", "no-such-file"}), -1);
  EXPECT_EQ(read({"top", "-b", "-d", "0.5"}), -1);
  EXPECT_THAT(out_ + err_, IsEmpty());
}

TEST_F(CommandLine, HelpIsForStandardOutput) {
  EXPECT_EQ(read({"--help"}), kOk);
  EXPECT_THAT(out_, HasSubstr("check"));
  EXPECT_THAT(err_, IsEmpty());
  EXPECT_EQ(read({"check", "--help"}), kOk);
  EXPECT_THAT(out_, HasSubstr("--max-stall"));
  EXPECT_EQ(read({"--version"}), kOk);
  EXPECT_THAT(out_, HasSubstr("loopscope "));
}

TEST_F(CommandLine, WhatIsWrongIsSaid) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{},
                                             {""},
                                             {"no-such-command"},
                                             {"check", "--max-stall", "ms", "--", "x"},
                                             {"check", "--max-stall", "inf s", "--", "x"},
                                             {"check", "--max-stall", "nan s", "--", "x"},
                                             {"check", "--max-stall", "0s", "--", "x"},
                                             {"check", "--timeout", "-1s", "--", "x"},
                                             {"top", "-d", "nan"},
                                             {"top", "-d", "inf"},
                                             {"top", "-n", "nan"},
                                             {"run", "--no-http", "--linger", "5", "--", "x"}}) {
    EXPECT_EQ(read(words), kUsage) << testing::PrintToString(words);
    EXPECT_THAT(out_, IsEmpty());
    EXPECT_THAT(err_, testing::Not(IsEmpty()));
  }
  EXPECT_EQ(read({"run", "true"}), kUsage);
  EXPECT_THAT(err_, HasSubstr("Two dashes go before the program"));
}

TEST_F(CommandLine, EvenWithoutItsOwnName) {
  char* argv[] = {nullptr};
  std::ostringstream out, err;
  const Wanted wanted = read_command_line(0, argv, out, err);
  ASSERT_TRUE(std::holds_alternative<int>(wanted));
  EXPECT_EQ(std::get<int>(wanted), kUsage);
}

TEST(Duration, IsANumberAndAUnit) {
  EXPECT_EQ(parse_duration("500us"), nanoseconds(500'000));
  EXPECT_EQ(parse_duration("1.2345678 s"), nanoseconds(1'234'567'800));
  EXPECT_EQ(parse_duration("2m"), nanoseconds(120'000'000'000));
  EXPECT_EQ(parse_duration("1h"), nanoseconds(3'600'000'000'000));
  EXPECT_EQ(parse_duration("0ns"), nanoseconds(0));
  EXPECT_EQ(parse_duration("1e300h"), kLongestDuration);
  for (const char* text :
       {"", "5", "ms", "-1ms", "nan s", "inf s", "5 parsecs", "1 0s", "1s ", "1MS"})
    EXPECT_FALSE(parse_duration(text)) << text;
}

}  // namespace
}  // namespace loopscope::cli
