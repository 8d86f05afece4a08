// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <new>

#include "loop/instrument.h"
#include "loopscope.h"
#include "loopscope/loop.h"

using loopscope::InstrumentedLoop;
using loopscope::detail::Instrument;

namespace {

Instrument* of(loopscope_loop* scope) { return reinterpret_cast<Instrument*>(scope); }

}  // namespace

extern "C" {

loopscope_loop* loopscope_instrument(struct ev_loop* loop, const char* name,
                                     const loopscope_options* options) {
  if (loop == nullptr) return nullptr;
  try {
    loopscope::LoopOptions wanted;
    if (name != nullptr) wanted.name = name;
    if (options != nullptr && options->stall_threshold_ns != 0) {
      wanted.stall_threshold = std::chrono::nanoseconds(options->stall_threshold_ns);
    }
    if (options != nullptr && options->recent_turns != 0)
      wanted.recent_turns = options->recent_turns;
    return reinterpret_cast<loopscope_loop*>(&Instrument::attach(loop, wanted));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void loopscope_name_watcher(loopscope_loop* scope, void* watcher, enum loopscope_kind kind,
                            const char* name) {
  if (scope == nullptr || watcher == nullptr || name == nullptr) return;
  // The two lists have the same kinds; only the recording's numbers are a format.
  using loopscope::recording::WatcherKind;
  static constexpr WatcherKind kKinds[] = {
      WatcherKind::kIo,    WatcherKind::kTimer, WatcherKind::kPeriodic, WatcherKind::kSignal,
      WatcherKind::kChild, WatcherKind::kStat,  WatcherKind::kIdle,     WatcherKind::kPrepare,
      WatcherKind::kCheck, WatcherKind::kFork,  WatcherKind::kAsync};
  if (kind < LOOPSCOPE_IO || kind > LOOPSCOPE_ASYNC) return;
  try {
    of(scope)->name(static_cast<ev_watcher*>(watcher), kKinds[kind - LOOPSCOPE_IO], name);
  } catch (const std::bad_alloc&) {
    loopscope::recording::ProcessRecorder::instance().drop(
        loopscope::recording::DropKind::kWatchers);
  }
}

void loopscope_unname(loopscope_loop* scope, void* watcher) {
  if (scope != nullptr) of(scope)->unname(static_cast<ev_watcher*>(watcher));
}

void loopscope_release(loopscope_loop* scope) {
  if (scope != nullptr) of(scope)->detach();
}

const char* loopscope_recording_error(void) {
  return loopscope::recording::ProcessRecorder::instance().region().error;
}

}  // extern "C"
