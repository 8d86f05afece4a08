// SPDX-License-Identifier: Apache-2.0
//
// The loops of this process: which wait call belongs to which, and what a turn tells about the
// descriptors that were ready in it.
//
//   epoll       one loop per (epoll descriptor, thread)
//   poll ...    one per (call site, thread), from its third blocking call on, and only in a thread
//               that has no epoll loop; the earlier calls are recorded then as well
//
// A wait by poll or select on nothing but an epoll descriptor, followed by epoll_wait with timeout
// 0, is one wait of that epoll loop (EventMachine waits so).
//
// Thread-safety: a loop belongs to the thread that waits on it; close_epoll() may be called by any.
#pragma once

#include <errno.h>

#include "instrumentation/probe/probe.h"
#include "instrumentation/recording/loop_recorder.h"

namespace loopscope::probe {

struct Loop {
  enum State : std::uint32_t { kFree = 0, kInUse = 1, kClosed = 2 };
  std::uint32_t state;
  std::int32_t epoll_fd;  // -1: poll or select
  std::uint32_t epoll_generation;
  Loop* next_of_thread;
  Loop* next;                    // of all
  std::uint64_t closed_ns;       // when its descriptor was, CLOCK_MONOTONIC
  std::uint64_t deadline_ns;     // the loop promised itself to look at its timers then; 0: none
  bool waits_outside;            // a poll on the epoll descriptor has begun the wait
  std::int64_t outside_timeout;  // of that poll
  alignas(16) unsigned char storage[sizeof(recording::LoopRecorder)];

  recording::LoopRecorder& recorder() noexcept {
    return *reinterpret_cast<recording::LoopRecorder*>(storage);
  }
};

/// The loop that this thread runs on `epoll_fd`; made if need be. Null if there is no room.
Loop* find_epoll_loop(Thread& thread, int epoll_fd) noexcept;

inline Loop* epoll_loop(Thread& thread, int epoll_fd) noexcept {
  // A descriptor that was closed, or given out anew, has ended its loops (close_epoll): the ledger,
  // and with it three more cache lines, need not be asked.
  Loop* last = thread.last_loop;
  if (last != nullptr && last->epoll_fd == epoll_fd && last->state == Loop::kInUse) [[likely]]
    return last;
  return find_epoll_loop(thread, epoll_fd);
}

/// The loop that waits here, if this call site is known to be one.
Loop* site_loop(Thread& thread, const void* caller) noexcept;
/// A wait at a site that is not (yet) a loop, just after it returned: remembered, and the site
/// becomes one with the third that could block.
void note_wait(Thread& thread, const void* caller, const char* backend, std::uint64_t began_ns,
               int returned, std::int64_t timeout_ns) noexcept;

inline bool has_epoll_loop(const Thread& thread) noexcept {
  for (const Loop* loop = thread.loops; loop != nullptr; loop = loop->next_of_thread) {
    if (loop->epoll_fd >= 0 && __atomic_load_n(&loop->state, __ATOMIC_RELAXED) == Loop::kInUse) {
      return true;
    }
  }
  return false;
}

void begin_wait(Thread& thread, Loop& loop, std::int64_t timeout_ns) noexcept;
/// `returned` and errno as the call left them; `most`: how many it may return, 0: no bound.
void end_wait(Thread& thread, Loop& loop, int returned, std::int64_t timeout_ns, int most) noexcept;
/// A wait that began outside (waits_outside) and was cut short.
void end_interrupted_wait(Thread& thread, Loop& loop) noexcept;
/// The descriptors that were ready; after end_wait(). True if one of them seems to have been closed
/// before: events_after_close() has a closer look.
bool served(Thread& thread, Loop& loop, const struct epoll_event* events, int count) noexcept;

/// A descriptor is used in a turn.
void switch_served(Thread& thread, FdSlot& slot) noexcept;
/// The one that is being served is about to be closed.
void stop_serving(Thread& thread) noexcept;

/// The epoll descriptor is closed: its loops end.
void close_epoll(int epoll_fd) noexcept;
/// The library in this program records it: its loops are taken back.
void withdraw_epoll(int epoll_fd) noexcept;
/// Closes as close_epoll() does for every one in [first, last].
void close_epolls(unsigned first, unsigned last) noexcept;
/// After close_epoll(): a turn of this thread whose loop that ended is over.
void leave_closed(Thread& thread) noexcept;
/// Makes some that are free, for a process that is about to be sealed.
void reserve_loops() noexcept;
/// This thread ends.
void end_thread_loops(Thread& thread) noexcept;
/// In a forked child: they were the parent's. All of them, and what a thread remembers of its own.
void forget_loops() noexcept;
void forget_own_loops(Thread& thread) noexcept;

}  // namespace loopscope::probe
