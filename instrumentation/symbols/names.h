// SPDX-License-Identifier: Apache-2.0
//
// From a linker's name to a reader's.
//
// Thread-safety: free functions without state.
#pragma once

#include <string>
#include <string_view>

namespace loopscope::symbols {

/// Without what compilers append to parts and copies of one function: ".cold", ".isra.0",
/// ".constprop.1", ".part.2", ".lto_priv.3", ".llvm.4", and a symbol version ("@@GLIBC_2.34").
std::string_view without_clone_suffix(std::string_view name);

/// The C++ name demangled, without clone suffix; any other name as it is. Cut after 4 KiB.
std::string readable_name(std::string_view name);

/// Whether it is a C++ (Itanium ABI) name.
inline bool is_mangled(std::string_view name) { return name.starts_with("_Z"); }

}  // namespace loopscope::symbols
