// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/findings/blame.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <span>

namespace loopscope::findings {
namespace {

using recording::StackFrame;

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool starts_with_one_of(std::string_view text, std::span<const std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return text.starts_with(prefix); });
}

bool contains_one_of(std::string_view text, std::span<const std::string_view> parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [&](std::string_view part) { return contains(text, part); });
}

/// Of a file that was removed or replaced while it was mapped.
std::string_view without_deleted(std::string_view path) {
  constexpr std::string_view kDeleted = " (deleted)";
  if (path.ends_with(kDeleted)) path.remove_suffix(kDeleted.size());
  return path;
}

/// "python3.11", "ruby3.1", "node", "perl5.36.0": the name, and nothing after it but a version.
bool is_versioned(std::string_view name, std::string_view program) {
  if (!name.starts_with(program)) return false;
  name.remove_prefix(program.size());
  if (name.starts_with("-dbg") || name.starts_with("-debug")) return true;
  return std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isdigit(c) != 0 || c == '.' || c == '-'; });
}

/// Where version managers and CI services keep runtimes that no package manager knows of. A program
/// that only has a runtime's name (./build/node) is a program.
constexpr std::array<std::string_view, 9> kRuntimeHomes = {
    "/.pyenv/", "/.rbenv/", "/.rvm/",  "/.nvm/",           "/.asdf/",
    "/.volta/", "/.fnm/",   "/conda/", "/hostedtoolcache/"};

bool is_interpreter(std::string_view executable, bool runs_a_script) {
  static constexpr std::array<std::string_view, 27> kNames = {
      "python", "pypy", "ruby", "node", "nodejs", "perl",    "php",  "lua",  "luajit",
      "tclsh",  "wish", "bash", "dash", "sh",     "zsh",     "ksh",  "mksh", "fish",
      "gawk",   "mawk", "awk",  "R",    "guile-", "Rscript", "java", "deno", "bun"};
  const std::string_view name = base_name(executable);
  if (std::none_of(kNames.begin(), kNames.end(),
                   [&](std::string_view known) { return is_versioned(name, known); })) {
    return false;
  }
  return runs_a_script || is_system_file(executable) || executable.starts_with("/usr/local/bin/") ||
         contains_one_of(executable, kRuntimeHomes);
}

/// Libraries that are nobody's own, wherever they lie: a container, conda and a self-built compiler
/// have them elsewhere.
constexpr std::array<std::string_view, 21> kBaseLibraries = {
    "libc.so",      "libc-2.",      "libc.musl",  "ld-linux",  "libpthread", "libdl.so",
    "libm.so",      "librt.so",     "libresolv.", "libanl.so", "libutil.so", "libnss_",
    "libstdc++.so", "libgcc_s.so",  "libc++",     "libasan.",  "libtsan.",   "libubsan.",
    "liblsan.",     "libloopscope", "[vdso]"};

bool is_runtime_library(std::string_view module) {
  static constexpr std::array<std::string_view, 11> kNames = {
      "libpython", "libruby",   "libnode.so", "libuv.so",  "libperl.so", "liblua",
      "libjvm.so", "libjli.so", "libjava.so", "libnet.so", "libnio.so"};
  return starts_with_one_of(base_name(module), kNames);
}

/// A script or extension that came with the package manager of a language.
bool is_package_file(std::string_view file) {
  static constexpr std::array<std::string_view, 4> kParts = {"/site-packages/", "/dist-packages/",
                                                             "/node_modules/", "/gems/"};
  return contains_one_of(file, kParts);
}

/// Whether `directory` in the path is followed by a version and a '/': "/lib/python3.11/".
bool holds_versioned(std::string_view path, std::string_view directory) {
  const std::size_t at = path.find(directory);
  if (at == std::string_view::npos) return false;
  const std::string_view rest = path.substr(at + directory.size());
  const std::size_t end = rest.find_first_not_of("0123456789.");
  return end != 0 && end != std::string_view::npos && rest[end] == '/';
}

/// "/usr/lib/python3.11/socket.py", "~/.rbenv/versions/3.1.2/lib/ruby/3.1.0/socket.rb".
bool is_standard_library_file(std::string_view file) {
  return !is_package_file(file) &&
         (holds_versioned(file, "/lib/python") || holds_versioned(file, "/lib64/python") ||
          holds_versioned(file, "/lib/pypy") || holds_versioned(file, "/lib/ruby/"));
}

enum class ScriptOwner { kProgram, kPackage, kSystem };

/// What is no file ("-e", "<string>", "(eval)", "[eval]") was given by whoever started the program.
ScriptOwner script_owner(std::string_view file) {
  constexpr std::string_view kUrl = "file://";
  if (file.starts_with(kUrl)) file.remove_prefix(kUrl.size());
  static constexpr std::array<std::string_view, 5> kBuiltIn = {"node:", "internal/", "<frozen ",
                                                               "<internal:", "<__array_function__"};
  if (starts_with_one_of(file, kBuiltIn)) return ScriptOwner::kSystem;
  if (is_system_file(file) || is_standard_library_file(file)) return ScriptOwner::kSystem;
  if (is_package_file(file)) return ScriptOwner::kPackage;
  return ScriptOwner::kProgram;
}

/// Code that the program was compiled with but did not write: inline functions and templates of the
/// system's headers, a libstdc++ that was linked statically.
bool is_of_headers(const StackFrame& frame) {
  if (!frame.file.empty()) {
    if (contains(frame.file, "/libstdc++-v3/")) return true;
    return is_system_file(frame.file) && contains(frame.file, "/include/");
  }
  static constexpr std::array<std::string_view, 3> kNamespaces = {
      "std::", "__gnu_cxx::", "void std::"};
  return starts_with_one_of(frame.function, kNamespaces);
}

/// Where every program begins: blame for it would be blame for nothing.
bool is_start_code(const StackFrame& frame) {
  return frame.function == "_start" || frame.function.starts_with("__libc_start") ||
         frame.function == "__libc_csu_init";
}

bool is_own_library(std::string_view module) {
  return module.starts_with('/') && !is_system_file(module) && !is_base_library(module) &&
         !is_runtime_library(module) && !is_standard_library_file(module);
}

std::optional<std::size_t> first_of(const std::vector<StackFrame>& stack, auto&& is) {
  const auto found = std::find_if(stack.begin(), stack.end(), is);
  if (found == stack.end()) return std::nullopt;
  return static_cast<std::size_t>(found - stack.begin());
}

}  // namespace

bool is_system_file(std::string_view path) {
  static constexpr std::array<std::string_view, 2> kBuiltHere = {"/usr/local/", "/usr/src/"};
  static constexpr std::array<std::string_view, 7> kSystem = {
      "/usr/", "/lib/", "/lib32/", "/lib64/", "/libx32/", "/bin/", "/sbin/"};
  return starts_with_one_of(path, kSystem) && !starts_with_one_of(path, kBuiltHere);
}

bool is_base_library(std::string_view module) {
  return starts_with_one_of(base_name(module), kBaseLibraries);
}

bool is_own_frame(const StackFrame& frame) {
  if (frame.script) return script_owner(frame.file) == ScriptOwner::kProgram;
  return is_own_library(without_deleted(frame.module)) && !is_of_headers(frame) &&
         !is_start_code(frame);
}

Blame blame(const std::vector<StackFrame>& stack, std::string_view executable) {
  if (stack.empty()) return {};
  executable = without_deleted(executable);

  const auto script_of = [](ScriptOwner owner) {
    return [owner](const StackFrame& frame) {
      return frame.script && script_owner(frame.file) == owner;
    };
  };
  if (const auto own = first_of(stack, script_of(ScriptOwner::kProgram))) {
    return {own, Owner::kProgram};
  }

  const bool runs_a_script =
      std::any_of(stack.begin(), stack.end(), [](const StackFrame& frame) { return frame.script; });
  const bool runtime = is_interpreter(executable, runs_a_script);
  const auto own = first_of(stack, [&](const StackFrame& frame) {
    if (frame.script) return false;
    const std::string_view module = without_deleted(frame.module);
    if (module.empty() || module != executable) return is_own_frame(frame);
    return !runtime && !is_of_headers(frame) && !is_start_code(frame);
  });
  if (own) return {own, Owner::kProgram};

  if (const auto package = first_of(stack, script_of(ScriptOwner::kPackage))) {
    return {package, Owner::kProgram};
  }
  if (const auto line = first_of(stack, [](const StackFrame& frame) { return frame.script; })) {
    return {line, Owner::kSystem};
  }
  const auto beyond_libc = first_of(stack, [](const StackFrame& frame) {
    return !frame.module.empty() && !is_base_library(frame.module) && !is_start_code(frame);
  });
  return {beyond_libc.value_or(0), Owner::kSystem};
}

std::string_view bare_function(std::string_view function) {
  // "f(int) [clone .part.0]", "f.part.0", "f.cold", "f@plt" (a name may begin with a dot).
  if (const std::size_t clone = function.find(" [clone "); clone != std::string_view::npos) {
    function = function.substr(0, clone);
  }
  static constexpr std::array<std::string_view, 6> kCopies = {".part.",     ".isra.", ".constprop.",
                                                              ".lto_priv.", ".cold",  ".llvm."};
  for (const std::string_view copy : kCopies) {
    const std::size_t at = function.find(copy);
    if (at != std::string_view::npos && at != 0) function = function.substr(0, at);
  }
  // The parameter list is the last pair of parentheses that is not followed by a part of the name:
  // "f(int) const", but not "f(int)::{lambda()#1}" or "(anonymous namespace)::f".
  std::string_view name = function;
  for (const std::string_view qualifier : {" const", " volatile", " &", " &&", " noexcept"}) {
    if (name.ends_with(qualifier)) name.remove_suffix(qualifier.size());
  }
  if (!name.ends_with(')')) return function;
  int depth = 0;
  for (std::size_t at = name.size(); at-- > 0;) {
    if (name[at] == ')') ++depth;
    if (name[at] != '(' || --depth != 0) continue;
    const std::string_view before = name.substr(0, at);
    // "operator()" without parameters is a name, and so is "(anonymous namespace)".
    if (before.empty() || before.ends_with("::") || before.ends_with("operator")) return function;
    return before;
  }
  return function;
}

std::string_view base_name(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string place_name(const StackFrame& frame) {
  const std::string file(base_name(frame.file));
  const std::string function(bare_function(frame.function));
  if (frame.script) {
    std::string text = "line " + std::to_string(frame.line) + " of " + (file.empty() ? "?" : file);
    // "<module>", "<main>": the script itself, which is named already.
    if (!function.empty() && function.front() != '<') text += " (" + function + ")";
    return text;
  }
  if (!file.empty()) {
    const std::string place = frame.line > 0 ? file + ":" + std::to_string(frame.line) : file;
    return function.empty() ? place : function + " (" + place + ")";
  }
  std::array<char, 24> offset{};
  std::snprintf(offset.data(), offset.size(), "0x%llx",
                static_cast<unsigned long long>(frame.offset));
  std::string place = frame.module.empty()
                          ? "address " + std::string(offset.data())
                          : std::string(base_name(frame.module)) + "+" + offset.data();
  return function.empty() ? place : function + " in " + place;
}

}  // namespace loopscope::findings
