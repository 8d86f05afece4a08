// SPDX-License-Identifier: Apache-2.0
//
// FdLeakScope by itself, without the probe: what it reports, and what it must not.
#include "loopscope/testing/fd_leak_scope.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace loopscope::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

/// Closes at the end of a test what the test leaked on purpose.
class Opened {
 public:
  explicit Opened(int fd) : fd_(fd) { EXPECT_GE(fd, 0); }
  ~Opened() { close(); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  int fd() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

int open_null() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

/// A TCP socket that listens on a free port of the loopback address.
int listen_on_loopback(sockaddr_in& address) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::listen(fd, 1), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  return fd;
}

TEST(FdLeakScope, NothingOpenedIsNothing) {
  FdLeakScope scope;
  EXPECT_TRUE(scope.leaks().empty());
  EXPECT_EQ(describe(scope.leaks()), "");
}

TEST(FdLeakScope, OpenedAndClosedIsNothing) {
  FdLeakScope scope;
  { const Opened opened(open_null()); }
  EXPECT_TRUE(scope.leaks().empty());
}

TEST(FdLeakScope, OpenedBeforeAndClosedInsideIsNothing) {
  Opened before(open_null());
  FdLeakScope scope;
  before.close();
  EXPECT_TRUE(scope.leaks().empty());
}

TEST(FdLeakScope, SaysNumberKindAndTargetWhileItIsOpen) {
  FdLeakScope scope;
  Opened opened(open_null());
  const auto leaks = scope.leaks();
  ASSERT_EQ(leaks.size(), 1u);
  EXPECT_EQ(leaks[0].fd, opened.fd());
  EXPECT_EQ(leaks[0].kind, "device");
  EXPECT_EQ(leaks[0].target, "/dev/null");
  EXPECT_EQ(leaks[0].where, "");
  EXPECT_FALSE(leaks[0].reused);
  EXPECT_TRUE(fd_is_still_open(leaks[0]));
  opened.close();
  EXPECT_FALSE(fd_is_still_open(leaks[0]));
  EXPECT_TRUE(scope.leaks().empty());
}

TEST(FdLeakScope, NamesSocketsByTheirAddresses) {
  FdLeakScope scope;
  sockaddr_in address{};
  const Opened listener(listen_on_loopback(address));
  const Opened client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(client.fd(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const Opened first(ends[0]);
  const Opened second(ends[1]);

  const auto leaks = scope.leaks();
  ASSERT_EQ(leaks.size(), 4u);
  const std::string port = std::to_string(ntohs(address.sin_port));
  EXPECT_EQ(leaks[0].kind, "tcp");
  EXPECT_EQ(leaks[0].target, "127.0.0.1:" + port + " (listening)");
  EXPECT_EQ(leaks[1].kind, "tcp");
  EXPECT_THAT(leaks[1].target, MatchesRegex("127\\.0\\.0\\.1:[0-9]+ -> 127\\.0\\.0\\.1:" + port));
  EXPECT_EQ(leaks[2].kind, "unix");
  EXPECT_THAT(leaks[2].target, MatchesRegex("socket:\\[[0-9]+\\]"));
}

TEST(FdLeakScope, SeesANumberThatAnotherFileWasGiven) {
  Opened old(open_null());
  FdLeakScope scope;
  const int number = old.fd();
  old.close();
  const Opened now(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(now.fd(), number);
  const auto leaks = scope.leaks();
  ASSERT_EQ(leaks.size(), 1u);
  EXPECT_EQ(leaks[0].fd, number);
  EXPECT_EQ(leaks[0].target, "/dev/zero");
  EXPECT_TRUE(leaks[0].reused);
}

TEST(FdLeakScope, KnowsAPipeFromTheNext) {
  int first[2];
  ASSERT_EQ(::pipe2(first, O_CLOEXEC), 0);
  FdLeakScope scope;
  ::close(first[0]);
  ::close(first[1]);
  int second[2];
  ASSERT_EQ(::pipe2(second, O_CLOEXEC), 0);
  const Opened reading(second[0]);
  const Opened writing(second[1]);
  ASSERT_EQ(second[0], first[0]);
  const auto leaks = scope.leaks();
  ASSERT_EQ(leaks.size(), 2u);
  EXPECT_EQ(leaks[0].kind, "pipe");
  EXPECT_TRUE(leaks[1].reused);
}

TEST(FdLeakScope, ADuplicateIsADescriptor) {
  const Opened old(open_null());
  FdLeakScope scope;
  const Opened copy(::fcntl(old.fd(), F_DUPFD_CLOEXEC, 0));
  ASSERT_EQ(scope.leaks().size(), 1u);
  EXPECT_EQ(scope.leaks()[0].fd, copy.fd());
}

TEST(FdLeakScope, IgnoresTheVeryDescriptor) {
  FdLeakScope scope;
  Opened kept(open_null());
  scope.ignore(kept.fd());
  EXPECT_TRUE(scope.leaks().empty());
  // Not whatever gets its number.
  kept.close();
  const Opened other(::eventfd(0, EFD_CLOEXEC));
  EXPECT_EQ(scope.leaks().size(), 1u);
  const int number = other.fd() + 1;
  EXPECT_THROW(scope.ignore(number), std::invalid_argument);
}

TEST(FdLeakScope, AllowsByKindAndTarget) {
  FdLeakScope scope;
  scope.allow({.kind = "device", .target = "/dev/nu*", .reason = "the test says so"});
  const Opened null(open_null());
  const Opened zero(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  const Opened event(::eventfd(0, EFD_CLOEXEC));
  const auto leaks = scope.leaks();
  ASSERT_EQ(leaks.size(), 2u);
  EXPECT_EQ(leaks[0].fd, zero.fd());
  EXPECT_EQ(leaks[1].fd, event.fd());
  ASSERT_EQ(scope.allowed().size(), 1u);
  EXPECT_EQ(scope.allowed()[0].descriptor.fd, null.fd());
  EXPECT_EQ(scope.allowed()[0].reason, "the test says so");
  // Where it was opened is not known here, so nothing can be allowed by it.
  scope.allow({.where = "*open_null*"});
  EXPECT_EQ(scope.leaks().size(), 2u);
}

TEST(FdLeakScope, WhatIsOpenedLazilyIsNotedOnce) {
  {
    FdLeakScope scope;
    const Opened first(::open("/dev/urandom", O_RDONLY | O_CLOEXEC));
    EXPECT_TRUE(scope.leaks().empty());
    ASSERT_EQ(scope.allowed().size(), 1u);
    EXPECT_THAT(scope.allowed()[0].reason, HasSubstr("random"));
    const Opened second(::open("/dev/urandom", O_RDONLY | O_CLOEXEC));
    const auto leaks = scope.leaks();
    ASSERT_EQ(leaks.size(), 1u);
    EXPECT_EQ(leaks[0].fd, second.fd());
  }
  // One from before counts.
  const Opened before(::open("/dev/urandom", O_RDONLY | O_CLOEXEC));
  FdLeakScope scope;
  const Opened again(::open("/dev/urandom", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(scope.leaks().size(), 1u);
}

TEST(FdLeakScope, IgnoresByPredicate) {
  FdLeakScope scope;
  scope.ignore_if([](const FdLeak& leak) { return leak.kind == "eventfd"; });
  const Opened event(::eventfd(0, EFD_CLOEXEC));
  EXPECT_TRUE(scope.leaks().empty());
  const Opened null(open_null());
  EXPECT_EQ(scope.leaks().size(), 1u);
}

TEST(FdLeakScope, WaitsForAnotherThreadAsLongAsItIsTold) {
  FdLeakOptions options;
  options.patience = std::chrono::hours(1);  // ends when the descriptor is closed
  FdLeakScope scope(options);
  Opened opened(open_null());
  std::promise<void> asking;
  std::thread closer([&] {
    asking.get_future().wait();
    opened.close();
  });
  scope.ignore_if([&, told = false](const FdLeak&) mutable {
    if (!std::exchange(told, true)) asking.set_value();  // it was seen open
    return false;
  });
  EXPECT_TRUE(scope.leaks().empty());
  closer.join();
}

TEST(FdLeakScope, NestedScopesEachHaveTheirOwn) {
  FdLeakScope outer;
  const Opened first(open_null());
  FdLeakScope inner;
  const Opened second(open_null());
  ASSERT_EQ(inner.leaks().size(), 1u);
  EXPECT_EQ(inner.leaks()[0].fd, second.fd());
  EXPECT_EQ(outer.leaks().size(), 2u);
}

TEST(FdLeakScope, ScopesOfOtherThreadsDoNotSeeEachOthersLooking) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 200;
  std::vector<std::thread> threads;
  std::vector<std::size_t> found(kThreads);
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int round = 0; round < kRounds; ++round) {
        FdLeakScope scope;
        found[thread] += scope.leaks().size();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(found, ::testing::Each(0u));
}

TEST(FdLeakScope, CallsAtEndOnlyIfThereAreLeaks) {
  std::vector<int> reported;
  const auto note = [&](const std::vector<FdLeak>& leaks) {
    for (const FdLeak& leak : leaks) reported.push_back(leak.fd);
  };
  { FdLeakScope healthy(note); }
  EXPECT_TRUE(reported.empty());
  int fd = -1;
  {
    FdLeakScope leaking(note);
    fd = open_null();
  }
  const Opened closed_later(fd);
  EXPECT_EQ(reported, std::vector<int>{fd});
}

TEST(FdLeakScope, SpeaksUpIfNobodyAsked) {
  int fd = -1;
  ::testing::internal::CaptureStderr();
  {
    FdLeakScope scope;
    fd = open_null();
  }
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("/dev/null"));
  const Opened closed_later(fd);

  ::testing::internal::CaptureStderr();
  {
    FdLeakScope scope;
    const Opened other(open_null());
    EXPECT_EQ(scope.leaks().size(), 1u);
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST(FdLeakScope, AForkedChildReportsNothing) {
  FdLeakScope scope;
  const Opened opened(open_null());
  const pid_t child = ::fork();
  if (child == 0) ::_exit(scope.leaks().empty() ? 0 : 1);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(scope.leaks().size(), 1u);
}

/// Until EMFILE: there is no descriptor left to list /proc/self/fd with.
TEST(FdLeakScope, CountsWhenNoDescriptorIsLeft) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit low{64, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  FdLeakScope scope;
  std::vector<int> taken;
  for (int fd = open_null(); fd >= 0; fd = open_null()) taken.push_back(fd);
  const auto leaks = scope.leaks();
  for (const int fd : taken) ::close(fd);
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  ASSERT_GT(taken.size(), 20u);
  ASSERT_EQ(leaks.size(), taken.size());
  for (std::size_t i = 0; i < taken.size(); ++i) {
    EXPECT_EQ(leaks[i].fd, taken[i]);
    EXPECT_EQ(leaks[i].target, "/dev/null");
  }
}

TEST(Describe, GroupsCountsAndSaysHowToLearnMore) {
  std::vector<FdLeak> leaks;
  for (int i = 0; i < 12; ++i) {
    FdLeak leak;
    leak.fd = 10 + i;
    leak.kind = "file";
    leak.target = "/tmp/a";
    leak.where = "open_log (log.cpp:12)";
    leak.stack = {{"open_log()", "/x/log.cpp", 12, "/x/app", 1},
                  {"Log::start()", "/x/log.cpp", 30, "/x/app", 2},
                  {"testing::Test::Run()", "/x/gtest.cc", 9, "/x/app", 3}};
    leaks.push_back(leak);
  }
  const std::string text = describe(leaks, "in this test");
  EXPECT_THAT(text, HasSubstr("12 descriptors that were opened in this test are still open\n"));
  EXPECT_THAT(text, HasSubstr("  opened at open_log (log.cpp:12)\n"
                              "    called by Log::start (log.cpp:30)\n"
                              "      fd 10  file  /tmp/a\n"));
  EXPECT_THAT(text, HasSubstr("and 4 more\n"));
  EXPECT_THAT(text, Not(HasSubstr("fd 18")));
  EXPECT_THAT(text, Not(HasSubstr("gtest.cc")));
  EXPECT_THAT(text, Not(HasSubstr("loopscope check")));
  leaks[3].where.clear();
  leaks[3].stack.clear();
  EXPECT_THAT(describe(leaks), HasSubstr("loopscope check"));
}

}  // namespace
}  // namespace loopscope::testing
