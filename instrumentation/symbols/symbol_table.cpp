// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/symbols/symbol_table.h"

#include <gelf.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <tuple>

namespace loopscope::symbols {
namespace {

// A function inside another's range (an assembler's inner label with a size) is looked for among
// so many that begin before the address.
constexpr int kMaxOverlap = 16;

struct Candidate {
  std::uint64_t begin = 0;
  std::uint64_t size = 0;
  std::uint64_t section_end = 0;
  const char* name = nullptr;
  bool is_function = false;  // or only a label in code

  /// Best first, among those of one address.
  auto rank() const {
    return std::make_tuple(!is_function, size == 0, std::strspn(name, "_"), std::strlen(name),
                           std::string_view(name));
  }
};

struct CodeSection {
  std::uint64_t end = 0;  // 0: no code
};

std::vector<CodeSection> code_sections(Elf* elf) {
  std::vector<CodeSection> result;
  Elf_Scn* section = nullptr;
  while ((section = ::elf_nextscn(elf, section)) != nullptr) {
    GElf_Shdr header;
    if (::gelf_getshdr(section, &header) == nullptr) continue;
    if ((header.sh_flags & SHF_EXECINSTR) == 0) continue;
    const std::size_t index = ::elf_ndxscn(section);
    if (index >= result.size()) result.resize(index + 1);
    result[index].end = header.sh_addr + header.sh_size;
  }
  return result;
}

/// The section of that type that has content.
Elf_Scn* find_section(Elf* elf, GElf_Word type, GElf_Shdr& header) {
  Elf_Scn* section = nullptr;
  while ((section = ::elf_nextscn(elf, section)) != nullptr) {
    if (::gelf_getshdr(section, &header) == nullptr) continue;
    if (header.sh_type == type && header.sh_size != 0) return section;
  }
  return nullptr;
}

}  // namespace

SymbolTable SymbolTable::read(Elf* elf, std::uint64_t lowest_code_address) {
  SymbolTable table;
  GElf_Shdr header;
  Elf_Scn* section = find_section(elf, SHT_SYMTAB, header);
  if (section == nullptr) section = find_section(elf, SHT_DYNSYM, header);
  if (section == nullptr || header.sh_entsize == 0) return table;
  Elf_Data* data = ::elf_getdata(section, nullptr);
  if (data == nullptr) return table;

  const std::vector<CodeSection> code = code_sections(elf);
  std::vector<Candidate> candidates;
  const std::size_t count =
      std::min<std::size_t>(header.sh_size / header.sh_entsize, std::numeric_limits<int>::max());
  for (std::size_t i = 0; i < count; ++i) {
    GElf_Sym symbol;
    if (::gelf_getsym(data, static_cast<int>(i), &symbol) == nullptr) break;
    const int type = GELF_ST_TYPE(symbol.st_info);
    const bool is_function = type == STT_FUNC || type == STT_GNU_IFUNC;
    if (!is_function && type != STT_NOTYPE) continue;
    if (symbol.st_shndx >= code.size() || code[symbol.st_shndx].end == 0) continue;
    if (symbol.st_value < lowest_code_address) continue;
    const char* name = ::elf_strptr(elf, header.sh_link, symbol.st_name);
    // $x, $d …: what ARM's assemblers say about the bytes, not names of functions.
    if (name == nullptr || name[0] == '\0' || name[0] == '$') continue;
    candidates.push_back(
        {symbol.st_value, symbol.st_size, code[symbol.st_shndx].end, name, is_function});
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.rank() < b.rank();
  });

  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& best = candidates[i];
    std::size_t next = i + 1;
    while (next < candidates.size() && candidates[next].begin == best.begin) ++next;
    // Hand-written assembler says no size: up to the next symbol.
    std::uint64_t end = best.section_end;
    if (best.size != 0) {
      end = best.begin + best.size;
    } else if (next < candidates.size()) {
      end = std::min(end, candidates[next].begin);
    }
    if (end > best.begin) table.symbols_.push_back({best.begin, end, best.name});
    i = next - 1;
  }
  table.symbols_.shrink_to_fit();
  return table;
}

std::string_view SymbolTable::find(std::uint64_t address) const {
  auto symbol =
      std::upper_bound(symbols_.begin(), symbols_.end(), address,
                       [](std::uint64_t value, const Symbol& s) { return value < s.begin; });
  for (int i = 0; i < kMaxOverlap && symbol != symbols_.begin(); ++i) {
    --symbol;
    if (address < symbol->end) return symbol->name;
  }
  return {};
}

}  // namespace loopscope::symbols
