// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/symbols/debug_files.h"

#include <filesystem>
#include <string_view>
#include <system_error>

namespace loopscope::symbols {
namespace {

namespace fs = std::filesystem;
using BuildId = std::vector<std::uint8_t>;

std::string directory_of(const std::string& path) { return fs::path(path).parent_path().string(); }

/// Directories that the module may be said to be in: as recorded, and without symbolic links (/lib
/// is /usr/lib where /usr is merged).
std::vector<std::string> directories_of(const std::string& path) {
  std::vector<std::string> result = {directory_of(path)};
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  if (!error && real.parent_path() != result.front()) result.push_back(real.parent_path());
  return result;
}

std::string join(std::string directory, std::string_view name) {
  directory += '/';
  directory += name;
  return directory;
}

/// "/.build-id/xx/yyyy.debug"; empty if the id is too short to have one.
std::string build_id_path(const BuildId& id) {
  if (id.size() < 2) return {};
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string path = "/.build-id/";
  for (std::size_t i = 0; i < id.size(); ++i) {
    path += kDigits[id[i] >> 4];
    path += kDigits[id[i] & 15];
    if (i == 0) path += '/';
  }
  return path + ".debug";
}

}  // namespace

std::unique_ptr<ElfFile> find_debug_file(const BuildId& build_id,
                                         const std::vector<std::string>& directories) {
  const std::string path = build_id_path(build_id);
  if (path.empty()) return nullptr;
  for (const std::string& directory : directories) {
    ModuleState why{};
    auto file = ElfFile::open(directory + path, why);
    if (file && file->build_id() == build_id) return file;
  }
  return nullptr;
}

std::unique_ptr<ElfFile> find_debug_file(const ElfFile& module,
                                         const std::vector<std::string>& directories) {
  if (!module.build_id().empty()) {
    if (auto file = find_debug_file(module.build_id(), directories)) return file;
  }
  const std::string& link = module.debug_link();
  if (link.empty() || link.find('/') != std::string::npos) return nullptr;

  std::vector<std::string> candidates;
  for (const std::string& home : directories_of(module.path())) {
    candidates.push_back(join(home, link));
    candidates.push_back(join(join(home, ".debug"), link));
    for (const std::string& directory : directories) {
      candidates.push_back(join(directory + home, link));
    }
  }
  for (const std::string& path : candidates) {
    ModuleState why{};
    auto file = ElfFile::open(path, why);
    if (!file || file->identity() == module.identity()) continue;
    const bool same = module.build_id().empty() || file->build_id().empty()
                          ? file->crc_is(module.debug_link_crc())
                          : file->build_id() == module.build_id();
    if (same) return file;
  }
  return nullptr;
}

std::unique_ptr<ElfFile> find_alternate_file(const ElfFile& debug_file, const std::string& name,
                                             const BuildId& build_id,
                                             const std::vector<std::string>& directories) {
  if (build_id.empty()) return nullptr;
  std::vector<std::string> candidates;
  if (name.starts_with('/')) {
    candidates.push_back(name);
  } else if (!name.empty()) {
    // Relative to the file itself, not to a link in .build-id that leads to it.
    for (const std::string& home : directories_of(debug_file.path())) {
      candidates.push_back(join(home, name));
    }
  }
  for (const std::string& path : candidates) {
    ModuleState why{};
    auto file = ElfFile::open(path, why);
    if (file && file->build_id() == build_id) return file;
  }
  return find_debug_file(build_id, directories);
}

}  // namespace loopscope::symbols
