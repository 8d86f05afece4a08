// SPDX-License-Identifier: Apache-2.0
//
// The ledger and the kernel together: children that write their ledger by hand, with the omissions
// that a probe has.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "instrumentation/process/descriptors.h"
#include "instrumentation/recording/directory.h"
#include "instrumentation/recording/paths.h"
#include "instrumentation/snapshot/descriptor_account.h"
#include "instrumentation/snapshot/host_snapshot.h"
#include "instrumentation/snapshot/json.h"
#include "tests/unit/ledger_region.h"

namespace loopscope::snapshot {
namespace {

using fixtures::LedgerRegion;
using fixtures::RecordingPlace;
using process::DescriptorKind;
using recording::FdOrigin;
using testing::HasSubstr;

constexpr CollectorTiming kAtOnce{.rescan_ns = 0, .census_ns = 0};
constexpr std::int32_t kRun = 4242;

/// A process with a ledger of its own, that does one step after the other when it is told to.
class Observed {
 public:
  using Step = std::function<void(LedgerRegion&)>;

  Observed(const std::string& directory, std::vector<Step> steps) {
    int go[2], done[2];
    EXPECT_EQ(::pipe2(go, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(done, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(go[1]);
      ::close(done[0]);
      {
        LedgerRegion ledger(directory, kRun);
        const auto open = process::list_open(::getpid());
        for (const std::int32_t fd : open->numbers) {
          ledger.open(fd, {.kind = DescriptorKind::kOther, .origin = FdOrigin::kInherited});
        }
        char byte = 0;
        (void)!::write(done[1], "x", 1);
        for (const Step& step : steps) {
          if (::read(go[0], &byte, 1) != 1) ::_exit(1);
          step(ledger);
          (void)!::write(done[1], "x", 1);
        }
        (void)!::read(go[0], &byte, 1);
      }
      ::_exit(0);
    }
    ::close(go[0]);
    ::close(done[1]);
    go_ = go[1];
    done_ = done[0];
    wait();
  }
  ~Observed() {
    if (pid_ > 0) end();
  }
  Observed(const Observed&) = delete;
  Observed& operator=(const Observed&) = delete;

  void next() {
    EXPECT_EQ(::write(go_, "x", 1), 1);
    wait();
  }
  void end() {
    (void)!::write(go_, "x", 1);
    ::close(go_);
    ::close(done_);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  pid_t pid() const { return pid_; }

 private:
  void wait() {
    char byte = 0;
    EXPECT_EQ(::read(done_, &byte, 1), 1);
  }

  pid_t pid_ = -1;
  int go_ = -1;
  int done_ = -1;
};

std::uint64_t sum(const std::map<std::string, std::uint64_t>& counts) {
  std::uint64_t total = 0;
  for (const auto& [kind, count] : counts) total += count;
  return total;
}

const ProcessSnapshot& only(const HostSnapshot& host) {
  EXPECT_EQ(host.processes.size(), 1u);
  if (host.processes.size() != 1) throw std::runtime_error("not one process");
  return host.processes.front();
}

HostSnapshot collect(Collector& collector) {
  CollectOptions options;
  options.descriptors = true;
  return collector.collect(options);
}

std::vector<const Descriptor*> unseen_of(const ProcessSnapshot& process) {
  std::vector<const Descriptor*> unseen;
  for (const Descriptor& one : *process.descriptors) {
    if (one.unseen) unseen.push_back(&one);
  }
  return unseen;
}

/// The kernel's number, asked while nothing happens in the process.
void expect_kernels_number(const ProcessSnapshot& process, pid_t pid) {
  const auto kernel = process::list_open(pid);
  ASSERT_TRUE(kernel);
  EXPECT_EQ(process.fds.open, kernel->open);
  EXPECT_EQ(sum(process.fds.by_kind), kernel->open);
  ASSERT_TRUE(process.descriptors);
  std::vector<std::int32_t> listed;
  for (const Descriptor& one : *process.descriptors) listed.push_back(one.record.fd);
  EXPECT_EQ(listed, kernel->numbers);
}

TEST(LedgerAndKernel, AgreeWithoutOmissions) {
  const RecordingPlace place;
  Observed child(place.path(), {[](LedgerRegion& ledger) {
                   const int fd = ::open("/dev/null", O_RDONLY);
                   ledger.open(fd, {.kind = DescriptorKind::kDevice, .target = "/dev/null"});
                   const int closed = ::eventfd(0, 0);
                   ledger.open(closed, {.kind = DescriptorKind::kEventfd});
                   ledger.close(closed);
                   ::close(closed);
                 }});
  const auto collector = Collector::of_run({place.path()}, kRun, kAtOnce);
  const std::uint64_t before = only(collect(*collector)).fds.open.value_or(0);
  child.next();
  const HostSnapshot host = collect(*collector);
  const ProcessSnapshot& process = only(host);
  expect_kernels_number(process, child.pid());
  const DescriptorSummary& fds = process.fds;
  EXPECT_EQ(fds.open, before + 1);
  EXPECT_EQ(fds.opened, 2u);
  EXPECT_EQ(fds.closed, 1u);
  EXPECT_EQ(fds.peak, before + 2);
  EXPECT_TRUE(fds.limit);
  ASSERT_TRUE(fds.ledger);
  EXPECT_EQ(fds.ledger->inherited, before);
  EXPECT_EQ(fds.ledger->unseen, 0u);
  EXPECT_EQ(fds.ledger->closed_unseen, 0u);
  EXPECT_EQ(fds.ledger->opened_by_kind,
            (std::map<std::string, std::uint64_t>{{"device", 1}, {"eventfd", 1}}));
  EXPECT_EQ(fds.ledger->closed_by_kind, (std::map<std::string, std::uint64_t>{{"eventfd", 1}}));
  // What the ledger has no kind for, the kernel tells.
  EXPECT_FALSE(fds.by_kind.contains("other"));
  EXPECT_EQ(process.recording.run_pid, kRun);
}

TEST(LedgerAndKernel, WhatWasNotSeenBornIsListedAsSuch) {
  const RecordingPlace place;
  static int hidden;  // in the child
  Observed child(place.path(), {[](LedgerRegion&) {
                                  hidden = ::eventfd(0, 0);
                                  (void)::open("/dev/null", O_RDONLY);
                                },
                                [](LedgerRegion& ledger) {  // met when it is used
                                  ledger.open(hidden, {.kind = DescriptorKind::kEventfd,
                                                       .origin = FdOrigin::kMet});
                                },
                                [](LedgerRegion& ledger) {
                                  ledger.close(hidden);
                                  ::close(hidden);
                                }});
  child.next();
  const auto collector = Collector::of_run({place.path()}, kRun, kAtOnce);
  HostSnapshot host = collect(*collector);  // the first snapshot has it already
  expect_kernels_number(only(host), child.pid());
  EXPECT_EQ(only(host).fds.ledger->unseen, 2u);
  auto unseen = unseen_of(only(host));
  ASSERT_EQ(unseen.size(), 2u);
  EXPECT_EQ(unseen[0]->record.kind, DescriptorKind::kEventfd);
  EXPECT_THAT(unseen[0]->record.target, HasSubstr("eventfd"));
  EXPECT_EQ(unseen[1]->record.target, "/dev/null");
  EXPECT_FALSE(unseen[1]->record.site);
  EXPECT_EQ(unseen[1]->record.opened_ns, 0u);

  child.next();
  host = collect(*collector);
  expect_kernels_number(only(host), child.pid());
  unseen = unseen_of(only(host));
  ASSERT_EQ(unseen.size(), 1u);
  EXPECT_EQ(unseen[0]->record.target, "/dev/null");

  child.next();
  host = collect(*collector);
  expect_kernels_number(only(host), child.pid());
  EXPECT_EQ(only(host).fds.ledger->unseen, 1u);
}

TEST(LedgerAndKernel, WhatWasClosedOutOfSightIsNotOpen) {
  const RecordingPlace place;
  static int fd;
  const auto open_noted = [](LedgerRegion& ledger) {
    fd = ::eventfd(0, 0);
    const auto site = ledger.header().site_count.load() == 0
                          ? ledger.site(DescriptorKind::kEventfd, {{1, 0}})
                          : 1;
    ledger.open(fd, {.kind = DescriptorKind::kEventfd, .site = site});
  };
  Observed child(place.path(), {[&](LedgerRegion& ledger) {
                                  open_noted(ledger);
                                  ::close(fd);
                                },
                                [](LedgerRegion&) {  // the same number, again out of sight
                                  const int other = ::open("/dev/null", O_RDONLY);
                                  if (other != fd) ::_exit(3);
                                },
                                [&](LedgerRegion& ledger) {  // the ledger notices
                                  ::close(fd);
                                  ledger.close(fd);
                                  ledger.header().fd_lost.add(1);
                                  open_noted(ledger);
                                }});
  child.next();
  const auto collector = Collector::of_run({place.path()}, kRun, kAtOnce);
  HostSnapshot host = collect(*collector);
  expect_kernels_number(only(host), child.pid());
  EXPECT_EQ(only(host).fds.ledger->closed_unseen, 1u);
  EXPECT_FALSE(only(host).fds.by_kind.contains("eventfd"));
  ASSERT_EQ(only(host).sites.size(), 1u);
  EXPECT_EQ(only(host).sites[0].live, 0u);
  EXPECT_EQ(only(host).sites[0].opened, 1u);

  child.next();
  (void)collect(*collector);
  std::this_thread::sleep_for(std::chrono::milliseconds(25));
  host = collect(*collector);
  expect_kernels_number(only(host), child.pid());
  ASSERT_EQ(unseen_of(only(host)).size(), 1u);
  EXPECT_EQ(unseen_of(only(host))[0]->record.target, "/dev/null");

  child.next();
  host = collect(*collector);
  expect_kernels_number(only(host), child.pid());
  EXPECT_EQ(only(host).fds.ledger->closed_unseen, 1u);
  EXPECT_EQ(only(host).fds.ledger->unseen, 0u);
  EXPECT_EQ(only(host).sites[0].live, 1u);
}

// Everything is noted, a little after it was opened and a little before it is closed, as a probe
// does.
TEST(LedgerAndKernel, WhatHappensBetweenTheTwoLooksIsNotCalledUnseen) {
  const RecordingPlace place;
  Observed child(place.path(), {[](LedgerRegion& ledger) {
                   static LedgerRegion* shared;
                   shared = &ledger;
                   std::thread([] {
                     std::vector<int> open;
                     for (std::uint32_t round = 0;; ++round) {
                       if (open.size() < 20) {
                         open.push_back(::eventfd(0, 0));
                         std::this_thread::sleep_for(std::chrono::microseconds(round % 50));
                         shared->open(open.back(), {.kind = DescriptorKind::kEventfd});
                       } else {
                         const int fd = open[round % 20];
                         open.erase(open.begin() + round % 20);
                         shared->close(fd);
                         std::this_thread::sleep_for(std::chrono::microseconds(round % 50));
                         ::close(fd);
                       }
                     }
                   }).detach();
                 }});
  child.next();
  const auto collector = Collector::of_run({place.path()}, kRun, kAtOnce);
  for (int round = 0; round < 200; ++round) {
    const HostSnapshot host = collect(*collector);
    ASSERT_EQ(only(host).fds.ledger->unseen, 0u) << round;
    ASSERT_EQ(only(host).fds.ledger->closed_unseen, 0u) << round;
  }
}

TEST(LedgerAndKernel, OfAnEndedProcessIsWhatItLeftOpen) {
  const RecordingPlace place;
  auto child = std::make_unique<Observed>(
      place.path(), std::vector<Observed::Step>{[](LedgerRegion& ledger) {
        const auto site = ledger.site(DescriptorKind::kDevice, {{0x10, 0}});
        ledger.open(::open("/dev/null", O_RDONLY),
                    {.kind = DescriptorKind::kDevice, .site = site, .target = "/dev/null"});
      }});
  child->next();
  const auto collector = Collector::of_run({place.path()}, kRun, kAtOnce);
  const std::uint64_t open = only(collector->collect()).fds.open.value_or(0);
  child->end();
  for (int round = 0; round < 2; ++round) {
    const HostSnapshot host = collect(*collector);
    const ProcessSnapshot& process = only(host);
    EXPECT_EQ(process.recording.life, recording::Life::kKilled);
    EXPECT_EQ(process.fds.open, open);
    EXPECT_FALSE(process.fds.limit);
    ASSERT_TRUE(process.descriptors);
    EXPECT_EQ(process.descriptors->size(), open);
    EXPECT_TRUE(
        std::any_of(process.descriptors->begin(), process.descriptors->end(),
                    [](const Descriptor& one) { return one.record.target == "/dev/null"; }));
    ASSERT_EQ(process.sites.size(), 1u);
    EXPECT_EQ(process.sites[0].live, 1u);
    EXPECT_FALSE(only(collector->collect()).descriptors) << "only if asked for";
    // Read once: it needs the file no more.
    std::filesystem::remove(process.recording.path);
  }
}

TEST(LedgerAndKernel, ATableHasThemAll) {
  ProcessSnapshot process;
  recording::Ledger& ledger = process.recording.ledger.emplace();
  ledger.fds.resize(kMostListed + 5000);
  for (std::size_t i = 0; i < ledger.fds.size(); ++i) {
    ledger.fds[i].fd = static_cast<std::int32_t>(i);
    ledger.fds[i].kind = DescriptorKind::kTcp;
  }
  DescriptorAccount account;
  account.list(process, kMostListed, false);
  EXPECT_EQ(process.descriptors->size(), kMostListed);
  EXPECT_EQ(process.descriptors_left_out, 5000u);
  process.descriptors_left_out = 0;
  account.list(process, kMostInTable, true);
  ASSERT_EQ(process.descriptors->size(), kMostListed + 5000);
  EXPECT_EQ(process.descriptors->back().record.fd, static_cast<std::int32_t>(kMostListed) + 4999);
  EXPECT_EQ(process.descriptors_left_out, 0u);
}

/// What an ended process leaves is kept for a table; a snapshot gives no more than it does of one
/// that runs. Only where a process may have so many.
TEST(LedgerAndKernel, ATableOfAnEndedProcessHasThemAll) {
  constexpr std::int32_t kMany = static_cast<std::int32_t>(kMostListed) + 5000;
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_max < 1000 + kMany) GTEST_SKIP() << "the hard limit is " << limit.rlim_max;
  const RecordingPlace place;
  auto child = std::make_unique<Observed>(place.path(),
                                          std::vector<Observed::Step>{[](LedgerRegion& ledger) {
                                            for (std::int32_t fd = 1000; fd < 1000 + kMany; ++fd) {
                                              ledger.open(fd, {.kind = DescriptorKind::kTcp});
                                            }
                                          }});
  child->next();
  child->end();
  const auto collector = Collector::of_run({place.path()}, kRun, kAtOnce);
  const std::uint64_t open = only(collector->collect()).fds.open.value_or(0);
  EXPECT_GE(open, static_cast<std::uint64_t>(kMany));
  const HostSnapshot cut = collect(*collector);
  EXPECT_EQ(only(cut).descriptors->size(), kMostListed);
  EXPECT_EQ(only(cut).descriptors_left_out, open - kMostListed);
  CollectOptions options;
  options.table = true;
  const HostSnapshot whole = collector->collect(options);
  ASSERT_TRUE(only(whole).descriptors);
  EXPECT_EQ(only(whole).descriptors->size(), open);
  EXPECT_EQ(only(whole).descriptors_left_out, 0u);
}

TEST(LedgerAndKernel, ATableIsWhatTheListIs) {
  const RecordingPlace place;
  Observed child(place.path(), {[](LedgerRegion& ledger) {
                   const auto site = ledger.site(DescriptorKind::kDevice, {{0x10, 0}});
                   ledger.open(::open("/dev/null", O_RDONLY),
                               {.kind = DescriptorKind::kDevice, .site = site});
                   (void)::eventfd(0, 0);  // unseen
                 }});
  child.next();
  const auto collector = Collector::of_run({place.path()}, kRun, kAtOnce);
  CollectOptions options;
  options.table = true;
  const HostSnapshot table = collector->collect(options);
  expect_kernels_number(only(table), child.pid());
  EXPECT_EQ(unseen_of(only(table)).size(), 1u);
  EXPECT_TRUE(only(table).sites.empty());
  const HostSnapshot list = collect(*collector);
  EXPECT_EQ(only(list).sites.size(), 1u) << "the control";
  ASSERT_EQ(only(table).descriptors->size(), only(list).descriptors->size());
  for (std::size_t i = 0; i < only(table).descriptors->size(); ++i) {
    const recording::FdRecord& one = (*only(table).descriptors)[i].record;
    const recording::FdRecord& other = (*only(list).descriptors)[i].record;
    EXPECT_EQ(one.fd, other.fd);
    EXPECT_EQ(one.kind, other.kind) << one.fd;
    EXPECT_EQ(one.target, other.target) << one.fd;
    EXPECT_EQ(one.site, other.site) << one.fd;
    EXPECT_EQ(one.generation, other.generation) << one.fd;
  }
}

TEST(LedgerAndKernel, OneProcessOnlyIfAskedFor) {
  const RecordingPlace place;
  Observed one(place.path(), {});
  Observed two(place.path(), {});
  const auto collector = Collector::of_run({place.path()}, kRun, kAtOnce);
  EXPECT_EQ(collector->collect().processes.size(), 2u);
  CollectOptions options;
  options.pid = two.pid();
  EXPECT_EQ(only(collector->collect(options)).recording.pid, two.pid());
}

// --- a run ---

TEST(Run, TakesOnlyItsOwn) {
  const RecordingPlace place;
  Observed child(place.path(), {});
  EXPECT_EQ(Collector::of_run({place.path()}, kRun, kAtOnce)->collect().processes.size(), 1u);
  EXPECT_EQ(Collector::of_run({place.path()}, kRun + 1, kAtOnce)->collect().processes.size(), 0u);
  EXPECT_EQ(Collector::of_directories({place.path()}, kAtOnce)->collect().processes.size(), 1u);
}

std::size_t files_in(const std::string& directory) {
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory)) ++files;
  return files;
}

TEST(Run, ManyShortProcessesDoNotFillTheDirectoryAndNoneIsLost) {
  constexpr std::uint64_t kProcesses = Collector::kShownEnded + 44;
  const RecordingPlace place;
  Observed lasting(place.path(), {});
  const auto collector = Collector::of_run({place.path()}, kRun, kAtOnce);
  for (std::uint64_t i = 0; i < kProcesses; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      LedgerRegion ledger(place.path(), kRun);
      for (int fd = 100; fd < 103; ++fd) ledger.open(fd);
      ledger.close(100);
      ledger.header().state.store(static_cast<std::uint32_t>(recording::ProcessState::kExited));
      ledger.header().ended_realtime_ns.store(recording::realtime_ns());
      ::_exit(0);
    }
    ::waitpid(pid, nullptr, 0);
    if (i % 20 == 19) {
      collector->tend();
      EXPECT_LE(files_in(place.path()), recording::kKeptRecordings + 1);
    }
  }
  const HostSnapshot host = collector->collect();
  EXPECT_LE(files_in(place.path()), recording::kKeptRecordings + 1);
  EXPECT_EQ(host.processes.front().recording.pid, lasting.pid());
  EXPECT_EQ(host.processes.size(), Collector::kShownEnded + 1);
  EXPECT_EQ(host.folded.count, kProcesses - Collector::kShownEnded);
  EXPECT_EQ(host.folded.exited, host.folded.count);
  EXPECT_EQ(host.folded.killed, 0u);
  EXPECT_EQ(host.folded.opened, 3 * host.folded.count);
  EXPECT_EQ(host.folded.closed, 1 * host.folded.count);
  EXPECT_EQ(host.folded.open_at_end, 2 * host.folded.count);
  EXPECT_TRUE(host.unreadable.empty());
  EXPECT_EQ(collector->collect().folded.count, host.folded.count) << "counted once";
  EXPECT_THAT(to_json(host), HasSubstr("\"processes_folded\":{\"count\":44,\"exited\":44,"));
}

// What a shell becomes by its next exec takes the name of what it was before, if that has been
// removed, and on many file systems the number of its file.
TEST(Run, AFileInThePlaceOfARemovedOneIsAnother) {
  constexpr std::size_t kProcesses = recording::kKeptRecordings + 2;
  const RecordingPlace place, elsewhere;
  for (std::size_t i = 0; i < kProcesses; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      LedgerRegion ledger(place.path(), kRun);
      ledger.header().state.store(static_cast<std::uint32_t>(recording::ProcessState::kExited));
      ledger.header().ended_realtime_ns.store(recording::realtime_ns());
      ::_exit(0);
    }
    ::waitpid(pid, nullptr, 0);
  }
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(place.path())) {
    names.push_back(entry.path().filename());
    std::filesystem::create_hard_link(entry.path(), elsewhere.path() + "/" + names.back());
  }
  ASSERT_EQ(names.size(), kProcesses);
  const auto collector = Collector::of_run({place.path()}, kRun, kAtOnce);
  EXPECT_EQ(collector->collect().processes.size(), kProcesses);
  ASSERT_EQ(files_in(place.path()), recording::kKeptRecordings);
  for (const std::string& name : names) {
    const std::string path = place.path() + "/" + name;
    if (std::filesystem::exists(path)) continue;
    std::filesystem::rename(elsewhere.path() + "/" + name, path);
    break;
  }
  const HostSnapshot host = collector->collect();
  EXPECT_EQ(host.folded.count, 1u) << "what had the name before";
  EXPECT_EQ(host.processes.size(), kProcesses);
}

TEST(Run, LivingRecordingsOfOthersAreLeftAlone) {
  const RecordingPlace place;
  for (int i = 0; i < 40; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      LedgerRegion ledger(place.path(), i % 2 == 0 ? kRun : kRun + 1);
      ::_exit(0);
    }
    ::waitpid(pid, nullptr, 0);
  }
  const auto collector = Collector::of_run({place.path()}, kRun, kAtOnce);
  EXPECT_EQ(collector->collect().processes.size(), 20u);
  EXPECT_EQ(files_in(place.path()), 40u);
}

// --- sites ---

/// Calls it gets; a frame's function is its address.
class CountingNames final : public StackNames {
 public:
  std::vector<StackFrame> frames(const recording::SiteFrame& frame,
                                 const recording::ModuleRecord* module) override {
    ++calls;
    StackFrame inlined = unnamed_frame(frame, module);
    inlined.inlined = true;
    inlined.function = "inner";
    StackFrame outer = unnamed_frame(frame, module);
    outer.function = "f" + std::to_string(frame.address);
    return {inlined, outer};
  }
  int calls = 0;
};

TEST(Sites, AreNamedOnce) {
  const RecordingPlace place;
  Observed child(
      place.path(), {[](LedgerRegion& ledger) {
        const auto module = ledger.module("/usr/bin/x", 0x1000, "id");
        const auto site = ledger.site(DescriptorKind::kEventfd, {{0x1010, module}, {0x99, 0}});
        for (int i = 0; i < 3; ++i) {
          ledger.open(::eventfd(0, 0), {.kind = DescriptorKind::kEventfd, .site = site});
        }
      }});
  child.next();
  const auto collector = Collector::of_run({place.path()}, kRun, kAtOnce);
  const auto names = std::make_shared<CountingNames>();
  collector->name_stacks(names);
  for (int round = 0; round < 3; ++round) {
    const HostSnapshot host = collector->collect();
    ASSERT_EQ(only(host).sites.size(), 1u);
    const OpenSite& site = only(host).sites[0];
    EXPECT_EQ(site.live, 3u);
    ASSERT_TRUE(site.oldest_ns);
    EXPECT_LE(*site.oldest_ns, recording::realtime_ns());
    ASSERT_EQ(site.stack->size(), 4u);
    EXPECT_EQ(site.stack->at(1).function, "f4112");
    EXPECT_EQ(site.stack->at(1).module, "/usr/bin/x");
    EXPECT_EQ(site.stack->at(1).offset, 0x10u);
    EXPECT_TRUE(site.stack->at(2).inlined);
    EXPECT_EQ(site.stack->at(3).module, "");
    EXPECT_EQ(site.stack->at(3).offset, 0x99u);
    EXPECT_EQ(names->calls, 2);
    EXPECT_TRUE(only(host).recording.ledger->fds.empty()) << "views need no second copy";
  }
}

TEST(Sites, WithoutTimeToNameThemAreModulesAndOffsets) {
  const RecordingPlace place;
  auto child = std::make_unique<Observed>(
      place.path(), std::vector<Observed::Step>{[](LedgerRegion& ledger) {
        const auto site = ledger.site(DescriptorKind::kFile, {{0x5, 0}});
        ledger.open(100, {.site = site});
      }});
  child->next();
  child->end();
  CollectorTiming timing = kAtOnce;
  timing.naming_ns = 0;
  const auto collector = Collector::of_run({place.path()}, kRun, timing);
  const auto names = std::make_shared<CountingNames>();
  collector->name_stacks(names);
  HostSnapshot host = collector->collect();
  EXPECT_EQ(names->calls, 0);
  EXPECT_EQ(only(host).sites.at(0).stack->at(0).function, "");
  EXPECT_EQ(only(host).sites.at(0).stack->at(0).offset, 5u);
}

TEST(Sites, TheMostOpenOnesComeFirstAndTheirNumberIsBounded) {
  const RecordingPlace place;
  Observed child(place.path(), {[](LedgerRegion& ledger) {
                   std::uint32_t last = 0;
                   for (std::uint64_t i = 0; i < 250; ++i) {
                     last = ledger.site(DescriptorKind::kFile, {{i, 0}});
                     ledger.open(100, {.site = last});
                     ledger.close(100);
                   }
                   ledger.open(::open("/dev/null", O_RDONLY), {.site = last});
                 }});
  child.next();
  const auto collector = Collector::of_run({place.path()}, kRun, kAtOnce);
  const HostSnapshot host = collector->collect();
  EXPECT_EQ(only(host).sites_total, 250u);
  ASSERT_EQ(only(host).sites.size(), ProcessSnapshot::kMostSites);
  EXPECT_EQ(only(host).sites[0].id, 249u);
  EXPECT_EQ(only(host).sites[0].live, 1u);
  EXPECT_EQ(only(host).sites[0].opened, 2u);
  EXPECT_EQ(only(host).sites[1].id, 0u);
}

}  // namespace
}  // namespace loopscope::snapshot
