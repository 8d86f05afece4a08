// SPDX-License-Identifier: Apache-2.0
#include "cli/output_file.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace loopscope::cli {
namespace {

constexpr char kStandardOutput[] = "-";

/// -1 and errno if it cannot be written.
int duplicate_of_standard_output() {
  const int flags = fcntl(STDOUT_FILENO, F_GETFL);
  if (flags < 0) return -1;
  if ((flags & O_ACCMODE) == O_RDONLY) {  // closed when we were started, see launch.h
    errno = EBADF;
    return -1;
  }
  return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

template <typename Call>
int uninterrupted(const Call& call) {
  int result = 0;
  do {
    result = call();
  } while (result != 0 && errno == EINTR);
  return result;
}

}  // namespace

OutputFile::OutputFile(const std::string& path, Before before)
    : path_(path), is_file_(path != kStandardOutput) {
  const int truncate = before == Before::kGoes ? O_TRUNC : 0;
  do {
    fd_ = is_file_ ? ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | truncate, 0666)
                   : duplicate_of_standard_output();
  } while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "cannot write " + path);
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) close(fd_);
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)), is_file_(other.is_file_), fd_(std::exchange(other.fd_, -1)) {}

int OutputFile::write(std::string_view text) {
  // What has no length (a pipe, a device) cannot be shortened, nor need it be.
  const auto empty = [this] {
    return !is_file_ || uninterrupted([this] { return ftruncate(fd_, 0); }) == 0 || errno == EINVAL
               ? 0
               : errno;
  };
  int error = empty();
  if (error == 0) error = write_all(fd_, text);
  if (error != 0) empty();
  // Linux has closed it when it is interrupted.
  if (close(std::exchange(fd_, -1)) != 0 && errno != EINTR && error == 0) {
    error = errno;
    if (is_file_) (void)!::truncate(path_.c_str(), 0);
  }
  return error;
}

int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
      continue;
    }
    const int error = errno;
    if (error == EINTR) continue;
    const bool non_blocking = error == EAGAIN && (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
    pollfd room{fd, POLLOUT, 0};
    if (!non_blocking || (poll(&room, 1, -1) < 0 && errno != EINTR)) return error;
  }
  return 0;
}

}  // namespace loopscope::cli
