// SPDX-License-Identifier: Apache-2.0
//
// What interpose.cpp puts itself before, where the rest of loop/ needs the real thing.
#pragma once

struct ev_loop;

namespace loopscope::detail {

void real_set_loop_release_cb(struct ev_loop* loop, void (*release)(struct ev_loop*),
                              void (*acquire)(struct ev_loop*));

}  // namespace loopscope::detail
