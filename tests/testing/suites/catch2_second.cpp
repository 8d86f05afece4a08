// SPDX-License-Identifier: Apache-2.0
//
// A second source file with the listener: leaks must still be reported once.
#include "loopscope/testing/catch2.h"

TEST_CASE("elsewhere") { CHECK(true); }
