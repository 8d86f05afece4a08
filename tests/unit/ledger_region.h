// SPDX-License-Identifier: Apache-2.0
//
// A recording with a ledger that a test fills by hand, word by word as layout.h has it: what the
// reader must understand, whatever the writer does.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/layout.h"
#include "instrumentation/recording/region.h"

namespace loopscope::fixtures {

/// A directory for recordings that is removed with all in it.
class RecordingPlace {
 public:
  RecordingPlace() {
    char path[] = "/tmp/loopscope-ledger-XXXXXX";
    path_ = ::mkdtemp(path);
  }
  ~RecordingPlace() { std::filesystem::remove_all(path_); }
  RecordingPlace(const RecordingPlace&) = delete;
  RecordingPlace& operator=(const RecordingPlace&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// One descriptor as a test says it.
struct Born {
  recording::DescriptorKind kind = recording::DescriptorKind::kFile;
  recording::FdOrigin origin = recording::FdOrigin::kOpened;
  std::uint32_t flags = 0;
  std::uint32_t site = 0;  // index + 1
  std::string target = {};
  std::int32_t thread_id = 77;
};

/// The recording of this process, in a file of its own.
class LedgerRegion {
 public:
  explicit LedgerRegion(const std::string& directory, std::int32_t run_pid = 0) {
    recording::RegionSettings settings;
    settings.source = recording::SourceKind::kProbe;
    settings.run_pid = run_pid;
    settings.directory = directory.c_str();
    EXPECT_TRUE(recording::create_region(region_, settings));
    EXPECT_STREQ(region_.error, "");
    header().has_ledger = 1;
  }
  ~LedgerRegion() {
    if (region_.base != nullptr) ::munmap(region_.base, region_.bytes);
  }
  LedgerRegion(const LedgerRegion&) = delete;
  LedgerRegion& operator=(const LedgerRegion&) = delete;

  std::string path() const { return region_.path; }
  const recording::Region& region() const { return region_; }
  recording::Header& header() { return *region_.header(); }
  recording::FdSlot& slot(int fd) { return region_.fds()[fd]; }
  recording::FdDetail& detail(int fd) { return region_.details()[fd]; }

  void reserve(int fd) {
    const auto chunk = static_cast<std::uint32_t>(fd) / recording::kFdsPerChunk;
    recording::Cell<std::uint64_t>& word = header().fd_chunks[chunk / 64];
    if ((word.load() >> (chunk % 64) & 1) != 0) return;
    word.store(word.load() | 1ull << (chunk % 64));
  }

  /// As a writer would: closes first what counts as open.
  void open(int fd, const Born& born = {}) {
    using namespace recording;
    reserve(fd);
    FdSlot& s = slot(fd);
    FdDetail& d = detail(fd);
    const std::uint32_t generation = (s.generation.load() | 1) + (s.generation.load() & 1) * 2;
    s.facts.store(static_cast<std::uint32_t>(born.kind) |
                  static_cast<std::uint32_t>(born.origin) << kFdOriginShift | born.flags);
    s.registered_epoll_fd.store(0);
    s.site.store(born.site);
    s.events.store(0);
    s.io_calls.store(0);
    d.generation.store(generation);
    d.thread_id.store(born.thread_id);
    d.opened_ns.store(monotonic_ns());
    d.pair_fd.store(0);
    d.target.store(born.target.data(), static_cast<unsigned>(born.target.size()));
    s.generation.store_release(generation);
    header().fd_open.add(1);
    if (header().fd_open.load() > header().fd_peak.load()) {
      header().fd_peak.store(header().fd_open.load());
    }
    if (born.origin == FdOrigin::kInherited) {
      header().fd_inherited.add(1);
    } else {
      header().fd_opened[static_cast<std::size_t>(born.kind)].add(1);
    }
    if (born.site != 0) region_.sites()[born.site - 1].opened.add(1);
  }

  void close(int fd) {
    using namespace recording;
    FdSlot& s = slot(fd);
    s.generation.add(1);
    header().fd_open.add(-1);
    header().fd_closed[s.facts.load() & kFdKindMask].add(1);
    if (s.site.load() != 0) region_.sites()[s.site.load() - 1].closed.add(1);
  }

  /// Returns index + 1.
  std::uint16_t module(const std::string& path, std::uint64_t bias, const std::string& build_id) {
    const std::uint32_t index = header().module_count.load();
    recording::Module& m = region_.modules()[index];
    m.begin.store(bias);
    m.end.store(bias + 0x10000);
    m.bias.store(bias);
    m.path.store(path.data(), static_cast<unsigned>(path.size()));
    std::memcpy(m.build_id.raw, build_id.data(), build_id.size());
    m.build_id_bytes.store(static_cast<std::uint32_t>(build_id.size()));
    header().module_count.store_release(index + 1);
    return static_cast<std::uint16_t>(index + 1);
  }

  struct Frame {
    std::uint64_t address;
    std::uint16_t module;
  };
  /// Returns index + 1.
  std::uint32_t site(recording::DescriptorKind kind, const std::vector<Frame>& frames) {
    const std::uint32_t index = header().site_count.load();
    recording::Site& s = region_.sites()[index];
    s.kind.store(static_cast<std::uint32_t>(kind));
    s.frame_count.store(static_cast<std::uint32_t>(frames.size()));
    for (std::size_t i = 0; i < frames.size(); ++i) {
      s.frames[i].store(frames[i].address);
      s.modules[i].store(frames[i].module);
    }
    s.first_ns.store(recording::monotonic_ns());
    s.hash.store_release(index + 1);
    header().site_count.store_release(index + 1);
    return index + 1;
  }

 private:
  recording::Region region_;
};

}  // namespace loopscope::fixtures
