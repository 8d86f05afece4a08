// SPDX-License-Identifier: Apache-2.0
#include "cli/listen.h"

#include <CLI/App.hpp>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <system_error>

#include "webui/server/tls.h"

namespace loopscope::cli {

std::optional<std::pair<std::string, std::uint16_t>> parse_listen(std::string_view text) {
  std::string address = "127.0.0.1";
  std::string_view port = text;
  if (const std::size_t colon = text.rfind(':'); colon != std::string_view::npos) {
    if (colon != 0) address = std::string(text.substr(0, colon));
    port = text.substr(colon + 1);
  }
  // A bare "::1" is an address without a port, not the port 1.
  if (address.find(':') != std::string::npos && address.front() != '[') return std::nullopt;
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size()) return std::nullopt;
  return std::pair(address, number);
}

std::string listen_usage(const std::string& text) {
  return "--listen " + text +
         ": not ADDR:PORT, for example 127.0.0.1:9464, [::1]:9464 or 0.0.0.0:9464";
}

void add_guard(CLI::App& command, Guard& guard) {
  command
      .add_option("--token-file", guard.token_file,
                  "File whose first line requests must carry as \"Authorization: Bearer ...\"")
      ->type_name("FILE");
  command.add_flag("--insecure", guard.insecure,
                   "Allow listening beyond this machine without a token");
  command
      .add_option("--host", guard.host_names,
                  "A name that this machine is asked for by, besides its addresses and its own "
                  "name (may be repeated); with a token beyond this machine every name is good")
      ->type_name("NAME")
      ->allow_extra_args(false);
  command
      .add_option("--tls-cert", guard.tls_certificate,
                  "Serve https with this certificate (PEM; may hold the key, and the chain)")
      ->type_name("FILE");
  command.add_option("--tls-key", guard.tls_key, "The certificate's private key (PEM)")
      ->type_name("FILE");
}

void put_guard(const Guard& guard, webui::ServerOptions& options, std::string& warning) {
  options.insecure = guard.insecure;
  options.host_names = guard.host_names;
  options.tls_certificate = guard.tls_certificate;
  options.tls_key = guard.tls_key;
  if (!guard.token_file.empty()) options.token = read_token(guard.token_file);
  const std::string& key = guard.tls_key.empty() ? guard.tls_certificate : guard.tls_key;
  if (!key.empty() && webui::everybody_can_read(key)) {
    warning = "everybody on this machine can read the key in " + key + ": chmod 600";
  }
}

std::string read_token(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    throw std::runtime_error("cannot read the token file " + path + ": " + std::strerror(errno));
  }
  std::string token;
  std::getline(file, token);
  while (!token.empty() && (token.back() == '\r' || token.back() == ' ')) token.pop_back();
  if (token.empty()) {
    throw std::runtime_error("the token file " + path +
                             " is empty: its first line is to be the token, for example from "
                             "`openssl rand -hex 16`");
  }
  return token;
}

}  // namespace loopscope::cli
