// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/own_calls.h"

#include "instrumentation/recording/process_recorder.h"

namespace loopscope::recording {
namespace {

/// Of a process that has no recording, or none yet. A forked child has a copy, its own.
OwnFailure g_before[kOwnFailures];

OwnFailure* table() noexcept {
  const ProcessRecorder* process = ProcessRecorder::existing();
  return process != nullptr && process->active() && process->settled()
             ? process->region().header()->own_failures
             : g_before;
}

OwnFailure& place(OwnFailure* failures, std::uint32_t what) noexcept {
  for (std::uint32_t i = 0; i < kOwnFailures - 1; ++i) {
    std::uint32_t there = failures[i].what.load();
    if (there == what ||
        (there == 0 && __atomic_compare_exchange_n(&failures[i].what.raw, &there, what, false,
                                                   __ATOMIC_RELAXED, __ATOMIC_RELAXED))) {
      return failures[i];
    }
    if (there == what) return failures[i];  // another thread was first, with the same
  }
  return failures[kOwnFailures - 1];
}

std::uint32_t pack(OwnCall call, int error) noexcept {
  return static_cast<std::uint32_t>(call) | static_cast<std::uint32_t>(error) << 16;
}

void add(OwnFailure& to, std::uint64_t failed, std::uint32_t retried) noexcept {
  __atomic_fetch_add(&to.failed.raw, failed, __ATOMIC_RELAXED);
  __atomic_fetch_add(&to.retried.raw, retried, __ATOMIC_RELAXED);
}

}  // namespace

void own_call_failed(OwnCall call, int error) noexcept {
  add(place(table(), pack(call, error)), 1, 0);
}

void own_call_retried(OwnCall call, int error) noexcept {
  add(place(table(), pack(call, error)), 0, 1);
}

void adopt_own_failures(Header& header) noexcept {
  for (OwnFailure& before : g_before) {
    const std::uint64_t failed = __atomic_exchange_n(&before.failed.raw, 0, __ATOMIC_RELAXED);
    const std::uint32_t retried = __atomic_exchange_n(&before.retried.raw, 0, __ATOMIC_RELAXED);
    if (failed != 0 || retried != 0) {
      const std::uint32_t what = before.what.load();
      add(what != 0 ? place(header.own_failures, what) : header.own_failures[kOwnFailures - 1],
          failed, retried);
    }
  }
}

}  // namespace loopscope::recording
