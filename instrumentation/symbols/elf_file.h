// SPDX-License-Identifier: Apache-2.0
//
// An ELF file, read (not mapped) with libelf, with the checks that make it safe to hand to libdw.
//
// Thread-safety: none. Owned by one Module of the Symbolizer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "instrumentation/symbols/symbolizer.h"

struct Elf;

namespace loopscope::symbols {

/// Tells one content of a path from another without reading it.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;

  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

/// All zero if there is no such file.
FileIdentity identify(const std::string& path);

class ElfFile {
 public:
  /// Null if it cannot be used: `why` then is kMissing, kUnreadable or kNotElf.
  static std::unique_ptr<ElfFile> open(const std::string& path, ModuleState& why);
  ~ElfFile();
  ElfFile(const ElfFile&) = delete;
  ElfFile& operator=(const ElfFile&) = delete;

  Elf* elf() const { return elf_; }
  const std::string& path() const { return path_; }
  const FileIdentity& identity() const { return identity_; }
  const std::vector<std::uint8_t>& build_id() const { return build_id_; }

  bool has_debug_info() const { return has_debug_info_; }     // a .debug_info with content
  bool has_symbols() const { return has_symbols_; }           // a .symtab with content
  std::uint64_t debug_bytes() const { return debug_bytes_; }  // all DWARF, uncompressed
  std::uint64_t symbol_bytes() const { return symbol_bytes_; }
  /// Nothing below is code: linkers leave functions they threw away at 0 in the DWARF.
  std::uint64_t lowest_code_address() const { return lowest_code_address_; }

  /// Name and CRC of .gnu_debuglink; empty name: none.
  const std::string& debug_link() const { return debug_link_; }
  std::uint32_t debug_link_crc() const { return debug_link_crc_; }
  /// The CRC of this file's content, as .gnu_debuglink has it. Reads all of it.
  bool crc_is(std::uint32_t crc) const;

  /// What was read stays; nothing more can be read, and the descriptor is closed.
  void close_descriptor();

 private:
  ElfFile() = default;
  bool examine();

  std::string path_;
  FileIdentity identity_;
  int fd_ = -1;
  Elf* elf_ = nullptr;
  std::vector<std::uint8_t> build_id_;
  std::string debug_link_;
  std::uint32_t debug_link_crc_ = 0;
  bool has_debug_info_ = false;
  bool has_symbols_ = false;
  std::uint64_t debug_bytes_ = 0;
  std::uint64_t symbol_bytes_ = 0;
  std::uint64_t lowest_code_address_ = 0;
};

}  // namespace loopscope::symbols
