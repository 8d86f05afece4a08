// SPDX-License-Identifier: Apache-2.0
//
// libev marks each registration with a generation. When an event comes in for a stale one (the
// descriptor was closed while a copy of it, in a child or by dup, keeps the registration alive),
// libev throws the epoll set away and registers everything anew: a silent repair that costs a
// system call a watcher, again and again (ev_epoll.c, "egen").
#include "instrumentation/findings/rules.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {
namespace {

/// Once or twice can be an accident of start-up or a real ev_loop_fork(); the third time is a
/// habit.
constexpr std::uint64_t kLeastRebuilds = 3;

}  // namespace

void check_backend_rebuilt(const Evidence& evidence, std::vector<Finding>& out) {
  for (const auto& loop : evidence.recording.loops) {
    if (loop.backend_rebuilds < kLeastRebuilds) continue;
    Finding finding;
    finding.rule = "backend-rebuilt";
    finding.severity = Severity::kWarning;
    finding.subject = loop.name;
    finding.count = loop.backend_rebuilds;
    finding.title =
        loop_text(loop) + " had its epoll set rebuilt " + times_text(loop.backend_rebuilds);
    finding.detail =
        "libev got an event for a descriptor that had been closed while it was registered, and "
        "made a new epoll set with every watcher in it.";
    finding.advice =
        "Stop the ev_io watcher before closing its descriptor. If a child process or a dup() keeps "
        "the descriptor open, set FD_CLOEXEC or close the copy: until then the kernel keeps "
        "reporting it.";
    out.push_back(std::move(finding));
  }
}

}  // namespace loopscope::findings
