// SPDX-License-Identifier: Apache-2.0
//
// The hooks a host has set on its loop. libev 4.33 lets a program set them (ev_set_loop_release_cb,
// ev_set_invoke_pending_cb) but not ask for them, and setting ours replaces the host's. So the
// host's are found before: the setters are tried on a loop of our own, which shows at what offset
// in `struct ev_loop` each keeps its pointer.
#pragma once

struct ev_loop;

namespace loopscope::detail {

using LoopHook = void (*)(struct ev_loop*);

struct HostHooks {
  LoopHook release = nullptr;
  LoopHook acquire = nullptr;
  LoopHook invoke_pending = nullptr;  // null: libev's own
};

/// What is set on `loop` now. Any thread that may touch the loop; the first call makes and destroys
/// a loop of its own.
HostHooks read_host_hooks(struct ev_loop* loop);

}  // namespace loopscope::detail
