// SPDX-License-Identifier: Apache-2.0
//
// loopscope run: starts a program with the probe in it, shows what its loops do meanwhile, says at
// the end what they did. To the program it is not there (launch.h); what cannot be observed runs
// all the same, and one line says why nothing is seen (observable.h).
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/launch.h"
#include "cli/listen.h"
#include "cli/observation.h"
#include "cli/output_file.h"
#include "cli/report.h"
#include "cli/run_linger.h"
#include "cli/run_recordings.h"
#include "cli/run_summary.h"
#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/redact.h"
#include "instrumentation/snapshot/host_snapshot.h"
#include "webui/server/server.h"

namespace loopscope::cli {
namespace {

/// A program that has the probe in it has a recording as soon as it runs: at the first tick whoever
/// looks at the page wants to know why it is empty. At every one, recordings are tended.
constexpr std::chrono::milliseconds kTick{1000};

/// So long a page that is open may take to get the last event: it is there in a few milliseconds,
/// unless the page does not read.
constexpr std::chrono::milliseconds kLastWord{500};

struct Options {
  std::optional<std::string> listen;  // none: the default, or a free port
  bool no_http = false;
  std::string summary = "text";
  std::string output;
  std::string stacks;
  std::string directory;
  Guard guard;
  std::string linger = "0";
  std::string probe;
};

/// The server; null if none was asked for, or if not even a free port can be had: the program
/// matters more. Throws as webui::Server if the address was asked for.
std::unique_ptr<webui::Server> serve(const Options& options, webui::ServerOptions server,
                                     const webui::SnapshotProvider& provider) {
  if (options.no_http) return nullptr;
  try {
    return std::make_unique<webui::Server>(server, provider);
  } catch (const webui::ServerError& error) {
    if (options.listen) throw;
  }
  // Another run has the usual port, or a `serve`.
  server.port = 0;
  try {
    return std::make_unique<webui::Server>(server, provider);
  } catch (const webui::ServerError& error) {
    say(std::string(error.what()) + "; going on without a page");
    return nullptr;
  }
}

/// Writes the summary where it was asked for; says so if it cannot be written.
void summarize(const Options& options, std::optional<OutputFile>& output, const RunOutcome& outcome,
               const snapshot::HostSnapshot& host) {
  if (options.summary == "none") return;
  std::string text;
  if (options.summary == "json") {
    text = run_summary_json(outcome, host) + "\n";
  } else if (output) {
    std::ostringstream out;
    write_run_summary(out, outcome, host);
    text = out.str();
  } else {
    // That nothing is seen has been said, and why; there is nothing to add.
    if (std::none_of(host.processes.begin(), host.processes.end(),
                     [&](const auto& process) { return worth_a_line(process, outcome, host); })) {
      return;
    }
    RunOutcome shown = outcome;
    shown.unseen.clear();
    std::ostringstream out;
    write_run_summary(out, shown, host);
    text = out.str();
  }
  const int error = output ? output->write(text) : write_all(STDERR_FILENO, text);
  if (error == 0 || !output) return;
  say("cannot write " + output->path() + ": " + std::strerror(error));
}

/// "was killed by SIGSEGV"
std::string end_text(const End& end) {
  return end.killed ? "was killed by " + signal_name(end.number)
                    : "exited with status " + std::to_string(end.number);
}

/// "./server (pid 4711) was killed by SIGSEGV; http://127.0.0.1:9464/ goes on showing it …"
std::string staying(const RunOutcome& outcome, const std::string& name, const Linger& linger) {
  const std::string time = linger_text(linger);
  return name + " (pid " + std::to_string(outcome.pid) + ") " + end_text(outcome.end) + "; " +
         outcome.url + " goes on showing it" + (time.empty() ? "" : " for " + time) +
         " (Ctrl-C ends that)";
}

int run(Options options, char** program) {
  if (program == nullptr || program[0] == nullptr) {
    say("run wants a program, after two dashes: loopscope run -- PROGRAM ARGS...\n"
        "See: loopscope run --help");
    return kUsage;
  }
  const std::string listen_text = options.listen.value_or(kDefaultListen);
  const auto listen = parse_listen(listen_text);
  if (!listen) {
    say(listen_usage(listen_text));
    return kUsage;
  }
  const auto linger = parse_linger(options.linger);
  if (!linger) {
    say("--linger " + printable(options.linger) +
        ": neither a time (seconds, or 500ms, 90s, 5m, 2h) nor \"forever\"");
    return kUsage;
  }
  webui::ServerOptions server_options;
  server_options.address = listen->first;
  server_options.port = listen->second;
  std::string warning;
  put_guard(options.guard, server_options, warning);
  if (!warning.empty()) say(printable(warning));
  if (const char* page = std::getenv("LOOPSCOPE_WEBUI_DIR")) server_options.page_directory = page;

  ObservationOptions wanted;
  wanted.probe = options.probe;
  wanted.stacks = options.stacks;
  wanted.directory = options.directory;
  Observation observation = observe(program[0], wanted);
  if (!observation.unusable.empty()) {
    say(observation.unusable);
    return kCouldNotRead;
  }
  if (observation.exec_error != 0) return cannot_start(program[0], observation.exec_error);
  std::string& unseen = observation.unseen;
  const std::vector<std::string>& directories = observation.directories;

  std::optional<OutputFile> output;  // none: standard error
  try {
    if (!options.output.empty()) output.emplace(options.output, OutputFile::Before::kGoes);
  } catch (const std::system_error& error) {
    say(error.what());
    return kUsage;
  }

  // From here on there is a child; until start() it goes when `launch` goes.
  Launch launch(program, observation.environment, {output ? output->descriptor() : -1});
  allow_many_descriptors();

  RunOutcome outcome;
  for (char** argument = program; *argument != nullptr; ++argument) {
    outcome.argv.emplace_back(*argument);
  }
  if (recording::hides_secrets()) outcome.argv = recording::redacted(outcome.argv);
  outcome.pid = launch.pid();
  outcome.started_ns = recording::realtime_ns();
  const std::string name = printable(outcome.argv[0]);

  const auto recordings = std::make_shared<RunRecordings>(directories, getpid(), launch.pid());
  std::unique_ptr<webui::Server> server;
  if (!options.no_http) recordings->name_stacks();
  try {
    server = serve(options, server_options, [recordings](const webui::SnapshotRequest& request) {
      return recordings->collect(request);
    });
  } catch (const std::invalid_argument& error) {
    say(std::string(error.what()) + kGuardHint);
    return kUsage;
  } catch (const webui::ServerError& error) {
    say(std::string(error.what()) +
        "\nOn the command line: --listen ADDR:PORT (port 0: a free one), --no-http.");
    return kCouldNotRead;
  }
  if (server) {
    outcome.url = server->url();
    say(outcome.url + " shows " + name + " (pid " + std::to_string(launch.pid()) + ")");
  }
  if (!unseen.empty()) {
    say("cannot see inside " + name + ": " + printable(unseen) + "; it runs unobserved");
  }
  // Only once, and only if it has not been said why before the start.
  const auto say_why_nothing_is_seen = [&] {
    if (!unseen.empty()) return;
    unseen = why_nothing_was_recorded(directories.front());
    say("nothing is seen of " + name + ": " + printable(unseen));
  };

  const std::uint64_t began = recording::monotonic_ns();
  if (const int error = launch.start(); error != 0) return cannot_start(program[0], error);
  bool looked = false;
  outcome.end = launch.wait(kTick, [&] {
    if (!looked) {
      if (!recordings->has_program()) say_why_nothing_is_seen();
      recordings->clear_earlier();
      looked = true;
    }
    recordings->tend();
  });
  outcome.duration_ns = recording::monotonic_ns() - began;
  const auto conclude = [&] {
    recordings->program_ended(outcome.end, recording::realtime_ns());
    const bool stay = server != nullptr && linger->time.count() > 0 && !launch.told_to_end();
    const auto stop_serving = [&] {
      if (server) server->finish(kLastWord);
      server.reset();
    };
    if (!stay) stop_serving();
    snapshot::CollectOptions last;
    last.recent = 0;
    snapshot::HostSnapshot host = recordings->collect(last);
    const bool seen =
        std::any_of(host.processes.begin(), host.processes.end(),
                    [&](const auto& process) { return process.recording.pid == outcome.pid; });
    if (!seen) say_why_nothing_is_seen();
    outcome.unseen = unseen;
    if (!launch.trouble().empty()) {
      say("while " + name + " ran, its recordings could not be looked after: " + launch.trouble());
    }
    summarize(options, output, outcome, host);
    if (stay) {
      say(staying(outcome, name, *linger));
      linger_for(*linger, kTick, [&] {
        launch.bury_orphans();
        recordings->tend();
      });
      stop_serving();
      host = recordings->collect(last);
    }
    recordings->clear_all(host);
  };
  try {
    conclude();
  } catch (const std::exception& error) {
    // Whatever becomes of us, the program has ended as it has.
    say(name + " " + end_text(outcome.end) + "; what it did cannot be said: " + what_of(error));
  }
  return outcome.end.exit_status();
}

}  // namespace

Action add_run(CLI::App& app, CLI::App*& command, char** program) {
  const auto options = std::make_shared<Options>();
  command = app.add_subcommand(
      "run", "Start a program and look inside: page and /metrics meanwhile, a summary at its end");
  auto* no_http = command->add_flag("--no-http", options->no_http, "Serve nothing");
  command
      ->add_option("--listen", options->listen,
                   "Address and port; port 0 takes a free one. Default: 127.0.0.1:9464, or a free "
                   "port if that is taken")
      ->type_name("ADDR:PORT")
      ->excludes(no_http);
  command
      ->add_option(
          "--linger", options->linger,
          "Go on serving so long after PROGRAM's end (seconds, 90s, 5m, 2h; or forever), or "
          "until Ctrl-C. Default: 0")
      ->type_name("TIME")
      ->excludes(no_http);
  command->add_option("--summary", options->summary, "text, json or none; default: text")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"text", "json", "none"}));
  command
      ->add_option("-o,--output", options->output,
                   "Write the summary to this file instead of stderr")
      ->type_name("FILE");
  command
      ->add_option("--stacks", options->stacks,
                   "What is kept of the stack that opened a descriptor: off, caller or full")
      ->type_name("HOW")
      ->check(CLI::IsMember({"off", "caller", "full"}));
  command
      ->add_option("--dir", options->directory,
                   "Where the recordings go. Default: where `loopscope serve` looks for them")
      ->type_name("DIR");
  add_guard(*command, options->guard);
  command->add_flag_callback("--redact", recording::hide_secrets,
                             "Hide passwords, tokens and keys in command lines");
  command->add_option("--probe", options->probe, "The probe to load")->group("");  // for tests
  command->footer(
      "Write: loopscope run [OPTIONS] -- PROGRAM [ARGS...]\n\n"
      "Ends as PROGRAM does: with its status, or 128 + N if signal N killed it; 127 if it is not\n"
      "found, 126 if it cannot be executed, 2 on wrong usage, 3 if the address or the directory\n"
      "cannot be had (PROGRAM is then not started).");
  return [options, program] { return run(*options, program); };
}

}  // namespace loopscope::cli
