// SPDX-License-Identifier: Apache-2.0
//
// A snapshot as text for people in a terminal.
//
// Thread-safety: no state (but the time zone, tzset(3)).
#pragma once

#include <iosfwd>
#include <string>

#include "instrumentation/snapshot/host_snapshot.h"

namespace loopscope::cli {

/// Everything the recording says of one process. Strings in a recording may be anything: what is
/// not printable is shown as '?', so a recording cannot drive the terminal.
void write_report(std::ostream& out, const snapshot::ProcessSnapshot& process);

/// One line a process: pid, state, start, command.
void write_list(std::ostream& out, const snapshot::HostSnapshot& host);

/// `text` without control characters and broken UTF-8.
std::string printable(const std::string& text);

}  // namespace loopscope::cli
