// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/findings/suppressions.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "instrumentation/findings/blame.h"
#include "instrumentation/findings/shipped_text.h"

namespace loopscope::findings {
namespace {

using recording::StackFrame;

constexpr std::array<std::string_view, 10> kKeys = {"reason", "rule",     "process", "kind",
                                                    "target", "function", "file",    "module",
                                                    "opener", "script"};
/// Would alone match every finding of a program.
constexpr std::array<std::string_view, 3> kNotEnough = {"reason", "rule", "process"};

/// Beyond, fnmatch(3) may take its time: it tries every way to divide a text among the stars.
constexpr std::ptrdiff_t kMostStars = 16;

bool is_one_of(std::string_view text, std::span<const std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

/// How many letters must be put in, left out, replaced or swapped with the next.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] =
          std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before = last;
    last = row;
  }
  return last[b.size()];
}

/// The word that was meant, if it is near enough to be told.
std::optional<std::string_view> meant(std::string_view word,
                                      std::span<const std::string_view> words) {
  if (word.size() > 24) return std::nullopt;
  std::optional<std::string_view> nearest;
  std::size_t least = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string_view candidate : words) {
    const std::size_t away = distance(word, candidate);
    if (away < least) {
      least = away;
      nearest = candidate;
    }
  }
  return nearest;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

/// A piece of somebody's file, fit for a terminal.
std::string quoted(std::string_view text) {
  constexpr std::size_t kMost = 60;
  std::string result = "`";
  for (const char c : text.substr(0, kMost)) {
    const auto byte = static_cast<unsigned char>(c);
    result += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  return result + (text.size() > kMost ? "...`" : "`");
}

/// A '[' that no ']' follows, or a '\' at the end: fnmatch takes the one for itself and matches
/// nothing with the other, and the writer meant neither.
std::string pattern_fault(std::string_view pattern) {
  int stars = 0;
  for (std::size_t at = 0; at < pattern.size(); ++at) {
    if (pattern[at] == '*' && ++stars > kMostStars) {
      return "has more than " + std::to_string(kMostStars) + " `*`";
    }
    if (pattern[at] == '\\') {
      if (++at == pattern.size()) return "ends with a `\\`; a backslash itself is `\\\\`";
    } else if (pattern[at] == '[') {
      // The first character after "[" or "[!" may be a ']' that stands for itself.
      std::size_t from = at + 1;
      if (from < pattern.size() && (pattern[from] == '!' || pattern[from] == '^')) ++from;
      const std::size_t end = pattern.find(']', from + 1);
      if (end == std::string_view::npos)
        return "has a `[` without a `]`; a bracket itself is `\\[`";
      at = end;
    }
  }
  return {};
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  ParsedSuppressions parse() {
    constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
    if (text_.starts_with(kByteOrderMark)) text_.remove_prefix(kByteOrderMark.size());
    while (!text_.empty() && !gave_up_) {
      const std::size_t end = text_.find('\n');
      std::string_view line = text_.substr(0, end);
      text_.remove_prefix(end == std::string_view::npos ? text_.size() : end + 1);
      if (line.ends_with('\r')) line.remove_suffix(1);
      ++number_;
      take(line);
    }
    finish_entry();
    return std::move(result_);
  }

 private:
  void take(std::string_view line) {
    if (line.size() > kLongestSuppressionLine) {
      return error("the line is longer than " + std::to_string(kLongestSuppressionLine) +
                   " bytes: is this a suppression file?");
    }
    if (line.find('\0') != std::string_view::npos) {
      return error("the line holds a NUL byte: is this a text file?");
    }
    const std::string_view content = trimmed(line);
    if (content.empty() || content.front() == '#') return;
    const bool indented = line.front() == ' ' || line.front() == '\t';
    const std::size_t colon = content.find(':');
    if (colon == std::string_view::npos) {
      return error(quoted(content) + " is not a \"key: pattern\" line; write for example " +
                   (indented ? "`function: " : "`suppress: ") + "NAME`, or `#` before a comment");
    }
    const std::string_view key = trimmed(content.substr(0, colon));
    const std::string_view value = trimmed(content.substr(colon + 1));
    if (indented) {
      take_key(key, value);
    } else {
      take_head(key, value);
    }
  }

  void take_head(std::string_view key, std::string_view value) {
    if (key != "suppress") {
      if (is_one_of(key, kKeys)) {
        return error(quoted(key) +
                     " must be indented: it belongs to the `suppress:` line above it");
      }
      const bool near = distance(key.substr(0, 24), "suppress") <= 3;
      error("unknown key " + quoted(key) + (near ? "; did you mean " : "; an entry begins with ") +
            (near ? "`suppress`?" : "`suppress: NAME`"));
      // What follows belongs to it: one mistake, one message.
      if (near) begin_entry(value, false);
      return;
    }
    begin_entry(value, !value.empty());
    if (value.empty()) error("the entry has no name; write `suppress: NAME`");
  }

  void take_key(std::string_view key, std::string_view value) {
    if (!open_) {
      return error(key == "suppress"
                       ? "`suppress` must not be indented: it begins an entry"
                       : quoted(key) + " belongs to no entry; write `suppress: NAME` above it");
    }
    if (!is_one_of(key, kKeys)) {
      if (key == "suppress") return error("`suppress` must not be indented: it begins an entry");
      std::string message = "unknown key " + quoted(key);
      if (const auto word = meant(key, kKeys)) {
        message += "; did you mean `" + std::string(*word) + "`?";
      } else {
        message += "; known are";
        for (const std::string_view known : kKeys) {
          message += (known == kKeys.front() ? " " : ", ") + std::string(known);
        }
      }
      return error(message);
    }
    if (value.empty()) {
      return error(key == "reason" ? "`reason` is empty; say why these descriptors may stay open"
                                   : quoted(key) + " has no pattern; `*` would match anything");
    }
    if (key == "reason") {
      // More lines of it make one text.
      if (!entry_.reason.empty()) entry_.reason += ' ';
      entry_.reason += value;
      return;
    }
    if (const std::string fault = pattern_fault(value); !fault.empty()) {
      return error("the pattern of " + quoted(key) + ' ' + fault);
    }
    entry_.conditions.emplace_back(key, value);
  }

  void begin_entry(std::string_view name, bool good) {
    finish_entry();
    open_ = true;
    good_ = good;
    first_line_ = number_;
    entry_.name = name;
    entry_.source = file_ + ':' + std::to_string(number_);
  }

  void finish_entry() {
    if (!open_) return;
    // Of an entry with another mistake, what is missing may be what was mistaken.
    if (good_ && entry_.reason.empty()) {
      error_at(first_line_, "the entry " + quoted(entry_.name) +
                                " has no reason; add an indented line `reason: WHY`");
    }
    const bool narrow =
        std::any_of(entry_.conditions.begin(), entry_.conditions.end(),
                    [](const auto& condition) { return !is_one_of(condition.first, kNotEnough); });
    if (good_ && !narrow) {
      error_at(first_line_, "the entry " + quoted(entry_.name) +
                                " would silence whole programs; add a line with kind, target, "
                                "function, file, module, opener or script");
    }
    if (good_) result_.entries.push_back(std::move(entry_));
    entry_ = {};
    open_ = false;
  }

  void error(std::string message) { error_at(number_, std::move(message)); }

  void error_at(std::size_t line, std::string message) {
    good_ = false;
    if (gave_up_) return;
    if (result_.errors.size() + 1 == kMostSuppressionErrors) {
      gave_up_ = true;
      message += "; what follows was not read: too many errors";
    }
    result_.errors.push_back({file_ + ':' + std::to_string(line), std::move(message)});
  }

  std::string_view text_;
  const std::string& file_;
  ParsedSuppressions result_;
  std::size_t number_ = 0;  // of the line
  bool gave_up_ = false;

  Suppression entry_;
  bool open_ = false;  // a `suppress` line was read
  bool good_ = false;
  std::size_t first_line_ = 0;
};

// --- matching ---

bool matches(const std::string& pattern, const std::string& text) {
  return ::fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
}

bool path_matches(const std::string& pattern, const std::string& path) {
  if (path.empty()) return false;
  if (pattern.find('/') != std::string::npos) return matches(pattern, path);
  return matches(pattern, std::string(base_name(path)));
}

bool function_matches(const std::string& pattern, const std::string& function) {
  if (function.empty()) return false;
  // A bare name may have a parenthesis: "(anonymous namespace)::open_it".
  return matches(pattern, function) || matches(pattern, std::string(bare_function(function)));
}

bool holds(const std::string& key, const std::string& pattern, const Finding& finding,
           const std::string& command) {
  if (key == "rule") return matches(pattern, finding.rule);
  if (key == "process") return matches(pattern, command);
  if (key == "kind") {
    if (!finding.kind.empty()) return matches(pattern, finding.kind);
    return std::any_of(finding.descriptors.begin(), finding.descriptors.end(),
                       [&](const FoundDescriptor& found) { return matches(pattern, found.kind); });
  }
  if (key == "target") {
    return std::any_of(finding.descriptors.begin(), finding.descriptors.end(),
                       [&](const FoundDescriptor& found) {
                         return (!found.target.empty() && matches(pattern, found.target)) ||
                                (!found.local.empty() && matches(pattern, found.local)) ||
                                (!found.peer.empty() && matches(pattern, found.peer));
                       });
  }
  if (finding.places.empty() || !finding.places.front().stack) return false;
  const std::vector<StackFrame>& stack = *finding.places.front().stack;
  if (key == "opener" || key == "script") {
    const bool script = key == "script";
    const auto caller = std::find_if(stack.begin(), stack.end(), [script](const StackFrame& frame) {
      return frame.script == script;
    });
    return caller != stack.end() && path_matches(pattern, script ? caller->file : caller->module);
  }
  return std::any_of(stack.begin(), stack.end(), [&](const StackFrame& frame) {
    if (key == "function") return function_matches(pattern, frame.function);
    if (key == "file") return path_matches(pattern, frame.file);
    return path_matches(pattern, frame.module);
  });
}

// --- writing ---

/// A pattern that matches `text` and no more: what fnmatch would take otherwise is escaped, and `?`
/// stands for what has no place in a line.
std::string literal(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      pattern += '?';
      continue;
    }
    if (c == '*' || c == '?' || c == '[' || c == '\\') pattern += '\\';
    pattern += c;
  }
  // Spaces at the ends would not be read.
  if (pattern.starts_with(' ')) pattern.front() = '?';
  if (pattern.ends_with(' ')) pattern.back() = '?';
  return pattern;
}

/// Of a library without its version: it changes with the next upgrade. "libfoo.so.1.2" is
/// "libfoo.so*".
std::string module_pattern(std::string_view module) {
  const std::string_view name = base_name(module);
  const std::size_t version = name.find(".so.");
  if (version == std::string_view::npos) return literal(name);
  return literal(name.substr(0, version + 3)) + "*";
}

/// A word for the entry's name: letters, digits and hyphens.
std::string word_of(std::string_view text) {
  constexpr std::size_t kMost = 60;
  std::string word;
  for (const char c : text) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '.';
    if (good) {
      word += c;
    } else if (!word.empty() && word.back() != '-') {
      word += '-';
    }
    if (word.size() == kMost) break;
  }
  while (word.ends_with('-')) word.pop_back();
  return word;
}

}  // namespace

ParsedSuppressions parse_suppressions(std::string_view text, const std::string& file) {
  return Parser(text, file).parse();
}

const std::vector<Suppression>& shipped_suppressions() {
  static const std::vector<Suppression> shipped = [] {
    std::vector<Suppression> entries = parse_suppressions(shipped_text(), "shipped.supp").entries;
    for (Suppression& entry : entries) entry.source = kShipped;
    return entries;
  }();
  return shipped;
}

const Suppression* find_suppression(const std::vector<Suppression>& entries, const Finding& finding,
                                    std::string_view command) {
  const std::string name(command);
  for (const Suppression& entry : entries) {
    if (std::all_of(entry.conditions.begin(), entry.conditions.end(), [&](const auto& condition) {
          return holds(condition.first, condition.second, finding, name);
        })) {
      return &entry;
    }
  }
  return nullptr;
}

std::string suppression_for(const Finding& finding, std::string_view command) {
  const StackFrame* frame = nullptr;
  if (!finding.places.empty()) {
    const Place& place = finding.places.front();
    if (place.stack && !place.stack->empty()) {
      const std::size_t at = place.frame.value_or(0);
      frame = &(*place.stack)[at < place.stack->size() ? at : 0];
    }
  }
  std::string keys;
  std::string name;
  const auto add = [&](const char* key, const std::string& pattern) {
    keys += std::string("  ") + key + ": " + pattern + '\n';
  };
  const bool named = frame != nullptr && !bare_function(frame->function).empty();
  // Without a function the entry would hold for all that the module does in other programs too.
  if (!named && !command.empty()) add("process", literal(command));
  const std::size_t before = keys.size();
  if (!finding.kind.empty()) add("kind", literal(finding.kind));
  if (frame != nullptr) {
    const std::string_view function = bare_function(frame->function);
    if (named) add("function", literal(function));
    if (!base_name(frame->file).empty()) {
      add("file", literal(base_name(frame->file)));
    } else if (!base_name(frame->module).empty()) {
      add("module", module_pattern(frame->module));
    }
    name = word_of(named ? function : base_name(frame->file.empty() ? frame->module : frame->file));
  }
  if (frame == nullptr && !finding.descriptors.empty()) {
    const FoundDescriptor& first = finding.descriptors.front();
    for (const std::string* text : {&first.target, &first.peer, &first.local}) {
      if (text->empty()) continue;
      add("target", literal(*text));
      break;
    }
  }
  if (keys.size() == before) {
    return "# " + finding.rule + (command.empty() ? "" : " of " + word_of(command)) +
           ": nothing to go by, neither a stack nor a descriptor; raise the budget instead\n";
  }
  if (name.empty()) name = word_of(command);
  return "suppress: " + finding.rule + (name.empty() ? "" : "-" + name) +
         "\n  reason: (say here why this is meant)\n  rule: " + literal(finding.rule) + '\n' + keys;
}

}  // namespace loopscope::findings
