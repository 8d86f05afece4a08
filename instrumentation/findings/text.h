// SPDX-License-Identifier: Apache-2.0
//
// Words for values: used in findings and by every view, so that a thing is called the same
// everywhere.
//
// Thread-safety: no state.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "instrumentation/recording/layout.h"
#include "instrumentation/recording/snapshot.h"

namespace loopscope::findings {

/// "212 ms", "1.25 s", "35 µs", "2 h 5 min": three significant digits, for people.
std::string duration_text(std::uint64_t ns);

/// "3 times", "once", "twice".
std::string times_text(std::uint64_t count);

/// The share as whole per cent, rounded down: "97 %"; never "100 %" for less than all.
std::string percent_text(std::uint64_t part, std::uint64_t whole);

/// "loop \"main\"", or "loop 3" if it has no name.
std::string loop_text(const recording::LoopSnapshot& loop);

/// "io", "timer", …; "other" for a kind this version does not know.
const char* watcher_kind_name(recording::WatcherKind kind) noexcept;

/// "\"accept\" (io)" for a watcher index + 1; empty for 0 or an index that is not there.
std::string watcher_text(const recording::LoopSnapshot& loop, std::uint32_t watcher);

/// "loops", "watchers", "fds"; none (nullptr) for a kind this version does not know.
const char* drop_kind_name(std::size_t kind) noexcept;

/// "mmap", "sigprocmask"; "others" for what there was no room to tell apart, or this version does
/// not know.
const char* own_call_name(recording::OwnCall call) noexcept;

/// "ENOSPC"; "errno 4711" for one without a name, "" for 0.
std::string errno_name(int error);

/// Those that were given up: "madvise ENOSPC 3 times, open EMFILE once"; empty: none.
std::string own_failures_text(std::span<const recording::OwnFailures> failures);

}  // namespace loopscope::findings
