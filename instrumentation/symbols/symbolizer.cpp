// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/symbols/symbolizer.h"

#include <algorithm>
#include <chrono>
#include <list>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "instrumentation/symbols/debug_files.h"
#include "instrumentation/symbols/debug_info.h"
#include "instrumentation/symbols/elf_file.h"
#include "instrumentation/symbols/names.h"
#include "instrumentation/symbols/symbol_table.h"

namespace loopscope::symbols {
namespace {

using Clock = std::chrono::steady_clock;

// How old an unconfirmed state may be: one stat(2) a second and module.
constexpr auto kRecheck = std::chrono::seconds(1);
// Linux' PATH_MAX: no longer path can be opened, and none is kept as a key.
constexpr std::size_t kMaxPath = 4096;
constexpr std::size_t kMaxBuildId = 64;  // as in elf_file.cpp: no file has a longer one

constexpr const char* kStateNames[] = {"read",    "unverified", "debug-too-large", "no-file",
                                       "missing", "replaced",   "unreadable",      "not-elf"};

/// How /proc/PID/maps says that the file's name is gone; the next file of that name may well be the
/// same again (a reinstalled package).
constexpr std::string_view kDeleted = " (deleted)";

/// One module's content, in memory. `info` and `symbols` point into the files.
struct Loaded {
  std::unique_ptr<ElfFile> file;   // null if only the debug file is there
  std::unique_ptr<ElfFile> debug;  // null if there is none, or none is needed
  std::unique_ptr<DebugInfo> info;
  SymbolTable symbols;
  std::uint64_t bytes = 0;
};

struct Opened {
  ModuleState state = ModuleState::kNoFile;
  FileIdentity identity;           // of what is at the path
  std::unique_ptr<Loaded> loaded;  // null if nothing can be said
};

void read_symbols(const ElfFile& from, const Options& options, Loaded& loaded) {
  if (from.symbol_bytes() > options.limits.symbol_bytes) return;
  loaded.symbols = SymbolTable::read(from.elf(), from.lowest_code_address());
  if (!loaded.symbols.empty()) loaded.bytes += from.symbol_bytes();
}

Opened open_module(const std::string& path, const std::vector<std::uint8_t>& build_id,
                   const Options& options) {
  Opened result;
  result.identity = identify(path);
  std::unique_ptr<ElfFile> file = ElfFile::open(path, result.state);
  if (!file && !build_id.empty() && path.ends_with(kDeleted)) {
    ModuleState why{};
    file = ElfFile::open(path.substr(0, path.size() - kDeleted.size()), why);
    if (file && file->build_id() != build_id) file.reset();
  }
  if (file) {
    result.state = build_id.empty() ? ModuleState::kUnverified : ModuleState::kRead;
    if (!build_id.empty() && file->build_id() != build_id) {
      result.state = ModuleState::kReplaced;
      file.reset();
    }
  }
  // The debug file of that very build may have stayed when the module went.
  std::unique_ptr<ElfFile> debug;
  if (!file) {
    if (!build_id.empty()) debug = find_debug_file(build_id, options.debug_directories);
    if (!debug) return result;
    result.state = ModuleState::kRead;
  } else if (!file->has_debug_info()) {
    debug = find_debug_file(*file, options.debug_directories);
  }

  result.loaded = std::make_unique<Loaded>();
  Loaded& loaded = *result.loaded;
  loaded.file = std::move(file);
  loaded.debug = std::move(debug);
  // A debug file keeps the .symtab that the module was stripped of.
  if (loaded.debug && loaded.debug->has_symbols()) read_symbols(*loaded.debug, options, loaded);
  if (loaded.file && loaded.symbols.empty()) read_symbols(*loaded.file, options, loaded);

  ElfFile& with_info = loaded.debug ? *loaded.debug : *loaded.file;
  if (with_info.has_debug_info()) {
    const std::uint64_t limit = options.limits.debug_bytes;
    if (with_info.debug_bytes() > limit) {
      result.state = ModuleState::kDebugTooLarge;
    } else {
      loaded.info = DebugInfo::read(with_info, limit, options.debug_directories);
      if (loaded.info) loaded.bytes += loaded.info->loaded_bytes();
    }
  }
  if (loaded.file) loaded.file->close_descriptor();
  if (loaded.debug) loaded.debug->close_descriptor();
  return result;
}

/// Which of two names of a real function to show: the DWARF's (`exact` if a linkage name), or the
/// symbol table's. Static C++ functions have their parameters only in the latter; libc's have the
/// name people know ("read") only there, where the source says "__libc_read".
bool symbol_is_better(std::string_view function, bool exact, std::string_view symbol) {
  if (symbol.empty() || exact) return false;
  if (function.empty() || is_mangled(symbol)) return true;
  return symbol.find_first_not_of('_') < function.find_first_not_of('_');
}

std::vector<Frame> find_frames(const Loaded& loaded, const CodeAddress& code, ModuleState state) {
  Frame frame;
  frame.module = code.module;
  frame.offset = code.address;
  frame.state = state;
  const std::uint64_t address =
      code.is_return_address && code.address != 0 ? code.address - 1 : code.address;

  const std::string_view symbol = loaded.symbols.find(address);
  std::vector<Frame> frames;
  if (loaded.info) {
    for (DebugInfo::Place& place : loaded.info->find(address)) {
      frames.push_back(frame);
      Frame& added = frames.back();
      added.function = std::move(place.function);
      added.file = std::move(place.file);
      added.line = place.line;
      added.inlined = place.inlined;
      if (!place.inlined && symbol_is_better(added.function, place.exact, symbol)) {
        added.function = readable_name(symbol);
      }
    }
  }
  if (frames.empty()) {
    frame.function = readable_name(symbol);
    frames.push_back(std::move(frame));
  }
  return frames;
}

bool is_answer(ModuleState state) {
  return state == ModuleState::kRead || state == ModuleState::kUnverified ||
         state == ModuleState::kDebugTooLarge;
}

}  // namespace

class Symbolizer::Cache {
 public:
  explicit Cache(Options options) : options_(std::move(options)) {}

  std::vector<Frame> resolve(const CodeAddress& code) {
    const std::scoped_lock lock(mutex_);
    if (!code.module.starts_with('/')) return unknown(code, ModuleState::kNoFile);
    if (code.module.size() >= kMaxPath || code.module.find('\0') != std::string::npos) {
      return unknown(code, ModuleState::kMissing);
    }
    if (code.build_id.size() > kMaxBuildId) return unknown(code, ModuleState::kReplaced);

    Module& module = find_module(code);
    const AnswerKey key{module.serial, code.address, code.is_return_address};
    if (const auto known = answer_index_.find(key); known != answer_index_.end()) {
      answers_.splice(answers_.begin(), answers_, known->second);
      return known->second->frames;
    }
    if (!is_answer(module.state)) return unknown(code, module.state);
    if (!module.loaded) {
      open(module, code);
      if (!module.loaded) return unknown(code, module.state);
    }
    // Not `key`: opening may have found another content.
    return remember({module.serial, code.address, code.is_return_address},
                    find_frames(*module.loaded, code, module.state));
  }

  void release_modules() {
    const std::scoped_lock lock(mutex_);
    for (auto& [key, module] : modules_) unload(module);
  }

  Usage usage() const {
    const std::scoped_lock lock(mutex_);
    Usage usage;
    usage.answers = answers_.size();
    usage.modules = modules_.size();
    usage.loaded_bytes = loaded_bytes_;
    for (const auto& [key, module] : modules_) usage.loaded += module.loaded != nullptr ? 1 : 0;
    return usage;
  }

 private:
  struct Module {
    /// Names its content in the keys of the answers. Changes only where no build-id says that the
    /// content is the same.
    std::uint64_t serial = 0;
    ModuleState state = ModuleState::kNoFile;
    FileIdentity identity;
    Clock::time_point checked;
    std::uint64_t used = 0;  // tick_ of its last use
    std::unique_ptr<Loaded> loaded;
  };

  struct AnswerKey {
    std::uint64_t serial = 0;
    std::uint64_t address = 0;
    bool is_return_address = false;
    friend bool operator==(const AnswerKey&, const AnswerKey&) = default;
  };
  struct AnswerHash {
    std::size_t operator()(const AnswerKey& key) const {
      // Fibonacci hashing: addresses of one module differ in a few low bits.
      return (key.address * 2 + (key.is_return_address ? 1 : 0) + (key.serial << 48)) *
             0x9e3779b97f4a7c15U;
    }
  };
  struct Answer {
    AnswerKey key;
    std::vector<Frame> frames;
  };

  static std::vector<Frame> unknown(const CodeAddress& code, ModuleState state) {
    Frame frame;
    frame.module = code.module;
    frame.offset = code.address;
    frame.state = state;
    return {std::move(frame)};
  }

  Module& find_module(const CodeAddress& code) {
    key_.assign(code.module);
    key_ += '\0';  // in no path that can be opened
    key_.append(code.build_id.begin(), code.build_id.end());
    const auto [found, added] = modules_.try_emplace(key_);
    Module& module = found->second;
    module.used = ++tick_;
    if (added) {
      module.serial = ++serials_;
      open(module, code);
      evict_modules();
    } else if (code.build_id.empty() || !is_answer(module.state)) {
      const Clock::time_point now = Clock::now();
      if (now - module.checked >= kRecheck) {
        module.checked = now;
        if (identify(code.module) != module.identity) open(module, code);
      }
    }
    return module;
  }

  /// Reads the module's file. Leaves `module.loaded` null if nothing can be said of it.
  void open(Module& module, const CodeAddress& code) {
    unload(module);
    Opened opened = open_module(code.module, code.build_id, options_);
    if (code.build_id.empty() && opened.identity != module.identity) module.serial = ++serials_;
    module.state = opened.state;
    module.identity = opened.identity;
    module.checked = Clock::now();
    module.loaded = std::move(opened.loaded);
    if (!module.loaded) return;
    loaded_bytes_ += module.loaded->bytes;
    while (loaded_bytes_ > options_.limits.loaded_bytes) {
      Module* oldest = nullptr;
      for (auto& [key, other] : modules_) {
        if (!other.loaded || &other == &module) continue;
        if (oldest == nullptr || other.used < oldest->used) oldest = &other;
      }
      if (oldest == nullptr) break;
      unload(*oldest);
    }
  }

  void unload(Module& module) {
    if (!module.loaded) return;
    loaded_bytes_ -= module.loaded->bytes;
    module.loaded.reset();
  }

  /// The one used last stays.
  void evict_modules() {
    while (modules_.size() > std::max<std::size_t>(options_.limits.modules, 1)) {
      const auto oldest = std::min_element(
          modules_.begin(), modules_.end(),
          [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
      unload(oldest->second);
      modules_.erase(oldest);
    }
  }

  std::vector<Frame> remember(const AnswerKey& key, std::vector<Frame> frames) {
    answers_.push_front({key, frames});
    answer_index_[key] = answers_.begin();
    while (answers_.size() > options_.limits.answers) {
      answer_index_.erase(answers_.back().key);
      answers_.pop_back();
    }
    return frames;
  }

  const Options options_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Module> modules_;  // path, NUL, build-id
  std::list<Answer> answers_;                        // used last first
  std::unordered_map<AnswerKey, std::list<Answer>::iterator, AnswerHash> answer_index_;
  std::string key_;  // find_module's, kept for its memory
  std::uint64_t tick_ = 0;
  std::uint64_t serials_ = 0;
  std::uint64_t loaded_bytes_ = 0;
};

const char* module_state_name(ModuleState state) noexcept {
  const auto index = static_cast<std::size_t>(state);
  return index < std::size(kStateNames) ? kStateNames[index] : "unknown";
}

Symbolizer::Symbolizer(Options options) : cache_(std::make_unique<Cache>(std::move(options))) {}
Symbolizer::~Symbolizer() = default;

std::vector<Frame> Symbolizer::resolve(const CodeAddress& code) { return cache_->resolve(code); }
void Symbolizer::release_modules() { cache_->release_modules(); }
Usage Symbolizer::usage() const { return cache_->usage(); }

}  // namespace loopscope::symbols
