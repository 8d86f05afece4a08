// SPDX-License-Identifier: Apache-2.0
//
// fork, with and without telling libev. The children say what they saw by their exit status.
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "loop_test_support.h"

namespace loopscope {
namespace {

using test::recorded;
using namespace std::chrono_literals;

enum Answer { kNotFlagged = 10, kFlagged = 11, kFailed = 12 };

/// In a child: what its own recording says about the loop.
[[noreturn]] void answer(const std::string& name) {
  auto reader = recording::read_own_process();
  if (!reader) _exit(kFailed);
  const auto taken = reader->read();
  if (!taken || taken->pid != getpid()) _exit(kFailed);
  unlink(taken->path.c_str());
  for (const auto& loop : taken->loops) {
    if (loop.name == name && loop.iterations > 0)
      _exit(loop.used_after_fork ? kFlagged : kNotFlagged);
  }
  _exit(kFailed);
}

int wait_for(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(ForkedLoop, ToldByAfterForkIsHealthy) {
  Loop loop("told");
  Timer beat(loop, "beat", 1ms, 1ms, [] {});
  loop.run_once();
  const pid_t child = fork();
  if (child == 0) {
    loop.after_fork();
    for (int i = 0; i < 3; ++i) loop.run_once();
    answer("told");
  }
  EXPECT_EQ(wait_for(child), kNotFlagged);
  EXPECT_FALSE(recorded("told").used_after_fork);
}

TEST(ForkedLoop, NotToldIsFlagged) {
  Loop loop("not told");
  Timer beat(loop, "beat", 1ms, 1ms, [] {});
  loop.run_once();
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 3; ++i) loop.run_once();
    answer("not told");
  }
  EXPECT_EQ(wait_for(child), kFlagged);
  EXPECT_FALSE(recorded("not told").used_after_fork) << "the parent did nothing wrong";
}

TEST(ForkedLoop, ForkedInACallback) {
  Loop loop("in callback");
  pid_t child = -1;
  Timer once(loop, "once", 1ms, 0s, [&] {
    child = fork();
    if (child == 0) loop.after_fork();
  });
  Timer end(loop, "end", 20ms, 0s, [&] { loop.stop(); });
  loop.run();
  if (child == 0) answer("in callback");
  EXPECT_EQ(wait_for(child), kNotFlagged);
  EXPECT_GE(recorded("in callback").iterations, 2u);
}

TEST(ForkedLoop, AChildThatDoesNotUseTheLoopRecordsNothing) {
  Loop loop("unused");
  loop.poll();
  const std::string parents = recording_path();
  ASSERT_FALSE(parents.empty());
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    const int own = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event {};
    int ends[2];
    if (pipe(ends) != 0 || epoll_ctl(own, EPOLL_CTL_ADD, ends[0], &event) != 0) _exit(kFailed);
    if (!recording_path().empty()) _exit(kFailed);
    std::exit(kNotFlagged);  // with its handlers, one of which is ours
  }
  EXPECT_EQ(wait_for(child), kNotFlagged);
  for (const auto& file :
       std::filesystem::directory_iterator(std::filesystem::path(parents).parent_path())) {
    EXPECT_NE(file.path().filename().string().rfind(std::to_string(child) + "-", 0), 0u)
        << file.path();
  }
  EXPECT_EQ(recording_path(), parents);
}

TEST(ForkedLoop, ForkWatcherRunsInTheChild) {
  Loop loop("watcher");
  int forks = 0;
  Fork fork_watcher(loop, "fork", [&] { ++forks; });
  Timer beat(loop, "beat", 1ms, 1ms, [] {});
  loop.run_once();
  const pid_t child = fork();
  if (child == 0) {
    loop.after_fork();
    loop.run_once();
    unlink(recording_path().c_str());
    _exit(forks == 1 ? kNotFlagged : kFailed);
  }
  EXPECT_EQ(wait_for(child), kNotFlagged);
  EXPECT_EQ(forks, 0);
}

}  // namespace
}  // namespace loopscope
