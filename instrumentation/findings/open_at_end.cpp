// SPDX-License-Identifier: Apache-2.0
//
// What a process left open at its end, by open site: each site's descriptors are graded once
// (leak_grade.h), and the grade and its reason say under which name they are reported.
//
//   close-wait          all of them are sockets whose peer has long closed
//   fd-lost-by-thread   all of them were opened by threads that are gone
//   fd-growth           ever more through the run, in a process that did not end by itself
//   fd-leak             any other leak
//   fd-kept             no leak
#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "instrumentation/findings/blame.h"
#include "instrumentation/findings/end_evidence.h"
#include "instrumentation/findings/text.h"

namespace loopscope::findings {
namespace {

using recording::DescriptorKind;
using recording::FdOrigin;
using recording::FdRecord;
using recording::RecordingSnapshot;

/// One stack that opened some of the descriptors that are open. Without a site those of one kind
/// belong together.
struct SiteKey {
  const Image* image;  // whose site it is: an earlier image's, of what exec handed over
  std::optional<std::size_t> site;
  DescriptorKind kind;
  bool operator<(const SiteKey& other) const {
    return std::tie(image, site, kind) < std::tie(other.image, other.site, other.kind);
  }
};
struct Group {
  std::vector<const FdRecord*> fds;
  bool lost_by_exec = false;
  std::uint64_t opened = 0;  // by the site, ever
  std::uint64_t closed = 0;  // of those
  Place place;
};

bool is_standard(const FdRecord& fd) { return fd.fd >= 0 && fd.fd <= 2; }

/// The descriptor of that number that an image handed over when it called exec(3); null: it had
/// none that it opened itself, or that would have outlived the call.
const FdRecord* handed_over(const Image& image, std::int32_t number) {
  if (!image.recording.ledger) return nullptr;
  for (const FdRecord& fd : image.recording.ledger->fds) {
    if (fd.fd == number) return fd.close_on_exec ? nullptr : &fd;
  }
  return nullptr;
}

std::map<SiteKey, Group> open_by_site(const Image& image) {
  std::map<SiteKey, Group> groups;
  for (const FdRecord& fd : image.recording.ledger->fds) {
    if (is_standard(fd)) continue;
    if (fd.origin == FdOrigin::kInherited) {
      if (!untouched(fd)) continue;
      // Who opened it, of the programs that this process was before?
      for (const Image* before = image.before; before != nullptr; before = before->before) {
        const FdRecord* then = handed_over(*before, fd.fd);
        if (then == nullptr) break;
        if (then->origin == FdOrigin::kInherited) {
          if (!untouched(*then)) break;
          continue;
        }
        Group& group = groups[{before, then->site, then->kind}];
        group.fds.push_back(then);
        group.lost_by_exec = true;
        break;
      }
      continue;
    }
    const bool seen = fd.origin == FdOrigin::kOpened;
    groups[{&image, seen ? fd.site : std::nullopt, fd.kind}].fds.push_back(&fd);
  }
  return groups;
}

bool same_lines(const recording::Stack& a, const recording::Stack& b) {
  return std::equal(a->begin(), a->end(), b->begin(), b->end(),
                    [](const recording::StackFrame& one, const recording::StackFrame& other) {
                      if (one.function != other.function || one.file != other.file ||
                          one.line != other.line || one.module != other.module) {
                        return false;
                      }
                      return one.line != 0 || one.offset == other.offset;
                    });
}

/// Names the places, and puts together what the source has as one: a compiler that unrolls a loop
/// makes several calls of one line.
std::vector<std::pair<SiteKey, Group>> name_and_merge(std::map<SiteKey, Group> by_site) {
  std::vector<std::pair<SiteKey, Group>> merged;
  for (auto& one : by_site) {
    const SiteKey& key = one.first;
    Group& group = one.second;
    group.place = make_place("opened", *key.image, key.site);
    if (key.site && *key.site < key.image->recording.ledger->sites.size()) {
      const recording::SiteRecord& site = key.image->recording.ledger->sites[*key.site];
      group.opened = site.opened;
      group.closed = site.closed;
    }
    const auto twin = std::find_if(merged.begin(), merged.end(), [&](const auto& other) {
      return other.first.image == key.image && other.first.kind == key.kind &&
             other.second.lost_by_exec == group.lost_by_exec && other.second.place.stack &&
             group.place.stack && same_lines(other.second.place.stack, group.place.stack);
    });
    if (twin == merged.end()) {
      merged.emplace_back(key, std::move(group));
      continue;
    }
    twin->second.fds.insert(twin->second.fds.end(), group.fds.begin(), group.fds.end());
    twin->second.opened += group.opened;
    twin->second.closed += group.closed;
  }
  return merged;
}

bool peer_has_gone(const FdRecord& fd) { return fd.peer_closed_ns >= kPeerClosedNs; }

/// What other threads than the main one opened moments before the end, one each: whoever opens and
/// closes in turn is now and then caught in between. node's pool opens for scripts, which go on.
std::set<const FdRecord*> in_hand(const Image& image, const Group& group) {
  const RecordingSnapshot& recording = image.recording;
  if (group.lost_by_exec || base_name(image.executable).starts_with("node")) return {};
  std::map<std::int32_t, std::vector<const FdRecord*>> by_thread;
  for (const FdRecord* fd : group.fds) {
    if (fd->thread_id == 0 || fd->thread_id == recording.pid) continue;
    by_thread[fd->thread_id].push_back(fd);
  }
  std::set<const FdRecord*> found;
  for (const auto& [thread, fds] : by_thread) {
    const FdRecord* fd = fds.front();
    const bool one_call = fds.size() == 1 || (fds.size() == 2 && fd->pair_fd == fds.back()->fd);
    if (!one_call || fd->opened_ns + kInHandNs < end_ns(recording)) continue;
    for (const FdRecord* each : fds) {
      if (!peer_has_gone(*each) && !in_service(*each, recording)) found.insert(each);
    }
  }
  return found;
}

/// What is known of a group, but for who opened it.
SiteEvidence describe(const Image& image, const SiteKey& key, const Group& group) {
  const RecordingSnapshot& recording = image.recording;
  SiteEvidence evidence;
  evidence.kind = key.kind;
  evidence.ending = image.ending;
  evidence.lost_by_exec = group.lost_by_exec;
  evidence.live = group.fds.size();
  evidence.opened = std::max<std::uint64_t>(group.opened, evidence.live);
  evidence.closed = group.closed;
  const std::uint64_t end = end_ns(recording);
  evidence.run_ns = end > recording.started_ns ? end - recording.started_ns : 0;
  // A thread of node's pool, which opens files for scripts, means nothing to the script.
  const bool by_pool = base_name(image.executable).starts_with("node");
  std::uint64_t first = 0, last = 0;
  for (const FdRecord* fd : group.fds) {
    if (fd->pair_fd >= 0) evidence.per_call = 2;
    // A peer that has long gone is served no more, wherever its socket is registered.
    if (peer_has_gone(*fd)) {
      ++evidence.peer_closed;
    } else if (!group.lost_by_exec && in_service(*fd, recording)) {
      ++evidence.in_service;
    }
    if (fd->thread_ended && !by_pool) ++evidence.thread_ended;
    if (fd->opened_ns == 0) continue;
    first = first == 0 ? fd->opened_ns : std::min(first, fd->opened_ns);
    last = std::max(last, fd->opened_ns);
  }
  evidence.births_ns = last - first;
  evidence.in_hand = in_hand(image, group).size();
  return evidence;
}

const char* rule_of(const SiteEvidence& evidence, const Verdict& verdict) {
  if (verdict.grade == Grade::kKept) return "fd-kept";
  if (evidence.peer_closed == evidence.live) return "close-wait";
  if (verdict.reason == Reason::kGrows && evidence.ending != Ending::kExited) return "fd-growth";
  if (evidence.thread_ended == evidence.live) return "fd-lost-by-thread";
  return "fd-leak";
}

const char* advice_of(const std::string& rule) {
  if (rule == "close-wait") {
    return "When a read returns 0 the other side is done: close the socket there, on every path.";
  }
  if (rule == "fd-lost-by-thread") {
    return "Close what a thread opens before it returns, or hand it to an owner that outlives it.";
  }
  if (rule == "fd-growth") {
    return "Find who should close them; at this pace the process will reach its limit of "
           "descriptors.";
  }
  return "Close it on every path that leaves its scope, errors included; in C++ let an object own "
         "it. If it is meant to stay open until the end, write a suppression that says why.";
}

std::string opener_text(const Image& image, const SiteKey& key) {
  return key.image != &image ? " before exec" : "";
}

Finding make_finding(const Image& image, const SiteKey& key, const Group& group,
                     const SiteEvidence& evidence, const Verdict& verdict) {
  Finding finding;
  finding.rule = rule_of(evidence, verdict);
  finding.subject = "process";
  finding.kind = make_descriptor(*group.fds.front()).kind;
  finding.count = verdict.count;
  std::vector<const FdRecord*> shown = group.fds;
  if (verdict.grade == Grade::kLeak) {
    const bool some_in_hand = verdict.count + evidence.in_service < evidence.live;
    const std::set<const FdRecord*> busy =
        some_in_hand ? in_hand(image, group) : std::set<const FdRecord*>{};
    std::erase_if(shown, [&](const FdRecord* fd) {
      if (busy.contains(fd)) return true;
      return !group.lost_by_exec && !peer_has_gone(*fd) && in_service(*fd, image.recording);
    });
  }
  finding.descriptors = make_descriptors(shown);
  const std::string what = descriptors_text(verdict.count, evidence.kind) +
                           (group.place.stack ? " " + at_place(group.place) : "") +
                           opener_text(image, key);
  finding.places.push_back(group.place);

  const auto oldest =
      std::min_element(shown.begin(), shown.end(), [](const FdRecord* a, const FdRecord* b) {
        return std::pair(a->opened_ns, a->fd) < std::pair(b->opened_ns, b->fd);
      });
  if ((*oldest)->opened_ns != 0) finding.since_ns = (*oldest)->opened_ns;
  const std::string about = about_text(**oldest);
  const std::string since = after_start((*oldest)->opened_ns, key.image->recording);
  if (verdict.grade == Grade::kKept) {
    finding.severity = Severity::kInfo;
    finding.title = what + (verdict.count == 1 ? " was" : " were") +
                    " kept until the end: " + reason_text(verdict.reason);
    finding.detail = about.empty() ? "" : (verdict.count == 1 ? "" : "The first: ") + about + ".";
    return finding;
  }
  finding.severity = Severity::kError;
  finding.title = what + (verdict.count == 1 ? " was" : " were") + " never closed";
  if (!since.empty() || !about.empty()) {
    finding.title += verdict.count == 1 ? "; opened " : "; the first ";
    finding.title += since;
    if (!about.empty()) finding.title += (since.empty() ? "" : ", ") + about;
  }
  finding.detail = reason_text(verdict.reason);
  if (evidence.closed != 0) {
    finding.detail += " Of " + std::to_string(evidence.opened) + " opened there " +
                      std::to_string(evidence.closed) + " were closed.";
  }
  if (evidence.in_service != 0) {
    finding.detail += " " + std::to_string(evidence.in_service) +
                      " more were in service until the end and are not counted.";
  }
  if (evidence.peer_closed != 0) {
    finding.detail += " Of " + std::to_string(evidence.peer_closed) +
                      " the other side has closed the connection long ago (CLOSE_WAIT).";
  }
  if (evidence.thread_ended != 0) {
    finding.detail += evidence.thread_ended == evidence.live
                          ? " The thread that opened them has ended."
                          : " Of " + std::to_string(evidence.thread_ended) +
                                " the thread that opened it has ended.";
  }
  finding.advice = advice_of(finding.rule);
  return finding;
}

}  // namespace

void check_open_at_end(const EndEvidence& evidence, std::vector<Finding>& out) {
  const Image& image = evidence.image;
  if (!image.recording.ledger) return;
  // What exec takes along is judged in the program that follows; the rest it closes.
  if (image.ending == Ending::kExec) return;
  for (const auto& [key, group] : name_and_merge(open_by_site(image))) {
    SiteEvidence known = describe(image, key, group);
    known.opener = opener_of(group.place.stack, key.image->executable, evidence.own);
    out.push_back(make_finding(image, key, group, known, grade(known)));
  }
}

}  // namespace loopscope::findings
