// SPDX-License-Identifier: Apache-2.0
//
// "loopscope.check/1": docs/check.md. A tree, as the summary of `loopscope run`: it is written
// once, at the end.
#include <nlohmann/json.hpp>
#include <ostream>

#include "cli/check_report_parts.h"
#include "instrumentation/snapshot/json.h"

namespace loopscope::cli {
namespace {

using Json = nlohmann::ordered_json;

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }
Json instant_or_null(std::uint64_t realtime_ns) {
  return realtime_ns == 0 ? Json() : Json(snapshot::rfc3339(realtime_ns));
}

const char* ending_name(CheckedProcess::Ending ending) {
  switch (ending) {
    case CheckedProcess::Ending::kExited:
      return "exited";
    case CheckedProcess::Ending::kKilled:
      return "killed";
    case CheckedProcess::Ending::kExec:
      return "exec";
    case CheckedProcess::Ending::kRunning:
      return "running";
  }
  return "exited";
}

Json process_json(const CheckedProcess& process) {
  using Ending = CheckedProcess::Ending;
  Json json;
  json["pid"] = process.pid;
  json["parent_pid"] = process.parent_pid;
  json["command"] = process.command;
  json["argv"] = process.argv;
  json["started_at"] = instant_or_null(process.started_ns);
  json["ended_at"] = instant_or_null(process.ended_ns);
  json["ending"] = ending_name(process.ending);
  json["status"] =
      process.ending == Ending::kExited && process.status >= 0 ? Json(process.status) : Json();
  json["signal"] =
      process.ending == Ending::kKilled && process.signal > 0 ? Json(process.signal) : Json();
  json["opened"] = process.opened;
  json["closed"] = process.closed;
  json["inherited"] = process.inherited;
  json["open_at_end"] = process.open_at_end;
  json["census"] = process.census;
  json["unjudged"] = text_or_null(process.unjudged);
  return json;
}

Json place_json(const CheckResult& result, const findings::Place& place) {
  Json stack = Json::array();
  if (place.stack) {
    for (const recording::StackFrame& frame : *place.stack) {
      stack.push_back({{"function", text_or_null(frame.function)},
                       {"file", frame.file.empty() ? Json() : Json(shown_file(result, frame.file))},
                       {"line", frame.line > 0 ? Json(frame.line) : Json()},
                       {"module", text_or_null(frame.module)},
                       {"offset", frame.offset != 0 ? Json(frame.offset) : Json()},
                       {"inlined", frame.inlined},
                       {"script", frame.script}});
    }
  }
  return {{"role", place.role},
          {"frame", place.frame ? Json(*place.frame) : Json()},
          {"stack", std::move(stack)}};
}

Json descriptor_json(const findings::FoundDescriptor& descriptor) {
  return {{"fd", descriptor.fd >= 0 ? Json(descriptor.fd) : Json()},
          {"kind", text_or_null(descriptor.kind)},
          {"target", text_or_null(descriptor.target)},
          {"local", text_or_null(descriptor.local)},
          {"peer", text_or_null(descriptor.peer)},
          {"opened_at", instant_or_null(descriptor.opened_ns)},
          {"thread_id", descriptor.thread_id != 0 ? Json(descriptor.thread_id) : Json()}};
}

Json finding_json(const CheckResult& result, const CheckedFinding& checked) {
  const findings::Finding& finding = checked.finding;
  Json json;
  json["rule"] = finding.rule;
  json["severity"] = findings::severity_name(finding.severity);
  json["status"] = status_name(checked.status);
  json["fails"] = checked.fails;
  json["suppressed_by"] = text_or_null(checked.suppressed_by);
  json["fingerprint"] = checked.fingerprint;
  json["process"] = checked.process;
  json["processes"] = checked.processes;
  json["title"] = finding.title;
  json["detail"] = finding.detail;
  json["advice"] = finding.advice;
  json["count"] = finding.count;
  json["kind"] = text_or_null(finding.kind);
  const bool of_module = !checked.module.empty() || checked.offset != 0;
  json["location"] = {{"function", text_or_null(checked.function)},
                      {"file", text_or_null(checked.file)},
                      {"line", checked.line > 0 ? Json(checked.line) : Json()},
                      {"module", text_or_null(checked.module)},
                      {"offset", of_module ? Json(checked.offset) : Json()}};
  json["places"] = Json::array();
  for (const findings::Place& place : finding.places) {
    json["places"].push_back(place_json(result, place));
  }
  json["descriptors"] = Json::array();
  for (const findings::FoundDescriptor& descriptor : finding.descriptors) {
    json["descriptors"].push_back(descriptor_json(descriptor));
  }
  return json;
}

}  // namespace

void write_check_json(std::ostream& out, const CheckResult& result) {
  const CheckCounts counts = count(result);
  Json json;
  json["schema"] = "loopscope.check/1";
  json["version"] = result.version;
  json["program"] = result.argv;
  json["pid"] = result.pid;
  json["started_at"] = instant_or_null(result.started_ns);
  json["duration_seconds"] = static_cast<double>(result.duration_ns) / 1e9;
  json["program_status"] = result.end.killed ? Json() : Json(result.end.number);
  json["program_signal"] = result.end.killed ? Json(result.end.number) : Json();
  json["timed_out"] = result.timed_out;
  json["exit_status"] = result.exit_status();
  json["unseen"] = text_or_null(result.unseen);
  json["strict"] = result.strict;
  json["counts"] = {{"errors", counts.errors},     {"warnings", counts.warnings},
                    {"infos", counts.infos},       {"suppressed", counts.suppressed},
                    {"baseline", counts.baseline}, {"fewer", counts.fewer}};
  json["processes"] = Json::array();
  for (const CheckedProcess& process : result.processes) {
    json["processes"].push_back(process_json(process));
  }
  json["findings"] = Json::array();
  for (const CheckedFinding& checked : result.findings) {
    json["findings"].push_back(finding_json(result, checked));
  }
  json["suppressions"] = Json::array();
  for (const UsedSuppression& used : result.suppressions) {
    json["suppressions"].push_back({{"name", used.name},
                                    {"reason", used.reason},
                                    {"source", used.source},
                                    {"findings", used.findings},
                                    {"descriptors", used.descriptors}});
  }
  json["unused_suppressions"] = result.unused_suppressions;
  json["baseline_gone"] = result.baseline_gone;
  json["notes"] = result.notes;
  // Names may be anything, UTF-8 or not.
  out << json.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
}

}  // namespace loopscope::cli
