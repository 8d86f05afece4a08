// SPDX-License-Identifier: Apache-2.0
//
// Secrets in command lines, an argument a line: as many arguments come out, hiding them twice hides
// nothing more, and what stands before cannot keep a named secret from being hidden.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "instrumentation/recording/redact.h"
#include "tests/fuzz/must.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using loopscope::fuzz::must;
  using loopscope::recording::redacted;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> argv;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    argv.emplace_back(line.substr(0, line.find('\0')));
  }
  const std::vector<std::string> once = redacted(argv);
  must(once.size() == argv.size(), "as many arguments come out");
  must(redacted(once) == once, "twice is once");

  constexpr std::string_view kSecret = "Xy7Qz0";
  argv.emplace_back("--db-password=Xy7Qz0");
  const std::string last = redacted(argv).back();
  must(last.find(kSecret) == std::string::npos, "a password is hidden, whatever is before it");
  return 0;
}
