// SPDX-License-Identifier: Apache-2.0
#include "webui/server/access.h"

#include <arpa/inet.h>
#include <limits.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace loopscope::webui {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

/// "host:port", "host", "[v6]:port", "[v6]" without the port and the brackets; none if it is
/// none of these.
std::optional<std::string_view> name_of(std::string_view host) {
  std::string_view name = host;
  std::string_view port;
  if (!host.empty() && host.front() == '[') {
    const std::size_t end = host.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    name = host.substr(1, end - 1);
    port = host.substr(end + 1);
  } else if (const std::size_t colon = host.find(':'); colon != std::string_view::npos) {
    name = host.substr(0, colon);
    port = host.substr(colon);
  }
  if (!port.empty()) {
    if (port.front() != ':') return std::nullopt;
    port.remove_prefix(1);
    if (port.size() > 5 ||
        !std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; })) {
      return std::nullopt;
    }
  }
  if (name.empty()) return std::nullopt;
  return name;
}

bool is_address(std::string_view text) {
  in6_addr parsed;
  const std::string terminated(text);
  return inet_pton(AF_INET, terminated.c_str(), &parsed) == 1 ||
         inet_pton(AF_INET6, terminated.c_str(), &parsed) == 1;
}

}  // namespace

std::optional<Endpoint> parse_endpoint(std::string_view address, std::uint16_t port) {
  if (equal_ignoring_case(address, "localhost")) address = "127.0.0.1";
  if (address.size() > 2 && address.front() == '[' && address.back() == ']') {
    address = address.substr(1, address.size() - 2);
  }
  Endpoint endpoint;
  endpoint.literal = std::string(address);

  sockaddr_in v4{};
  if (inet_pton(AF_INET, endpoint.literal.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    const std::uint32_t bits = ntohl(v4.sin_addr.s_addr);
    endpoint.loopback = (bits >> 24) == 127;
    endpoint.wildcard = bits == INADDR_ANY;
    std::memcpy(&endpoint.address, &v4, sizeof v4);
    endpoint.address_size = sizeof v4;
    return endpoint;
  }
  sockaddr_in6 v6{};
  if (inet_pton(AF_INET6, endpoint.literal.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    const std::uint8_t* bytes = v6.sin6_addr.s6_addr;
    endpoint.loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) ||
                        (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) && bytes[12] == 127);
    endpoint.wildcard = IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr);
    std::memcpy(&endpoint.address, &v6, sizeof v6);
    endpoint.address_size = sizeof v6;
    return endpoint;
  }
  return std::nullopt;
}

std::string authority(const std::string& literal, std::uint16_t port) {
  const bool v6 = literal.find(':') != std::string::npos;
  return (v6 ? "[" + literal + "]" : literal) + ":" + std::to_string(port);
}

std::vector<std::string> names_of_this_machine() {
  char name[HOST_NAME_MAX + 1] = "";
  if (gethostname(name, sizeof name) != 0) return {};
  name[HOST_NAME_MAX] = '\0';
  std::vector<std::string> names;
  if (name[0] != '\0') names.emplace_back(name);
  if (const char* dot = std::strchr(name, '.'); dot != nullptr && dot != name) {
    names.emplace_back(name, static_cast<std::size_t>(dot - name));
  }
  return names;
}

bool is_host_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_';
  });
}

bool host_allowed(std::string_view host, const Endpoint& endpoint, const HostNames& known) {
  const std::optional<std::string_view> name = name_of(host);
  if (!name) return false;
  if (known.any || equal_ignoring_case(*name, endpoint.literal) ||
      equal_ignoring_case(*name, "localhost") || *name == "127.0.0.1" || *name == "::1") {
    return true;
  }
  if (!endpoint.loopback && is_address(*name)) return true;
  return std::any_of(known.names.begin(), known.names.end(),
                     [&](const std::string& each) { return equal_ignoring_case(*name, each); });
}

bool origin_allowed(std::string_view origin, std::string_view host, bool tls) {
  // https without TLS of our own: a proxy that adds it passes Host on.
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (tls && scheme == "http://") continue;
    if (origin.size() > scheme.size() &&
        equal_ignoring_case(origin.substr(0, scheme.size()), scheme)) {
      return equal_ignoring_case(origin.substr(scheme.size()), host);
    }
  }
  return false;  // "null", a file, an extension
}

bool token_matches(std::string_view authorization, std::string_view token) {
  constexpr std::string_view kScheme = "Bearer ";
  if (authorization.size() < kScheme.size() ||
      !equal_ignoring_case(authorization.substr(0, kScheme.size()), kScheme)) {
    return false;
  }
  const std::string_view given = authorization.substr(kScheme.size());
  if (token.empty()) return false;
  // volatile: no early exit may be made of it.
  volatile unsigned difference = given.size() == token.size() ? 0u : 1u;
  for (std::size_t i = 0; i < given.size(); ++i) {
    difference = difference | (static_cast<unsigned char>(given[i]) ^
                               static_cast<unsigned char>(token[i % token.size()]));
  }
  return difference == 0;
}

}  // namespace loopscope::webui
