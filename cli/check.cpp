// SPDX-License-Identifier: Apache-2.0
//
// loopscope check: runs a program with the probe in it and in all that it starts, and judges what
// each process leaves open and does wrong with its descriptors. Its exit status is a build's
// verdict: PROGRAM's own if it failed, else whether anything was found.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "cli/baseline.h"
#include "cli/check_judge.h"
#include "cli/check_push.h"
#include "cli/check_report.h"
#include "cli/check_result.h"
#include "cli/check_tree.h"
#include "cli/commands.h"
#include "cli/duration.h"
#include "cli/launch.h"
#include "cli/observation.h"
#include "cli/output_file.h"
#include "cli/report.h"
#include "cli/stall_watch.h"
#include "instrumentation/findings/suppressions.h"
#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/redact.h"
#include "instrumentation/recording/result.h"

namespace loopscope::cli {
namespace {

/// Recordings of processes that ended are read so often, and time is kept.
constexpr std::chrono::milliseconds kTick{100};
/// And so often one looks whether PROGRAM's children are gone, after it.
constexpr std::chrono::milliseconds kLook{20};
/// After --timeout, PROGRAM gets so long to end by itself before it is killed.
constexpr std::uint64_t kPatienceNs = 2'000'000'000;
constexpr std::uint64_t kDefaultWaitNs = 2'000'000'000;
/// How long a Pushgateway may take: it is the end of a build that waits.
constexpr std::uint64_t kDefaultPushNs = 10'000'000'000;

struct Options {
  std::string format;
  std::vector<std::string> outputs;
  std::string colour = "auto";
  std::vector<std::string> suppressions;
  bool no_shipped_suppressions = false;
  std::string generated;  // --gen-suppressions
  std::string baseline;
  bool update_baseline = false;
  CheckPolicy policy;
  std::uint64_t stall_ns = 0;
  std::uint64_t timer_lag_ns = 0;
  std::uint64_t busy_p99_ns = 0;
  std::uint64_t timeout_ns = 0;
  std::uint64_t wait_ns = kDefaultWaitNs;
  std::string push;
  std::vector<std::string> push_labels;
  std::uint64_t push_timeout_ns = kDefaultPushNs;
  std::string directory;
  std::string probe;
};

/// A report and where it goes.
struct Output {
  ReportFormat format = ReportFormat::kText;
  OutputFile file;
};

std::string read_text_file(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  // Of a directory: good until it is read. An empty file leaves nothing to be written, which fails.
  if (file && file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (!file.is_open() || file.bad()) {
    throw std::system_error(errno != 0 ? errno : EIO, std::generic_category(),
                            "cannot read " + path);
  }
  return text.str();
}

/// False if a line is bad: all of them have been told.
bool load_suppressions(const Options& options, CheckPolicy& policy) {
  bool good = true;
  for (const std::string& path : options.suppressions) {
    auto parsed = findings::parse_suppressions(read_text_file(path), path);
    for (const findings::SuppressionError& error : parsed.errors) {
      say(error.where + ": " + error.message);
      good = false;
    }
    std::move(parsed.entries.begin(), parsed.entries.end(),
              std::back_inserter(policy.suppressions));
  }
  policy.shipped_from = policy.suppressions.size();
  if (!options.no_shipped_suppressions) {
    const auto& shipped = findings::shipped_suppressions();
    policy.suppressions.insert(policy.suppressions.end(), shipped.begin(), shipped.end());
  }
  return good;
}

/// Where each report goes. Opened before PROGRAM is started: to learn after an hour of tests that a
/// report cannot be written would be too late. What was in the files stays until then.
std::vector<Output> open_outputs(const Options& options) {
  std::vector<Output> outputs;
  const std::optional<ReportFormat> format =
      options.format.empty() ? std::nullopt : report_format(options.format);
  if (format && options.outputs.size() > 1) {
    throw std::invalid_argument(
        "--format says the form of one report; with several, write -o FORMAT:PATH for each");
  }
  for (const std::string& text : options.outputs) {
    ReportFormat wanted = ReportFormat::kText;
    std::string path = text;
    if (const auto target = report_target(text)) {
      wanted = target->format;
      path = target->path;
    } else if (!format) {
      throw std::invalid_argument("-o " + text +
                                  ": which format? Write format:path (text, json, junit, sarif, "
                                  "github), or a path that ends in .json, .xml, .sarif or .txt");
    }
    // --format says it for one file, whatever its name.
    if (format && options.outputs.size() == 1 && text.find(':') == std::string::npos) {
      wanted = *format;
    }
    if (path != "-" && std::any_of(outputs.begin(), outputs.end(), [&](const Output& other) {
          return other.file.path() == path;
        })) {
      throw std::invalid_argument("-o " + path + ": given twice, and can hold one report");
    }
    outputs.push_back({wanted, OutputFile(path, OutputFile::Before::kStays)});
  }
  return outputs;
}

bool wants_colour(const Options& options) {
  if (options.colour != "auto") return options.colour == "always";
  const char* no_colour = std::getenv("NO_COLOR");  // no-color.org
  const char* term = std::getenv("TERM");
  return isatty(STDERR_FILENO) != 0 && (no_colour == nullptr || no_colour[0] == '\0') &&
         (term == nullptr || std::strcmp(term, "dumb") != 0);
}

/// False if one could not be written: said.
bool write_reports(const Options& options, std::vector<Output>& outputs,
                   const CheckResult& result) {
  bool good = true;
  for (Output& output : outputs) {
    std::ostringstream text;
    write_check_report(text, result, output.format);
    if (const int error = output.file.write(text.str()); error != 0) {
      say("cannot write " + output.file.path() + ": " + std::strerror(error));
      good = false;
    }
  }
  std::ostringstream text;
  const bool other = outputs.empty() && !options.format.empty();
  TextStyle style;
  style.colour = wants_colour(options);
  write_check_report(text, result, other ? *report_format(options.format) : ReportFormat::kText,
                     style);
  write_all(STDERR_FILENO, text.str());
  return good;
}

/// Ready entries for what is new. False if the file could not be written: said.
bool write_suppressions(const std::string& path, const CheckResult& result) {
  std::string text;
  for (const CheckedFinding& checked : result.findings) {
    if (checked.status != CheckedFinding::Status::kNew ||
        checked.finding.severity == findings::Severity::kInfo) {
      continue;
    }
    text += findings::suppression_for(checked.finding, result.processes[checked.process].command);
    text += "\n";
  }
  if (path == "-") return write_all(STDERR_FILENO, text) == 0;
  try {
    const int error = OutputFile(path, OutputFile::Before::kGoes).write(text);
    if (error == 0) return true;
    say("cannot write " + path + ": " + std::strerror(error));
  } catch (const std::system_error& error) {
    say(error.what());
  }
  return false;
}

/// The directory that holds .git, here or above; empty: none.
std::string repository_root() {
  std::error_code why;
  for (auto at = std::filesystem::current_path(why); !why && at != at.root_path();
       at = at.parent_path()) {
    if (std::filesystem::exists(at / ".git", why)) return at.string();
    why.clear();
  }
  return std::filesystem::current_path(why).string();
}

/// 0: none was given.
std::optional<std::uint64_t> limit(std::uint64_t ns) {
  return ns == 0 ? std::nullopt : std::optional(ns);
}

/// Until PROGRAM has ended, or its time is up and it was made to.
void run_to_the_end(const Options& options, Launch& launch, CheckTree& tree, std::uint64_t began,
                    CheckResult& result) {
  const auto timeout = limit(options.timeout_ns);
  bool asked = false, forced = false;
  result.end = launch.wait(kTick, [&] {
    tree.tend();
    const std::uint64_t ran = recording::monotonic_ns() - began;
    if (!timeout || ran < *timeout) return;
    if (!asked) {
      result.timed_out = asked = true;
      kill(launch.pid(), SIGTERM);
    } else if (!forced && ran >= *timeout + kPatienceNs) {
      forced = true;
      kill(launch.pid(), SIGKILL);
    }
  });
  result.duration_ns = recording::monotonic_ns() - began;
}

/// Sleeps for kLook; true: somebody wants us to end. All signals are blocked since the launch, and
/// PROGRAM, which would have got it, is gone.
bool look_up() {
  sigset_t ends;
  sigemptyset(&ends);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaddset(&ends, signal);
  const timespec time{0, std::chrono::nanoseconds(kLook).count()};
  return sigtimedwait(&ends, nullptr, &time) > 0;
}

/// What PROGRAM left behind may still be at work, a daemon for instance: it is given time, and
/// after a time-out an end. Ctrl-C cuts the waiting short, not the report.
void await_children(const Options& options, CheckTree& tree, const CheckResult& result) {
  if (result.timed_out) tree.signal_all(SIGTERM);
  const std::uint64_t until = recording::monotonic_ns() + options.wait_ns;
  for (tree.tend(); !tree.running().empty() && recording::monotonic_ns() < until; tree.tend()) {
    if (look_up()) break;
  }
  if (!result.timed_out || tree.running().empty()) return;
  tree.signal_all(SIGKILL);
  for (int i = 0; i < 100 && !tree.running().empty(); ++i) {
    std::this_thread::sleep_for(kLook);
  }
}

/// Where the figures of the run go, if anywhere. Throws std::invalid_argument.
struct Push {
  PushTarget target;
  std::map<std::string, std::string> labels;
};
std::optional<Push> wanted_push(const Options& options) {
  if (options.push.empty()) return std::nullopt;
  auto target = push_target(options.push);
  if (!target) throw std::invalid_argument(target.error().message);
  Push wanted{*std::move(target), {}};
  for (const std::string& text : options.push_labels) {
    auto label = push_label(text);
    if (!label) throw std::invalid_argument(label.error().message);
    if (!wanted.labels.insert(*label).second) {
      throw std::invalid_argument("--push-label " + label->first + ": given twice");
    }
  }
  return wanted;
}

/// What was just written to the baseline fails no run, this one included.
void take_as_known(const Baseline& baseline, CheckResult& result) {
  for (CheckedFinding& checked : result.findings) {
    if (checked.status != CheckedFinding::Status::kNew ||
        baseline.find(checked.fingerprint) == nullptr) {
      continue;
    }
    checked.status = CheckedFinding::Status::kBaseline;
    checked.fails = false;
  }
  result.baseline = true;
}

/// What comes of a run that is over: its reports, and the exit status.
int conclude(const Options& options, const CheckPolicy& policy, std::vector<Output>& outputs,
             const std::optional<Push>& pushed, const std::string& unseen,
             const std::string& directory, CheckTree& tree, StallWatch* watch,
             CheckResult& result) {
  std::vector<TreeImage> images = tree.finish();
  if (watch) {
    for (TreeImage& image : images) image.glances = watch->take(image.name);
  }
  if (watch && !watch->trouble().empty()) {
    result.notes.push_back("stacks of stalls are missing: " + watch->trouble());
  }
  const bool seen = std::any_of(images.begin(), images.end(), [&](const TreeImage& image) {
    return image.name.pid == result.pid;
  });
  result.unseen = unseen;
  if (!seen && result.unseen.empty()) {
    result.unseen = why_nothing_was_recorded(directory);
  } else if (const auto lost = lost_in_exec(images);
             std::any_of(lost.begin(), lost.end(),
                         [&](const TreeImage* image) { return image->name.pid == result.pid; })) {
    result.unseen =
        "it became another program by exec, which made no recording: static, setuid, or started "
        "with another environment";
  }
  if (result.unseen.empty() && !tree.missed().empty()) {
    result.unseen = "what was recorded cannot be read: " + tree.missed();
  }
  judge(tree, std::move(images), policy, result);

  bool written = true;
  if (options.update_baseline && !result.unseen.empty()) {
    say("the baseline " + options.baseline + " stays as it was: the run was not observed");
    written = false;
  } else if (options.update_baseline) {
    const Baseline baseline = baseline_of(result);
    if (const auto done = write_baseline(options.baseline, baseline); !done) {
      say(done.error().message);
      written = false;
    } else {
      take_as_known(baseline, result);
    }
  }
  if (!options.generated.empty())
    written = write_suppressions(options.generated, result) && written;
  written = write_reports(options, outputs, result) && written;
  if (pushed) {
    const auto patience = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::nanoseconds(static_cast<std::int64_t>(options.push_timeout_ns)));
    // A gateway that is down is no fault of what was tested: said, and no more.
    const auto failed = push(pushed->target, pushed->labels,
                             check_metrics(result, recording::realtime_ns()), patience);
    if (failed) say(*failed + "; the run's verdict stands");
  }
  const int status = result.exit_status();
  // A build must not pass because its report is missing.
  return status == kOk && !written ? kUsage : status;
}

int check(Options options, char** program) {
  if (program == nullptr || program[0] == nullptr) {
    say("check wants a program, after two dashes: loopscope check -- PROGRAM ARGS...\n"
        "See: loopscope check --help");
    return kUsage;
  }
  CheckPolicy& policy = options.policy;
  policy.budgets = {limit(options.stall_ns), limit(options.timer_lag_ns),
                    limit(options.busy_p99_ns)};
  std::vector<Output> outputs;
  std::optional<Push> pushed;
  try {
    if (!load_suppressions(options, policy)) return kUsage;
    const bool is_there = access(options.baseline.c_str(), F_OK) == 0;
    if (!options.baseline.empty() && (is_there || !options.update_baseline)) {
      auto baseline = read_baseline(options.baseline);
      if (!baseline) {
        say(baseline.error().message);
        return kUsage;
      }
      policy.baseline = *std::move(baseline);
    }
    pushed = wanted_push(options);
    outputs = open_outputs(options);
  } catch (const std::exception& error) {
    say(error.what());
    return kUsage;
  }

  ObservationOptions wanted;
  wanted.probe = options.probe;
  wanted.stacks = "full";
  wanted.directory = options.directory;
  wanted.probe_flags = {"closes", "scripts", "census"};
  wanted.node_lines = true;
  if (policy.budgets.stall_ns) {
    wanted.probe_flags.push_back("stall=" + std::to_string(*policy.budgets.stall_ns));
  }
  const Observation observation = observe(program[0], wanted);
  if (!observation.unusable.empty()) {
    say(observation.unusable);
    return kCouldNotRead;
  }
  if (observation.exec_error != 0) return cannot_start(program[0], observation.exec_error);

  CheckResult result;
  result.version = LOOPSCOPE_VERSION;
  for (char** argument = program; *argument != nullptr; ++argument) {
    result.argv.emplace_back(*argument);
  }
  if (recording::hides_secrets()) result.argv = recording::redacted(result.argv);
  result.root = repository_root();

  std::vector<int> kept;
  for (const Output& output : outputs) kept.push_back(output.file.descriptor());
  Launch launch(program, observation.environment, kept);
  allow_many_descriptors();
  result.pid = launch.pid();
  result.started_ns = recording::realtime_ns();
  const std::string name = printable(result.argv[0]);
  if (!observation.unseen.empty()) {
    say("cannot see inside " + name + ": " + printable(observation.unseen) +
        "; it runs unobserved");
  }

  CheckTree tree(observation.directories, getpid());
  std::optional<StallWatch> watch;
  if (policy.budgets.stall_ns) {
    try {
      watch.emplace(observation.directories, getpid(), *policy.budgets.stall_ns);
    } catch (const std::system_error& error) {
      result.notes.push_back(
          std::string("stacks of stalls are missing: no thread to look at them: ") + error.what());
    }
  }
  const std::uint64_t began = recording::monotonic_ns();
  if (const int error = launch.start(); error != 0) return cannot_start(program[0], error);
  run_to_the_end(options, launch, tree, began, result);
  try {
    await_children(options, tree, result);
  } catch (const std::exception& error) {
    result.notes.push_back("what ran on after its end was not waited for: " + what_of(error));
  }
  if (watch) watch->stop();

  try {
    if (!launch.trouble().empty()) {
      result.notes.push_back("while it ran, recordings could not be looked after: " +
                             launch.trouble());
    }
    return conclude(options, policy, outputs, pushed, observation.unseen,
                    observation.directories.front(), tree, watch ? &*watch : nullptr, result);
  } catch (const std::exception& error) {
    say("what " + name + " did cannot be judged: " + what_of(error));
    const int own = result.end.exit_status();
    return own != 0 ? own : kCouldNotRead;
  }
}

/// Makes the time that was written its nanoseconds.
CLI::Validator duration(bool may_be_zero) {
  return CLI::Validator(
      [may_be_zero](std::string& text) -> std::string {
        const auto time = parse_duration(text);
        if (!time) return text + " is no time: write 500us, 20ms, 1.5s or 2m";
        if (time->count() == 0 && !may_be_zero) return "the time must be longer than 0";
        text = std::to_string(time->count());
        return "";
      },
      "DURATION");
}
constexpr bool kMayBeZero = true;

}  // namespace

Action add_check(CLI::App& app, CLI::App*& command, char** program) {
  const auto options = std::make_shared<Options>();
  CheckPolicy& policy = options->policy;
  command = app.add_subcommand(
      "check", "Run tests and fail if they leak descriptors, misuse them, or stall a loop");
  const auto formats = CLI::IsMember({"text", "json", "junit", "sarif", "github"});
  command->add_option("--format", options->format, "text, json, junit, sarif or github")
      ->type_name("FORMAT")
      ->check(formats);
  command
      ->add_option("-o,--output", options->outputs,
                   "Write a report here, by extension (.json .xml .sarif .txt) or format:path; may "
                   "be given again")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command->add_option("--color", options->colour, "auto, always or never")
      ->type_name("WHEN")
      ->check(CLI::IsMember({"auto", "always", "never"}));
  command->add_flag("--strict", policy.strict,
                    "Fail on warnings too, and on what is only kept until exit");

  command
      ->add_option("--suppressions", options->suppressions,
                   "Entries for what is known and meant; may be given again")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command->add_flag("--no-default-suppressions", options->no_shipped_suppressions,
                    "Without the entries that ship with loopscope");
  command
      ->add_option("--gen-suppressions", options->generated,
                   "Write ready entries for what was found (-: to stderr)")
      ->type_name("FILE");
  auto* baseline =
      command->add_option("--baseline", options->baseline, "Fail only on what is not in this file")
          ->type_name("FILE");
  command
      ->add_flag("--update-baseline", options->update_baseline,
                 "Write what was found to the baseline")
      ->needs(baseline);
  command
      ->add_option("--min-count", policy.min_count,
                   "Ignore findings with fewer descriptors than this")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 20));
  command
      ->add_flag("--follow-forks,!--no-follow-forks", policy.follow_forks,
                 "Judge PROGRAM's children too (default)")
      ->default_str("");
  command
      ->add_option("--ignore-process", policy.ignored,
                   "Do not judge processes of this name (a pattern); may be given again")
      ->type_name("NAME")
      ->allow_extra_args(false);
  command
      ->add_option("--own", policy.own,
                   "Files that are your code wherever they lie (a pattern): what the system's "
                   "packages brought is judged less strictly; may be given again")
      ->type_name("FILE")
      ->allow_extra_args(false);

  command->add_option("--max-stall", options->stall_ns, "Longest that a turn of a loop may be busy")
      ->type_name("DURATION")
      ->transform(duration(!kMayBeZero));
  command->add_option("--max-timer-lag", options->timer_lag_ns, "Latest that a timer may run")
      ->type_name("DURATION")
      ->transform(duration(!kMayBeZero));
  command
      ->add_option("--max-busy-p99", options->busy_p99_ns,
                   "Largest p99 of the busy part of a loop's turns")
      ->type_name("DURATION")
      ->transform(duration(!kMayBeZero));
  command->add_option("--timeout", options->timeout_ns, "End PROGRAM after this time")
      ->type_name("DURATION")
      ->transform(duration(kMayBeZero));
  command
      ->add_option("--wait", options->wait_ns,
                   "How long to wait for children that outlive PROGRAM; default: 2s")
      ->type_name("DURATION")
      ->transform(duration(kMayBeZero));
  auto* push =
      command
          ->add_option("--push", options->push,
                       "Send the figures of the run to this Prometheus Pushgateway; if that fails, "
                       "it is said, and changes no exit status")
          ->type_name("URL");
  command
      ->add_option("--push-label", options->push_labels,
                   "A label (NAME=VALUE) to tell this run's figures from others'; may be given "
                   "again")
      ->type_name("LABEL")
      ->allow_extra_args(false)
      ->needs(push);
  command
      ->add_option("--push-timeout", options->push_timeout_ns,
                   "How long the Pushgateway may take; default: 10s")
      ->type_name("DURATION")
      ->transform(duration(!kMayBeZero))
      ->needs(push);
  command->add_option("--dir", options->directory, "Where the recordings go meanwhile")
      ->type_name("DIR");
  command->add_flag_callback("--redact", recording::hide_secrets,
                             "Hide passwords, tokens and keys in command lines");
  command->add_option("--probe", options->probe, "The probe to load")->group("");  // for tests
  command->footer(
      "Write: loopscope check [OPTIONS] -- PROGRAM [ARGS...]\n\n"
      "Durations: 500us, 20ms, 1.5s, 2m.\n\n"
      "Exit status: 0 if PROGRAM succeeded and nothing was found; PROGRAM's own if it failed (128 "
      "+ N\n"
      "for signal N); else 1 if something was found, 2 on wrong usage or if a report could not be\n"
      "written, 3 if PROGRAM could not be observed; 126 or 127 if it could not be started.");
  return [options, program] { return check(*options, program); };
}

}  // namespace loopscope::cli
