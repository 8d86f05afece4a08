// SPDX-License-Identifier: Apache-2.0
//
// A descriptor that a program opened without CLOEXEC, and that a child which runs another program
// has for that reason: it never touches it, and keeps a connection, a port or a lock alive that its
// owner closed long ago.
#include <map>
#include <utility>

#include "instrumentation/findings/end_evidence.h"
#include "instrumentation/findings/text.h"
#include "instrumentation/process/descriptors.h"

namespace loopscope::findings {
namespace {

using recording::FdOrigin;
using recording::FdRecord;

/// What the child has, as its parent knows it.
struct Leaked {
  const FdRecord* of_parent = nullptr;
  std::uint64_t closed_ns = 0;  // by the parent, while the child lived on; 0: it did not
};

/// The parent's descriptor of that number when the child was started.
Leaked of_parent(const Image& parent, std::int32_t number, std::uint64_t started_ns,
                 std::uint64_t ended_ns) {
  const auto was_there = [&](const FdRecord& fd) {
    return fd.fd == number && fd.origin == FdOrigin::kOpened && !fd.close_on_exec &&
           fd.opened_ns != 0 && fd.opened_ns < started_ns;
  };
  for (const FdRecord& fd : parent.recording.ledger->fds) {
    if (was_there(fd)) return {&fd, 0};
  }
  for (const recording::ClosedFd& closed : parent.recording.ledger->closed_fds) {
    if (!was_there(closed.fd) || closed.closed_ns < started_ns) continue;
    return {&closed.fd, closed.closed_ns < ended_ns ? closed.closed_ns : 0};
  }
  return {};
}

/// fork(2) alone shares descriptors on purpose; exec makes another program of the child.
bool runs_another_program(const Image& image) {
  return image.before != nullptr || !image.recording.forked;
}

}  // namespace

void check_inherited_by_exec(const EndEvidence& evidence, std::vector<Finding>& out) {
  const Image& image = evidence.image;
  if (image.parent == nullptr || !image.recording.ledger || !image.parent->recording.ledger ||
      image.ending == Ending::kExec || !runs_another_program(image)) {
    return;
  }
  const Image& parent = *image.parent;
  const std::uint64_t ended = end_ns(image.recording);
  std::map<std::optional<std::size_t>, std::vector<Leaked>> by_site;
  for (const FdRecord& fd : image.recording.ledger->fds) {
    if (fd.fd <= 2 || fd.origin != FdOrigin::kInherited || !untouched(fd)) {
      continue;
    }
    const Leaked leaked = of_parent(parent, fd.fd, image.recording.started_ns, ended);
    if (leaked.of_parent != nullptr) by_site[leaked.of_parent->site].push_back(leaked);
  }
  for (const auto& [site, leaked] : by_site) {
    Finding finding;
    finding.rule = "fd-inherited-by-exec";
    finding.subject = "process";
    finding.count = leaked.size();
    const FdRecord& first = *leaked.front().of_parent;
    finding.kind = process::descriptor_kind_name(first.kind);
    finding.places.push_back(make_place("opened", parent, site));
    std::vector<const FdRecord*> fds;
    std::uint64_t closed_ns = 0;
    for (const Leaked& each : leaked) {
      fds.push_back(each.of_parent);
      if (each.closed_ns != 0) closed_ns = each.closed_ns;
    }
    finding.descriptors = make_descriptors(std::move(fds));
    // Most programs give a short-lived child more than it needs; harm is done where the owner meant
    // the thing to be gone and it is not, or where a port stays taken.
    const bool harms = closed_ns != 0 || first.listening;
    switch (opener_of(finding.places.front().stack, parent.executable, evidence.own)) {
      case Opener::kProgram:
        finding.severity = harms ? Severity::kError : Severity::kWarning;
        break;
      case Opener::kLibrary:
      case Opener::kUnknown:
        finding.severity = harms ? Severity::kWarning : Severity::kInfo;
        break;
      case Opener::kSystem:
        finding.severity = Severity::kInfo;
        break;
    }
    finding.title = descriptors_text(finding.count, first.kind) + " of " +
                    parent.recording.command + " (" + at_place(finding.places.front()) +
                    ") leaked into " + image.recording.command + ", which never used " +
                    (finding.count == 1 ? "it" : "them");
    const std::string about = about_text(first);
    finding.detail = "Opened without CLOEXEC, so the program that the child became has " +
                     std::string(finding.count == 1 ? "it" : "them") + " too" +
                     (about.empty() ? "." : " (" + about + ").");
    if (closed_ns != 0) {
      finding.detail += " " + parent.recording.command + " closed its own " +
                        after_start(closed_ns, parent.recording) + "; the child kept it open for " +
                        duration_text(ended - closed_ns) +
                        " more, so that its peer saw no end and its file was not released.";
    } else if (first.listening) {
      finding.detail += " It is a listening socket: while the child lives, the port stays taken.";
    }
    finding.advice =
        "Open with O_CLOEXEC, SOCK_CLOEXEC, EPOLL_CLOEXEC ... (fopen: mode \"e\"); setting "
        "FD_CLOEXEC afterwards leaves a gap in which another thread may fork.";
    if (first.opened_ns != 0) finding.since_ns = first.opened_ns;
    out.push_back(std::move(finding));
  }
}

}  // namespace loopscope::findings
