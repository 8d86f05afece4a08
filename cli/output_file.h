// SPDX-License-Identifier: Apache-2.0
//
// Where a report goes: the file of `-o FILE`, or standard output for "-". Opened early, so that one
// learns before an hour of tests that it cannot be written; written once, at the end.
//
// A report that cannot be written whole (no space left, say) leaves an empty file: half a report
// may look like a whole one, and JSON that lacks its end is at least as bad as none. Standard
// output and pipes are as they are: what went out cannot be taken back.
//
// Thread-safety: one thread.
#pragma once

#include <string>
#include <string_view>

namespace loopscope::cli {

class OutputFile {
 public:
  enum class Before {
    kStays,  // what was in the file is there until the report is written
    kGoes,
  };

  /// Throws std::system_error, which names the file, if it cannot be written.
  OutputFile(const std::string& path, Before before);
  ~OutputFile();
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  int descriptor() const { return fd_; }
  const std::string& path() const { return path_; }

  /// Makes `text` all that is there, and closes it. 0, or the errno. To be called once.
  int write(std::string_view text);

 private:
  std::string path_;
  bool is_file_ = false;  // not standard output, which may be a file with others' lines in it
  int fd_ = -1;
};

/// All of `text`, whatever interrupts. 0, or the errno. Waits for a pipe that somebody else made
/// non-blocking.
int write_all(int fd, std::string_view text);

}  // namespace loopscope::cli
