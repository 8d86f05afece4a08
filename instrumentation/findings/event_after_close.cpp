// SPDX-License-Identifier: Apache-2.0
//
// An epoll set keeps what was registered for as long as the open file lives, not the number
// (epoll(7), questions 6 and 9): if a duplicate is left somewhere, events go on to arrive for a
// number that is closed, and nothing with that number can be done to stop them.
#include "instrumentation/findings/incidents.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {

void check_event_after_close(const EndEvidence& evidence, std::vector<Finding>& out) {
  for_incidents(evidence, recording::IncidentKind::kEventAfterClose, [&](const auto& incident) {
    Finding finding = make_incident(evidence, incident, "event-after-close", "waited for");
    // The fault is the close, not the wait: what closed it goes first.
    for (std::size_t i = 1; i < finding.places.size(); ++i) {
      if (finding.places[i].role == "closed") std::swap(finding.places[0], finding.places[i]);
    }
    finding.title = (incident.count == 1 ? std::string("an event")
                                         : std::to_string(incident.count) + " events") +
                    " arrived for descriptor " + std::to_string(incident.fd) +
                    ", which had been closed";
    if (finding.places.front().role == "closed") {
      finding.title += " (" + at_place(finding.places.front()) + ")";
    }
    finding.detail =
        "The registration in the epoll set lives on, because the open file does: a duplicate "
        "(dup, a forked child, a message) still refers to it.";
    const std::string history = history_text(evidence, incident, finding);
    if (!history.empty()) finding.detail += " " + history;
    finding.advice =
        "Call epoll_ctl(EPOLL_CTL_DEL) before the close, or find the duplicate (CLOEXEC for "
        "children) and close it too.";
    out.push_back(std::move(finding));
  });
}

}  // namespace loopscope::findings
