// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/probe/loops.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <new>

#include "instrumentation/probe/registrations.h"
#include "instrumentation/recording/own_calls.h"

namespace loopscope::probe {
namespace {

using recording::LoopRecorder;
using recording::LoopSettings;
using recording::ServedKind;
using recording::WaitOutcome;
using recording::WaitResult;

/// Loops that look at their timers this much before they are due by our clock were on time: the
/// kernel's clock and ours differ by less.
constexpr std::uint64_t kClockSkew = 1000;

constexpr std::uint32_t kPollRing = 1024;

Loop* g_loops = nullptr;  // all that were ever made; only pushed to

/// Memory of its own: no allocator of the program's. Null if there is none.
Loop* add_loop(Loop::State state) noexcept {
  void* memory =
      mmap(nullptr, sizeof(Loop), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    recording::own_call_failed(recording::OwnCall::kMmap, errno);
    return nullptr;
  }
  auto* loop = static_cast<Loop*>(memory);
  loop->epoll_fd = -1;
  loop->state = state;
  Loop* first = __atomic_load_n(&g_loops, __ATOMIC_RELAXED);
  do {
    loop->next = first;
  } while (!__atomic_compare_exchange_n(&g_loops, &first, loop, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED));
  return loop;
}

/// A free one, or a new one.
Loop* claim() noexcept {
  for (Loop* loop = __atomic_load_n(&g_loops, __ATOMIC_ACQUIRE); loop != nullptr;
       loop = loop->next) {
    std::uint32_t free = Loop::kFree;
    if (__atomic_load_n(&loop->state, __ATOMIC_RELAXED) == Loop::kFree &&
        __atomic_compare_exchange_n(&loop->state, &free, Loop::kInUse, false, __ATOMIC_ACQUIRE,
                                    __ATOMIC_RELAXED)) {
      return loop;
    }
  }
  return g_probe.sealed ? nullptr : add_loop(Loop::kInUse);
}

Loop* make_loop(Thread& thread, int epoll_fd, std::uint32_t generation,
                const char* backend) noexcept {
  const int saved = errno;
  const Undisturbed undisturbed;
  const Quiet quiet(thread);
  Loop* loop = claim();
  if (loop == nullptr) {
    g_probe.process->drop(recording::DropKind::kLoops);
    errno = saved;
    return nullptr;
  }
  expect_end(thread);
  loop->epoll_generation = generation;
  loop->closed_ns = 0;
  loop->deadline_ns = 0;
  loop->waits_outside = false;

  // The main thread's loop is the program's; others are known by their thread's name.
  char name[32] = "main";
  if (!g_probe.sealed && thread.tid != getpid()) {
    char comm[17] = "";
    if (recording::own_call(recording::OwnCall::kPrctl, [&] { return prctl(PR_GET_NAME, comm); }) ==
            0 &&
        comm[0] != '\0') {
      snprintf(name, sizeof name, "%s", comm);
    }
  }
  LoopSettings settings;
  settings.name = name;
  settings.backend = backend;
  // Of a poll it is not known which descriptors were ready, so not what a turn serves.
  settings.served = epoll_fd < 0 ? ServedKind::kNone : ServedKind::kDescriptors;
  if (epoll_fd < 0) settings.ring_turns = kPollRing;
  if (g_probe.stall_ns != 0) settings.stall_threshold_ns = g_probe.stall_ns;
  auto* recorder = ::new (static_cast<void*>(loop->storage)) LoopRecorder(settings);
  recorder->set_epoll_fd(epoll_fd);
  recorder->enter(thread.tid);
  __atomic_store_n(&loop->epoll_fd, epoll_fd, __ATOMIC_RELEASE);
  loop->next_of_thread = thread.loops;
  thread.loops = loop;
  errno = saved;
  return loop;
}

/// The descriptor that was being served was so until now: noted among what the turn served. Only
/// while `measuring`.
void put_served(Thread& thread, std::uint64_t until_ns) noexcept {
  const CurrentTurn& turn = thread.turn;
  LoopRecorder& recorder = turn.loop->recorder();
  if (recorder.served_needs_room()) [[unlikely]] {
    if (recorder.served_grows()) {
      const Undisturbed undisturbed;
      const Quiet quiet(thread);
      recorder.prepare_served();
    }
  }
  const FdSlot& slot = *turn.slot;
  recorder.served(recording::pack_descriptor(static_cast<std::uint32_t>(g_ledger.number(slot)),
                                             LedgerWriter::kind(slot), slot.generation.load()),
                  turn.mark_ns, until_ns);
}

/// Likewise, while not. (In a signal handler that interrupted the recorder it is left out.)
void note_served(Thread& thread, std::uint64_t until_ns) noexcept {
  if (thread.turn.slot == nullptr || thread.turn.started_ns == 0 || thread.measuring) return;
  thread.measuring = true;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  put_served(thread, until_ns);
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  thread.measuring = false;
}

/// To be called undisturbed.
void release(Thread& thread, Loop& loop) noexcept {
  if (thread.last_loop == &loop) thread.last_loop = nullptr;
  if (thread.turn.loop == &loop) {
    note_served(thread, loop.closed_ns != 0 ? loop.closed_ns : loop.recorder().now());
    thread.turn = CurrentTurn{};
  }
  for (WaitSite& site : thread.sites) {
    if (site.loop == &loop) site = WaitSite{};
  }
  for (Loop** at = &thread.loops; *at != nullptr; at = &(*at)->next_of_thread) {
    if (*at == &loop) {
      *at = loop.next_of_thread;
      break;
    }
  }
  // With the descriptor the loop was over; what its thread did since is no turn of it.
  if (loop.closed_ns != 0) loop.recorder().leave_at(loop.closed_ns);
  loop.recorder().~LoopRecorder();
  loop.epoll_fd = -1;
  __atomic_store_n(&loop.state, Loop::kFree, __ATOMIC_RELEASE);
}

/// Null: nothing has waited there, or it is forgotten.
WaitSite* find_site(Thread& thread, const void* caller) noexcept {
  for (WaitSite& site : thread.sites) {
    if (site.caller == caller) return &site;
  }
  return nullptr;
}

/// The descriptor that was being served was so until now.
void attribute(CurrentTurn& turn, std::uint64_t until_ns) noexcept {
  if (turn.slot != nullptr && until_ns > turn.mark_ns) {
    LedgerWriter::bump(turn.slot->busy_ns, until_ns - turn.mark_ns);
  }
  turn.mark_ns = until_ns;
}

/// Likewise, and the turn goes on.
void attribute_part(Thread& thread, std::uint64_t until_ns) noexcept {
  CurrentTurn& turn = thread.turn;
  if (turn.slot != nullptr && until_ns > turn.mark_ns) {
    Thread::Top& top = thread.top;
    if (top.turn_started_ns != turn.started_ns) top = {nullptr, turn.started_ns, 0, 0, 0};
    std::uint64_t ns = until_ns - turn.mark_ns;
    if (turn.slot == top.slot) ns += top.ns;
    // (Of one that is served piece by piece beside others, the pieces before it led are left out.)
    if (ns > top.ns) {
      top.slot = turn.slot;
      top.ns = ns;
      top.generation = turn.slot->generation.load();
      top.site = turn.slot->site.load();
    }
  }
  attribute(turn, until_ns);
}

/// The turn that `now` ended was the longest so far: whose it was. Before it is attributed.
[[gnu::noinline, gnu::cold]] void tell_worst(Thread& thread, Loop& loop,
                                             std::uint64_t now) noexcept {
  if (thread.turn.loop == &loop && thread.turn.started_ns != 0) {
    attribute_part(thread, now);
    const Thread::Top& top = thread.top;
    if (top.slot != nullptr && top.turn_started_ns == thread.turn.started_ns) {
      return loop.recorder().worst_served(g_ledger.number(*top.slot), top.generation, top.ns,
                                          top.site);
    }
  }
  loop.recorder().worst_served(-1, 0, 0, 0);
}

}  // namespace

Loop* find_epoll_loop(Thread& thread, int epoll_fd) noexcept {
  if (epoll_fd < 0) return nullptr;
  LedgerWriter& ledger = g_ledger;
  FdSlot* slot = ledger.slot_for_writing(epoll_fd);
  if (slot == nullptr) return nullptr;
  if ((slot->facts.load() & recording::kFdLibraryLoop) != 0) return nullptr;
  const std::uint32_t generation = slot->generation.load();
  for (Loop* loop = thread.loops; loop != nullptr;) {
    Loop* next = loop->next_of_thread;
    const bool same = loop->epoll_fd == epoll_fd;
    if (__atomic_load_n(&loop->state, __ATOMIC_ACQUIRE) == Loop::kClosed ||
        (same && loop->epoll_generation != generation)) {
      // In this order: a handler that waited for the end of the one must find the other gone.
      const Undisturbed undisturbed;
      const Quiet quiet(thread);
      release(thread, *loop);
    } else if (same) {
      thread.last_loop = loop;
      return loop;
    }
    loop = next;
  }
  // What was seen to be opened as something else is no epoll set: the wait fails, and is no loop.
  const DescriptorKind kind = LedgerWriter::kind(*slot);
  const auto origin =
      static_cast<recording::FdOrigin>(slot->facts.load() >> recording::kFdOriginShift & 0xFF);
  if (LedgerWriter::is_open(*slot) && origin == recording::FdOrigin::kOpened &&
      kind != DescriptorKind::kEpoll && kind != DescriptorKind::kOther) {
    return nullptr;
  }
  // An inherited or unseen descriptor that somebody waits on so is an epoll one.
  if (kind != DescriptorKind::kEpoll) {
    ledger.set_kind(epoll_fd, DescriptorKind::kEpoll);
  }
  return thread.last_loop = make_loop(thread, epoll_fd, generation, "epoll");
}

Loop* site_loop(Thread& thread, const void* caller) noexcept {
  const WaitSite* site = find_site(thread, caller);
  return site != nullptr ? site->loop : nullptr;
}

void note_wait(Thread& thread, const void* caller, const char* backend, std::uint64_t began_ns,
               int returned, std::int64_t timeout_ns) noexcept {
  const int saved = errno;
  const WaitOutcome seen = recording::wait_outcome(returned, timeout_ns, 0);
  WaitSite* site = find_site(thread, caller);
  if (site == nullptr) {
    // A free one, else the one seen least that is no loop.
    for (WaitSite& other : thread.sites) {
      if (other.loop != nullptr) continue;
      if (site == nullptr || other.seen < site->seen) site = &other;
    }
    if (site == nullptr) return g_probe.process->drop(recording::DropKind::kLoops);
    *site = WaitSite{};
    site->caller = caller;
  }
  if (site->seen == kWaitsKept) {
    // Nobody loops here so far, somebody looks: the oldest look is forgotten.
    memmove(site->waits, site->waits + 1, sizeof site->waits - sizeof site->waits[0]);
    --site->seen;
  }
  site->waits[site->seen++] = {began_ns, now(thread), timeout_ns, seen.ready,
                               static_cast<std::uint32_t>(seen.result)};
  if (timeout_ns != 0) ++site->blocking;
  if (site->blocking >= kWaitsBeforeLoop || (site->blocking != 0 && site->seen == kWaitsKept)) {
    Loop* loop = make_loop(thread, -1, 0, backend);
    if (loop != nullptr) {
      site->loop = loop;
      thread.measuring = true;
      for (std::uint32_t i = 0; i < site->seen; ++i) {
        const WaitSite::Wait& wait = site->waits[i];
        WaitOutcome result;
        result.ready = wait.ready;
        result.result = static_cast<WaitResult>(wait.result);
        result.timeout_ns = wait.timeout_ns;
        loop->recorder().poll_began_at(wait.began_ns);
        loop->recorder().poll_ended_at(result, wait.ended_ns);
      }
      thread.measuring = false;
    }
  }
  errno = saved;
}

void begin_wait(Thread& thread, Loop& loop, std::int64_t timeout_ns) noexcept {
  LoopRecorder& recorder = loop.recorder();
  thread.measuring = true;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  const std::uint64_t now = recorder.now();
  // The turn is about to be finished, with what it served. (Of another loop: this one runs nested
  // in it.)
  if (thread.turn.started_ns != 0 && thread.turn.slot != nullptr) {
    put_served(thread, now);
  }
  recorder.poll_began_at(now);
  if (recorder.worst_is_new()) [[unlikely]]
    tell_worst(thread, loop, now);
  if (thread.turn.started_ns != 0) {
    if (thread.turn.loop == &loop) attribute(thread.turn, now);
    thread.turn.started_ns = 0;
    thread.turn.slot = nullptr;
  }
  // It looks at its timers between two waits: by now it has.
  if (loop.deadline_ns != 0 && now > loop.deadline_ns) {
    recorder.timer_lag(0, loop.deadline_ns, now);
  }
  loop.deadline_ns = timeout_ns > 0 ? now + static_cast<std::uint64_t>(timeout_ns) : 0;
  thread.measuring = false;
}

void end_wait(Thread& thread, Loop& loop, int returned, std::int64_t timeout_ns,
              int most) noexcept {
  LoopRecorder& recorder = loop.recorder();
  const WaitOutcome result = recording::wait_outcome(returned, timeout_ns, most);
  thread.measuring = true;
  recorder.poll_end(result);
  const std::uint64_t now = recorder.turn_started_ns();
  if (loop.deadline_ns != 0 &&
      (now >= loop.deadline_ns ||
       (result.result == WaitResult::kTimeout && now + kClockSkew >= loop.deadline_ns))) {
    recorder.timer_lag(0, loop.deadline_ns, now);
    loop.deadline_ns = 0;
  }
  thread.turn = {&loop, nullptr, now, now, static_cast<std::uint32_t>(recorder.turn())};
  thread.measuring = false;
}

void end_interrupted_wait(Thread& thread, Loop& loop) noexcept {
  const int saved = errno;
  errno = EINTR;
  end_wait(thread, loop, -1, loop.outside_timeout, 0);
  errno = saved;
}

bool served(Thread& thread, Loop& loop, const struct epoll_event* events, int count) noexcept {
  CurrentTurn& turn = thread.turn;
  FdSlot* only = nullptr;
  bool gone = false;
  for (int i = 0; i < count; ++i) {
    const Registration found = find_registration(loop.epoll_fd, events[i].data.u64);
    FdSlot* slot = found.fd >= 0 ? g_ledger.slot(found.fd) : nullptr;
    if (slot == nullptr) {
      g_probe.process->drop(recording::DropKind::kEvents);
      continue;
    }
    gone |= is_gone(*slot, found);
    LedgerWriter::bump(slot->events);
    slot->activity_ns.store(turn.started_ns);
    slot->turn.store(turn.number);
    slot->turn_thread.store(thread.tid);
    only = slot;
  }
  // With one descriptor the whole turn is its; with several the calls on them tell.
  turn.slot = count == 1 ? only : nullptr;
  return gone;
}

void switch_served(Thread& thread, FdSlot& slot) noexcept {
  CurrentTurn& turn = thread.turn;
  // Another descriptor that the wait returned: its turn begins. One that was not (a log, a backend)
  // is used on behalf of the one being served.
  if (slot.turn.load() != turn.number || slot.turn_thread.load() != thread.tid) return;
  if (turn.slot != nullptr) {
    const std::uint64_t until = now(thread);
    note_served(thread, until);
    attribute_part(thread, until);
  }
  turn.slot = &slot;
}

void stop_serving(Thread& thread) noexcept {
  const std::uint64_t until = now(thread);
  note_served(thread, until);
  attribute_part(thread, until);
  thread.turn.slot = nullptr;
}

void close_epolls(unsigned first, unsigned last) noexcept {
  for (const Loop* loop = __atomic_load_n(&g_loops, __ATOMIC_ACQUIRE); loop != nullptr;
       loop = loop->next) {
    const int fd = loop->epoll_fd;
    if (fd >= 0 && static_cast<unsigned>(fd) >= first && static_cast<unsigned>(fd) <= last) {
      close_epoll(fd);
    }
  }
}

void withdraw_epoll(int epoll_fd) noexcept {
  for (Loop* loop = __atomic_load_n(&g_loops, __ATOMIC_ACQUIRE); loop != nullptr;
       loop = loop->next) {
    std::uint32_t used = Loop::kInUse;
    if (loop->epoll_fd == epoll_fd &&
        __atomic_compare_exchange_n(&loop->state, &used, Loop::kClosed, false, __ATOMIC_RELEASE,
                                    __ATOMIC_RELAXED)) {
      loop->recorder().withdraw();
    }
  }
}

void close_epoll(int epoll_fd) noexcept {
  for (Loop* loop = __atomic_load_n(&g_loops, __ATOMIC_ACQUIRE); loop != nullptr;
       loop = loop->next) {
    std::uint32_t used = Loop::kInUse;
    if (loop->epoll_fd != epoll_fd || __atomic_load_n(&loop->state, __ATOMIC_RELAXED) != used) {
      continue;
    }
    loop->closed_ns = recording::monotonic_ns();  // before its thread can learn of it
    if (__atomic_compare_exchange_n(&loop->state, &used, Loop::kClosed, false, __ATOMIC_RELEASE,
                                    __ATOMIC_RELAXED)) {
      loop->recorder().mark_ended();
    }
  }
  g_ledger.unregister_all(epoll_fd);
}

void leave_closed(Thread& thread) noexcept {
  CurrentTurn& turn = thread.turn;
  if (turn.loop == nullptr || turn.loop->state == Loop::kInUse) return;
  if (turn.started_ns != 0) {
    const std::uint64_t until = now(thread);
    note_served(thread, until);
    attribute(turn, until);
  }
  turn = CurrentTurn{};
}

void reserve_loops() noexcept {
  constexpr int kLoops = 4;
  for (int i = 0; i < kLoops; ++i) add_loop(Loop::kFree);
}

void end_thread_loops(Thread& thread) noexcept {
  const Undisturbed undisturbed;
  const Quiet quiet(thread);
  while (thread.loops != nullptr) release(thread, *thread.loops);
}

void forget_loops() noexcept {
  // Without ending them: they are the parent's. One that the child goes on with is made anew.
  for (Loop* loop = g_loops; loop != nullptr; loop = loop->next) {
    loop->epoll_fd = -1;
    loop->state = Loop::kFree;
  }
}

void forget_own_loops(Thread& thread) noexcept {
  thread.loops = nullptr;
  thread.last_loop = nullptr;
  thread.turn = CurrentTurn{};
  thread.top = {};
  for (WaitSite& site : thread.sites) site = WaitSite{};
}

}  // namespace loopscope::probe
