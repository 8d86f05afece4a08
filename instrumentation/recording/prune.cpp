// SPDX-License-Identifier: Apache-2.0
//
// Keeps the directory from filling up with the recordings of processes that are gone. On the
// writing side (nothing of libstdc++), because a machine may run many observed programs and never a
// `loopscope serve`.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "instrumentation/recording/paths.h"

namespace loopscope::recording {
namespace {

/// Calls `visit` with every name in the directory. Not opendir(3), which allocates: this may run
/// inside the allocator of the program, which opens a file of its own while it starts (jemalloc).
template <typename Visit>
void for_each_name(int directory, Visit visit) noexcept {
  alignas(8) char entries[4096];
  if (lseek(directory, 0, SEEK_SET) != 0) return;
  for (;;) {
    const long size = syscall(SYS_getdents64, directory, entries, sizeof entries);
    if (size <= 0) return;
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const dirent64*>(entries + at);
      visit(entry->d_name);
      at += entry->d_reclen;
    }
  }
}

}  // namespace

void prune_directory(const char* directory, std::size_t keep) noexcept {
  const int handle = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (handle < 0) return;
  // Removing one file per new recording is enough to hold the number; a few more catch up after
  // `keep` was exceeded.
  for (int removals = 0; removals < 4; ++removals) {
    std::size_t ended = 0;
    char oldest[256] = "";
    timespec oldest_changed{};
    for_each_name(handle, [&](const char* text) {
      RecordingName name;
      if (!parse_recording_name(text, name)) return;
      if (read_start_ticks(name.pid) == name.start_ticks) return;
      if (name.run_pid != 0 && read_start_ticks(name.run_pid) != 0) return;
      struct stat status {};
      if (fstatat(handle, text, &status, AT_SYMLINK_NOFOLLOW) != 0) return;
      ++ended;
      if (oldest[0] == '\0' || status.st_ctim.tv_sec < oldest_changed.tv_sec ||
          (status.st_ctim.tv_sec == oldest_changed.tv_sec &&
           status.st_ctim.tv_nsec < oldest_changed.tv_nsec)) {
        memcpy(oldest, text, strnlen(text, sizeof oldest - 1) + 1);
        oldest_changed = status.st_ctim;
      }
    });
    if (ended > keep) unlinkat(handle, oldest, 0);
    if (ended <= keep + 1) break;
  }
  close(handle);
}

}  // namespace loopscope::recording
