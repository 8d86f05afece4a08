// SPDX-License-Identifier: Apache-2.0
//
// After fork, parent and child share what libev keeps in the kernel. With epoll that is the epoll
// set: one sees the other's events, and a removal by one silences the other (nsd issue 491 is a
// case with libev). With poll and select it is only the descriptor that wakes the loop up for
// signals and ev_async_send(). ev_loop_fork() makes the child its own. Seen by the source itself,
// so certain.
#include "instrumentation/findings/rules.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {
namespace {

/// What parent and child have in common, and what comes of it; follows "… and ".
std::string what_is_shared(const std::string& backend) {
  if (backend == "epoll") {
    return "shares its epoll set: each can take the other's events, and what one removes from the "
           "set is gone for both.";
  }
  if (backend == "poll" || backend == "select") {
    return "shares the descriptor by which libev wakes up a loop: a signal or an ev_async_send() "
           "that is meant for one can be swallowed by the other.";
  }
  return "still uses what the " + (backend.empty() ? std::string() : backend + " ") +
         "backend set up in the kernel for that one: events can reach the wrong one or be lost.";
}

}  // namespace

void check_fork_without_loop_fork(const Evidence& evidence, std::vector<Finding>& out) {
  for (const auto& loop : evidence.recording.loops) {
    if (!loop.used_after_fork) continue;
    Finding finding;
    finding.rule = "fork-without-loop-fork";
    finding.severity = Severity::kError;
    finding.subject = loop.name;
    finding.since_ns = evidence.recording.started_ns;  // the child's recording began at that use
    finding.title = loop_text(loop) + " runs in a forked child without ev_loop_fork()";
    finding.detail = "Process " + std::to_string(evidence.recording.pid) +
                     " was forked from process " + std::to_string(evidence.recording.parent_pid) +
                     " and " + what_is_shared(loop.backend);
    finding.advice =
        "Call ev_loop_fork(loop) in the child before it runs the loop (pthread_atfork can do it), "
        "or make the loop with EVFLAG_FORKCHECK.";
    out.push_back(std::move(finding));
  }
}

}  // namespace loopscope::findings
