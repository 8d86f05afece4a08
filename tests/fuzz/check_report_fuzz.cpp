// SPDX-License-Identifier: Apache-2.0
//
// Reports of `loopscope check` over findings whose every text an attacker chose: JSON and SARIF are
// JSON, JUnit holds nothing that XML forbids, GitHub's commands stay one a line and begin none of
// the program's, the text holds no control character for the terminal.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/check_report.h"
#include "tests/fuzz/must.h"

namespace {

using namespace loopscope;
using namespace loopscope::cli;
using fuzz::must;

CheckResult some_result(FuzzedDataProvider& input) {
  const auto text = [&input] { return input.ConsumeRandomLengthString(40); };
  CheckResult result;
  result.version = "fuzz";
  result.argv = {text(), text()};
  result.root = text();
  result.unseen = input.ConsumeBool() ? text() : "";
  result.notes = {text()};
  result.started_ns = input.ConsumeIntegral<std::uint64_t>();
  result.duration_ns = input.ConsumeIntegral<std::uint64_t>();
  const std::size_t processes = input.ConsumeIntegralInRange<std::size_t>(1, 3);
  for (std::size_t i = 0; i < processes; ++i) {
    CheckedProcess process;
    process.pid = input.ConsumeIntegral<std::int32_t>();
    process.command = text();
    process.argv = {text(), text()};
    process.ending =
        input.PickValueInArray({CheckedProcess::Ending::kExited, CheckedProcess::Ending::kKilled,
                                CheckedProcess::Ending::kExec, CheckedProcess::Ending::kRunning});
    process.signal = input.ConsumeIntegral<std::int8_t>();
    process.status = input.ConsumeIntegral<std::int8_t>();
    process.unjudged = input.ConsumeBool() ? text() : "";
    result.processes.push_back(std::move(process));
  }
  const std::size_t findings = input.ConsumeIntegralInRange<std::size_t>(0, 3);
  for (std::size_t i = 0; i < findings; ++i) {
    CheckedFinding checked;
    findings::Finding& finding = checked.finding;
    finding.rule = input.PickValueInArray({"fd-leak", "double-close", "stall-budget", ""});
    finding.severity = input.PickValueInArray(
        {findings::Severity::kInfo, findings::Severity::kWarning, findings::Severity::kError});
    finding.title = text();
    finding.detail = text();
    finding.advice = text();
    finding.subject = text();
    finding.kind = text();
    finding.count = input.ConsumeIntegral<std::uint64_t>();
    recording::StackFrame frame;
    frame.function = text();
    frame.file = text();
    frame.module = text();
    frame.line = input.ConsumeIntegral<std::int16_t>();
    finding.places = {
        {text(), std::make_shared<const std::vector<recording::StackFrame>>(2, frame), 0}};
    finding.descriptors = {{3, text(), text(), text(), text(), 0, 0}};
    checked.process = input.ConsumeIntegralInRange<std::size_t>(0, processes - 1);
    checked.fingerprint = "0123456789abcdef";
    checked.status = input.PickValueInArray(
        {CheckedFinding::Status::kNew, CheckedFinding::Status::kBaseline,
         CheckedFinding::Status::kSuppressed, CheckedFinding::Status::kFewer});
    checked.fails = input.ConsumeBool();
    checked.file = text();
    checked.line = input.ConsumeIntegral<std::int16_t>();
    checked.function = text();
    checked.module = text();
    result.findings.push_back(std::move(checked));
  }
  result.suppressions = {{text(), text(), text(), 1, 1}};
  result.unused_suppressions = {text()};
  return result;
}

bool is_control(char c) { return (c >= 0 && c < ' ') || c == 0x7f; }

bool xml_may_hold(char c) { return !is_control(c) || c == '\n' || c == '\t' || c == '\r'; }

bool ours(std::string_view command) {
  constexpr std::string_view kOurs[] = {"::error ", "::warning ", "::notice "};
  return std::any_of(std::begin(kOurs), std::end(kOurs),
                     [command](std::string_view one) { return command.starts_with(one); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  const CheckResult result = some_result(input);
  const auto written = [&result](ReportFormat format) {
    std::ostringstream out;
    write_check_report(out, result, format);
    return out.str();
  };
  must(nlohmann::json::accept(written(ReportFormat::kJson)), "JSON is JSON");
  must(nlohmann::json::accept(written(ReportFormat::kSarif)), "SARIF is JSON");
  const std::string xml = written(ReportFormat::kJunit);
  must(std::all_of(xml.begin(), xml.end(), xml_may_hold), "XML holds what XML may");
  const std::string text = written(ReportFormat::kText);
  must(std::all_of(text.begin(), text.end(), [](char c) { return c == '\n' || !is_control(c); }),
       "text moves no cursor");
  const std::string github = written(ReportFormat::kGithub);
  for (std::size_t at = 0; (at = github.find("::", at)) != std::string::npos; ++at) {
    if (at != 0 && github[at - 1] != '\n') continue;
    must(ours(std::string_view(github).substr(at)), "no command but ours");
  }
  return 0;
}
