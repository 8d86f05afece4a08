// SPDX-License-Identifier: Apache-2.0
//
// /sd: what runs here, as Prometheus' HTTP service discovery wants it: each process a target of its
// own, scraped by /metrics?process=ID at the address that Prometheus asked for the list.
//
// A library's process is found by its recording like any other: whether it has an Inspector, and
// where that listens, is not recorded, and need not be known.
//
// Thread-safety: no state.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "instrumentation/snapshot/host_snapshot.h"

namespace loopscope::webui {

/// The `Host` of a request as a target: as it is. None: it is not a name or an address that can be
/// asked for.
std::optional<std::string> scrape_target(std::string_view host);

/// Every process of `host` that runs, each once. The labels `process` and `pid` are those that
/// /metrics puts on the series of all processes: so series are the same either way.
/// `tls`: they are asked by https.
std::string service_discovery_json(const snapshot::HostSnapshot& host, const std::string& target,
                                   bool tls = false);

}  // namespace loopscope::webui
