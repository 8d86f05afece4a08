// SPDX-License-Identifier: Apache-2.0
//
// Where a call was made, as a site of the ledger.
//
// Any thread, also in signal handlers; errno is kept. Cost: 15 ns for a stack that is known, else
// that of unwinding it and 20 ns. With `scripts`, what script_frames() takes beside.
#pragma once

#include "instrumentation/probe/probe.h"

namespace loopscope::probe {

/// `kind`: of SiteRole::kOpen. 0 where stacks are not asked for.
recording::SiteRef place_of(const StackStart& start, recording::SiteRole role, DescriptorKind kind,
                            std::uint64_t now_ns) noexcept;

/// The place of a call that closes or uses a descriptor.
inline recording::SiteRef call_site(const StackStart& start, std::uint64_t now_ns) noexcept {
  return place_of(start, recording::SiteRole::kCall, DescriptorKind::kOther, now_ns);
}

}  // namespace loopscope::probe
