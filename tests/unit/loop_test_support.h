// SPDX-License-Identifier: Apache-2.0
//
// Shared by the tests of loop/: looks at what was recorded.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "instrumentation/recording/reader.h"
#include "loopscope/loop.h"

namespace loopscope::test {

using namespace std::chrono_literals;  // NOLINT(google-global-names-in-headers): tests only

inline recording::LoopSnapshot recorded(const std::string& name) {
  auto reader = recording::read_own_process();
  if (!reader) {
    ADD_FAILURE() << reader.error().message;
    return {};
  }
  auto taken = reader->read({.recent = 4096});
  if (!taken) {
    ADD_FAILURE() << taken.error().message;
    return {};
  }
  // The newest of that name: ended loops stay readable.
  for (auto loop = taken->loops.rbegin(); loop != taken->loops.rend(); ++loop) {
    if (loop->name == name && !loop->ended) return *loop;
  }
  for (auto loop = taken->loops.rbegin(); loop != taken->loops.rend(); ++loop) {
    if (loop->name == name) return *loop;
  }
  ADD_FAILURE() << "no loop named " << name;
  return {};
}

inline recording::WatcherSnapshot watcher(const recording::LoopSnapshot& loop,
                                          const std::string& name) {
  for (const recording::WatcherSnapshot& each : loop.watchers) {
    if (each.name == name) return each;
  }
  ADD_FAILURE() << "no watcher named " << name << " in " << loop.name;
  return {};
}

}  // namespace loopscope::test
