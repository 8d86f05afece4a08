// SPDX-License-Identifier: Apache-2.0
//
// /api/v1/turns: the turns of one loop that its ring still holds, with what was served in each.
//
// Thread-safety: no state. Cost: a snapshot of the process, and 1 µs a turn.
#pragma once

#include <string>
#include <string_view>

#include "webui/server/stream_hub.h"

namespace loopscope::webui {

/// With status 200 `text` is the JSON; else it says what is wrong, `code` in a word.
struct TurnsAnswer {
  int status = 200;
  std::string_view code;
  std::string text;
};

/// `query`: process=ID&loop=ID[&from=N][&to=N], in any order. Throws what the provider throws.
TurnsAnswer turns_answer(std::string_view query, const SnapshotProvider& provider);

}  // namespace loopscope::webui
