// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/probe/places.h"

#include "instrumentation/probe/script_frames.h"

namespace loopscope::probe {

recording::SiteRef place_of(const StackStart& start, recording::SiteRole role, DescriptorKind kind,
                            std::uint64_t now_ns) noexcept {
  if (g_probe.stacks == Stacks::kOff) return 0;
  if (g_probe.stacks == Stacks::kCaller) {
    const std::uintptr_t frame = start.pc;
    return g_ledger.site(kind, &frame, 1, now_ns, nullptr, role);
  }
  constexpr int kMost = recording::kSiteFrames;
  std::uintptr_t frames[kMost];
  if (g_probe.scripts) [[unlikely]] {
    recording::ScriptStack scripts;
    script_frames(scripts);
    return g_ledger.site(kind, frames, unwind(start, frames, kMost), now_ns, &scripts, role);
  }
  // A forked child begins with no sites: a note of its parent's is not for it. Not 0, by the bit
  // on top.
  const std::uint32_t key = 1u << 31 | (g_probe.generation & 0x3F'FFFF) << 9 |
                            static_cast<std::uint32_t>(role) << 8 |
                            static_cast<std::uint32_t>(kind);
  if (const recording::SiteRef known = recall_note(start, kMost, key); known != 0) [[likely]]
    return known;
  const int count = unwind(start, frames, kMost);
  const recording::SiteRef site = g_ledger.site(kind, frames, count, now_ns, nullptr, role);
  if (site != 0) keep_note(start, frames, count, kMost, key, site);
  return site;
}

}  // namespace loopscope::probe
