// SPDX-License-Identifier: Apache-2.0
//
// `loopscope run --linger`: goes on serving after the program's end, for who wants to see its last
// turns.
//
// Thread-safety: one thread, the main one.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace loopscope::cli {

/// How long; `forever` is longer than anybody waits.
struct Linger {
  static constexpr std::chrono::nanoseconds kForever = std::chrono::nanoseconds::max();
  std::chrono::nanoseconds time{0};
  bool forever() const { return time == kForever; }
};

/// "90", "1.5": seconds; "500ms", "90s", "5m", "2h"; "forever". None: it is none of these.
std::optional<Linger> parse_linger(const std::string& text);

/// "90 s", "1.5 s", or "" for ever.
std::string linger_text(const Linger& linger);

/// Until the time is over, or SIGINT, SIGTERM, SIGHUP or SIGQUIT comes. All signals must be blocked
/// (Launch does that); meanwhile those of job control have their effect. `tick` is called every
/// `interval`.
void linger_for(const Linger& linger, std::chrono::milliseconds interval,
                const std::function<void()>& tick);

}  // namespace loopscope::cli
