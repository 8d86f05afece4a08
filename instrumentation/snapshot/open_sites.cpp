// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/snapshot/open_sites.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "instrumentation/recording/clock.h"

namespace loopscope::snapshot {
namespace {

using recording::Ledger;
using recording::ModuleRecord;
using recording::SiteFrame;
using recording::SiteRecord;

const ModuleRecord* module_of(const Ledger& ledger, const SiteFrame& frame) {
  return frame.module && *frame.module < ledger.modules.size() ? &ledger.modules[*frame.module]
                                                               : nullptr;
}

std::vector<StackFrame> stack_of(const Ledger& ledger, const SiteRecord& site, StackNames* names) {
  std::vector<StackFrame> stack;
  for (const recording::ScriptFrame& line : site.scripts) {
    StackFrame& frame = stack.emplace_back();
    frame.function = line.function;
    frame.file = line.file;
    frame.line = static_cast<int>(line.line);
    frame.script = true;
  }
  for (const SiteFrame& frame : site.frames) {
    const ModuleRecord* module = module_of(ledger, frame);
    if (names == nullptr) {
      stack.push_back(unnamed_frame(frame, module));
      continue;
    }
    for (StackFrame& named : names->frames(frame, module)) stack.push_back(std::move(named));
  }
  return stack;
}

}  // namespace

std::vector<StackFrame> named_stack(const Ledger& ledger, const SiteRecord& site,
                                    StackNames* names) {
  return stack_of(ledger, site, names);
}

StackFrame unnamed_frame(const SiteFrame& frame, const ModuleRecord* module) {
  StackFrame unnamed;
  unnamed.offset = module != nullptr ? frame.offset : frame.address;
  if (module != nullptr) unnamed.module = module->path;
  return unnamed;
}

NamingTime::NamingTime(std::uint64_t most_ns) {
  const std::uint64_t now = recording::monotonic_ns();
  constexpr std::uint64_t kEver = std::numeric_limits<std::uint64_t>::max();
  end_ns_ = most_ns < kEver - now ? now + most_ns : kEver;
}

bool NamingTime::spent() const { return recording::monotonic_ns() >= end_ns_; }

recording::Stack SiteBook::stack(const Ledger& ledger, std::size_t site, StackNames* names,
                                 const NamingTime& time) {
  stacks_.resize(std::max(stacks_.size(), ledger.sites.size()));
  Stack& stack = stacks_[site];
  if (!stack.named) {
    const bool name = names == nullptr || !time.spent();
    if (name || !stack.frames) {
      stack.frames = std::make_shared<const std::vector<StackFrame>>(
          stack_of(ledger, ledger.sites[site], name ? names : nullptr));
    }
    stack.named = name;
  }
  return stack.frames;
}

bool SiteBook::describe(ProcessSnapshot& process,
                        const std::function<bool(const recording::FdRecord&)>& is_open,
                        StackNames* names, const NamingTime& time) {
  const Ledger& ledger = *process.recording.ledger;
  std::vector<OpenSite> sites(ledger.sites.size());
  for (std::size_t id = 0; id < sites.size(); ++id) {
    const SiteRecord& record = ledger.sites[id];
    sites[id].id = id;
    sites[id].kind = record.kind;
    sites[id].opened = record.opened;
    sites[id].closed = record.closed;
    sites[id].peak = record.peak;
  }
  for (const recording::FdRecord& fd : ledger.fds) {
    if (!fd.site || *fd.site >= sites.size() || !is_open(fd)) continue;
    OpenSite& site = sites[*fd.site];
    ++site.live;
    if (fd.opened_ns != 0 && (!site.oldest_ns || fd.opened_ns < *site.oldest_ns)) {
      site.oldest_ns = fd.opened_ns;
    }
  }
  std::erase_if(sites, [](const OpenSite& site) { return site.opened == 0 && site.live == 0; });
  process.sites_total = sites.size();
  const auto shown = std::min(sites.size(), ProcessSnapshot::kMostSites);
  std::partial_sort(sites.begin(), sites.begin() + static_cast<std::ptrdiff_t>(shown), sites.end(),
                    [](const OpenSite& a, const OpenSite& b) {
                      return std::tuple(~a.live, ~a.opened, a.id) <
                             std::tuple(~b.live, ~b.opened, b.id);
                    });
  sites.erase(sites.begin() + static_cast<std::ptrdiff_t>(shown), sites.end());

  bool all_named = true;
  for (OpenSite& site : sites) {
    site.stack = stack(ledger, site.id, names, time);
    all_named = all_named && stacks_[site.id].named;
  }
  process.sites = std::move(sites);
  return all_named;
}

}  // namespace loopscope::snapshot
