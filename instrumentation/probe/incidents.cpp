// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/probe/incidents.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "instrumentation/probe/ask.h"
#include "instrumentation/probe/loops.h"
#include "instrumentation/probe/registrations.h"

namespace loopscope::probe {
namespace {

using recording::FdDetail;
using recording::IncidentKind;

/// A close is noted before it is made. When another thread has noted one so long before a wait
/// began, it had been made by then.
constexpr std::uint64_t kLongestClose = 1'000'000'000;

/// What the kernel says. Not asked in a process that may be killed for the question.
Answer ask(int fd) noexcept {
  if (g_probe.sealed) return Answer::kNotAsked;
  if (fd < 0) return Answer::kNotOpen;
  return ask_kernel(fd);
}

bool counts_as_open(int fd) noexcept {
  const FdSlot* slot = g_ledger.slot(fd);
  return slot != nullptr && LedgerWriter::is_open(*slot);
}

bool was_ever_open(int fd) noexcept {
  const FdSlot* slot = g_ledger.slot(fd);
  return slot != nullptr && slot->generation.load() != 0;
}

void note(Thread& thread, IncidentKind kind, int fd, const char* call, const StackStart& start,
          std::uint32_t generation = 0) noexcept {
  const int saved = errno;
  Thread::Failure& last = thread.failure;
  const bool neighbour = fd - last.fd == 1 || last.fd - fd == 1;
  const bool same_place = last.pc == start.pc && last.sp == start.sp;
  const std::uint64_t now_ns = now(thread);
  // A sweep over all numbers: nothing is known of any.
  if (kind == IncidentKind::kCloseNeverOpened && last.incident != nullptr && same_place &&
      neighbour) {
    LedgerWriter::again(*last.incident, fd, now_ns, true);
    last.fd = fd;
    errno = saved;
    return;
  }
  // __recv_chk is what recv is called when a compiler knows the size of its buffer.
  char name[24];
  if (strncmp(call, "__", 2) == 0) call += 2;
  std::size_t size = strnlen(call, sizeof name - 1);
  if (size > 4 && memcmp(call + size - 4, "_chk", 4) == 0) size -= 4;
  memcpy(name, call, size);
  name[size] = '\0';

  LedgerWriter::Mishap mishap;
  mishap.kind = kind;
  mishap.fd = fd;
  mishap.site = call_site(start, now_ns);
  mishap.thread_id = thread.tid;
  mishap.now_ns = now_ns;
  mishap.call = name;
  mishap.consecutive = neighbour && last.site == mishap.site && (mishap.site != 0 || same_place);
  mishap.generation = generation;
  recording::Incident* incident = g_ledger.incident(mishap);
  last = {start.pc, start.sp, kind == IncidentKind::kCloseNeverOpened ? incident : nullptr, fd,
          mishap.site};
  errno = saved;
}

void note_close(Thread& thread, int fd, bool was_open, const char* call,
                const StackStart& site) noexcept {
  g_ledger.bad_close();
  note(thread, was_open ? IncidentKind::kDoubleClose : IncidentKind::kCloseNeverOpened, fd, call,
       site);
}

}  // namespace

void close_failed(Thread& thread, int fd, bool was_known, const char* call,
                  const StackStart& site) noexcept {
  if (!live(thread)) return;
  if (was_known) g_ledger.was_closed_unseen(fd);
  note_close(thread, fd, was_ever_open(fd), call, site);
}

void closing_unknown(Thread& thread, int fd, const char* call, const StackStart& site) noexcept {
  const int saved = errno;
  const Answer answer = ask(fd);
  errno = saved;
  if (answer == Answer::kNotOpen) {
    note_close(thread, fd, was_ever_open(fd), call, site);
  } else {
    g_ledger.closed_unseen_birth();
  }
}

void use_failed(Thread& thread, int fd, const char* call, const StackStart& site) noexcept {
  // What counts as open is open for other things, or was closed out of sight; and a handler may
  // have forked meanwhile.
  if (!live(thread) || counts_as_open(fd)) return;
  const int saved = errno;
  if (ask(fd) == Answer::kNotOpen) {
    note(thread, was_ever_open(fd) ? IncidentKind::kUseAfterClose : IncidentKind::kUseNeverOpened,
         fd, call, site);
  }
  errno = saved;
}

void events_after_close(Thread& thread, Loop& loop, const struct epoll_event* events, int count,
                        const StackStart& site) noexcept {
  // Without the time of the close it cannot be told from one after the wait.
  if (!g_probe.closes || g_probe.sealed) return;
  const int saved = errno;
  const std::uint64_t began = loop.recorder().poll_started_ns();
  for (int i = 0; i < count; ++i) {
    const Registration found = find_registration(loop.epoll_fd, events[i].data.u64);
    FdSlot* slot = found.fd >= 0 ? g_ledger.slot(found.fd) : nullptr;
    if (slot == nullptr || !is_gone(*slot, found)) continue;
    const std::uint32_t now_generation = slot->generation.load();
    // Of the registered descriptor; the table keeps the low bits.
    const std::uint32_t generation =
        found.has_generation
            ? now_generation - ((now_generation - found.generation) & Registration::kBits)
            : now_generation - 1;
    // It was closed, and is closed still or was opened once more: then its close is still known.
    if (generation % 2 == 0 || now_generation - generation > 2) continue;
    const FdDetail& detail = g_ledger.detail(found.fd);
    const std::uint64_t closed = detail.closed_ns.load();
    const bool here = detail.close_thread_id.load() == thread.tid;
    if (closed == 0 || closed + (here ? 0 : kLongestClose) > began) continue;
    if (now_generation % 2 == 0) {
      const Answer answer = ask(found.fd);
      // Opened again, out of sight: now we know.
      if (answer == Answer::kOpen) g_ledger.met(found.fd, LedgerWriter::Birth{});
      if (answer != Answer::kNotOpen) continue;
    }
    if (found.has_generation && !registrations_complete()) continue;
    note(thread, IncidentKind::kEventAfterClose, found.fd, "epoll_wait", site, generation);
  }
  errno = saved;
}

}  // namespace loopscope::probe
