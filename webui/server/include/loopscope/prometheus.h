// SPDX-License-Identifier: Apache-2.0
//
// The metrics of this process' loops for a Prometheus registry or exposer that the program already
// has. A program without one uses loopscope::Inspector, which serves /metrics itself.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>  // collectable.h alone leaves Collect() unusable

#include <memory>

#include "loopscope/export.h"

namespace loopscope {

/// Everything /metrics of an Inspector says, computed when it is collected:
///
///   prometheus::Exposer exposer{"127.0.0.1:9464"};
///   std::shared_ptr<prometheus::Collectable> loops = loopscope::make_collectable();
///   exposer.RegisterCollectable(loops);
///
/// **Keep the pointer**: an exposer holds only a weak_ptr, and what nobody holds vanishes from the
/// page without a word.
///
/// It includes `process_open_fds` and the other process_* metrics: do not register a second source
/// of those.
///
/// Thread-safety: Collect() may be called on any thread, but should not be on a loop's. Works in a
/// forked child, for the child. Throws InspectorError (inspector.h) if this process' recording
/// cannot be read.
LOOPSCOPE_EXPORT std::shared_ptr<prometheus::Collectable> make_collectable();

}  // namespace loopscope
