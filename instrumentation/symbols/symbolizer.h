// SPDX-License-Identifier: Apache-2.0
//
// Turns code addresses into functions and source lines, after the fact: the process they come from
// may have ended. Runs in the reader, never in the observed program.
//
// What is read: the module's own file and its separate debug file (by build-id below the debug
// directories, or by .gnu_debuglink), with elfutils' libdw and libelf. With DWARF a frame has its
// function, file and line, and the functions that were inlined at the address are frames of their
// own. Without, .symtab or .dynsym name the function. Else a frame is module and offset.
//
// Nothing is mapped: sections are read into memory and the file is closed, so that a file which is
// truncated or rewritten meanwhile can neither raise SIGBUS nor mix two versions, and no descriptor
// is held. Nothing is fetched: libdwfl, whose finder asks debuginfod, is not used.
//
// Files and recordings are not trusted: sizes, depths and counts are limited, only regular files
// are opened (a FIFO would hang the reader), only by absolute paths. One thing is libdw's: when
// memory runs out it ends the process; `Limits` is what keeps it from that.
//
// Not read: mini debug information (.gnu_debugdata), split DWARF (.dwo: functions come from the
// symbol table, lines are there, inlined functions are not), Rust's v0 names stay mangled, and
// frames of interpreters (Python, JavaScript).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace loopscope::symbols {

struct CodeAddress {
  std::string module;                  // path; empty or without leading '/': no file
  std::vector<std::uint8_t> build_id;  // empty: not known
  std::uint64_t address = 0;           // less the module's load bias: the link-time address
  /// A return address is looked up one byte earlier, in the call: it may be the first byte of
  /// another line, or of another function if the call does not return.
  bool is_return_address = true;
};

/// Where the answer comes from, or why there is none. Names (`module_state_name`) go to views.
enum class ModuleState : std::uint8_t {
  kRead,           // the file, or a debug file, with the recorded build-id
  kUnverified,     // no build-id was recorded: the file that is there now
  kDebugTooLarge,  // as kRead or kUnverified, but the DWARF is beyond Limits: symbols only
  kNoFile,         // [vdso], JIT code, anonymous memory
  kMissing,        // no such file any more
  kReplaced,       // the file there now has another build-id (an upgrade): it was not used
  kUnreadable,     // no permission, not a regular file, or an I/O error
  kNotElf          // or one that is damaged
};

/// "read", "unverified", "debug-too-large", "no-file", "missing", "replaced", "unreadable",
/// "not-elf".
const char* module_state_name(ModuleState state) noexcept;

struct Frame {
  std::string function;      // demangled; empty if not known
  std::string file;          // as built, without ".."; empty if not known
  int line = 0;              // of the call (or of the address itself); 0: not known
  std::string module;        // as recorded
  std::uint64_t offset = 0;  // as recorded: the same in all frames of one address
  bool inlined = false;      // into the next frame
  ModuleState state = ModuleState::kNoFile;
};

/// What a Symbolizer keeps and reads at most.
struct Limits {
  std::size_t answers = 16384;  // addresses whose frames are kept
  std::size_t modules = 1024;   // paths whose state is kept
  /// Bytes of sections in memory, over all modules; the one used last stays, whatever its size.
  /// libdw's own tables for the units that were looked at come on top.
  std::uint64_t loaded_bytes = std::uint64_t{256} << 20;
  /// DWARF of one module, uncompressed. Beyond, only its symbols are used.
  std::uint64_t debug_bytes = std::uint64_t{1} << 30;
  /// .symtab and .dynsym of one module, with their names.
  std::uint64_t symbol_bytes = std::uint64_t{256} << 20;
};

struct Options {
  Limits limits;
  /// Where separate debug files are looked for, as libdwfl does: DIR/.build-id/xx/yyyy.debug and
  /// DIR/path/of/the/module/DEBUGLINK (the module's own directory and its .debug come first).
  std::vector<std::string> debug_directories = {"/usr/lib/debug"};
};

/// What a Symbolizer holds now.
struct Usage {
  std::size_t answers = 0;
  std::size_t modules = 0;  // states known
  std::size_t loaded = 0;   // of these, with their file's sections in memory
  std::uint64_t loaded_bytes = 0;
};

/// Resolves addresses and remembers modules and answers, both bounded.
///
/// Thread-safety: every method may be called from any thread; one lock, which a cold lookup holds
/// while it reads files.
///
/// Cost (two cores, files in the page cache): an address that was asked before 0.1 to 0.3 µs a
/// frame; a new one in a module that is loaded 1 to 10 µs by symbol table, 20 to 300 µs by DWARF
/// (it grows with the compilation unit). The first one of a module: libstdc++ (symbols) 1 ms, the
/// loopscope command (28 MB of sections) 22 ms, node (20 MB) 21 ms, libc with its debug file
/// (10 MB, compressed) 50 ms.
///
/// How fresh: an answer for a build-id that matched holds for ever. Any other state is checked
/// against the file again when it is asked for and a second has passed. A debug file installed
/// after its module was read is seen once the module left memory (`release_modules`).
class Symbolizer {
 public:
  explicit Symbolizer(Options options = {});
  ~Symbolizer();
  Symbolizer(const Symbolizer&) = delete;
  Symbolizer& operator=(const Symbolizer&) = delete;

  /// Frames of one address, innermost inlined function first, the real function (inlined == false)
  /// last. Never empty: what is not known is a frame of module and offset with the reason in
  /// `state`.
  std::vector<Frame> resolve(const CodeAddress& code);

  /// Gives the modules' memory back and keeps the answers: for a server that will be idle.
  void release_modules();

  Usage usage() const;

 private:
  class Cache;
  std::unique_ptr<Cache> cache_;
};

}  // namespace loopscope::symbols
