// SPDX-License-Identifier: Apache-2.0
#include "cli/check_report.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <ostream>
#include <span>
#include <utility>

#include "cli/check_report_parts.h"
#include "cli/report.h"
#include "cli/run_summary.h"
#include "cli/text_table.h"
#include "instrumentation/findings/blame.h"
#include "instrumentation/findings/text.h"

namespace loopscope::cli {
namespace {

using recording::StackFrame;

constexpr std::pair<std::string_view, ReportFormat> kFormats[] = {
    {"text", ReportFormat::kText},     {"json", ReportFormat::kJson},
    {"junit", ReportFormat::kJunit},   {"sarif", ReportFormat::kSarif},
    {"github", ReportFormat::kGithub},
};

/// The longer ones first: "x.sarif.json" is SARIF.
constexpr std::pair<std::string_view, ReportFormat> kExtensions[] = {
    {".sarif.json", ReportFormat::kSarif}, {".sarif", ReportFormat::kSarif},
    {".json", ReportFormat::kJson},        {".xml", ReportFormat::kJunit},
    {".txt", ReportFormat::kText},         {".log", ReportFormat::kText},
};

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

/// Where every program and thread begins.
bool is_start(const StackFrame& frame) {
  static constexpr std::string_view kNames[] = {"_start", "start_thread", "clone",
                                                "clone3", "__clone",      "__clone3"};
  return frame.function.starts_with("__libc_start") ||
         std::find(std::begin(kNames), std::end(kNames), frame.function) != std::end(kNames);
}

std::string hex(std::uint64_t number) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(number));
  return text;
}

ShownFrame shown(const CheckResult& result, const StackFrame& frame, bool first_look) {
  ShownFrame line;
  line.first_look = first_look;
  const std::string address =
      frame.module.empty() ? hex(frame.offset) : base_name(frame.module) + "+" + hex(frame.offset);
  if (!frame.file.empty()) {
    line.where = shown_file(result, frame.file);
    if (frame.line > 0) line.where += ":" + std::to_string(frame.line);
  } else {
    line.where = address;
  }
  // A script's top level has no name.
  const char* const nameless = frame.script ? "(top level)" : "(no name)";
  line.text = frame.function.empty()
                  ? nameless
                  : printable(std::string(findings::bare_function(frame.function)));
  line.where = printable(line.where);
  return line;
}

/// "… 3 frames of libev.so.4, libc.so.6".
ShownFrame folded(std::span<const StackFrame> run) {
  std::vector<std::string> modules;
  for (const StackFrame& frame : run) {
    const std::string name =
        frame.module.empty() ? "code of no file" : printable(base_name(frame.module));
    if (std::find(modules.begin(), modules.end(), name) == modules.end()) modules.push_back(name);
  }
  std::string text = "… " + counted(run.size(), "frame") + " of ";
  for (std::size_t i = 0; i < modules.size(); ++i) text += (i == 0 ? "" : ", ") + modules[i];
  return {text, "", false};
}

}  // namespace

std::optional<ReportFormat> report_format(std::string_view name) {
  for (const auto& [known, format] : kFormats) {
    if (known == name) return format;
  }
  return std::nullopt;
}

const char* report_format_name(ReportFormat format) {
  for (const auto& [name, known] : kFormats) {
    if (known == format) return name.data();
  }
  return "";
}

std::optional<ReportTarget> report_target(std::string_view text) {
  if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    if (const auto format = report_format(text.substr(0, colon))) {
      const std::string_view path = text.substr(colon + 1);
      if (path.empty()) return std::nullopt;
      return ReportTarget{*format, std::string(path)};
    }
  }
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const auto& [extension, format] : kExtensions) {
    if (lower.ends_with(extension)) return ReportTarget{format, std::string(text)};
  }
  return std::nullopt;
}

void write_check_report(std::ostream& out, const CheckResult& result, ReportFormat format,
                        const TextStyle& style) {
  switch (format) {
    case ReportFormat::kText:
      return write_check_text(out, result, style);
    case ReportFormat::kJson:
      return write_check_json(out, result);
    case ReportFormat::kJunit:
      return write_check_junit(out, result);
    case ReportFormat::kSarif:
      return write_check_sarif(out, result);
    case ReportFormat::kGithub:
      return write_check_github(out, result);
  }
}

const char* status_name(CheckedFinding::Status status) {
  switch (status) {
    case CheckedFinding::Status::kNew:
      return "new";
    case CheckedFinding::Status::kBaseline:
      return "baseline";
    case CheckedFinding::Status::kSuppressed:
      return "suppressed";
    case CheckedFinding::Status::kFewer:
      return "fewer";
  }
  return "new";
}

std::string shown_file(const CheckResult& result, const std::string& file) {
  std::string path = file;
  // What is no path ("node:fs", "<string>") stays.
  if (path.starts_with('/') || path.starts_with('.')) {
    path = std::filesystem::path(path).lexically_normal().string();
  }
  const std::string& root = result.root;
  if (!root.empty() && path.size() > root.size() + 1 && path.starts_with(root) &&
      path[root.size()] == '/') {
    return path.substr(root.size() + 1);
  }
  return path;
}

std::string end_text(const CheckResult& result) {
  if (result.timed_out) {
    return "was ended after " + findings::duration_text(result.duration_ns) + " (--timeout)";
  }
  return result.end.killed ? "was killed by " + signal_name(result.end.number)
                           : "exited with " + std::to_string(result.end.number);
}

std::string program_name(const CheckResult& result) {
  return result.argv.empty() || result.argv.front().empty() ? "the program" : result.argv.front();
}

std::string where_found(const CheckResult& result, const CheckedFinding& checked) {
  std::string text;
  if (checked.process < result.processes.size()) {
    const CheckedProcess& process = result.processes[checked.process];
    text = process.command + " (pid " + std::to_string(process.pid) + ")";
  }
  if (checked.processes > 1) {
    text += (text.empty() ? "" : " and ") + std::to_string(checked.processes - 1) +
            (checked.processes == 2 ? " process more" : " processes more");
  }
  return text;
}

std::size_t judged(const CheckResult& result) {
  return static_cast<std::size_t>(
      std::count_if(result.processes.begin(), result.processes.end(),
                    [](const CheckedProcess& process) { return process.unjudged.empty(); }));
}

std::vector<ShownFrame> shown_frames(const CheckResult& result, const findings::Place& place,
                                     std::size_t most) {
  std::vector<ShownFrame> lines;
  if (!place.stack || place.stack->empty() || most == 0) return lines;
  const std::vector<StackFrame>& stack = *place.stack;
  const auto is_first_look = [&](std::size_t i) { return place.frame && *place.frame == i; };
  const auto is_own = [&](std::size_t i) {
    return is_first_look(i) || findings::is_own_frame(stack[i]);
  };
  std::size_t end = stack.size();
  while (end > 1 && is_start(stack[end - 1]) && !is_first_look(end - 1)) --end;

  bool any_own = false;
  for (std::size_t i = 0; i < end; ++i) any_own = any_own || findings::is_own_frame(stack[i]);
  for (std::size_t i = 0; i < end;) {
    // Of a program of the system nothing is anybody's own: the innermost frames say most.
    if (!any_own || is_own(i)) {
      lines.push_back(shown(result, stack[i], is_first_look(i)));
      ++i;
      continue;
    }
    std::size_t next = i;
    while (next < end && !is_own(next)) ++next;
    // What the program's own code called is the last of the run.
    const std::size_t fold_end = next < end ? next - 1 : next;
    if (fold_end - i == 1) {
      lines.push_back(shown(result, stack[i], false));
    } else if (fold_end > i) {
      lines.push_back(folded(std::span(stack).subspan(i, fold_end - i)));
    }
    if (next < end) lines.push_back(shown(result, stack[fold_end], false));
    i = next;
  }
  if (lines.size() > most) {
    const std::size_t left = lines.size() - most;
    lines.resize(most);
    lines.push_back({"… " + counted(left, "caller") + " more", "", false});
  }
  return lines;
}

}  // namespace loopscope::cli
