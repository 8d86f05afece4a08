// SPDX-License-Identifier: Apache-2.0
//
// Who may ask: pure functions over addresses and header values.
//
// A server on loopback is reached by every page the user's browser has open. Two things keep such a
// page out: a `Host` that is not a name of this machine's loopback is refused (DNS rebinding: a
// foreign name that resolves to 127.0.0.1), and so is an `Origin` that is not our own.
//
// Thread-safety: no state.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace loopscope::webui {

/// An address to listen on.
struct Endpoint {
  sockaddr_storage address{};
  socklen_t address_size = 0;
  std::string literal;  // "127.0.0.1", "::1": without brackets
  bool loopback = false;
  bool wildcard = false;  // 0.0.0.0 or ::
};

/// An IPv4 or IPv6 literal ("[::1]" may have its brackets), or "localhost", which is 127.0.0.1
/// whatever a resolver says. None: it is neither.
std::optional<Endpoint> parse_endpoint(std::string_view address, std::uint16_t port);

/// "127.0.0.1:80", "[::1]:80".
std::string authority(const std::string& literal, std::uint16_t port);

/// Whether a request with this `Host` header is meant for a server listening on `endpoint`.
/// `Host` may carry any port: a forwarded one (ssh -L) is as good as ours.
bool host_allowed(std::string_view host, const Endpoint& endpoint, bool any_name);

/// Whether `origin` is the page that was fetched from `host`.
bool origin_allowed(std::string_view origin, std::string_view host);

/// Whether `authorization` is "Bearer TOKEN". Takes the same time wherever the two tokens differ.
bool token_matches(std::string_view authorization, std::string_view token);

}  // namespace loopscope::webui
