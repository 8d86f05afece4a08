// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/probe/timers.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "instrumentation/probe/births.h"
#include "instrumentation/probe/loops.h"

namespace loopscope::probe {
namespace {

struct Timer {
  std::int32_t fd;
  std::uint32_t generation;
  std::uint64_t due_ns;  // CLOCK_MONOTONIC; of the first expiration that was not read yet; 0: off
  std::uint64_t interval_ns;
};
constexpr int kTimers = 256;
Timer g_timers[kTimers];

std::uint64_t ns_of(const timespec& time) noexcept {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace

void timer_set(Thread& thread, int fd, int flags, const struct itimerspec& wanted) noexcept {
  const FdSlot* slot = g_ledger.slot(fd);
  if (slot == nullptr) return;
  note_use(thread, fd);
  Timer& timer = g_timers[fd % kTimers];
  timer.fd = fd;
  timer.generation = slot->generation.load();
  timer.interval_ns = ns_of(wanted.it_interval);
  const std::uint64_t value = ns_of(wanted.it_value);
  timer.due_ns = 0;
  if (value == 0) return;
  const std::uint64_t here = now(thread);
  if ((flags & TFD_TIMER_ABSTIME) == 0) {
    timer.due_ns = here + value;
    return;
  }
  const auto clock = static_cast<clockid_t>(slot->facts.load() >> kFdClockShift & 0xF);
  if (clock == CLOCK_MONOTONIC) {
    timer.due_ns = value;
    return;
  }
  timespec there{};
  if (clock_gettime(clock, &there) == 0 && value > ns_of(there)) {
    timer.due_ns = here + (value - ns_of(there));
  }
}

void timer_read(Thread& thread, int fd, const void* expirations) noexcept {
  const int saved = errno;
  const FdSlot* slot = g_ledger.slot(fd);
  Timer& timer = g_timers[fd % kTimers];
  if (slot != nullptr && timer.fd == fd && timer.generation == slot->generation.load() &&
      timer.due_ns != 0) {
    std::uint64_t count = 0;
    memcpy(&count, expirations, sizeof count);
    const std::uint64_t here = now(thread);
    Loop* loop = thread.turn.loop;
    if (loop != nullptr && !thread.measuring && loop->state == Loop::kInUse) {
      thread.measuring = true;
      loop->recorder().timer_lag(0, timer.due_ns, here);
      thread.measuring = false;
    }
    timer.due_ns = timer.interval_ns != 0 ? timer.due_ns + count * timer.interval_ns : 0;
  }
  errno = saved;
}

}  // namespace loopscope::probe
