// SPDX-License-Identifier: Apache-2.0
#include "cli/check_judge.h"

#include <fnmatch.h>
#include <sys/wait.h>

#include <algorithm>
#include <deque>
#include <map>
#include <tuple>
#include <utility>

#include "instrumentation/findings/check_rules.h"
#include "instrumentation/findings/text.h"

namespace loopscope::cli {
namespace {

using findings::EndEvidence;
using findings::Ending;
using findings::Finding;
using findings::Image;
using findings::Severity;
using recording::Life;

/// How an image of a process ended, and with what.
struct Fate {
  Ending ending = Ending::kExited;
  int status = -1;
  int signal = 0;
};

/// What waiting parents, the command included, were told: the last word on a pid.
using Reaped = std::map<std::int32_t, int>;

Reaped ends_of(const std::vector<TreeImage>& images) {
  Reaped reaped;
  for (const TreeImage& image : images) {
    for (const auto& [pid, status] : image.recording.reaped) reaped[pid] = status;
  }
  return reaped;
}

Fate fate_of(const TreeImage& image, const Reaped& reaped, const CheckResult& result) {
  Fate fate;
  const recording::RecordingSnapshot& recording = image.recording;
  switch (recording.life) {
    case Life::kRunning:
      fate.ending = Ending::kRunning;
      return fate;
    case Life::kExecuted:
      fate.ending = Ending::kExec;
      return fate;
    case Life::kExited:
      if (recording.exit_status) fate.status = *recording.exit_status;
      break;
    case Life::kKilled:
      fate.ending = Ending::kKilled;
      break;
  }
  // A recording knows what it was told by exit; who waited knows what came of it.
  if (recording.pid == result.pid) {
    fate.ending = result.end.killed ? Ending::kKilled : Ending::kExited;
    (result.end.killed ? fate.signal : fate.status) = result.end.number;
  } else if (const auto found = reaped.find(recording.pid); found != reaped.end()) {
    if (WIFSIGNALED(found->second)) {
      fate.ending = Ending::kKilled;
      fate.signal = WTERMSIG(found->second);
    } else if (WIFEXITED(found->second)) {
      fate.ending = Ending::kExited;
      fate.status = WEXITSTATUS(found->second);
    }
  }
  return fate;
}

CheckedProcess process_of(const TreeImage& image, const Fate& fate) {
  const recording::RecordingSnapshot& recording = image.recording;
  CheckedProcess process;
  process.pid = recording.pid;
  process.parent_pid = recording.parent_pid;
  process.command = recording.command;
  process.argv = recording.argv;
  process.started_ns = recording.started_ns;
  process.ended_ns = fate.ending == Ending::kRunning ? 0 : recording.ended_ns;
  switch (fate.ending) {
    case Ending::kExited:
      process.ending = CheckedProcess::Ending::kExited;
      break;
    case Ending::kKilled:
      process.ending = CheckedProcess::Ending::kKilled;
      break;
    case Ending::kExec:
      process.ending = CheckedProcess::Ending::kExec;
      break;
    case Ending::kRunning:
      process.ending = CheckedProcess::Ending::kRunning;
      break;
  }
  process.status = fate.status;
  process.signal = fate.signal;
  if (!recording.ledger) {
    process.unjudged = "its recording has no descriptors";
    return process;
  }
  for (const std::uint64_t opened : recording.ledger->opened) process.opened += opened;
  for (const std::uint64_t closed : recording.ledger->closed) process.closed += closed;
  process.inherited = recording.ledger->inherited;
  process.open_at_end = static_cast<std::uint64_t>(std::count_if(
      recording.ledger->fds.begin(), recording.ledger->fds.end(),
      [](const auto& fd) { return fd.fd > 2 && fd.origin != recording::FdOrigin::kInherited; }));
  process.census = recording.ledger->end_census;
  return process;
}

std::string executable_of(const recording::RecordingSnapshot& recording) {
  if (!recording.ledger) return "";
  for (const recording::ModuleRecord& module : recording.ledger->modules) {
    if (module.executable) return module.path;
  }
  return "";
}

bool matches_any(const std::string& text, const std::vector<std::string>& patterns,
                 std::string& which) {
  for (const std::string& pattern : patterns) {
    if (fnmatch(pattern.c_str(), text.c_str(), 0) == 0) {
      which = pattern;
      return true;
    }
  }
  return false;
}

/// All images as the rules want them: `deque`, because they refer to each other.
struct Family {
  std::deque<Image> images;
  std::vector<Fate> fates;
};

/// Who ran as `pid` when a child of it began: the last image that was there by then.
const Image* parent_at(const std::multimap<std::int32_t, std::size_t>& by_pid, const Family& family,
                       std::int32_t pid, std::uint64_t started_ns) {
  const Image* parent = nullptr;
  const auto [first, last] = by_pid.equal_range(pid);
  for (auto at = first; at != last; ++at) {
    const Image& image = family.images[at->second];
    if (image.recording.started_ns <= started_ns &&
        (parent == nullptr || parent->recording.started_ns < image.recording.started_ns)) {
      parent = &image;
    }
  }
  return parent;
}

Family relate(CheckTree& tree, std::vector<TreeImage>& images, const CheckResult& result) {
  Family family;
  const Reaped reaped = ends_of(images);
  std::multimap<std::int32_t, std::size_t> by_pid;
  for (std::size_t i = 0; i < images.size(); ++i) {
    TreeImage& image = images[i];
    const Fate fate = fate_of(image, reaped, result);
    family.fates.push_back(fate);
    family.images.push_back(Image{
        image.recording, [&tree, &image](std::size_t site) { return tree.stack_of(image, site); },
        executable_of(image.recording), fate.ending});
    family.images[i].glances = image.glances;
    // Sorted by process, then by image.
    if (i != 0 && images[i - 1].name.pid == image.name.pid &&
        images[i - 1].name.start_ticks == image.name.start_ticks) {
      family.images[i].before = &family.images[i - 1];
    }
    by_pid.emplace(image.recording.pid, i);
  }
  for (Image& image : family.images) {
    image.parent =
        parent_at(by_pid, family, image.recording.parent_pid, image.recording.started_ns);
    if (image.parent == &image) image.parent = nullptr;
  }
  return family;
}

std::string unjudged(const CheckedProcess& process, const CheckPolicy& policy,
                     const CheckResult& result) {
  if (!process.unjudged.empty()) return process.unjudged;
  std::string pattern;
  if (matches_any(process.command, policy.ignored, pattern)) {
    return "ignored: --ignore-process " + pattern;
  }
  if (!policy.follow_forks && process.pid != result.pid) return "a child: --no-follow-forks";
  return "";
}

/// File, line and so on of the frame to look at first.
void locate(CheckedFinding& checked, const std::string& root) {
  if (checked.finding.places.empty()) return;
  const findings::Place& place = checked.finding.places.front();
  if (!place.stack || !place.frame || *place.frame >= place.stack->size()) return;
  const recording::StackFrame& frame = (*place.stack)[*place.frame];
  checked.file = frame.file;
  if (!root.empty() && checked.file.starts_with(root + "/")) checked.file.erase(0, root.size() + 1);
  checked.line = frame.line;
  checked.function = frame.function;
  checked.module = frame.module;
  checked.offset = frame.offset;
}

/// The same code in several processes, or at several calls of one place: one finding. A place's
/// stacks may differ above what the fingerprint looks at.
class Merged {
 public:
  void add(CheckedFinding checked) {
    const auto [at, is_new] =
        by_key_.try_emplace({checked.finding.rule, checked.fingerprint, checked.file, checked.line,
                             checked.suppressed_by},
                            all_.size());
    if (is_new) {
      all_.push_back(std::move(checked));
      return;
    }
    CheckedFinding& there = all_[at->second];
    there.finding.count += checked.finding.count;
    if (checked.finding.severity > there.finding.severity) {
      // What makes it worse is said in its words.
      std::swap(there.finding.severity, checked.finding.severity);
      std::swap(there.finding.title, checked.finding.title);
      std::swap(there.finding.detail, checked.finding.detail);
      std::swap(there.finding.advice, checked.finding.advice);
    }
    if (there.process != checked.process &&
        (there.also_in.empty() || there.also_in.back() != checked.process)) {
      ++there.processes;
      there.also_in.push_back(checked.process);
    }
    for (auto& descriptor : checked.finding.descriptors) {
      if (there.finding.descriptors.size() == findings::kMostFoundDescriptors) break;
      there.finding.descriptors.push_back(std::move(descriptor));
    }
    ++repeats_[at->second];
  }

  std::vector<CheckedFinding> take() {
    for (const auto& [index, times] : repeats_) {
      CheckedFinding& finding = all_[index];
      // The title tells of the first; the numbers of all.
      finding.finding.title +=
          finding.processes > 1
              ? " (in " + std::to_string(finding.processes) + " processes, " +
                    std::to_string(finding.finding.count) + " in all)"
              : " (" + std::to_string(finding.finding.count) + " in all, by several ways)";
    }
    return std::move(all_);
  }

 private:
  std::vector<CheckedFinding> all_;
  std::map<std::tuple<std::string, std::string, std::string, int, std::string>, std::size_t>
      by_key_;
  std::map<std::size_t, std::size_t> repeats_;
};

/// --min-count is about descriptors and events: one turn over budget is one too many.
bool is_fewer(const CheckedFinding& checked, const CheckPolicy& policy) {
  const findings::CheckRule* rule = findings::find_check_rule(checked.finding.rule);
  return checked.finding.count < policy.min_count && (rule == nullptr || !rule->budget);
}

/// Suppressed, known, or new; in this order, so that a baseline never holds what is suppressed.
void settle(CheckedFinding& checked, const std::string& command, const CheckPolicy& policy,
            std::map<const findings::Suppression*, UsedSuppression>& used) {
  const findings::Suppression* entry =
      findings::find_suppression(policy.suppressions, checked.finding, command);
  if (entry != nullptr) {
    checked.status = CheckedFinding::Status::kSuppressed;
    checked.suppressed_by = entry->name;
    UsedSuppression& use = used[entry];
    use.name = entry->name;
    use.reason = entry->reason;
    const auto index = static_cast<std::size_t>(entry - policy.suppressions.data());
    use.source = index >= policy.shipped_from ? "shipped with loopscope" : entry->source;
    ++use.findings;
    use.descriptors += checked.finding.count;
  } else if (policy.baseline && policy.baseline->find(checked.fingerprint) != nullptr) {
    checked.status = CheckedFinding::Status::kBaseline;
  } else if (is_fewer(checked, policy)) {
    checked.status = CheckedFinding::Status::kFewer;
  }
  checked.fails = checked.status == CheckedFinding::Status::kNew &&
                  (policy.strict || checked.finding.severity == Severity::kError);
}

/// What a reader of the report must know besides.
void note(const std::vector<TreeImage>& images, const CheckTree& tree, CheckResult& result) {
  std::uint64_t dropped[static_cast<std::size_t>(recording::DropKind::kCount)] = {};
  for (const TreeImage& image : images) {
    for (std::size_t i = 0; i < std::size(dropped); ++i) dropped[i] += image.recording.dropped[i];
    if (!image.recording.error.empty()) {
      result.notes.push_back("process " + std::to_string(image.recording.pid) + " (" +
                             image.recording.command + "): " + image.recording.error);
    }
    if (const std::string failed = findings::own_failures_text(image.recording.own_failures);
        !failed.empty()) {
      result.notes.push_back("process " + std::to_string(image.recording.pid) + " (" +
                             image.recording.command +
                             "): system calls of loopscope's own failed: " + failed);
    }
  }
  for (std::size_t i = 0; i < std::size(dropped); ++i) {
    const char* name = findings::drop_kind_name(i);
    if (dropped[i] == 0 || name == nullptr) continue;
    result.notes.push_back(std::to_string(dropped[i]) + " " + name +
                           " could not be recorded: a table was full or memory was short");
  }
  for (const TreeImage* image : lost_in_exec(images)) {
    if (image->name.pid == result.pid) continue;  // `unseen` says it
    result.notes.push_back("process " + std::to_string(image->recording.pid) + " (" +
                           image->recording.command +
                           ") became a program that made no recording (static, setuid, or started "
                           "with another environment): nothing is known of what that one did");
  }
  for (const auto& [path, why] : tree.unreadable()) result.notes.push_back(why);
  std::size_t running = 0;
  std::string names;
  for (const CheckedProcess& process : result.processes) {
    if (process.ending != CheckedProcess::Ending::kRunning) continue;
    if (++running <= 5) {
      names += (names.empty() ? "" : ", ") + process.command + " " + std::to_string(process.pid);
    }
  }
  if (running != 0) {
    result.notes.push_back(std::to_string(running) + (running == 1 ? " process" : " processes") +
                           " still ran when the run was over, and what they have open is judged as "
                           "in use: " +
                           names + (running > 5 ? ", ..." : ""));
  }
}

}  // namespace

void judge(CheckTree& tree, std::vector<TreeImage> images, const CheckPolicy& policy,
           CheckResult& result) {
  result.strict = policy.strict;
  result.baseline = policy.baseline.has_value();
  if (policy.budgets.stall_ns) result.budgets.emplace_back("stall-budget");
  if (policy.budgets.timer_lag_ns) result.budgets.emplace_back("timer-lag-budget");
  if (policy.budgets.busy_p99_ns) result.budgets.emplace_back("busy-p99-budget");

  // PROGRAM first, then by start.
  std::stable_sort(images.begin(), images.end(), [&](const TreeImage& a, const TreeImage& b) {
    const auto key = [&](const TreeImage& image) {
      return std::tuple(image.name.pid != result.pid, image.name.start_ticks, image.name.pid,
                        image.name.image);
    };
    return key(a) < key(b);
  });
  const Family family = relate(tree, images, result);

  Merged merged;
  for (std::size_t i = 0; i < images.size(); ++i) {
    CheckedProcess process = process_of(images[i], family.fates[i]);
    process.unjudged = unjudged(process, policy, result);
    result.processes.push_back(process);
    const EndEvidence evidence{family.images[i], policy.budgets, policy.own};
    if (!process.unjudged.empty() || findings::nothing_to_judge(evidence)) continue;
    for (Finding& finding : findings::evaluate_end(evidence)) {
      CheckedFinding checked;
      checked.fingerprint = fingerprint(finding, process.command);
      checked.finding = std::move(finding);
      checked.process = i;
      locate(checked, result.root);
      // What an entry matches is kept apart: it must not swallow a leak of the same line.
      const findings::Suppression* entry =
          findings::find_suppression(policy.suppressions, checked.finding, process.command);
      if (entry != nullptr) checked.suppressed_by = entry->name;
      merged.add(std::move(checked));
    }
  }
  result.findings = merged.take();

  std::map<const findings::Suppression*, UsedSuppression> used;
  for (CheckedFinding& checked : result.findings) {
    settle(checked, result.processes[checked.process].command, policy, used);
  }
  for (std::size_t i = 0; i < policy.suppressions.size(); ++i) {
    const findings::Suppression& entry = policy.suppressions[i];
    if (const auto found = used.find(&entry); found != used.end()) {
      result.suppressions.push_back(found->second);
    } else if (i < policy.shipped_from) {
      result.unused_suppressions.push_back(entry.source + " " + entry.name);
    }
  }
  if (policy.baseline) result.baseline_gone = gone(*policy.baseline, result);
  std::stable_sort(result.findings.begin(), result.findings.end(),
                   [](const CheckedFinding& a, const CheckedFinding& b) {
                     const auto key = [](const CheckedFinding& checked) {
                       return std::tuple(!checked.fails,
                                         -static_cast<int>(checked.finding.severity),
                                         ~checked.finding.count);
                     };
                     return key(a) < key(b);
                   });
  note(images, tree, result);
}

}  // namespace loopscope::cli
