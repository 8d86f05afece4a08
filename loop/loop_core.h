// SPDX-License-Identifier: Apache-2.0
//
// What a loopscope::Loop and its watchers share.
#pragma once

#include <ev.h>

#include <exception>

#include "loop/instrument.h"

namespace loopscope::detail {

struct LoopCore {
  struct ev_loop* loop = nullptr;
  Instrument* instrument = nullptr;
  std::exception_ptr thrown;  // by a callback; run() throws it on

  /// In a catch block of a callback: libev's C frames must not be unwound (they would leave its
  /// state half-way), so the exception is kept and the innermost run ended.
  void caught() noexcept {
    if (!thrown) thrown = std::current_exception();
    ev_break(loop, EVBREAK_ONE);
  }
};

}  // namespace loopscope::detail
