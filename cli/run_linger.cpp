// SPDX-License-Identifier: Apache-2.0
#include "cli/run_linger.h"

#include <signal.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <system_error>
#include <utility>

namespace loopscope::cli {
namespace {

using std::chrono::steady_clock;

/// Longer ones are as good as for ever, and would not fit.
constexpr double kLongestSeconds = 100.0 * 365 * 86400;

}  // namespace

std::optional<Linger> parse_linger(const std::string& text) {
  if (text == "forever") return Linger{Linger::kForever};
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc() || !std::isfinite(number) || std::signbit(number)) return std::nullopt;
  static constexpr std::pair<std::string_view, double> kUnits[] = {
      {"", 1}, {"s", 1}, {"ms", 1e-3}, {"m", 60}, {"h", 3600}};
  for (const auto& [name, seconds] : kUnits) {
    if (name != std::string_view(unit, static_cast<std::size_t>(end - unit))) continue;
    if (number * seconds > kLongestSeconds) return Linger{Linger::kForever};
    return Linger{std::chrono::nanoseconds(std::llround(number * seconds * 1e9))};
  }
  return std::nullopt;
}

std::string linger_text(const Linger& linger) {
  if (linger.forever()) return "";
  char text[48];
  std::snprintf(text, sizeof text, "%.15g s", static_cast<double>(linger.time.count()) * 1e-9);
  return text;
}

void linger_for(const Linger& linger, std::chrono::milliseconds interval,
                const std::function<void()>& tick) {
  sigset_t job_control;
  sigemptyset(&job_control);
  for (const int signal : {SIGTSTP, SIGTTIN, SIGTTOU}) sigaddset(&job_control, signal);
  sigset_t before;
  // There is nobody any more to be stopped together with: Ctrl-Z stops this command.
  pthread_sigmask(SIG_UNBLOCK, &job_control, &before);

  sigset_t ending;
  sigemptyset(&ending);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaddset(&ending, signal);
  const auto began = steady_clock::now();
  for (;;) {
    std::chrono::nanoseconds wait = interval;
    if (!linger.forever()) {
      const auto left = linger.time - (steady_clock::now() - began);
      if (left <= left.zero()) break;
      wait = std::min<std::chrono::nanoseconds>(wait, left);
    }
    const timespec pause{static_cast<time_t>(wait.count() / 1'000'000'000),
                         static_cast<long>(wait.count() % 1'000'000'000)};
    if (sigtimedwait(&ending, nullptr, &pause) > 0) break;
    tick();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace loopscope::cli
