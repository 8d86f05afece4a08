// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <string_view>

#include "instrumentation/recording/paths.h"

namespace loopscope::recording {
namespace {

bool parse_name(const char* text, RecordingFile& file) {
  RecordingName name;
  if (!parse_recording_name(text, name)) return false;
  file.pid = name.pid;
  file.start_ticks = name.start_ticks;
  file.image = name.image;
  file.run_pid = name.run_pid;
  return true;
}

}  // namespace

std::string recording_directory() {
  char directory[512];
  return default_directory(directory, sizeof directory) ? directory : "";
}

std::vector<std::string> recording_directories() {
  std::vector<std::string> found;
  const auto add = [&found](const std::string& directory) {
    if (!directory.empty() && std::find(found.begin(), found.end(), directory) == found.end())
      found.push_back(directory);
  };
  add(recording_directory());
  if (const char* wish = secure_getenv("LOOPSCOPE_DIR"); wish != nullptr && wish[0] != '\0')
    return found;
  add("/run/user/" + std::to_string(geteuid()) + "/loopscope");
  add("/dev/shm/loopscope-" + std::to_string(geteuid()));
  if (geteuid() == 0) {
    for (const std::string& directory : directories_of_users("/dev/shm", 0)) add(directory);
  }
  return found;
}

std::vector<std::string> directories_of_users(const std::string& directory, std::uint32_t not_of) {
  std::vector<std::string> found;
  DIR* handle = opendir(directory.c_str());
  if (handle == nullptr) return found;
  constexpr std::string_view kPrefix = "loopscope-";
  while (const dirent* entry = readdir(handle)) {
    const std::string_view name = entry->d_name;
    if (!name.starts_with(kPrefix)) continue;
    const std::string_view number = name.substr(kPrefix.size());
    std::uint32_t uid = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), uid);
    struct stat status {};
    if (error != std::errc() || end != number.data() + number.size() || uid == not_of ||
        fstatat(dirfd(handle), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISDIR(status.st_mode) || status.st_uid != uid) {
      continue;
    }
    found.push_back(directory + "/" + entry->d_name);
  }
  closedir(handle);
  std::sort(found.begin(), found.end());
  return found;
}

Result<std::vector<RecordingFile>> list_recordings(const std::string& directory) {
  DIR* handle = opendir(directory.c_str());
  if (handle == nullptr) {
    if (errno == ENOENT) return std::vector<RecordingFile>{};
    return Error{errno == EACCES ? Error::Code::kPermission : Error::Code::kSystem,
                 "cannot read the directory " + directory + ": " + std::strerror(errno)};
  }
  struct Dated {
    RecordingFile file;
    timespec changed;
  };
  std::vector<Dated> found;
  std::map<std::pair<std::int32_t, std::uint64_t>, unsigned> newest_image;
  while (const dirent* entry = readdir(handle)) {
    Dated dated{};
    if (!parse_name(entry->d_name, dated.file)) continue;
    struct stat status {};
    if (fstatat(dirfd(handle), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(status.st_mode))
      continue;
    dated.file.path = directory + "/" + entry->d_name;
    dated.changed = status.st_ctim;
    unsigned& newest = newest_image[{dated.file.pid, dated.file.start_ticks}];
    newest = std::max(newest, dated.file.image);
    found.push_back(std::move(dated));
  }
  closedir(handle);

  std::map<std::int32_t, std::uint64_t> start_ticks;  // one look at /proc per pid
  for (Dated& dated : found) {
    RecordingFile& file = dated.file;
    const auto [at, fresh] = start_ticks.try_emplace(file.pid, 0);
    if (fresh) at->second = read_start_ticks(file.pid);
    file.alive = at->second != 0 && at->second == file.start_ticks &&
                 file.image == newest_image[{file.pid, file.start_ticks}];
  }
  std::sort(found.begin(), found.end(), [](const Dated& a, const Dated& b) {
    if (a.file.alive != b.file.alive) return a.file.alive;
    if (a.changed.tv_sec != b.changed.tv_sec) return a.changed.tv_sec > b.changed.tv_sec;
    if (a.changed.tv_nsec != b.changed.tv_nsec) return a.changed.tv_nsec > b.changed.tv_nsec;
    return a.file.path < b.file.path;
  });
  std::vector<RecordingFile> files;
  files.reserve(found.size());
  for (Dated& dated : found) files.push_back(std::move(dated.file));
  return files;
}

std::string next_image_path(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return "";
  RecordingFile file;
  if (!parse_name(path.c_str() + slash + 1, file)) return "";
  char next[4096];
  if (!recording_path(next, sizeof next, path.substr(0, slash).c_str(),
                      {file.pid, file.start_ticks, file.image + 1, file.run_pid})) {
    return "";
  }
  return next;
}

}  // namespace loopscope::recording
