// SPDX-License-Identifier: Apache-2.0
//
// What an ELF file's DWARF says of an address: the functions it is in, inlined ones included, and
// the source lines of the calls. Over libdw, with the walks done here: libdw's own
// (dwarf_getscopes) recurse as deep as the file says.
//
// Thread-safety: none. Cost: reading takes 1 ms a MB of DWARF, 5 ms if it is compressed, and as
// much memory. A lookup decodes the line table of the compilation unit the first time, and walks
// its functions every time: 20 to 300 µs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "instrumentation/symbols/elf_file.h"

struct Dwarf;

namespace loopscope::symbols {

class DebugInfo {
 public:
  struct Place {
    std::string function;  // readable; empty: the DWARF does not say
    /// With the parameters, from a linkage name; else names only: "ns::Class::method".
    bool exact = false;
    std::string file;
    int line = 0;
    bool inlined = false;
  };

  /// Null if there is none that can be read. `file` must outlive the result and be within the
  /// limits already (ElfFile::debug_bytes); its descriptor is not needed afterwards. What dwz moved
  /// elsewhere is read along, up to `max_bytes`; if it is not to be found, null: half of the names
  /// would be wrong or missing.
  static std::unique_ptr<DebugInfo> read(const ElfFile& file, std::uint64_t max_bytes,
                                         const std::vector<std::string>& debug_directories);
  ~DebugInfo();
  DebugInfo(const DebugInfo&) = delete;
  DebugInfo& operator=(const DebugInfo&) = delete;

  /// Innermost first, the real function last; empty: no unit covers the address.
  std::vector<Place> find(std::uint64_t address) const;

  std::uint64_t loaded_bytes() const;

 private:
  struct Range {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::uint64_t highest_end = 0;  // of this and all ranges before it
    std::uint64_t unit = 0;         // offset of the unit's DIE
  };

  explicit DebugInfo(const ElfFile& file) : file_(file) {}
  void read_units();

  const ElfFile& file_;
  std::unique_ptr<ElfFile> alternate_file_;
  Dwarf* dwarf_ = nullptr;
  Dwarf* alternate_ = nullptr;
  std::vector<Range> ranges_;  // by begin
};

}  // namespace loopscope::symbols
