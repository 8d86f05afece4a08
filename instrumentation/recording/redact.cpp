// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/redact.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>

namespace loopscope::recording {
namespace {

std::atomic<bool> g_hides{false};

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_alnum(char c) { return is_upper(c) || is_lower(c) || (c >= '0' && c <= '9'); }
bool is_name(char c) { return is_alnum(c) || c == '_' || c == '-' || c == '.'; }

template <std::size_t N>
bool any_of(const std::array<std::string_view, N>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// "db-password", "db_password", "dbPassword" and "DB.PASSWORD" are {"db", "password"}.
std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> words(1);
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    if (!is_alnum(c)) {
      words.emplace_back();
      continue;
    }
    if (i > 0 && is_upper(c) && is_lower(name[i - 1])) words.emplace_back();
    words.back() += is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c;
  }
  std::erase(words, "");
  return words;
}

// Enough anywhere in a word: nothing harmless holds them.
constexpr std::array<std::string_view, 8> kSecretParts{"passw",      "passphrase", "secret",
                                                       "credential", "apikey",     "accesskey",
                                                       "privatekey", "requirepass"};
// As a word of their own: "keyspace", "compass" and "author" are none, nor is "tokens", a number as
// a rule.
constexpr std::array<std::string_view, 9> kSecretWords{
    "pass", "pwd", "token", "key", "auth", "authorization", "bearer", "cookie", "masterauth"};
// As the last word they make it the name of a place or of a property.
constexpr std::array<std::string_view, 28> kNotTheSecret{
    "file",   "files",    "path",   "dir",    "directory", "name",   "id",
    "type",   "size",     "length", "len",    "count",     "ttl",    "timeout",
    "expiry", "lifetime", "url",    "uri",    "method",    "mode",   "host",
    "server", "command",  "cmd",    "prompt", "algorithm", "format", "encoding"};
constexpr std::array<std::string_view, 5> kNegations{"no", "without", "disable", "skip", "ask"};

/// A file's name by its ending: what a --key often is. Base64 has no dot, and the parts of a token
/// are longer than an ending.
bool names_file(std::string_view value) {
  const std::size_t dot = value.rfind('.');
  if (dot == std::string_view::npos || dot == 0) return false;
  const std::string_view ending = value.substr(dot + 1);
  return ending.size() >= 2 && ending.size() <= 4 &&
         std::all_of(ending.begin(), ending.end(), is_alnum) &&
         value.find_first_of("=:@ ") == std::string_view::npos;
}

/// Whether the value of `name` is to be hidden.
bool is_secret(std::string_view name, std::string_view value) {
  if (value.empty() || !names_secret(name)) return false;
  const std::vector<std::string> words = words_of(name);
  return !(words.back() == "key" && names_file(value));
}

std::size_t end_of_value(std::string_view text, std::size_t at) {
  if (at < text.size() && (text[at] == '\'' || text[at] == '"')) {
    const std::size_t closing = text.find(text[at], at + 1);
    if (closing == std::string_view::npos) return text.size();
    at = closing;  // what is glued to it belongs to it: "a"b
  }
  return std::min(text.find_first_of(" ;&#", at), text.size());
}

/// Assignments inside: "host=x password=V", "?token=V&x=1", "AccountKey=V;".
void hide_assignments(std::string& text) {
  for (std::size_t at = text.find('='); at != std::string::npos; at = text.find('=', at + 1)) {
    std::size_t begin = at;
    while (begin > 0 && is_name(text[begin - 1])) --begin;
    const std::size_t end = end_of_value(text, at + 1);
    const std::string_view view = text;
    if (is_secret(view.substr(begin, at - begin), view.substr(at + 1, end - at - 1))) {
      text.replace(at + 1, end - at - 1, kHidden);
    }
  }
}

/// "Authorization: Bearer V" and {"password": "V"}: from there on nothing is shown.
void hide_headers(std::string& text) {
  for (std::size_t at = text.find(':'); at != std::string::npos; at = text.find(':', at + 1)) {
    std::size_t end = at;
    const bool quoted = end > 0 && (text[end - 1] == '"' || text[end - 1] == '\'');
    if (quoted) --end;
    std::size_t begin = end;
    while (begin > 0 && is_name(text[begin - 1])) --begin;
    const std::size_t value = std::min(text.find_first_not_of(' ', at + 1), text.size());
    // Without quotes and spaces it is more likely a host and its port.
    if (!quoted && value == at + 1) continue;
    if (value < text.size() && names_secret(std::string_view(text).substr(begin, end - begin))) {
      text.replace(value, std::string::npos, kHidden);
      return;
    }
  }
}

/// scheme://user:V@host. A user alone is hidden if it is so long and opaque that it is no name:
/// https://V@host.
void hide_passwords_of_urls(std::string& text) {
  constexpr std::size_t kLongestUser =
      19;  // tokens that are given as users have 20 characters and more
  for (std::size_t at = text.find("://"); at != std::string::npos; at = text.find("://", at + 3)) {
    const std::size_t begin = at + 3;
    // The last '@' before the path: a password may hold one that nobody has escaped.
    const std::size_t end = std::min(text.find_first_of("/?# ", begin), text.size());
    const std::size_t host = std::string_view(text).substr(0, end).rfind('@');
    if (host == std::string::npos || host < begin) continue;
    const std::size_t colon = text.find(':', begin);
    if (colon < host) {
      if (host > colon + 1) text.replace(colon + 1, host - colon - 1, kHidden);
    } else if (host - begin > kLongestUser) {
      text.replace(begin, host - begin, kHidden);
    }
  }
}

/// The name in "--name" and "-name"; empty if `argument` is not an option that could take the next
/// one.
std::string_view option_name(std::string_view argument) {
  if (argument.size() < 2 || argument[0] != '-') return {};
  argument.remove_prefix(argument[1] == '-' ? 2 : 1);
  return !argument.empty() && std::all_of(argument.begin(), argument.end(), is_name)
             ? argument
             : std::string_view();
}

std::string redacted(const std::string& argument) {
  const std::size_t equals = argument.find('=');
  if (equals != std::string::npos) {
    std::string_view name = std::string_view(argument).substr(0, equals);
    while (!name.empty() && name[0] == '-') name.remove_prefix(1);
    // To its end, whatever is in it.
    if (std::all_of(name.begin(), name.end(), is_name) &&
        is_secret(name, std::string_view(argument).substr(equals + 1))) {
      return argument.substr(0, equals + 1) + std::string(kHidden);
    }
  }
  // What one rule hides may be what kept another from seeing: until nothing changes.
  constexpr int kMostRounds = 16;
  std::string text = argument;
  for (int round = 0; round < kMostRounds; ++round) {
    const std::string before = text;
    hide_passwords_of_urls(text);
    hide_assignments(text);
    hide_headers(text);
    if (text == before) break;
  }
  return text;
}

}  // namespace

bool names_secret(std::string_view name) {
  const std::vector<std::string> words = words_of(name);
  if (words.empty() || any_of(kNotTheSecret, words.back()) || any_of(kNegations, words.front()))
    return false;
  return std::any_of(words.begin(), words.end(), [](const std::string& word) {
    return any_of(kSecretWords, word) || word.ends_with("token") ||
           std::any_of(kSecretParts.begin(), kSecretParts.end(),
                       [&](std::string_view part) { return word.find(part) != std::string::npos; });
  });
}

std::vector<std::string> redacted(const std::vector<std::string>& argv) {
  std::vector<std::string> out;
  out.reserve(argv.size());
  std::string_view option;  // that the argument may be the value of
  for (const std::string& argument : argv) {
    const bool is_option = argument.size() > 1 && argument[0] == '-';
    if (!is_option && is_secret(option, argument)) {
      out.emplace_back(kHidden);
      option = {};
      continue;
    }
    out.push_back(redacted(argument));
    option = option_name(argument);
  }
  return out;
}

void hide_secrets() noexcept { g_hides.store(true, std::memory_order_relaxed); }
bool hides_secrets() noexcept { return g_hides.load(std::memory_order_relaxed); }

}  // namespace loopscope::recording
