// SPDX-License-Identifier: Apache-2.0
#include "cli/command_line.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstring>
#include <exception>
#include <new>
#include <ostream>
#include <utility>
#include <vector>

namespace loopscope::cli {
namespace {

bool starts_program(int argc, char** argv) {
  return argc >= 2 && (std::strcmp(argv[1], "run") == 0 || std::strcmp(argv[1], "check") == 0);
}

/// Cuts the command line at the first "--" if it is that of a command that starts a program.
/// Returns what follows, null if there is nothing to cut.
char** cut_program(int& argc, char** argv) {
  if (!starts_program(argc, argv)) return nullptr;
  for (int i = 2; i < argc; ++i) {
    if (std::strcmp(argv[i], "--") != 0) continue;
    argc = i;
    return argv + i + 1;
  }
  return nullptr;
}

}  // namespace

Wanted read_command_line(int argc, char** argv, std::ostream& out, std::ostream& err) {
  char** const program = cut_program(argc, argv);
  CLI::App app{"See inside event loops: what a loop is doing, how late it is, what it waits for."};
  app.name("loopscope");
  app.set_version_flag("--version", "loopscope " LOOPSCOPE_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);

  std::vector<std::pair<CLI::App*, Action>> commands;
  for (const auto add : {add_serve, add_report, add_top}) {
    CLI::App* command = nullptr;
    Action action = add(app, command);
    commands.emplace_back(command, std::move(action));
  }

  for (const auto add : {add_run, add_check}) {
    CLI::App* command = nullptr;
    Action action = add(app, command, program);
    commands.emplace_back(command, std::move(action));
  }

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return app.exit(help_or_version, out, err);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {  // a CLI::ParseError, or what a conversion threw
    if (argc <= 1) {
      err << app.help();
    } else {
      err << "loopscope: " << error.what() << "\n";
      if (starts_program(argc, argv) && program == nullptr) {
        err << "Two dashes go before the program: loopscope " << argv[1]
            << " [OPTIONS] -- PROGRAM ARGS...\n";
      }
      err << "See: loopscope --help\n";
    }
    return kUsage;
  }
  for (auto& [command, action] : commands) {
    if (command->parsed()) return std::move(action);
  }
  return kUsage;
}

}  // namespace loopscope::cli
