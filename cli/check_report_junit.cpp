// SPDX-License-Identifier: Apache-2.0
//
// JUnit XML with the elements and attributes that Jenkins' xUnit plugin, its JUnit plugin and
// GitLab all accept. One suite; in it
//
//   classname           name         a test case
//   tests               program      how it ended: an error if it was not observed or timed out
//   worker              fd-leak      a rule, for the first process of that command
//   worker (2)          fd-leak      the same for the second: a pid would be new in every run
//   git                 judged       skipped: why it was not judged; once a command
//
// Rules that found nothing are cases too, so that a dashboard has a history. What was found and
// does not fail the run is in the case's output.
#include <algorithm>
#include <cstdio>
#include <map>
#include <ostream>
#include <set>
#include <sstream>
#include <utility>

#include "cli/check_report_parts.h"
#include "cli/report.h"
#include "instrumentation/findings/check_rules.h"
#include "instrumentation/snapshot/json.h"

namespace loopscope::cli {
namespace {

using Status = CheckedFinding::Status;

constexpr const char* kSuite = "loopscope check";

/// Processes without findings have cases up to here: who starts thousands does not want to see
/// each rule pass for each of them.
constexpr std::size_t kMostProcesses = 200;

/// `text` for XML: no characters that XML 1.0 forbids, in whatever encoding they come, and none
/// that mean something. Line feeds stay in content, and are written as references in attributes.
std::string xml(const std::string& text, bool attribute) {
  std::string clean;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = printable(text.substr(at, end - at));
    for (std::size_t i = 0; i < line.size(); ++i) {
      switch (line[i]) {
        case '&':
          clean += "&amp;";
          break;
        case '<':
          clean += "&lt;";
          break;
        case '>':  // "]]>" may not be in content
          clean += "&gt;";
          break;
        case '"':
          clean += "&quot;";
          break;
        case '\xEF':  // U+FFFE and U+FFFF are valid UTF-8, but not XML
          if (line.compare(i, 3, "\xEF\xBF\xBE") == 0 || line.compare(i, 3, "\xEF\xBF\xBF") == 0) {
            clean += '?';
            i += 2;
            break;
          }
          [[fallthrough]];
        default:
          clean += line[i];
      }
    }
    if (end == text.size()) break;
    clean += attribute ? "&#10;" : "\n";
    at = end + 1;
  }
  return clean;
}

struct Case {
  enum class Outcome { kPassed, kFailure, kError, kSkipped };
  std::string classname;
  std::string name;
  Outcome outcome = Outcome::kPassed;
  std::string type;
  std::string message;
  std::string body;
  std::string output;
  std::uint64_t took_ns = 0;
};

/// Seconds with three digits, whatever the locale.
std::string seconds(std::uint64_t ns) {
  char text[40];
  std::snprintf(text, sizeof text, "%llu.%03llu",
                static_cast<unsigned long long>(ns / 1'000'000'000),
                static_cast<unsigned long long>(ns / 1'000'000 % 1000));
  return text;
}

Case program_case(const CheckResult& result) {
  Case test;
  const std::string name = program_name(result);
  test.classname = result.processes.empty() ? name.substr(name.rfind('/') + 1)
                                            : result.processes.front().command;
  test.name = "program";
  test.took_ns = result.duration_ns;
  if (!result.unseen.empty()) {
    test.outcome = Case::Outcome::kError;
    test.type = "not-observed";
    test.message = "could not be observed: " + result.unseen;
  } else if (result.timed_out) {
    test.outcome = Case::Outcome::kError;
    test.type = "timeout";
    test.message = end_text(result);
  } else if (result.end.exit_status() != 0) {
    test.outcome = Case::Outcome::kFailure;
    test.type = "exit-status";
    test.message = end_text(result);
  }
  for (const std::string& note : result.notes) test.output += note + "\n";
  return test;
}

/// What does not fail the run, in a line.
std::string aside(const CheckedFinding& checked) {
  std::string text = findings::severity_name(checked.finding.severity);
  if (checked.status == Status::kSuppressed) text += ", suppressed by " + checked.suppressed_by;
  if (checked.status == Status::kBaseline) text += ", in the baseline";
  if (checked.status == Status::kFewer) text += ", fewer than --min-count";
  return text + ": " + checked.finding.title + "\n";
}

Case rule_case(const CheckResult& result, std::size_t process, const std::string& classname,
               const std::string& rule, const std::vector<const CheckedFinding*>& found) {
  Case test;
  test.classname = classname;
  test.name = rule;
  std::size_t failures = 0;
  for (const CheckedFinding* checked : found) {
    if (checked->finding.rule != rule) continue;
    if (!checked->fails) {
      test.output += aside(*checked);
      continue;
    }
    if (++failures == 1) test.message = checked->finding.title;
    // Told once; here it is the same again.
    if (checked->process != process) {
      test.body += checked->finding.title + "\nas in " + where_found(result, *checked) + "\n\n";
      continue;
    }
    std::ostringstream text;
    write_finding_text(text, result, *checked, {}, true);
    test.body += text.str() + "\n";
  }
  if (failures != 0) {
    test.outcome = Case::Outcome::kFailure;
    test.type = rule;
    if (failures > 1) test.message += " (and " + std::to_string(failures - 1) + " more)";
  }
  return test;
}

std::vector<std::string> listed_rules(const CheckResult& result) {
  std::vector<std::string> names;
  for (const findings::CheckRule& rule : findings::check_rules()) {
    const bool asked = !rule.budget || std::find(result.budgets.begin(), result.budgets.end(),
                                                 rule.name) != result.budgets.end();
    const bool found = std::any_of(
        result.findings.begin(), result.findings.end(),
        [&](const CheckedFinding& checked) { return checked.finding.rule == rule.name; });
    if (asked || found) names.emplace_back(rule.name);
  }
  for (const CheckedFinding& checked : result.findings) {
    if (std::find(names.begin(), names.end(), checked.finding.rule) == names.end()) {
      names.push_back(checked.finding.rule);
    }
  }
  return names;
}

std::vector<Case> cases_of(const CheckResult& result) {
  std::vector<Case> cases;
  cases.push_back(program_case(result));
  std::vector<std::vector<const CheckedFinding*>> found(result.processes.size());
  for (const CheckedFinding& checked : result.findings) {
    if (checked.process < found.size()) found[checked.process].push_back(&checked);
    for (const std::size_t other : checked.also_in) {
      if (other < found.size() && other != checked.process) found[other].push_back(&checked);
    }
  }
  const std::vector<std::string> rules = listed_rules(result);
  std::map<std::string, std::size_t> of_command;
  std::map<std::string, std::set<std::string>> skipped;  // by command: reasons
  std::size_t shown = 0, left_out = 0;
  for (std::size_t i = 0; i < result.processes.size(); ++i) {
    const CheckedProcess& process = result.processes[i];
    if (!process.unjudged.empty() && found[i].empty()) {
      skipped[process.command].insert(process.unjudged);
      continue;
    }
    const std::size_t number = ++of_command[process.command];
    if (shown >= kMostProcesses && found[i].empty()) {
      ++left_out;
      continue;
    }
    ++shown;
    const std::string classname =
        number == 1 ? process.command : process.command + " (" + std::to_string(number) + ")";
    for (const std::string& rule : rules) {
      cases.push_back(rule_case(result, i, classname, rule, found[i]));
    }
  }
  for (const auto& [command, reasons] : skipped) {
    Case test;
    test.classname = command;
    test.name = "judged";
    test.outcome = Case::Outcome::kSkipped;
    for (const std::string& reason : reasons) {
      test.message += (test.message.empty() ? "" : "; ") + reason;
    }
    cases.push_back(std::move(test));
  }
  if (left_out != 0) {
    cases.front().output +=
        std::to_string(left_out) + " more processes in which nothing was found are not listed\n";
  }
  return cases;
}

void write_case(std::ostream& out, const Case& test) {
  out << R"(    <testcase classname=")" << xml(test.classname, true) << R"(" name=")"
      << xml(test.name, true) << R"(" time=")" << seconds(test.took_ns) << '"';
  const bool empty = test.outcome == Case::Outcome::kPassed && test.output.empty();
  out << (empty ? "/>\n" : ">\n");
  if (empty) return;
  const char* element = nullptr;
  switch (test.outcome) {
    case Case::Outcome::kPassed:
      break;
    case Case::Outcome::kFailure:
      element = "failure";
      break;
    case Case::Outcome::kError:
      element = "error";
      break;
    case Case::Outcome::kSkipped:
      element = "skipped";
      break;
  }
  if (element != nullptr) {
    out << "      <" << element;
    if (!test.type.empty()) out << R"( type=")" << xml(test.type, true) << '"';
    out << R"( message=")" << xml(test.message, true) << '"';
    if (test.body.empty()) {
      out << "/>\n";
    } else {
      out << ">" << xml(test.body, false) << "</" << element << ">\n";
    }
  }
  if (!test.output.empty()) {
    out << "      <system-out>" << xml(test.output, false) << "</system-out>\n";
  }
  out << "    </testcase>\n";
}

}  // namespace

void write_check_junit(std::ostream& out, const CheckResult& result) {
  const std::vector<Case> cases = cases_of(result);
  const auto number_of = [&](Case::Outcome outcome) {
    return std::count_if(cases.begin(), cases.end(),
                         [&](const Case& test) { return test.outcome == outcome; });
  };
  const auto failures = number_of(Case::Outcome::kFailure);
  const auto errors = number_of(Case::Outcome::kError);
  const std::string took = seconds(result.duration_ns);
  out << R"(<?xml version="1.0" encoding="UTF-8"?>)"
      << "\n<testsuites name=\"" << kSuite << "\" tests=\"" << cases.size() << "\" failures=\""
      << failures << "\" errors=\"" << errors << "\" time=\"" << took << "\">\n"
      << "  <testsuite name=\"" << kSuite << "\" tests=\"" << cases.size() << "\" failures=\""
      << failures << "\" errors=\"" << errors << "\" skipped=\""
      << number_of(Case::Outcome::kSkipped) << "\" time=\"" << took << '"';
  // To the second, in UTC: some schemas want it without a zone.
  if (result.started_ns != 0) {
    out << " timestamp=\"" << snapshot::rfc3339(result.started_ns).substr(0, 19) << '"';
  }
  out << ">\n";
  for (const Case& test : cases) write_case(out, test);
  out << "  </testsuite>\n</testsuites>\n";
}

}  // namespace loopscope::cli
