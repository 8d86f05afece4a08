// SPDX-License-Identifier: Apache-2.0
//
// Suppression files: whatever is parsed is good or has an error that says where; and the entry
// that --gen-suppressions prints for a finding, whatever its names are, is good and matches it.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "instrumentation/findings/suppressions.h"
#include "tests/fuzz/must.h"

namespace {

using namespace loopscope::findings;
using loopscope::fuzz::must;

/// Names come from recordings and symbol tables, where a NUL ends them.
std::string name(FuzzedDataProvider& input) {
  std::string text = input.ConsumeRandomLengthString(60);
  return text.substr(0, text.find('\0'));
}

Finding some_finding(FuzzedDataProvider& input) {
  Finding finding;
  finding.rule = "fd-leak";
  finding.kind = name(input);
  Place place;
  std::vector<loopscope::recording::StackFrame> stack;
  const std::size_t frames = input.ConsumeIntegralInRange<std::size_t>(0, 4);
  for (std::size_t i = 0; i < frames; ++i) {
    loopscope::recording::StackFrame frame;
    frame.function = name(input);
    frame.file = name(input);
    frame.module = name(input);
    frame.line = input.ConsumeIntegralInRange<int>(0, 10000);
    frame.script = input.ConsumeBool();
    stack.push_back(frame);
  }
  if (frames > 0) place.frame = input.ConsumeIntegralInRange<std::size_t>(0, frames - 1);
  place.stack =
      std::make_shared<const std::vector<loopscope::recording::StackFrame>>(std::move(stack));
  finding.places.push_back(place);
  return finding;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  const bool own = input.ConsumeBool();
  if (own) {
    const Finding finding = some_finding(input);
    const std::string command = name(input);
    const std::string entry = suppression_for(finding, command);
    const ParsedSuppressions parsed = parse_suppressions(entry, "generated");
    must(parsed.errors.empty(), "what is generated is good");
    if (!parsed.entries.empty())
      must(find_suppression(parsed.entries, finding, command) != nullptr,
           "and matches its finding");
    return 0;
  }
  const Finding finding = some_finding(input);
  const ParsedSuppressions parsed =
      parse_suppressions(input.ConsumeRemainingBytesAsString(), "input");
  must(parsed.errors.size() <= kMostSuppressionErrors, "errors are bounded");
  for (const SuppressionError& error : parsed.errors)
    must(!error.where.empty() && !error.message.empty(), "what is wrong is said, and where");
  for (const Suppression& entry : parsed.entries) {
    must(!entry.name.empty() && !entry.reason.empty() && !entry.conditions.empty(),
         "an entry is whole");
  }
  find_suppression(parsed.entries, finding, "program");
  find_suppression(shipped_suppressions(), finding, "program");
  return 0;
}
