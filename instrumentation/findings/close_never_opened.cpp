// SPDX-License-Identifier: Apache-2.0
//
// Closing a number that this process never had open: an uninitialised variable, a result that was
// not checked. Loops over all numbers are meant, and -1 harms nobody.
#include <algorithm>

#include "instrumentation/findings/incidents.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {

void check_close_never_opened(const EndEvidence& evidence, std::vector<Finding>& out) {
  for_incidents(evidence, recording::IncidentKind::kCloseNeverOpened, [&](const auto& incident) {
    Finding finding = make_incident(evidence, incident, "close-never-opened", "closed");
    // The kernel has no such number and never will.
    const bool harmless = incident.fd < 0 && incident.last_fd < 0;
    finding.severity = std::min(finding.severity, harmless ? Severity::kInfo : Severity::kWarning);
    const Place& place = finding.places.front();
    finding.title = incident.call + "(" + std::to_string(incident.fd) + ")" +
                    at_place(place).substr(place.role.size()) +
                    ": this process never had that number open";
    if (incident.count > 1) finding.title += ", " + times_text(incident.count);
    finding.detail = "The call failed with EBADF.";
    if (incident.last_fd != incident.fd) {
      finding.detail += " The last number was " + std::to_string(incident.last_fd) + ".";
    }
    finding.advice = harmless
                         ? "Check what open, socket or accept returned before it is closed."
                         : "Look for a variable that was never set, or that holds the number of "
                           "another process: had the number been in use, somebody else's "
                           "descriptor would have been closed.";
    out.push_back(std::move(finding));
  });
}

}  // namespace loopscope::findings
