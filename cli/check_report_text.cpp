// SPDX-License-Identifier: Apache-2.0
//
//   error[fd-leak]: 3 TCP sockets opened at Client::connect (client.cpp:42) were never closed; …
//     --> src/client.cpp:42
//     in worker (pid 4243) and 2 processes more
//
//     opened at
//       > Client::connect  src/client.cpp:42
//         main  src/main.cpp:7
//
//     fd  what                                opened
//      5  127.0.0.1:40112 -> 127.0.0.1:5432   0.8 s after start
//
//     The evidence, wrapped.
//     help: What to do, once a rule.
//
//   info[fd-kept]: a line each
//
//   loopscope check: 1 error, 1 info in 3 processes; ./tests exited with 0 -> exit 1
//   next: …
//
// The verdict comes late because the end of a log is what people see first.
#include <algorithm>
#include <cstdio>
#include <map>
#include <ostream>
#include <set>
#include <utility>

#include "cli/check_report_parts.h"
#include "cli/report.h"
#include "cli/text_table.h"
#include "instrumentation/findings/blame.h"
#include "instrumentation/findings/check_rules.h"
#include "instrumentation/findings/text.h"

namespace loopscope::cli {
namespace {

using findings::Severity;
using Status = CheckedFinding::Status;

/// Nobody reads further in a terminal; -o json:FILE has everything.
constexpr std::size_t kInFull = 20;
constexpr std::size_t kInALine = 20;
constexpr std::size_t kDescriptors = 4;
constexpr std::size_t kFrames = 12;
constexpr std::size_t kNamed = 8;  // suppressions, modules, reasons in one line
constexpr std::size_t kLongestCommand = 200;
constexpr int kNarrowest = 40;

constexpr const char* kBold = "1";
constexpr const char* kRed = "1;31";
constexpr const char* kYellow = "1;33";
constexpr const char* kGreen = "1;32";
constexpr const char* kBlue = "1;34";
constexpr const char* kDim = "2";

std::string painted(const TextStyle& style, const char* colour, const std::string& text) {
  return style.colour ? std::string("\x1b[") + colour + "m" + text + "\x1b[0m" : text;
}

const char* colour_of(Severity severity) {
  switch (severity) {
    case Severity::kError:
      return kRed;
    case Severity::kWarning:
      return kYellow;
    case Severity::kInfo:
      break;
  }
  return kBlue;
}

/// Columns, not bytes: "µs" is two.
std::size_t columns(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::size_t width_of(const TextStyle& style) {
  return static_cast<std::size_t>(std::max(style.width, kNarrowest));
}

/// `text` in lines of the style's width, the first after `first` (which is written as it is, and
/// counts as `first_columns`), the others after `indent` spaces. A word that is longer than a line
/// is not broken: it may be a path to be copied.
void write_wrapped(std::ostream& out, const TextStyle& style, const std::string& first,
                   std::size_t first_columns, std::size_t indent, const std::string& text) {
  out << first;
  const std::string clean = printable(text);
  std::size_t column = first_columns;
  bool at_start = true;  // of a line: no space is due
  for (std::size_t at = 0; (at = clean.find_first_not_of(' ', at)) != std::string::npos;) {
    const std::size_t end = std::min(clean.find(' ', at), clean.size());
    const std::string word = clean.substr(at, end - at);
    std::size_t needed = columns(word) + (at_start ? 0 : 1);
    if (!at_start && column + needed > width_of(style)) {
      out << "\n" << std::string(indent, ' ');
      column = indent;
      at_start = true;
      --needed;
    }
    out << (at_start ? "" : " ") << word;
    column += needed;
    at_start = false;
    at = end;
  }
  out << "\n";
}

void write_paragraph(std::ostream& out, const TextStyle& style, std::size_t indent,
                     const std::string& text) {
  write_wrapped(out, style, std::string(indent, ' '), indent, indent, text);
}

/// "help: …", the label in colour.
void write_labelled(std::ostream& out, const TextStyle& style, std::size_t indent,
                    const char* colour, const std::string& label, const std::string& text) {
  const std::size_t width = indent + columns(label) + 2;
  write_wrapped(out, style, std::string(indent, ' ') + painted(style, colour, label + ":") + " ",
                width, width, text);
}

/// "src/client.cpp:42", "Client::connect in libfoo.so.1+0x1234"; empty: nothing is known.
std::string place_text(const CheckResult& result, const CheckedFinding& checked) {
  if (!checked.file.empty()) {
    return printable(checked.file) + (checked.line > 0 ? ":" + std::to_string(checked.line) : "");
  }
  if (checked.module.empty()) return printable(checked.function);
  char offset[24];
  std::snprintf(offset, sizeof offset, "+0x%llx", static_cast<unsigned long long>(checked.offset));
  return (checked.function.empty() ? "" : printable(checked.function) + " in ") +
         printable(shown_file(result, checked.module)) + offset;
}

void write_headline(std::ostream& out, const TextStyle& style, const CheckedFinding& checked) {
  const findings::Finding& finding = checked.finding;
  const std::string head =
      std::string(findings::severity_name(finding.severity)) + "[" + printable(finding.rule) + "]";
  write_wrapped(
      out, style,
      painted(style, colour_of(finding.severity), head) + painted(style, kBold, ":") + " ",
      columns(head) + 2, 4, finding.title);
}

/// Where the first `count` columns of `text` end.
std::size_t bytes_of(const std::string& text, std::size_t count) {
  std::size_t at = 0;
  for (; count > 0 && at < text.size(); --count) {
    do {
      ++at;
    } while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  }
  return at;
}

/// The end of a text that is too long says most: a path's file, an address' port.
std::string cut_front(const std::string& text, std::size_t most) {
  const std::size_t length = columns(text);
  if (length <= most || most == 0) return text;
  return "…" + text.substr(bytes_of(text, length - most + 1));
}

/// Of a function, its beginning and its end do: template arguments are in between.
std::string cut_middle(const std::string& text, std::size_t most) {
  const std::size_t length = columns(text);
  if (length <= most || most < 3) return text;
  const std::size_t tail = most / 3;
  return text.substr(0, bytes_of(text, most - 1 - tail)) + "…" +
         text.substr(bytes_of(text, length - tail));
}

void write_stack(std::ostream& out, const CheckResult& result, const TextStyle& style,
                 const findings::Place& place) {
  const std::vector<ShownFrame> frames = shown_frames(result, place, kFrames);
  if (frames.empty()) return;
  out << "\n  " << printable(place.role) << " at\n";
  for (const ShownFrame& frame : frames) {
    if (frame.where.empty()) {
      out << "      " << painted(style, kDim, frame.text) << "\n";
      continue;
    }
    const std::string function = cut_middle(frame.text, width_of(style) - 6);
    out << "    " << (frame.first_look ? painted(style, kRed, ">") : " ") << " "
        << (frame.first_look ? painted(style, kBold, function) : function);
    // A long name has its place on the next line.
    const bool fits = 6 + columns(function) + 2 + columns(frame.where) <= width_of(style);
    out << (fits ? "  " : "\n          ") << frame.where << "\n";
  }
}

std::string what_text(const findings::FoundDescriptor& descriptor, std::size_t most) {
  if (!descriptor.peer.empty()) {
    const std::string peer = "-> " + printable(descriptor.peer);
    const std::string both = printable(descriptor.local) + " " + peer;
    return descriptor.local.empty() || columns(both) > most ? cut_front(peer, most) : both;
  }
  return cut_front(printable(descriptor.local.empty() ? descriptor.target : descriptor.local),
                   most);
}

void write_descriptors(std::ostream& out, const CheckResult& result, const TextStyle& style,
                       const CheckedFinding& checked) {
  const std::vector<findings::FoundDescriptor>& all = checked.finding.descriptors;
  if (all.empty()) return;
  // Of several processes nobody knows which descriptor is whose.
  const bool one = checked.processes == 1 && checked.process < result.processes.size();
  const std::uint64_t start_ns =
      one ? result.processes[checked.process].started_ns : result.started_ns;
  const char* const after = one ? " after start" : " into the run";
  const auto is_main = [&](std::int32_t thread_id) {
    return std::any_of(result.processes.begin(), result.processes.end(),
                       [&](const CheckedProcess& process) { return process.pid == thread_id; });
  };
  const std::size_t count = std::min(kDescriptors, all.size());
  // The main thread is no news.
  const bool threads =
      std::any_of(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count),
                  [&](const auto& fd) { return fd.thread_id != 0 && !is_main(fd.thread_id); });
  std::vector<std::string> header{"fd", "kind", "what", "opened"};
  std::vector<bool> left{false, true, true, true};
  if (threads) {
    header.emplace_back("thread");
    left.push_back(true);
  }
  Table table("  ", header, left);
  // The other columns, at their widest, take 50.
  const std::size_t widest = std::max<std::size_t>(70, width_of(style)) - 50;
  for (std::size_t i = 0; i < count; ++i) {
    const findings::FoundDescriptor& descriptor = all[i];
    std::string when = "-";
    if (start_ns != 0 && descriptor.opened_ns >= start_ns) {
      when = findings::duration_text(descriptor.opened_ns - start_ns) + after;
    } else if (result.started_ns != 0 && descriptor.opened_ns >= result.started_ns) {
      // By the program that this process was before exec.
      when = findings::duration_text(descriptor.opened_ns - result.started_ns) + " into the run";
    }
    std::vector<std::string> row{std::to_string(descriptor.fd), printable(descriptor.kind),
                                 what_text(descriptor, widest), when};
    if (threads) {
      row.push_back(descriptor.thread_id == 0       ? "-"
                    : is_main(descriptor.thread_id) ? "main"
                                                    : std::to_string(descriptor.thread_id));
    }
    table.row(std::move(row));
  }
  out << "\n";
  table.print(out);
  const findings::CheckRule* rule = findings::find_check_rule(checked.finding.rule);
  std::uint64_t total = all.size();
  if (rule != nullptr && rule->counts_descriptors) {
    total = std::max<std::uint64_t>(total, checked.finding.count);
  }
  if (total > count) out << "  … " << total - count << " more\n";
}

/// In a shell's words. What is longer than anybody wants to copy is cut.
std::string command_text(const std::vector<std::string>& argv) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_";
  std::string text;
  for (const std::string& argument : argv) {
    text += text.empty() ? "" : " ";
    if (!argument.empty() && argument.find_first_not_of(kPlain) == std::string::npos) {
      text += argument;
      continue;
    }
    text += '\'';
    for (const char c : argument) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
    text += '\'';
  }
  text = printable(text);
  return text.size() <= kLongestCommand ? text : "PROGRAM ARGS...";
}

std::string join(const std::vector<std::string>& items) {
  std::string text;
  for (std::size_t i = 0; i < std::min(kNamed, items.size()); ++i) {
    text += (i == 0 ? "" : ", ") + items[i];
  }
  if (items.size() > kNamed) text += ", " + std::to_string(items.size() - kNamed) + " more";
  return text;
}

/// "12 descriptors suppressed: 2 entries (node-signal-pipe 8, ruby-vm-timer 4)".
std::string suppressed_text(const CheckResult& result) {
  std::uint64_t descriptors = 0, other = 0;
  std::vector<std::string> entries;
  for (const UsedSuppression& used : result.suppressions) {
    descriptors += used.descriptors;
    if (used.descriptors == 0) other += used.findings;
    entries.push_back(printable(used.name) + " " +
                      std::to_string(used.descriptors != 0 ? used.descriptors : used.findings));
  }
  std::string text;
  if (descriptors != 0) text = counted(descriptors, "descriptor");
  if (other != 0) text += (text.empty() ? "" : " and ") + counted(other, "finding");
  if (text.empty()) return {};
  return text + " suppressed: " + std::to_string(entries.size()) +
         (entries.size() == 1 ? " entry" : " entries") + " (" + join(entries) + ")";
}

/// What is not among the findings, and why; a line each.
std::vector<std::string> remarks(const CheckResult& result, const CheckCounts& counts) {
  std::vector<std::string> lines;
  if (std::string text = suppressed_text(result); !text.empty()) lines.push_back(std::move(text));
  if (counts.baseline != 0) {
    lines.push_back(counted(counts.baseline, "finding") +
                    (counts.baseline == 1 ? " was" : " were") + " in the baseline already");
  }
  if (counts.fewer != 0) {
    lines.push_back(counted(counts.fewer, "finding") + " of fewer than --min-count");
  }
  if (result.baseline_gone != 0) {
    lines.push_back(counted(result.baseline_gone, "finding") +
                    " of the baseline did not come up any more: --update-baseline drops " +
                    (result.baseline_gone == 1 ? "it" : "them"));
  }
  if (!result.unused_suppressions.empty()) {
    std::vector<std::string> entries;
    for (const std::string& entry : result.unused_suppressions) entries.push_back(printable(entry));
    lines.push_back(std::string("matched nothing: ") +
                    (entries.size() == 1 ? "suppression " : "suppressions ") + join(entries));
  }
  // A program that only became another one is its beginning, which nobody misses.
  std::map<std::string, std::uint64_t> reasons;
  std::uint64_t unjudged = 0;
  for (const CheckedProcess& process : result.processes) {
    if (process.unjudged.empty() || process.ending == CheckedProcess::Ending::kExec) continue;
    ++unjudged;
    ++reasons[process.unjudged];
  }
  if (unjudged != 0) {
    std::vector<std::string> words;
    words.reserve(reasons.size());
    for (const auto& [reason, times] : reasons) {
      words.push_back(printable(reason) +
                      (reasons.size() == 1 ? "" : " (" + std::to_string(times) + ")"));
    }
    lines.push_back(std::to_string(unjudged) +
                    (unjudged == 1 ? " process was" : " processes were") +
                    " not judged: " + join(words));
  }
  return lines;
}

/// "2 errors, 1 warning in 3 processes; ./tests exited with 0 -> exit 1".
std::string verdict_text(const CheckResult& result, const CheckCounts& counts) {
  const std::string program = printable(program_name(result));
  const std::string status = " -> exit " + std::to_string(result.exit_status());
  std::string text;
  const auto add = [&text](std::size_t number, const char* what) {
    if (number != 0) text += (text.empty() ? "" : ", ") + counted(number, what);
  };
  add(counts.errors, "error");
  add(counts.warnings, "warning");
  add(counts.infos, "info");
  const bool nothing = text.empty();
  // Nothing was found is no news of a program that nobody could look into.
  if (!result.unseen.empty()) {
    return (nothing ? "" : text + "; ") + program +
           " could not be observed: " + printable(result.unseen) + "; it " + end_text(result) +
           status;
  }
  const std::size_t processes = judged(result);
  text = (nothing ? "no findings" : text) + " in " + std::to_string(processes) +
         (processes == 1 ? " process" : " processes");
  if (nothing && result.exit_status() == 0) {
    std::uint64_t opened = 0;
    for (const CheckedProcess& process : result.processes) {
      if (process.unjudged.empty()) opened += process.opened;
    }
    return text + " (" + counted(opened, "descriptor") + " opened)";
  }
  return text + "; " + program + " " + end_text(result) + status;
}

/// What a reader may do now that something fails the run; the last ends in a colon.
std::vector<std::string> next_steps(const CheckResult& result) {
  std::vector<std::string> steps;
  std::set<std::string> own, of_system;
  bool fails = false;
  for (const CheckedFinding& checked : result.findings) {
    if (!checked.fails) continue;
    fails = true;
    if (!checked.file.empty() || checked.module.empty()) continue;
    (findings::is_system_file(checked.module) ? of_system : own).insert(checked.module);
  }
  if (!fails) return steps;
  const auto names = [&](const std::set<std::string>& modules) {
    std::vector<std::string> words;
    words.reserve(modules.size());
    for (const std::string& module : modules) {
      words.push_back(printable(shown_file(result, module)));
    }
    return join(words);
  };
  if (!own.empty()) {
    steps.push_back("to see lines of " + names(own) +
                    ": compile with -g, and keep the debug information (do not strip)");
  }
  if (!of_system.empty()) {
    steps.push_back("to see lines of " + names(of_system) +
                    ": install the package with its debug information (-dbgsym, -debuginfo)");
  }
  steps.push_back("what is meant to be so goes to a suppression file; this writes its entries:");
  return steps;
}

}  // namespace

void write_finding_text(std::ostream& out, const CheckResult& result, const CheckedFinding& checked,
                        const TextStyle& style, bool with_advice) {
  const findings::Finding& finding = checked.finding;
  write_headline(out, style, checked);
  if (const std::string place = place_text(result, checked); !place.empty()) {
    out << "  " << painted(style, kBlue, "-->") << " " << place << "\n";
  }
  if (result.processes.size() > 1 || checked.processes > 1) {
    out << "  in " << printable(where_found(result, checked)) << "\n";
  }
  for (const findings::Place& place : finding.places) write_stack(out, result, style, place);
  write_descriptors(out, result, style, checked);
  if (!finding.detail.empty() || (with_advice && !finding.advice.empty())) out << "\n";
  if (!finding.detail.empty()) write_paragraph(out, style, 2, finding.detail);
  if (with_advice && !finding.advice.empty()) {
    write_labelled(out, style, 2, kGreen, "help", finding.advice);
  }
}

void write_check_text(std::ostream& out, const CheckResult& result, const TextStyle& style) {
  const CheckCounts counts = count(result);
  // Information that fails nothing is a line each, after all the rest.
  std::vector<const CheckedFinding*> full, lines;
  for (const CheckedFinding& checked : result.findings) {
    if (checked.status != Status::kNew) continue;
    const bool minor = checked.finding.severity == Severity::kInfo && !checked.fails;
    (minor ? lines : full).push_back(&checked);
  }
  std::set<std::pair<std::string, std::string>> advised;  // rule, advice
  std::size_t shown = 0;
  for (const CheckedFinding* checked : full) {
    if (shown == kInFull) break;
    ++shown;
    const findings::Finding& finding = checked->finding;
    write_finding_text(out, result, *checked, style,
                       advised.emplace(finding.rule, finding.advice).second);
    out << "\n";
  }
  if (shown < full.size()) lines.insert(lines.begin(), full.begin() + kInFull, full.end());
  for (std::size_t i = 0; i < std::min(kInALine, lines.size()); ++i) {
    const findings::Finding& finding = lines[i]->finding;
    const std::string head = std::string(findings::severity_name(finding.severity)) + "[" +
                             printable(finding.rule) + "]";
    out << painted(style, colour_of(finding.severity), head) << ": " << printable(finding.title);
    // Titles name the place as a rule.
    const std::string file = lines[i]->file.substr(lines[i]->file.rfind('/') + 1);
    if (!file.empty() && finding.title.find(file) == std::string::npos) {
      out << " --> " << place_text(result, *lines[i]);
    }
    out << "\n";
  }
  if (lines.size() > kInALine) {
    out << "and " << counted(lines.size() - kInALine, "finding") << " more: -o json:FILE has all\n";
  }
  if (!lines.empty()) out << "\n";

  const std::vector<std::string> remarked = remarks(result, counts);
  for (const std::string& line : remarked) write_wrapped(out, style, "", 0, 2, line);
  for (const std::string& note : result.notes) write_labelled(out, style, 0, kBlue, "note", note);

  const char* const colour = result.exit_status() == 0 ? kGreen : kRed;
  out << painted(style, colour, "loopscope check:") << " " << verdict_text(result, counts) << "\n";
  const std::vector<std::string> steps = next_steps(result);
  for (const std::string& step : steps) {
    write_labelled(out, style, 0, kBlue, "next", step);
  }
  // In one piece, to be copied.
  if (!steps.empty()) {
    out << "      loopscope check --gen-suppressions FILE -- " << command_text(result.argv)
        << "\n      and from then on: loopscope check --suppressions FILE -- ...\n";
  }
}

}  // namespace loopscope::cli
