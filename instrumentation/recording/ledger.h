// SPDX-License-Identifier: Apache-2.0
//
// The writing side of the descriptor ledger: births, deaths and use of descriptor numbers, and the
// sites that opened them.
//
// Thread-safety: everything here may be called from any thread and from signal handlers; nothing
// waits for anybody. The order of births and deaths of one number is the caller's to keep: note a
// death before the real close, a birth after the real open, and no number overtakes itself. Fork:
// call attach() once the process has a recording of its own.
//
// Cost: opened() and closed() about 15 ns each; slot() 1 ns. No allocation; a system call only when
// a chunk of numbers or a page of sites is used for the first time. errno is kept.
#pragma once

#include <sys/single_threaded.h>

#include <cstddef>
#include <cstdint>

#include "instrumentation/recording/layout.h"
#include "instrumentation/recording/process_recorder.h"

namespace loopscope::recording {

/// Index of a site, plus 1; 0: none.
using SiteRef = std::uint32_t;

class LedgerWriter {
 public:
  /// From now on writes to the recording that `process` has now.
  void attach(ProcessRecorder& process) noexcept;

  /// The number's slot; null if it was never used, or there is no room for it.
  FdSlot* slot(int fd) const noexcept {
    const auto number = static_cast<std::uint32_t>(fd);
    if (number >= slots_) return nullptr;
    const std::uint32_t chunk = number / kFdsPerChunk;
    if ((chunks_[chunk / 64].load() >> (chunk % 64) & 1) == 0) return nullptr;
    return fds_ + number;
  }
  /// Reserves it if need be; null if there is no room (counted as dropped).
  FdSlot* slot_for_writing(int fd) noexcept {
    FdSlot* there = slot(fd);
    return there != nullptr ? there : reserve_slot(fd);
  }
  /// Only for a number that has a slot.
  FdDetail& detail(int fd) const noexcept { return details_[fd]; }

  static bool is_open(const FdSlot& slot) noexcept { return (slot.generation.load() & 1) != 0; }
  static DescriptorKind kind(const FdSlot& slot) noexcept {
    return static_cast<DescriptorKind>(slot.facts.load() & kFdKindMask);
  }

  struct Birth {
    DescriptorKind kind = DescriptorKind::kOther;
    FdOrigin origin = FdOrigin::kOpened;
    std::uint32_t flags = 0;  // kFdCloseOnExec ...
    SiteRef site = 0;
    std::int32_t thread_id = 0;
    std::uint64_t now_ns = 0;
    const char* target = nullptr;
    std::size_t target_size = 0;
    std::int32_t pair_fd = -1;
  };
  /// A number was opened. One that counts as open already was closed out of sight.
  void opened(int fd, const Birth& birth) noexcept;

  /// A number is about to be closed. False if it does not count as open.
  bool closed(int fd) noexcept;

  /// A number that did not count as open was closed all the same: it was born out of sight.
  void closed_unseen_birth() noexcept;
  void bad_close() noexcept { bump(header_->bad_closes); }
  void accepted() noexcept { bump(header_->accepts); }

  /// Closes what counts as open in [first, last] and was opened before `before_ns`.
  void closed_range(std::uint32_t first, std::uint32_t last, std::uint64_t before_ns) noexcept;
  void flag_range(std::uint32_t first, std::uint32_t last, std::uint32_t flags) noexcept;

  /// `fd` was put into an epoll set (its slot says which).
  void registered(int fd) noexcept {
    const auto number = static_cast<std::uint32_t>(fd);
    if (number >= registered_end_.load()) registered_end_.store(number + 1);
  }
  /// The epoll descriptor of that number is gone, and with it what was registered in its set. Cost:
  /// some ns for each number up to the highest that was ever registered.
  void unregister_all(int epoll_fd) noexcept;

  void set_flags(int fd, std::uint32_t set, std::uint32_t clear) noexcept;
  void set_kind(int fd, DescriptorKind kind) noexcept;
  void set_target(int fd, const char* text, std::size_t size) noexcept;
  /// struct sockaddr as the kernel gave or took it: IP addresses go to `local` or `peer`, a path of
  /// AF_UNIX to `target`.
  void set_local(int fd, const void* address, std::size_t size) noexcept;
  void set_peer(int fd, const void* address, std::size_t size) noexcept;

  /// The site of that stack and kind; made if it is new. 0 if the table is full (counted).
  SiteRef site(DescriptorKind kind, const std::uintptr_t* frames, int count,
               std::uint64_t now_ns) noexcept;

  /// Takes what a process needs that will soon not be allowed system calls: numbers up to 1023 and
  /// some sites.
  void reserve_ahead() noexcept;

  /// In a child that was forked: forgets the parent's sites and numbers.
  void forget() noexcept;

  /// Adds in one instruction: a signal handler that adds as well comes before it or after it, never
  /// between a load and a store.
  template <typename T>
  static void add_at_once(Cell<T>& cell, T amount) noexcept {
#if defined(__x86_64__)
    asm volatile("add %1, %0" : "+m"(cell.raw) : "r"(amount) : "cc");
#else
    __atomic_fetch_add(&cell.raw, amount, __ATOMIC_RELAXED);
#endif
  }

  /// Adds to a counter that several threads may write: without a locked instruction while the
  /// process has only ever had one thread.
  static void bump(Cell<std::uint64_t>& cell, std::uint64_t amount = 1) noexcept {
    if (__libc_single_threaded) {
      add_at_once(cell, amount);
    } else {
      __atomic_fetch_add(&cell.raw, amount, __ATOMIC_RELAXED);
    }
  }
  static void bump(Cell<std::uint32_t>& cell) noexcept {
    if (__libc_single_threaded) {
      add_at_once(cell, std::uint32_t{1});
    } else {
      __atomic_fetch_add(&cell.raw, 1, __ATOMIC_RELAXED);
    }
  }

 private:
  static constexpr std::uint32_t kIndexSize = 2 * kMaxSites;
  static constexpr std::uint32_t kSitesPerPage = 4096 / sizeof(Site);

  FdSlot* reserve_slot(int fd) noexcept;
  void set_address(Text<32>& to, int fd, const void* address, std::size_t size) noexcept;
  SiteRef make_site(std::uint64_t hash, DescriptorKind kind, const std::uintptr_t* frames,
                    int count, std::uint64_t now_ns) noexcept;
  std::uint16_t module_of(std::uintptr_t address) noexcept;
  void one_closed(FdSlot& slot) noexcept;

  ProcessRecorder* process_ = nullptr;
  Header* header_ = nullptr;
  const Cell<std::uint64_t>* chunks_ = nullptr;
  FdSlot* fds_ = nullptr;
  FdDetail* details_ = nullptr;
  Site* sites_ = nullptr;
  Module* modules_ = nullptr;
  std::uint32_t slots_ = 0;                // 0: nothing is recorded
  Cell<std::uint32_t> registered_end_{0};  // no number from here on was ever in an epoll set
  std::uint32_t next_site_ = 0;
  std::uint32_t next_module_ = 0;
  std::uint64_t site_pages_[kMaxSites / kSitesPerPage / 64] = {};  // reserved ones
  std::uint32_t module_reserved_ = 0;                              // bytes
  std::uint32_t index_[kIndexSize] = {};                           // SiteRef by hash
};

}  // namespace loopscope::recording
