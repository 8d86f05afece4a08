// SPDX-License-Identifier: Apache-2.0
//
// What the probe offers to the loopscope library in the same program (recording/probe_link.h).
#include "instrumentation/probe/loops.h"
#include "instrumentation/probe/probe.h"
#include "instrumentation/recording/probe_link.h"

namespace loopscope::probe {
namespace {

bool share(recording::Region* to) noexcept {
  if (!recording_for(t_thread)) return false;
  *to = g_probe.process->region();
  return g_probe.process->active();
}

void leave(int epoll_fd) noexcept {
  if (!recording_for(t_thread)) return;
  if (g_ledger.slot_for_writing(epoll_fd) == nullptr) return;
  g_ledger.set_flags(epoll_fd, recording::kFdLibraryLoop, 0);
  withdraw_epoll(epoll_fd);
}

constexpr recording::ProbeLink kLink{recording::kVersion, sizeof(recording::Region), share, leave};

}  // namespace

/// What find_probe() in the program looks for. In the probe itself there is no other.
extern "C" [[gnu::visibility("default")]] const recording::ProbeLink* loopscope_probe_link() {
  return &kLink;
}

}  // namespace loopscope::probe

namespace loopscope::recording {
const ProbeLink* find_probe() noexcept { return nullptr; }
}  // namespace loopscope::recording
