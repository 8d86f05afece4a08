// SPDX-License-Identifier: Apache-2.0
//
// The Collector over recordings that are really written: by this process and by children.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "instrumentation/recording/directory.h"
#include "instrumentation/recording/loop_recorder.h"
#include "instrumentation/snapshot/host_snapshot.h"
#include "instrumentation/snapshot/json.h"
#include "tests/unit/fixtures.h"

namespace loopscope::snapshot {
namespace {

using recording::LoopRecorder;
using recording::ProcessRecorder;
using recording::WaitOutcome;
using recording::WaitResult;

/// Scans and counts anew at every call.
constexpr CollectorTiming kAtOnce{.rescan_ns = 0, .census_ns = 0};

void turn(LoopRecorder& loop, const WaitOutcome& outcome) {
  loop.poll_begin();
  loop.poll_end(outcome);
}
constexpr WaitOutcome kOneEvent{.ready = 1, .result = WaitResult::kEvents};

/// A directory for recordings that is removed with all in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char path[] = "/tmp/loopscope-collector-XXXXXX";
    path_ = ::mkdtemp(path);
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// A child that writes a recording into `directory` by `work`, then waits until it is told to end.
class Child {
 public:
  Child(const std::string& directory, const std::function<void()>& work) {
    int ready[2], go[2];
    EXPECT_EQ(::pipe(ready), 0);
    EXPECT_EQ(::pipe(go), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(go[1]);
      ::setenv("LOOPSCOPE_DIR", directory.c_str(), 1);
      work();
      char byte = 0;
      (void)!::write(ready[1], "x", 1);
      (void)!::read(go[0], &byte, 1);
      if (ProcessRecorder* recorder = ProcessRecorder::existing()) recorder->ended(7, true);
      ::_exit(7);
    }
    ::close(go[0]);
    ::close(ready[1]);
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    go_ = go[1];
  }
  ~Child() {
    if (go_ >= 0) end();
  }
  void end() {
    (void)!::write(go_, "x", 1);  // a later child holds this end too: closing it would not do
    ::close(go_);
    go_ = -1;
    ::waitpid(pid_, nullptr, 0);
  }
  void kill() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::close(go_);
    go_ = -1;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  int go_ = -1;
};

void record_ten_turns() {
  LoopRecorder* loop = new LoopRecorder({.name = "worker", .backend = "epoll"});
  loop->enter();
  for (int i = 0; i < 10; ++i) turn(*loop, kOneEvent);
}

const ProcessSnapshot* find(const HostSnapshot& host, pid_t pid) {
  for (const auto& process : host.processes) {
    if (process.recording.pid == pid) return &process;
  }
  return nullptr;
}

TEST(Collector, SeesRecordingsComeEndAndVanish) {
  const TemporaryDirectory directory;
  const auto collector = Collector::of_directories({directory.path()}, kAtOnce);
  EXPECT_TRUE(collector->collect().processes.empty());
  EXPECT_TRUE(collector->collect().unreadable.empty());

  Child first(directory.path(), record_ten_turns);
  Child second(directory.path(), record_ten_turns);
  HostSnapshot host = collector->collect();
  EXPECT_EQ(host.mode, Mode::kServe);
  EXPECT_NE(host.version, "");
  ASSERT_EQ(host.processes.size(), 2u);
  const ProcessSnapshot* process = find(host, first.pid());
  ASSERT_NE(process, nullptr);
  EXPECT_EQ(process->recording.life, recording::Life::kRunning);
  ASSERT_EQ(process->recording.loops.size(), 1u);
  EXPECT_EQ(process->recording.loops[0].name, "worker");
  EXPECT_EQ(process->recording.loops[0].iterations, 10u);
  ASSERT_TRUE(process->resources);
  EXPECT_EQ(process->resources->parent_pid, ::getpid());
  EXPECT_GT(process->fds.open.value_or(0), 2u);
  EXPECT_FALSE(process->loop_facts[0].registered_fds);  // no epoll descriptor known
  EXPECT_TRUE(process->id().starts_with(std::to_string(first.pid()) + "-"));

  first.end();
  second.kill();
  host = collector->collect();
  ASSERT_EQ(host.processes.size(), 2u);
  process = find(host, first.pid());
  EXPECT_EQ(process->recording.life, recording::Life::kExited);
  EXPECT_EQ(process->recording.exit_status, 7);
  EXPECT_FALSE(process->resources);
  EXPECT_FALSE(process->fds.open);
  EXPECT_TRUE(process->fds.by_kind.empty());
  process = find(host, second.pid());
  EXPECT_EQ(process->recording.life, recording::Life::kKilled);
  EXPECT_EQ(process->recording.loops[0].iterations, 10u);  // the last turns can still be read
  EXPECT_FALSE(process->fds.open);

  std::filesystem::remove(process->recording.path);
  EXPECT_EQ(collector->collect().processes.size(), 1u);
}

TEST(Collector, PutsTheLivingFirst) {
  const TemporaryDirectory directory;
  Child old(directory.path(), record_ten_turns);
  Child young(directory.path(), record_ten_turns);
  young.end();
  const HostSnapshot host = Collector::of_directories({directory.path()})->collect();
  ASSERT_EQ(host.processes.size(), 2u);
  EXPECT_EQ(host.processes[0].recording.pid, old.pid());
}

TEST(Collector, ReportsWhatItCannotRead) {
  const TemporaryDirectory directory;
  Child child(directory.path(), record_ten_turns);
  const std::string bad = directory.path() + "/1-2-0.loopscope";
  std::ofstream(bad) << "not a recording";
  std::ofstream(directory.path() + "/README") << "nor this, but it does not claim to be";
  const auto collector = Collector::of_directories({directory.path(), "/proc/self/stat"}, kAtOnce);
  for (int round = 0; round < 2; ++round) {  // said each time, not once
    const HostSnapshot host = collector->collect();
    EXPECT_EQ(host.processes.size(), 1u);
    ASSERT_EQ(host.unreadable.size(), 2u);
    EXPECT_EQ(host.unreadable[0].path, "/proc/self/stat");
    EXPECT_EQ(host.unreadable[1].path, bad);
    EXPECT_NE(host.unreadable[1].error, "");
  }
  std::filesystem::remove(bad);
  EXPECT_EQ(collector->collect().unreadable.size(), 1u);
}

TEST(Collector, SaysFirstWhatIsWrongWithDirectories) {
  const TemporaryDirectory directory;
  const std::string bad = directory.path() + "/1-2-0.loopscope";
  const std::string none = directory.path() + "/later in the alphabet";
  std::ofstream(bad) << "not a recording";
  std::ofstream(none) << "not a directory";
  const HostSnapshot host = Collector::of_directories({directory.path(), none})->collect();
  ASSERT_EQ(host.unreadable.size(), 2u);
  EXPECT_EQ(host.unreadable[0].path, none);
  EXPECT_EQ(host.unreadable[1].path, bad);
}

// --- who may take how much of it

/// Links to the recording of a child that has ended, as of so many processes.
void fill(const std::string& directory, int count) {
  const TemporaryDirectory elsewhere;
  Child(elsewhere.path(), record_ten_turns).end();
  const std::string recording = recording::list_recordings(elsewhere.path())->front().path;
  for (int i = 0; i < count; ++i) {
    std::filesystem::create_hard_link(
        recording, directory + "/" + std::to_string(1'999'000'000 + i) + "-5-0.loopscope");
  }
}

constexpr uid_t kSomebody = 1234;
bool give_away(const std::string& directory) {
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (::chown(entry.path().c_str(), kSomebody, 0) != 0) return false;
  }
  return true;
}

std::string why(const HostSnapshot& host, const std::string& path) {
  for (const Unreadable& unreadable : host.unreadable) {
    if (unreadable.path == path) return unreadable.error;
  }
  return "";
}

TEST(Collector, AnotherUsersFloodHidesNothingOfOurs) {
  const TemporaryDirectory own;
  Child child(own.path(), record_ten_turns);
  for (const int flood : {20, 10'000}) {
    const TemporaryDirectory theirs;
    fill(theirs.path(), flood);
    if (!give_away(theirs.path()) || ::chown(theirs.path().c_str(), kSomebody, 0) != 0) {
      GTEST_SKIP() << "only root can give a file away";
    }
    const auto collector = Collector::of_directories({theirs.path(), own.path()}, kAtOnce, 5);
    for (int round = 0; round < 2; ++round) {  // said each time
      const HostSnapshot host = collector->collect();
      EXPECT_NE(find(host, child.pid()), nullptr);
      EXPECT_EQ(host.processes.size(), 6u);
      EXPECT_EQ(host.unreadable.size(), 1u);
      const std::string said = why(host, theirs.path());
      EXPECT_NE(said.find(flood == 20 ? "15 recordings in " : " or more recordings in "),
                std::string::npos)
          << said;
      EXPECT_NE(said.find("of another user's, 5 are shown at most"), std::string::npos) << said;
    }
  }
}

TEST(Collector, NorDoesItInADirectoryOfOurs) {
  const TemporaryDirectory directory;
  fill(directory.path(), 20);
  if (!give_away(directory.path())) GTEST_SKIP() << "only root can give a file away";
  Child child(directory.path(), record_ten_turns);  // 21 are few enough for it to remove none
  const HostSnapshot host = Collector::of_directories({directory.path()}, kAtOnce, 5)->collect();
  EXPECT_NE(find(host, child.pid()), nullptr);
  EXPECT_EQ(host.processes.size(), 6u);
  EXPECT_TRUE(why(host, directory.path()).starts_with("15 recordings in "))
      << host.unreadable.size();
}

TEST(Collector, OfOnesOwnAsManyAreShownAsThereAreDescriptorsFor) {
  const TemporaryDirectory directory;
  Child child(directory.path(), record_ten_turns);  // lives, so it is not among the left out
  fill(directory.path(), 40);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 64;
  const auto collector = Collector::of_directories({directory.path()}, kAtOnce, 5);
  EXPECT_EQ(collector->collect().processes.size(), 41u);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const HostSnapshot host = collector->collect();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(host.processes.size(), 32u);
  EXPECT_NE(find(host, child.pid()), nullptr);
  EXPECT_TRUE(why(host, directory.path()).starts_with("9 recordings in "))
      << why(host, directory.path());
}

TEST(Collector, OfAFileThatIsNotThereSaysSo) {
  const auto collector = Collector::of_file("/tmp/loopscope-no-such-file.loopscope");
  const HostSnapshot host = collector->collect();
  EXPECT_TRUE(host.processes.empty());
  ASSERT_EQ(host.unreadable.size(), 1u);
  EXPECT_EQ(host.unreadable[0].path, "/tmp/loopscope-no-such-file.loopscope");
}

TEST(Collector, OfAFileReadsAnEndedProcess) {
  const TemporaryDirectory directory;
  Child child(directory.path(), record_ten_turns);
  const auto listed = recording::list_recordings(directory.path());
  ASSERT_TRUE(listed);
  ASSERT_EQ(listed->size(), 1u);
  child.kill();
  const HostSnapshot host = Collector::of_file(listed->front().path)->collect();
  ASSERT_EQ(host.processes.size(), 1u);
  EXPECT_EQ(host.processes[0].recording.life, recording::Life::kKilled);
}

TEST(Collector, ScansNoMoreOftenThanItIsTold) {
  const TemporaryDirectory directory;
  const auto collector =
      Collector::of_directories({directory.path()}, {.rescan_ns = 3600 * fixtures::kSecond});
  EXPECT_TRUE(collector->collect().processes.empty());
  Child child(directory.path(), record_ten_turns);
  EXPECT_TRUE(collector->collect().processes.empty());
}

TEST(Collector, OpensAFileAgainThatWasReplaced) {
  const TemporaryDirectory directory;
  Child first(directory.path(), record_ten_turns);
  const auto collector = Collector::of_directories({directory.path()}, kAtOnce);
  ASSERT_EQ(collector->collect().processes.size(), 1u);
  const std::string path = collector->collect().processes[0].recording.path;
  const TemporaryDirectory elsewhere;
  Child second(elsewhere.path(), record_ten_turns);
  std::filesystem::rename(recording::list_recordings(elsewhere.path())->front().path, path);
  const HostSnapshot host = collector->collect();
  ASSERT_EQ(host.processes.size(), 1u);
  EXPECT_EQ(host.processes[0].recording.pid, second.pid());
}

TEST(Collector, CountsRegisteredDescriptorsThatAreOpen) {
  const TemporaryDirectory directory;
  Child child(directory.path(), [] {
    const int epoll_fd = ::epoll_create1(0);
    LoopRecorder* loop = new LoopRecorder({.name = "worker", .backend = "epoll"});
    loop->set_epoll_fd(epoll_fd);
    ProcessRecorder& process = ProcessRecorder::instance();
    for (int i = 0; i < 5; ++i) process.register_fd(::eventfd(0, 0), epoll_fd, EPOLLIN);
    const int closed = ::eventfd(0, 0);
    process.register_fd(closed, epoll_fd, EPOLLIN);
    ::close(closed);
    process.register_fd(::eventfd(0, 0), epoll_fd + 100, EPOLLIN);  // another loop's
    const int removed = ::eventfd(0, 0);
    process.register_fd(removed, epoll_fd, EPOLLIN);
    process.register_fd(removed, -1, 0);
    loop->enter();
    for (int i = 0; i < 10; ++i) turn(*loop, kOneEvent);
  });
  const HostSnapshot host = Collector::of_directories({directory.path()})->collect();
  ASSERT_EQ(host.processes.size(), 1u);
  const LoopFacts& facts = host.processes[0].loop_facts.at(0);
  EXPECT_EQ(facts.registered_fds, 5u);
  EXPECT_DOUBLE_EQ(facts.active_ready_ratio.value_or(0), 0.2);
  EXPECT_EQ(host.processes[0].fds.by_kind.at("eventfd"), 7u);
}

// --- this process
// ---------------------------------------------------------------------------------

std::unique_ptr<Collector> own_collector(CollectorTiming timing = {}) {
  const recording::Region& region = ProcessRecorder::instance().region();
  auto reader = recording::Reader::attach(region.base, region.bytes, region.path, region.error);
  EXPECT_TRUE(reader) << reader.error().message;
  return Collector::in_process(*std::move(reader), timing);
}

const recording::LoopSnapshot& loop_of(const HostSnapshot& host, const LoopRecorder& loop) {
  for (const auto& found : host.processes.at(0).recording.loops) {
    if (found.id == loop.id()) return found;
  }
  throw std::runtime_error("loop not found");
}

class InProcess : public ::testing::Test {
 protected:
  // The environment must be set before the first recorder, whichever test comes first.
  static void SetUpTestSuite() {
    directory_ = new TemporaryDirectory;
    ::setenv("LOOPSCOPE_DIR", directory_->path().c_str(), 1);
  }
  static void TearDownTestSuite() { delete directory_; }
  static TemporaryDirectory* directory_;
};
TemporaryDirectory* InProcess::directory_ = nullptr;

TEST_F(InProcess, DescribesItself) {
  LoopRecorder loop({.name = "mine", .backend = "epoll"});
  loop.enter();
  turn(loop, kOneEvent);
  const HostSnapshot host = own_collector()->collect();
  EXPECT_EQ(host.mode, Mode::kInspector);
  ASSERT_EQ(host.processes.size(), 1u);
  EXPECT_EQ(host.processes[0].recording.pid, ::getpid());
  EXPECT_EQ(loop_of(host, loop).name, "mine");
  loop.leave();
}

TEST_F(InProcess, SeesDescriptorsAtOnceWhileCountingIsCheap) {
  LoopRecorder loop({.name = "mine"});
  const auto collector = own_collector({.rescan_ns = 0, .census_ns = 3600 * fixtures::kSecond});
  const auto before = collector->collect().processes[0].fds;
  const int fd = ::eventfd(0, 0);
  const auto after = collector->collect().processes[0].fds;
  ::close(fd);
  EXPECT_EQ(*after.open, *before.open + 1);
  const auto count = [](const DescriptorSummary& fds) {
    const auto found = fds.by_kind.find("eventfd");
    return found == fds.by_kind.end() ? 0 : found->second;
  };
  EXPECT_EQ(count(after), count(before) + 1);
}

TEST_F(InProcess, ListsDescriptorsWithoutALedgerToo) {
  LoopRecorder loop({.name = "mine"});
  const int fd = ::eventfd(0, 0);
  const int epoll_fd = ::epoll_create1(0);
  ProcessRecorder::instance().register_fd(fd, epoll_fd, EPOLLIN);
  const auto collector = own_collector(kAtOnce);
  EXPECT_FALSE(collector->collect().processes[0].descriptors);
  CollectOptions options;
  options.descriptors = true;
  const HostSnapshot host = collector->collect(options);
  const ProcessSnapshot& process = host.processes[0];
  ASSERT_TRUE(process.descriptors);
  EXPECT_EQ(process.descriptors->size(), *process.fds.open);
  EXPECT_EQ(process.descriptors_left_out, 0u);
  const auto found = std::find_if(process.descriptors->begin(), process.descriptors->end(),
                                  [fd](const Descriptor& one) { return one.record.fd == fd; });
  ASSERT_NE(found, process.descriptors->end());
  EXPECT_EQ(found->record.kind, process::DescriptorKind::kEventfd);
  EXPECT_EQ(found->record.registered_epoll_fd, epoll_fd);
  EXPECT_FALSE(process.fds.ledger);
  EXPECT_FALSE(process.fds.peak);
  CollectOptions table;
  table.table = true;
  for (int round = 0; round < 2; ++round) {  // the second time from what the first one found
    const HostSnapshot all = collector->collect(table);
    ASSERT_TRUE(all.processes[0].descriptors);
    const std::vector<Descriptor>& rows = *all.processes[0].descriptors;
    ASSERT_EQ(rows.size(), process.descriptors->size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const recording::FdRecord& listed = (*process.descriptors)[i].record;
      EXPECT_EQ(rows[i].record.fd, listed.fd);
      EXPECT_EQ(rows[i].record.kind, listed.kind) << listed.fd;
      EXPECT_EQ(rows[i].record.target, listed.target) << listed.fd;
      EXPECT_EQ(rows[i].record.registered_epoll_fd, listed.registered_epoll_fd) << listed.fd;
    }
  }
  EXPECT_NE(to_json(host).find("\"origin\":\"unknown\""), std::string::npos);
  ::close(fd);
  ::close(epoll_fd);
}

TEST_F(InProcess, FollowsTurnsWithoutGapOrRepetition) {
  LoopRecorder loop({.name = "mine"});
  loop.enter();
  const auto collector = own_collector();
  const auto turns = [&](int count) {
    for (int i = 0; i < count; ++i) turn(loop, kOneEvent);
  };
  StreamCursors cursors;
  turns(101);  // 100 finished, the last in progress
  HostSnapshot host = collector->collect({.recent = 50, .cursors = &cursors});
  EXPECT_EQ(loop_of(host, loop).recent.size(), 50u);
  EXPECT_EQ(loop_of(host, loop).recent.back().turn, 100u);
  EXPECT_EQ(loop_of(host, loop).recent_lost, 0u);  // before the first event nothing was promised

  host = collector->collect({.recent = 50, .cursors = &cursors});
  EXPECT_TRUE(loop_of(host, loop).recent.empty());
  EXPECT_EQ(loop_of(host, loop).recent_lost, 0u);

  turns(10);
  host = collector->collect({.recent = 50, .cursors = &cursors});
  ASSERT_EQ(loop_of(host, loop).recent.size(), 10u);
  EXPECT_EQ(loop_of(host, loop).recent.front().turn, 101u);
  EXPECT_EQ(loop_of(host, loop).recent_lost, 0u);

  turns(80);  // more than are asked for
  host = collector->collect({.recent = 50, .cursors = &cursors});
  EXPECT_EQ(loop_of(host, loop).recent.size(), 50u);
  EXPECT_EQ(loop_of(host, loop).recent_lost, 30u);

  turns(20'000);  // more than the ring holds
  host = collector->collect({.recent = 100'000, .cursors = &cursors});
  const auto& ring = loop_of(host, loop);
  EXPECT_GE(ring.recent.size(), recording::kDefaultRingTurns - 2u);
  EXPECT_EQ(ring.recent.size() + ring.recent_lost, 20'000u);

  host = collector->collect({.recent = 10});  // somebody else's look moves nothing
  EXPECT_EQ(loop_of(host, loop).recent.size(), 10u);
  turns(5);
  host = collector->collect({.recent = 50, .cursors = &cursors});
  EXPECT_EQ(loop_of(host, loop).recent.size(), 5u);
  host = collector->collect({.recent = 0});
  EXPECT_TRUE(loop_of(host, loop).recent.empty());
  loop.leave();
}

TEST_F(InProcess, RulesSeeTheWholeRing) {
  LoopRecorder loop({.name = "mine", .stall_threshold_ns = 20 * fixtures::kMillisecond});
  loop.enter();
  turn(loop, kOneEvent);
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  for (int i = 0; i < 4000; ++i) turn(loop, kOneEvent);
  const HostSnapshot host = own_collector()->collect({.recent = 0});
  std::string detail;
  for (const auto& finding : host.processes[0].findings) {
    if (finding.rule == "loop-stall" && finding.subject == "mine") detail = finding.detail;
  }
  EXPECT_NE(detail.find("in turn 1"), std::string::npos) << detail;
  loop.leave();
}

TEST_F(InProcess, RulesSeeMoreThanTheViewAskedFor) {
  LoopRecorder loop({.name = "mine", .stall_threshold_ns = 1});
  loop.enter();
  for (int i = 0; i < 3; ++i) turn(loop, kOneEvent);
  const HostSnapshot host = own_collector()->collect({.recent = 0});
  bool found = false;
  for (const auto& finding : host.processes[0].findings) {
    found = found || (finding.rule == "loop-stall" && finding.subject == "mine" &&
                      finding.detail.find("in turn") != std::string::npos);
  }
  EXPECT_TRUE(found);
  loop.leave();
}

TEST_F(InProcess, MayBeUsedFromSeveralThreadsWhileLoopsRun) {
  const auto collector = own_collector(kAtOnce);
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    LoopRecorder loop({.name = "busy"});
    loop.enter();
    while (!stop) turn(loop, kOneEvent);
    loop.leave();
  });
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      StreamCursors cursors;
      for (int k = 0; k < 50; ++k) {
        EXPECT_FALSE(to_json(collector->collect({.recent = 64, .cursors = &cursors})).empty());
      }
    });
  }
  for (auto& reader : readers) reader.join();
  stop = true;
  writer.join();
}

// --- derived values
// -------------------------------------------------------------------------------

TEST(LoopTimes, IncludeWhatIsInProgress) {
  auto loop = fixtures::healthy_loop();
  EXPECT_EQ(loop_times(loop).idle_ns, 10'005 * fixtures::kMillisecond);
  loop.phase = recording::Phase::kOutside;
  EXPECT_EQ(loop_times(loop).idle_ns, 10'000 * fixtures::kMillisecond);
  loop.phase = recording::Phase::kDispatching;
  EXPECT_EQ(loop_times(loop).busy_ns, 105 * fixtures::kMillisecond);
  EXPECT_FALSE(loop_times(recording::LoopSnapshot{}).utilization);
}

TEST(LoopTimes, NeverSubtractMoreThanThereIs) {
  auto loop = fixtures::healthy_loop();
  loop.watchers = {fixtures::watcher("ahead", recording::WatcherKind::kIo)};
  loop.watchers[0].callback = fixtures::times({fixtures::kSecond});
  EXPECT_EQ(loop_times(loop).unattributed_ns, 0u);
}

TEST(PollCounts, AddUp) {
  auto loop = fixtures::healthy_loop();
  loop.iterations = 100;
  loop.nonblocking = 30;
  loop.timeouts = 20;
  loop.interrupted = 5;
  loop.errors = 1;
  PollCounts counts = poll_counts(loop);
  EXPECT_EQ(counts.blocking, 70u);
  EXPECT_EQ(counts.events, 74u);
  EXPECT_EQ(counts.unknown, 0u);
  loop.ready_unknown = 70;
  counts = poll_counts(loop);
  EXPECT_EQ(counts.events, 4u);
  EXPECT_EQ(counts.unknown, 70u);
}

}  // namespace
}  // namespace loopscope::snapshot
