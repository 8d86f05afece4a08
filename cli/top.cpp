// SPDX-License-Identifier: Apache-2.0
//
// loopscope top: what the loops of this host do, live in a terminal, or as plain text.
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "cli/commands.h"
#include "cli/observation.h"
#include "cli/top_batch.h"
#include "cli/top_dashboard.h"
#include "cli/top_terminal.h"
#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/directory.h"
#include "instrumentation/recording/paths.h"
#include "instrumentation/recording/redact.h"
#include "instrumentation/snapshot/host_snapshot.h"
#include "instrumentation/snapshot/symbol_names.h"

namespace loopscope::cli {
namespace {

struct Options {
  std::optional<std::int32_t> pid;
  bool batch = false;
  std::optional<std::uint64_t> blocks;  // -n
  double seconds = 1;
  std::string directory;
};

constexpr std::uint64_t kSecond = 1'000'000'000;

bool recorded(std::int32_t pid, const std::vector<std::string>& directories) {
  for (const std::string& directory : directories) {
    const auto files = recording::list_recordings(directory);
    if (!files) continue;
    for (const recording::RecordingFile& file : *files) {
      if (file.pid == pid) return true;
    }
  }
  return false;
}

std::string joined(const std::vector<std::string>& directories) {
  std::string text;
  for (const std::string& one : directories) text += (text.empty() ? "" : ", ") + one;
  return text;
}

int batch(const Options& options, snapshot::Collector& collector) {
  top::History history;
  snapshot::CollectOptions collect;
  collect.recent = 0;
  collect.pid = options.pid;
  const auto look = [&] {
    snapshot::HostSnapshot host = collector.collect(collect);
    history.add(host, recording::monotonic_ns());
    return host;
  };
  look();
  const std::uint64_t blocks = options.blocks.value_or(1);
  std::uint64_t due = recording::monotonic_ns();
  for (std::uint64_t block = 0; block < blocks; ++block) {
    due += static_cast<std::uint64_t>(options.seconds * 1e9);
    for (std::uint64_t now = 0; (now = recording::monotonic_ns()) < due;) {
      poll(nullptr, 0, static_cast<int>((due - now) / 1'000'000 + 1));
    }
    const snapshot::HostSnapshot host = look();
    if (block != 0) std::cout << "\n";
    top::write_block(std::cout, host, history, options.pid.has_value());
    std::cout << std::flush;
    if (!std::cout) {
      std::cerr << "loopscope: cannot write: " << std::strerror(errno) << "\n";
      return kCouldNotRead;
    }
  }
  return kOk;
}

/// Ends as the signal ends a program, now that the terminal is as it was.
[[noreturn]] void die_of(int signal) {
  std::signal(signal, SIG_DFL);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  raise(signal);
  pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
  _exit(128 + signal);
}

int interactive(const Options& options, snapshot::Collector& collector,
                std::unique_ptr<top::Terminal> terminal,
                const std::vector<std::string>& directories) {
  top::Dashboard dashboard({options.pid, options.seconds, joined(directories)});
  const auto look = [&] {
    snapshot::HostSnapshot host = collector.collect(dashboard.wanted());
    dashboard.update(std::move(host), recording::monotonic_ns());
  };
  std::uint64_t looked = recording::monotonic_ns();
  look();
  bool paint = true;
  while (!dashboard.quit()) {
    std::uint64_t now = recording::monotonic_ns();
    const auto interval = static_cast<std::uint64_t>(dashboard.interval_seconds() * 1e9);
    const bool due = !dashboard.paused() && now - looked >= interval;
    if (due || dashboard.wants_now()) {
      looked = now;
      look();
      paint = true;
      now = recording::monotonic_ns();
    }
    if (paint) terminal->paint(dashboard.draw(terminal->width(), terminal->height()));
    paint = false;
    const std::uint64_t since = now - looked;
    // While paused nothing is due; a minute is as good as any time.
    const std::uint64_t left = dashboard.paused() ? 60 * kSecond
                               : since < interval ? interval - since
                                                  : 0;
    const top::Terminal::Input input =
        terminal->wait(static_cast<int>(left / 1'000'000 + (left % 1'000'000 != 0 ? 1 : 0)));
    if (input.ending != 0) {
      terminal.reset();
      // Ctrl-C is one way to quit.
      if (input.ending == SIGINT) return kOk;
      die_of(input.ending);
    }
    if (input.gone) return kOk;
    for (const top::KeyPress& key : input.keys) dashboard.press(key);
    paint = input.changed || !input.keys.empty();
  }
  return kOk;
}

int run_top(const Options& options) {
  // Characters only: numbers keep their decimal point.
  std::setlocale(LC_CTYPE, "");
  std::vector<std::string> directories = recording::recording_directories();
  if (!options.directory.empty()) {
    // Once, here: from now on a link that takes the place of the directory is not followed.
    std::error_code why;
    directories = {std::filesystem::canonical(options.directory, why)};
    if (why) directories = {options.directory};
  }
  if (options.pid && !recorded(*options.pid, directories)) {
    const bool runs = recording::read_start_ticks(*options.pid) != 0;
    std::cerr << "loopscope: there is no recording of process " << *options.pid
              << (runs ? " (it runs, but does not record, or not as this user)"
                       : " (and no such process)")
              << "\nTo record a program, start it with `loopscope run -- PROGRAM`, or let it use "
                 "loopscope's library; `loopscope top` without a PID shows what records.\n"
              << "Recordings were looked for in " << joined(directories) << ".\n";
    return kCouldNotRead;
  }
  allow_many_descriptors();
  const auto collector = snapshot::Collector::of_directories(
      options.directory.empty() ? std::vector<std::string>{} : directories);
  collector->name_stacks(snapshot::symbol_names());
  const bool terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
  if (terminal && !options.batch && !options.blocks) {
    if (auto opened = top::Terminal::open()) {
      return interactive(options, *collector, std::move(opened), directories);
    }
    const char* type = std::getenv("TERM");
    std::cerr << "loopscope: the terminal (TERM=" << (type != nullptr ? type : "")
              << ") cannot be told where to write; this is plain output\n";
  }
  return batch(options, *collector);
}

CLI::Validator finite() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        return std::isfinite(std::strtod(text.c_str(), nullptr)) ? "" : text + " is no number";
      },
      "");
}

}  // namespace

Action add_top(CLI::App& app, CLI::App*& command) {
  const auto options = std::make_shared<Options>();
  command = app.add_subcommand(
      "top",
      "Watch the loops of this host in a terminal: utilization, latencies, watchers, "
      "descriptors");
  command->add_option("pid", options->pid, "Only this process; its loop, if it has one")
      ->type_name("PID")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("-d,--delay", options->seconds,
                   "Seconds from one look to the next, 0.1 to 3600; default: 1")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 3600.0))
      ->check(finite());  // nan is in any range
  command->add_flag_callback("--redact", recording::hide_secrets,
                             "Hide passwords, tokens and keys in command lines");
  command->add_flag("-b,--batch", options->batch,
                    "Plain text, a block an interval; so it is, too, when this is no terminal");
  command->add_option("-n", options->blocks, "With plain text: so many blocks; default: 1")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--dir", options->directory,
                   "Where the recordings are. Default: where programs of this user put them")
      ->type_name("DIR")
      ->check(CLI::ExistingDirectory);
  command->footer(
      "Keys as in htop: F1 or h lists them; Enter looks into a loop, Esc goes back, Tab changes "
      "the pane, q quits.\n"
      "Ends with status 0, 2 on wrong usage, 3 if there is no recording of PID.");
  return [options] { return run_top(*options); };
}

}  // namespace loopscope::cli
