// SPDX-License-Identifier: Apache-2.0
//
// System calls that loopscope made for itself in the process, and that failed. The program does not
// notice; what the call was for may be missing from the record. Those that were made again at once
// (a signal had interrupted them) lost nothing and are no finding.
#include <cerrno>

#include "instrumentation/findings/rules.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {
namespace {

std::string advice_for(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "Free some space where the recordings are, or set LOOPSCOPE_DIR.";
    case EMFILE:
    case ENFILE:
      return "No descriptor was left: see what the process has open, or raise the limit (ulimit "
             "-n).";
    case ENOMEM:
    case EAGAIN:
      return "Memory was short: see the limits of the process (ulimit -v, ulimit -l, its cgroup).";
    case EPERM:
    case EACCES:
    case ENOSYS:
      return "Something forbids the call: a seccomp filter, a security module, the rights of a "
             "directory. docs/probe.md lists what the probe asks the kernel.";
    default:
      return "";
  }
}

}  // namespace

void check_own_failures(const Evidence& evidence, std::vector<Finding>& out) {
  const recording::OwnFailures* most = nullptr;
  Finding finding;
  finding.count = 0;
  for (const recording::OwnFailures& one : evidence.recording.own_failures) {
    if (one.failed == 0) continue;
    finding.count += one.failed;
    if (most == nullptr || one.failed > most->failed) most = &one;
  }
  if (most == nullptr) return;
  finding.rule = "own-failures";
  finding.severity = Severity::kInfo;
  finding.subject = "process";
  finding.title = "system calls of loopscope's own failed: " +
                  own_failures_text(evidence.recording.own_failures);
  finding.detail =
      "The program did not notice, and what it asked of the kernel itself is not among them. What "
      "they were for (room in the recording, what a descriptor is) may be missing from the record.";
  finding.advice = advice_for(most->error);
  if (finding.advice.empty()) {
    finding.advice = "One or two are of no consequence. If they go on: what the errno says.";
  }
  out.push_back(std::move(finding));
}

}  // namespace loopscope::findings
