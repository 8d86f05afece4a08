// SPDX-License-Identifier: Apache-2.0
//
// Close to RLIMIT_NOFILE. At the limit accept(2) and open(2) fail with EMFILE; a listener then
// stays ready and, in many programs, makes the loop spin.
#include "instrumentation/findings/rules.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {
namespace {

/// Per cent of the soft limit: time to look, and about to fail.
constexpr std::uint64_t kWarningPercent = 80;
constexpr std::uint64_t kErrorPercent = 95;

}  // namespace

void check_fd_limit(const Evidence& evidence, std::vector<Finding>& out) {
  if (!evidence.open_fds || !evidence.fd_limit || *evidence.fd_limit == 0) return;
  const std::uint64_t open = *evidence.open_fds;
  const std::uint64_t limit = *evidence.fd_limit;
  const auto reaches = [&](std::uint64_t percent) {
    // Rounded up, as open * 100 / limit >= percent would be with real numbers.
    return open >= limit / 100 * percent + (limit % 100 * percent + 99) / 100;
  };
  if (!reaches(kWarningPercent)) return;
  Finding finding;
  finding.rule = "fd-limit";
  finding.severity = reaches(kErrorPercent) ? Severity::kError : Severity::kWarning;
  finding.subject = "process";
  finding.count = open;
  finding.title = std::to_string(open) + " of " + std::to_string(limit) +
                  " descriptors are open (" + percent_text(open, limit) + ")";
  finding.detail =
      "At the limit, accept, open and socket fail with EMFILE: new connections are "
      "refused, and a listener that stays ready makes the loop spin.";
  finding.advice =
      "Look at the descriptors by kind for one that only grows. If none does, raise "
      "the limit (ulimit -n, LimitNOFILE= in a systemd unit).";
  out.push_back(std::move(finding));
}

}  // namespace loopscope::findings
