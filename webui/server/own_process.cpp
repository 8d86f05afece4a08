// SPDX-License-Identifier: Apache-2.0
#include "webui/server/own_process.h"

#include <unistd.h>

#include <atomic>
#include <memory>

#include "instrumentation/recording/reader.h"
#include "loopscope/inspector.h"

namespace loopscope::webui {
namespace {

struct Owned {
  pid_t pid;
  std::unique_ptr<snapshot::Collector> collector;
};

// Never destroyed: a server of static storage duration may use it until the very end.
std::atomic<Owned*> g_current{nullptr};

snapshot::Collector& collector() {
  const pid_t pid = getpid();
  Owned* current = g_current.load(std::memory_order_acquire);
  if (current != nullptr && current->pid == pid) return *current->collector;

  recording::Result<recording::Reader> reader = recording::read_own_process();
  if (!reader) throw InspectorError(reader.error().message);
  auto made =
      std::make_unique<Owned>(Owned{pid, snapshot::Collector::in_process(*std::move(reader))});
  // Two threads may both have made one; the first stays. A parent's is leaked in its child: a
  // thread that is not here may have been inside it.
  if (g_current.compare_exchange_strong(current, made.get(), std::memory_order_acq_rel,
                                        std::memory_order_acquire)) {
    return *made.release()->collector;
  }
  return *current->collector;
}

}  // namespace

snapshot::HostSnapshot own_process_snapshot(const snapshot::CollectOptions& options) {
  return collector().collect(options);
}

snapshot::HostSnapshot own_process_snapshot(std::size_t recent) {
  snapshot::CollectOptions options;
  options.recent = recent;
  return own_process_snapshot(options);
}

}  // namespace loopscope::webui
