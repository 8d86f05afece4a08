// SPDX-License-Identifier: Apache-2.0
#include "cli/observation.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>
#include <string_view>
#include <system_error>

#include "cli/observable.h"
#include "cli/output_file.h"
#include "cli/report.h"
#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/directory.h"
#include "instrumentation/recording/paths.h"

namespace loopscope::cli {
namespace {

constexpr char kProbeVariable[] = "LOOPSCOPE_PROBE";
constexpr char kProbeFile[] = "libloopscope-probe.so";
constexpr rlim_t kMostDescriptors = 1u << 16;

/// The probe that belongs to this command: next to it in the build tree, or where it was installed.
/// The first place if there is none.
std::string find_probe() {
  std::error_code why;
  const std::filesystem::path here =
      std::filesystem::read_symlink("/proc/self/exe", why).parent_path();
  const std::filesystem::path places[] = {
      here / LOOPSCOPE_PROBE_FROM_BINDIR / kProbeFile,
      here / ".." / "instrumentation" / "probe" / kProbeFile,
  };
  for (const auto& place : places) {
    if (access(place.c_str(), R_OK) == 0) return place.lexically_normal();
  }
  return places[0].lexically_normal();
}

/// Whether a LD_PRELOAD has this entry already (a run in a run).
bool has_entry(std::string_view preload, std::string_view entry) {
  while (!preload.empty()) {
    const std::size_t end = std::min(preload.find_first_of(": "), preload.size());
    if (preload.substr(0, end) == entry) return true;
    preload.remove_prefix(std::min(end + 1, preload.size()));
  }
  return false;
}

/// Others' entries stay, and stay first: what they interpose is what the probe then sees. But gcc's
/// AddressSanitizer looks for itself at the very front, and ends the program if it is not there.
/// Its name does as well as a path: the loader looks for it where it would have looked anyway.
std::string preload_with(const std::string& probe, const std::string& address_sanitizer) {
  const char* before = std::getenv("LD_PRELOAD");
  std::string preload = before != nullptr ? before : "";
  if (!has_entry(preload, probe)) preload += (preload.empty() ? "" : ":") + probe;
  if (!address_sanitizer.empty() && !has_entry(preload, address_sanitizer)) {
    preload = address_sanitizer + ":" + preload;
  }
  return preload;
}

/// What node is told to load first; what others told it stays. Empty: the file is not there, or
/// node could not be told of its path.
std::string node_options_with(const std::string& probe) {
  const std::filesystem::path file = std::filesystem::path(probe).parent_path() / "node-lines.cjs";
  const std::string& path = file.native();
  if (access(path.c_str(), R_OK) != 0 || path.find_first_of("\"\\") != std::string::npos) return "";
  const std::string option = "--require \"" + path + "\"";
  const char* before = std::getenv("NODE_OPTIONS");
  if (before == nullptr || before[0] == '\0') return option;
  if (std::strstr(before, option.c_str()) != nullptr) return before;
  return std::string(before) + " " + option;
}

/// What the probe is told, see docs/probe.md: comma separated, the directory last because it may
/// hold commas.
std::string probe_options(const ObservationOptions& options) {
  std::string text = probe_run_option(getpid()).substr(std::strlen(kProbeVariable) + 1);
  if (!options.stacks.empty()) text += ",stacks=" + options.stacks;
  for (const std::string& flag : options.probe_flags) text += "," + flag;
  // What each process would have to read two files for.
  const bool tsc = recording::choose_clock() == recording::ClockKind::kTsc;
  text += tsc ? ",clock=tsc" : ",clock=monotonic";
  char boot[recording::kBootIdBytes];
  if (recording::read_boot_id(boot)) text += std::string(",boot=") + boot;
  if (!options.directory.empty()) text += ",dir=" + options.directory;
  return text;
}

}  // namespace

Observation observe(const char* program, const ObservationOptions& given) {
  Observation observation;
  ObservationOptions options = given;
  observation.directories = recording::recording_directories();
  if (!options.directory.empty()) {
    // The program may change its directory before it starts another.
    options.directory = std::filesystem::absolute(options.directory).lexically_normal();
    observation.unusable = why_no_recording(options.directory);
    if (!observation.unusable.empty()) return observation;
    observation.directories = {options.directory};
  }
  const Examination examination = examine(program, std::getenv("PATH"));
  observation.exec_error = examination.exec_error;
  if (observation.exec_error != 0) return observation;

  const std::string probe = options.probe.empty() ? find_probe() : options.probe;
  observation.unseen = examination.obstacle;
  bool preload = !examination.preload_harms;
  if (const std::string why = why_not_preloadable(probe); preload && !why.empty()) {
    preload = false;
    if (observation.unseen.empty()) observation.unseen = why;
  }
  if (preload) {
    observation.environment.emplace_back("LD_PRELOAD",
                                         preload_with(probe, examination.address_sanitizer));
    if (options.node_lines) {
      if (const std::string with = node_options_with(probe); !with.empty()) {
        observation.environment.emplace_back("NODE_OPTIONS", with);
      }
    }
    observation.environment.emplace_back(kProbeVariable, probe_options(options));
  }
  return observation;
}

std::string probe_run_option(int run) {
  return std::string(kProbeVariable) + "=run=" + std::to_string(run);
}

std::string why_nothing_was_recorded(const std::string& directory) {
  const std::string why = why_no_recording(directory);
  if (!why.empty()) return why;
  return "it has made no recording, and from outside nothing speaks against one";
}

void allow_many_descriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = std::min(limit.rlim_max, kMostDescriptors);
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = wanted;
  setrlimit(RLIMIT_NOFILE, &limit);
}

void say(const std::string& text) {
  const std::string line = "loopscope: " + text + "\n";
  write_all(STDERR_FILENO, line);
}

std::string what_of(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return "out of memory";
  return error.what();
}

int cannot_start(const char* program, int error) {
  say("cannot run " + printable(program) + ": " + std::strerror(error));
  return error == ENOENT ? 127 : 126;
}

}  // namespace loopscope::cli
