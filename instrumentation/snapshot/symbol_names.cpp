// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/snapshot/symbol_names.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "instrumentation/symbols/as_user.h"
#include "instrumentation/symbols/memory_left.h"
#include "instrumentation/symbols/own_stack.h"
#include "instrumentation/symbols/symbolizer.h"

namespace loopscope::snapshot {
namespace {

/// Files that another user chose are his to make dear: a debug file of this size at the most is
/// read for him (beyond, names come without lines).
constexpr symbols::Limits kLimitsOfOthers = {
    .answers = 4096,
    .modules = 256,
    .loaded_bytes = std::uint64_t{64} << 20,
    .debug_bytes = std::uint64_t{256} << 20,
    .symbol_bytes = std::uint64_t{64} << 20,
};
constexpr std::size_t kMostOthers = 16;

/// Of what a limit leaves (ulimit -v) a part: libdw's tables come on top.
symbols::Options options_for_the_memory() {
  symbols::Options options;
  const std::uint64_t part = symbols::memory_left() / 8;
  auto& limits = options.limits;
  for (auto* each : {&limits.loaded_bytes, &limits.debug_bytes, &limits.symbol_bytes}) {
    *each = std::min(*each, part);
  }
  return options;
}

class SymbolNames final : public StackNames {
 public:
  std::vector<StackFrame> frames(const recording::SiteFrame& frame,
                                 const recording::ModuleRecord* module) override {
    if (module == nullptr || symbols::memory_left() < symbols::kLeastMemoryLeft) {
      return {unnamed_frame(frame, module)};
    }
    std::vector<symbols::Frame> found;
    stack_.call([&] {
      const symbols::AsUser user(module->as_user);
      if (!user.done()) return;
      found =
          symbolizer_of(module->as_user).resolve({module->path, module->build_id, frame.offset});
    });
    if (found.empty()) return {unnamed_frame(frame, module)};
    std::vector<StackFrame> named;
    for (symbols::Frame& each : found) {
      StackFrame one;
      one.function = std::move(each.function);
      one.file = std::move(each.file);
      one.line = each.line;
      one.module = std::move(each.module);
      one.offset = each.offset;
      one.inlined = each.inlined;
      named.push_back(std::move(one));
    }
    return named;
  }

 private:
  /// What one user's rights have read is not said to another. Called on the thread of `stack_`.
  symbols::Symbolizer& symbolizer_of(std::optional<std::uint32_t> user) {
    if (!user) return symbolizer_;
    if (of_others_.size() >= kMostOthers && !of_others_.contains(*user)) of_others_.clear();
    auto& symbolizer = of_others_[*user];
    if (!symbolizer) {
      symbols::Options options;
      options.limits = kLimitsOfOthers;
      symbolizer = std::make_unique<symbols::Symbolizer>(std::move(options));
    }
    return *symbolizer;
  }

  symbols::Symbolizer symbolizer_{options_for_the_memory()};  // has its own lock
  std::map<std::uint32_t, std::unique_ptr<symbols::Symbolizer>> of_others_;
  symbols::OwnStack stack_;  // ends before them
};

}  // namespace

std::shared_ptr<StackNames> symbol_names() { return std::make_shared<SymbolNames>(); }

}  // namespace loopscope::snapshot
