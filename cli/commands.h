// SPDX-License-Identifier: Apache-2.0
//
// The subcommands: each file adds one to the parser and runs it when it was chosen.
#pragma once

#include <CLI/App.hpp>
#include <functional>

namespace loopscope::cli {

// Exit statuses, the same for all subcommands; part of the contract (docs of each command).
inline constexpr int kOk = 0;
inline constexpr int kUsage = 2;
inline constexpr int kCouldNotRead = 3;

/// What a subcommand does after parsing: returns the exit status.
using Action = std::function<int()>;

Action add_serve(CLI::App& app, CLI::App*& command);
Action add_report(CLI::App& app, CLI::App*& command);
Action add_top(CLI::App& app, CLI::App*& command);
/// `program`: what follows the first "--" of the command line, as execvp(3) wants it; null if there
/// is none. The parser never sees it (it would take "[a,b]" apart, among others).
Action add_run(CLI::App& app, CLI::App*& command, char** program);
Action add_check(CLI::App& app, CLI::App*& command, char** program);

}  // namespace loopscope::cli
