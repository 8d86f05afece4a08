// SPDX-License-Identifier: Apache-2.0
#include "webui/server/failures.h"

#include <atomic>
#include <cstddef>

namespace loopscope::webui {
namespace {

constexpr auto kKinds = static_cast<std::size_t>(Failure::kCount);
constexpr const char* kNames[] = {"accept", "connection", "answer", "stream", "wait"};
static_assert(sizeof kNames / sizeof *kNames == kKinds);

std::atomic<std::uint64_t> g_failures[kKinds];

}  // namespace

void count_failure(Failure what) noexcept {
  g_failures[static_cast<std::size_t>(what)].fetch_add(1, std::memory_order_relaxed);
}

std::uint64_t failures(Failure what) noexcept {
  return g_failures[static_cast<std::size_t>(what)].load(std::memory_order_relaxed);
}

std::string failures_metric() {
  std::string text =
      "# HELP loopscope_server_failures_total What the system refused the server of this endpoint, "
      "by what it was for\n"
      "# TYPE loopscope_server_failures_total counter\n";
  for (std::size_t i = 0; i < kKinds; ++i) {
    text += "loopscope_server_failures_total{kind=\"";
    text += kNames[i];
    text += "\"} " + std::to_string(failures(static_cast<Failure>(i))) + "\n";
  }
  return text;
}

std::string failures_line() {
  std::string text;
  for (std::size_t i = 0; i < kKinds; ++i) {
    const std::uint64_t count = failures(static_cast<Failure>(i));
    if (count == 0) continue;
    text += (text.empty() ? "failures: " : ", ") + std::to_string(count) + " " + kNames[i];
  }
  return text.empty() ? text : text + "\n";
}

}  // namespace loopscope::webui
