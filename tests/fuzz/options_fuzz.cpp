// SPDX-License-Identifier: Apache-2.0
//
// What values of options mean: times, addresses, labels, where to push, the form of a report. The
// first byte says which; the rest is the value. What is accepted means the same when it is written
// as we would write it.
#include <chrono>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "cli/check_push.h"
#include "cli/check_report.h"
#include "cli/duration.h"
#include "cli/listen.h"
#include "cli/run_linger.h"
#include "tests/fuzz/must.h"

namespace {

using namespace loopscope::cli;
using loopscope::fuzz::must;

void duration(const std::string& text) {
  const auto time = parse_duration(text);
  if (!time) return;
  must(time->count() >= 0 && *time <= kLongestDuration, "a time is between 0 and a century");
  must(parse_duration(std::to_string(time->count()) + "ns") ||
           time->count() > 1LL << 53,  // a double holds no more digits
       "nanoseconds are understood");
}

void linger(const std::string& text) {
  const auto time = parse_linger(text);
  if (!time) return;
  must(time->time.count() >= 0, "nobody lingers into the past");
  must(time->forever() == linger_text(*time).empty(), "a time that ends is shown");
}

void listen(const std::string& text) {
  must(!listen_usage(text).empty(), "usage is said");
  const auto place = parse_listen(text);
  if (!place) return;
  must(!place->first.empty(), "there is an address");
  must(parse_listen(place->first + ":" + std::to_string(place->second)) == place,
       "an address and a port are what they were");
}

void push(const std::string& text) {
  const auto target = push_target(text);
  if (!target) {
    must(!target.error().message.empty(), "what is wrong is said");
    return;
  }
  must(target->host.starts_with("http://") || target->host.starts_with("https://"),
       "there is a scheme");
  must(!target->port.empty(), "there is a port");
  must(target->shown.find('@') == std::string::npos, "neither user nor password is shown");
}

void label(const std::string& text) {
  const auto pair = push_label(text);
  if (!pair) {
    must(!pair.error().message.empty(), "what is wrong is said");
    return;
  }
  must(!pair->first.empty(), "a label has a name");
  for (const char c : pair->first) {
    must((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_',
         "a label's name is one that Prometheus takes");
  }
  must(text == pair->first + "=" + pair->second, "a label is what was written");
}

void report(const std::string& text) {
  const auto target = report_target(text);
  if (!target) return;
  must(!target->path.empty(), "a report has a path");
  const auto again =
      report_target(std::string(report_format_name(target->format)) + ":" + target->path);
  must(again && again->format == target->format && again->path == target->path,
       "form and path are what they were");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  constexpr void (*kOptions[])(const std::string&) = {duration, linger, listen,
                                                      push,     label,  report};
  kOptions[data[0] % std::size(kOptions)](text);
  return 0;
}
