// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <numeric>
#include <vector>

#include "instrumentation/process/descriptors.h"
#include "instrumentation/process/resources.h"

namespace loopscope::process {
namespace {

using recording::Error;

/// Descriptors that are closed at the end of the test.
class Descriptors {
 public:
  ~Descriptors() {
    for (const int fd : open_) ::close(fd);
  }
  int add(int fd) {
    EXPECT_GE(fd, 0);
    open_.push_back(fd);
    return fd;
  }

 private:
  std::vector<int> open_;
};

DescriptorCensus census_of(std::int32_t pid, const CensusOptions& options = {}) {
  auto census = take_census(pid, options);
  EXPECT_TRUE(census) << census.error().message;
  return census ? *census : DescriptorCensus{};
}

std::uint64_t sum(const DescriptorCensus& census) {
  return std::accumulate(census.by_kind.begin(), census.by_kind.end(), std::uint64_t{0});
}

/// What is open, told without /proc.
std::uint64_t open_by_fcntl() {
  std::uint64_t open = 0;
  for (int fd = 0; fd < 4096; ++fd) open += ::fcntl(fd, F_GETFD) != -1;
  return open;
}

/// A child that holds what it was forked with until the test ends.
class Child {
 public:
  Child() : pid_(::fork()) {
    if (pid_ == 0) {
      for (;;) ::pause();
    }
  }
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }
  void become_zombie() {
    ::kill(pid_, SIGKILL);
    siginfo_t info;
    ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }

 private:
  pid_t pid_;
};

TEST(DescriptorCensus, CountsWhatIsOpenWithoutItsOwnDescriptor) {
  const auto census = census_of(::getpid());
  EXPECT_EQ(census.open, open_by_fcntl());
  EXPECT_EQ(sum(census), census.open);
  EXPECT_EQ(census.numbers.size(), census.open);
  EXPECT_TRUE(census.listed);
  EXPECT_EQ(census.unexamined, 0u);
  EXPECT_EQ(*open_descriptors(::getpid()), census.open);
}

TEST(DescriptorCensus, KnowsEveryKind) {
  const auto before = census_of(::getpid());
  Descriptors fds;
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  fds.add(ends[0]);
  fds.add(ends[1]);
  fds.add(::socket(AF_INET, SOCK_STREAM, 0));
  fds.add(::socket(AF_INET, SOCK_DGRAM, 0));
  fds.add(::socket(AF_UNIX, SOCK_STREAM, 0));
  fds.add(::socket(AF_UNIX, SOCK_DGRAM, 0));
  fds.add(::socket(AF_NETLINK, SOCK_RAW, 0));
  fds.add(::eventfd(0, 0));
  fds.add(::timerfd_create(CLOCK_MONOTONIC, 0));
  sigset_t signals;
  sigemptyset(&signals);
  fds.add(::signalfd(-1, &signals, 0));
  fds.add(::epoll_create1(0));
  fds.add(::inotify_init1(0));
  fds.add(::memfd_create("a name", 0));
  fds.add(::open("/", O_RDONLY | O_DIRECTORY));
  fds.add(::open("/proc/self/stat", O_RDONLY));
  fds.add(::open("/dev/null", O_RDONLY));
  char path[] = "/tmp/loopscope-census-XXXXXX";
  fds.add(::mkstemp(path));
  ::unlink(path);  // the link's target then ends in " (deleted)"

  const auto after = census_of(::getpid());
  const auto more = [&](DescriptorKind kind) { return after.count(kind) - before.count(kind); };
  EXPECT_EQ(more(DescriptorKind::kPipe), 2u);
  EXPECT_EQ(more(DescriptorKind::kTcp), 1u);
  EXPECT_EQ(more(DescriptorKind::kUdp), 1u);
  EXPECT_EQ(more(DescriptorKind::kUnix), 2u);
  EXPECT_EQ(more(DescriptorKind::kNetlink), 1u);
  EXPECT_EQ(more(DescriptorKind::kEventfd), 1u);
  EXPECT_EQ(more(DescriptorKind::kTimerfd), 1u);
  EXPECT_EQ(more(DescriptorKind::kSignalfd), 1u);
  EXPECT_EQ(more(DescriptorKind::kEpoll), 1u);
  EXPECT_EQ(more(DescriptorKind::kInotify), 1u);
  EXPECT_EQ(more(DescriptorKind::kMemfd), 1u);
  EXPECT_EQ(more(DescriptorKind::kDirectory), 1u);
  EXPECT_EQ(more(DescriptorKind::kFile), 2u);
  EXPECT_EQ(more(DescriptorKind::kDevice), 1u);
  EXPECT_EQ(more(DescriptorKind::kOther), 0u);
  EXPECT_EQ(after.open, before.open + 17);
}

TEST(DescriptorCensus, KnowsPidfdAndTerminalWhereTheyAreToBeHad) {
  Descriptors fds;
  const auto before = census_of(::getpid());
  const auto pidfd = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0));
  if (pidfd < 0) GTEST_SKIP() << "no pidfd_open";
  fds.add(pidfd);
  EXPECT_EQ(census_of(::getpid()).count(DescriptorKind::kPidfd),
            before.count(DescriptorKind::kPidfd) + 1);
  const int terminal = ::open("/dev/ptmx", O_RDWR | O_NOCTTY);
  if (terminal < 0) GTEST_SKIP() << "no pseudo terminals";
  fds.add(terminal);
  EXPECT_EQ(census_of(::getpid()).count(DescriptorKind::kTty),
            before.count(DescriptorKind::kTty) + 1);
}

TEST(DescriptorCensus, OfAnotherProcessIsTheSame) {
  Descriptors fds;
  fds.add(::socket(AF_INET, SOCK_STREAM, 0));
  const int event = fds.add(::eventfd(0, 0));
  const Child child;
  const auto ours = census_of(::getpid());
  const auto theirs = census_of(child.pid());
  EXPECT_EQ(theirs.open, ours.open);
  EXPECT_EQ(theirs.by_kind, ours.by_kind);
  EXPECT_EQ(theirs.numbers, ours.numbers);
  EXPECT_EQ(theirs.limit, ours.limit);
  EXPECT_TRUE(descriptor_is_open(child.pid(), event));
  EXPECT_FALSE(descriptor_is_open(child.pid(), 4000));
}

TEST(DescriptorCensus, ListsNumbersInRisingOrder) {
  Descriptors fds;
  const int high = fds.add(::fcntl(0, F_DUPFD, 500));
  const auto census = census_of(::getpid());
  EXPECT_TRUE(std::is_sorted(census.numbers.begin(), census.numbers.end()));
  EXPECT_TRUE(census.contains(high));
  EXPECT_FALSE(census.contains(high + 1));
  EXPECT_TRUE(descriptor_is_open(::getpid(), high));
  EXPECT_FALSE(descriptor_is_open(::getpid(), high + 1));
  EXPECT_FALSE(descriptor_is_open(::getpid(), -1));
}

TEST(DescriptorCensus, StopsLookingAtTheBudgetButCountsAll) {
  Descriptors fds;
  for (int i = 0; i < 20; ++i) fds.add(::eventfd(0, 0));
  const auto census = census_of(::getpid(), {.examine = 5});
  EXPECT_EQ(census.open, open_by_fcntl());
  EXPECT_EQ(sum(census), census.open);
  EXPECT_EQ(census.unexamined, census.open - 5);
  EXPECT_GE(census.count(DescriptorKind::kOther), census.unexamined);
  EXPECT_EQ(census.numbers.size(), census.open);
}

TEST(DescriptorCensus, TellsTheSoftLimit) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(descriptor_limit(::getpid()), limit.rlim_cur);
  EXPECT_EQ(census_of(::getpid()).limit, limit.rlim_cur);
}

TEST(DescriptorCensus, ReportsAProcessThatIsGone) {
  pid_t gone = 0;
  {
    Child child;
    gone = child.pid();
    child.become_zombie();
    const auto zombie = take_census(gone);
    ASSERT_FALSE(zombie);
    EXPECT_EQ(zombie.error().code, Error::Code::kNotFound);
    EXPECT_FALSE(open_descriptors(gone));
  }
  const auto census = take_census(gone);
  ASSERT_FALSE(census);
  EXPECT_EQ(census.error().code, Error::Code::kNotFound);
  EXPECT_NE(census.error().message.find(std::to_string(gone)), std::string::npos);
  EXPECT_FALSE(open_descriptors(gone));
  EXPECT_FALSE(descriptor_limit(gone));
  EXPECT_FALSE(descriptor_is_open(gone, 0));
}

TEST(Descriptors, AreListedAndDescribedOneByOne) {
  Descriptors fds;
  const int event = fds.add(::eventfd(0, 0));
  const int socket = fds.add(::socket(AF_INET, SOCK_DGRAM, 0));
  const int root = fds.add(::open("/", O_RDONLY | O_DIRECTORY));
  const Child child;
  for (const pid_t pid : {::getpid(), child.pid()}) {
    const auto listed = list_open(pid);
    ASSERT_TRUE(listed) << listed.error().message;
    EXPECT_TRUE(listed->listed);
    EXPECT_EQ(listed->open, open_by_fcntl());
    EXPECT_EQ(listed->numbers, census_of(pid).numbers);
    EXPECT_EQ(describe_descriptor(pid, event)->kind, DescriptorKind::kEventfd);
    EXPECT_EQ(describe_descriptor(pid, socket)->kind, DescriptorKind::kUdp);
    EXPECT_TRUE(describe_descriptor(pid, socket)->target.starts_with("socket:["));
    EXPECT_EQ(describe_descriptor(pid, root)->kind, DescriptorKind::kDirectory);
    EXPECT_EQ(describe_descriptor(pid, root)->target, "/");
    EXPECT_FALSE(describe_descriptor(pid, 4000));
    EXPECT_FALSE(describe_descriptor(pid, -1));
  }
  EXPECT_FALSE(list_open(1 << 23));
}

TEST(Descriptors, AreDescribedTogetherAsOneByOne) {
  Descriptors fds;
  fds.add(::eventfd(0, 0));
  const int first = fds.add(::socket(AF_INET, SOCK_DGRAM, 0));
  const int second = fds.add(::socket(AF_UNIX, SOCK_STREAM, 0));
  fds.add(::open("/", O_RDONLY | O_DIRECTORY));
  const Child child;
  for (const pid_t pid : {::getpid(), child.pid()}) {
    std::vector<std::int32_t> numbers = list_open(pid)->numbers;
    const std::size_t open = numbers.size();
    numbers.push_back(4000);  // is not
    const auto described = describe_descriptors(pid, numbers, {});
    ASSERT_EQ(described.size(), open);
    for (std::size_t i = 0; i < open; ++i) {
      const auto alone = describe_descriptor(pid, numbers[i]);
      ASSERT_TRUE(alone);
      EXPECT_EQ(described[i].number, numbers[i]);
      EXPECT_EQ(described[i].what.kind, alone->kind);
      EXPECT_EQ(described[i].what.target, alone->target);
    }
    // Of a socket that was met before the kind is taken from there; of another, asked for.
    std::vector<DescribedDescriptor> before = described;
    for (DescribedDescriptor& one : before) {
      if (one.number == first) one.what.kind = DescriptorKind::kNetlink;
      if (one.number == second) one.what = {DescriptorKind::kNetlink, "socket:[1]"};
    }
    for (const auto& [number, what] : describe_descriptors(pid, numbers, before)) {
      if (number == first) {
        EXPECT_EQ(what.kind, DescriptorKind::kNetlink);
      } else if (number == second) {
        EXPECT_EQ(what.kind, DescriptorKind::kUnix);
      }
    }
  }
  EXPECT_TRUE(describe_descriptors(1 << 23, {0, 1}, {}).empty());
}

TEST(DescriptorKind, NamesAreDistinct) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kDescriptorKinds; ++i) {
    names.emplace_back(descriptor_kind_name(static_cast<DescriptorKind>(i)));
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
  EXPECT_STREQ(descriptor_kind_name(DescriptorKind::kTcp), "tcp");
  EXPECT_STREQ(descriptor_kind_name(DescriptorKind::kOther), "other");
}

TEST(DescriptorKind, IsToldByTheTarget) {
  EXPECT_EQ(kind_of_target("pipe:[1]"), DescriptorKind::kPipe);
  EXPECT_EQ(kind_of_target("socket:[1]"), DescriptorKind::kSocket);
  EXPECT_EQ(kind_of_target("pidfd:[1]"), DescriptorKind::kPidfd);
  EXPECT_EQ(kind_of_target("anon_inode:inotify"), DescriptorKind::kInotify);
  EXPECT_EQ(kind_of_target("anon_inode:[fanotify]"), DescriptorKind::kFanotify);
  EXPECT_EQ(kind_of_target("anon_inode:[io_uring]"), DescriptorKind::kIoUring);
  EXPECT_EQ(kind_of_target("anon_inode:[perf_event]"), DescriptorKind::kOther);
  EXPECT_EQ(kind_of_target("net:[4026531840]"), DescriptorKind::kOther);
  EXPECT_EQ(kind_of_target("/memfd:x (deleted)"), DescriptorKind::kMemfd);
  EXPECT_EQ(kind_of_target("/dev/pts/3"), DescriptorKind::kTty);
  EXPECT_EQ(kind_of_target("/dev/sda"), DescriptorKind::kDevice);
  EXPECT_EQ(kind_of_target("/dev/shm/x"), DescriptorKind::kFile);
  EXPECT_EQ(kind_of_target("/var/pipe:[1]"), DescriptorKind::kFile);
  EXPECT_EQ(kind_of_target(""), DescriptorKind::kOther);
}

TEST(DescriptorKind, IsToldByTheProtocol) {
  EXPECT_EQ(kind_of_protocol("MPTCPv6"), DescriptorKind::kTcp);
  EXPECT_EQ(kind_of_protocol("UDPLITEv6"), DescriptorKind::kUdp);
  EXPECT_EQ(kind_of_protocol("UNIX"), DescriptorKind::kUnix);
  EXPECT_EQ(kind_of_protocol("RAWv6"), DescriptorKind::kSocket);
  EXPECT_EQ(kind_of_protocol("AF_VSOCK"), DescriptorKind::kSocket);
}

}  // namespace
}  // namespace loopscope::process
