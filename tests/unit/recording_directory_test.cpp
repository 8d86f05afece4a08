// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "instrumentation/recording/directory.h"
#include "instrumentation/recording/loop_recorder.h"
#include "instrumentation/recording/paths.h"
#include "instrumentation/recording/region.h"

namespace loopscope::recording {
namespace {

namespace fs = std::filesystem;

class Directory : public testing::Test {
 protected:
  Directory() {
    char pattern[] = "/tmp/loopscope-test-XXXXXX";
    path_ = mkdtemp(pattern);
    if (const char* old = getenv("LOOPSCOPE_DIR")) old_ = old;
    setenv("LOOPSCOPE_DIR", path_.c_str(), 1);
  }
  ~Directory() override {
    setenv("LOOPSCOPE_DIR", old_.c_str(), 1);
    fs::remove_all(path_);
  }

  std::string file(int pid, std::uint64_t ticks, unsigned image) {
    const std::string name = path_ + "/" + std::to_string(pid) + "-" + std::to_string(ticks) + "-" +
                             std::to_string(image) + ".loopscope";
    std::ofstream(name) << "x";
    return name;
  }

  std::string path_;
  std::string old_;
};

TEST_F(Directory, OfAnothersDirectoryOnlySoMuchIsLookedAt) {
  for (int i = 0; i < 100; ++i) file(1'999'000'000 + i, 5, 0);
  for (int i = 0; i < 100; ++i) std::ofstream(path_ + "/junk-" + std::to_string(i)) << "x";
  bool more = true;
  EXPECT_EQ(list_recordings(path_, 150, &more)->size(), 100u) << "one's own";
  EXPECT_FALSE(more);
  if (chown(path_.c_str(), 1234, 0) != 0) GTEST_SKIP() << "only root can give it away";
  const auto some = list_recordings(path_, 50, &more);
  EXPECT_LE(some->size(), 50u);
  EXPECT_TRUE(more);
  EXPECT_EQ(list_recordings(path_, 202, &more)->size(), 100u) << "with . and ..";
  EXPECT_FALSE(more);
  EXPECT_LT(list_recordings(path_, 201, &more)->size(), 101u);
  EXPECT_TRUE(more);
}

TEST_F(Directory, ListsTheLivingFirst) {
  file(1'999'999'999, 5, 0);
  const std::string mine = file(getpid(), read_start_ticks(getpid()), 0);
  file(getpid(), 1, 0);  // an earlier process of the same number
  std::ofstream(path_ + "/notes.txt") << "not a recording";
  const auto found = list_recordings(path_);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 3u);
  EXPECT_EQ((*found)[0].path, mine);
  EXPECT_TRUE((*found)[0].alive);
  EXPECT_FALSE((*found)[1].alive);
  EXPECT_FALSE((*found)[2].alive);
}

TEST_F(Directory, WhatAProcessRanBeforeAnExecHasEnded) {
  const std::string before = file(getpid(), read_start_ticks(getpid()), 0);
  const std::string now = file(getpid(), read_start_ticks(getpid()), 1);
  const auto found = list_recordings(path_);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[0].path, now);
  EXPECT_TRUE((*found)[0].alive);
  EXPECT_FALSE((*found)[1].alive);
  EXPECT_EQ(next_image_path(before), now);
}

TEST_F(Directory, TheNameTellsTheRun) {
  const std::string pid = std::to_string(getpid());
  const std::string ticks = std::to_string(read_start_ticks(getpid()));
  const std::string now = path_ + "/" + pid + "-" + ticks + "-1-777.loopscope";
  const std::string before = path_ + "/" + pid + "-" + ticks + "-0-777.loopscope";
  for (const std::string& name : {now, before, path_ + "/5-6-7-8-9.loopscope"}) {
    std::ofstream(name) << "x";
  }
  const auto found = list_recordings(path_);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[0].path, now);
  EXPECT_EQ((*found)[0].run_pid, 777);
  EXPECT_EQ((*found)[0].image, 1u);
  EXPECT_TRUE((*found)[0].alive);
  EXPECT_FALSE((*found)[1].alive);
  EXPECT_EQ(next_image_path(before), now);
}

TEST_F(Directory, OfOtherUsersOnlyWhatIsTheirs) {
  const auto make = [&](const std::string& name, std::uint32_t owner) {
    fs::create_directory(path_ + "/" + name);
    return chown((path_ + "/" + name).c_str(), owner, 0) == 0;
  };
  if (!make("loopscope-1234", 1234)) GTEST_SKIP() << "only root can give a directory away";
  make("loopscope-1235", 1234);  // pretends to be somebody else's
  make("loopscope-0", 0);
  make("loopscope-x", 0);
  make("loopscope-", 0);
  make("loopscope-+77", 77);
  make("other-1234", 1234);
  std::ofstream(path_ + "/loopscope-1236") << "a file";
  fs::create_directory_symlink(path_ + "/loopscope-1234", path_ + "/loopscope-1237");
  (void)lchown((path_ + "/loopscope-1237").c_str(), 1237, 0);
  make("loopscope-42", 42);
  EXPECT_EQ(directories_of_users(path_, 0),
            (std::vector<std::string>{path_ + "/loopscope-1234", path_ + "/loopscope-42"}));
  EXPECT_EQ(directories_of_users(path_, 42),
            (std::vector<std::string>{path_ + "/loopscope-0", path_ + "/loopscope-1234"}));
  EXPECT_TRUE(directories_of_users(path_ + "/none", 0).empty());
}

TEST_F(Directory, MissingIsEmptyAndUnreadableIsAnError) {
  const auto none = list_recordings(path_ + "/nothing");
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->empty());
  std::ofstream(path_ + "/file") << "x";
  const auto wrong = list_recordings(path_ + "/file");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find(path_ + "/file"), std::string::npos);
}

TEST_F(Directory, SymbolicLinksAreNotFollowed) {
  std::ofstream(path_ + "/elsewhere") << "x";
  fs::create_symlink(path_ + "/elsewhere", path_ + "/77-1-0.loopscope");
  const auto found = list_recordings(path_);
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->empty());
  EXPECT_TRUE(fs::exists(path_ + "/77-1-0.loopscope"));
  EXPECT_FALSE(open_recording(path_ + "/77-1-0.loopscope"));
}

TEST_F(Directory, AFifoIsNotWaitedFor) {
  const std::string fifo = path_ + "/77-1-0.loopscope";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  // If it were opened as a file is, this would wait for a writer until the alarm ends it.
  alarm(30);
  const auto opened = open_recording(fifo);
  alarm(0);
  if (opened) close(*opened);  // that it is no recording is for its reader to find
}

TEST_F(Directory, ALinkInThePlaceOfTheDirectoryIsNotFollowed) {
  fs::create_directory(path_ + "/real");
  fs::create_directory_symlink(path_ + "/real", path_ + "/link");
  const std::string name = "77-1-0.loopscope";
  std::ofstream(path_ + "/real/" + name) << "x";

  EXPECT_EQ(list_recordings(path_ + "/real")->size(), 1u);
  const auto listed = list_recordings(path_ + "/link");
  ASSERT_FALSE(listed);
  EXPECT_NE(listed.error().message.find("symbolic link"), std::string::npos);

  EXPECT_FALSE(open_recording(path_ + "/link/" + name));
  EXPECT_FALSE(remove_recording(path_ + "/link/" + name));
  EXPECT_TRUE(fs::exists(path_ + "/real/" + name));

  const auto opened = open_recording(path_ + "/real/" + name);
  ASSERT_TRUE(opened);
  close(*opened);
  EXPECT_TRUE(remove_recording(path_ + "/real/" + name));
  EXPECT_FALSE(fs::exists(path_ + "/real/" + name));
  EXPECT_TRUE(remove_recording(path_ + "/real/" + name)) << "it is gone";
}

TEST_F(Directory, InAnothersDirectoryOnlyHisFilesAreOpened) {
  const std::string theirs = path_ + "/theirs";
  fs::create_directory(theirs);
  std::ofstream(theirs + "/1-1-0.loopscope") << "x";
  std::ofstream(theirs + "/2-1-0.loopscope") << "x";
  if (chown(theirs.c_str(), 1234, 0) != 0 ||
      chown((theirs + "/1-1-0.loopscope").c_str(), 1234, 0) != 0) {
    GTEST_SKIP() << "only root can give a file away";
  }
  const auto his = open_recording(theirs + "/1-1-0.loopscope");
  ASSERT_TRUE(his);
  close(*his);
  EXPECT_FALSE(open_recording(theirs + "/2-1-0.loopscope")) << "ours, by a hard link";
}

TEST_F(Directory, AnotherSpeaksOfHisProcessesOnly) {
  EXPECT_TRUE(may_speak_of(geteuid(), getpid()));
  EXPECT_TRUE(may_speak_of(0, getpid()));
  EXPECT_FALSE(may_speak_of(1234, getpid()));
  const std::uint64_t ticks = read_start_ticks(getpid());
  const std::string path = file(getpid(), ticks, 0);
  EXPECT_TRUE(list_recordings(path_)->front().alive);
  if (chown(path.c_str(), 1234, 0) != 0) GTEST_SKIP() << "only root can give a file away";
  EXPECT_FALSE(list_recordings(path_)->front().alive);
}

TEST_F(Directory, PruningRemovesOnlyTheOldestOfTheDead) {
  fs::create_directory(path_ + "/1-1-0.loopscope");  // the oldest, and it cannot be removed
  const std::string mine = file(getpid(), read_start_ticks(getpid()), 0);
  for (int i = 0; i < 40; ++i) file(1'999'000'000 + i, 5, 0);
  const int directory = open(path_.c_str(), O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 40; ++i) prune_directory(directory, 10);
  close(directory);
  const auto found = list_recordings(path_);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->size(), 11u);
  EXPECT_TRUE(fs::exists(mine));
}

// --- what can go wrong when a recording is made: the program goes on, and the reason says what to
// do ---

TEST_F(Directory, RegionIsAPrivateFile) {
  Region region;
  ASSERT_TRUE(create_region(region, {}));
  EXPECT_STREQ(region.error, "");
  struct stat status {};
  ASSERT_EQ(stat(region.path, &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_LT(status.st_blocks * 512, 64 * 1024) << "sparse: only what is used takes space";
}

TEST_F(Directory, OthersDirectoryIsRefused) {
  fs::permissions(path_, fs::perms::all);
  Region region;
  ASSERT_TRUE(create_region(region, {})) << "recording goes on in memory";
  EXPECT_STREQ(region.path, "");
  EXPECT_NE(std::string(region.error).find("closed to others"), std::string::npos) << region.error;
}

TEST_F(Directory, AFileInPlaceOfTheDirectoryIsExplained) {
  const std::string wrong = path_ + "/file";
  std::ofstream(wrong) << "x";
  setenv("LOOPSCOPE_DIR", wrong.c_str(), 1);
  Region region;
  ASSERT_TRUE(create_region(region, {}));
  EXPECT_NE(std::string(region.error).find("not a directory"), std::string::npos) << region.error;
}

TEST_F(Directory, ADirectoryThatCannotBeMadeIsExplained) {
  setenv("LOOPSCOPE_DIR", "/proc/nothing/here", 1);
  Region region;
  ASSERT_TRUE(create_region(region, {}));
  EXPECT_NE(std::string(region.error).find("LOOPSCOPE_DIR"), std::string::npos) << region.error;
}

TEST_F(Directory, AFileSizeLimitIsRespectedAndNoSignalSent) {
  // In a child: a lowered limit cannot be raised again.
  const pid_t child = fork();
  if (child == 0) {
    rlimit limit{4096, 4096};
    setrlimit(RLIMIT_FSIZE, &limit);
    Region region;
    if (!create_region(region, {})) _exit(1);
    _exit(std::string(region.error).find("ulimit -f") != std::string::npos ? 0 : 2);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace loopscope::recording
