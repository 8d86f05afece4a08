// SPDX-License-Identifier: Apache-2.0
//
// A read, write or other call on a number that was closed. The kernel refused (EBADF); had the
// number been given out anew, the bytes would have gone to whoever has it now.
#include "instrumentation/findings/incidents.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {
namespace {

void check(const EndEvidence& evidence, const recording::IncidentRecord& incident, bool was_open,
           std::vector<Finding>& out) {
  // Started without standard input, output or error: that is not the program's doing.
  if (!was_open && incident.fd >= 0 && incident.fd <= 2) return;
  Finding finding = make_incident(evidence, incident, "use-after-close", "used");
  finding.title = incident.call + "(" + std::to_string(incident.fd) + ") " +
                  at_place(finding.places.front()) +
                  (was_open ? ": the descriptor was closed before"
                            : ": this process never had that number open");
  if (incident.count > 1) finding.title += ", " + times_text(incident.count);
  if (!was_open) {
    // Programs ask so whether a number they may have been given is there (fcntl, fstat).
    finding.severity = Severity::kInfo;
  }
  finding.detail = "The call failed with EBADF.";
  const std::string history = history_text(evidence, incident, finding);
  if (!history.empty()) finding.detail += " " + history;
  finding.advice =
      "Find who still holds the number after it was closed. When it has been given to somebody "
      "else in between, the call reads or writes their file or connection.";
  out.push_back(std::move(finding));
}

}  // namespace

void check_use_after_close(const EndEvidence& evidence, std::vector<Finding>& out) {
  for_incidents(evidence, recording::IncidentKind::kUseAfterClose,
                [&](const auto& incident) { check(evidence, incident, true, out); });
  for_incidents(evidence, recording::IncidentKind::kUseNeverOpened,
                [&](const auto& incident) { check(evidence, incident, false, out); });
}

}  // namespace loopscope::findings
