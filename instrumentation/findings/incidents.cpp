// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/findings/incidents.h"

#include <algorithm>

#include "instrumentation/findings/text.h"
#include "instrumentation/process/descriptors.h"

namespace loopscope::findings {

using recording::IncidentRecord;

bool is_sweep(const IncidentRecord& incident) {
  constexpr std::uint32_t kNeighbours = 3;
  return incident.consecutive >= kNeighbours && incident.consecutive >= incident.count / 2;
}

Severity severity_of(Opener who) {
  switch (who) {
    case Opener::kProgram:
      return Severity::kError;
    case Opener::kLibrary:
    case Opener::kUnknown:
      return Severity::kWarning;
    case Opener::kSystem:
      break;
  }
  return Severity::kInfo;
}

Finding make_incident(const EndEvidence& evidence, const IncidentRecord& incident, const char* rule,
                      const char* role) {
  Finding finding;
  finding.rule = rule;
  finding.subject = "process";
  finding.count = incident.count;
  if (incident.first_ns != 0) finding.since_ns = incident.first_ns;
  finding.places.push_back(make_place(role, evidence.image, incident.site));
  if (incident.close_site) {
    finding.places.push_back(make_place("closed", evidence.image, incident.close_site));
  }
  if (incident.open_site) {
    finding.places.push_back(make_place("opened", evidence.image, incident.open_site));
  }
  // Where a runtime's own code closes and uses, for a script, it is the script that opened it.
  for (const Place& place : finding.places) {
    if (!place.stack && &place != &finding.places.front()) continue;
    finding.severity =
        std::max(finding.severity,
                 severity_of(opener_of(place.stack, evidence.image.executable, evidence.own)));
  }
  FoundDescriptor descriptor;
  descriptor.fd = incident.fd;
  descriptor.opened_ns = incident.opened_ns;
  if (incident.opened_ns != 0 || incident.open_site) {
    descriptor.kind = process::descriptor_kind_name(incident.descriptor_kind);
    finding.kind = descriptor.kind;
  }
  finding.descriptors.push_back(std::move(descriptor));
  return finding;
}

std::string history_text(const EndEvidence& evidence, const IncidentRecord& incident,
                         const Finding& finding) {
  std::string text;
  for (const Place& place : finding.places) {
    if (place.role == "opened") {
      text += "The number was last " + at_place(place);
      if (incident.opened_ns != 0) {
        text += ", " + after_start(incident.opened_ns, evidence.image.recording);
      }
      text += ", for " + descriptors_text(1, incident.descriptor_kind) + ". ";
    }
  }
  for (const Place& place : finding.places) {
    if (place.role != "closed") continue;
    text += "It was " + at_place(place);
    if (incident.closed_ns != 0) {
      text += ", " + after_start(incident.closed_ns, evidence.image.recording);
    }
    if (incident.close_thread_id != 0 && incident.close_thread_id != incident.thread_id) {
      text += ", by thread " + std::to_string(incident.close_thread_id) + " (this was thread " +
              std::to_string(incident.thread_id) + ")";
    }
    text += ". ";
  }
  if (!text.empty()) text.pop_back();
  return text;
}

void for_incidents(const EndEvidence& evidence, recording::IncidentKind kind,
                   const std::function<void(const IncidentRecord&)>& each) {
  if (!evidence.image.recording.ledger) return;
  const auto& incidents = evidence.image.recording.ledger->incidents;
  const auto is_swept = [&](const IncidentRecord& incident) {
    return std::any_of(incidents.begin(), incidents.end(), [&](const IncidentRecord& other) {
      return is_sweep(other) &&
             (&other == &incident || (other.site && other.site == incident.site));
    });
  };
  for (const IncidentRecord& incident : incidents) {
    if (incident.kind == kind && incident.count != 0 && !is_swept(incident)) each(incident);
  }
}

}  // namespace loopscope::findings
