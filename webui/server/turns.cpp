// SPDX-License-Identifier: Apache-2.0
#include "webui/server/turns.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "instrumentation/snapshot/json.h"
#include "webui/server/query.h"

namespace loopscope::webui {
namespace {

/// What is asked for.
struct Wanted {
  std::string process;  // its id: begins with the pid
  std::int32_t pid = 0;
  std::optional<std::uint32_t> loop;
  std::uint64_t from = 1;
  std::uint64_t to = std::numeric_limits<std::uint64_t>::max();
};

/// Null, or what is wrong with the query.
const char* read_query(std::string_view query, Wanted& wanted) {
  const char* wrong = nullptr;
  for_each_parameter(query, [&](std::string_view name, std::string_view coded) {
    const std::optional<std::string> value = decoded(coded);
    if (!value) {
      wrong = "there is a % without two hexadecimal digits after it: write %25";
    } else if (name == "process") {
      wanted.process = *value;
    } else if (name == "loop" && !read_number(*value, wanted.loop.emplace())) {
      wrong = "loop must be the id of a loop, as in the snapshot: loop=0";
    } else if (name == "from" && !read_number(*value, wanted.from)) {
      wrong = "from must be the number of a turn: from=1";
    } else if (name == "to" && !read_number(*value, wanted.to)) {
      wrong = "to must be the number of a turn: to=4096";
    }
    return wrong == nullptr;
  });
  if (wrong != nullptr) return wrong;
  const std::optional<std::int32_t> pid = pid_of_id(wanted.process);
  if (!pid) return "process must be the id of a process, as in the snapshot: process=1234-987654";
  wanted.pid = *pid;
  if (!wanted.loop) return "loop is missing: the id of a loop, as in the snapshot: loop=0";
  if (wanted.from > wanted.to) return "from must not be greater than to";
  return nullptr;
}

/// Leaves the turns that are asked for. How many of them there were that are not held any more.
std::uint64_t cut(recording::LoopSnapshot& loop, const Wanted& wanted) {
  // The one in progress is not finished, so not among them yet.
  const std::uint64_t finished = loop.iterations - (loop.current_ready ? 1 : 0);
  std::erase_if(loop.recent, [&wanted](const recording::Turn& turn) {
    return turn.turn < wanted.from || turn.turn > wanted.to;
  });
  const std::uint64_t first = std::max<std::uint64_t>(wanted.from, 1);
  const std::uint64_t last = std::min(wanted.to, finished);
  const std::uint64_t there = last >= first ? last - first + 1 : 0;
  return there > loop.recent.size() ? there - loop.recent.size() : 0;
}

}  // namespace

TurnsAnswer turns_answer(std::string_view query, const SnapshotProvider& provider) {
  Wanted wanted;
  if (const char* wrong = read_query(query, wanted)) return {400, "bad_request", wrong};
  SnapshotRequest request;
  request.recent = std::numeric_limits<std::size_t>::max();
  request.served = true;
  request.pid = wanted.pid;
  snapshot::HostSnapshot host = provider(request);
  bool known = false;
  for (snapshot::ProcessSnapshot& process : host.processes) {
    if (process.id() != wanted.process) continue;
    known = true;  // and may have another recording with the loop: the library's, the probe's
    for (recording::LoopSnapshot& loop : process.recording.loops) {
      if (loop.id != *wanted.loop) continue;
      const std::uint64_t lost = cut(loop, wanted);
      return {200, {}, snapshot::turns_to_json(host, process, loop, lost)};
    }
  }
  if (known) {
    return {404, "not_found", "that process has no loop " + std::to_string(*wanted.loop)};
  }
  return {404, "not_found",
          "there is no process with that id: /api/v1/snapshot names those that there are"};
}

}  // namespace loopscope::webui
