// SPDX-License-Identifier: Apache-2.0
//
// What the command asks of libloopscope-push.so. prometheus-cpp's push brings libcurl and thirty
// libraries more, which take longer to load than the command needs for all else: only a push loads
// them, and only in the child process that does it.
#pragma once

#include <prometheus/labels.h>
#include <prometheus/metric_family.h>

#include <cstdint>
#include <string>
#include <vector>

namespace loopscope::cli {

struct PushRequest {
  std::string host;  // as PushTarget
  std::string port;
  std::string user;
  std::string password;
  std::string job;
  prometheus::Labels labels;  // fit for a path
  const std::vector<prometheus::MetricFamily>* families = nullptr;
};

/// `loopscope_push` in the library: the status of the answer (a redirection's only if a second
/// request is answered with one, too; else 200), or less than 0. What the gateway answers, or why
/// there is no answer, goes to standard output.
using PushFunction = std::int32_t(const PushRequest& request);
inline constexpr char kPushFunction[] = "loopscope_push";
inline constexpr char kPushLibrary[] = "libloopscope-push.so";

}  // namespace loopscope::cli
