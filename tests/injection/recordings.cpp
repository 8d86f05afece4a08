// SPDX-License-Identifier: Apache-2.0
//
// recordings: reads names of directories, one a line, and answers each with a line of JSON: of
// every recording in it what its process' own calls failed with, and what of it contradicts itself.
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "instrumentation/recording/reader.h"

namespace {

using namespace loopscope;
using nlohmann::json;

/// What cannot be, whatever failed.
json contradictions(const recording::RecordingSnapshot& taken) {
  json found = json::array();
  const auto unequal = [&](const std::string& what, std::uint64_t a, std::uint64_t b) {
    if (a != b) found.push_back(what + ": " + std::to_string(a) + " and " + std::to_string(b));
  };
  for (const recording::LoopSnapshot& loop : taken.loops) {
    unequal("turns and waits of loop " + loop.name, loop.iterations, loop.poll_wait.count);
    if (loop.skew_turns != 0) found.push_back("loop " + loop.name + " was caught in the middle");
  }
  if (!taken.ledger) return found;
  const recording::Ledger& ledger = *taken.ledger;
  std::uint64_t opened = 0, closed = 0;
  for (const std::uint64_t count : ledger.opened) opened += count;
  for (const std::uint64_t count : ledger.closed) closed += count;
  unequal("open and inherited + opened - closed", static_cast<std::uint64_t>(ledger.open),
          ledger.inherited + opened - closed);
  unequal("open and listed", static_cast<std::uint64_t>(ledger.open), ledger.fds.size());
  for (const recording::SiteRecord& site : ledger.sites) {
    if (site.closed > site.opened) found.push_back("a site closed more than it opened");
  }
  return found;
}

json describe(const std::string& path) {
  auto reader = recording::Reader::open(path);
  if (!reader) return {{"path", path}, {"error", reader.error().message}};
  recording::ReadOptions options;
  options.details = true;
  options.served = true;
  const auto taken = reader->read(options);
  if (!taken) return {{"path", path}, {"error", taken.error().message}};
  json failures = json::array();
  for (const recording::OwnFailures& one : taken->own_failures) {
    failures.push_back({{"call", static_cast<std::uint32_t>(one.call)},
                        {"error", one.error},
                        {"failed", one.failed},
                        {"retried", one.retried}});
  }
  std::uint64_t dropped = 0;
  for (const std::uint64_t count : taken->dropped) dropped += count;
  return {{"path", path},
          {"pid", taken->pid},
          {"own_failures", failures},
          {"dropped", dropped},
          {"open", taken->ledger ? json(taken->ledger->open) : json()},
          {"loops", taken->loops.size()},
          {"turns", taken->loops.empty() ? 0 : taken->loops[0].iterations},
          {"contradictions", contradictions(*taken)}};
}

}  // namespace

int main() {
  for (std::string directory; std::getline(std::cin, directory);) {
    json answer = json::array();
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(directory, none)) {
      answer.push_back(describe(entry.path()));
    }
    std::cout << answer.dump() << std::endl;
  }
}
