// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/probe_link.h"

#include <dlfcn.h>

namespace loopscope::recording {

const ProbeLink* find_probe() noexcept {
  // A probe is preloaded, so it is there from the start or not at all.
  static const ProbeLink* const found = []() -> const ProbeLink* {
    auto* function = reinterpret_cast<ProbeLinkFunction*>(dlsym(RTLD_DEFAULT, kProbeLinkSymbol));
    const ProbeLink* link = function != nullptr ? function() : nullptr;
    if (link == nullptr || link->version != kVersion || link->region_size != sizeof(Region)) {
      return nullptr;
    }
    return link;
  }();
  return found;
}

}  // namespace loopscope::recording
