// SPDX-License-Identifier: Apache-2.0
//
// What the fuzzers promise.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace loopscope::fuzz {

/// A promise that was not kept ends the fuzzer, which then says by what input.
inline void must(bool kept, const char* promise) {
  if (kept) return;
  std::fprintf(stderr, "not kept: %s\n", promise);
  std::abort();
}

}  // namespace loopscope::fuzz
