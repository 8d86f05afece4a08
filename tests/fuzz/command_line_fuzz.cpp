// SPDX-License-Identifier: Apache-2.0
//
// The command's words, one a line: an action, or help and status 0, or status 2 and a message.
#include <algorithm>
#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cli/command_line.h"
#include "tests/fuzz/must.h"

using namespace loopscope::cli;
using loopscope::fuzz::must;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> words = {"loopscope"};
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    words.emplace_back(line.substr(0, line.find('\0')));  // as the kernel would hand it over
  }
  const std::vector<std::string> before = words;
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  std::ostringstream out, err;
  const Wanted wanted = read_command_line(static_cast<int>(words.size()), argv.data(), out, err);
  must(words == before, "the words are as they were");
  if (const Action* action = std::get_if<Action>(&wanted)) {
    must(static_cast<bool>(*action), "there is an action");
    must(out.str().empty() && err.str().empty(), "who gets an action is told nothing");
    return 0;
  }
  const int status = std::get<int>(wanted);
  must(status == kOk || status == kUsage, "the status is 0 or 2");
  must(status != kOk || (!out.str().empty() && err.str().empty()), "help is said");
  must(status != kUsage || (out.str().empty() && !err.str().empty()), "what is wrong is said");
  return 0;
}
