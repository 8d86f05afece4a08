// SPDX-License-Identifier: Apache-2.0
//
// What a client may choose of a request (the path's query, Host, Origin, Authorization) at the
// functions that judge it: thousands a second, where http_fuzz goes through a socket. The first
// byte says which.
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "tests/fuzz/hostile_host.h"
#include "tests/fuzz/must.h"
#include "webui/server/access.h"
#include "webui/server/descriptor_table.h"
#include "webui/server/query.h"
#include "webui/server/service_discovery.h"
#include "webui/server/turns.h"

namespace {

using namespace loopscope;
using namespace loopscope::webui;
using fuzz::must;

const snapshot::HostSnapshot& host() {
  static const snapshot::HostSnapshot one = fuzz::hostile_host();
  return one;
}

void turns(std::string_view query) {
  const TurnsAnswer answer = turns_answer(query, [](const SnapshotRequest&) { return host(); });
  must(!answer.text.empty(), "there is an answer");
  if (answer.status == 200) {
    const auto json = nlohmann::json::parse(answer.text, nullptr, false);
    must(!json.is_discarded() && json["turns"].size() <= 40, "turns are JSON");
  } else {
    must((answer.status == 400 || answer.status == 404) && !answer.code.empty(),
         "refusals say why");
  }
}

void descriptors(std::string_view query) {
  static const DescriptorTable table{host().taken_at_ns, host().processes[0]};
  std::string error;
  const TableQuery wanted = table_query(query, error);
  if (!error.empty()) return;
  must(wanted.limit <= TableQuery::kMostRows, "no page is larger than the largest");
  const auto json = nlohmann::json::parse(table_json(table, wanted), nullptr, false);
  must(!json.is_discarded(), "a table is JSON");
  const std::size_t matched = json["matched"], rows = json["rows"].size();
  must(matched <= 300, "no more match than there are");
  const std::size_t after = matched - std::min(matched, wanted.offset);
  must(rows == std::min(after, wanted.limit), "a page has the rows that it was asked for");
}

void values(std::string_view text) {
  if (const auto plain = decoded(text)) must(plain->size() <= text.size(), "%XX is one byte");
  if (const auto pid = pid_of_id(text)) must(*pid > 0, "a process has a number");
  std::size_t names = 0;
  for_each_parameter(text, [&](std::string_view name, std::string_view value) {
    names += 1;
    must(name.size() + value.size() <= text.size(), "a parameter is part of the query");
    return true;
  });
  must(names <= text.size(), "no parameter is nothing");
}

/// Another site's page must never be answered, whatever the port, the case, the dots and the zone.
void hosts(std::string_view text) {
  static const Endpoint endpoint = *parse_endpoint("127.0.0.1", 9464);
  if (host_allowed(text, endpoint, {})) {
    std::string rest(text);
    std::transform(rest.begin(), rest.end(), rest.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    bool local = false;
    for (const std::string_view name :
         {"localhost", "127.0.0.1", "[::1]", "[localhost]", "[127.0.0.1]"}) {
      if (!rest.starts_with(name)) continue;
      local = true;
      rest.erase(0, name.size());
      break;
    }
    must(local && (rest.empty() || (rest.front() == ':' &&
                                    rest.find_first_not_of("0123456789", 1) == std::string::npos)),
         "only names of this machine are answered to");
  }
  host_allowed(text, endpoint, {true, {}});
  if (origin_allowed(text, "127.0.0.1:9464", false))
    must(text.find("127.0.0.1:9464") != std::string_view::npos, "an origin is this server's own");
  must(!token_matches(text, "a-token-nobody-guesses-0123456789") ||
           text.find("a-token-nobody-guesses-0123456789") != std::string_view::npos,
       "a token opens only if it is the token");
  const std::size_t middle = text.size() / 2;
  if (const auto where = parse_endpoint(text.substr(0, middle), 80))
    must(!where->literal.empty() && where->address_size > 0, "an address is one");
  if (const auto target = scrape_target(text)) {
    must(nlohmann::json::accept(service_discovery_json(host(), *target)), "targets are JSON");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  constexpr void (*kParts[])(std::string_view) = {turns, descriptors, values, hosts};
  kParts[data[0] % std::size(kParts)](text);
  return 0;
}
