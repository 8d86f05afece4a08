// SPDX-License-Identifier: Apache-2.0
//
// What `serve` and `run` are told about serving: where to listen, and the token that guards it.
//
// Thread-safety: no state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace loopscope::cli {

inline constexpr char kDefaultListen[] = "127.0.0.1:9464";

/// "ADDR:PORT", "[V6]:PORT", ":PORT" and "PORT" (both: on loopback). None: it is not one of these.
std::optional<std::pair<std::string, std::uint16_t>> parse_listen(std::string_view text);

/// What is wrong with a --listen that parse_listen() does not understand, and how it is written.
std::string listen_usage(const std::string& text);

/// The first line of the file. Throws std::runtime_error if there is none.
std::string read_token(const std::string& path);

}  // namespace loopscope::cli
