// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/symbols/names.h"

#include <cxxabi.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

namespace loopscope::symbols {
namespace {

// Beyond, nobody reads them, and the demangler's time and output grow faster than its input.
constexpr std::size_t kMaxMangled = 16 * 1024;
constexpr std::size_t kMaxName = 4 * 1024;

constexpr std::array<std::string_view, 8> kCloneKinds = {"cold",     "isra", "constprop",  "part",
                                                         "lto_priv", "llvm", "localalias", "clone"};

bool is_number(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::string_view without_clone_suffix(std::string_view name) {
  if (const auto version = name.find('@'); version != std::string_view::npos && version != 0) {
    name = name.substr(0, version);
  }
  // From the end, as Go's names have dots of their own: ".part.0.cold".
  for (;;) {
    auto dot = name.rfind('.');
    if (dot == std::string_view::npos || dot == 0) return name;
    std::string_view last = name.substr(dot + 1);
    if (is_number(last)) {
      const auto before = name.rfind('.', dot - 1);
      if (before == std::string_view::npos || before == 0) return name;
      last = name.substr(before + 1, dot - before - 1);
      dot = before;
    }
    if (std::find(kCloneKinds.begin(), kCloneKinds.end(), last) == kCloneKinds.end()) return name;
    name = name.substr(0, dot);
  }
}

std::string readable_name(std::string_view name) {
  name = without_clone_suffix(name);
  std::string result(name.substr(0, kMaxName));
  if (is_mangled(name) && name.size() <= kMaxMangled) {
    struct Free {
      void operator()(char* text) const { std::free(text); }
    };
    int status = 0;
    const std::unique_ptr<char, Free> demangled(
        abi::__cxa_demangle(std::string(name).c_str(), nullptr, nullptr, &status));
    if (status == 0 && demangled) result = std::string_view(demangled.get()).substr(0, kMaxName);
  }
  return result;
}

}  // namespace loopscope::symbols
