// SPDX-License-Identifier: Apache-2.0
#include "loop/trampolines.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <utility>

#include "loop/instrument.h"

namespace loopscope::detail {
namespace {

constexpr std::size_t kTrampolines = 512;

/// The host's functions; an entry is never changed once it is set.
std::atomic<WatcherCallback> g_callbacks[kTrampolines];

template <std::size_t Index>
void trampoline(struct ev_loop* loop, ev_watcher* watcher, int events) {
  Instrument::on_named(g_callbacks[Index].load(std::memory_order_acquire), loop, watcher, events);
}

template <std::size_t... Index>
constexpr std::array<WatcherCallback, kTrampolines> make_trampolines(
    std::index_sequence<Index...>) {
  return {&trampoline<Index>...};
}
constexpr auto kTable = make_trampolines(std::make_index_sequence<kTrampolines>());

}  // namespace

WatcherCallback behind_trampoline(WatcherCallback callback) noexcept {
  for (std::size_t i = 0; i < kTrampolines; ++i) {
    if (kTable[i] == callback) return g_callbacks[i].load(std::memory_order_acquire);
  }
  return callback;
}

WatcherCallback trampoline_for(WatcherCallback callback) noexcept {
  callback = behind_trampoline(callback);
  for (std::size_t i = 0; i < kTrampolines; ++i) {
    WatcherCallback there = nullptr;
    if (g_callbacks[i].compare_exchange_strong(there, callback, std::memory_order_acq_rel) ||
        there == callback) {
      return kTable[i];
    }
  }
  return nullptr;
}

}  // namespace loopscope::detail
