// SPDX-License-Identifier: Apache-2.0
#include "cli/check_tree.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <new>
#include <system_error>
#include <thread>
#include <tuple>

#include "cli/leavings.h"
#include "cli/observation.h"
#include "cli/run_recordings.h"
#include "instrumentation/recording/directory.h"
#include "instrumentation/snapshot/open_sites.h"
#include "instrumentation/snapshot/symbol_names.h"

namespace loopscope::cli {
namespace {

using recording::FdRecord;
using recording::RecordingSnapshot;

/// Sites that a verdict may want to show. Named at once: programs that tests build are often gone
/// soon after.
std::vector<std::size_t> suspects(const RecordingSnapshot& recording) {
  std::vector<std::size_t> sites;
  const auto add = [&](const std::optional<std::size_t>& site) {
    if (site) sites.push_back(*site);
  };
  if (!recording.ledger) return sites;
  for (const FdRecord& fd : recording.ledger->fds) {
    if (fd.fd > 2) add(fd.site);
  }
  for (const recording::IncidentRecord& incident : recording.ledger->incidents) {
    add(incident.site);
    add(incident.close_site);
    add(incident.open_site);
  }
  for (const recording::LoopSnapshot& loop : recording.loops) {
    if (loop.worst_turn) add(loop.worst_turn->served_site);
  }
  std::sort(sites.begin(), sites.end());
  sites.erase(std::unique(sites.begin(), sites.end()), sites.end());
  return sites;
}

/// At the end of the run, what the system refused is asked for so often.
constexpr int kTriesAtTheEnd = 5;
constexpr std::chrono::milliseconds kPause{20};

/// Not for what the file is, but for what the system can give just now.
bool may_pass(const recording::Error& error) {
  return error.code == recording::Error::Code::kSystem;
}

bool is_shortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == EINTR;
}

}  // namespace

std::vector<const TreeImage*> lost_in_exec(const std::vector<TreeImage>& images) {
  std::vector<const TreeImage*> lost;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const recording::RecordingName& name = images[i].name;
    const bool last = i + 1 == images.size() || images[i + 1].name.pid != name.pid ||
                      images[i + 1].name.start_ticks != name.start_ticks;
    if (last && images[i].recording.life == recording::Life::kExecuted) lost.push_back(&images[i]);
  }
  return lost;
}

CheckTree::CheckTree(std::vector<std::string> directories, pid_t run)
    : directories_(std::move(directories)), run_(run), names_(snapshot::symbol_names()) {
  for (const std::string& directory : directories_) {
    // Whoever had our number before us is gone.
    std::set<std::string> earlier = recordings_of_run(directory, run_);
    clear_away({.directory = directory, .run = run_, .earlier = &earlier});
    seen_.merge(earlier);
  }
}

CheckTree::~CheckTree() = default;

void CheckTree::scan() {
  for (const std::string& directory : directories_) {
    // One that is not there is empty: nothing was recorded, and that is said elsewhere.
    const auto listed = recording::list_recordings(directory);
    if (!listed) {
      refused_[directory] = listed.error().message;
      continue;
    }
    refused_.erase(directory);
    for (const auto& found : *listed) {
      if (found.run_pid != run_ || open_.contains(found.path) || seen_.contains(found.path)) {
        continue;
      }
      auto reader = recording::Reader::open(found.path, false);
      if (reader) {
        open_.emplace(found.path, Open{*std::move(reader), recording_name(found.path)});
      } else if (reader.error().code != recording::Error::Code::kNotFound) {
        // Perhaps it is just being made: that shows when it is looked at again.
        unreadable_[found.path] = reader.error().message;
        if (may_pass(reader.error())) refused_[found.path] = reader.error().message;
        continue;
      }
      unreadable_.erase(found.path);
      refused_.erase(found.path);
    }
  }
}

bool CheckTree::take(const std::string& path, Open& open, bool also_running) {
  if (!also_running && open.reader.alive()) return false;
  recording::ReadOptions options;
  options.recent = std::numeric_limits<std::size_t>::max();
  options.details = true;
  auto read = open.reader.read(options);
  if (!read) {
    // It is a recording, or it would not have been opened: what it says must not be lost.
    unreadable_[path] = refused_[path] = read.error().message;
    return false;
  }
  unreadable_.erase(path);
  refused_.erase(path);
  if (!also_running && !read->finished) return false;
  // From here on it is known, whatever memory there is for the rest.
  TreeImage& image = images_.emplace_back();
  image.name = open.name;
  image.recording = *std::move(read);
  seen_.insert(path);
  written_.push_back(path);
  if (image.recording.life == recording::Life::kExited ||
      image.recording.life == recording::Life::kKilled) {
    gone_.emplace(image.name.pid, image.name.start_ticks);
  }
  name_suspects(image);
  return true;
}

/// Names are for people: a verdict does without.
void CheckTree::name_suspects(TreeImage& image) {
  try {
    for (const std::size_t site : suspects(image.recording)) stack_of(image, site);
  } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): an address is shown instead
  }
}

/// A process that calls exec(3) names its next recording by the first number that is free: what it
/// has written stays until it is gone.
void CheckTree::remove_files() {
  std::erase_if(written_, [&](const std::string& path) {
    const recording::RecordingName name = recording_name(path);
    if (!gone_.contains({name.pid, name.start_ticks})) return false;
    recording::remove_recording(path);
    return true;
  });
}

void CheckTree::tend() {
  scan();
  for (auto at = open_.begin(); at != open_.end();) {
    at = take(at->first, at->second, false) ? open_.erase(at) : std::next(at);
  }
  remove_files();
}

std::vector<pid_t> CheckTree::running() const {
  const std::string wanted = probe_run_option(run_);
  std::vector<pid_t> running;
  std::error_code why;
  for (std::filesystem::directory_iterator at("/proc", why), end; !why && at != end;
       at.increment(why)) {
    const std::string name = at->path().filename().native();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    // Empty for who has ended and was not waited for; not readable for other users' processes.
    errno = 0;
    std::ifstream file(at->path() / "environ", std::ios::binary);
    if (!file.is_open() && is_shortage(errno)) return running_by_recordings();
    std::string variable;
    while (std::getline(file, variable, '\0') && !variable.starts_with(wanted)) {
    }
    if (variable == wanted || variable.starts_with(wanted + ",")) {
      running.push_back(std::stoi(name));
    }
  }
  return why ? running_by_recordings() : running;
}

/// Where /proc cannot be looked through: at least those that record.
std::vector<pid_t> CheckTree::running_by_recordings() const {
  std::vector<pid_t> running;
  for (const auto& [path, open] : open_) {
    if (open.reader.alive()) running.push_back(open.name.pid);
  }
  return running;
}

void CheckTree::signal_all(int signal) const {
  for (const pid_t pid : running()) kill(pid, signal);
}

std::vector<TreeImage> CheckTree::finish() {
  // A shortage (of memory, of descriptors) may pass; what it hides must not pass for healthy.
  for (int tries = 0; tries < kTriesAtTheEnd; ++tries) {
    if (tries != 0) std::this_thread::sleep_for(kPause);
    tend();
    if (refused_.empty()) break;
  }
  for (auto& [path, open] : open_) take(path, open, true);
  if (!refused_.empty()) missed_ = refused_.begin()->second;
  open_.clear();
  remove_files();
  // What the last program of a process was is not seen; nothing else will come of it now.
  for (const TreeImage& image : images_) {
    if (image.recording.finished && image.recording.life == recording::Life::kExecuted) {
      recording::remove_recording(image.recording.path);
    }
  }
  std::stable_sort(images_.begin(), images_.end(), [](const TreeImage& a, const TreeImage& b) {
    return std::tie(a.name.start_ticks, a.name.pid, a.name.image) <
           std::tie(b.name.start_ticks, b.name.pid, b.name.image);
  });
  return std::move(images_);
}

recording::Stack CheckTree::stack_of(TreeImage& image, std::size_t site) {
  if (const auto found = image.stacks.find(site); found != image.stacks.end()) return found->second;
  recording::Stack stack;
  const auto& ledger = image.recording.ledger;
  if (ledger && site < ledger->sites.size()) {
    auto frames = snapshot::named_stack(*ledger, ledger->sites[site], names_.get());
    if (!frames.empty()) {
      stack = std::make_shared<const std::vector<recording::StackFrame>>(std::move(frames));
    }
  }
  return image.stacks[site] = std::move(stack);
}

}  // namespace loopscope::cli
