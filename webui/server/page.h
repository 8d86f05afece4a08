// SPDX-License-Identifier: Apache-2.0
//
// The page's files: compiled in, or read from a directory on every request (edit, refresh).
//
// Thread-safety: no state.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace loopscope::webui {

/// A file of the page as it was built; cmake/EmbedFiles.cmake makes the table.
struct EmbeddedFile {
  std::string_view name;
  const unsigned char* bytes;
  std::size_t size;
};

extern const EmbeddedFile kEmbeddedFiles[];   // NOLINT(readability-identifier-naming): a constant
extern const std::size_t kEmbeddedFileCount;  // NOLINT(readability-identifier-naming)

struct PageFile {
  std::string_view name;
  std::string_view content_type;
};

/// The file served at `path`. Only these few paths exist, whatever is in the directory: a path that
/// is asked for never becomes part of a file name.
std::optional<PageFile> page_file(std::string_view path);

/// The file's bytes; from `directory` if one is given. None: it cannot be read.
std::optional<std::string> read_page_file(std::string_view name, const std::string& directory);

}  // namespace loopscope::webui
