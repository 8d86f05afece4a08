// SPDX-License-Identifier: Apache-2.0
//
// The forms in which `loopscope check` says what it found. docs/check.md has the JSON; the others
// are standards: JUnit XML as Jenkins and GitLab read it, SARIF 2.1.0 (OASIS), GitHub's workflow
// commands.
//
// Strings of programs (argv, paths, symbols) are made harmless for the form they go to. JSON and
// SARIF hold everything; the text is cut to what a person reads, GitHub's commands to what is new.
//
// Thread-safety: no state.
#pragma once

#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>

#include "cli/check_result.h"

namespace loopscope::cli {

enum class ReportFormat { kText, kJson, kJunit, kSarif, kGithub };

/// "text", "json", "junit", "sarif", "github".
std::optional<ReportFormat> report_format(std::string_view name);
const char* report_format_name(ReportFormat format);

/// -o FILE: "format:path", or by the path's extension (.json, .xml, .sarif, .sarif.json, .txt,
/// .log), in any case of letters. The path "-" is standard output. None: neither says which, or
/// there is no path.
struct ReportTarget {
  ReportFormat format = ReportFormat::kText;
  std::string path;
};
std::optional<ReportTarget> report_target(std::string_view text);

struct TextStyle {
  bool colour = false;
  /// Columns that running text is wrapped to; less than 40 is taken as 40. What is to be copied
  /// (paths, commands) and the verdict are never broken.
  int width = 100;
};

/// Worst first; the verdict, in one line, and what to do next come last. A run in which there was
/// nothing to say is that one line.
void write_check_text(std::ostream& out, const CheckResult& result, const TextStyle& style = {});
void write_check_json(std::ostream& out, const CheckResult& result);
void write_check_junit(std::ostream& out, const CheckResult& result);
void write_check_sarif(std::ostream& out, const CheckResult& result);
void write_check_github(std::ostream& out, const CheckResult& result);
void write_check_report(std::ostream& out, const CheckResult& result, ReportFormat format,
                        const TextStyle& style = {});

}  // namespace loopscope::cli
