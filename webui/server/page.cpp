// SPDX-License-Identifier: Apache-2.0
#include "webui/server/page.h"

#include <fstream>
#include <iterator>

namespace loopscope::webui {

std::optional<PageFile> page_file(std::string_view path) {
  if (path == "/" || path == "/index.html") {
    return PageFile{"index.html", "text/html; charset=utf-8"};
  }
  if (path == "/app.js") return PageFile{"app.js", "text/javascript; charset=utf-8"};
  if (path == "/app.css") return PageFile{"app.css", "text/css; charset=utf-8"};
  if (path == "/report.html") return PageFile{"report.html", "text/html; charset=utf-8"};
  return std::nullopt;
}

std::optional<std::string> read_page_file(std::string_view name, const std::string& directory) {
  if (!directory.empty()) {
    std::ifstream file(directory + "/" + std::string(name), std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (!file) return std::nullopt;
    return text;
  }
  for (std::size_t i = 0; i < kEmbeddedFileCount; ++i) {
    const EmbeddedFile& file = kEmbeddedFiles[i];
    if (file.name == name) {
      return std::string(reinterpret_cast<const char*>(file.bytes), file.size);
    }
  }
  return std::nullopt;
}

}  // namespace loopscope::webui
