// SPDX-License-Identifier: Apache-2.0
#include "cli/baseline.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "cli/output_file.h"
#include "instrumentation/findings/blame.h"
#include "instrumentation/findings/check_rules.h"

namespace loopscope::cli {
namespace {

using findings::Finding;
using recording::Error;
using recording::Result;
using recording::StackFrame;
using Json = nlohmann::ordered_json;

constexpr const char* kSchema = "loopscope.baseline/1";

/// Frames. One would take every caller of a wrapper (open_or_die()) for one place, all of them
/// would make a known leak new as soon as another test reaches it.
constexpr std::size_t kFingerprintFrames = 3;

/// Of a file that may be anything. A baseline of this size has 400 000 findings.
constexpr std::size_t kLargestFile = std::size_t{64} << 20;

// --- fingerprint ---

class Hash {
 public:
  /// FNV-1a; a byte that no name holds follows, so that "ab", "c" is not "a", "bc".
  void add(std::string_view text) {
    for (const char c : text) mix(static_cast<unsigned char>(c));
    mix(0);
  }

  std::string hex() const {
    std::array<char, 17> text{};
    std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(state_));
    return text.data();
  }

 private:
  void mix(unsigned char byte) {
    state_ ^= byte;
    state_ *= 0x100000001b3;
  }

  std::uint64_t state_ = 0xcbf29ce484222325;
};

/// "libfoo.so" of "/usr/lib/libfoo.so.1.2 (deleted)".
std::string_view library_name(std::string_view module) {
  const std::string_view name = findings::base_name(module);
  const std::size_t version = name.find(".so.");
  if (version != std::string_view::npos) return name.substr(0, version + 3);
  return name.substr(0, name.find(' '));
}

bool has_name(const StackFrame& frame) { return !frame.function.empty() || !frame.file.empty(); }

/// The frames that a finding is told by.
std::vector<const StackFrame*> telling_frames(const Finding& finding) {
  std::vector<const StackFrame*> frames;
  // What a slow loop was seen doing is another thing each time: it is known by its name.
  const findings::CheckRule* rule = findings::find_check_rule(finding.rule);
  if (rule != nullptr && rule->budget) return frames;
  if (finding.places.empty() || !finding.places.front().stack) return frames;
  const std::vector<StackFrame>& stack = *finding.places.front().stack;
  const std::size_t blamed = finding.places.front().frame.value_or(0);
  if (blamed >= stack.size()) return frames;
  const StackFrame& first = stack[blamed];
  frames.push_back(&first);
  for (std::size_t at = blamed + 1; at < stack.size() && frames.size() < kFingerprintFrames; ++at) {
    const StackFrame& frame = stack[at];
    const bool of_the_same = !first.script && !frame.script && frame.module == first.module &&
                             !frame.function.starts_with("_start") &&
                             !findings::is_system_file(frame.file);
    if (findings::is_own_frame(frame) || of_the_same) frames.push_back(&frame);
  }
  return frames;
}

// --- reading ---

Error unreadable(const std::string& path, int error) {
  std::string message = "cannot read the baseline " + path + ": " + std::strerror(error);
  if (error == ENOENT) message += "; --update-baseline makes one";
  return {error == ENOENT   ? Error::Code::kNotFound
          : error == EACCES ? Error::Code::kPermission
                            : Error::Code::kSystem,
          std::move(message)};
}

Error malformed(const std::string& path, const std::string& what) {
  return {Error::Code::kFormat, "the baseline " + path + ' ' + what +
                                    "; put it right, or remove it and run with --update-baseline"};
}

Result<std::string> read_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return unreadable(path, errno);
  std::string text;
  std::array<char, 65536> buffer{};
  int error = 0;
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) error = errno;
    if (got <= 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(got));
    if (text.size() > kLargestFile) {
      error = EFBIG;
      break;
    }
  }
  ::close(fd);
  if (error != 0) return unreadable(path, error);
  return text;
}

bool is_fingerprint(const std::string& text) {
  return text.size() == 16 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string string_of(const Json& entry, const char* name) {
  const auto found = entry.find(name);
  return found != entry.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// What is wrong with the entry; empty: nothing.
std::string take_entry(const Json& json, std::map<std::string, BaselineEntry>& entries) {
  if (!json.is_object()) return "is not an object";
  BaselineEntry entry;
  entry.fingerprint = string_of(json, "fingerprint");
  if (!is_fingerprint(entry.fingerprint)) return "has no \"fingerprint\" of 16 hex digits";
  entry.rule = string_of(json, "rule");
  entry.where = string_of(json, "where");
  if (const auto count = json.find("count"); count != json.end()) {
    if (!count->is_number_unsigned()) return "has a \"count\" that is no whole number";
    entry.count = count->get<std::uint64_t>();
  }
  entries.emplace(entry.fingerprint, std::move(entry));
  return {};
}

Baseline sorted(std::map<std::string, BaselineEntry>&& entries) {
  Baseline baseline;
  for (auto& [fingerprint, entry] : entries) baseline.findings.push_back(std::move(entry));
  std::sort(baseline.findings.begin(), baseline.findings.end(),
            [](const BaselineEntry& a, const BaselineEntry& b) {
              return std::tie(a.rule, a.where, a.fingerprint) <
                     std::tie(b.rule, b.where, b.fingerprint);
            });
  return baseline;
}

// --- writing ---

/// Without its line, which moves with every change above it.
std::string where_of(const CheckedFinding& checked) {
  const std::vector<const StackFrame*> frames = telling_frames(checked.finding);
  if (frames.empty()) {
    return checked.finding.subject.empty() ? checked.finding.kind : checked.finding.subject;
  }
  const StackFrame& frame = *frames.front();
  const std::string function(findings::bare_function(frame.function));
  std::string file(frame.file.empty() ? library_name(frame.module)
                                      : findings::base_name(frame.file));
  if (function.empty()) return file;
  return file.empty() ? function : function + " (" + file + ')';
}

Error unwritable(const std::string& path, const char* step, int error) {
  return {error == ENOSPC || error == EDQUOT                    ? Error::Code::kNoSpace
          : error == EACCES || error == EPERM || error == EROFS ? Error::Code::kPermission
                                                                : Error::Code::kSystem,
          "cannot write the baseline " + path + ": " + step + ": " + std::strerror(error) +
              "; what was there is as it was"};
}

/// What a file made by open(2) would get.
mode_t usual_mode() {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return 0666 & ~mask;
}

}  // namespace

const BaselineEntry* Baseline::find(std::string_view fingerprint) const {
  const auto found =
      std::find_if(findings.begin(), findings.end(),
                   [&](const BaselineEntry& entry) { return entry.fingerprint == fingerprint; });
  return found == findings.end() ? nullptr : &*found;
}

std::string fingerprint(const Finding& finding, std::string_view command) {
  Hash hash;
  hash.add(finding.rule);
  hash.add(finding.kind);
  const std::vector<const StackFrame*> frames = telling_frames(finding);
  bool named = false;
  for (const StackFrame* frame : frames) {
    const std::string_view function = findings::bare_function(frame->function);
    hash.add(function.empty() ? library_name(frame->module) : function);
    hash.add(findings::base_name(frame->file));
    named = named || has_name(*frame);
  }
  if (!named) {
    hash.add(command);
    hash.add(finding.subject);
  }
  return hash.hex();
}

Baseline baseline_of(const CheckResult& result) {
  std::map<std::string, BaselineEntry> entries;
  for (const CheckedFinding& checked : result.findings) {
    using Status = CheckedFinding::Status;
    if (checked.status == Status::kSuppressed || checked.status == Status::kFewer) continue;
    if (checked.finding.severity != findings::Severity::kError && !result.strict) continue;
    BaselineEntry& entry = entries[checked.fingerprint];
    if (entry.fingerprint.empty()) {
      entry = {checked.fingerprint, checked.finding.rule, where_of(checked), 0};
    }
    entry.count += checked.finding.count;
  }
  return sorted(std::move(entries));
}

std::size_t gone(const Baseline& baseline, const CheckResult& result) {
  std::set<std::string_view> found;
  for (const CheckedFinding& checked : result.findings) found.insert(checked.fingerprint);
  return static_cast<std::size_t>(std::count_if(
      baseline.findings.begin(), baseline.findings.end(),
      [&](const BaselineEntry& entry) { return !found.contains(entry.fingerprint); }));
}

Result<Baseline> read_baseline(const std::string& path) {
  Result<std::string> text = read_file(path);
  if (!text) return text.error();
  // Left by git where two branches changed it.
  if (text->find("\n<<<<<<< ") != std::string::npos || text->starts_with("<<<<<<< ")) {
    return malformed(path, "has the marks of a merge that was not resolved");
  }
  Json json;
  try {
    json = Json::parse(*text);
  } catch (const Json::parse_error& error) {
    const auto at = std::min<std::size_t>(error.byte, text->size());
    const auto line = 1 + std::count(text->begin(), text->begin() + static_cast<long>(at), '\n');
    return malformed(path, "is not JSON (line " + std::to_string(line) + ")");
  } catch (const Json::out_of_range&) {
    return malformed(path, "holds a number that is too large");
  }
  if (!json.is_object()) return malformed(path, "is not a JSON object");
  const std::string schema = string_of(json, "schema");
  if (schema != kSchema) {
    if (schema.empty()) return malformed(path, "has no \"schema\": it is another kind of file");
    Error error = malformed(path, "has the schema \"" + schema.substr(0, 60) +
                                      "\", this version reads \"" + kSchema + '"');
    error.code = Error::Code::kOtherVersion;
    return error;
  }
  const auto list = json.find("findings");
  if (list == json.end() || !list->is_array()) return malformed(path, "has no list \"findings\"");
  std::map<std::string, BaselineEntry> entries;
  std::size_t number = 0;
  for (const Json& each : *list) {
    ++number;
    const std::string fault = take_entry(each, entries);
    if (!fault.empty()) {
      return malformed(path, "is damaged: finding " + std::to_string(number) + ' ' + fault);
    }
  }
  return sorted(std::move(entries));
}

std::string baseline_text(const Baseline& baseline) {
  std::string text = "{\"schema\":\"" + std::string(kSchema) + "\",\"findings\":[\n";
  for (const BaselineEntry& entry : baseline.findings) {
    const Json json{{"fingerprint", entry.fingerprint},
                    {"rule", entry.rule},
                    {"where", entry.where},
                    {"count", entry.count}};
    // Names may be anything, UTF-8 or not.
    text += json.dump(-1, ' ', false, Json::error_handler_t::replace);
    text += &entry == &baseline.findings.back() ? "\n" : ",\n";
  }
  return text + "]}\n";
}

Result<void> write_baseline(const std::string& path, const Baseline& baseline) {
  // rename(2) would replace a link, not what it leads to (which need not be there yet).
  constexpr int kMostLinks = 40;  // the kernel's own limit
  std::filesystem::path target = path;
  std::error_code failed;
  for (int links = 0; std::filesystem::is_symlink(target, failed); ++links) {
    if (links == kMostLinks) return unwritable(path, "following the link", ELOOP);
    const std::filesystem::path next = std::filesystem::read_symlink(target, failed);
    if (failed) return unwritable(path, "following the link", failed.value());
    target = target.parent_path() / next;  // an absolute one replaces all
  }
  const std::string file = target;
  std::optional<mode_t> mode;
  if (struct stat status{}; ::stat(file.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return unwritable(path, "it is there", EISDIR);
    if (!S_ISREG(status.st_mode)) {
      return Error{Error::Code::kBadArgument,
                   "cannot write the baseline " + path + ": it is not a regular file"};
    }
    mode = status.st_mode & 07777;
  }
  const std::size_t name = file.rfind('/') == std::string::npos ? 0 : file.rfind('/') + 1;
  std::string temporary = file.substr(0, name) + '.' + file.substr(name) + ".XXXXXX";
  const int fd = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0) return unwritable(path, "making a file beside it", errno);
  const char* step = "writing";
  int error = write_all(fd, baseline_text(baseline));
  if (error == 0 && ::fchmod(fd, mode.value_or(usual_mode())) != 0) error = errno;
  if (error == 0 && ::fsync(fd) != 0) error = errno;
  if (::close(fd) != 0 && error == 0) error = errno;
  if (error == 0 && ::rename(temporary.c_str(), file.c_str()) != 0) {
    step = "renaming";
    error = errno;
  }
  if (error == 0) return {};
  ::unlink(temporary.c_str());
  return unwritable(path, step, error);
}

}  // namespace loopscope::cli
