// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ctime>

#include "instrumentation/process/resources.h"

namespace loopscope::process {
namespace {

constexpr const char* kAfterName =
    " S 17 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 7777 1000000 250 "
    "18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

TEST(ParseStat, CountsFieldsFromTheLastParenthesis) {
  for (const char* name : {"server", "a) R 1 (b", ")", "(", ") S 1 1 1", "two words", ""}) {
    const auto resources = parse_stat("42 (" + std::string(name) + ")" + kAfterName);
    ASSERT_TRUE(resources) << name;
    EXPECT_EQ(resources->comm, name);
    EXPECT_EQ(resources->pid, 42);
    EXPECT_EQ(resources->state, 'S');
    EXPECT_EQ(resources->parent_pid, 17);
    EXPECT_EQ(resources->threads, 3u);
    EXPECT_EQ(resources->start_ticks, 7777u);
    EXPECT_DOUBLE_EQ(resources->cpu_seconds, 300.0 / static_cast<double>(sysconf(_SC_CLK_TCK)));
  }
}

TEST(ParseStat, RefusesWhatIsNotALine) {
  for (const char* line : {"", "42", "42 (a", "42 a)", ")42 (", "42 (a)", "42 (a) S",
                           "42 (a) S 1 2", "x (a) S 17 42 42 0 -1"}) {
    EXPECT_FALSE(parse_stat(line)) << line;
  }
}

TEST(ReadResources, TellsAboutThisProcess) {
  const auto resources = read_resources(::getpid());
  ASSERT_TRUE(resources);
  EXPECT_EQ(resources->pid, ::getpid());
  EXPECT_EQ(resources->parent_pid, ::getppid());
  EXPECT_EQ(resources->state, 'R');
  EXPECT_GT(resources->resident_bytes, 100'000u);
  EXPECT_GE(resources->threads, 1u);
  const auto now_ns = static_cast<std::uint64_t>(std::time(nullptr)) * 1'000'000'000u;
  EXPECT_LT(resources->started_ns, now_ns + 2'000'000'000u);
  EXPECT_GT(resources->started_ns, now_ns - 3'600'000'000'000u);
  EXPECT_EQ(read_resources(::getpid())->started_ns, resources->started_ns);  // does not jitter
}

TEST(ReadResources, SurvivesAHostileName) {
  char before[16];
  ::prctl(PR_GET_NAME, before);
  ::prctl(PR_SET_NAME, "x) Z 1 (\xff");
  const auto resources = read_resources(::getpid());
  ::prctl(PR_SET_NAME, before);
  ASSERT_TRUE(resources);
  EXPECT_EQ(resources->comm, "x) Z 1 (\xff");
  EXPECT_EQ(resources->state, 'R');
  EXPECT_EQ(resources->parent_pid, ::getppid());
}

TEST(ReadResources, SaysZombieThenNothing) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  siginfo_t info;
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  const auto zombie = read_resources(child);
  ASSERT_TRUE(zombie);
  EXPECT_EQ(zombie->state, 'Z');
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(read_resources(child));
}

}  // namespace
}  // namespace loopscope::process
