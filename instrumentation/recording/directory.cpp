// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <limits>
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

struct Names {
  std::string directory;
  std::string file;
};

Names split(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

/// -1 and errno: it is not there, not a directory, or a link, which somebody may have put in its
/// place.
int open_directory(const std::string& path, int flags) {
  return ::open(path.c_str(), flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

Error directory_error(const std::string& directory, int why) {
  struct stat status {};
  const bool is_link = lstat(directory.c_str(), &status) == 0 && S_ISLNK(status.st_mode);
  return {why == EACCES ? Error::Code::kPermission : Error::Code::kSystem,
          "cannot read the directory " + directory + ": " +
              (is_link ? "it is a symbolic link; name what it leads to" : std::strerror(why))};
}

Error file_error(const std::string& path, int why) {
  return {why == ENOENT   ? Error::Code::kNotFound
          : why == EACCES ? Error::Code::kPermission
                          : Error::Code::kSystem,
          "cannot open " + path + ": " + std::strerror(why)};
}

}  // namespace

bool is_foreign(std::uint32_t owner) { return owner != 0 && owner != geteuid(); }

bool may_speak_of(std::uint32_t owner, std::int32_t pid) {
  if (!is_foreign(owner)) return true;
  // Not the owner of /proc/PID: that is root's as soon as a process has changed its user.
  char text[4096];
  const std::string path = "/proc/" + std::to_string(pid) + "/status";
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t size = 0;
  do {
    size = ::read(fd, text, sizeof text - 1);
  } while (size < 0 && errno == EINTR);
  close(fd);
  if (size <= 0) return false;
  text[size] = '\0';
  // The name, in the first line, has its newlines escaped.
  const char* line = std::strstr(text, "\nUid:");
  unsigned uid[4] = {};
  return line != nullptr &&
         // NOLINTNEXTLINE(cert-err34-c)
         std::sscanf(line, "\nUid:\t%u\t%u\t%u\t%u", &uid[0], &uid[1], &uid[2], &uid[3]) == 4 &&
         std::all_of(std::begin(uid), std::end(uid), [owner](unsigned id) { return id == owner; });
}

Result<int> open_recording(const std::string& path) {
  const Names names = split(path);
  const int directory = open_directory(names.directory, O_PATH);
  if (directory < 0) return file_error(path, errno);
  struct stat above {};
  const bool known = fstat(directory, &above) == 0;
  // O_NONBLOCK: a FIFO of that name must not make us wait.
  const int fd = openat(directory, names.file.c_str(),
                        O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
  const int why = errno;
  close(directory);
  if (fd < 0) return file_error(path, why);
  struct stat status {};
  if (!known || fstat(fd, &status) != 0 ||
      (is_foreign(above.st_uid) && status.st_uid != above.st_uid)) {
    close(fd);
    return Error{Error::Code::kPermission,
                 path + " belongs to another user than the directory it is in: not opened"};
  }
  return fd;
}

bool remove_recording(const std::string& path) {
  const Names names = split(path);
  const int directory = open_directory(names.directory, O_PATH);
  if (directory < 0) return errno == ENOENT;
  const int why = unlinkat(directory, names.file.c_str(), 0) == 0 ? 0 : errno;
  close(directory);
  errno = why;
  return why == 0 || why == ENOENT;
}

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

Result<std::vector<RecordingFile>> list_recordings(const std::string& directory,
                                                   std::size_t most_of_another, bool* more) {
  if (more != nullptr) *more = false;
  const int opened = open_directory(directory, O_RDONLY);
  if (opened < 0 && errno == ENOENT) return std::vector<RecordingFile>{};
  DIR* handle = opened < 0 ? nullptr : fdopendir(opened);
  if (handle == nullptr) {
    const int why = errno;
    if (opened >= 0) close(opened);
    return directory_error(directory, why);
  }
  struct Dated {
    RecordingFile file;
    timespec changed;
    std::uint32_t owner;
  };
  std::vector<Dated> found;
  std::map<std::pair<std::int32_t, std::uint64_t>, unsigned> newest_image;
  struct stat above {};
  if (fstat(dirfd(handle), &above) == 0 && !is_foreign(above.st_uid)) {
    most_of_another = std::numeric_limits<std::size_t>::max();
  }
  std::size_t looked_at = 0;
  // A part of the recordings must not pass for all of them.
  int failed = 0;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(handle);
    if (entry == nullptr) {
      failed = errno;
      break;
    }
    if (looked_at++ == most_of_another) {
      if (more != nullptr) *more = true;
      break;
    }
    Dated dated{};
    if (!parse_name(entry->d_name, dated.file)) continue;
    struct stat status {};
    if (fstatat(dirfd(handle), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;
      failed = errno;
      break;
    }
    if (!S_ISREG(status.st_mode)) continue;
    dated.file.path = directory + "/" + entry->d_name;
    dated.changed = status.st_ctim;
    dated.owner = status.st_uid;
    dated.file.foreign = is_foreign(status.st_uid);
    unsigned& newest = newest_image[{dated.file.pid, dated.file.start_ticks}];
    newest = std::max(newest, dated.file.image);
    found.push_back(std::move(dated));
  }
  closedir(handle);
  if (failed != 0) return directory_error(directory, failed);

  std::map<std::int32_t, std::uint64_t> start_ticks;  // one look at /proc per pid
  for (Dated& dated : found) {
    RecordingFile& file = dated.file;
    const auto [at, fresh] = start_ticks.try_emplace(file.pid, 0);
    if (fresh) at->second = ask_start_ticks(file.pid);
    // One that cannot be asked about is not taken for dead.
    file.alive =
        at->second != 0 &&
        (at->second == file.start_ticks || at->second == kTicksUnknown || file.start_ticks == 0) &&
        file.image == newest_image[{file.pid, file.start_ticks}] &&
        may_speak_of(dated.owner, file.pid);
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
