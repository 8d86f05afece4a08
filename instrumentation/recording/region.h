// SPDX-License-Identifier: Apache-2.0
//
// The memory of one process' recording: a file mapped shared, made large but sparse. Pages are
// reserved before anything is written to them, so a full file system is an error code here and
// never SIGBUS in the host program.
//
// Used inside observed programs: no allocation, no stdio, no exceptions, nothing of libstdc++.
#pragma once

#include <cstddef>
#include <cstdint>

#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/layout.h"

namespace loopscope::recording {

inline constexpr std::size_t kPathBytes = 512;

struct Region {
  unsigned char* base = nullptr;
  std::uint64_t bytes = 0;
  char path[kPathBytes] = {};      // empty: anonymous memory, only this process can read it
  char error[kPathBytes] = {};     // why it is not in a file; what to do
  bool reserves_lazily = false;    // pages beyond the header are reserved when handed out
  bool sealed = false;             // nothing is reserved any more
  std::uint64_t prepared_end = 0;  // in a sealed one: of what was reserved of the heap before

  Header* header() const noexcept { return reinterpret_cast<Header*>(base); }
  LoopEntry* loops() const noexcept {
    return reinterpret_cast<LoopEntry*>(base + header()->loops_offset);
  }
  FdSlot* fds() const noexcept { return reinterpret_cast<FdSlot*>(base + header()->fds_offset); }
  FdDetail* details() const noexcept {
    return reinterpret_cast<FdDetail*>(base + header()->details_offset);
  }
  Site* sites() const noexcept { return reinterpret_cast<Site*>(base + header()->sites_offset); }
  Module* modules() const noexcept {
    return reinterpret_cast<Module*>(base + header()->modules_offset);
  }
  Incident* incidents() const noexcept {
    return reinterpret_cast<Incident*>(base + header()->incidents_offset);
  }
  ScriptFrameEntry* script_frames() const noexcept {
    return reinterpret_cast<ScriptFrameEntry*>(base + header()->script_frames_offset);
  }
  template <typename T>
  T* at(std::uint64_t offset) const noexcept {
    return reinterpret_cast<T*>(base + offset);
  }
};

struct RegionSettings {
  SourceKind source = SourceKind::kLibrary;
  ClockKind clock = ClockKind::kMonotonic;
  std::int32_t run_pid = 0;         // of the `loopscope run` this belongs to; 0: none
  const char* directory = nullptr;  // null: default_directory()
  // What somebody knows already need not be asked for: each is a file less to read at a process'
  // start (5 to 10 µs).
  bool clock_known = false;                // `clock` is what choose_clock() would say
  const char* boot_id = nullptr;           // 36 characters; null: not known
  const char* const* arguments = nullptr;  // of this program, null at the end; null: not known
  bool name_only = false;                  // of the arguments, record the first alone
};

/// Entries of the directory of loops that are reserved from the start.
inline constexpr std::uint32_t kLoopsAtStart = 256;

/// Creates the recording of this process. If a file cannot be had, falls back to anonymous memory
/// and says why in `error`; false only if there is no memory at all. Async-signal-safe apart from
/// getenv(3).
bool create_region(Region& region, const RegionSettings& settings) noexcept;

/// Reserves [offset, offset + size): afterwards writing there cannot fail. False (and errno) if the
/// file system is full.
bool reserve(const Region& region, std::uint64_t offset, std::uint64_t size) noexcept;

/// Reserves the entry of a new loop, `index` being the number of loops there are.
bool reserve_loop_entry(const Region& region, std::uint32_t index) noexcept;

/// Hands out `size` zeroed bytes from the heap, 64-byte aligned; 0 if there are none. Any thread.
std::uint64_t allocate(const Region& region, std::uint64_t size) noexcept;

/// A word that holds the number of forks since the first ancestor, plus one, and reads 0 in a child
/// made by fork or clone without CLONE_VM (madvise(2), MADV_WIPEONFORK, Linux 4.14): one load tells
/// a forked child from its parent, whoever called fork. A vfork child shares it with its parent, as
/// it shares all memory.
class ForkSentinel {
 public:
  /// False if a fork would go unnoticed for want of a page: the child would write what it does into
  /// its parent's recording. (On a kernel that is too old it goes unnoticed, and this says true.)
  bool arm() noexcept;
  std::uint32_t value() const noexcept { return __atomic_load_n(word_, __ATOMIC_ACQUIRE); }
  /// For hot paths that keep the address: the current generation, anything else in a child that has
  /// not settled.
  const std::uint32_t* word() const noexcept { return word_; }
  /// In a forked child: true for exactly one caller, which makes the child's recording and then
  /// calls settle(). The others wait here until it has.
  bool claim() noexcept;
  void settle(std::uint32_t generation) noexcept {
    __atomic_store_n(word_, generation, __ATOMIC_RELEASE);
  }

 private:
  std::uint32_t* word_ = nullptr;
};

}  // namespace loopscope::recording
