// SPDX-License-Identifier: Apache-2.0
//
// What is removed of the recordings of ended processes, and what never is.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "cli/leavings.h"
#include "tests/unit/ledger_region.h"

namespace loopscope::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kNobody = 1'999'000'000;  // beyond any process' number
constexpr int kRun = kNobody + 500;
constexpr std::size_t kKeep = 3;

class Leaving : public testing::Test {
 protected:
  /// One after the other: each newer than the one before.
  std::string make(int pid, int run = 0, std::uint64_t ticks = 5, unsigned image = 0) {
    const std::string path = place_.path() + "/" + std::to_string(pid) + "-" +
                             std::to_string(ticks) + "-" + std::to_string(image) +
                             (run != 0 ? "-" + std::to_string(run) : "") + ".loopscope";
    std::ofstream(path) << "x";
    await_later(path);
    return path;
  }
  /// Until a file that changes now is newer than `path`: the kernel's stamps are some ms apart.
  void await_later(const std::string& path) {
    const std::string probe = place_.path() + "/later";
    struct stat before {
    }, after{};
    do {
      std::ofstream(probe) << "x";
      ASSERT_EQ(stat(path.c_str(), &before), 0);
      ASSERT_EQ(stat(probe.c_str(), &after), 0);
      fs::remove(probe);
    } while (before.st_ctim.tv_sec == after.st_ctim.tv_sec &&
             before.st_ctim.tv_nsec == after.st_ctim.tv_nsec);
  }
  void make_many(int count) {
    for (int i = 0; i < count; ++i) make(kNobody + i);
  }
  Leavings leavings() { return {.directory = place_.path(), .run = kRun, .keep = kKeep}; }
  std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(place_.path()), fs::directory_iterator()));
  }

  fixtures::RecordingPlace place_;
};

TEST_F(Leaving, TheOldestOfTheEndedGo) {
  const std::string oldest = make(kNobody + 100);
  const std::string of_an_ended_run = make(kNobody + 101, kNobody + 200);
  make_many(kKeep);
  EXPECT_EQ(clear_away(leavings()), 2u);
  EXPECT_FALSE(fs::exists(oldest));
  EXPECT_FALSE(fs::exists(of_an_ended_run));
  EXPECT_EQ(files(), kKeep);
  EXPECT_EQ(clear_away(leavings()), 0u);
}

TEST_F(Leaving, OfTheLivingNoneGoes) {
  const std::uint64_t ticks = recording::read_start_ticks(getpid());
  const std::vector<std::string> stay = {
      make(getpid(), 0, ticks, 0),           // what we ran before an exec
      make(getpid(), 0, ticks, 1),           // and now
      make(getpid(), 0, 0),                  // who does not know when it began
      make(kNobody + 100, getpid()),         // of a run that lives
      make(getpid(), kNobody + 200, ticks),  // of a run that was killed
  };
  const std::string somebody_before = make(getpid(), 0, ticks - 1);
  make_many(kKeep);
  EXPECT_EQ(clear_away(leavings()), 1u);
  for (const std::string& path : stay) EXPECT_TRUE(fs::exists(path)) << path;
  EXPECT_FALSE(fs::exists(somebody_before));
}

/// What a process writes whose number, as its name has it, is that of another namespace.
class Mapping {
 public:
  explicit Mapping(const std::string& path) {
    const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
    at_ = mmap(nullptr, 1, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    EXPECT_NE(at_, MAP_FAILED);
    close(file);
  }
  ~Mapping() { munmap(at_, 1); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

 private:
  void* at_;
};

TEST_F(Leaving, NorWhatAProcessWritesThatCannotBeSeen) {
  const std::string path = make(kNobody + 100);
  make_many(kKeep);
  {
    const Mapping mapping(path);
    if (is_written(path) == Written::kUnknown) GTEST_SKIP() << "no leases here";
    EXPECT_EQ(is_written(path), Written::kStill);
    EXPECT_EQ(clear_away(leavings()), 0u);
  }
  EXPECT_EQ(clear_away(leavings()), 1u);
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(Leaving, NorWhatItsRunMayNotHaveReadYet) {
  const std::string unread = make(kNobody + 100, kNobody + 200);
  const std::string of_another_run = make(kNobody + 101, kNobody + 201);
  make_many(kKeep);
  {
    const std::string program = make(kNobody + 102, kNobody + 200);
    const Mapping mapping(program);
    if (is_written(program) == Written::kUnknown) GTEST_SKIP() << "no leases here";
    EXPECT_EQ(clear_away(leavings()), 1u);
    EXPECT_TRUE(fs::exists(unread));
    EXPECT_FALSE(fs::exists(of_another_run));
  }
  EXPECT_EQ(clear_away(leavings()), 2u);
  EXPECT_FALSE(fs::exists(unread));
}

// Whoever has it open for writing is not asked to give anything up, nobody is told of anything.
TEST_F(Leaving, AskingLeavesNothingBehind) {
  const std::string path = make(kNobody + 100);
  for (int i = 0; i < 2; ++i) {
    if (is_written(path) == Written::kUnknown) GTEST_SKIP() << "no leases here";
    EXPECT_EQ(is_written(path), Written::kNoLonger);
    const int file = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);  // refused by a lease
    ASSERT_GE(file, 0);
    EXPECT_EQ(is_written(path), Written::kStill);
    close(file);
  }
}

TEST_F(Leaving, WhereThatCannotBeToldTheyAreKeptForAnHour) {
  const std::string path = make(kNobody + 100);
  make_many(kKeep);
  struct stat status {};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  const auto unknown = [](const std::string&) { return Written::kUnknown; };
  EXPECT_EQ(clear_away(leavings(), status.st_ctime + 3600, unknown), 0u);
  EXPECT_EQ(clear_away(leavings(), status.st_ctime + 3601, unknown), 1u);
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(Leaving, NorWhatIsNoRecording) {
  fs::create_directory(place_.path() + "/1-1-0.loopscope");
  fs::create_symlink("/etc/passwd", place_.path() + "/2-1-0.loopscope");
  std::ofstream(place_.path() + "/3-1.loopscope") << "x";
  std::ofstream(place_.path() + "/notes.txt") << "x";
  ASSERT_EQ(mkfifo((place_.path() + "/4-1-0.loopscope").c_str(), 0600), 0);
  make_many(kKeep);
  Leavings all = leavings();
  all.keep = 0;
  EXPECT_EQ(clear_away(all), kKeep);
  EXPECT_EQ(files(), 5u);
}

TEST_F(Leaving, NorOfAnotherUserButForThisRun) {
  const std::string theirs = make(kNobody + 100);
  const std::string own = make(kNobody + 101, kRun);
  make_many(kKeep);
  if (chown(theirs.c_str(), 1234, 0) != 0 || chown(own.c_str(), 1234, 0) != 0) {
    GTEST_SKIP() << "only root can give a file away";
  }
  Leavings mine = leavings();
  mine.own_too = true;
  mine.keep = 0;
  clear_away(mine);
  EXPECT_TRUE(fs::exists(theirs));
  EXPECT_FALSE(fs::exists(own));
}

TEST_F(Leaving, ItsOwnOnlyWhenItSaysSo) {
  const std::string own = make(kNobody + 100, kRun);
  make_many(kKeep);
  EXPECT_EQ(clear_away(leavings()), 0u) << "neither counted nor removed";
  const std::string in_a_namespace_of_its_own = make(kNobody + 101, kRun);
  const Mapping mapping(in_a_namespace_of_its_own);
  Leavings mine = leavings();
  mine.own_too = true;
  EXPECT_EQ(clear_away(mine), 1u);
  EXPECT_FALSE(fs::exists(own));
  EXPECT_TRUE(fs::exists(in_a_namespace_of_its_own));
}

// In a container a run may have the same number each time.
TEST_F(Leaving, WhoHadItsNumberBeforeIsAnother) {
  const std::string earlier = make(kNobody + 100, kRun);
  make(kNobody + 99, kRun + 1);
  const std::set<std::string> before = recordings_of_run(place_.path(), kRun);
  EXPECT_THAT(before, testing::ElementsAre(earlier));
  const std::string own = make(kNobody + 101, kRun);
  make_many(kKeep);
  Leavings mine = leavings();
  mine.earlier = &before;
  clear_away(mine);
  EXPECT_FALSE(fs::exists(earlier));
  EXPECT_TRUE(fs::exists(own));
}

TEST_F(Leaving, ALinkInThePlaceOfTheDirectoryIsNotFollowed) {
  make_many(kKeep + 1);
  const fixtures::RecordingPlace elsewhere;
  fs::create_symlink(place_.path(), elsewhere.path() + "/link");
  Leavings linked = leavings();
  linked.directory = elsewhere.path() + "/link";
  EXPECT_EQ(clear_away(linked), 0u);
  EXPECT_EQ(files(), kKeep + 1);
}

}  // namespace
}  // namespace loopscope::cli
