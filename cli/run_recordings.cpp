// SPDX-License-Identifier: Apache-2.0
#include "cli/run_recordings.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "cli/leavings.h"
#include "instrumentation/recording/directory.h"
#include "instrumentation/snapshot/symbol_names.h"

namespace loopscope::cli {
namespace {

/// The last snapshot must not miss who came a moment before the end; looking for files at each one
/// costs little, as a run's directory is kept short.
snapshot::CollectorTiming always_rescan() {
  snapshot::CollectorTiming timing;
  timing.rescan_ns = 0;
  return timing;
}

}  // namespace

recording::RecordingName recording_name(const std::string& path) {
  recording::RecordingName name;
  const std::size_t slash = path.rfind('/') + 1;  // 0 without one
  return recording::parse_recording_name(path.c_str() + slash, name) ? name
                                                                     : recording::RecordingName{};
}

RunRecordings::RunRecordings(std::vector<std::string> directories, pid_t run, pid_t program)
    : directories_(std::move(directories)), run_(run), program_(program) {
  std::set<std::string> earlier;
  for (const std::string& directory : directories_) {
    earlier_[directory] = recordings_of_run(directory, run_);
    earlier.insert(earlier_[directory].begin(), earlier_[directory].end());
  }
  collector_ = snapshot::Collector::of_run(directories_, run_, always_rescan(), std::move(earlier),
                                           program_);
}

snapshot::HostSnapshot RunRecordings::collect(const snapshot::CollectOptions& options) {
  snapshot::HostSnapshot host = collector_->collect(options);
  std::optional<std::pair<End, std::uint64_t>> known;
  {
    const std::lock_guard lock(mutex_);
    known = end_;
  }
  if (!known) return host;
  const auto& [end, at_ns] = *known;
  for (snapshot::ProcessSnapshot& process : host.processes) {
    recording::RecordingSnapshot& recording = process.recording;
    if (recording.pid != program_) continue;
    if (recording.life == recording::Life::kKilled) {
      if (end.killed) {
        process.signal = end.number;
      } else {  // by a way out that the probe does not see
        recording.life = recording::Life::kExited;
      }
      if (recording.ended_ns == 0) recording.ended_ns = at_ns;
    }
    if (recording.life == recording::Life::kExited && !end.killed) {
      recording.exit_status = end.number;
    }
  }
  return host;
}

void RunRecordings::program_ended(const End& end, std::uint64_t at_ns) {
  const std::lock_guard lock(mutex_);
  end_ = {end, at_ns};
}

void RunRecordings::name_stacks() { collector_->name_stacks(snapshot::symbol_names()); }

void RunRecordings::clear_earlier() const { clear(false); }

void RunRecordings::clear_all(const snapshot::HostSnapshot& last) const {
  std::vector<const recording::RecordingSnapshot*> ended;
  for (const snapshot::ProcessSnapshot& process : last.processes) {
    if (process.recording.finished) ended.push_back(&process.recording);
  }
  std::stable_sort(ended.begin(), ended.end(), [this](const auto* a, const auto* b) {
    return std::pair(a->pid == program_, a->ended_ns) > std::pair(b->pid == program_, b->ended_ns);
  });
  if (ended.size() > recording::kKeptRecordings) ended.resize(recording::kKeptRecordings);
  // A recording is as old as its last change of size, that of a server may be weeks. What this run
  // has ended now is the newest, to us and to those who come later.
  for (const recording::RecordingSnapshot* recording : ended) {
    const auto file = recording::open_recording(recording->path);  // follows no link
    if (!file) continue;
    futimens(*file, nullptr);
    close(*file);
  }
  clear(true);
}

void RunRecordings::clear(bool own_too) const {
  for (const auto& [directory, earlier] : earlier_) {
    clear_away({.directory = directory, .run = run_, .earlier = &earlier, .own_too = own_too});
  }
}

bool RunRecordings::has_program() const {
  for (const std::string& directory : directories_) {
    std::error_code why;
    for (std::filesystem::directory_iterator at(directory, why), end; !why && at != end;
         at.increment(why)) {
      const std::string path = directory + "/" + at->path().filename().native();
      const recording::RecordingName name = recording_name(path);
      if (name.pid != program_ || name.run_pid != run_) continue;
      if (!earlier_.at(directory).contains(path)) return true;
    }
  }
  return false;
}

}  // namespace loopscope::cli
