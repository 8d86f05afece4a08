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

#include "instrumentation/recording/own_calls.h"
#include "instrumentation/recording/paths.h"

namespace loopscope::recording {
namespace {

/// Calls `visit` with every name in the directory. Not opendir(3), which allocates: this may run
/// inside the allocator of the program, which opens a file of its own while it starts (jemalloc).
template <typename Visit>
void for_each_name(int directory, Visit visit) noexcept {
  alignas(8) char entries[4096];
  if (own_call(OwnCall::kLseek, [&] { return lseek(directory, 0, SEEK_SET); }) != 0) return;
  for (;;) {
    const long size = own_call(OwnCall::kGetdents, [&] {
      return syscall(SYS_getdents64, directory, entries, sizeof entries);
    });
    if (size <= 0) return;
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const dirent64*>(entries + at);
      visit(entry->d_name);
      at += entry->d_reclen;
    }
  }
}

/// Whether the process whose recording has that name may still run: one that cannot be asked about
/// keeps its recording. `start_ticks` 0: not known.
bool may_run(std::int32_t pid, std::uint64_t start_ticks) noexcept {
  const std::uint64_t ticks = ask_start_ticks(pid);
  return ticks != 0 && (ticks == kTicksUnknown || start_ticks == 0 || ticks == start_ticks);
}

}  // namespace

void prune_directory(int handle, std::size_t keep) noexcept {
  // Removing one file per new recording is enough to hold the number; a few more catch up after
  // `keep` was exceeded.
  for (int removals = 0; removals < 4; ++removals) {
    std::size_t ended = 0;
    char oldest[256] = "";
    timespec oldest_changed{};
    for_each_name(handle, [&](const char* text) {
      RecordingName name;
      if (!parse_recording_name(text, name)) return;
      if (may_run(name.pid, name.start_ticks)) return;
      if (name.run_pid != 0 && may_run(name.run_pid, 0)) return;
      struct stat status {};
      if (uninterrupted(OwnCall::kStat,
                        [&] { return fstatat(handle, text, &status, AT_SYMLINK_NOFOLLOW); }) != 0) {
        // Another process may have removed it.
        if (errno != ENOENT) own_call_failed(OwnCall::kStat, errno);
        return;
      }
      // It cannot be removed, and would be the oldest for ever.
      if (S_ISDIR(status.st_mode)) return;
      ++ended;
      if (oldest[0] == '\0' || status.st_ctim.tv_sec < oldest_changed.tv_sec ||
          (status.st_ctim.tv_sec == oldest_changed.tv_sec &&
           status.st_ctim.tv_nsec < oldest_changed.tv_nsec)) {
        memcpy(oldest, text, strnlen(text, sizeof oldest - 1) + 1);
        oldest_changed = status.st_ctim;
      }
    });
    if (ended > keep &&
        uninterrupted(OwnCall::kUnlink, [&] { return unlinkat(handle, oldest, 0); }) != 0) {
      if (errno != ENOENT) own_call_failed(OwnCall::kUnlink, errno);
    }
    if (ended <= keep + 1) break;
  }
}

}  // namespace loopscope::recording
