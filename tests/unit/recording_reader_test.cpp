// SPDX-License-Identifier: Apache-2.0
//
// A reader against files that are not what they should be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>

#include "instrumentation/recording/loop_recorder.h"
#include "instrumentation/recording/reader.h"

namespace loopscope::recording {
namespace {

using testing::HasSubstr;

class ReaderOfFile : public testing::Test {
 protected:
  ReaderOfFile() {
    char pattern[] = "/tmp/loopscope-reader-XXXXXX";
    const int fd = mkstemp(pattern);
    close(fd);
    path_ = pattern;
  }
  ~ReaderOfFile() override { unlink(path_.c_str()); }

  /// A copy of this process' recording with a loop in it, as far as it is in use (the rest stays
  /// sparse).
  void write_sample() {
    LoopRecorder recorder({.name = "sample", .backend = "epoll", .ring_turns = 16});
    const WatcherRef timer = recorder.watcher("beat", 4, WatcherKind::kTimer);
    recorder.enter();
    for (int i = 0; i < 40; ++i) {
      recorder.poll_begin();
      recorder.poll_end(
          {i % 3, i % 3 == 0 ? WaitResult::kTimeout : WaitResult::kEvents, false, 1'000'000});
      recorder.callback_end(recorder.callback_begin(timer, true), timer);
      recorder.timer_lag(timer, 5, 10);
    }
    recorder.leave();
    const Region& region = ProcessRecorder::instance().region();
    heap_ = region.header()->heap_offset;
    used_ = heap_ + region.header()->heap_used.load();
    std::ofstream out(path_, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(region.base),
              static_cast<std::streamsize>(region.header()->fds_offset));
    out.seekp(static_cast<std::streamoff>(region.header()->heap_offset));
    out.write(reinterpret_cast<const char*>(region.base + region.header()->heap_offset),
              static_cast<std::streamsize>(region.header()->heap_used.load()));
    out.close();
    ASSERT_EQ(truncate(path_.c_str(), static_cast<off_t>(region.bytes)), 0);
  }

  void poke(std::uint64_t offset, const void* bytes, std::size_t size) {
    std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(offset));
    file.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(size));
  }

  std::string path_;
  std::uint64_t heap_ = 0;
  std::uint64_t used_ = 0;
};

TEST_F(ReaderOfFile, ReadsWhatWasWritten) {
  write_sample();
  auto reader = Reader::open(path_);
  ASSERT_TRUE(reader) << reader.error().message;
  const auto taken = reader->read();
  ASSERT_TRUE(taken) << taken.error().message;
  const auto loop = std::find_if(taken->loops.begin(), taken->loops.end(),
                                 [](const LoopSnapshot& each) { return each.name == "sample"; });
  ASSERT_NE(loop, taken->loops.end());
  EXPECT_EQ(loop->iterations, 40u);
  EXPECT_EQ(loop->timeouts, 14u);
  ASSERT_EQ(loop->watchers.size(), 1u);
  EXPECT_EQ(loop->watchers[0].callback.count, 40u);
  EXPECT_EQ(loop->watchers[0].lag->count, 40u);
}

TEST_F(ReaderOfFile, NotThere) {
  const auto reader = Reader::open("/nowhere/at.all");
  ASSERT_FALSE(reader);
  EXPECT_EQ(reader.error().code, Error::Code::kNotFound);
  EXPECT_THAT(reader.error().message, HasSubstr("/nowhere/at.all"));
}

TEST_F(ReaderOfFile, ADirectoryIsNotARecording) {
  const auto reader = Reader::open("/tmp");
  ASSERT_FALSE(reader);
  EXPECT_EQ(reader.error().code, Error::Code::kFormat);
}

TEST_F(ReaderOfFile, EmptyAndRandomFilesAreNotRecordings) {
  EXPECT_THAT(Reader::open(path_).error().message, HasSubstr("not a loopscope recording"));
  std::mt19937 random(1);
  std::ofstream out(path_, std::ios::binary);
  for (int i = 0; i < 100'000; ++i) out.put(static_cast<char>(random()));
  out.close();
  EXPECT_THAT(Reader::open(path_).error().message, HasSubstr("not a loopscope recording"));
}

TEST_F(ReaderOfFile, AnotherVersionIsNamedTogetherWithOurs) {
  write_sample();
  const std::uint32_t version = 4711;
  poke(offsetof(Header, version), &version, sizeof version);
  const auto reader = Reader::open(path_);
  ASSERT_FALSE(reader);
  EXPECT_EQ(reader.error().code, Error::Code::kOtherVersion);
  EXPECT_THAT(reader.error().message, HasSubstr("4711"));
  EXPECT_THAT(reader.error().message, HasSubstr("format " + std::to_string(kVersion)));
}

TEST_F(ReaderOfFile, TruncatedAnywhereIsAnErrorOrAShorterStoryNeverACrash) {
  write_sample();
  for (std::uint64_t size = 0; size < used_; size += used_ / 199) {
    write_sample();
    ASSERT_EQ(truncate(path_.c_str(), static_cast<off_t>(size)), 0);
    auto reader = Reader::open(path_);
    EXPECT_FALSE(reader) << "a file shorter than its header says";
  }
}

TEST_F(ReaderOfFile, TruncatedWhileItIsOpen) {
  write_sample();
  auto reader = Reader::open(path_);
  ASSERT_TRUE(reader);
  ASSERT_EQ(truncate(path_.c_str(), 8192), 0);
  const auto taken = reader->read();
  ASSERT_FALSE(taken);
  EXPECT_THAT(taken.error().message, HasSubstr("truncated"));
}

// Flips bits and overwrites words in everything that is in use; the sanitizers watch.
TEST_F(ReaderOfFile, DamagedFilesNeverCrashTheReader) {
  std::mt19937_64 random(42);
  int readable = 0;
  for (int round = 0; round < 400; ++round) {
    if (round % 20 == 0) write_sample();
    for (int damage = 0; damage < 8; ++damage) {
      const std::uint64_t where =
          random() % 3 == 0 ? random() % 4096 : heap_ + random() % (used_ - heap_);
      const std::uint64_t word = random() % 4 == 0 ? ~0ull : random();
      poke(where, &word, 1 + random() % 8);
    }
    auto reader = Reader::open(path_);
    if (!reader) {
      write_sample();
      continue;
    }
    ++readable;
    const auto taken = reader->read({.recent = 1u << 20, .served = true});
    std::uint64_t cursor = 0;
    std::uint64_t lost = 0;
    Turn turn;
    for (int i = 0; i < 50; ++i) {
      const Follow answer = reader->next(0, cursor, turn, lost);
      if (answer == Follow::kEnd || answer == Follow::kWriterGone) break;
    }
  }
  EXPECT_GT(readable, 20) << "the damage must not all be caught by the first check";
}

}  // namespace
}  // namespace loopscope::recording
