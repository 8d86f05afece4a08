// SPDX-License-Identifier: Apache-2.0
//
// What a named watcher's callback is replaced by. A libev watcher is plain memory: programs copy
// and move it, start it on another loop, reuse it after its loop is gone. Its `cb` must keep
// calling the host's function through all of that, so the function may not be looked up by loop or
// by address: there is one trampoline for each distinct callback instead, and the pointer in `cb`
// alone leads back to it.
#pragma once

#include <ev.h>

namespace loopscope::detail {

using WatcherCallback = void (*)(struct ev_loop*, ev_watcher*, int);

/// The trampoline that stands for `callback`, the same each time; null if all are taken (a program
/// with more than 512 distinct functions as named callbacks). If `callback` is a trampoline
/// already, that one. Any thread.
WatcherCallback trampoline_for(WatcherCallback callback) noexcept;

/// The host's function behind a trampoline; `callback` itself if it is none.
WatcherCallback behind_trampoline(WatcherCallback callback) noexcept;

}  // namespace loopscope::detail
