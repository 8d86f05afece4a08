// SPDX-License-Identifier: Apache-2.0
//
// A snapshot as one HTML file: the page itself with the data in it, to be opened from a disk, years
// later, without a server. A policy in the file allows its own script and style and nothing else.
//
// Thread-safety: no state. Cost: the snapshot's JSON and 300 kB.
#pragma once

#include <string>

#include "instrumentation/recording/result.h"
#include "instrumentation/snapshot/host_snapshot.h"

namespace loopscope::cli {

/// Takes the page from LOOPSCOPE_WEBUI_DIR if that is set, as the servers do. Fails if that
/// directory does not have it.
recording::Result<std::string> html_report(const snapshot::HostSnapshot& host);

}  // namespace loopscope::cli
