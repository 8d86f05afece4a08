// SPDX-License-Identifier: Apache-2.0
//
// What the rules over incidents (layout.h: Incident) have in common. An incident is a fact: the
// kernel refused a call, or returned an event for a number that was closed. What is left to judge
// is whose code it was and whether it was meant.
//
// Thread-safety: no state.
#pragma once

#include <functional>

#include "instrumentation/findings/end_evidence.h"

namespace loopscope::findings {

/// A loop over all numbers, as daemons and those who are about to call exec run it: it closes what
/// is there and does not mind what is not.
bool is_sweep(const recording::IncidentRecord& incident);

/// The program's own code is to blame: an error. A library that it called: a warning. A program or
/// runtime of the system: known to nobody who could change it.
Severity severity_of(Opener who);

/// A finding with what is the same for all of them: places (where it happened, closed, opened),
/// severity (that of whoever among those can do most about it), count, kind, the descriptor.
Finding make_incident(const EndEvidence& evidence, const recording::IncidentRecord& incident,
                      const char* rule, const char* role);

/// "It was opened 12 ms after start, as a file (/etc/passwd), and closed at f (a.c:3) by
/// thread 12."
std::string history_text(const EndEvidence& evidence, const recording::IncidentRecord& incident,
                         const Finding& finding);

/// Those of that kind that may not have been meant: neither sweeps, nor what else happened at the
/// place of a sweep of any kind (it also meets numbers that were open once, each a story of its
/// own).
void for_incidents(const EndEvidence& evidence, recording::IncidentKind kind,
                   const std::function<void(const recording::IncidentRecord&)>& each);

}  // namespace loopscope::findings
