// SPDX-License-Identifier: Apache-2.0
#include "protocol.h"

#include <charconv>

namespace demo {
namespace {

constexpr std::string_view kEcho = "ECHO ";
constexpr std::string_view kWork = "WORK ";

}  // namespace

Request parse_request(std::string_view line) {
  Request request;
  if (line == "PING") {
    request.kind = Request::Kind::kPing;
  } else if (line.starts_with(kEcho)) {
    request.kind = Request::Kind::kEcho;
    request.text = line.substr(kEcho.size());
  } else if (line.starts_with(kWork)) {
    const char* end = line.data() + line.size();
    const auto [at, error] = std::from_chars(line.data() + kWork.size(), end, request.microseconds);
    if (error == std::errc() && at == end && request.microseconds <= kMostWork) {
      request.kind = Request::Kind::kWork;
    }
  }
  return request;
}

std::string ping() { return "PING\n"; }

std::string echo(std::string_view text) {
  std::string line(kEcho);
  line += text;
  line += '\n';
  return line;
}

std::string work(unsigned microseconds) {
  return std::string(kWork) + std::to_string(microseconds) + "\n";
}

}  // namespace demo
