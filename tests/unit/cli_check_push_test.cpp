// SPDX-License-Identifier: Apache-2.0
//
// What `check --push` sends and where, without sending it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "cli/check_push.h"

namespace loopscope::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Url {
  std::string text, host, port, user, password;
};

TEST(PushTarget, TakesAUrlApart) {
  const Url urls[] = {
      {"http://gateway:9091", "http://gateway", "9091", "", ""},
      {"http://gateway:9091///", "http://gateway", "9091", "", ""},
      {"http://gateway", "http://gateway", "80", "", ""},
      {"https://gateway/push/", "https://gateway", "443/push", "", ""},
      {"https://me:a%40b%2Fc@gateway:1/x/y", "https://gateway", "1/x/y", "me", "a@b/c"},
      {"http://me@gateway", "http://gateway", "80", "me", ""},
      {"http://me:a@b@gateway", "http://gateway", "80", "me", "a@b"},
      {"http://[::1]:9091", "http://[::1]", "9091", "", ""},
      {"http://[::1]", "http://[::1]", "80", "", ""},
      {"http://me:100%@gateway", "http://gateway", "80", "me", "100%"},
  };
  for (const Url& url : urls) {
    const auto target = push_target(url.text);
    ASSERT_TRUE(target) << url.text;
    EXPECT_EQ(target->host, url.host) << url.text;
    EXPECT_EQ(target->port, url.port) << url.text;
    EXPECT_EQ(target->user, url.user) << url.text;
    EXPECT_EQ(target->password, url.password) << url.text;
    EXPECT_EQ(target->shown, url.host + ":" + url.port) << url.text;
  }
}

TEST(PushTarget, RefusesAndTellsNoSecret) {
  for (const char* url :
       {"", "gateway:9091", "ftp://u:secret@gateway", "http://", "http://u:secret@",
        "http://u:secret@:9091", "http://u:secret@gateway:", "http://u:secret@gateway:0",
        "http://u:secret@gateway:65536", "http://u:secret@gateway:99999999999999999999",
        "http://u:secret@gateway:80x", "http://u:secret@gateway?x", "http://u:secret@gateway#x",
        "http://u:secret@gate way", "http://:secret@gateway", "http://u:secret@gateway\n",
        "http://u:1/secret@gateway", "http://u/secret@gateway"}) {
    const auto target = push_target(url);
    ASSERT_FALSE(target) << url;
    EXPECT_THAT(target.error().message, Not(HasSubstr("secret")));
    EXPECT_THAT(target.error().message, HasSubstr("http://HOST:PORT"));
  }
}

TEST(PushLabel, NameAndValue) {
  const auto label = push_label("branch=a=b/c");
  ASSERT_TRUE(label);
  EXPECT_EQ(label->first, "branch");
  EXPECT_EQ(label->second, "a=b/c");
  for (const char* text : {"branch", "=x", "1a=x", "a-b=x", "__a=x", "a=", "job=x", "rule=x",
                           "severity=x", "status=x", "ä=x"}) {
    EXPECT_FALSE(push_label(text)) << text;
  }
  EXPECT_TRUE(push_label("instance=x"));
}

/// {"findings{rule=fd-leak,severity=error}": 1}, without the common prefix.
std::map<std::string, double> values(const CheckResult& result) {
  std::map<std::string, double> out;
  for (const auto& family : check_metrics(result, 1'500'000'000)) {
    EXPECT_EQ(family.name.find("loopscope_check_"), 0U) << family.name;
    EXPECT_FALSE(family.help.empty());
    for (const auto& metric : family.metric) {
      std::string name = family.name.substr(16);
      for (const auto& label : metric.label) name += " " + label.name + "=" + label.value;
      EXPECT_TRUE(out.emplace(name, metric.gauge.value).second) << name;
    }
  }
  return out;
}

TEST(CheckMetrics, CountWhatIsNew) {
  CheckResult result;
  result.duration_ns = 2'500'000'000;
  result.processes.resize(3);
  result.processes[0].opened = 10;
  result.processes[0].closed = 4;
  result.processes[0].open_at_end = 6;
  result.processes[0].ending = CheckedProcess::Ending::kExec;  // the next one goes on with them
  result.processes[1].open_at_end = 6;
  result.processes[2].opened = 5;
  result.processes[2].open_at_end = 5;
  const auto found = [&](const char* rule, CheckedFinding::Status status) {
    CheckedFinding checked;
    checked.finding.rule = rule;
    checked.finding.severity = findings::Severity::kError;
    checked.status = status;
    checked.fails = status == CheckedFinding::Status::kNew;
    result.findings.push_back(checked);
  };
  found("fd-leak", CheckedFinding::Status::kNew);
  found("fd-leak", CheckedFinding::Status::kNew);
  found("fd-leak", CheckedFinding::Status::kBaseline);
  found("double-close", CheckedFinding::Status::kSuppressed);
  result.budgets = {"stall-budget"};

  auto sent = values(result);
  EXPECT_EQ(sent.at("findings rule=fd-leak severity=error"), 2);
  EXPECT_EQ(sent.at("findings rule=double-close severity=error"), 0);
  EXPECT_EQ(sent.at("findings rule=stall-budget severity=error"), 0);
  EXPECT_EQ(sent.count("findings rule=timer-lag-budget severity=error"), 0U);  // was not judged
  EXPECT_EQ(sent.at("known_findings status=baseline"), 1);
  EXPECT_EQ(sent.at("known_findings status=suppressed"), 1);
  EXPECT_EQ(sent.at("known_findings status=fewer"), 0);
  EXPECT_EQ(sent.at("success"), 0);
  EXPECT_EQ(sent.at("exit_status"), 1);
  EXPECT_EQ(sent.at("observed"), 1);
  EXPECT_EQ(sent.at("duration_seconds"), 2.5);
  EXPECT_EQ(sent.at("timestamp_seconds"), 1.5);
  EXPECT_EQ(sent.at("processes"), 3);
  EXPECT_EQ(sent.at("descriptors_opened"), 15);
  EXPECT_EQ(sent.at("descriptors_closed"), 4);
  EXPECT_EQ(sent.at("descriptors_open_at_end"), 11);
}

TEST(CheckMetrics, SawNothingIsNotNothingFound) {
  CheckResult result;
  result.unseen = "it is statically linked";
  const auto sent = values(result);
  EXPECT_EQ(sent.at("observed"), 0);
  EXPECT_EQ(sent.at("success"), 0);
  EXPECT_EQ(sent.at("exit_status"), 3);
  EXPECT_EQ(sent.size(), 5U);
}

}  // namespace
}  // namespace loopscope::cli
