// SPDX-License-Identifier: Apache-2.0
#include "loopscope/inspector.h"

#include <cstdlib>
#include <utility>
#include <vector>

#include "instrumentation/metrics/collector.h"
#include "instrumentation/snapshot/json.h"
#include "loopscope/loop.h"
#include "loopscope/prometheus.h"
#include "webui/server/own_process.h"
#include "webui/server/server.h"

namespace loopscope {
namespace {

constexpr std::size_t kSnapshotTurns = 256;

webui::ServerOptions server_options(const InspectorOptions& options) {
  webui::ServerOptions server;
  server.address = options.address;
  server.port = options.port;
  server.token = options.token;
  server.insecure = options.insecure;
  server.host_names = options.host_names;
  server.tls_certificate = options.tls_certificate;
  server.tls_key = options.tls_key;
  server.max_streams = options.max_streams;
  // Read here, not per request: by then another thread of the host may call setenv(3).
  // Not in a setuid program: what a link of the user's there points to would be served with its
  // rights.
  if (const char* directory = secure_getenv("LOOPSCOPE_WEBUI_DIR"))
    server.page_directory = directory;
  return server;
}

/// Leaves only the loop `id`, and what is said about it or about the process as a whole.
void keep_loop(snapshot::HostSnapshot& host, std::uint32_t id) {
  for (auto& process : host.processes) {
    auto& loops = process.recording.loops;
    auto& facts = process.loop_facts;
    facts.resize(loops.size());
    std::vector<std::string> others;
    std::string name;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < loops.size(); ++i) {
      if (loops[i].id != id) {
        others.push_back(loops[i].name);
        continue;
      }
      name = loops[i].name;
      if (kept != i) {
        loops[kept] = std::move(loops[i]);
        facts[kept] = facts[i];
      }
      ++kept;
    }
    loops.resize(kept);
    facts.resize(kept);
    std::erase_if(process.findings, [&](const findings::Finding& finding) {
      if (finding.subject == name) return false;
      for (const std::string& other : others) {
        if (finding.subject == other) return true;
      }
      return false;
    });
  }
}

webui::SnapshotProvider provider_of_all() {
  return [](const webui::SnapshotRequest& request) { return webui::own_process_snapshot(request); };
}

webui::SnapshotProvider provider_of(std::uint32_t id) {
  return [id](const webui::SnapshotRequest& request) {
    snapshot::HostSnapshot host = webui::own_process_snapshot(request);
    keep_loop(host, id);
    return host;
  };
}

}  // namespace

struct Inspector::Impl {
  Impl(const InspectorOptions& options, webui::SnapshotProvider provider)
      : server(start(options, std::move(provider))) {}

  static std::unique_ptr<webui::Server> start(const InspectorOptions& options,
                                              webui::SnapshotProvider provider) {
    webui::own_process_snapshot(0);  // says now, not on the first request, that it cannot be read
    try {
      return std::make_unique<webui::Server>(server_options(options), std::move(provider));
    } catch (const webui::ServerError& error) {
      throw InspectorError(error.what());
    }
  }

  std::unique_ptr<webui::Server> server;
};

Inspector::Inspector(const InspectorOptions& options)
    : impl_(std::make_unique<Impl>(options, provider_of_all())) {}

Inspector::Inspector(const Loop& loop, const InspectorOptions& options)
    : impl_(std::make_unique<Impl>(options, provider_of(loop.id()))) {}

Inspector::~Inspector() = default;

std::uint16_t Inspector::port() const { return impl_->server->port(); }
std::string Inspector::url() const { return impl_->server->url(); }

std::string snapshot_json() {
  return snapshot::to_json(webui::own_process_snapshot(kSnapshotTurns));
}

std::string metrics_text() {
  return metrics::to_text(webui::own_process_snapshot(0), metrics::LabelMode::kSingle);
}

std::shared_ptr<prometheus::Collectable> make_collectable() {
  webui::own_process_snapshot(0);
  return std::make_shared<metrics::LoopCollectable>([] { return webui::own_process_snapshot(0); },
                                                    metrics::LabelMode::kSingle);
}

}  // namespace loopscope
