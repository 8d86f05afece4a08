// SPDX-License-Identifier: Apache-2.0
//
// What `serve` and `run` are told about serving: where to listen, and what guards it.
//
// Thread-safety: no state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "webui/server/server.h"

namespace CLI {
class App;
}

namespace loopscope::cli {

inline constexpr char kDefaultListen[] = "127.0.0.1:9464";

/// "ADDR:PORT", "[V6]:PORT", ":PORT" and "PORT" (both: on loopback). None: it is not one of these.
std::optional<std::pair<std::string, std::uint16_t>> parse_listen(std::string_view text);

/// What is wrong with a --listen that parse_listen() does not understand, and how it is written.
std::string listen_usage(const std::string& text);

/// What guards the page.
struct Guard {
  std::string token_file;
  bool insecure = false;
  std::vector<std::string> host_names;
  std::string tls_certificate;
  std::string tls_key;
};

/// The options for it: --token-file, --insecure, --host, --tls-cert, --tls-key.
void add_guard(CLI::App& command, Guard& guard);

/// Reads the token. Throws std::runtime_error if it cannot be read. What should be thought of again
/// goes to `warning` (a key that everybody may read); empty: nothing.
void put_guard(const Guard& guard, webui::ServerOptions& options, std::string& warning);

/// How a command line says what std::invalid_argument of the server complains about.
inline constexpr char kGuardHint[] =
    "\nOn the command line: --listen ADDR:PORT, --token-file FILE, --insecure, --host NAME, "
    "--tls-cert FILE, --tls-key FILE.";

/// The first line of the file. Throws std::runtime_error if there is none.
std::string read_token(const std::string& path);

}  // namespace loopscope::cli
