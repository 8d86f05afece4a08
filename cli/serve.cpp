// SPDX-License-Identifier: Apache-2.0
//
// loopscope serve: every recording on this host, living or dead, on one page.
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/listen.h"
#include "cli/observation.h"
#include "cli/report.h"
#include "instrumentation/recording/directory.h"
#include "instrumentation/recording/redact.h"
#include "instrumentation/snapshot/host_snapshot.h"
#include "instrumentation/snapshot/symbol_names.h"
#include "webui/server/server.h"

namespace loopscope::cli {
namespace {

struct Options {
  std::string listen = kDefaultListen;
  std::string directory;
  Guard guard;
};

int serve(const Options& options) {
  const auto listen = parse_listen(options.listen);
  if (!listen) {
    std::cerr << "loopscope: " << listen_usage(options.listen) << "\n";
    return kUsage;
  }
  std::vector<std::string> directories = recording::recording_directories();
  if (!options.directory.empty()) {
    std::error_code why;
    if (std::filesystem::directory_iterator(options.directory, why); why) {
      std::cerr << "loopscope: cannot read the directory " << options.directory << ": "
                << why.message() << "\n";
      return kCouldNotRead;
    }
    // Once, here: from now on a link that takes the place of the directory is not followed.
    directories = {std::filesystem::canonical(options.directory, why)};
    if (why) directories = {options.directory};
  }

  webui::ServerOptions server_options;
  server_options.address = listen->first;
  server_options.port = listen->second;
  std::string warning;
  put_guard(options.guard, server_options, warning);
  if (!warning.empty()) std::cerr << "loopscope: " << printable(warning) << "\n";
  if (const char* page = std::getenv("LOOPSCOPE_WEBUI_DIR")) server_options.page_directory = page;

  // Before any thread is made: what ends this is taken by sigwait() below, nowhere else.
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGINT);
  sigaddset(&ending, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  // Who read our messages may be gone: no reason to end.
  sigset_t broken_pipe;
  sigemptyset(&broken_pipe);
  sigaddset(&broken_pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);

  allow_many_descriptors();
  const std::shared_ptr<snapshot::Collector> collector = snapshot::Collector::of_directories(
      options.directory.empty() ? std::vector<std::string>{} : directories);
  collector->name_stacks(snapshot::symbol_names());
  std::unique_ptr<webui::Server> server;
  try {
    server = std::make_unique<webui::Server>(
        server_options,
        [collector](const webui::SnapshotRequest& request) { return collector->collect(request); });
  } catch (const std::invalid_argument& error) {
    std::cerr << "loopscope: " << error.what() << kGuardHint << "\n";
    return kUsage;
  } catch (const webui::ServerError& error) {
    std::cerr << "loopscope: " << error.what()
              << "\nOn the command line: --listen ADDR:PORT (port 0: a free one).\n";
    return kCouldNotRead;
  }

  std::string where;
  for (const std::string& directory : directories) {
    where += (where.empty() ? "" : ", ") + directory;
  }
  std::cerr << "loopscope: serving " << server->url() << " (recordings in " << where
            << "); end with Ctrl-C\n";
  int signal = 0;
  // Refused, which is not known to happen: no reason to keep a core busy.
  while (sigwait(&ending, &signal) != 0) std::this_thread::sleep_for(std::chrono::seconds(1));
  server.reset();
  return kOk;
}

}  // namespace

Action add_serve(CLI::App& app, CLI::App*& command) {
  const auto options = std::make_shared<Options>();
  command = app.add_subcommand(
      "serve", "Serve every recording on this host, living or dead: one page, one /metrics");
  command
      ->add_option("--listen", options->listen,
                   "Address and port; port 0 takes a free one. Default: 127.0.0.1:9464")
      ->type_name("ADDR:PORT");
  command
      ->add_option("--dir", options->directory,
                   "Where the recordings are. Default: where programs of this user put them")
      ->type_name("DIR");
  add_guard(*command, options->guard);
  command->add_flag_callback("--redact", recording::hide_secrets,
                             "Hide passwords, tokens and keys in command lines");
  command->footer(
      "Ends with status 0 on SIGINT or SIGTERM, 2 on wrong usage, 3 if it cannot serve.");
  return [options] { return serve(*options); };
}

}  // namespace loopscope::cli
