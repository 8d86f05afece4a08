// SPDX-License-Identifier: Apache-2.0
//
// The functions of an ELF file's symbol table, by address.
//
// Thread-safety: none. Cost: 24 bytes a function, and the ELF file's own sections, which must stay:
// names point into them. node's 110 000 symbols load in 20 ms.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

struct Elf;

namespace loopscope::symbols {

class SymbolTable {
 public:
  /// Reads .symtab or, if there is none, .dynsym. `lowest_code_address`: symbols below are none.
  static SymbolTable read(Elf* elf, std::uint64_t lowest_code_address);

  bool empty() const { return symbols_.empty(); }

  /// The name of the function that covers `address`, as the linker knows it; empty: none. Of
  /// several names of one function the one with the fewest leading underscores, then the
  /// shortest: "read" for __read, "openat" before "openat64".
  std::string_view find(std::uint64_t address) const;

 private:
  struct Symbol {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    const char* name = nullptr;
  };
  std::vector<Symbol> symbols_;  // by begin, which are all different
};

}  // namespace loopscope::symbols
