// SPDX-License-Identifier: Apache-2.0
//
// A number that was closed is closed again. Here the kernel refused (EBADF), because nobody had
// been given the number meanwhile; with other threads or a little more traffic somebody has, and
// the second close takes their descriptor away.
#include "instrumentation/findings/incidents.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {

void check_double_close(const EndEvidence& evidence, std::vector<Finding>& out) {
  for_incidents(evidence, recording::IncidentKind::kDoubleClose, [&](const auto& incident) {
    Finding finding = make_incident(evidence, incident, "double-close", "closed again");
    finding.title = "descriptor " + std::to_string(incident.fd) + " was " +
                    at_place(finding.places.front()) + " though it was closed already";
    if (incident.count > 1) finding.title += ", " + times_text(incident.count);
    finding.detail =
        incident.call + " failed with EBADF. " + history_text(evidence, incident, finding);
    finding.advice =
        "Let one owner close it, and set its variable to -1 there. As soon as the number has been "
        "given to somebody else in between, the second close hits their descriptor.";
    out.push_back(std::move(finding));
  });
}

}  // namespace loopscope::findings
