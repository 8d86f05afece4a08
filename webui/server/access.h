// SPDX-License-Identifier: Apache-2.0
//
// Who may ask: pure functions over addresses and header values.
//
// A server on loopback is reached by every page the user's browser has open. Two things keep such a
// page out: a `Host` that is not a name of this machine is refused (DNS rebinding: a foreign name
// that resolves to 127.0.0.1, or to this machine's address in its network), and so is an `Origin`
// that is not our own.
//
// Thread-safety: no state.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

/// What a server beyond loopback is called.
struct HostNames {
  bool any = false;                // whatever it is called: a token keeps others' pages out
  std::vector<std::string> names;  // this machine's, and those it was told of
};

/// gethostname(2), and its first label.
std::vector<std::string> names_of_this_machine();

/// Whether it can be the name of a host: letters, digits, dots, dashes and underscores.
bool is_host_name(std::string_view name);

/// Whether a request with this `Host` header is meant for a server listening on `endpoint`: by its
/// address, "localhost", one of `known.names`, and, beyond loopback, by any address, which no DNS
/// server can have made up. `Host` may carry any port: a forwarded one (ssh -L) is as good as ours.
bool host_allowed(std::string_view host, const Endpoint& endpoint, const HostNames& known);

/// Whether `origin` is the page that was fetched from `host`. `tls`: we speak it ourselves, and a
/// page that came without is not ours.
bool origin_allowed(std::string_view origin, std::string_view host, bool tls);

/// Whether `authorization` is "Bearer TOKEN". Which instructions are executed and which addresses
/// are read depends on `authorization` and on the length of `token`, never on its characters.
bool token_matches(std::string_view authorization, std::string_view token);

}  // namespace loopscope::webui
