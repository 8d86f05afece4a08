// SPDX-License-Identifier: Apache-2.0
#include "loop/host_hooks.h"

#include <ev.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "loop/interpose.h"

namespace loopscope::detail {
namespace {

void marker_release(struct ev_loop*) EV_NOEXCEPT {}
void marker_acquire(struct ev_loop*) EV_NOEXCEPT {}
void marker_invoke(struct ev_loop*) {}

struct Offsets {
  std::size_t release;
  std::size_t acquire;
  std::size_t invoke;
  bool known;
};

/// Where in `loop` the pointer is. The setter has just put it there, so the search ends inside the
/// struct.
std::size_t find(const struct ev_loop* loop, LoopHook marker) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(loop);
  for (std::size_t at = 0;; at += sizeof(LoopHook)) {
    LoopHook found = nullptr;
    std::memcpy(&found, bytes + at, sizeof found);
    if (found == marker) return at;
  }
}

Offsets measure() {
  // select: the one backend that opens no descriptor.
  struct ev_loop* scratch =
      ev_loop_new(static_cast<unsigned>(EVBACKEND_SELECT) | static_cast<unsigned>(EVFLAG_NOENV));
  if (scratch == nullptr) return {0, 0, 0, false};
  real_set_loop_release_cb(scratch, marker_release, marker_acquire);
  ev_set_invoke_pending_cb(scratch, marker_invoke);
  const Offsets offsets{find(scratch, marker_release), find(scratch, marker_acquire),
                        find(scratch, marker_invoke), true};
  ev_set_invoke_pending_cb(scratch, ev_invoke_pending);
  ev_loop_destroy(scratch);
  return offsets;
}

LoopHook read(const struct ev_loop* loop, std::size_t offset) {
  LoopHook hook = nullptr;
  std::memcpy(&hook, reinterpret_cast<const unsigned char*>(loop) + offset, sizeof hook);
  return hook;
}

}  // namespace

HostHooks read_host_hooks(struct ev_loop* loop) {
  static const Offsets offsets = measure();
  HostHooks hooks;
  if (!offsets.known) return hooks;
  hooks.release = read(loop, offsets.release);
  hooks.acquire = read(loop, offsets.acquire);
  hooks.invoke_pending = read(loop, offsets.invoke);
  if (hooks.invoke_pending == static_cast<LoopHook>(ev_invoke_pending))
    hooks.invoke_pending = nullptr;
  return hooks;
}

}  // namespace loopscope::detail
