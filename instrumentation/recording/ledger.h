// SPDX-License-Identifier: Apache-2.0
//
// The writing side of the descriptor ledger: births, deaths and use of descriptor numbers, the
// sites of all three, and what went wrong with a number.
//
// Thread-safety: everything here may be called from any thread and from signal handlers; nothing
// waits for anybody. The order of births and deaths of one number is the caller's to keep: note a
// death before the real close, a birth after the real open, and no number overtakes itself. Fork:
// call attach() once the process has a recording of its own.
//
// Cost: opened() and closed() about 15 ns each; slot() 1 ns; incident() 20 ns. No allocation; a
// system call only when a chunk of numbers or a page of a table is used for the first time. errno
// is kept.
#pragma once

#include <sys/single_threaded.h>

#include <cstddef>
#include <cstdint>

#include "instrumentation/recording/layout.h"
#include "instrumentation/recording/process_recorder.h"

namespace loopscope::recording {

/// Index of a site, plus 1; 0: none.
using SiteRef = std::uint32_t;

/// A line of a script, and the lines that a site has of one, innermost first.
struct ScriptLine {
  const char* function;
  std::size_t function_size;
  const char* file;
  std::size_t file_size;
  std::uint32_t line;
};
struct ScriptStack {
  std::uint32_t count = 0;
  std::uint32_t lines[kSiteScriptFrames];  // of script_frame()
};

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
  /// Reserves it if need be; null if there is no room (opened() counts what is dropped).
  FdSlot* slot_for_writing(int fd) noexcept {
    FdSlot* there = slot(fd);
    return there != nullptr ? there : reserve_slot(fd);
  }
  /// Only for a number that has a slot.
  FdDetail& detail(int fd) const noexcept { return details_[fd]; }
  int number(const FdSlot& slot) const noexcept { return static_cast<int>(&slot - fds_); }
  /// No number from here on has a slot.
  std::uint32_t slots() const noexcept { return slots_; }

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

  /// Where and when a number was closed, as far as that is known.
  struct Death {
    SiteRef site = 0;
    std::int32_t thread_id = 0;
    std::uint64_t now_ns = 0;  // 0: it is not to be noted
  };
  /// A number that did not count as open is: it was opened out of sight.
  void met(int fd, const Birth& birth) noexcept;

  /// A number is about to be closed. False if it does not count as open.
  bool closed(int fd) noexcept { return closed(fd, Death{}); }
  bool closed(int fd, const Death& death) noexcept;
  /// One that counted as open was not open any more (EBADF): it was closed out of sight, at a time
  /// and a place that nobody knows. After closed().
  void was_closed_unseen(int fd) noexcept;

  /// A number that did not count as open was closed all the same: it was born out of sight.
  void closed_unseen_birth() noexcept;
  void bad_close() noexcept {
    if (slots_ != 0) bump(header_->bad_closes);
  }
  void accepted() noexcept {
    if (slots_ != 0) bump(header_->accepts);
  }

  /// Closes what counts as open in [first, last] and was opened before `before_ns`.
  void closed_range(std::uint32_t first, std::uint32_t last, std::uint64_t before_ns,
                    const Death& death) noexcept;
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
  /// `scripts`: the lines of an interpreter's script, from script_frame().
  SiteRef site(DescriptorKind kind, const std::uintptr_t* frames, int count, std::uint64_t now_ns,
               const ScriptStack* scripts = nullptr, SiteRole role = SiteRole::kOpen) noexcept;
  /// Likewise of a call that closes or uses a descriptor, of whatever kind.
  SiteRef call_site(const std::uintptr_t* frames, int count, std::uint64_t now_ns,
                    const ScriptStack* scripts = nullptr) noexcept {
    return site(DescriptorKind::kOther, frames, count, now_ns, scripts, SiteRole::kCall);
  }

  /// Something went wrong with a number. What is known of its last descriptor is looked up.
  struct Mishap {
    IncidentKind kind = IncidentKind::kCloseNeverOpened;
    std::int32_t fd = -1;
    SiteRef site = 0;
    std::int32_t thread_id = 0;
    std::uint64_t now_ns = 0;
    const char* call = "";
    bool consecutive = false;  // the neighbour of the number before, at the same place
    /// kEventAfterClose: of the descriptor that was registered; 0: of the last one.
    std::uint32_t generation = 0;
  };
  /// Null if there is no room (counted).
  Incident* incident(const Mishap& mishap) noexcept;
  /// The same once more, with another number.
  static void again(Incident& incident, int fd, std::uint64_t now_ns, bool consecutive) noexcept {
    bump(incident.count);
    incident.last_ns.store(now_ns);
    incident.last_fd.store(fd);
    if (consecutive) bump(incident.consecutive);
  }

  /// That line of a script; 0 if the table is full (counted, as a site without its stack). Cost:
  /// 30 ns and 1 ns for each byte of the texts.
  std::uint32_t script_frame(const ScriptLine& line) noexcept;

  /// What is open under that number was opened by these lines: told after it was. It moves to the
  /// site that has them.
  void told_scripts(int fd, const ScriptStack& scripts, std::uint64_t now_ns) noexcept;

  /// Takes what a process needs that will soon not be allowed system calls: numbers up to 1023,
  /// some sites and incidents.
  void reserve_ahead() noexcept;

  /// In a child that was forked: forgets the parent's sites and numbers.
  void forget() noexcept;

  /// Adds in one instruction: a signal handler that adds as well comes before it or after it, never
  /// between a load and a store.
  template <typename T>
  static void add_at_once(Cell<T>& cell, T amount) noexcept {
#if defined(__x86_64__) && !defined(LOOPSCOPE_TRACED_ATOMICS)  // tests/model
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
  bool reserve_site_pages(std::uint32_t page) noexcept;
  void set_address(Text<32>& to, int fd, const void* address, std::size_t size) noexcept;
  SiteRef make_site(std::uint64_t hash, DescriptorKind kind, const std::uintptr_t* frames,
                    int count, std::uint64_t now_ns, const ScriptStack* scripts,
                    SiteRole role) noexcept;
  std::uint32_t make_script_frame(std::uint64_t hash, const ScriptLine& line) noexcept;
  std::uint16_t module_of(std::uintptr_t address) noexcept;
  void one_closed(FdSlot& slot) noexcept;
  void note_death(int fd, const Death& death) noexcept;
  Incident* find_incident(std::uint64_t hash) const noexcept;
  Incident* make_incident() noexcept;

  ProcessRecorder* process_ = nullptr;
  Header* header_ = nullptr;
  const Cell<std::uint64_t>* chunks_ = nullptr;
  FdSlot* fds_ = nullptr;
  FdDetail* details_ = nullptr;
  Site* sites_ = nullptr;
  Module* modules_ = nullptr;
  Incident* incidents_ = nullptr;
  ScriptFrameEntry* script_frames_ = nullptr;
  std::uint32_t slots_ = 0;                // 0: nothing is recorded
  Cell<std::uint32_t> registered_end_{0};  // no number from here on was ever in an epoll set
  std::uint32_t next_site_ = 0;
  std::uint32_t next_module_ = 0;
  std::uint32_t next_incident_ = 0;
  std::uint32_t incidents_reserved_ = 0;  // bytes
  std::uint32_t next_script_frame_ = 0;
  std::uint32_t script_reserved_ = 0;                              // bytes
  std::uint64_t site_pages_[kMaxSites / kSitesPerPage / 64] = {};  // reserved ones
  std::uint32_t module_reserved_ = 0;                              // bytes
  std::uint32_t index_[kIndexSize] = {};                           // SiteRef by hash
  std::uint32_t script_index_[2 * kMaxScriptFrames] = {};          // likewise, of script_frame()
};

}  // namespace loopscope::recording
