// SPDX-License-Identifier: Apache-2.0
//
// Compares the server's token with what a client might send, the token being marked as undefined:
// run by valgrind's memcheck, a branch that is taken by one of its characters or an address that is
// computed from one is an error. (Time is not measured: what does not depend on the token cannot
// take a time that does.)
//
// token_time server: token_matches() of the server. token_time naive: a comparison that ends at the
// first difference, which must be an error, or this finds none.
#include <valgrind/memcheck.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "webui/server/access.h"

namespace {

constexpr std::string_view kToken = "a-token-nobody-guesses-0123456789";

bool naive(std::string_view authorization, std::string_view token) {
  return authorization.substr(std::string_view("Bearer ").size()) == token;
}

}  // namespace

int main(int count, char** arguments) {
  const bool is_naive = count == 2 && std::strcmp(arguments[1], "naive") == 0;
  std::string token(kToken);
  int compared = 0;
  const auto compare = [&](const std::string& given) {
    const bool wanted = given == kToken;
    VALGRIND_MAKE_MEM_UNDEFINED(token.data(), token.size());
    bool matches = (is_naive ? naive : loopscope::webui::token_matches)("Bearer " + given, token);
    VALGRIND_MAKE_MEM_DEFINED(&matches, sizeof matches);
    VALGRIND_MAKE_MEM_DEFINED(token.data(), token.size());
    ++compared;
    return matches == wanted;
  };
  bool good = compare(std::string(kToken)) && compare("") && compare("x");
  for (std::size_t i = 0; i < kToken.size(); ++i) {
    std::string wrong(kToken);
    wrong[i] ^= 1;
    good = compare(wrong) && compare(std::string(kToken.substr(0, i))) && good;
  }
  good = compare(std::string(kToken) + "x") && compare(std::string(kToken) + std::string(kToken)) &&
         good;
  std::printf("compared %d\n", compared);
  return good ? 0 : 1;
}
