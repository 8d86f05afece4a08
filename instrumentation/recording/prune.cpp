// SPDX-License-Identifier: Apache-2.0
//
// Keeps the directory from filling up with the recordings of processes that are gone. On the
// writing side (nothing of libstdc++), because a machine may run many observed programs and never a
// `loopscope serve`.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "instrumentation/recording/paths.h"

namespace loopscope::recording {

void prune_directory(const char* directory, std::size_t keep) noexcept {
  // Removing one file per new recording is enough to hold the number; a few more catch up after
  // `keep` was exceeded.
  for (int removals = 0; removals < 4; ++removals) {
    DIR* handle = opendir(directory);
    if (handle == nullptr) return;
    std::size_t ended = 0;
    char oldest[256] = "";
    timespec oldest_changed{};
    while (const dirent* entry = readdir(handle)) {
      RecordingName name;
      if (!parse_recording_name(entry->d_name, name)) continue;
      if (read_start_ticks(name.pid) == name.start_ticks) continue;
      if (name.run_pid != 0 && read_start_ticks(name.run_pid) != 0) continue;
      struct stat status {};
      if (fstatat(dirfd(handle), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
      ++ended;
      if (oldest[0] == '\0' || status.st_ctim.tv_sec < oldest_changed.tv_sec ||
          (status.st_ctim.tv_sec == oldest_changed.tv_sec &&
           status.st_ctim.tv_nsec < oldest_changed.tv_nsec)) {
        memcpy(oldest, entry->d_name, strnlen(entry->d_name, sizeof oldest - 1) + 1);
        oldest_changed = status.st_ctim;
      }
    }
    if (ended > keep) unlinkat(dirfd(handle), oldest, 0);
    closedir(handle);
    if (ended <= keep + 1) return;
  }
}

}  // namespace loopscope::recording
