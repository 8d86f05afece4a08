// SPDX-License-Identifier: Apache-2.0
#include "cli/listen.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <system_error>

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
