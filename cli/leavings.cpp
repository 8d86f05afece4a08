// SPDX-License-Identifier: Apache-2.0
#include "cli/leavings.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>
#include <vector>

#include "cli/run_recordings.h"
#include "instrumentation/recording/directory.h"

namespace loopscope::cli {
namespace {

/// What may be written where we cannot see it, and is as old as this, is no longer wanted there.
constexpr std::time_t kUnknownSeconds = 3600;

/// One look at /proc for each number.
class Living {
 public:
  /// `start_ticks` 0: any process of that number. One that cannot be asked about lives.
  bool has(std::int32_t pid, std::uint64_t start_ticks) {
    const auto [at, fresh] = ticks_.try_emplace(pid, 0);
    if (fresh) at->second = recording::ask_start_ticks(pid);
    const std::uint64_t ticks = at->second;
    return ticks != 0 &&
           (ticks == recording::kTicksUnknown || start_ticks == 0 || ticks == start_ticks);
  }

 private:
  std::map<std::int32_t, std::uint64_t> ticks_;
};

bool is_ours(const std::string& path, struct stat& status) {
  return lstat(path.c_str(), &status) == 0 && status.st_uid == geteuid();
}

}  // namespace

/// A lease for reading is given only while nobody has the file open, or mapped, for writing. (A
/// forked child has its parent's recording mapped, so that one stays until the child is gone, too.)
/// It is given back at once; who opens the file for writing meanwhile has us told of it, by a
/// signal that nobody dies of.
Written is_written(const std::string& path) {
  const auto file = recording::open_recording(path);
  if (!file) return Written::kUnknown;
  const bool told = fcntl(*file, F_SETSIG, SIGURG) == 0;
  const int refused = told && fcntl(*file, F_SETLEASE, F_RDLCK) == 0 ? 0 : errno;
  close(*file);
  if (refused == 0) return Written::kNoLonger;
  return refused == EAGAIN ? Written::kStill : Written::kUnknown;
}

std::set<std::string> recordings_of_run(const std::string& directory, pid_t run) {
  std::set<std::string> found;
  std::error_code why;
  for (std::filesystem::directory_iterator at(directory, why), end; !why && at != end;
       at.increment(why)) {
    // As list_recordings() spells it.
    std::string path = directory + "/" + at->path().filename().native();
    if (recording_name(path).run_pid == run) found.insert(std::move(path));
  }
  return found;
}

std::size_t clear_away(const Leavings& leavings, std::time_t now,
                       Written (*written)(const std::string&)) {
  const auto newest_first = recording::list_recordings(leavings.directory);
  if (!newest_first || newest_first->size() <= leavings.keep) return 0;
  struct Ended {
    const recording::RecordingFile* file;
    bool is_own;
    bool may_live;
  };
  std::vector<Ended> ended;
  std::set<pid_t> elsewhere;  // runs of processes that live and cannot be seen
  Living living;
  struct stat status {};
  for (const recording::RecordingFile& file : *newest_first) {
    const bool is_own = file.run_pid != 0 && file.run_pid == leavings.run &&
                        !(leavings.earlier != nullptr && leavings.earlier->contains(file.path));
    if (is_own && !leavings.own_too) continue;
    if (file.run_pid != 0 && file.run_pid != leavings.run && living.has(file.run_pid, 0)) continue;
    if (living.has(file.pid, file.start_ticks)) continue;
    if (!is_ours(file.path, status) && !is_own) continue;
    const Written use = written(file.path);
    if (use == Written::kStill) {
      elsewhere.insert(file.run_pid);
    } else {
      const bool young = status.st_ctime + kUnknownSeconds >= now;
      ended.push_back({&file, is_own, use == Written::kUnknown && young});
    }
  }
  std::size_t removed = 0;
  for (std::size_t i = leavings.keep; i < ended.size(); ++i) {
    const auto& [file, is_own, may_live] = ended[i];
    if (may_live || (!is_own && file->run_pid != 0 && elsewhere.contains(file->run_pid))) continue;
    if (recording::remove_recording(file->path)) ++removed;
  }
  return removed;
}

}  // namespace loopscope::cli
