// SPDX-License-Identifier: Apache-2.0
//
// `loopscope top` as plain text: a block of tables an interval.
//
// Thread-safety: no state (but the time zone, tzset(3)).
#pragma once

#include <iosfwd>

#include "cli/top_model.h"

namespace loopscope::cli::top {

/// What is not ended, over the window since the snapshot before: a line of totals, a line a
/// finding, the overview. `details`: also each loop's watchers (of `top PID`).
void write_block(std::ostream& out, const snapshot::HostSnapshot& host, const History& history,
                 bool details);

}  // namespace loopscope::cli::top
