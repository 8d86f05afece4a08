// SPDX-License-Identifier: Apache-2.0
//
// Ends a server's connections from outside. CivetWeb 1.15 looks at its stop flag every 2 s only
// where it waits in poll(2), and gives nobody its sockets: so they are found by what they are.
#pragma once

#include "webui/server/access.h"

namespace loopscope::webui {

/// shutdown(2) for the TCP sockets of this process that listen on `endpoint` or were accepted
/// there: whoever waits for one of them wakes at once. Descriptors stay open, their owner closes
/// them.
///
/// Best effort (needs /proc/self/fd). Thread-safety: any thread. Cost: about 1 µs a descriptor.
void shut_down_connections(const Endpoint& endpoint);

}  // namespace loopscope::webui
