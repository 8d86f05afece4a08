// SPDX-License-Identifier: Apache-2.0
//
// A gap in the record is never silent: whatever was dropped makes every figure a lower bound.
#include "instrumentation/findings/rules.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {

void check_records_dropped(const Evidence& evidence, std::vector<Finding>& out) {
  std::uint64_t total = 0;
  std::string kinds;
  for (std::size_t i = 0; i < static_cast<std::size_t>(recording::DropKind::kCount); ++i) {
    const std::uint64_t dropped = evidence.recording.dropped[i];
    if (dropped == 0) continue;
    total += dropped;
    if (!kinds.empty()) kinds += ", ";
    const char* name = drop_kind_name(i);
    kinds += std::to_string(dropped) + " " + (name != nullptr ? name : "others");
  }
  if (kinds.empty()) return;
  Finding finding;
  finding.rule = "records-dropped";
  finding.severity = Severity::kInfo;
  finding.subject = "process";
  finding.count = total;
  finding.title = "not everything could be recorded: " + kinds + " were dropped";
  finding.detail = evidence.recording.error.empty()
                       ? "A table of the recording is full."
                       : "The recording says: " + evidence.recording.error;
  finding.advice =
      "Give watchers of the same purpose one name (names are what fills the table), and make sure "
      "the directory of the recordings has free space.";
  out.push_back(std::move(finding));
}

}  // namespace loopscope::findings
