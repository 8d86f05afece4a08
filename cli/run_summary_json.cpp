// SPDX-License-Identifier: Apache-2.0
//
// A small document, so it is built as a tree (unlike the snapshot's, see snapshot/json.cpp).
#include <nlohmann/json.hpp>

#include "cli/run_summary.h"
#include "instrumentation/findings/finding.h"
#include "instrumentation/snapshot/json.h"

namespace loopscope::cli {
namespace {

using Json = nlohmann::ordered_json;
using recording::Histogram;
using recording::LoopSnapshot;
using snapshot::ProcessSnapshot;

double seconds(std::uint64_t ns) { return static_cast<double>(ns) / 1e9; }

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

Json distribution(const Histogram& histogram) {
  Json json{{"count", histogram.count}, {"p50", nullptr}, {"p99", nullptr}, {"max", nullptr}};
  if (histogram.count == 0) return json;
  json["p50"] = histogram.quantile(0.5) / 1e9;
  json["p99"] = histogram.quantile(0.99) / 1e9;
  json["max"] = seconds(histogram.max);
  return json;
}

Json loop_json(const LoopSnapshot& loop) {
  const snapshot::LoopTimes times = snapshot::loop_times(loop);
  Json json;
  json["id"] = loop.id;
  json["name"] = loop.name;
  json["backend"] = loop.backend;
  json["thread_id"] = loop.thread_id;
  json["epoll_fd"] = loop.epoll_fd >= 0 ? Json(loop.epoll_fd) : Json();
  json["iterations"] = loop.iterations;
  json["ready_events"] = loop.ready_events;
  json["busy_seconds"] = seconds(times.busy_ns);
  json["idle_seconds"] = seconds(times.idle_ns);
  json["utilization"] = or_null(times.utilization);
  json["stalls"] = loop.stalls;
  json["busy_turn_seconds"] = distribution(loop.busy);
  json["poll_delay_seconds"] = distribution(loop.poll_delay);
  json["timer_lag_seconds"] = distribution(loop.timer_lag);
  return json;
}

const char* state_name(Fate::Kind kind) {
  switch (kind) {
    case Fate::Kind::kRunning:
      return "running";
    case Fate::Kind::kExited:
      return "exited";
    case Fate::Kind::kKilled:
      return "killed";
    case Fate::Kind::kExec:
      return "exec";
  }
  return "";
}

Json process_json(const ProcessSnapshot& process, const Fate& fate) {
  const recording::RecordingSnapshot& recording = process.recording;
  const std::uint64_t end =
      recording.life == recording::Life::kRunning ? recording.taken_ns : recording.ended_ns;
  Json json;
  json["id"] = process.id();
  json["pid"] = recording.pid;
  json["parent_pid"] = recording.parent_pid;
  json["command"] = recording.command;
  json["argv"] = recording.argv;
  json["started_at"] = snapshot::rfc3339(recording.started_ns);
  json["duration_seconds"] =
      end > recording.started_ns ? Json(seconds(end - recording.started_ns)) : Json();
  json["state"] = state_name(fate.kind);
  json["exit_status"] = fate.status >= 0 ? Json(fate.status) : Json();
  json["signal"] = fate.signal != 0 ? Json(signal_name(fate.signal)) : Json();
  json["recording"] = text_or_null(recording.path);
  json["error"] = text_or_null(recording.error);
  json["loops"] = Json::array();
  for (const LoopSnapshot& loop : recording.loops) json["loops"].push_back(loop_json(loop));
  json["fds"] = {{"opened", or_null(process.fds.opened)},
                 {"closed", or_null(process.fds.closed)},
                 {"open", or_null(process.fds.open)}};
  json["findings"] = Json::array();
  for (const findings::Finding& finding : process.findings) {
    json["findings"].push_back({{"rule", finding.rule},
                                {"severity", findings::severity_name(finding.severity)},
                                {"title", finding.title},
                                {"count", finding.count},
                                {"subject", finding.subject}});
  }
  return json;
}

}  // namespace

std::string run_summary_json(const RunOutcome& outcome, const snapshot::HostSnapshot& host) {
  Json json;
  json["schema"] = "loopscope.run/1";
  json["version"] = host.version;
  json["argv"] = outcome.argv;
  json["pid"] = outcome.pid;
  json["started_at"] = snapshot::rfc3339(outcome.started_ns);
  json["duration_seconds"] = seconds(outcome.duration_ns);
  json["state"] = outcome.end.killed ? "killed" : "exited";
  json["exit_status"] = outcome.end.killed ? Json() : Json(outcome.end.number);
  json["signal"] = outcome.end.killed ? Json(signal_name(outcome.end.number)) : Json();
  json["url"] = text_or_null(outcome.url);
  json["unseen"] = text_or_null(outcome.unseen);
  json["processes"] = Json::array();
  for (const ProcessSnapshot* process : summary_order(host, outcome.pid)) {
    json["processes"].push_back(process_json(*process, fate_of(*process, outcome, host)));
  }
  const snapshot::FoldedProcesses& folded = host.folded;
  json["folded"] = {{"processes", folded.count},   {"exited", folded.exited},
                    {"killed", folded.killed},     {"fds_opened", folded.opened},
                    {"fds_closed", folded.closed}, {"fds_open_at_end", folded.open_at_end}};
  json["unreadable"] = Json::array();
  for (const snapshot::Unreadable& unreadable : host.unreadable) {
    json["unreadable"].push_back({{"path", unreadable.path}, {"error", unreadable.error}});
  }
  // Names may be anything, UTF-8 or not.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace loopscope::cli
