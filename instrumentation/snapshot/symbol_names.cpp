// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/snapshot/symbol_names.h"

#include <utility>

#include "instrumentation/symbols/own_stack.h"
#include "instrumentation/symbols/symbolizer.h"

namespace loopscope::snapshot {
namespace {

class SymbolNames final : public StackNames {
 public:
  std::vector<StackFrame> frames(const recording::SiteFrame& frame,
                                 const recording::ModuleRecord* module) override {
    if (module == nullptr) return {unnamed_frame(frame, module)};
    std::vector<symbols::Frame> found;
    stack_.call([&] {
      found = symbolizer_.resolve({module->path, module->build_id, frame.offset});
    });
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
  symbols::Symbolizer symbolizer_;  // has its own lock
  symbols::OwnStack stack_;
};

}  // namespace

std::shared_ptr<StackNames> symbol_names() { return std::make_shared<SymbolNames>(); }

}  // namespace loopscope::snapshot
