// SPDX-License-Identifier: Apache-2.0
//
// libev's and libc's own functions behind the ones that interpose.cpp puts before them.
#pragma once

struct ev_loop;

namespace loopscope::detail {

void real_set_loop_release_cb(struct ev_loop* loop, void (*release)(struct ev_loop*),
                              void (*acquire)(struct ev_loop*));
void real_set_invoke_pending_cb(struct ev_loop* loop, void (*invoke)(struct ev_loop*));
int real_ev_run(struct ev_loop* loop, int flags);

}  // namespace loopscope::detail
