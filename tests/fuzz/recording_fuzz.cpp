// SPDX-License-Identifier: Apache-2.0
//
// A recording is a file that anybody may have written. The input says what is done to a good one:
// which, how long it still is, and bytes that are put over others. Whatever comes out is read, as
// every view reads it, and what the views make of it must be well formed.
#include <fcntl.h>
#include <fuzzer/FuzzedDataProvider.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "instrumentation/metrics/collector.h"
#include "instrumentation/recording/reader.h"
#include "instrumentation/snapshot/host_snapshot.h"
#include "instrumentation/snapshot/json.h"
#include "tests/fuzz/must.h"

namespace {

using namespace loopscope;
using fuzz::must;

constexpr std::size_t kMostPatches = 64;
constexpr std::size_t kPatchBytes = 16;

/// A sparse file in memory.
struct Extent {
  off_t at = 0;
  std::vector<char> bytes;
};

/// A good recording, its data by extents, and the file that the next input spoils.
class Base {
 public:
  explicit Base(const std::filesystem::path& sample)
      : fd_(::memfd_create("recording", MFD_CLOEXEC)),
        path_("/proc/self/fd/" + std::to_string(fd_)) {
    must(fd_ >= 0, "a file in memory is had");
    const int from = ::open(sample.c_str(), O_RDONLY | O_CLOEXEC);
    must(from >= 0, "a sample is there");
    size_ = ::lseek(from, 0, SEEK_END);
    std::vector<char> block(4096);
    for (off_t at = 0; at < size_; at += static_cast<off_t>(block.size())) {
      const off_t data = ::lseek(from, at, SEEK_DATA);
      if (data < 0) break;
      at = data / 4096 * 4096;
      const ssize_t got = ::pread(from, block.data(), block.size(), at);
      must(got > 0, "a sample is read");
      const bool empty =
          std::all_of(block.begin(), block.begin() + got, [](char c) { return c == 0; });
      if (!empty) extents_.push_back({at, {block.begin(), block.begin() + got}});
    }
    ::close(from);
    restore();
  }

  /// What is left of the input says how.
  void spoil(FuzzedDataProvider& input) {
    if (input.ConsumeBool()) {
      const Extent& last = some_extent(input);
      const off_t kept = last.at + input.ConsumeIntegralInRange<off_t>(0, 4096);
      must(::ftruncate(fd_, kept) == 0, "a file is cut");
    }
    for (std::size_t i = 0; i < kMostPatches && input.remaining_bytes() > 0; ++i) {
      const Extent& extent = some_extent(input);
      const off_t at = extent.at + input.ConsumeIntegralInRange<off_t>(
                                       0, static_cast<off_t>(extent.bytes.size()));
      const std::string bytes =
          input.ConsumeBytesAsString(input.ConsumeIntegralInRange<std::size_t>(1, kPatchBytes));
      must(::pwrite(fd_, bytes.data(), bytes.size(), at) == static_cast<ssize_t>(bytes.size()),
           "bytes are spoiled");
      const off_t page = at / 4096 * 4096;
      dirty_.push_back(page);
      dirty_.push_back(page + 4096);
    }
  }

  void restore() {
    const bool shorter = ::lseek(fd_, 0, SEEK_END) != size_;
    must(::ftruncate(fd_, size_) == 0, "a file has its size again");
    const std::vector<char> nothing(4096, 0);
    for (const off_t page : dirty_) {
      if (page < size_) {
        const auto room = static_cast<std::size_t>(std::min<off_t>(4096, size_ - page));
        must(::pwrite(fd_, nothing.data(), room, page) == static_cast<ssize_t>(room),
             "a page is empty again");
      }
    }
    for (const Extent& extent : extents_) {
      const bool touched = std::find(dirty_.begin(), dirty_.end(), extent.at) != dirty_.end();
      if (!shorter && !touched) continue;
      must(::pwrite(fd_, extent.bytes.data(), extent.bytes.size(), extent.at) ==
               static_cast<ssize_t>(extent.bytes.size()),
           "a page is as it was");
    }
    dirty_.clear();
  }

  const std::string& path() const { return path_; }

 private:
  /// Half the time one of the first: header, table of loops, modules, incidents. The ring of turns
  /// and the stacks are most of the bytes, and least of what can go wrong.
  const Extent& some_extent(FuzzedDataProvider& input) const {
    const std::size_t among =
        input.ConsumeBool() ? std::min<std::size_t>(8, extents_.size()) : extents_.size();
    return extents_[input.ConsumeIntegralInRange<std::size_t>(0, among - 1)];
  }

  int fd_;
  std::string path_;
  off_t size_ = 0;
  std::vector<Extent> extents_;
  std::vector<off_t> dirty_;
};

std::vector<Base>& bases() {
  static std::vector<Base> all = [] {
    const char* directory = std::getenv("LOOPSCOPE_FUZZ_SAMPLES");
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(
             directory != nullptr ? directory : LOOPSCOPE_SAMPLES)) {
      if (entry.path().extension() == ".loopscope") paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    must(!paths.empty(), "there are samples");
    std::vector<Base> made;
    for (const auto& path : paths) {
      made.emplace_back(path);
      // Else all that follows would look at nothing.
      auto reader = recording::Reader::open(made.back().path());
      must(reader && reader->read(), "a good recording is read");
    }
    return made;
  }();
  return all;
}

void read_it(const std::string& path) {
  auto reader = recording::Reader::open(path);
  if (!reader) return;
  recording::TurnCursors cursors;
  recording::ReadOptions options;
  options.recent = 4096;
  options.cursors = &cursors;
  options.details = true;
  options.served = true;
  for (int again = 0; again < 2; ++again) {
    const auto taken = reader->read(options);
    if (!taken) continue;
    for (const auto& loop : taken->loops) {
      recording::Turn turn;
      std::uint64_t cursor = 0, lost = 0;
      for (int i = 0; i < 20; ++i) {
        const auto follow = reader->next(loop.id, cursor, turn, lost);
        if (follow == recording::Follow::kEnd || follow == recording::Follow::kWriterGone) break;
      }
    }
  }
  reader->stalled(1);
  reader->generations({0, 1, 100, -1, 1 << 30});
}

void look_at_it(const std::string& path) {
  const auto collector = snapshot::Collector::of_file(path);
  snapshot::CollectOptions options;
  options.descriptors = true;
  options.served = true;
  const snapshot::HostSnapshot host = collector->collect(options);
  must(nlohmann::json::accept(snapshot::to_json(host)), "a snapshot is JSON");
  metrics::to_text(host, metrics::LabelMode::kMulti);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  Base& base = bases()[input.ConsumeIntegralInRange<std::size_t>(0, bases().size() - 1)];
  const bool views = input.ConsumeBool();
  base.spoil(input);
  views ? look_at_it(base.path()) : read_it(base.path());
  base.restore();
  return 0;
}
