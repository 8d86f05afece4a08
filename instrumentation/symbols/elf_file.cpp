// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/symbols/elf_file.h"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <gelf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <string_view>

#include "instrumentation/symbols/open_file.h"

namespace loopscope::symbols {
namespace {

// What libelf reads whole to answer small questions. Notes, .gnu_debuglink and section names are a
// few KiB; a sparse file may claim a terabyte of them.
constexpr std::uint64_t kMaxSmallSection = std::uint64_t{16} << 20;

// GNU ld's, gold's and lld's build-ids have 8 to 32 bytes; --build-id=0x... is up to the user.
constexpr std::size_t kMaxBuildId = 64;

// Debug files are up to a few GB; a sparse file may claim to be of exabytes, and reading all of it
// would take for ever.
constexpr std::uint64_t kMaxSummed = std::uint64_t{4} << 30;

FileIdentity identity_of(const struct stat& status) {
  const auto ns = [](const timespec& time) {
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
  };
  return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
          static_cast<std::uint64_t>(status.st_size), ns(status.st_mtim), ns(status.st_ctim)};
}

std::uint64_t saturating_add(std::uint64_t a, std::uint64_t b) {
  const std::uint64_t sum = a + b;
  return sum < a ? std::numeric_limits<std::uint64_t>::max() : sum;
}

/// A section's size once it is uncompressed; its header tells, and may lie: libelf then fails.
std::uint64_t uncompressed_size(Elf_Scn* section, const GElf_Shdr& header, std::string_view name) {
  if ((header.sh_flags & SHF_COMPRESSED) != 0) {
    GElf_Chdr compression;
    if (gelf_getchdr(section, &compression) == nullptr) return header.sh_size;
    return std::max<std::uint64_t>(header.sh_size, compression.ch_size);
  }
  if (name.starts_with(".zdebug")) {
    const ssize_t size = dwelf_scn_gnu_compressed_size(section);
    if (size > 0) return std::max<std::uint64_t>(header.sh_size, static_cast<std::uint64_t>(size));
  }
  return header.sh_size;
}

std::uint32_t crc32_update(std::uint32_t crc, const unsigned char* data, std::size_t size) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> values{};
    for (std::uint32_t i = 0; i < values.size(); ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) {
        value = (value & 1) != 0 ? (value >> 1) ^ 0xedb88320U : value >> 1;
      }
      values[i] = value;
    }
    return values;
  }();
  crc = ~crc;
  for (std::size_t i = 0; i < size; ++i) crc = table[(crc ^ data[i]) & 0xff] ^ (crc >> 8);
  return ~crc;
}

}  // namespace

FileIdentity identify(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};
  return identity_of(status);
}

std::unique_ptr<ElfFile> ElfFile::open(const std::string& path, ModuleState& why) {
  if (path.find('\0') != std::string::npos) {
    why = ModuleState::kMissing;
    return nullptr;
  }
  const auto failed = [&why](int error) {
    const bool gone = error == ENOENT || error == ENOTDIR || error == ENAMETOOLONG;
    why = gone ? ModuleState::kMissing : ModuleState::kUnreadable;
    return nullptr;
  };
  const int fd = open_regular_file(path);
  if (fd < 0) return failed(errno);
  struct stat status {};

  std::unique_ptr<ElfFile> file(new ElfFile);
  file->fd_ = fd;
  file->path_ = path;
  if (::fstat(fd, &status) != 0) return failed(errno);
  file->identity_ = identity_of(status);

  ::elf_version(EV_CURRENT);
  file->elf_ = ::elf_begin(fd, ELF_C_READ, nullptr);
  if (file->elf_ == nullptr || ::elf_kind(file->elf_) != ELF_K_ELF || !file->examine()) {
    why = ModuleState::kNotElf;
    return nullptr;
  }
  return file;
}

ElfFile::~ElfFile() {
  if (elf_ != nullptr) ::elf_end(elf_);
  if (fd_ >= 0) ::close(fd_);
}

bool ElfFile::examine() {
  GElf_Ehdr header;
  if (::gelf_getehdr(elf_, &header) == nullptr) return false;
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN) return false;

  std::size_t segments = 0;
  if (::elf_getphdrnum(elf_, &segments) != 0) return false;
  for (std::size_t i = 0; i < segments; ++i) {
    GElf_Phdr segment;
    if (::gelf_getphdr(elf_, static_cast<int>(i), &segment) == nullptr) return false;
    if (segment.p_type == PT_NOTE && segment.p_filesz > kMaxSmallSection) return false;
  }

  // Names first: nothing else is read before its size was looked at.
  std::size_t names = 0;
  std::size_t sections = 0;
  if (::elf_getshdrnum(elf_, &sections) != 0) return false;
  if (sections != 0) {
    if (::elf_getshdrstrndx(elf_, &names) != 0) return false;
    GElf_Shdr names_header;
    Elf_Scn* names_section = ::elf_getscn(elf_, names);
    if (names_section == nullptr || ::gelf_getshdr(names_section, &names_header) == nullptr) {
      return false;
    }
    if (names_header.sh_size > kMaxSmallSection) return false;
  }

  bool debug_link = false;
  lowest_code_address_ = std::numeric_limits<std::uint64_t>::max();
  Elf_Scn* section = nullptr;
  while ((section = ::elf_nextscn(elf_, section)) != nullptr) {
    GElf_Shdr shdr;
    if (::gelf_getshdr(section, &shdr) == nullptr) return false;
    const char* text = ::elf_strptr(elf_, names, shdr.sh_name);
    const std::string_view name = text != nullptr ? text : "";

    if ((shdr.sh_flags & SHF_ALLOC) != 0 && (shdr.sh_flags & SHF_EXECINSTR) != 0) {
      lowest_code_address_ = std::min<std::uint64_t>(lowest_code_address_, shdr.sh_addr);
    }
    if (shdr.sh_type == SHT_NOBITS) continue;
    if (shdr.sh_type == SHT_NOTE && shdr.sh_size > kMaxSmallSection) return false;
    if (shdr.sh_type == SHT_SYMTAB || shdr.sh_type == SHT_DYNSYM) {
      GElf_Shdr strings;
      Elf_Scn* strings_section = ::elf_getscn(elf_, shdr.sh_link);
      if (strings_section == nullptr || ::gelf_getshdr(strings_section, &strings) == nullptr) {
        continue;
      }
      symbol_bytes_ = saturating_add(symbol_bytes_, saturating_add(shdr.sh_size, strings.sh_size));
      has_symbols_ = has_symbols_ || (shdr.sh_type == SHT_SYMTAB && shdr.sh_size != 0);
    } else if (name == ".gnu_debuglink") {
      if (shdr.sh_size > kMaxSmallSection) return false;
      debug_link = true;
    } else if (name.find("debug") != std::string_view::npos) {
      // Everything that libdw may take for DWARF: .debug_*, .zdebug_*, .gnu_debugaltlink …
      debug_bytes_ = saturating_add(debug_bytes_, shdr.sh_size > identity_.size
                                                      ? shdr.sh_size
                                                      : uncompressed_size(section, shdr, name));
      if (name == ".debug_info" || name == ".zdebug_info") has_debug_info_ = shdr.sh_size != 0;
    }
  }
  if (lowest_code_address_ == std::numeric_limits<std::uint64_t>::max()) lowest_code_address_ = 0;

  const void* bytes = nullptr;
  const ssize_t size = ::dwelf_elf_gnu_build_id(elf_, &bytes);
  if (size > 0 && static_cast<std::size_t>(size) <= kMaxBuildId) {
    const auto* first = static_cast<const std::uint8_t*>(bytes);
    build_id_.assign(first, first + size);
  }
  if (debug_link) {
    GElf_Word crc = 0;
    const char* name = ::dwelf_elf_gnu_debuglink(elf_, &crc);
    if (name != nullptr) {
      debug_link_ = name;
      debug_link_crc_ = crc;
    }
  }
  return true;
}

bool ElfFile::crc_is(std::uint32_t crc) const {
  if (fd_ < 0 || identity_.size > kMaxSummed) return false;
  std::vector<unsigned char> buffer(std::size_t{256} << 10);
  std::uint32_t actual = 0;
  std::uint64_t offset = 0;
  for (;;) {
    const ssize_t got = ::pread(fd_, buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return false;
    if (got == 0) return actual == crc;
    actual = crc32_update(actual, buffer.data(), static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

void ElfFile::close_descriptor() {
  if (fd_ < 0) return;
  // libelf forgets the number: it could be somebody else's file by the time of a late read.
  ::elf_cntl(elf_, ELF_C_FDDONE);
  ::close(fd_);
  fd_ = -1;
}

}  // namespace loopscope::symbols
