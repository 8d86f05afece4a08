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

/// The status of a redirection if that is what there is at the place of the push, else 0. Gateway
/// calls one a success, and it may well be without a word (HAProxy's are): what was sent is lost.
/// So it is asked for by a request of our own, whose failure means nothing.
std::int32_t redirection(const PushRequest& request) {
  constexpr long kPatienceMs = 1000;
  CURL* const curl = curl_easy_init();
  if (curl == nullptr) return 0;
  const std::string url = request.host + ":" + request.port + "/metrics/job/" + request.job;
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  if (!request.user.empty()) {  // without them a proxy might lead to where one logs in
    curl_easy_setopt(curl, CURLOPT_USERNAME, request.user.c_str());
    curl_easy_setopt(curl, CURLOPT_PASSWORD, request.password.c_str());
  }
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, kPatienceMs);
  long status = 0;
  if (curl_easy_perform(curl) == CURLE_OK) {
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  }
  curl_easy_cleanup(curl);
  return status >= 300 && status < 400 ? static_cast<std::int32_t>(status) : 0;
}

std::int32_t push(const PushRequest& request) {
  try {
    prometheus::Gateway gateway(request.host, request.port, request.job, request.labels,
                                request.user, request.password);
    const auto collectable = std::make_shared<Families>(*request.families);
    gateway.RegisterCollectable(collectable);
    // PUT: what was there goes. Its Push() is the POST, which adds.
    const int status = gateway.PushAdd();
    if (status < 0) std::fputs(curl_easy_strerror(static_cast<CURLcode>(-status)), stdout);
    const std::int32_t elsewhere = status == 200 ? redirection(request) : 0;
    return elsewhere != 0 ? elsewhere : status;
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
