// SPDX-License-Identifier: Apache-2.0
//
// Snapshots as Prometheus metrics. Nothing is mirrored: every value is computed from a snapshot at
// scrape time.
//
// Cardinality is bounded: loops, watchers and processes by the recording's tables, kinds, results
// and rules by this code. Never a descriptor number or a peer. What a source cannot know is left
// out rather than said to be 0. Only processes that live are exported, so the series of one that
// ended go stale as Prometheus expects. No series comes twice: of what a process was before an
// exec(3) nothing is exported, and two recordings of one process are told as one.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <functional>
#include <string>
#include <vector>

#include "instrumentation/snapshot/host_snapshot.h"

namespace loopscope::metrics {

/// Which labels tell processes apart.
enum class LabelMode {
  kSingle,  // one process, its own endpoint or target: none
  kMulti,   // one endpoint for several: `process` (the command) and `pid`
};

/// kMulti for what a server of many recordings collects, else kSingle.
LabelMode label_mode(const snapshot::HostSnapshot& host) noexcept;

/// All metrics that `host` has values for; families without a value are not in
/// it. Pure. Loops of one process that share a name get "#2", "#3" … appended, in order of their
/// ids.
std::vector<prometheus::MetricFamily> to_metric_families(const snapshot::HostSnapshot& host,
                                                         LabelMode mode);

/// The same in the text exposition format 0.0.4. Cost: about 25 µs a histogram.
std::string to_text(const snapshot::HostSnapshot& host, LabelMode mode);

/// For a registry or an exposer that a program already has.
///
/// Thread-safety: `Collect` may be called from any thread if `source` may. Cost: `source`'s, plus
/// about 2 µs a histogram (five a loop, one a watcher).
class LoopCollectable : public prometheus::Collectable {
 public:
  /// `source` is called once per Collect(); it needs no recent turns (CollectOptions::recent = 0).
  /// Throws std::invalid_argument if it is empty.
  LoopCollectable(std::function<snapshot::HostSnapshot()> source, LabelMode mode);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  std::function<snapshot::HostSnapshot()> source_;
  LabelMode mode_;
};

}  // namespace loopscope::metrics
