// SPDX-License-Identifier: Apache-2.0
//
// GitHub's workflow commands: a line each in the log of a step becomes an annotation of the commit.
// GitHub shows ten errors, ten warnings and ten notices of a step: the worst come first.
#include <ostream>
#include <string>
#include <string_view>

#include "cli/check_report_parts.h"
#include "cli/report.h"

namespace loopscope::cli {
namespace {

using findings::Severity;

/// In a property, ':' and ',' end it. Other control characters would go to a terminal.
std::string escaped(const std::string& text, bool property) {
  std::string clean;
  std::size_t from = 0;
  const auto copy_until = [&](std::size_t to) {
    clean += printable(text.substr(from, to - from));
    from = to + 1;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char* code = nullptr;
    switch (text[i]) {
      case '%':
        code = "%25";
        break;
      case '\r':
        code = "%0D";
        break;
      case '\n':
        code = "%0A";
        break;
      case ':':
        code = property ? "%3A" : nullptr;
        break;
      case ',':
        code = property ? "%2C" : nullptr;
        break;
      default:
        break;
    }
    if (code == nullptr) continue;
    copy_until(i);
    clean += code;
  }
  copy_until(text.size());
  return clean;
}

void write_command(std::ostream& out, const char* command, const std::string& file, int line,
                   const std::string& title, const std::string& message) {
  out << "::" << command << " ";
  if (!file.empty()) {
    out << "file=" << escaped(file, true) << ",";
    if (line > 0) out << "line=" << line << ",";
  }
  out << "title=" << escaped(title, true) << "::" << escaped(message, false) << "\n";
}

/// Null: it is not worth an annotation.
const char* command_of(Severity severity, bool strict) {
  switch (severity) {
    case Severity::kError:
      return "error";
    case Severity::kWarning:
      return "warning";
    case Severity::kInfo:
      break;
  }
  return strict ? "notice" : nullptr;
}

}  // namespace

void write_check_github(std::ostream& out, const CheckResult& result) {
  if (!result.unseen.empty()) {
    write_command(out, "error", "", 0, "loopscope check",
                  program_name(result) + " could not be observed: " + result.unseen);
  }
  if (result.timed_out) {
    write_command(out, "error", "", 0, "loopscope check",
                  program_name(result) + " " + end_text(result));
  }
  for (const CheckedFinding& checked : result.findings) {
    if (checked.status != CheckedFinding::Status::kNew) continue;
    const findings::Finding& finding = checked.finding;
    const char* const command = command_of(finding.severity, result.strict);
    if (command == nullptr) continue;
    std::string message = finding.title;
    if (!finding.detail.empty()) message += "\n" + finding.detail;
    if (!finding.advice.empty()) message += "\n" + finding.advice;
    if (result.processes.size() > 1) message += "\nIn " + where_found(result, checked) + ".";
    write_command(out, command, checked.file, checked.line, "loopscope: " + finding.rule, message);
  }
}

}  // namespace loopscope::cli
