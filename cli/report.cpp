// SPDX-License-Identifier: Apache-2.0
//
// loopscope report: what a recording says, live or after a crash.
#include "cli/report.h"

#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "cli/commands.h"
#include "cli/observation.h"
#include "cli/output_file.h"
#include "cli/report_html.h"
#include "cli/report_trace.h"
#include "instrumentation/recording/directory.h"
#include "instrumentation/recording/paths.h"
#include "instrumentation/recording/reader.h"
#include "instrumentation/recording/redact.h"
#include "instrumentation/snapshot/host_snapshot.h"
#include "instrumentation/snapshot/json.h"
#include "instrumentation/snapshot/symbol_names.h"

namespace loopscope::cli {
namespace {

/// All of a ring of the usual size. A trace holds what larger ones have, too.
constexpr std::size_t kRecentTurns = 4096;

struct Options {
  std::string target;
  std::string format = "text";
  std::string output;
  bool descriptors = false;
};

std::optional<std::int32_t> pid_of(const std::string& text) {
  std::int32_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc() || end != text.data() + text.size() || pid <= 0) return std::nullopt;
  return pid;
}

std::string joined(const std::vector<std::string>& directories) {
  std::string text;
  for (const std::string& directory : directories) {
    text += (text.empty() ? "" : ", ") + directory;
  }
  return text;
}

/// The recording of `pid`: the living one, else the newest. Empty: none.
std::string find_recording(std::int32_t pid, const std::vector<std::string>& directories) {
  std::optional<recording::RecordingFile> best;
  const auto rank = [](const recording::RecordingFile& file) {
    return std::tuple(file.alive, file.start_ticks, file.image);
  };
  for (const std::string& directory : directories) {
    const auto files = recording::list_recordings(directory);
    if (!files) {
      std::cerr << "loopscope: " << files.error().message << "\n";
      continue;
    }
    for (const recording::RecordingFile& file : *files) {
      if (file.pid == pid && (!best || rank(file) > rank(*best))) best = file;
    }
  }
  return best ? best->path : std::string();
}

void list_recordings_to(std::ostream& out, const std::vector<std::string>& directories) {
  allow_many_descriptors();
  snapshot::CollectOptions options;
  options.recent = 0;
  const snapshot::HostSnapshot host =
      snapshot::Collector::of_directories(directories)->collect(options);
  if (host.processes.empty()) {
    out << "There are no recordings in " << joined(directories) << ".\n";
  } else {
    out << "Recordings in " << joined(directories) << ":\n";
    write_list(out, host);
  }
  for (const auto& [path, error] : host.unreadable)
    out << "unreadable: " << printable(error) << "\n";
}

/// What to try, by what went wrong.
const char* advice_for(recording::Error::Code code) {
  using Code = recording::Error::Code;
  switch (code) {
    case Code::kNotFound:
      return "`loopscope report` without an argument lists the recordings there are.";
    case Code::kPermission:
      return "Recordings can be read by the user whose process wrote them: try as that user.";
    case Code::kFormat:
      return "Recordings are named PID-STARTTICKS-N[-RUN].loopscope; `loopscope report` lists "
             "them. One "
             "that was copied while its disk was full is cut short: copy it again.";
    default:
      return "";
  }
}

/// A file that may not grow (ulimit -f) is an error to be told, not a signal to die of. Nothing is
/// started that would inherit this.
void tell_of_size_limits() {
  sigset_t too_large;
  sigemptyset(&too_large);
  sigaddset(&too_large, SIGXFSZ);
  pthread_sigmask(SIG_BLOCK, &too_large, nullptr);
}

int report(const Options& options) {
  tell_of_size_limits();
  const std::vector<std::string> directories = recording::recording_directories();
  if (options.target.empty()) {
    std::cerr << "loopscope: report wants a recording's FILE or a PID\n";
    list_recordings_to(std::cerr, directories);
    return kUsage;
  }

  std::string path = options.target;
  bool named = true;  // by who asks: that may be a link
  if (const auto pid = pid_of(options.target)) {
    named = false;
    path = find_recording(*pid, directories);
    if (path.empty()) {
      std::cerr << "loopscope: there is no recording of process " << *pid
                << (recording::read_start_ticks(*pid) != 0
                        ? " (it runs, but does not record, or not as this user)"
                        : " (and no such process)")
                << "\n";
      list_recordings_to(std::cerr, directories);
      return kCouldNotRead;
    }
  }

  // Opened here first for its error's code; the collector opens it again.
  if (const auto reader = recording::Reader::open(path, named); !reader) {
    std::cerr << "loopscope: " << printable(reader.error().message) << "\n";
    const std::string advice = advice_for(reader.error().code);
    if (!advice.empty()) std::cerr << advice << "\n";
    return kCouldNotRead;
  }
  snapshot::CollectOptions collect;
  collect.recent =
      options.format == "trace" ? std::numeric_limits<std::size_t>::max() : kRecentTurns;
  collect.served = true;
  collect.descriptors =
      options.descriptors && (options.format == "text" || options.format == "json");
  // Only this once: however long the names take.
  snapshot::CollectorTiming timing;
  timing.naming_ns = std::numeric_limits<std::uint64_t>::max();
  const auto collector = snapshot::Collector::of_file(path, timing, named);
  collector->name_stacks(snapshot::symbol_names());
  const snapshot::HostSnapshot host = collector->collect(collect);
  if (host.processes.empty()) {
    for (const auto& [name, error] : host.unreadable) {
      std::cerr << "loopscope: " << printable(error) << "\n";
    }
    if (host.unreadable.empty()) std::cerr << "loopscope: " << path << " holds nothing\n";
    return kCouldNotRead;
  }

  std::ostringstream text;
  if (options.format == "json") {
    text << snapshot::to_json(host) << "\n";
  } else if (options.format == "trace") {
    text << trace_text(host, host.processes.front());
  } else if (options.format == "html") {
    const recording::Result<std::string> html = html_report(host);
    if (!html) {
      std::cerr << "loopscope: " << printable(html.error().message) << "\n";
      return kCouldNotRead;
    }
    text << *html;
  } else {
    for (const snapshot::ProcessSnapshot& process : host.processes) write_report(text, process);
  }
  int error = 0;
  std::string where = options.output;
  if (where.empty() || where == "-") {
    where = "the report";
    error = write_all(STDOUT_FILENO, text.str());
  } else {
    error = OutputFile(where, OutputFile::Before::kGoes).write(text.str());
  }
  if (error == 0) return kOk;
  std::cerr << "loopscope: cannot write " << where << ": " << std::strerror(error) << "\n";
  return kCouldNotRead;
}

}  // namespace

Action add_report(CLI::App& app, CLI::App*& command) {
  const auto options = std::make_shared<Options>();
  command =
      app.add_subcommand("report", "Say what a recording says: of a live process or after a crash");
  command->add_option("recording", options->target, "A recording's file, or a process id")
      ->type_name("FILE|PID");
  command->add_option("--format", options->format, "text, json, html or trace; default: text")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"text", "json", "html", "trace"}));
  command->add_flag("--descriptors", options->descriptors,
                    "With every open descriptor (text, json)");
  command->add_flag_callback("--redact", recording::hide_secrets,
                             "Hide passwords, tokens and keys in command lines");
  command->add_option("-o,--output", options->output, "Write to this file instead of stdout")
      ->type_name("FILE");
  command->footer(
      "html is the page with the data in one file, for any browser, without a server. trace is\n"
      "every recent turn on a time line, for ui.perfetto.dev, chrome://tracing or speedscope.\n"
      "A number is a process id; a file whose name is a number is given as ./NUMBER.\n"
      "Ends with status 0, 2 on wrong usage, 3 if the recording cannot be read.");
  return [options] { return report(*options); };
}

}  // namespace loopscope::cli
