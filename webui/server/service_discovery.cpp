// SPDX-License-Identifier: Apache-2.0
#include "webui/server/service_discovery.h"

#include <algorithm>
#include <set>
#include <utility>

#include "instrumentation/snapshot/json.h"

namespace loopscope::webui {

std::optional<std::string> scrape_target(std::string_view host) {
  // Names, IPv4, "[v6]" with a zone, a port. Prometheus would turn down the whole list for a slash.
  const bool plain = std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._-:[]%").find(c) != std::string_view::npos;
  });
  if (host.empty() || !plain) return std::nullopt;
  return std::string(host);
}

std::string service_discovery_json(const snapshot::HostSnapshot& host, const std::string& target,
                                   bool tls) {
  const std::string address = snapshot::json_string(target);
  std::set<std::string> listed;  // a process may have two recordings, the library's and the probe's
  std::string out = "[";
  for (const snapshot::ProcessSnapshot& process : host.processes) {
    const recording::RecordingSnapshot& recording = process.recording;
    if (recording.life != recording::Life::kRunning) continue;
    const std::string id = process.id();
    if (!listed.insert(id).second) continue;
    const std::string pid = std::to_string(recording.pid);
    // No argument among them: a command line may hold secrets.
    const std::pair<const char*, std::string> labels[] = {
        {"__metrics_path__", "/metrics"},
        {"__param_process", id},
        {"process", recording.command},
        {"pid", pid},
        {"__meta_loopscope_process", id},
        {"__meta_loopscope_pid", pid},
        {"__meta_loopscope_command", recording.command},
        {"__meta_loopscope_source", snapshot::source_name(recording.source)},
    };
    out += out.size() > 1 ? ",\n" : "";
    out += "{\"targets\":[" + address + "],\"labels\":{";
    bool first = true;
    for (const auto& [name, value] : labels) {
      out += std::string(first ? "\"" : ",\"") + name + "\":" + snapshot::json_string(value);
      first = false;
    }
    if (tls) out += ",\"__scheme__\":\"https\"";
    out += "}}";
  }
  return out + "]\n";
}

}  // namespace loopscope::webui
