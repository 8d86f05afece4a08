// SPDX-License-Identifier: Apache-2.0
//
// Processes that are killed, abort, run out of stack or memory, are stopped and go on, each at a
// random moment (SEED=N repeats a run; SLOW=1: thousands). What must hold of every recording: it
// opens; each count lies between what the victim had seen done before it ended and what it had
// begun; histograms, results and descriptors add up; nothing hangs, which the test's time limit
// would show. A reader reads meanwhile, all the time.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <thread>

#include "instrumentation/recording/directory.h"
#include "instrumentation/recording/paths.h"
#include "instrumentation/recording/reader.h"
#include "truth.h"

namespace loopscope::storm {
namespace {

using namespace std::chrono_literals;
using recording::Life;
using recording::LoopSnapshot;
using recording::Reader;
using recording::RecordingSnapshot;

constexpr auto kDeadline = 120s;  // of whatever is waited for

const char* environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set");
  return value;
}

bool slow() {
  const char* value = std::getenv("SLOW");
  return value != nullptr && *value != '\0';
}
int times(int few, int many) { return slow() ? many : few; }

std::mt19937_64 seeded() {
  const char* given = std::getenv("SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::printf("SEED=%llu\n", static_cast<unsigned long long>(seed));
  return std::mt19937_64(seed);
}

/// 2000 as "2 000".
std::string grouped(std::uint64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i != 0 && (digits.size() - i) % 3 == 0) text.push_back(' ');
    text.push_back(digits[i]);
  }
  return text;
}

void row(const char* name, const std::string& figure) {
  if (!testing::Test::HasFailure()) std::printf("reliability: %s: %s\n", name, figure.c_str());
}

enum class Source { kProbe, kLibrary };

/// What has been seen done, and what may have been, of one thread or all.
struct Bounds {
  std::uint64_t waits = 0;
  std::uint64_t timeouts = 0;
  std::uint64_t events = 0;
  std::uint64_t opening = 0;
  std::uint64_t opened = 0;
  std::uint64_t closing = 0;
  std::uint64_t closed = 0;
};
Bounds bounds(const ThreadTruth& thread) {
  // In the order in which they are raised, backwards: then what was begun is not less than what was
  // done.
  Bounds now;
  now.timeouts = thread.timeouts;
  now.events = thread.events;
  now.waits = thread.waits;
  now.opened = thread.opened;
  now.opening = thread.opening;
  now.closed = thread.closed;
  now.closing = thread.closing;
  return now;
}
struct AllBounds {
  std::map<std::int32_t, Bounds> loops;  // by thread
  Bounds sum;
};
AllBounds bounds(const Truth& truth) {
  AllBounds all;
  for (const ThreadTruth& thread : truth.threads) {
    const Bounds now = bounds(thread);
    all.sum.opening += now.opening;
    all.sum.opened += now.opened;
    all.sum.closing += now.closing;
    all.sum.closed += now.closed;
    if (thread.thread_id != 0) all.loops[thread.thread_id] = now;
  }
  return all;
}

std::uint64_t sum(const std::uint64_t (&counts)[recording::kDescriptorKinds]) {
  std::uint64_t total = 0;
  for (const std::uint64_t count : counts) total += count;
  return total;
}

std::uint64_t difference(std::uint64_t a, std::uint64_t b) { return a > b ? a - b : b - a; }

struct Tally {
  std::uint64_t recordings = 0;
  std::uint64_t turns = 0;
  std::uint64_t descriptors = 0;
  std::uint64_t live_reads = 0;
  std::uint64_t torn = 0;  // loops whose writer was inside a section
  std::uint64_t forked = 0;
};

/// The victims have a limit of their address space, and reach it.
bool g_memory_is_short = false;

/// `before` and `after`: of the truth, taken before and after the recording was read; the same for
/// one that does not move. `pending`: what each thread may have begun at that moment.
void check_counts(const RecordingSnapshot& taken, const AllBounds& before, const AllBounds& after,
                  Source source, Tally& tally, std::uint64_t pending) {
  for (std::size_t kind = 0; kind < std::size(taken.dropped); ++kind) {
    // A stack, or the name of a file in it, is what can be missing where memory is short: the
    // descriptor is counted all the same.
    using recording::DropKind;
    const bool name_only = static_cast<DropKind>(kind) == DropKind::kSites ||
                           static_cast<DropKind>(kind) == DropKind::kModules;
    if (g_memory_is_short && name_only) continue;
    ASSERT_EQ(taken.dropped[kind], 0u) << "of kind " << kind;
  }
  ASSERT_EQ(taken.error, "");
  ASSERT_LE(taken.loops.size(), static_cast<std::size_t>(kThreads));
  for (const LoopSnapshot& loop : taken.loops) {
    const auto first = before.loops.find(loop.thread_id);
    const auto last = after.loops.find(loop.thread_id);
    if (first == before.loops.end() || last == after.loops.end()) {
      ASSERT_LE(loop.iterations, after.loops.empty() ? 1 : last->second.waits + 1);
      continue;
    }
    const Bounds& least = first->second;
    const Bounds& most = last->second;
    // One wait may have returned that the program has not seen return yet. With a skew the reader
    // says itself by how much a value may be off.
    const std::uint64_t skew = loop.skew_turns;
    if (skew != 0) ++tally.torn;
    ASSERT_GE(loop.iterations + skew, least.waits);
    ASSERT_LE(loop.iterations, most.waits + pending + skew) << "skew " << skew;
    ASSERT_GE(loop.ready_events + skew, least.events);
    ASSERT_LE(loop.ready_events, most.events + pending + skew);
    ASSERT_GE(loop.timeouts + skew, least.timeouts);
    ASSERT_LE(loop.timeouts, most.timeouts + pending + skew);
    ASSERT_EQ(loop.interrupted, 0u);
    ASSERT_EQ(loop.errors, 0u);
    ASSERT_LE(difference(loop.poll_wait.count, loop.iterations), skew);
    ASSERT_LE(difference(loop.ready.count + loop.ready_unknown, loop.iterations), skew);
    ASSERT_LE(difference(loop.busy.count + (loop.current_ready ? 1 : 0), loop.iterations), skew);
    ASSERT_LE(difference(loop.ready_events + loop.timeouts, loop.iterations), skew)
        << "each wait returned one event, or none";
    tally.turns += loop.iterations;
    for (std::size_t i = 1; i < loop.recent.size(); ++i) {
      ASSERT_EQ(loop.recent[i].turn, loop.recent[i - 1].turn + 1);
    }
  }
  if (source == Source::kLibrary || !taken.ledger) return;
  const recording::Ledger& ledger = *taken.ledger;
  const std::uint64_t opened = sum(ledger.opened);
  const std::uint64_t closed = sum(ledger.closed);
  ASSERT_GE(opened, before.sum.opened);
  ASSERT_LE(opened, after.sum.opening);
  ASSERT_GE(closed, before.sum.closed);
  ASSERT_LE(closed, after.sum.closing);
  ASSERT_EQ(ledger.met, 0u);
  ASSERT_EQ(ledger.lost, 0u);
  ASSERT_EQ(ledger.bad_closes, 0u);
  tally.descriptors += opened;
}

/// One that nobody writes any more: nothing moved while it was copied. `exact`: nor was anything
/// under way.
void check_still(const RecordingSnapshot& taken, const Truth& truth, Source source, Tally& tally,
                 bool exact) {
  const AllBounds now = bounds(truth);
  check_counts(taken, now, now, source, tally, exact ? 0 : 1);
  if (testing::Test::HasFatalFailure() || !taken.ledger) return;
  const recording::Ledger& ledger = *taken.ledger;
  const std::uint64_t balance = ledger.inherited + sum(ledger.opened) - sum(ledger.closed);
  const std::uint64_t slack = exact ? 0 : kThreads;  // one operation of each thread
  ASSERT_LE(difference(ledger.open, balance), slack);
  ASSERT_LE(difference(ledger.fds.size(), balance), slack);
  std::uint64_t site_opens = 0;
  for (const auto& site : ledger.sites) {
    if (site.role == recording::SiteRole::kOpen) site_opens += site.opened;
  }
  ASSERT_LE(difference(site_opens, sum(ledger.opened)), slack);
}

class Storm : public testing::Test {
 protected:
  void SetUp() override {
    // What a victim forks is ours to wait for.
    ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    const std::filesystem::path base =
        std::filesystem::path(environment("LOOPSCOPE_DIR")).parent_path();
    std::string pattern = (base / "storm-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr) << pattern;
    directory_ = pattern;
    truth_fd_ = memfd_create("truth", 0);
    ASSERT_EQ(ftruncate(truth_fd_, sizeof(Truth)), 0);
    truth_ = map_truth(truth_fd_);
    ASSERT_NE(truth_, nullptr);
  }

  void TearDown() override {
    if (victim_ > 0) kill(victim_, SIGKILL);
    while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
    }
    if (truth_ != nullptr) munmap(truth_, sizeof(Truth));
    close(truth_fd_);
    std::filesystem::remove_all(directory_);
  }

  void start(Source source, int threads, const char* end, unsigned long turn,
             const std::string& cgroup = "") {
    memset(static_cast<void*>(truth_), 0, sizeof(Truth));
    const char* program = environment(source == Source::kProbe ? "EPOLL_VICTIM" : "LIBRARY_VICTIM");
    const std::string fd = std::to_string(truth_fd_);
    const std::string count = std::to_string(threads);
    const std::string at = std::to_string(turn);
    const std::string place = "LOOPSCOPE_DIR=" + directory_;
    const std::string preload =
        source == Source::kProbe ? std::string("LD_PRELOAD=") + environment("LOOPSCOPE_PROBE_FILE")
                                 : "NOTHING=";
    const std::string procs = cgroup.empty() ? "" : cgroup + "/cgroup.procs";
    const char* argv[] = {program, fd.c_str(), count.c_str(), end, at.c_str(), nullptr};
    const char* environ[] = {place.c_str(), preload.c_str(), nullptr};
    victim_ = fork();
    ASSERT_GE(victim_, 0);
    if (victim_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);      // whatever becomes of the test
    const rlimit stack{1 << 20, 1 << 20};  // soon full
    setrlimit(RLIMIT_STACK, &stack);
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, 2);  // what terminate() says
    if (!procs.empty()) {
      const int group = open(procs.c_str(), O_WRONLY | O_CLOEXEC);
      if (group < 0 || write(group, "0", 1) != 1) _exit(30);
    }
    execve(program, const_cast<char**>(argv), const_cast<char**>(environ));
    _exit(31);
  }

  /// All its threads turn. False if it has ended before.
  bool wait_ready(unsigned threads) {
    const auto end = std::chrono::steady_clock::now() + kDeadline;
    while (truth_->ready < threads) {
      siginfo_t info{};
      if (waitid(P_PID, static_cast<id_t>(victim_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
          info.si_pid != 0) {
        return false;
      }
      if (std::chrono::steady_clock::now() > end) {
        ADD_FAILURE() << "the victim does not turn";
        return false;
      }
      std::this_thread::yield();
    }
    return true;
  }

  int wait_end() {
    int status = 0;
    const pid_t victim = std::exchange(victim_, 0);
    while (waitpid(victim, &status, 0) < 0 && errno == EINTR) {
    }
    // Its children have become ours.
    while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
    }
    return status;
  }

  /// Of the process itself, empty if it has made none.
  std::string recording_of(pid_t pid) const {
    const auto files = recording::list_recordings(directory_);
    if (!files) return "";
    for (const auto& file : *files) {
      if (file.pid == pid) return file.path;
    }
    return "";
  }

  /// Of all that a victim's forked children left, which ended as they should.
  void check_forked(pid_t victim, Tally& tally) {
    const auto files = recording::list_recordings(directory_);
    ASSERT_TRUE(files) << files.error().message;
    for (const auto& file : *files) {
      if (file.pid == victim) continue;
      auto reader = Reader::open(file.path);
      ASSERT_TRUE(reader) << reader.error().message;
      const auto taken = reader->read();
      ASSERT_TRUE(taken) << taken.error().message;
      ASSERT_EQ(taken->life, Life::kExited);
      ASSERT_EQ(taken->exit_status, kForkedStatus);
      ASSERT_TRUE(taken->ledger);
      ASSERT_EQ(sum(taken->ledger->opened), static_cast<std::uint64_t>(kForkedOpens));
      ASSERT_EQ(sum(taken->ledger->closed), static_cast<std::uint64_t>(kForkedCloses));
      ASSERT_TRUE(taken->loops.empty());
      ++tally.forked;
    }
  }

  void clear_directory() const {
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      std::filesystem::remove(entry.path());
    }
  }

  /// What an ended victim left. `ready`: it got as far as turning.
  void check_left(pid_t victim, Source source, bool ready, Life life,
                  std::optional<int> exit_status, Tally& tally) {
    const std::string path = recording_of(victim);
    if (path.empty()) {
      ASSERT_FALSE(ready) << "it turned, and there is no recording";
      return;
    }
    auto reader = Reader::open(path);
    if (!reader && !ready) {
      // Killed between making the file and writing its first word.
      ASSERT_NE(reader.error().message.find("just being created"), std::string::npos)
          << reader.error().message;
      return;
    }
    ASSERT_TRUE(reader) << reader.error().message;
    const auto taken = reader->read({.recent = 4096, .details = true, .served = true});
    ASSERT_TRUE(taken) << taken.error().message;
    ASSERT_EQ(taken->life, life);
    ASSERT_EQ(taken->exit_status, exit_status);
    ASSERT_TRUE(taken->finished);
    ++tally.recordings;
    check_still(*taken, *truth_, source, tally, false);
  }

  std::string directory_;
  int truth_fd_ = -1;
  Truth* truth_ = nullptr;
  pid_t victim_ = 0;
};

/// Reads a victim's recording all the time while it lives and dies.
class LiveReader {
 public:
  LiveReader(const std::string& path, const Truth& truth, Source source)
      : thread_([this, path, &truth, source] {
          auto reader = Reader::open(path);
          ASSERT_TRUE(reader) << reader.error().message;
          while (!stop_) {
            const AllBounds before = bounds(truth);
            const auto taken = reader->read({.recent = 64, .details = true, .served = true});
            ASSERT_TRUE(taken) << taken.error().message;
            const AllBounds after = bounds(truth);
            check_counts(*taken, before, after, source, tally_, 1);
            if (testing::Test::HasFatalFailure()) return;
            ++tally_.live_reads;
          }
        }) {}
  /// How often it has read.
  std::uint64_t finish() {
    stop_ = true;
    thread_.join();
    return tally_.live_reads;
  }

 private:
  std::atomic<bool> stop_{false};
  Tally tally_;
  std::thread thread_;
};

std::string facts(const Tally& tally) {
  return grouped(tally.recordings) + " recordings read, " + grouped(tally.turns) + " turns and " +
         grouped(tally.descriptors) + " opens within one of the truth";
}

using Killed = Storm;

TEST_F(Killed, AtRandomMoments) {
  std::mt19937_64 random = seeded();
  const int kills = times(120, 2000);
  Tally tally;
  int early = 0;
  for (int round = 0; round < kills && !HasFatalFailure(); ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    const Source source = round % 4 == 3 ? Source::kLibrary : Source::kProbe;
    start(source, kThreads, "run", 0);
    if (HasFatalFailure()) return;
    bool ready = false;
    std::optional<LiveReader> live;
    if (round % 8 == 5) {
      // While it starts: there may be no recording, or one that is not ready.
      usleep(random() % 6000);
    } else {
      ready = wait_ready(kThreads);
      ASSERT_TRUE(ready);
      if (round % 3 == 0) live.emplace(recording_of(victim_), *truth_, source);
      usleep(random() % 4000);
    }
    const pid_t victim = victim_;
    kill(victim, SIGKILL);
    const int status = wait_end();
    if (live) tally.live_reads += live->finish();
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    if (!ready) ++early;
    check_left(victim, source, ready || truth_->ready > 0, Life::kKilled, std::nullopt, tally);
    if (HasFatalFailure()) return;
    check_forked(victim, tally);
    clear_directory();
  }
  EXPECT_GT(tally.live_reads, 0u);
  EXPECT_GT(tally.turns, 0u);
  row("killed", grouped(static_cast<std::uint64_t>(kills)) +
                    " processes killed at random moments (" + std::to_string(early) +
                    " while they started): " + facts(tally) + "; " + grouped(tally.live_reads) +
                    " readings meanwhile; " + std::to_string(tally.torn) + " loops inside a write");
}

/// Those that end themselves, in a random turn.
class EndsItself : public Storm {
 protected:
  /// Rounds of `end` by both sources.
  void end_often(const char* end, int rounds, int signal, int exit_status, Tally& tally,
                 std::mt19937_64& random, bool library = true, const std::string& cgroup = "") {
    for (int round = 0; round < rounds && !HasFatalFailure(); ++round) {
      SCOPED_TRACE(std::string(end) + ", round " + std::to_string(round));
      const Source source = library && round % 4 == 3 ? Source::kLibrary : Source::kProbe;
      const int threads = 1 + round % kThreads;
      start(source, threads, end, random() % 700, cgroup);
      if (HasFatalFailure()) return;
      const bool ready = wait_ready(static_cast<unsigned>(threads));
      const pid_t victim = victim_;
      const int status = wait_end();
      if (signal != 0) {
        ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << status;
        check_left(victim, source, ready || truth_->ready > 0, Life::kKilled, std::nullopt, tally);
      } else {
        ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == exit_status) << status;
        check_left(victim, source, true, Life::kExited, exit_status, tally);
      }
      if (HasFatalFailure()) return;
      check_forked(victim, tally);
      clear_directory();
    }
  }
};

using Aborted = EndsItself;

TEST_F(Aborted, InARandomTurn) {
  std::mt19937_64 random = seeded();
  const int rounds = times(100, 500);
  Tally tally;
  end_often("abort", rounds, SIGABRT, 0, tally, random);
  row("aborted",
      grouped(static_cast<std::uint64_t>(rounds)) + " calls of abort(3): " + facts(tally));
}

using StackOverflow = EndsItself;

TEST_F(StackOverflow, AnywhereInTheProbeToo) {
  std::mt19937_64 random = seeded();
  const int rounds = times(30, 150);
  Tally tally;
  end_often("overflow", rounds, SIGSEGV, 0, tally, random);
  end_often("overflow-exit", rounds, 0, 9, tally, random, false);
  row("stack-overflow",
      grouped(2 * static_cast<std::uint64_t>(rounds)) +
          " stacks filled by functions that wait, open and close, half of them with a handler that "
          "ends the process: " +
          facts(tally));
}

using OutOfMemory = EndsItself;

/// A group of this kernel's, cgroup v1 or v2, with a limit; empty if none can be made.
std::string limited_group(std::uint64_t bytes) {
  const std::string name = "/loopscope-storm-" + std::to_string(getpid());
  const std::string v1 = "/sys/fs/cgroup/memory" + name;
  if (mkdir(v1.c_str(), 0755) == 0) {
    std::ofstream limit(v1 + "/memory.limit_in_bytes");
    limit << bytes << std::flush;
    if (limit) return v1;
    rmdir(v1.c_str());
  }
  const std::string v2 = "/sys/fs/cgroup" + name;
  if (mkdir(v2.c_str(), 0755) == 0) {
    std::ofstream limit(v2 + "/memory.max");
    limit << bytes << std::flush;
    std::ofstream swap(v2 + "/memory.swap.max");
    swap << 0 << std::flush;
    if (limit) return v2;
    rmdir(v2.c_str());
  }
  return "";
}

TEST_F(OutOfMemory, ByLimitAndByTheKernel) {
  g_memory_is_short = true;
  std::mt19937_64 random = seeded();
  const int rounds = times(60, 300);
  Tally tally;
  end_often("bad-alloc", rounds, SIGABRT, 0, tally, random);
  const std::string group = limited_group(24 << 20);
  const int kernel_rounds = group.empty() ? 0 : times(20, 100);
  end_often("memory", kernel_rounds, SIGKILL, 0, tally, random, true, group);
  if (!group.empty()) {
    for (int i = 0; i < 100 && rmdir(group.c_str()) != 0; ++i) usleep(20000);
  }
  row("out-of-memory",
      grouped(static_cast<std::uint64_t>(rounds)) + " ended by bad_alloc under RLIMIT_AS, " +
          (group.empty()
               ? "none by the OOM killer (no cgroup can be made here)"
               : grouped(static_cast<std::uint64_t>(kernel_rounds)) + " by the OOM killer") +
          ": " + facts(tally));
}

using Stopped = Storm;

/// Stopped, so that two readings must be the same, and both true.
void check_stopped(Reader& reader, const Truth& truth, Source source, Tally& tally) {
  const auto taken = reader.read({.recent = 64, .details = true, .served = true});
  ASSERT_TRUE(taken) << taken.error().message;
  ASSERT_EQ(taken->life, Life::kRunning);
  ++tally.recordings;
  check_still(*taken, truth, source, tally, false);
  if (testing::Test::HasFatalFailure()) return;
  const auto again = reader.read({.recent = 64});
  ASSERT_TRUE(again) << again.error().message;
  ASSERT_EQ(again->loops.size(), taken->loops.size());
  for (std::size_t i = 0; i < taken->loops.size(); ++i) {
    ASSERT_EQ(again->loops[i].iterations, taken->loops[i].iterations);
    ASSERT_EQ(again->loops[i].poll_wait.count, taken->loops[i].poll_wait.count);
    ASSERT_EQ(again->loops[i].skew_turns, taken->loops[i].skew_turns);
  }
}

TEST_F(Stopped, AtRandomMomentsAndGoesOn) {
  std::mt19937_64 random = seeded();
  const int stops = times(500, 4000);
  Tally tally;
  Tally at_end;
  for (const Source source : {Source::kProbe, Source::kLibrary}) {
    start(source, kThreads, "run", 0);
    ASSERT_FALSE(HasFatalFailure());
    ASSERT_TRUE(wait_ready(kThreads));
    const std::string path = recording_of(victim_);
    auto reader = Reader::open(path);
    ASSERT_TRUE(reader) << reader.error().message;
    LiveReader live(path, *truth_, source);
    for (int stop = 0; stop < stops / 2 && !HasFailure(); ++stop) {
      SCOPED_TRACE("stop " + std::to_string(stop));
      usleep(random() % 1500);
      ASSERT_EQ(kill(victim_, SIGSTOP), 0);
      int status = 0;
      ASSERT_EQ(waitpid(victim_, &status, WUNTRACED), victim_);
      ASSERT_TRUE(WIFSTOPPED(status)) << status;
      check_stopped(*reader, *truth_, source, tally);
      kill(victim_, SIGCONT);
    }
    truth_->finish = 1;
    const pid_t victim = victim_;
    const int status = wait_end();
    tally.live_reads += live.finish();
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    // Every turn, every descriptor.
    const auto taken = reader->read({.recent = 4096, .details = true, .served = true});
    ASSERT_TRUE(taken) << taken.error().message;
    ASSERT_EQ(taken->life, Life::kExited);
    ASSERT_EQ(taken->exit_status, 0);
    ASSERT_EQ(taken->loops.size(), static_cast<std::size_t>(kThreads));
    for (const LoopSnapshot& loop : taken->loops) ASSERT_EQ(loop.skew_turns, 0u);
    check_still(*taken, *truth_, source, at_end, true);
    if (HasFatalFailure()) return;
    check_forked(victim, tally);
    clear_directory();
  }
  row("stopped", grouped(static_cast<std::uint64_t>(stops)) +
                     " stops at random moments, each recording read twice while it was stopped (" +
                     std::to_string(tally.torn) + " loops inside a write), " +
                     grouped(tally.live_reads) + " readings meanwhile; at the end all of " +
                     grouped(at_end.turns) + " turns and " + grouped(at_end.descriptors) +
                     " opens are counted");
}

/// A debugger that goes on by one instruction at a time, and a reading after each: whatever a
/// reader can find half done, it does.
TEST_F(Stopped, AfterEveryInstruction) {
  const int steps = times(6000, 60000);
  Tally tally;
  Tally at_end;
  for (const Source source : {Source::kProbe, Source::kLibrary}) {
    start(source, 1, "run", 0);
    ASSERT_FALSE(HasFatalFailure());
    ASSERT_TRUE(wait_ready(1));
    auto reader = Reader::open(recording_of(victim_));
    ASSERT_TRUE(reader) << reader.error().message;
    if (ptrace(PTRACE_SEIZE, victim_, nullptr, nullptr) != 0) {
      GTEST_SKIP() << "ptrace is not permitted here: " << strerror(errno);
    }
    ASSERT_EQ(ptrace(PTRACE_INTERRUPT, victim_, nullptr, nullptr), 0);
    int status = 0;
    ASSERT_EQ(waitpid(victim_, &status, __WALL), victim_);
    for (int step = 0; step < steps / 2 && !HasFailure(); ++step) {
      SCOPED_TRACE("step " + std::to_string(step));
      // A forked child's end comes as SIGCHLD: passed on.
      long pass = 0;
      do {
        ASSERT_EQ(ptrace(PTRACE_SINGLESTEP, victim_, nullptr, pass), 0);
        ASSERT_EQ(waitpid(victim_, &status, __WALL), victim_);
        ASSERT_TRUE(WIFSTOPPED(status)) << status;
        pass = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
      } while (pass != 0);
      check_stopped(*reader, *truth_, source, tally);
    }
    truth_->finish = 1;
    ASSERT_EQ(ptrace(PTRACE_DETACH, victim_, nullptr, nullptr), 0);
    status = wait_end();
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    const auto taken = reader->read({.recent = 4096});
    ASSERT_TRUE(taken) << taken.error().message;
    check_still(*taken, *truth_, source, at_end, true);
    clear_directory();
  }
  EXPECT_GT(tally.torn, 0u) << "no step was inside a write";
  row("stopped-anywhere", grouped(static_cast<std::uint64_t>(steps)) +
                              " instructions one by one, read after each (" + grouped(tally.torn) +
                              " inside a write)");
}

}  // namespace
}  // namespace loopscope::storm
