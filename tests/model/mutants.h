// SPDX-License-Identifier: Apache-2.0
//
// What the models find wrong with code that somebody changed: each mutant must be caught, and those
// that were are counted.
#pragma once

#include <gtest/gtest.h>

#include <string>

namespace loopscope::model {

inline unsigned g_mutants_caught = 0;

/// `wrong`: what was found of the mutant; empty: nothing.
inline void expect_caught(const std::string& wrong, const std::string& mutant) {
  EXPECT_NE(wrong, "") << "not caught: " << mutant;
  g_mutants_caught += wrong.empty() ? 0 : 1;
}

}  // namespace loopscope::model
