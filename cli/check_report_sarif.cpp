// SPDX-License-Identifier: Apache-2.0
//
// SARIF 2.1.0, one run. Where a finding's parts go:
//
//   title, detail, advice    message
//   first place, its frame   locations; GitHub refuses a file with a result that names no file, so
//                            one without a line names the module, else the program
//   other places             relatedLocations
//   stacks                   stacks (all frames) and codeFlows (those with a line, callers first),
//                            which is what GitHub shows
//   status                   suppressions (also of what --min-count excuses), baselineState
//
// The standard wants `suppressions` for all results of a run or for none, and braces doubled in
// messages, where single ones stand for arguments.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <ostream>

#include "cli/check_report_parts.h"
#include "cli/report.h"
#include "instrumentation/findings/check_rules.h"
#include "instrumentation/snapshot/json.h"

namespace loopscope::cli {
namespace {

using Json = nlohmann::ordered_json;
using findings::Severity;
using recording::StackFrame;
using Status = CheckedFinding::Status;

constexpr const char* kSchema =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
constexpr const char* kRoot = "SRCROOT";

const char* level_of(Severity severity) {
  switch (severity) {
    case Severity::kError:
      return "error";
    case Severity::kWarning:
      return "warning";
    case Severity::kInfo:
      break;
  }
  return "note";
}

Json message(const std::string& text) {
  std::string doubled;
  for (const char c : text) {
    doubled += c;
    if (c == '{' || c == '}') doubled += c;
  }
  return {{"text", doubled}};
}

/// A path in a URI: everything but the unreserved characters and '/' is encoded, byte by byte.
std::string encoded(const std::string& path) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  constexpr std::string_view kUnreserved =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
  std::string uri;
  for (const char c : path) {
    if (kUnreserved.find(c) != std::string_view::npos) {
      uri += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    uri += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return uri;
}

Json artifact(const std::string& path) {
  if (path.starts_with('/')) return {{"uri", "file://" + encoded(path)}};
  return {{"uri", encoded(path)}, {"uriBaseId", kRoot}};
}

/// "<string>", "[eval]", "(eval)", "node:fs": code that is in no file.
bool is_file(const std::string& path) {
  return !path.empty() && std::string_view("<[(").find(path.front()) == std::string_view::npos &&
         !path.starts_with("node:");
}

/// Null: there is nothing to say. `file` as shown_file() has it.
Json location(const CheckResult& result, const std::string& file, int line,
              const std::string& function, const std::string& module, std::uint64_t offset) {
  Json json;
  if (is_file(file)) {
    json["physicalLocation"]["artifactLocation"] = artifact(file);
    if (line > 0) json["physicalLocation"]["region"]["startLine"] = line;
  } else if (file.empty() && !module.empty()) {
    json["physicalLocation"]["artifactLocation"] = artifact(shown_file(result, module));
    json["physicalLocation"]["address"] = {{"relativeAddress", offset}, {"kind", "instruction"}};
  }
  if (!function.empty()) {
    json["logicalLocations"] = {{{"fullyQualifiedName", function}, {"kind", "function"}}};
  }
  return json;
}

Json frame_location(const CheckResult& result, const StackFrame& frame) {
  return location(result, frame.file.empty() ? "" : shown_file(result, frame.file), frame.line,
                  frame.function, frame.module, frame.offset);
}

/// Of a finding of which no place is known: its process.
Json process_artifact(const CheckResult& result, const CheckedFinding& checked) {
  std::string path = program_name(result);
  if (checked.process < result.processes.size()) {
    const CheckedProcess& process = result.processes[checked.process];
    path = process.argv.empty() || process.argv.front().find('/') == std::string::npos
               ? process.command
               : process.argv.front();
  }
  path = std::filesystem::path(path).lexically_normal().string();
  return artifact(path.empty() ? "unknown" : path);
}

Json primary_location(const CheckResult& result, const CheckedFinding& checked) {
  Json json = location(result, checked.file, checked.line, checked.function, checked.module,
                       checked.offset);
  if (!json.contains("physicalLocation")) {
    json["physicalLocation"]["artifactLocation"] = process_artifact(result, checked);
  }
  return json;
}

Json stack_json(const CheckResult& result, const findings::Place& place) {
  Json frames = Json::array();
  for (const StackFrame& frame : *place.stack) {
    Json json = Json::object();
    if (Json at = frame_location(result, frame); !at.is_null()) json["location"] = std::move(at);
    if (!frame.module.empty()) json["module"] = frame.module;
    frames.push_back(std::move(json));
  }
  return {{"message", message(place.role)}, {"frames", std::move(frames)}};
}

/// Null: no frame has a line.
Json code_flow(const CheckResult& result, const findings::Place& place) {
  Json steps = Json::array();
  for (auto frame = place.stack->rbegin(); frame != place.stack->rend(); ++frame) {
    if (!is_file(frame->file) || frame->line <= 0) continue;
    Json at = frame_location(result, *frame);
    at["message"] = message(frame->function.empty() ? place.role : frame->function);
    steps.push_back({{"location", std::move(at)}});
  }
  if (steps.empty()) return {};
  return {{"message", message(place.role)}, {"threadFlows", {{{"locations", std::move(steps)}}}}};
}

void add_places(Json& json, const CheckResult& result, const findings::Finding& finding) {
  Json related = Json::array(), stacks = Json::array(), flows = Json::array();
  for (std::size_t i = 0; i < finding.places.size(); ++i) {
    const findings::Place& place = finding.places[i];
    if (!place.stack || place.stack->empty()) continue;
    stacks.push_back(stack_json(result, place));
    if (Json flow = code_flow(result, place); !flow.is_null()) flows.push_back(std::move(flow));
    if (i == 0 || !place.frame || *place.frame >= place.stack->size()) continue;
    Json at = frame_location(result, (*place.stack)[*place.frame]);
    if (!at.contains("physicalLocation")) continue;
    at["id"] = i;
    at["message"] = message(place.role);
    related.push_back(std::move(at));
  }
  if (!related.empty()) json["relatedLocations"] = std::move(related);
  if (!stacks.empty()) json["stacks"] = std::move(stacks);
  if (!flows.empty()) json["codeFlows"] = std::move(flows);
}

Json suppressions_of(const CheckResult& result, const CheckedFinding& checked) {
  Json all = Json::array();
  if (checked.status == Status::kFewer) {
    all.push_back({{"kind", "external"}, {"justification", "fewer than --min-count"}});
  }
  if (checked.status != Status::kSuppressed) return all;
  std::string why = checked.suppressed_by;
  for (const UsedSuppression& used : result.suppressions) {
    if (used.name != checked.suppressed_by) continue;
    if (!used.reason.empty()) why += ": " + used.reason;
    if (!used.source.empty()) why += " (" + used.source + ")";
    break;
  }
  all.push_back({{"kind", "external"}, {"status", "accepted"}, {"justification", why}});
  return all;
}

std::string message_text(const CheckResult& result, const CheckedFinding& checked) {
  const findings::Finding& finding = checked.finding;
  std::string text = finding.title + (finding.title.ends_with('.') ? "" : ".");
  if (!finding.detail.empty()) text += "\n" + finding.detail;
  if (!finding.advice.empty()) text += "\n" + finding.advice;
  if (result.processes.size() > 1) text += "\nIn " + where_found(result, checked) + ".";
  return text;
}

Json result_json(const CheckResult& result, const CheckedFinding& checked, std::size_t rule_index) {
  const findings::Finding& finding = checked.finding;
  Json json;
  json["ruleId"] = finding.rule;
  json["ruleIndex"] = rule_index;
  json["level"] = level_of(finding.severity);
  json["message"] = message(message_text(result, checked));
  json["locations"] = Json::array({primary_location(result, checked)});
  add_places(json, result, finding);
  if (!checked.fingerprint.empty()) {
    json["partialFingerprints"] = {{"loopscope/v1", checked.fingerprint}};
  }
  json["suppressions"] = suppressions_of(result, checked);
  if (result.baseline) {
    json["baselineState"] = checked.status == Status::kBaseline ? "unchanged" : "new";
  }
  json["properties"] = {{"count", finding.count},
                        {"descriptorKind", finding.kind},
                        {"processes", checked.processes},
                        {"failsRun", checked.fails}};
  return json;
}

Json rule_json(const findings::CheckRule& rule) {
  const std::string help = std::string(rule.meaning) + "\n\n" + rule.advice;
  return {{"id", rule.name},
          {"shortDescription", message(rule.summary)},
          {"fullDescription", message(rule.meaning)},
          {"help", {{"text", message(help)["text"]}, {"markdown", message(help)["text"]}}},
          {"defaultConfiguration", {{"level", level_of(rule.severity)}}},
          {"properties", {{"tags", {rule.budget ? "event-loop" : "file-descriptor"}}}}};
}

Json invocation_json(const CheckResult& result) {
  Json json;
  json["executionSuccessful"] = result.unseen.empty();
  json["exitCode"] = result.exit_status();
  if (result.started_ns != 0) {
    json["startTimeUtc"] = snapshot::rfc3339(result.started_ns);
    json["endTimeUtc"] = snapshot::rfc3339(result.started_ns + result.duration_ns);
  }
  Json notifications = Json::array();
  if (!result.unseen.empty()) {
    notifications.push_back(
        {{"level", "error"},
         {"message", message(program_name(result) + " could not be observed: " + result.unseen)}});
  }
  if (result.timed_out) {
    notifications.push_back(
        {{"level", "error"}, {"message", message(program_name(result) + " " + end_text(result))}});
  }
  for (const std::string& note : result.notes) {
    notifications.push_back({{"level", "note"}, {"message", message(note)}});
  }
  if (!notifications.empty()) json["toolExecutionNotifications"] = std::move(notifications);
  json["properties"] = {{"program", result.argv}, {"programEnd", end_text(result)}};
  return json;
}

}  // namespace

void write_check_sarif(std::ostream& out, const CheckResult& result) {
  Json rules = Json::array();
  for (const findings::CheckRule& rule : findings::check_rules()) rules.push_back(rule_json(rule));
  Json results = Json::array();
  for (const CheckedFinding& checked : result.findings) {
    std::size_t index = 0;
    while (index < rules.size() && rules[index]["id"] != checked.finding.rule) ++index;
    if (index == rules.size()) rules.push_back({{"id", checked.finding.rule}});
    results.push_back(result_json(result, checked, index));
  }

  Json driver;
  driver["name"] = "loopscope";
  driver["version"] = result.version;
  driver["rules"] = std::move(rules);
  Json run;
  run["tool"]["driver"] = std::move(driver);
  run["invocations"] = Json::array({invocation_json(result)});
  if (!result.root.empty()) {
    run["originalUriBaseIds"][kRoot]["uri"] = "file://" + encoded(result.root) + "/";
  } else {
    run["originalUriBaseIds"][kRoot]["description"] = message("The root of the repository.");
  }
  run["results"] = std::move(results);
  const Json log{{"$schema", kSchema}, {"version", "2.1.0"}, {"runs", Json::array({run})}};
  out << log.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
}

}  // namespace loopscope::cli
