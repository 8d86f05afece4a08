// SPDX-License-Identifier: Apache-2.0
//
// Stack names by the symboliser. Linked into the command and into tests only: libdw has no place in
// an observed program.
#pragma once

#include <memory>

#include "instrumentation/snapshot/stack_names.h"

namespace loopscope::snapshot {

/// May be shared by several Collectors.
std::shared_ptr<StackNames> symbol_names();

}  // namespace loopscope::snapshot
