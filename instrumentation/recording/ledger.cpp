// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/ledger.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <bit>

#include "instrumentation/recording/own_calls.h"

namespace loopscope::recording {
namespace {

/// Only what is needed is written: the end of a longer text that was there before is never read.
template <unsigned Size>
void store_text(Text<Size>& to, const char* text, std::size_t size) noexcept {
  if (size > Size - 1) size = Size - 1;
  std::size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    unsigned long long word;
    memcpy(&word, text + at, 8);
    __atomic_store_n(reinterpret_cast<unsigned long long*>(to.raw + at), word, __ATOMIC_RELAXED);
  }
  // The rest, which may be nothing; mostly without calling memcpy.
  unsigned long long last = 0;
  if (std::endian::native == std::endian::little && at != 0 && size > at) {
    memcpy(&last, text + size - 8, 8);
    last >>= 8 * (8 - (size - at));
  } else if (size > at) {
    memcpy(&last, text + at, size - at);
  }
  __atomic_store_n(reinterpret_cast<unsigned long long*>(to.raw + at), last, __ATOMIC_RELAXED);
}

template <unsigned Size>
void clear_text(Text<Size>& to) noexcept {
  __atomic_store_n(reinterpret_cast<unsigned long long*>(to.raw), 0ull, __ATOMIC_RELAXED);
}

template <unsigned Size>
void store_bytes(Text<Size>& to, const void* bytes, std::size_t size) noexcept {
  char padded[Size] = {};
  memcpy(padded, bytes, size < Size ? size : Size);
  for (unsigned at = 0; at < Size; at += 8) {
    unsigned long long word;
    memcpy(&word, padded + at, 8);
    __atomic_store_n(reinterpret_cast<unsigned long long*>(to.raw + at), word, __ATOMIC_RELAXED);
  }
}

/// Any number of threads.
template <typename T>
void raise_to(Cell<T>& cell, T value) noexcept {
  T there = cell.load();
  while (value > there && !__atomic_compare_exchange_n(&cell.raw, &there, value, true,
                                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) noexcept {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15ull;
  return hash ^ (hash >> 29);
}

std::uint64_t mix_bytes(std::uint64_t hash, const char* bytes, std::size_t size) noexcept {
  for (; size >= 8; bytes += 8, size -= 8) {
    std::uint64_t word;
    memcpy(&word, bytes, 8);
    hash = mix(hash, word);
  }
  std::uint64_t last = 0;
  memcpy(&last, bytes, size);
  return mix(hash, last);
}

/// The build id of the ELF image mapped at `begin`, from its PT_NOTE segments.
std::size_t build_id_of(std::uintptr_t begin, std::uintptr_t end, std::uintptr_t bias,
                        unsigned char* to, std::size_t most) noexcept {
  const auto* header = reinterpret_cast<const ElfW(Ehdr)*>(begin);
  if (end - begin < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
      header->e_phentsize != sizeof(ElfW(Phdr)) ||
      header->e_phoff + header->e_phnum * sizeof(ElfW(Phdr)) > 4096) {
    return 0;
  }
  const auto* segments = reinterpret_cast<const ElfW(Phdr)*>(begin + header->e_phoff);
  for (unsigned i = 0; i < header->e_phnum; ++i) {
    if (segments[i].p_type != PT_NOTE) continue;
    std::uintptr_t at = bias + segments[i].p_vaddr;
    const std::uintptr_t note_end = at + segments[i].p_memsz;
    if (at < begin || note_end > end) continue;
    while (at + sizeof(ElfW(Nhdr)) <= note_end) {
      const auto* note = reinterpret_cast<const ElfW(Nhdr)*>(at);
      const std::uintptr_t name = at + sizeof *note;
      const std::uintptr_t content = name + (note->n_namesz + 3u) / 4 * 4;
      at = content + (note->n_descsz + 3u) / 4 * 4;
      if (at > note_end) break;
      if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
          memcmp(reinterpret_cast<const void*>(name), "GNU", 4) == 0) {
        const std::size_t size = note->n_descsz < most ? note->n_descsz : most;
        memcpy(to, reinterpret_cast<const void*>(content), size);
        return size;
      }
    }
  }
  return 0;
}

}  // namespace

void LedgerWriter::attach(ProcessRecorder& process) noexcept {
  process_ = &process;
  slots_ = 0;
  // Where nothing can be recorded the counters go nowhere: not to a forked child's parent.
  static Header nowhere;
  header_ = &nowhere;
  chunks_ = nowhere.fd_chunks;
  if (!process.active()) return;
  const Region& region = process.region();
  header_ = region.header();
  chunks_ = header_->fd_chunks;
  fds_ = region.fds();
  details_ = region.details();
  sites_ = region.sites();
  modules_ = region.modules();
  incidents_ = region.incidents();
  script_frames_ = region.script_frames();
  slots_ = static_cast<std::uint32_t>(header_->fd_slots);
  header_->has_ledger = kHasLedger | (process.forked() ? kForked : 0);
}

void LedgerWriter::forget() noexcept {
  next_site_ = 0;
  next_module_ = 0;
  module_reserved_ = 0;
  next_incident_ = 0;
  incidents_reserved_ = 0;
  registered_end_.store(0);
  memset(site_pages_, 0, sizeof site_pages_);
  memset(index_, 0, sizeof index_);
  if (next_script_frame_ != 0) memset(script_index_, 0, sizeof script_index_);
  next_script_frame_ = 0;
  script_reserved_ = 0;
}

FdSlot* LedgerWriter::reserve_slot(int fd) noexcept {
  const auto number = static_cast<std::uint32_t>(fd);
  if (process_ == nullptr || slots_ == 0 || fd < 0) return nullptr;
  if (number >= slots_) return nullptr;
  const int saved = errno;
  const std::uint32_t chunk = number / kFdsPerChunk;
  const Region& region = process_->region();
  const bool reserved =
      reserve(region, header_->fds_offset + std::uint64_t{chunk} * kFdsPerChunk * sizeof(FdSlot),
              kFdsPerChunk * sizeof(FdSlot)) &&
      reserve(region,
              header_->details_offset + std::uint64_t{chunk} * kFdsPerChunk * sizeof(FdDetail),
              kFdsPerChunk * sizeof(FdDetail));
  errno = saved;
  if (!reserved) return nullptr;
  __atomic_fetch_or(&header_->fd_chunks[chunk / 64].raw, 1ull << (chunk % 64), __ATOMIC_RELEASE);
  return fds_ + number;
}

void LedgerWriter::reserve_ahead() noexcept {
  for (int fd = 0; fd < 1024; fd += kFdsPerChunk) slot_for_writing(fd);
  constexpr std::uint32_t kPages = 16;
  const std::uint32_t first = __atomic_load_n(&next_site_, __ATOMIC_RELAXED) / kSitesPerPage;
  for (std::uint32_t page = first; page < first + kPages && page < kMaxSites / kSitesPerPage;
       ++page) {
    if (!reserve(process_->region(), header_->sites_offset + std::uint64_t{page} * 4096, 4096))
      return;
    __atomic_fetch_or(&site_pages_[page / 64], 1ull << (page % 64), __ATOMIC_RELEASE);
  }
  constexpr std::uint32_t kIncidents = kMaxIncidents * sizeof(Incident);
  if (reserve(process_->region(), header_->incidents_offset, kIncidents)) {
    __atomic_store_n(&incidents_reserved_, kIncidents, __ATOMIC_RELEASE);
  }
}

void LedgerWriter::opened(int fd, const Birth& birth) noexcept {
  FdSlot* slot = slot_for_writing(fd);
  if (slot == nullptr) {
    // Here alone, not with every use of it: one descriptor is one.
    if (process_ != nullptr && slots_ != 0 && fd >= 0) process_->drop(DropKind::kFds);
    return;
  }
  if (is_open(*slot)) {
    bump(header_->fd_lost);
    one_closed(*slot);
    note_death(fd, {});
    slot->generation.add(1);
  }
  FdDetail& detail = details_[fd];
  const std::uint32_t generation = slot->generation.load() + 1;
  // A reader that sees any of what follows sees that the one before is dead.
  __atomic_thread_fence(__ATOMIC_RELEASE);
  // First: a writer killed in here leaves nothing of the one before that could be taken for whole.
  detail.generation.store(generation);
  slot->facts.store(static_cast<std::uint32_t>(birth.kind) |
                    (static_cast<std::uint32_t>(birth.origin) << kFdOriginShift) | birth.flags);
  slot->registered_epoll_fd.store(0);
  slot->registered_events.store(0);
  slot->registered_data.store(0);
  slot->events.store(0);
  slot->activity_ns.store(0);
  slot->busy_ns.store(0);
  slot->io_calls.store(0);
  slot->site.store(birth.site);
  slot->turn.store(0);
  slot->turn_thread.store(0);
  detail.thread_id.store(birth.thread_id);
  detail.opened_ns.store(birth.now_ns);
  detail.pair_fd.store(birth.pair_fd + 1);
  detail.peer_closed_ms.store(0);
  // An address begins with its family: 0 is none.
  clear_text(detail.local);
  clear_text(detail.peer);
  set_target(fd, birth.target != nullptr ? birth.target : "", birth.target_size);
  slot->generation.store_release(generation);

  const auto kind = static_cast<std::size_t>(birth.kind);
  if (birth.origin == FdOrigin::kInherited) {
    bump(header_->fd_inherited);
  } else {
    bump(header_->fd_opened[kind]);
  }
  if (birth.site != 0) {
    Site& site = sites_[birth.site - 1];
    bump(site.opened);
    site.last_ns.store(birth.now_ns);
    // Other threads may close more between the two loads than there were.
    const std::uint64_t opened = site.opened.load();
    const std::uint64_t closed = site.closed.load();
    if (opened > closed) raise_to(site.peak, opened - closed);
  }
  std::int64_t open;
  if (__libc_single_threaded) {
    add_at_once(header_->fd_open, std::int64_t{1});
    open = header_->fd_open.load();
  } else {
    open = __atomic_add_fetch(&header_->fd_open.raw, 1, __ATOMIC_RELAXED);
  }
  raise_to(header_->fd_peak, open);
}

void LedgerWriter::one_closed(FdSlot& slot) noexcept {
  bump(header_->fd_closed[static_cast<std::size_t>(kind(slot)) % kKindSlots]);
  if (const SiteRef site = slot.site.load(); site != 0) bump(sites_[site - 1].closed);
  if (__libc_single_threaded) {
    add_at_once(header_->fd_open, std::int64_t{-1});
  } else {
    __atomic_fetch_sub(&header_->fd_open.raw, 1, __ATOMIC_RELAXED);
  }
}

void LedgerWriter::note_death(int fd, const Death& death) noexcept {
  FdDetail& detail = details_[fd];
  detail.close_site.store(death.site);
  detail.close_thread_id.store(death.thread_id);
  detail.closed_ns.store(death.now_ns);
}

bool LedgerWriter::closed(int fd, const Death& death) noexcept {
  FdSlot* there = slot(fd);
  if (there == nullptr) return false;
  std::uint32_t generation = there->generation.load();
  if ((generation & 1) == 0) return false;
  // Before it counts as closed: who finds it so may ask where. The next birth leaves this alone, as
  // events may come for the one before.
  if (death.now_ns != 0) note_death(fd, death);
  // Two threads may close one number at once; only one of them does.
  if (__libc_single_threaded) {
    there->generation.store_release(generation + 1);
  } else if (!__atomic_compare_exchange_n(&there->generation.raw, &generation, generation + 1,
                                          false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    return false;
  }
  one_closed(*there);
  return true;
}

void LedgerWriter::met(int fd, const Birth& birth) noexcept {
  Birth unseen = birth;
  unseen.origin = FdOrigin::kMet;
  if (slots_ != 0) bump(header_->fd_met);
  opened(fd, unseen);
}

void LedgerWriter::was_closed_unseen(int fd) noexcept {
  if (slots_ == 0) return;
  bump(header_->fd_lost);
  if (slot(fd) != nullptr) note_death(fd, {});
}

void LedgerWriter::closed_unseen_birth() noexcept {
  if (slots_ == 0) return;
  constexpr auto kOther = static_cast<std::size_t>(DescriptorKind::kOther);
  bump(header_->fd_met);
  bump(header_->fd_opened[kOther]);
  bump(header_->fd_closed[kOther]);
}

void LedgerWriter::closed_range(std::uint32_t first, std::uint32_t last, std::uint64_t before_ns,
                                const Death& death) noexcept {
  for (std::uint64_t number = first; number <= last && number < slots_; ++number) {
    const FdSlot* there = slot(static_cast<int>(number));
    if (there == nullptr) {
      number |= kFdsPerChunk - 1;  // nothing in this chunk
      continue;
    }
    if (is_open(*there) && details_[number].opened_ns.load() <= before_ns) {
      closed(static_cast<int>(number), death);
    }
  }
}

void LedgerWriter::flag_range(std::uint32_t first, std::uint32_t last,
                              std::uint32_t flags) noexcept {
  for (std::uint64_t number = first; number <= last && number < slots_; ++number) {
    FdSlot* there = slot(static_cast<int>(number));
    if (there == nullptr) {
      number |= kFdsPerChunk - 1;
    } else if (is_open(*there)) {
      there->facts.store(there->facts.load() | flags);
    }
  }
}

void LedgerWriter::unregister_all(int epoll_fd) noexcept {
  const std::uint32_t end = registered_end_.load();
  for (std::uint32_t number = 0; number < end; ++number) {
    FdSlot* there = slot(static_cast<int>(number));
    if (there == nullptr) {
      number |= kFdsPerChunk - 1;
    } else if (there->registered_epoll_fd.load() == epoll_fd + 1) {
      there->registered_epoll_fd.store(0);
      there->registered_events.store(0);
    }
  }
}

void LedgerWriter::set_flags(int fd, std::uint32_t set, std::uint32_t clear) noexcept {
  if (FdSlot* there = slot(fd)) there->facts.store((there->facts.load() & ~clear) | set);
}

void LedgerWriter::set_kind(int fd, DescriptorKind kind) noexcept {
  FdSlot* there = slot(fd);
  if (there == nullptr) return;
  const std::uint32_t before = there->facts.load();
  const auto inherited = static_cast<std::uint32_t>(FdOrigin::kInherited);
  // It will be counted as closed by what it is then.
  if (is_open(*there) && (before >> kFdOriginShift & 0xFF) != inherited) {
    bump(header_->fd_opened[(before & kFdKindMask) % kKindSlots], ~std::uint64_t{0});  // one less
    bump(header_->fd_opened[static_cast<std::size_t>(kind)]);
  }
  there->facts.store((before & ~std::uint32_t{kFdKindMask}) | static_cast<std::uint32_t>(kind));
}

void LedgerWriter::set_target(int fd, const char* text, std::size_t size) noexcept {
  if (slot(fd) == nullptr) return;
  // Of a path that is too long the end tells more.
  const std::size_t cut = size > kTargetBytes - 1 ? size - (kTargetBytes - 1) : 0;
  store_text(details_[fd].target, text + cut, size - cut);
}

void LedgerWriter::set_address(Text<32>& to, int fd, const void* address,
                               std::size_t size) noexcept {
  if (address == nullptr || size < sizeof(sa_family_t)) return;
  sa_family_t family = 0;
  memcpy(&family, address, sizeof family);
  if (family == AF_INET || family == AF_INET6) {
    store_bytes(to, address, size);
  } else if (family == AF_UNIX && size > offsetof(sockaddr_un, sun_path)) {
    char path[sizeof(sockaddr_un::sun_path)];
    std::size_t length = size - offsetof(sockaddr_un, sun_path);
    if (length > sizeof path) length = sizeof path;
    memcpy(path, static_cast<const char*>(address) + offsetof(sockaddr_un, sun_path), length);
    if (path[0] == '\0') path[0] = '@';  // abstract, as ss(8) and /proc/net/unix write it
    set_target(fd, path, strnlen(path, length));
  }
}

void LedgerWriter::set_local(int fd, const void* address, std::size_t size) noexcept {
  if (slot(fd) != nullptr) set_address(details_[fd].local, fd, address, size);
}
void LedgerWriter::set_peer(int fd, const void* address, std::size_t size) noexcept {
  if (slot(fd) != nullptr) set_address(details_[fd].peer, fd, address, size);
}

SiteRef LedgerWriter::site(DescriptorKind kind, const std::uintptr_t* frames, int count,
                           std::uint64_t now_ns, const ScriptStack* scripts,
                           SiteRole role) noexcept {
  if (slots_ == 0 || count == 0) return 0;
  if (count > static_cast<int>(kSiteFrames)) count = kSiteFrames;
  std::uint64_t hash = (static_cast<std::uint64_t>(kind) + 1) | static_cast<std::uint64_t>(role)
                                                                    << 32;
  for (int i = 0; i < count; ++i) hash = mix(hash, frames[i]);
  if (scripts != nullptr) {
    for (std::uint32_t i = 0; i < scripts->count; ++i) hash = mix(hash, scripts->lines[i]);
  }
  if (hash == 0) hash = 1;
  std::uint32_t at = static_cast<std::uint32_t>(hash >> 32) % kIndexSize;
  for (;;) {
    const SiteRef ref = __atomic_load_n(&index_[at], __ATOMIC_ACQUIRE);
    if (ref == 0) break;
    if (sites_[ref - 1].hash.load() == hash) return ref;
    at = (at + 1) % kIndexSize;
  }
  const SiteRef made = make_site(hash, kind, frames, count, now_ns, scripts, role);
  if (made == 0) return 0;
  // The index has twice as many places as there are sites: one is free.
  for (;;) {
    SiteRef there = 0;
    if (__atomic_compare_exchange_n(&index_[at], &there, made, false, __ATOMIC_RELEASE,
                                    __ATOMIC_ACQUIRE)) {
      return made;
    }
    if (sites_[there - 1].hash.load() == hash) {
      sites_[made - 1].hash.store(0);  // another thread was first: ours stays unused
      return there;
    }
    at = (at + 1) % kIndexSize;
  }
}

/// With all pages before it: whoever looks at the sites in memory looks at all of them, and on a
/// full file system a hole raises SIGBUS.
bool LedgerWriter::reserve_site_pages(std::uint32_t page) noexcept {
  const auto is_reserved = [&](std::uint32_t at) {
    return (__atomic_load_n(&site_pages_[at / 64], __ATOMIC_ACQUIRE) >> (at % 64) & 1) != 0;
  };
  if (is_reserved(page)) return true;
  std::uint32_t first = page;
  while (first > 0 && !is_reserved(first - 1)) --first;
  for (std::uint32_t at = first; at <= page; ++at) {
    if (!reserve(process_->region(), header_->sites_offset + std::uint64_t{at} * 4096, 4096)) {
      return false;
    }
    __atomic_fetch_or(&site_pages_[at / 64], 1ull << (at % 64), __ATOMIC_RELEASE);
  }
  return true;
}

SiteRef LedgerWriter::make_site(std::uint64_t hash, DescriptorKind kind,
                                const std::uintptr_t* frames, int count, std::uint64_t now_ns,
                                const ScriptStack* scripts, SiteRole role) noexcept {
  const int saved = errno;
  std::uint32_t index = __atomic_load_n(&next_site_, __ATOMIC_RELAXED);
  do {
    if (index >= kMaxSites) {
      process_->drop(DropKind::kSites);
      return 0;
    }
  } while (!__atomic_compare_exchange_n(&next_site_, &index, index + 1, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
  if (!reserve_site_pages(index / kSitesPerPage)) {
    errno = saved;
    process_->drop(DropKind::kSites);
    return 0;
  }
  Site& site = sites_[index];
  site.kind.store(static_cast<std::uint32_t>(kind));
  site.role.store(static_cast<std::uint32_t>(role));
  site.frame_count.store(static_cast<std::uint32_t>(count));
  site.first_ns.store(now_ns);
  for (int i = 0; i < count; ++i) {
    site.frames[i].store(frames[i]);
    site.modules[i].store(module_of(frames[i]));
  }
  if (scripts != nullptr) {
    for (std::uint32_t i = 0; i < scripts->count; ++i) site.scripts[i].store(scripts->lines[i]);
    site.script_count.store(scripts->count);
  }
  site.hash.store_release(hash);
  std::uint32_t published = header_->site_count.load();
  while (published < index + 1 &&
         !__atomic_compare_exchange_n(&header_->site_count.raw, &published, index + 1, false,
                                      __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
  }
  errno = saved;
  return index + 1;
}

std::uint32_t LedgerWriter::script_frame(const ScriptLine& line) noexcept {
  if (slots_ == 0) return 0;
  std::uint64_t hash = mix(line.line, line.function_size);
  hash = mix_bytes(hash, line.function, line.function_size);
  hash = mix_bytes(hash, line.file, line.file_size);
  if (hash == 0) hash = 1;
  constexpr std::uint32_t kPlaces = 2 * kMaxScriptFrames;
  std::uint32_t at = static_cast<std::uint32_t>(hash >> 32) % kPlaces;
  for (;;) {
    const std::uint32_t ref = __atomic_load_n(&script_index_[at], __ATOMIC_ACQUIRE);
    if (ref == 0) break;
    if (script_frames_[ref - 1].hash.load() == hash) return ref;
    at = (at + 1) % kPlaces;
  }
  const std::uint32_t made = make_script_frame(hash, line);
  if (made == 0) return 0;
  // As with sites.
  for (;;) {
    std::uint32_t there = 0;
    if (__atomic_compare_exchange_n(&script_index_[at], &there, made, false, __ATOMIC_RELEASE,
                                    __ATOMIC_ACQUIRE)) {
      return made;
    }
    if (script_frames_[there - 1].hash.load() == hash) return there;
    at = (at + 1) % kPlaces;
  }
}

std::uint32_t LedgerWriter::make_script_frame(std::uint64_t hash, const ScriptLine& line) noexcept {
  const std::uint32_t index =
      __atomic_load_n(&next_script_frame_, __ATOMIC_RELAXED) < kMaxScriptFrames
          ? __atomic_fetch_add(&next_script_frame_, 1, __ATOMIC_RELAXED)
          : kMaxScriptFrames;
  if (index >= kMaxScriptFrames) {
    process_->drop(DropKind::kSites);
    return 0;
  }
  const std::uint32_t wanted = (index + 1) * sizeof(ScriptFrameEntry);
  if (__atomic_load_n(&script_reserved_, __ATOMIC_ACQUIRE) < wanted) {
    const std::uint32_t size = (wanted + 4095) / 4096 * 4096;
    const int saved = errno;
    const bool reserved = reserve(process_->region(), header_->script_frames_offset, size);
    errno = saved;
    if (!reserved) {
      process_->drop(DropKind::kSites);
      return 0;
    }
    __atomic_store_n(&script_reserved_, size, __ATOMIC_RELEASE);
  }
  ScriptFrameEntry& entry = script_frames_[index];
  entry.line.store(line.line);
  store_text(entry.function, line.function, line.function_size);
  // Of a path that is too long the end tells more.
  constexpr std::size_t kMost = sizeof entry.file.raw - 1;
  const std::size_t cut = line.file_size > kMost ? line.file_size - kMost : 0;
  store_text(entry.file, line.file + cut, line.file_size - cut);
  entry.hash.store_release(hash);
  std::uint32_t published = header_->script_frame_count.load();
  while (published < index + 1 &&
         !__atomic_compare_exchange_n(&header_->script_frame_count.raw, &published, index + 1,
                                      false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
  }
  return index + 1;
}

void LedgerWriter::told_scripts(int fd, const ScriptStack& scripts, std::uint64_t now_ns) noexcept {
  FdSlot* there = slot(fd);
  if (there == nullptr || !is_open(*there) || scripts.count == 0) return;
  const SiteRef before = there->site.load();
  if (before == 0) return;
  Site& old = sites_[before - 1];
  std::uintptr_t frames[kSiteFrames];
  const auto most = static_cast<int>(old.frame_count.load());
  int count = 0;
  // Generated code moves about: of its frames the lines tell more, and always the same.
  for (; count < most && (count == 0 || old.modules[count].load() != 0); ++count) {
    frames[count] = old.frames[count].load();
  }
  const SiteRef after =
      site(static_cast<DescriptorKind>(old.kind.load()), frames, count, now_ns, &scripts);
  if (after == 0 || after == before) return;
  there->site.store(after);
  bump(old.opened, ~std::uint64_t{0});  // one less
  Site& its = sites_[after - 1];
  bump(its.opened);
  its.last_ns.store(now_ns);
  const std::uint64_t opened = its.opened.load();
  const std::uint64_t closed = its.closed.load();
  if (opened > closed) raise_to(its.peak, opened - closed);
}

Incident* LedgerWriter::find_incident(std::uint64_t hash) const noexcept {
  const std::uint32_t count = header_->incident_count.load_acquire();
  for (std::uint32_t i = 0; i < count; ++i) {
    if (incidents_[i].hash.load_acquire() == hash) return &incidents_[i];
  }
  return nullptr;
}

Incident* LedgerWriter::make_incident() noexcept {
  std::uint32_t index = __atomic_load_n(&next_incident_, __ATOMIC_RELAXED);
  do {
    if (index >= kMaxIncidents) return nullptr;
  } while (!__atomic_compare_exchange_n(&next_incident_, &index, index + 1, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
  const std::uint32_t wanted = (index + 1) * sizeof(Incident);
  if (__atomic_load_n(&incidents_reserved_, __ATOMIC_ACQUIRE) < wanted) {
    const std::uint32_t size = (wanted + 4095) / 4096 * 4096;
    const int saved = errno;
    const bool reserved = reserve(process_->region(), header_->incidents_offset, size);
    errno = saved;
    if (!reserved) return nullptr;
    __atomic_store_n(&incidents_reserved_, size, __ATOMIC_RELEASE);
  }
  return &incidents_[index];
}

Incident* LedgerWriter::incident(const Mishap& mishap) noexcept {
  if (slots_ == 0) return nullptr;
  // What the number was before.
  SiteRef open_site = 0;
  SiteRef close_site = 0;
  std::uint64_t opened_ns = 0;
  std::uint64_t closed_ns = 0;
  std::int32_t close_thread_id = 0;
  DescriptorKind its_kind = DescriptorKind::kOther;
  const FdSlot* there = slot(mishap.fd);
  const bool was_open = mishap.kind != IncidentKind::kCloseNeverOpened &&
                        mishap.kind != IncidentKind::kUseNeverOpened;
  if (there != nullptr && was_open) {
    const FdDetail& detail = details_[mishap.fd];
    const std::uint32_t last = detail.generation.load();
    const std::uint32_t its = mishap.generation != 0 ? mishap.generation : last;
    if (last == its) {
      open_site = there->site.load();
      opened_ns = detail.opened_ns.load();
      its_kind = kind(*there);
    }
    // Its close, unless another one was closed since.
    const std::uint32_t deaths_since = (there->generation.load() - its + 1) / 2;
    if (deaths_since == 1) {
      close_site = detail.close_site.load();
      closed_ns = detail.closed_ns.load();
      close_thread_id = detail.close_thread_id.load();
    }
  }

  std::uint64_t hash = mix(static_cast<std::uint64_t>(mishap.kind), mishap.site);
  hash = mix(mix(hash, close_site), open_site);
  if (hash == 0) hash = 1;
  Incident* incident = find_incident(hash);
  if (incident == nullptr) {
    // Two threads may make one incident twice; that does no harm.
    incident = make_incident();
    if (incident == nullptr) {
      process_->drop(DropKind::kIncidents);
      return nullptr;
    }
    incident->kind.store(static_cast<std::uint32_t>(mishap.kind));
    incident->descriptor_kind.store(static_cast<std::uint32_t>(its_kind));
    incident->site.store(mishap.site);
    incident->close_site.store(close_site);
    incident->open_site.store(open_site);
    incident->thread_id.store(mishap.thread_id);
    incident->first_ns.store(mishap.now_ns);
    incident->opened_ns.store(opened_ns);
    incident->closed_ns.store(closed_ns);
    incident->close_thread_id.store(close_thread_id);
    incident->fd.store(mishap.fd);
    store_text(incident->call, mishap.call, strlen(mishap.call));
    incident->hash.store_release(hash);
    const auto made = static_cast<std::uint32_t>(incident - incidents_) + 1;
    std::uint32_t published = header_->incident_count.load();
    while (published < made &&
           !__atomic_compare_exchange_n(&header_->incident_count.raw, &published, made, false,
                                        __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
  }
  again(*incident, mishap.fd, mishap.now_ns, mishap.consecutive);
  return incident;
}

std::uint16_t LedgerWriter::module_of(std::uintptr_t address) noexcept {
  dl_find_object found{};
  if (_dl_find_object(reinterpret_cast<void*>(address - 1), &found) != 0) return 0;
  const auto begin = reinterpret_cast<std::uintptr_t>(found.dlfo_map_start);
  const auto end = reinterpret_cast<std::uintptr_t>(found.dlfo_map_end);
  const std::uintptr_t bias = found.dlfo_link_map->l_addr;
  const char* name = found.dlfo_link_map->l_name;
  const bool executable = name == nullptr || name[0] == '\0';
  const std::uint32_t known = header_->module_count.load_acquire();
  for (std::uint32_t i = 0; i < known; ++i) {
    const Module& module = modules_[i];
    if (module.begin.load() != begin || module.end.load() != end || module.bias.load() != bias) {
      continue;
    }
    // There is one executable, and it stays; a library may lie where another one was.
    if (executable ? (module.flags.load() & kModuleExecutable) != 0
                   : strncmp(module.path.raw, name, sizeof module.path.raw - 1) == 0) {
      return static_cast<std::uint16_t>(i + 1);
    }
  }
  char exe[sizeof(Module::path)];
  if (executable) {
    const ssize_t size = read_own_link("/proc/self/exe", exe, sizeof exe - 1);
    exe[size > 0 ? size : 0] = '\0';
    name = exe;
  }
  const std::size_t name_size = strlen(name);
  // Two threads may add one module twice; that does no harm.
  const std::uint32_t index = __atomic_fetch_add(&next_module_, 1, __ATOMIC_RELAXED);
  if (index >= kMaxModules) {
    process_->drop(DropKind::kModules);
    return 0;
  }
  const std::uint32_t wanted = (index + 1) * sizeof(Module);
  if (__atomic_load_n(&module_reserved_, __ATOMIC_ACQUIRE) < wanted) {
    const std::uint32_t size = (wanted + 4095) / 4096 * 4096;
    if (!reserve(process_->region(), header_->modules_offset, size)) {
      process_->drop(DropKind::kModules);
      return 0;
    }
    __atomic_store_n(&module_reserved_, size, __ATOMIC_RELEASE);
  }
  Module& module = modules_[index];
  module.begin.store(begin);
  module.end.store(end);
  module.bias.store(bias);
  unsigned char id[31];
  const std::size_t id_size = build_id_of(begin, end, bias, id, sizeof id);
  store_bytes(module.build_id, id, id_size);
  module.build_id_bytes.store(static_cast<std::uint32_t>(id_size));
  module.flags.store((name_size > sizeof module.path.raw - 1 ? kModulePathTruncated : 0) |
                     (executable ? kModuleExecutable : 0));
  store_text(module.path, name, name_size);
  std::uint32_t published = known;
  while (published < index + 1 &&
         !__atomic_compare_exchange_n(&header_->module_count.raw, &published, index + 1, false,
                                      __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
  }
  return static_cast<std::uint16_t>(index + 1);
}

}  // namespace loopscope::recording
