// SPDX-License-Identifier: Apache-2.0
//
// What a command line asks for.
#pragma once

#include <iosfwd>
#include <variant>

#include "cli/commands.h"

namespace loopscope::cli {

/// What the chosen subcommand is to do, or the exit status if all was said: kOk for help and
/// version, kUsage for what makes no sense.
using Wanted = std::variant<Action, int>;

/// Runs nothing, and throws nothing but std::bad_alloc. Help goes to `out`, what is wrong to `err`.
/// `argv`: as main() gets it, null-terminated; the action refers to it.
///
/// Thread-safety: no state.
Wanted read_command_line(int argc, char** argv, std::ostream& out, std::ostream& err);

}  // namespace loopscope::cli
