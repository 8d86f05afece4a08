// SPDX-License-Identifier: Apache-2.0
//
// The bytes of a recording, wherever they are: in this process' own mapping, or in a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace loopscope::recording {

class Bytes {
 public:
  virtual ~Bytes() = default;
  /// Copies `size` bytes from `offset`; false if they are not all there.
  virtual bool read(std::uint64_t offset, void* to, std::size_t size) const = 0;
};

/// A mapping that is being written to meanwhile; it must outlive the result.
std::unique_ptr<Bytes> bytes_of_memory(const void* base, std::uint64_t size);

/// A file, read by pread(2): one that is truncated meanwhile gives an error, not SIGBUS. Closes
/// `fd` in the end.
std::unique_ptr<Bytes> bytes_of_file(int fd);

}  // namespace loopscope::recording
