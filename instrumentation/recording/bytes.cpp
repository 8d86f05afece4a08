// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/bytes.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace loopscope::recording {
namespace {

class MemoryBytes final : public Bytes {
 public:
  MemoryBytes(const void* base, std::uint64_t size)
      : base_(static_cast<const unsigned char*>(base)), size_(size) {}

  bool read(std::uint64_t offset, void* to, std::size_t size) const override {
    if (offset > size_ || size > size_ - offset) return false;
    const unsigned char* from = base_ + offset;
    auto* out = static_cast<unsigned char*>(to);
    // Words, each loaded atomically: the writer stores while we copy. All offsets and sizes in the
    // format are multiples of 4.
    std::size_t at = 0;
    if (offset % 8 == 0) {
      for (; at + 8 <= size; at += 8) {
        const std::uint64_t word =
            __atomic_load_n(reinterpret_cast<const std::uint64_t*>(from + at), __ATOMIC_RELAXED);
        std::memcpy(out + at, &word, 8);
      }
    }
    for (; at + 4 <= size; at += 4) {
      const std::uint32_t word =
          __atomic_load_n(reinterpret_cast<const std::uint32_t*>(from + at), __ATOMIC_RELAXED);
      std::memcpy(out + at, &word, 4);
    }
    for (; at < size; ++at) out[at] = __atomic_load_n(from + at, __ATOMIC_RELAXED);
    return true;
  }

 private:
  const unsigned char* base_;
  std::uint64_t size_;
};

class FileBytes final : public Bytes {
 public:
  explicit FileBytes(int fd) : fd_(fd) {}
  ~FileBytes() override { close(fd_); }
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;

  bool read(std::uint64_t offset, void* to, std::size_t size) const override {
    if (offset > static_cast<std::uint64_t>(INT64_MAX) - size) return false;
    auto* out = static_cast<char*>(to);
    while (size > 0) {
      const ssize_t got = pread(fd_, out, size, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      out += got;
      offset += static_cast<std::uint64_t>(got);
      size -= static_cast<std::size_t>(got);
    }
    return true;
  }

 private:
  int fd_;
};

}  // namespace

std::unique_ptr<Bytes> bytes_of_memory(const void* base, std::uint64_t size) {
  return std::make_unique<MemoryBytes>(base, size);
}

std::unique_ptr<Bytes> bytes_of_file(int fd) { return std::make_unique<FileBytes>(fd); }

}  // namespace loopscope::recording
