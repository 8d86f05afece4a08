// SPDX-License-Identifier: Apache-2.0
//
// shipped.supp as it is in the source tree; CMake makes the definition (shipped_text.cpp.in).
#pragma once

#include <string_view>

namespace loopscope::findings {

std::string_view shipped_text();

}  // namespace loopscope::findings
