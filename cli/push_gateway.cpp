// SPDX-License-Identifier: Apache-2.0
#include "cli/push_gateway.h"

#include <curl/curl.h>
#include <prometheus/collectable.h>
#include <prometheus/gateway.h>

#include <cstdio>
#include <exception>
#include <memory>

namespace loopscope::cli {
namespace {

class Families : public prometheus::Collectable {
 public:
  explicit Families(const std::vector<prometheus::MetricFamily>& families) : families_(families) {}
  std::vector<prometheus::MetricFamily> Collect() const override { return families_; }

 private:
  const std::vector<prometheus::MetricFamily>& families_;
};

std::int32_t push(const PushRequest& request) {
  try {
    prometheus::Gateway gateway(request.host, request.port, request.job, request.labels,
                                request.user, request.password);
    const auto collectable = std::make_shared<Families>(*request.families);
    gateway.RegisterCollectable(collectable);
    // PUT: what was there goes. Its Push() is the POST, which adds.
    const int status = gateway.PushAdd();
    if (status < 0) std::fputs(curl_easy_strerror(static_cast<CURLcode>(-status)), stdout);
    return status;
  } catch (const std::exception& error) {
    std::fputs(error.what(), stdout);
    return -1;
  }
}

}  // namespace
}  // namespace loopscope::cli

extern "C" __attribute__((visibility("default"))) std::int32_t loopscope_push(
    const loopscope::cli::PushRequest& request) {
  return loopscope::cli::push(request);
}
