// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/probe/registrations.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "instrumentation/recording/own_calls.h"

namespace loopscope::probe {
namespace {

/// `where` is 0 while the place is free, 1 while it is being written; else both descriptors (20
/// bits each), a bit that is always set, one that says whether other descriptors have the same data
/// in that set, and the low bits of the registered descriptor's generation, so that entries of
/// descriptors that are gone can be left out when the table grows.
struct Entry {
  std::uint64_t data;
  std::uint64_t where;
};

struct Table {
  std::uint64_t capacity;  // a power of two
  Entry entries[1];
};

constexpr std::uint64_t kBeingWritten = 1;
constexpr std::uint64_t kUsed = 2;
constexpr std::uint64_t kShared = 4;
constexpr std::uint64_t kFirstCapacity = 256;
constexpr std::uint64_t kLargestCapacity = 1ull << 22;  // more than there are descriptor numbers

Table* g_table = nullptr;
/// The one before: somebody may still be reading it, so it is never unmapped; it is used again when
/// the table is next cleaned up, by when that reader has long gone on (and if it has not, it misses
/// an entry).
Table* g_spare = nullptr;
std::uint64_t g_entries = 0;
std::uint32_t g_lock = 0;
std::uint32_t g_any = 0;  // whether some registration does not name its descriptor itself
bool g_incomplete = false;

std::uint64_t pack(int epoll_fd, int fd, std::uint32_t generation) noexcept {
  return (static_cast<std::uint64_t>(epoll_fd) & 0xFFFFF) << 44 |
         (static_cast<std::uint64_t>(fd) & 0xFFFFF) << 24 |
         (static_cast<std::uint64_t>(generation) & 0xFFFFF) << 4 | kUsed;
}
int epoll_of(std::uint64_t where) noexcept { return static_cast<int>(where >> 44); }
int fd_of(std::uint64_t where) noexcept { return static_cast<int>(where >> 24 & 0xFFFFF); }
std::uint32_t generation_of(std::uint64_t where) noexcept { return where >> 4 & 0xFFFFF; }

std::uint64_t place(std::uint64_t data, int epoll_fd, std::uint64_t capacity) noexcept {
  const std::uint64_t hash =
      (data ^ (static_cast<std::uint64_t>(epoll_fd) << 48)) * 0x9E3779B97F4A7C15ull;
  return (hash >> 20) & (capacity - 1);
}

/// Where (epoll descriptor, data) is in the table; null if it is not.
[[gnu::always_inline]] inline const Entry* look_up(int epoll_fd, std::uint64_t data) noexcept {
  if (__atomic_load_n(&g_any, __ATOMIC_ACQUIRE) == 0) return nullptr;
  const Table& table = *__atomic_load_n(&g_table, __ATOMIC_ACQUIRE);
  std::uint64_t at = place(data, epoll_fd, table.capacity);
  for (std::uint64_t looked = 0; looked < table.capacity; ++looked) {
    const Entry& entry = table.entries[at];
    const std::uint64_t where = __atomic_load_n(&entry.where, __ATOMIC_ACQUIRE);
    if (where == 0) break;
    if (where != kBeingWritten && __atomic_load_n(&entry.data, __ATOMIC_ACQUIRE) == data &&
        epoll_of(where) == (epoll_fd & 0xFFFFF)) {
      return &entry;
    }
    at = (at + 1) & (table.capacity - 1);
  }
  return nullptr;
}

std::uint32_t generation(int fd) noexcept {
  const FdSlot* slot = g_ledger.slot(fd);
  return slot != nullptr ? slot->generation.load() & 0xFFFFF : 0;
}

/// Whether events may still come with it: its descriptor is the same, and has not been given other
/// data in that epoll set since (EPOLL_CTL_MOD).
bool is_alive(const Entry& entry) noexcept {
  if (entry.where <= kBeingWritten) return false;
  const FdSlot* slot = g_ledger.slot(fd_of(entry.where));
  if (slot == nullptr || (slot->generation.load() & 0xFFFFF) != generation_of(entry.where)) {
    return false;
  }
  return slot->registered_data.load() == entry.data ||
         slot->registered_epoll_fd.load() != epoll_of(entry.where) + 1;
}

/// Whether the descriptor of that number waits in the set with that data.
bool waits_with(int fd, int epoll_fd, std::uint64_t data) noexcept {
  const FdSlot* slot = g_ledger.slot(fd);
  return slot != nullptr && LedgerWriter::is_open(*slot) &&
         slot->registered_epoll_fd.load() == epoll_fd + 1 && slot->registered_data.load() == data;
}

/// With the lock held. True if a new place was taken.
bool put(Table& table, std::uint64_t data, std::uint64_t where) noexcept {
  for (std::uint64_t at = place(data, epoll_of(where), table.capacity);;
       at = (at + 1) & (table.capacity - 1)) {
    Entry& entry = table.entries[at];
    const std::uint64_t there = __atomic_load_n(&entry.where, __ATOMIC_RELAXED);
    if (there == 0) {
      __atomic_store_n(&entry.where, kBeingWritten, __ATOMIC_RELAXED);
      __atomic_store_n(&entry.data, data, __ATOMIC_RELEASE);
      __atomic_store_n(&entry.where, where, __ATOMIC_RELEASE);
      return true;
    }
    if (entry.data == data && epoll_of(there) == epoll_of(where)) {
      // Once events with that data may be of either, they stay so: one may leave unseen.
      const bool another =
          fd_of(there) != fd_of(where) && waits_with(fd_of(there), epoll_of(where), data);
      where |= (there & kShared) | (another ? kShared : 0);
      __atomic_store_n(&entry.where, where, __ATOMIC_RELEASE);
      return false;
    }
  }
}

Table* make_table(std::uint64_t capacity) noexcept {
  if (g_probe.sealed) return nullptr;
  const int saved = errno;
  void* memory = mmap(nullptr, sizeof(Table) + capacity * sizeof(Entry), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) recording::own_call_failed(recording::OwnCall::kMmap, errno);
  errno = saved;
  if (memory == MAP_FAILED) return nullptr;
  auto* table = static_cast<Table*>(memory);
  table->capacity = capacity;
  return table;
}

/// With the lock held: room for one more, or false.
bool make_room() noexcept {
  Table* table = g_table;
  if (table != nullptr && g_entries * 3 < table->capacity * 2) return true;
  std::uint64_t alive = 0;
  if (table != nullptr) {
    for (std::uint64_t i = 0; i < table->capacity; ++i) {
      alive += is_alive(table->entries[i]);
    }
  }
  std::uint64_t capacity = table != nullptr ? table->capacity : kFirstCapacity;
  // Most entries of a table that filled up may be of descriptors that are gone.
  if (table != nullptr && alive * 3 > capacity) capacity *= 2;
  if (capacity > kLargestCapacity) return false;
  Table* grown = g_spare;
  if (grown != nullptr && grown->capacity == capacity) {
    memset(grown->entries, 0, capacity * sizeof(Entry));
  } else {
    grown = make_table(capacity);
  }
  if (grown == nullptr) return table != nullptr && g_entries + 1 < table->capacity;
  g_spare = table;
  g_entries = 0;
  if (table != nullptr) {
    for (std::uint64_t i = 0; i < table->capacity; ++i) {
      const Entry& entry = table->entries[i];
      if (is_alive(entry)) g_entries += put(*grown, entry.data, entry.where);
    }
  }
  __atomic_store_n(&g_table, grown, __ATOMIC_RELEASE);
  return true;
}

/// False if the lock is not to be had. Nobody holds it for long, but a handler may have jumped out
/// of its holder (siglongjmp), or a cancellation ended it, and the program must not wait for that.
bool lock() noexcept {
  constexpr int kYields = 1000;
  static std::uint32_t last_ticket = 0;
  static std::uint32_t lost = 0;  // the ticket of a holder that was waited for in vain
  std::uint32_t ticket = __atomic_add_fetch(&last_ticket, 1, __ATOMIC_RELAXED);
  if (ticket == 0) ticket = __atomic_add_fetch(&last_ticket, 1, __ATOMIC_RELAXED);
  for (int yields = 0;; ++yields) {
    std::uint32_t holder = 0;
    if (__atomic_compare_exchange_n(&g_lock, &holder, ticket, false, __ATOMIC_ACQUIRE,
                                    __ATOMIC_RELAXED)) {
      return true;
    }
    if (holder == __atomic_load_n(&lost, __ATOMIC_RELAXED)) return false;
    if (yields == kYields) {
      __atomic_store_n(&lost, holder, __ATOMIC_RELAXED);
      return false;
    }
    // A sealed process may be killed for the call.
    if (!g_probe.sealed) sched_yield();
  }
}

}  // namespace

void note_registration(Thread& thread, int epoll_fd, int fd, std::uint64_t data) noexcept {
  // Unless another descriptor had that data: an index of a table of the program's may well be equal
  // to the number of one descriptor, but not of the next.
  if (static_cast<std::uint32_t>(data) == static_cast<std::uint32_t>(fd) &&
      look_up(epoll_fd, data) == nullptr) {
    return;
  }
  // Not by a handler that interrupted us here: it would wait for us.
  bool noted = false;
  if (!thread.registering) {
    thread.registering = true;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (lock()) {
      if (make_room()) {
        const auto named = static_cast<std::int32_t>(data);
        const bool another = named != fd && waits_with(named, epoll_fd, data);
        const std::uint64_t where = pack(epoll_fd, fd, generation(fd)) | (another ? kShared : 0);
        g_entries += put(*g_table, data, where);
        __atomic_store_n(&g_any, 1u, __ATOMIC_RELEASE);
        noted = true;
      }
      __atomic_store_n(&g_lock, 0u, __ATOMIC_RELEASE);
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    thread.registering = false;
  }
  if (!noted) {
    g_incomplete = true;
    g_probe.process->drop(recording::DropKind::kEvents);
  }
}

bool registrations_complete() noexcept { return !g_incomplete; }

Registration find_registration(int epoll_fd, std::uint64_t data) noexcept {
  if (const Entry* entry = look_up(epoll_fd, data)) {
    const std::uint64_t where = __atomic_load_n(&entry->where, __ATOMIC_RELAXED);
    return {fd_of(where), true, (where & kShared) != 0, generation_of(where)};
  }
  // A pointer's low half is hardly ever the number of an open descriptor; data that never met the
  // table is a descriptor.
  const auto fd = static_cast<std::int32_t>(data);
  const FdSlot* slot = g_ledger.slot(fd);
  const bool named = slot != nullptr && static_cast<std::uint32_t>(slot->registered_data.load()) ==
                                            static_cast<std::uint32_t>(fd);
  return {named ? fd : -1, false, false, 0};
}

void registrations_forked() noexcept {
  g_lock = 0;
  if (g_table == nullptr) return;
  // The child's ledger counts generations from the start.
  for (std::uint64_t i = 0; i < g_table->capacity; ++i) {
    Entry& entry = g_table->entries[i];
    if (entry.where > kBeingWritten) {
      const int fd = fd_of(entry.where);
      entry.where = pack(epoll_of(entry.where), fd, generation(fd)) | (entry.where & kShared);
    }
  }
}

}  // namespace loopscope::probe
