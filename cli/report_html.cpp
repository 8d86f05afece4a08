// SPDX-License-Identifier: Apache-2.0
#include "cli/report_html.h"

#include <cstdlib>
#include <optional>
#include <string_view>
#include <utility>

#include "cli/report.h"
#include "instrumentation/snapshot/json.h"
#include "webui/server/page.h"

namespace loopscope::cli {
namespace {

/// Where the page looks first: all of the process' life, because one snapshot has no other window.
constexpr std::string_view kHash = "#window=all";

/// As the text of an element.
std::string html_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

/// "<" only occurs in JSON's strings; without it nothing in them can end the element they are in.
std::string without_tags(const std::string& json) {
  std::string out;
  out.reserve(json.size() + json.size() / 16);
  for (const char c : json) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

std::string title(const snapshot::HostSnapshot& host) {
  std::string text;
  if (!host.processes.empty()) {
    const recording::RecordingSnapshot& recording = host.processes.front().recording;
    text = printable(recording.command) + ", pid " + std::to_string(recording.pid) + ": ";
  }
  std::string when = snapshot::rfc3339(host.taken_at_ns).substr(0, 19);
  when[10] = ' ';
  return html_text(text + "loopscope report of " + when + " UTC");
}

}  // namespace

recording::Result<std::string> html_report(const snapshot::HostSnapshot& host) {
  const char* const given = std::getenv("LOOPSCOPE_WEBUI_DIR");
  const std::string directory = given != nullptr ? given : "";
  const auto file = [&](std::string_view name) { return webui::read_page_file(name, directory); };
  const auto shell = file("report.html");
  const auto style = file("app.css");
  const auto script = file("app.js");
  if (!shell || !style || !script) {
    return recording::Error{recording::Error::Code::kNotFound,
                            "there is no page to put the data into in LOOPSCOPE_WEBUI_DIR (" +
                                directory + "): build it there, or unset the variable"};
  }
  const std::string data = R"({"hash":")" + std::string(kHash) + R"(","extra":{},"snapshot":)" +
                           without_tags(snapshot::to_json(host)) + "}";
  const std::string heading = title(host);
  const std::pair<std::string_view, std::string_view> parts[] = {
      {"{{title}}", heading}, {"{{style}}", *style}, {"{{data}}", data}, {"{{script}}", *script}};
  // In their order, each looked for behind the one before: what was put in is not looked at again.
  std::string out;
  std::string_view rest = *shell;
  for (const auto& [mark, text] : parts) {
    const std::size_t at = rest.find(mark);
    if (at == std::string_view::npos) {
      return recording::Error{
          recording::Error::Code::kFormat,
          "the page's report.html has no place for " + std::string(mark) + ": build the page anew"};
    }
    out += rest.substr(0, at);
    out += text;
    rest.remove_prefix(at + mark.size());
  }
  out += rest;
  return out;
}

}  // namespace loopscope::cli
