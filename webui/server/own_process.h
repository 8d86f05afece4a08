// SPDX-License-Identifier: Apache-2.0
//
// Snapshots of this process, also after it forked.
#pragma once

#include <cstddef>

#include "instrumentation/snapshot/host_snapshot.h"

namespace loopscope::webui {

/// The calling process as a snapshot. The collector behind it is made on the first call, and again
/// in a forked child (where the parent's, and whatever locks it held, is left alone).
///
/// Throws InspectorError if the recording cannot be read. Thread-safety: any thread.
snapshot::HostSnapshot own_process_snapshot(const snapshot::CollectOptions& options);
snapshot::HostSnapshot own_process_snapshot(std::size_t recent);

}  // namespace loopscope::webui
