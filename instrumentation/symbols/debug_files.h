// SPDX-License-Identifier: Apache-2.0
//
// Finds separate debug files where distributions put them, by the rules of libdwfl and GDB: by
// build-id, else by the name in .gnu_debuglink. libdwfl's own finder is not used because it asks
// debuginfod servers (network) and maps what it finds. What is found is checked: same build-id,
// or, for a module without one, the CRC that the link carries.
//
// Thread-safety: free functions without state. Cost: a few stat(2) a candidate; a CRC reads the
// file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "instrumentation/symbols/elf_file.h"

namespace loopscope::symbols {

/// The debug file DIR/.build-id/xx/yyyy.debug with exactly that id; null: none.
std::unique_ptr<ElfFile> find_debug_file(const std::vector<std::uint8_t>& build_id,
                                         const std::vector<std::string>& directories);

/// The debug file of a module: by its build-id, else by its link; null: none.
std::unique_ptr<ElfFile> find_debug_file(const ElfFile& module,
                                         const std::vector<std::string>& directories);

/// The file with what dwz moved out of `debug_file`, by the name and id of its
/// .gnu_debugaltlink; null: none.
std::unique_ptr<ElfFile> find_alternate_file(const ElfFile& debug_file, const std::string& name,
                                             const std::vector<std::uint8_t>& build_id,
                                             const std::vector<std::string>& directories);

}  // namespace loopscope::symbols
