// SPDX-License-Identifier: Apache-2.0
//
// What server and clients say to each other, a line each:
//
//     PING         ->  PONG
//     ECHO text    ->  ECHO text
//     WORK n       ->  DONE n       after computing for n microseconds, at most 10000
//     other        ->  ERROR why
#pragma once

#include <string>
#include <string_view>

namespace demo {

struct Request {
  enum class Kind { kPing, kEcho, kWork, kUnknown };
  Kind kind = Kind::kUnknown;
  std::string_view text;      // of ECHO; refers to the line
  unsigned microseconds = 0;  // of WORK
};

inline constexpr unsigned kMostWork = 10'000;

Request parse_request(std::string_view line);

std::string ping();
std::string echo(std::string_view text);
std::string work(unsigned microseconds);

}  // namespace demo
