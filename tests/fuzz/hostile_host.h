// SPDX-License-Identifier: Apache-2.0
//
// A host that answers everything a route may be asked, with texts as an attacker would choose them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "instrumentation/snapshot/host_snapshot.h"

namespace loopscope::fuzz {

/// Its processes are "4711-77" and "4712-78"; the first has loops 0 and 1 with turns 1 to 40, in
/// each of which something was served, and descriptors 0 to 299.
inline snapshot::HostSnapshot hostile_host() {
  using namespace recording;
  const std::string nasty[] = {
      "</script><b onload=1>", "\"\\\n\r\t\x01",         "\xff\xfe\xc3(",           "",
      std::string(3000, 'x'),  "a{b=\"c\"} 1\n# HELP x", std::string("nul\0nul", 7)};
  std::size_t at = 0;
  const auto text = [&] { return nasty[at++ % std::size(nasty)]; };

  snapshot::ProcessSnapshot process;
  RecordingSnapshot& record = process.recording;
  record.version = kVersion;
  record.source = SourceKind::kProbe;
  record.pid = 4711;
  record.start_ticks = 77;
  record.command = text();
  record.argv = {text(), text(), text()};
  record.path = text();
  for (std::uint32_t id = 0; id < 2; ++id) {
    LoopSnapshot loop;
    loop.id = id;
    loop.name = text();
    loop.backend = text();
    loop.epoll_fd = 3 + static_cast<std::int32_t>(id);
    loop.iterations = 41;
    loop.current_ready = 1;
    loop.stall_threshold_ns = 100;
    std::vector<Served> served;
    for (std::uint64_t number = 1; number <= 40; ++number) {
      Turn turn;
      turn.turn = number;
      turn.at_ns = 1'800'000'000'000'000'000 + number;
      turn.busy_ns = number % 7 == 0 ? ~0ull : number;
      turn.watcher = static_cast<std::uint32_t>(number % 4);
      turn.served_first = static_cast<std::uint32_t>(served.size());
      turn.served_count = 2;
      turn.served_lost = static_cast<std::uint32_t>(number % 2);
      served.push_back({.watcher = turn.watcher, .ns = number});
      served.push_back({.fd = static_cast<std::int32_t>(number), .kind = DescriptorKind::kTcp});
      loop.recent.push_back(turn);
      loop.busy.add(turn.busy_ns);
    }
    loop.served = std::make_shared<const std::vector<Served>>(std::move(served));
    for (int i = 0; i < 3; ++i) {
      WatcherSnapshot watcher;
      watcher.name = text();
      watcher.callback.add(1000);
      watcher.lag = watcher.callback;
      loop.watchers.push_back(std::move(watcher));
    }
    record.loops.push_back(std::move(loop));
  }
  std::vector<snapshot::Descriptor> descriptors;
  for (std::int32_t fd = 0; fd < 300; ++fd) {
    snapshot::Descriptor one;
    one.record.fd = fd;
    one.record.kind = static_cast<DescriptorKind>(static_cast<std::size_t>(fd) % kDescriptorKinds);
    one.record.registered_epoll_fd = fd % 3 == 0 ? 3 : -1;
    one.record.opened_ns = fd % 5 == 0 ? 0 : 1'700'000'000'000'000'000ull + fd;
    one.record.target = text();
    one.record.peer = text();
    if (fd % 2 == 0) one.record.site = static_cast<std::size_t>(fd % 7);
    if (fd % 4 == 0) one.event_share = fd / 300.0;
    descriptors.push_back(std::move(one));
  }
  process.descriptors = std::move(descriptors);
  StackFrame frame;
  frame.function = text();
  frame.file = text();
  frame.module = text();
  snapshot::OpenSite site;
  site.stack = std::make_shared<const std::vector<StackFrame>>(3, frame);
  process.sites = {site};
  findings::Finding finding;
  finding.rule = "fd-leak";
  finding.title = text();
  finding.detail = text();
  finding.advice = text();
  finding.subject = text();
  finding.places = {{"opened", site.stack, 1}};
  process.findings = {finding};
  process.fds.open = 300;

  snapshot::HostSnapshot host;
  host.taken_at_ns = 1'800'000'000'000'000'000;
  host.version = "fuzz";
  host.mode = snapshot::Mode::kServe;
  snapshot::ProcessSnapshot other;
  other.recording.pid = 4712;
  other.recording.start_ticks = 78;
  other.recording.command = text();
  other.recording.life = Life::kKilled;
  other.recording.finished = true;
  host.processes = {std::move(process), std::move(other)};
  host.unreadable = {{text(), text()}};
  return host;
}

}  // namespace loopscope::fuzz
