// SPDX-License-Identifier: Apache-2.0
//
// `loopscope check --push URL`: the figures of a run, sent to a Prometheus Pushgateway, so that
// their trend over builds can be drawn. The run's verdict does not depend on it.
#pragma once

#include <prometheus/metric_family.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/check_result.h"
#include "instrumentation/recording/result.h"

namespace loopscope::cli {

/// Where to push. User and password are never part of a message.
struct PushTarget {
  std::string host;  // "http://gateway.example"
  std::string port;  // "9091"; with the path below which the gateway is, if any: "443/push"
  std::string user;
  std::string password;
  std::string shown;  // the URL without user and password
};

/// Of "http[s]://[USER[:PASSWORD]@]HOST[:PORT][/PATH]"; %XX stands for a byte in user and password.
recording::Result<PushTarget> push_target(const std::string& url);

/// Of "NAME=VALUE"; NAME is one that Prometheus takes, and none that our metrics have themselves.
recording::Result<std::pair<std::string, std::string>> push_label(const std::string& text);

/// What is sent. Each rule of check has its series in every push, so that one that finds nothing
/// any more is 0 and not missing. `now_ns`: CLOCK_REALTIME. Pure.
std::vector<prometheus::MetricFamily> check_metrics(const CheckResult& result,
                                                    std::uint64_t now_ns);

/// Puts `families` in place of all that was pushed for job="loopscope_check" and `labels` before.
/// Why it failed, or nothing. Returns within `patience` (and what the kernel takes to end a
/// process).
///
/// prometheus-cpp's Gateway has no time-out and lets libcurl write the answer to standard output;
/// so it works in a child process, whose standard output is a pipe, and which is killed in time.
/// Thread-safety: other threads must be idle (fork), as the one is that names stacks: what they
/// hold, the child would wait for.
std::optional<std::string> push(const PushTarget& target,
                                const std::map<std::string, std::string>& labels,
                                const std::vector<prometheus::MetricFamily>& families,
                                std::chrono::milliseconds patience);

}  // namespace loopscope::cli
