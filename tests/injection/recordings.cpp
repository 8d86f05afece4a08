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

/// What is recorded of what the program did: the same in each run in which nothing is lost.
json contents(const recording::RecordingSnapshot& taken) {
  json loops = json::array();
  for (const recording::LoopSnapshot& loop : taken.loops) {
    json names = json::array();
    for (const recording::WatcherSnapshot& watcher : loop.watchers) {
      names.push_back({watcher.name, watcher.callback.count});
    }
    loops.push_back({loop.name, loop.backend, loop.ended, loop.iterations, loop.ready_events,
                     loop.timeouts, std::move(names)});
  }
  json what = {{"command", taken.command},
               {"arguments", taken.argv},
               {"life", static_cast<int>(taken.life)},
               {"status", taken.exit_status.value_or(-1)},
               {"loops", std::move(loops)}};
  if (!taken.ledger) return what;
  const recording::Ledger& ledger = *taken.ledger;
  json fds = json::array();
  for (const recording::FdRecord& fd : ledger.fds) {
    fds.push_back({fd.fd, fd.generation, static_cast<int>(fd.kind), static_cast<int>(fd.origin),
                   fd.registered_epoll_fd, fd.events, fd.io_calls, fd.site.has_value(),
                   !fd.target.empty(), !fd.local.empty(), !fd.peer.empty(), fd.peer_closed_ns != 0,
                   fd.thread_ended});
  }
  json sites = json::array();
  for (const recording::SiteRecord& site : ledger.sites) {
    sites.push_back({static_cast<int>(site.role), site.opened, site.closed, site.frames.size()});
  }
  json incidents = json::array();
  for (const recording::IncidentRecord& one : ledger.incidents) {
    incidents.push_back({static_cast<int>(one.kind), one.call, one.count, one.site.has_value(),
                         one.close_site.has_value(), one.open_site.has_value()});
  }
  what["fds"] = std::move(fds);
  what["sites"] = std::move(sites);
  what["incidents"] = std::move(incidents);
  what["modules"] = ledger.modules.size();
  what["inherited"] = ledger.inherited;
  what["end_census"] = static_cast<int>(ledger.end_census);
  return what;
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
          {"parent", taken->parent_pid},
          {"what", contents(*taken)},
          {"own_failures", failures},
          {"told", taken->error},
          {"dropped", dropped},
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
