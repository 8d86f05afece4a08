// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "instrumentation/recording/own_calls.h"

namespace loopscope::recording {
namespace {

/// Puts text together in `size` bytes. printf would do, at the price of the pages of libc that it
/// lies in: 5 µs of every process' start.
class Writer {
 public:
  Writer(char* to, std::size_t size) noexcept : at_(to), left_(size) {}
  Writer& text(const char* from) noexcept { return bytes(from, strlen(from)); }
  Writer& number(std::uint64_t value) noexcept {
    char digits[20];
    std::size_t used = 0;
    do {
      digits[sizeof digits - ++used] = static_cast<char>('0' + value % 10);
      value /= 10;
    } while (value != 0);
    return bytes(digits + sizeof digits - used, used);
  }
  /// Ends it; false if it did not fit.
  bool end() noexcept {
    if (left_ == 0) return false;
    *at_ = '\0';
    return true;
  }

 private:
  Writer& bytes(const char* from, std::size_t size) noexcept {
    if (size >= left_) {
      left_ = 0;
    } else {
      memcpy(at_, from, size);
      at_ += size;
      left_ -= size;
    }
    return *this;
  }

  char* at_;
  std::size_t left_;  // 0: it does not fit
};

}  // namespace

bool recording_path(char* to, std::size_t size, const char* directory,
                    const RecordingName& name) noexcept {
  if (name.pid <= 0) return false;
  Writer path(to, size);
  path.text(directory).text("/").number(static_cast<std::uint32_t>(name.pid)).text("-");
  path.number(name.start_ticks).text("-").number(name.image);
  if (name.run_pid > 0) path.text("-").number(static_cast<std::uint32_t>(name.run_pid));
  return path.text(kFileSuffix).end();
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
  return Writer(to, size).text("/dev/shm/loopscope-").number(geteuid()).end();
}

bool default_directory(char* to, std::size_t size) noexcept {
  const char* wish = secure_getenv("LOOPSCOPE_DIR");
  const char* runtime = secure_getenv("XDG_RUNTIME_DIR");
  if (wish != nullptr && wish[0] != '\0') return Writer(to, size).text(wish).end();
  if (runtime != nullptr && runtime[0] == '/' && access(runtime, W_OK) == 0) {
    return Writer(to, size).text(runtime).text("/loopscope").end();
  }
  return user_directory(to, size);
}

bool read_boot_id(char (&to)[kBootIdBytes]) noexcept {
  const int fd = open_to_ask("/proc/sys/kernel/random/boot_id");
  if (fd < 0) return false;
  const ssize_t size = own_call(OwnCall::kRead, [&] { return read(fd, to, kBootIdBytes - 1); });
  close_own(fd);
  to[size > 0 ? size : 0] = '\0';
  return size == kBootIdBytes - 1;
}

std::uint64_t read_start_ticks(std::int32_t pid) noexcept {
  const std::uint64_t ticks = ask_start_ticks(pid);
  return ticks == kTicksUnknown ? 0 : ticks;
}

std::uint64_t ask_start_ticks(std::int32_t pid) noexcept {
  if (pid <= 0) return 0;
  char path[40];
  Writer(path, sizeof path)
      .text("/proc/")
      .number(static_cast<std::uint32_t>(pid))
      .text("/stat")
      .end();
  const int fd = open_to_ask(path);
  if (fd < 0) return errno == ENOENT ? 0 : kTicksUnknown;
  char text[1024];
  const ssize_t size =
      uninterrupted(OwnCall::kRead, [&] { return read(fd, text, sizeof text - 1); });
  const bool gone = size < 0 && errno == ESRCH;
  if (size < 0 && !gone) own_call_failed(OwnCall::kRead, errno);
  close_own(fd);
  if (size <= 0) return gone ? 0 : kTicksUnknown;
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
  std::uint64_t ticks = 0;
  for (; *at >= '0' && *at <= '9'; ++at) ticks = ticks * 10 + static_cast<std::uint64_t>(*at - '0');
  return ticks;
}

}  // namespace loopscope::recording
