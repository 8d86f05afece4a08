// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

namespace loopscope::recording {

bool recording_path(char* to, std::size_t size, const char* directory,
                    const RecordingName& name) noexcept {
  char run[16] = "";
  if (name.run_pid > 0) snprintf(run, sizeof run, "-%d", static_cast<int>(name.run_pid));
  const int length =
      snprintf(to, size, "%s/%d-%llu-%u%s%s", directory, static_cast<int>(name.pid),
               static_cast<unsigned long long>(name.start_ticks), name.image, run, kFileSuffix);
  return length > 0 && static_cast<std::size_t>(length) < size;
}

bool parse_recording_name(const char* text, RecordingName& name) noexcept {
  int used = 0;
  unsigned long long ticks = 0;
  if (sscanf(text, "%d-%llu-%u%n", &name.pid, &ticks, &name.image, &used) != 3)
    return false;  // NOLINT(cert-err34-c)
  name.start_ticks = ticks;
  name.run_pid = 0;
  text += used;
  if (sscanf(text, "-%d%n", &name.run_pid, &used) == 1) {  // NOLINT(cert-err34-c)
    if (name.run_pid <= 0) return false;
    text += used;
  }
  return name.pid > 0 && strcmp(text, kFileSuffix) == 0;
}

bool user_directory(char* to, std::size_t size) noexcept {
  const int length = snprintf(to, size, "/dev/shm/loopscope-%u", static_cast<unsigned>(geteuid()));
  return length > 0 && static_cast<std::size_t>(length) < size;
}

bool default_directory(char* to, std::size_t size) noexcept {
  int length = 0;
  const char* wish = secure_getenv("LOOPSCOPE_DIR");
  const char* runtime = secure_getenv("XDG_RUNTIME_DIR");
  if (wish != nullptr && wish[0] != '\0') {
    length = snprintf(to, size, "%s", wish);
  } else if (runtime != nullptr && runtime[0] == '/' && access(runtime, W_OK) == 0) {
    length = snprintf(to, size, "%s/loopscope", runtime);
  } else {
    return user_directory(to, size);
  }
  return length > 0 && static_cast<std::size_t>(length) < size;
}

std::uint64_t read_start_ticks(std::int32_t pid) noexcept {
  char path[40];
  snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[1024];
  ssize_t size = 0;
  do {
    size = read(fd, text, sizeof text - 1);
  } while (size < 0 && errno == EINTR);
  close(fd);
  if (size <= 0) return 0;
  text[size] = '\0';
  // The name in parentheses may hold anything, parentheses and spaces too: fields are counted from
  // the last ')'.
  const char* at = strrchr(text, ')');
  if (at == nullptr || at[1] == '\0') return 0;
  at += 2;
  if (*at == 'Z' || *at == 'X') return 0;
  for (int field = 3; field < 22; ++field) {
    at = strchr(at, ' ');
    if (at == nullptr) return 0;
    ++at;
  }
  return strtoull(at, nullptr, 10);
}

}  // namespace loopscope::recording
