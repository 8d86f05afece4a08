// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/process_recorder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <new>

#include "instrumentation/recording/own_calls.h"
#include "instrumentation/recording/probe_link.h"
#include "instrumentation/recording/spin_lock.h"

namespace loopscope::recording {
namespace {

ProcessRecorder* g_process = nullptr;

}  // namespace

ProcessRecorder& ProcessRecorder::instance(const RegionSettings& settings) noexcept {
  static std::uint32_t lock = 0;
  alignas(ProcessRecorder) static unsigned char storage[sizeof(ProcessRecorder)];
  ProcessRecorder* made = existing();
  if (made != nullptr) return *made;
  const SpinLock guard(lock, getpid());
  made = existing();
  if (made == nullptr) {
    // Never destroyed: loops may be running while static destructors run.
    made = ::new (static_cast<void*>(storage)) ProcessRecorder;
    made->start(settings);
    __atomic_store_n(&g_process, made, __ATOMIC_RELEASE);
  }
  return *made;
}

ProcessRecorder* ProcessRecorder::existing() noexcept {
  return __atomic_load_n(&g_process, __ATOMIC_ACQUIRE);
}

void ProcessRecorder::start(const RegionSettings& settings) noexcept {
  const int saved = errno;
  settings_ = settings;
  // Asked once: what this says is also of forked children, whatever happens to the environment.
  const char* const argv = secure_getenv("LOOPSCOPE_ARGV");
  settings_.name_only = argv != nullptr && strcmp(argv, "off") == 0;
  if (!settings.clock_known) settings_.clock = choose_clock();
  if (sentinel_.arm()) make_region();
  settings_.arguments = nullptr;  // a forked child may call itself something else by then
  errno = saved;
}

void ProcessRecorder::make_region() noexcept {
  // Under a probe there is a recording already.
  const ProbeLink* probe = find_probe();
  const bool made =
      (probe != nullptr && probe->share(&region_)) || create_region(region_, settings_);
  if (made && region_.path[0] != '\0') {
    nearest_in_file_ = region_.header();
  } else if (nearest_in_file_ != nullptr) {
    return tell_ancestor();  // what is in a child's own memory is read by nobody
  }
  if (made) adopt_own_failures(*region_.header());
}

void ProcessRecorder::tell_ancestor() noexcept {
  if (nearest_in_file_ != nullptr) adopt_own_failures(*nearest_in_file_);
}

std::uint32_t ProcessRecorder::settle_fork() noexcept {
  std::uint32_t generation = sentinel_.value();
  if (generation != 0 && generation != ~0u) return generation;
  if (sentinel_.claim()) {
    const int saved = errno;
    forked_ = true;
    // The parent's mapping stays where it is: loops still copy their names out of it (and it is
    // never written to).
    make_region();
    sentinel_.settle(++generation_);
    errno = saved;
  }
  return sentinel_.value();
}

void ProcessRecorder::seal() noexcept {
  if (!active() || region_.sealed) return;
  constexpr std::uint64_t kAhead = 1 << 20;
  const std::uint64_t begin = region_.header()->heap_offset + region_.header()->heap_used.load();
  const std::uint64_t room = region_.bytes - begin;
  const std::uint64_t size = kAhead < room ? kAhead : room;
  if (reserve(region_, begin, size)) region_.prepared_end = begin + size;
  region_.sealed = true;
}

void ProcessRecorder::drop(DropKind kind) noexcept {
  if (!active()) return;
  __atomic_fetch_add(&region_.header()->dropped[static_cast<std::size_t>(kind)].raw, 1,
                     __ATOMIC_RELAXED);
}

void ProcessRecorder::register_fd(int fd, int epoll_fd, std::uint32_t events) noexcept {
  // A forked child that uses some epoll set of its own gets no recording for that; one that goes on
  // with a recorded loop has settled before it registers anything.
  if (!active() || !settled() || fd < 0) return;
  const auto number = static_cast<std::uint32_t>(fd);
  if (number >= region_.header()->fd_slots) return drop(DropKind::kFds);
  const std::uint32_t chunk = number / kFdsPerChunk;
  const std::uint64_t bit = 1ull << (chunk % 64);
  Cell<std::uint64_t>& chunks = region_.header()->fd_chunks[chunk / 64];
  if ((chunks.load_acquire() & bit) == 0) {
    const int saved = errno;
    const std::uint64_t size = kFdsPerChunk * sizeof(FdSlot);
    bool reserved = reserve(region_, region_.header()->fds_offset + chunk * size, size);
    // A chunk is reserved with all that belongs to it: the recording may be shared with a probe.
    if (reserved && region_.header()->has_ledger != 0) {
      const std::uint64_t details = kFdsPerChunk * sizeof(FdDetail);
      reserved = reserve(region_, region_.header()->details_offset + chunk * details, details);
    }
    errno = saved;
    if (!reserved) return drop(DropKind::kFds);
    __atomic_fetch_or(&chunks.raw, bit, __ATOMIC_RELEASE);
  }
  FdSlot& slot = region_.fds()[number];
  slot.registered_events.store(events);
  slot.registered_epoll_fd.store(epoll_fd + 1);
}

void ProcessRecorder::unregister_fd(int fd, int epoll_fd) noexcept {
  if (!active() || !settled() || fd < 0) return;
  const auto number = static_cast<std::uint32_t>(fd);
  if (number >= region_.header()->fd_slots) return;
  const std::uint32_t chunk = number / kFdsPerChunk;
  if ((region_.header()->fd_chunks[chunk / 64].load_acquire() >> (chunk % 64) & 1) == 0) return;
  FdSlot& slot = region_.fds()[number];
  if (slot.registered_epoll_fd.load() != epoll_fd + 1) return;
  slot.registered_events.store(0);
  slot.registered_epoll_fd.store(0);
}

void ProcessRecorder::ended(int status, bool status_known) noexcept {
  // A forked child that recorded nothing gets no recording just for its end.
  if (!active() || !settled()) return;
  Header& header = *region_.header();
  header.exit_status.store(status);
  header.exit_status_known.store(status_known ? 1 : 0);
  header.ended_realtime_ns.store(realtime_ns());
  header.state.store_release(static_cast<std::uint32_t>(ProcessState::kExited));
}

void ProcessRecorder::reaped(std::int32_t pid, int status) noexcept {
  if (!active() || !settled()) return;
  Header& header = *region_.header();
  const std::uint64_t at = __atomic_fetch_add(&header.reaped_count.raw, 1, __ATOMIC_RELAXED);
  header.reaped[at % kReaped].store(static_cast<std::uint64_t>(static_cast<std::uint32_t>(pid))
                                        << 32 |
                                    static_cast<std::uint32_t>(status));
}

void ProcessRecorder::still_running() noexcept {
  if (!active() || !settled()) return;
  Header& header = *region_.header();
  header.exit_status_known.store(0);
  header.ended_realtime_ns.store(0);
  header.state.store_release(static_cast<std::uint32_t>(ProcessState::kRunning));
}

void ProcessRecorder::executing(bool yes) noexcept {
  if (!active() || !settled()) return;
  Header& header = *region_.header();
  header.ended_realtime_ns.store(yes ? realtime_ns() : 0);
  header.state.store_release(
      static_cast<std::uint32_t>(yes ? ProcessState::kExecuted : ProcessState::kRunning));
}

}  // namespace loopscope::recording
