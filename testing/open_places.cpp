// SPDX-License-Identifier: Apache-2.0
#include "testing/open_places.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <optional>
#include <utility>

#include "instrumentation/findings/blame.h"
#include "instrumentation/recording/probe_link.h"
#include "instrumentation/recording/reader.h"
#include "instrumentation/symbols/own_stack.h"
#include "instrumentation/symbols/symbolizer.h"
#include "testing/own_descriptors.h"

namespace loopscope::testing {
namespace {

using recording::StackFrame;

/// A Reader of what the probe records of this process; none without a probe. Made for each use: a
/// forked child has another recording.
std::optional<recording::Reader> probe_reader() {
  const recording::ProbeLink* probe = recording::find_probe();
  recording::Region region;
  if (probe == nullptr || !probe->share(&region) || region.base == nullptr) return std::nullopt;
  auto reader = recording::Reader::attach(region.base, region.bytes, region.path, region.error);
  if (!reader) return std::nullopt;
  return *std::move(reader);
}

std::string own_executable() {
  std::array<char, 4096> path{};
  const ssize_t length = ::readlink("/proc/self/exe", path.data(), path.size());
  return length > 0 ? std::string(path.data(), static_cast<std::size_t>(length)) : "";
}

/// One for the process: what it read of a program's debug information serves all of its tests.
/// Never destroyed: static destructors may hold scopes.
class Names {
 public:
  static Names& shared() {
    static Names* const names = new Names;
    return *names;
  }

  std::vector<StackFrame> stack(const recording::Ledger& ledger,
                                const recording::SiteRecord& site) {
    // The symboliser opens files.
    const std::lock_guard lock(own_descriptors_mutex());
    std::vector<StackFrame> stack;
    for (const recording::ScriptFrame& script : site.scripts) {
      StackFrame frame;
      frame.function = script.function;
      frame.file = script.file;
      frame.line = static_cast<int>(script.line);
      frame.script = true;
      stack.push_back(std::move(frame));
    }
    // A test may run on a thread with a small stack. The thread of this one ends with the call, so
    // that a program without threads stays one.
    symbols::OwnStack own_stack;
    own_stack.call([&] {
      for (const recording::SiteFrame& frame : site.frames) append(ledger, frame, stack);
    });
    return stack;
  }

 private:
  void append(const recording::Ledger& ledger, const recording::SiteFrame& frame,
              std::vector<StackFrame>& stack) {
    if (!frame.module || *frame.module >= ledger.modules.size()) {
      StackFrame unnamed;
      unnamed.offset = frame.address;
      stack.push_back(std::move(unnamed));
      return;
    }
    const recording::ModuleRecord& module = ledger.modules[*frame.module];
    for (symbols::Frame& found :
         symbolizer_.resolve({module.path, module.build_id, frame.offset})) {
      StackFrame named;
      named.function = std::move(found.function);
      named.file = std::move(found.file);
      named.line = found.line;
      named.module = std::move(found.module);
      named.offset = found.offset;
      named.inlined = found.inlined;
      stack.push_back(std::move(named));
    }
  }

  symbols::Symbolizer symbolizer_;
};

FdFrame public_frame(const StackFrame& frame) {
  FdFrame one;
  one.function = frame.function;
  one.file = frame.file;
  one.line = frame.line;
  one.module = frame.module;
  one.offset = frame.offset;
  one.inlined = frame.inlined;
  one.script = frame.script;
  return one;
}

void put_place(FdLeak& leak, const std::vector<StackFrame>& stack, const std::string& executable) {
  for (const StackFrame& frame : stack) leak.stack.push_back(public_frame(frame));
  const findings::Blame blamed = findings::blame(stack, executable);
  if (!blamed.frame) return;
  leak.where = findings::place_name(stack[*blamed.frame]);
  leak.file = stack[*blamed.frame].file;
  leak.line = stack[*blamed.frame].line;
}

}  // namespace

ProbeState probe_state() {
  if (recording::find_probe() != nullptr) {
    return probe_reader() ? ProbeState::kPresent : ProbeState::kNotRecording;
  }
  return dlsym(RTLD_DEFAULT, recording::kProbeLinkSymbol) != nullptr ? ProbeState::kOtherVersion
                                                                     : ProbeState::kAbsent;
}

std::vector<std::uint32_t> generations(const std::vector<std::int32_t>& numbers) {
  std::vector<std::uint32_t> found;
  if (const auto reader = probe_reader()) found = reader->generations(numbers);
  found.resize(numbers.size());
  return found;
}

void find_places(std::vector<FdLeak>& leaks) {
  auto reader = probe_reader();
  if (!reader) return;
  recording::ReadOptions options;
  options.recent = 0;
  options.details = true;
  const auto snapshot = reader->read(options);
  if (!snapshot || !snapshot->ledger) return;
  const recording::Ledger& ledger = *snapshot->ledger;
  const std::string executable = own_executable();
  std::vector<std::pair<std::size_t, const FdLeak*>> named;  // a site, a leak that has its stack
  for (FdLeak& leak : leaks) {
    const auto record =
        std::lower_bound(ledger.fds.begin(), ledger.fds.end(), leak.fd,
                         [](const recording::FdRecord& a, int fd) { return a.fd < fd; });
    if (record == ledger.fds.end() || record->fd != leak.fd ||
        record->generation != leak.generation) {
      continue;
    }
    leak.thread_id = record->thread_id;
    if (leak.target.starts_with("socket:[")) {
      if (!record->peer.empty()) {
        leak.target = record->local + " -> " + record->peer;
      } else if (!record->local.empty()) {
        leak.target = record->local;
      }
    }
    if (!record->site || *record->site >= ledger.sites.size()) continue;
    const auto same = std::find_if(named.begin(), named.end(),
                                   [&](const auto& each) { return each.first == *record->site; });
    if (same != named.end()) {
      leak.stack = same->second->stack;
      leak.where = same->second->where;
      leak.file = same->second->file;
      leak.line = same->second->line;
      continue;
    }
    put_place(leak, Names::shared().stack(ledger, ledger.sites[*record->site]), executable);
    named.emplace_back(*record->site, &leak);
  }
}

}  // namespace loopscope::testing
