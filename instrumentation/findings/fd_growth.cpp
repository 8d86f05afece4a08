// SPDX-License-Identifier: Apache-2.0
//
// A place that opens descriptors through the whole life of the process, closes none, and leaves
// most of them idle: while it still runs. After its end leak_grade.h judges, with less patience.
//
// Not counted: what is in an epoll set or in use, and connections that were accepted: a server with
// a thread for each has many that only wait for their clients.
#include <algorithm>
#include <map>

#include "instrumentation/findings/blame.h"
#include "instrumentation/findings/end_evidence.h"
#include "instrumentation/findings/rules.h"
#include "instrumentation/findings/text.h"
#include "instrumentation/process/descriptors.h"

namespace loopscope::findings {
namespace {

using recording::FdRecord;

/// Programs keep a few dozen files, and fill caches for a while after they start.
constexpr std::uint64_t kLive = 32;
constexpr std::uint64_t kAgeNs = 30'000'000'000;
/// What was used so lately is not idle.
constexpr std::uint64_t kIdleNs = 10'000'000'000;

struct Site {
  std::vector<const FdRecord*> idle;
  std::uint64_t live = 0;
  std::uint64_t first_ns = 0;
  std::uint64_t last_ns = 0;
};

bool is_idle(const FdRecord& fd, const recording::RecordingSnapshot& recording) {
  return !fd.accepted && !in_service(fd, recording) &&
         std::max(fd.activity_ns, fd.opened_ns) + kIdleNs <= recording.taken_ns;
}

}  // namespace

void check_fd_growth(const Evidence& evidence, std::vector<Finding>& out) {
  const recording::RecordingSnapshot& recording = evidence.recording;
  if (!recording.ledger || recording.life != recording::Life::kRunning) return;
  const std::uint64_t age =
      recording.taken_ns > recording.started_ns ? recording.taken_ns - recording.started_ns : 0;
  if (age < kAgeNs) return;
  std::map<std::size_t, Site> sites;
  for (const FdRecord& fd : recording.ledger->fds) {
    if (!fd.site || fd.origin != recording::FdOrigin::kOpened || fd.opened_ns == 0) continue;
    if (recording.ledger->sites[*fd.site].closed != 0) continue;
    Site& site = sites[*fd.site];
    ++site.live;
    site.first_ns = site.first_ns == 0 ? fd.opened_ns : std::min(site.first_ns, fd.opened_ns);
    site.last_ns = std::max(site.last_ns, fd.opened_ns);
    if (is_idle(fd, recording)) site.idle.push_back(&fd);
  }
  for (const auto& [id, site] : sites) {
    // From its first half into its last quarter: neither a start nor an episode.
    if (site.idle.size() < kLive || site.idle.size() < site.live / 2 ||
        site.last_ns - site.first_ns < age / 2 || site.last_ns + age / 4 < recording.taken_ns) {
      continue;
    }
    const recording::SiteRecord& record = recording.ledger->sites[id];
    Finding finding;
    finding.rule = "fd-growth";
    finding.severity = Severity::kWarning;
    finding.subject = "process";
    finding.count = site.idle.size();
    finding.kind = process::descriptor_kind_name(record.kind);
    finding.since_ns = site.first_ns;
    finding.descriptors = make_descriptors(site.idle);
    Place place;
    place.role = "opened";
    if (evidence.stack_of) place.stack = evidence.stack_of(id);
    if (place.stack) place.frame = blame(*place.stack, "").frame;
    finding.title = descriptors_text(finding.count, record.kind) + " " +
                    (place.frame ? at_place(place) : "opened at one place") +
                    " lie idle, and their number only grows";
    finding.detail = "This place has opened " + std::to_string(record.opened) + " in " +
                     duration_text(site.last_ns - site.first_ns) + ", the last one " +
                     duration_text(recording.taken_ns - site.last_ns) +
                     " ago, and none was ever closed.";
    finding.advice =
        "Find who should close them: the stack of the opening is in the list of open sites. At "
        "this "
        "pace the process will reach its limit of descriptors.";
    finding.places.push_back(std::move(place));
    out.push_back(std::move(finding));
  }
}

}  // namespace loopscope::findings
