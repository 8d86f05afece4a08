// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/findings/text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "instrumentation/findings/finding.h"

namespace loopscope::findings {

const char* severity_name(Severity severity) noexcept {
  switch (severity) {
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      return "error";
  }
  return "info";
}

std::string duration_text(std::uint64_t ns) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  char text[48];
  if (ns >= 3600 * kSecond) {
    const std::uint64_t minutes = ns / (60 * kSecond);
    std::snprintf(text, sizeof(text), "%llu h %llu min",
                  static_cast<unsigned long long>(minutes / 60),
                  static_cast<unsigned long long>(minutes % 60));
    return text;
  }
  if (ns >= 120 * kSecond) {
    const std::uint64_t seconds = ns / kSecond;
    std::snprintf(text, sizeof(text), "%llu min %llu s",
                  static_cast<unsigned long long>(seconds / 60),
                  static_cast<unsigned long long>(seconds % 60));
    return text;
  }
  struct Unit {
    double ns;
    const char* name;
  };
  static constexpr Unit kUnits[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "µs"}, {1, "ns"}};
  const auto value = static_cast<double>(ns);
  // 999.6 µs would be rounded to "1e+03 µs": go over to the next unit where rounding does.
  const auto* unit = std::find_if(std::begin(kUnits), std::end(kUnits) - 1,
                                  [&](const Unit& u) { return value >= 0.9995 * u.ns; });
  std::snprintf(text, sizeof(text), "%.3g %s", value / unit->ns, unit->name);
  return text;
}

std::string times_text(std::uint64_t count) {
  if (count == 1) return "once";
  if (count == 2) return "twice";
  return std::to_string(count) + " times";
}

std::string percent_text(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return "0 %";
  const double share = 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  char text[48];  // of a hostile recording it may be more than an integer holds
  std::snprintf(text, sizeof text, "%.0f %%", std::floor(share));
  return text;
}

std::string loop_text(const recording::LoopSnapshot& loop) {
  if (loop.name.empty()) return "loop " + std::to_string(loop.id);
  return "loop \"" + loop.name + "\"";
}

const char* watcher_kind_name(recording::WatcherKind kind) noexcept {
  using recording::WatcherKind;
  switch (kind) {
    case WatcherKind::kIo:
      return "io";
    case WatcherKind::kTimer:
      return "timer";
    case WatcherKind::kPeriodic:
      return "periodic";
    case WatcherKind::kSignal:
      return "signal";
    case WatcherKind::kChild:
      return "child";
    case WatcherKind::kStat:
      return "stat";
    case WatcherKind::kIdle:
      return "idle";
    case WatcherKind::kPrepare:
      return "prepare";
    case WatcherKind::kCheck:
      return "check";
    case WatcherKind::kFork:
      return "fork";
    case WatcherKind::kAsync:
      return "async";
    case WatcherKind::kEmbed:
      return "embed";
    case WatcherKind::kCleanup:
      return "cleanup";
  }
  return "other";
}

std::string watcher_text(const recording::LoopSnapshot& loop, std::uint32_t watcher) {
  if (watcher == 0 || watcher > loop.watchers.size()) return {};
  const auto& found = loop.watchers[watcher - 1];
  return "\"" + found.name + "\" (" + watcher_kind_name(found.kind) + ")";
}

const char* own_call_name(recording::OwnCall call) noexcept {
  using recording::OwnCall;
  switch (call) {
    case OwnCall::kOpen:
      return "open";
    case OwnCall::kRead:
      return "read";
    case OwnCall::kClose:
      return "close";
    case OwnCall::kStat:
      return "stat";
    case OwnCall::kMkdir:
      return "mkdir";
    case OwnCall::kFtruncate:
      return "ftruncate";
    case OwnCall::kFallocate:
      return "fallocate";
    case OwnCall::kMmap:
      return "mmap";
    case OwnCall::kMunmap:
      return "munmap";
    case OwnCall::kMadvise:
      return "madvise";
    case OwnCall::kGetdents:
      return "getdents";
    case OwnCall::kLseek:
      return "lseek";
    case OwnCall::kUnlink:
      return "unlink";
    case OwnCall::kReadlink:
      return "readlink";
    case OwnCall::kGetrlimit:
      return "getrlimit";
    case OwnCall::kPoll:
      return "poll";
    case OwnCall::kFcntl:
      return "fcntl";
    case OwnCall::kGetsockopt:
      return "getsockopt";
    case OwnCall::kPrctl:
      return "prctl";
    case OwnCall::kSigprocmask:
      return "sigprocmask";
    case OwnCall::kTgkill:
      return "tgkill";
    case OwnCall::kThreadKey:
      return "pthread_key_create";
    case OwnCall::kOther:
    case OwnCall::kCount:
      break;
  }
  return "others";
}

std::string errno_name(int error) {
  if (error == 0) return "";
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : "errno " + std::to_string(error);
}

std::string own_failures_text(std::span<const recording::OwnFailures> failures) {
  std::string text;
  for (const recording::OwnFailures& one : failures) {
    if (one.failed == 0) continue;
    if (!text.empty()) text += ", ";
    text += own_call_name(one.call);
    if (one.error != 0) text += " " + errno_name(one.error);
    text += " " + times_text(one.failed);
  }
  return text;
}

const char* drop_kind_name(std::size_t kind) noexcept {
  using recording::DropKind;
  switch (static_cast<DropKind>(kind)) {
    case DropKind::kLoops:
      return "loops";
    case DropKind::kWatchers:
      return "watchers";
    case DropKind::kFds:
      return "fds";
    case DropKind::kSites:
      return "sites";
    case DropKind::kModules:
      return "modules";
    case DropKind::kEvents:
      return "events";
    case DropKind::kWaits:
      return "waits";
    case DropKind::kIncidents:
      return "incidents";
    default:
      return nullptr;
  }
}

}  // namespace loopscope::findings
