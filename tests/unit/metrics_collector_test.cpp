// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>

#include "instrumentation/metrics/collector.h"
#include "tests/unit/fixtures.h"

namespace loopscope::metrics {
namespace {

using namespace loopscope::fixtures;
using snapshot::HostSnapshot;

struct Sample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
};

/// The text format, as far as we write it. Checks that a metric's samples stand together under its
/// HELP and TYPE.
struct Page {
  std::vector<Sample> samples;
  std::map<std::string, std::string> types;

  explicit Page(const std::string& text) {
    std::istringstream in(text);
    std::string line;
    std::string current;
    while (std::getline(in, line)) {
      std::istringstream words(line);
      if (line.starts_with("# ")) {
        std::string hash, what, name, rest;
        words >> hash >> what >> name >> rest;
        EXPECT_FALSE(rest.empty()) << line;
        if (what == "TYPE") {
          EXPECT_TRUE(types.emplace(name, rest).second) << "twice: " << line;
        }
        current = name;
        continue;
      }
      samples.push_back(parse(line));
      EXPECT_TRUE(samples.back().name.starts_with(current)) << line;
    }
  }

  static Sample parse(const std::string& line) {
    Sample sample;
    std::size_t at = line.find_first_of("{ ");
    sample.name = line.substr(0, at);
    if (line[at] == '{') {
      ++at;
      while (line[at] != '}') {
        const std::size_t equals = line.find('=', at);
        std::string value;
        std::size_t i = equals + 2;
        for (; line[i] != '"'; ++i) {
          if (line[i] == '\\') {
            ++i;
            value += line[i] == 'n' ? '\n' : line[i];
          } else {
            value += line[i];
          }
        }
        sample.labels[line.substr(at, equals - at)] = value;
        at = i + 1;
        if (line[at] == ',') ++at;
      }
      ++at;
    }
    const std::string number = line.substr(at + 1);
    sample.value = number == "+Inf" ? INFINITY : std::stod(number);
    EXPECT_FALSE(std::isnan(sample.value)) << line;
    return sample;
  }

  std::vector<Sample> all(const std::string& name) const {
    std::vector<Sample> found;
    for (const auto& sample : samples) {
      if (sample.name == name) found.push_back(sample);
    }
    return found;
  }

  /// The value of the one sample with these labels among its labels; NaN if it is not there.
  double value(const std::string& name,
               const std::map<std::string, std::string>& labels = {}) const {
    double value = NAN;
    for (const auto& sample : all(name)) {
      bool match = true;
      for (const auto& [key, wanted] : labels) {
        const auto label = sample.labels.find(key);
        match = match && label != sample.labels.end() && label->second == wanted;
      }
      if (!match) continue;
      EXPECT_TRUE(std::isnan(value)) << name << " is ambiguous";
      value = sample.value;
    }
    return value;
  }
};

/// Something of everything.
HostSnapshot full_host() {
  HostSnapshot host = large_host(2, 3);
  auto& process = host.processes[0];
  auto& loop = process.recording.loops[0];
  loop.name = "main";
  loop.iterations = 100;
  loop.timeouts = 20;
  loop.interrupted = 5;
  loop.errors = 1;
  loop.saturated = 4;
  loop.stalls = 3;
  loop.stalled_ns = 1500 * kMillisecond;
  loop.ready = counts({0, 1, 2, 3, 4, 100'000});
  loop.poll_wait =
      times({1 * kMicrosecond, 1 * kMicrosecond + 1, 128 * kMicrosecond, 60 * kSecond});
  process.recording.dropped[1] = 7;
  process.recording.own_failures = {{recording::OwnCall::kMadvise, ENOSPC, 3, 0},
                                    {recording::OwnCall::kOpen, EINTR, 1, 5}};
  findings::Finding finding;
  finding.rule = "loop-stall";
  finding.severity = findings::Severity::kError;
  process.findings = {finding};
  return host;
}

Page page(const HostSnapshot& host, LabelMode mode = LabelMode::kSingle) {
  return Page(to_text(host, mode));
}

TEST(Metrics, HaveTheNamesAndTypesOfTheContract) {
  const Page text = page(full_host());
  const std::map<std::string, std::string> contract = {
      {"loopscope_iterations_total", "counter"},
      {"loopscope_poll_wait_seconds", "histogram"},
      {"loopscope_busy_seconds", "histogram"},
      {"loopscope_poll_delay_seconds", "histogram"},
      {"loopscope_timer_lag_seconds", "histogram"},
      {"loopscope_ready_events", "histogram"},
      {"loopscope_callback_seconds", "histogram"},
      {"loopscope_poll_returns_total", "counter"},
      {"loopscope_registered_fds", "gauge"},
      {"loopscope_open_fds", "gauge"},
      {"loopscope_stalls_total", "counter"},
      {"loopscope_stalled_seconds", "gauge"},
      {"loopscope_active_ready_ratio", "gauge"},
      {"loopscope_findings", "gauge"},
      {"loopscope_dropped_records_total", "counter"},
      {"loopscope_own_failures_total", "counter"},
      {"loopscope_build_info", "gauge"},
      {"process_open_fds", "gauge"},
      {"process_max_fds", "gauge"},
      {"process_cpu_seconds_total", "counter"},
      {"process_start_time_seconds", "gauge"},
      {"process_resident_memory_bytes", "gauge"},
  };
  EXPECT_EQ(text.types, contract);
}

TEST(Metrics, SayWhatIsInTheSnapshot) {
  const Page text = page(full_host());
  EXPECT_EQ(text.value("loopscope_iterations_total", {{"loop", "main"}}), 100);
  EXPECT_EQ(text.value("loopscope_stalls_total", {{"loop", "main"}}), 3);
  EXPECT_EQ(text.value("loopscope_stalled_seconds", {{"loop", "main"}}), 1.5);
  EXPECT_EQ(text.value("loopscope_stalled_seconds", {{"loop", "loop-1"}}), 0);
  EXPECT_EQ(text.value("loopscope_registered_fds", {{"loop", "main"}}), 4);
  EXPECT_EQ(text.value("loopscope_active_ready_ratio", {{"loop", "main"}}), 0.25);
  EXPECT_EQ(text.value("loopscope_open_fds", {{"kind", "tcp"}}), 8);
  EXPECT_EQ(text.value("loopscope_open_fds", {{"kind", "eventfd"}}), 0);
  EXPECT_EQ(text.value("loopscope_findings", {{"rule", "loop-stall"}, {"severity", "error"}}), 1);
  EXPECT_EQ(text.value("loopscope_findings", {{"rule", "loop-stall"}, {"severity", "warning"}}), 0);
  EXPECT_EQ(text.value("loopscope_dropped_records_total", {{"kind", "watchers"}}), 7);
  const auto own = [&](const char* call, const char* error, const char* outcome) {
    return text.value("loopscope_own_failures_total",
                      {{"call", call}, {"errno", error}, {"outcome", outcome}});
  };
  EXPECT_EQ(own("madvise", "ENOSPC", "gave_up"), 3);
  EXPECT_EQ(own("open", "EINTR", "gave_up"), 1);
  EXPECT_EQ(own("open", "EINTR", "retried"), 5);
  EXPECT_EQ(text.all("loopscope_own_failures_total").size(), 3u);
  EXPECT_EQ(text.value("loopscope_build_info", {{"version", "0.1.0"}}), 1);
  EXPECT_EQ(text.value("process_open_fds"), 12);
  EXPECT_EQ(text.value("process_max_fds"), 1024);
  EXPECT_EQ(text.value("process_cpu_seconds_total"), 1.25);
  EXPECT_EQ(text.value("process_start_time_seconds"), 1772366370);
  EXPECT_EQ(text.value("process_resident_memory_bytes"), 8 << 20);
}

TEST(Metrics, PollReturnsAddUpToIterations) {
  const Page text = page(full_host());
  double sum = 0;
  for (const auto& sample : text.all("loopscope_poll_returns_total")) {
    if (sample.labels.at("loop") == "main") sum += sample.value;
  }
  EXPECT_EQ(sum, 100);
  EXPECT_EQ(text.value("loopscope_poll_returns_total", {{"loop", "main"}, {"result", "events"}}),
            70);
  EXPECT_EQ(text.value("loopscope_poll_returns_total", {{"loop", "main"}, {"result", "saturated"}}),
            4);
}

TEST(Metrics, WaitsThatWereNotSeenHaveNoResult) {
  HostSnapshot host = full_host();
  host.processes[0].recording.loops[0].ready_unknown = 60;
  const Page text = page(host);
  std::map<std::string, double> results;
  for (const auto& sample : text.all("loopscope_poll_returns_total")) {
    if (sample.labels.at("loop") == "main") results[sample.labels.at("result")] = sample.value;
  }
  EXPECT_EQ(
      results,
      (std::map<std::string, double>{
          {"events", 10}, {"timeout", 20}, {"interrupted", 5}, {"error", 1}, {"saturated", 4}}));
}

TEST(Metrics, CountDropsOfTheKindsThereAre) {
  std::set<std::string> kinds;
  for (const auto& sample : page(full_host()).all("loopscope_dropped_records_total")) {
    kinds.insert(sample.labels.at("kind"));
  }
  EXPECT_EQ(kinds, (std::set<std::string>{"loops", "watchers", "fds", "sites", "modules", "events",
                                          "waits", "incidents"}));
}

TEST(Metrics, HistogramsAreCumulativeAndEndInTheirCount) {
  const Page text = page(full_host());
  std::size_t checked = 0;
  for (const auto& [name, type] : text.types) {
    if (type != "histogram") continue;
    const std::size_t bounds = name == "loopscope_ready_events" ? 17 : 25;
    for (const auto& count : text.all(name + "_count")) {
      double last_bound = -1, last_count = 0, infinite = NAN;
      std::size_t buckets = 0;
      for (const auto& bucket : text.all(name + "_bucket")) {
        auto labels = bucket.labels;
        const std::string le = labels.at("le");
        labels.erase("le");
        if (labels != count.labels) continue;
        ++buckets;
        const double bound = le == "+Inf" ? INFINITY : std::stod(le);
        EXPECT_GT(bound, last_bound) << name;
        EXPECT_GE(bucket.value, last_count) << name;
        last_bound = bound;
        last_count = bucket.value;
        if (le == "+Inf") infinite = bucket.value;
      }
      EXPECT_EQ(buckets, bounds + 1) << name;
      EXPECT_EQ(infinite, count.value) << name;
      ++checked;
    }
    EXPECT_EQ(text.all(name + "_sum").size(), text.all(name + "_count").size());
  }
  EXPECT_EQ(checked, 2u * 5 + 2 * 3);  // two loops, three watchers each
}

TEST(Metrics, BucketBoundsIncludeTheValueItself) {
  const Page text = page(full_host());
  const auto upto = [&](const char* metric, const char* le) {
    return text.value(std::string(metric) + "_bucket", {{"loop", "main"}, {"le", le}});
  };
  EXPECT_EQ(upto("loopscope_poll_wait_seconds", "1e-06"), 1);
  EXPECT_EQ(upto("loopscope_poll_wait_seconds", "2e-06"), 2);
  EXPECT_EQ(upto("loopscope_poll_wait_seconds", "6.4e-05"), 2);
  EXPECT_EQ(upto("loopscope_poll_wait_seconds", "0.000128"), 3);
  EXPECT_EQ(upto("loopscope_poll_wait_seconds", "16.777216"), 3);
  EXPECT_EQ(upto("loopscope_poll_wait_seconds", "+Inf"), 4);
  EXPECT_EQ(upto("loopscope_ready_events", "1"), 2);
  EXPECT_EQ(upto("loopscope_ready_events", "2"), 3);
  EXPECT_EQ(upto("loopscope_ready_events", "4"), 5);
  EXPECT_EQ(upto("loopscope_ready_events", "65536"), 5);
  EXPECT_EQ(upto("loopscope_ready_events", "+Inf"), 6);
  EXPECT_DOUBLE_EQ(text.value("loopscope_poll_wait_seconds_sum", {{"loop", "main"}}), 60.000130001);
}

TEST(Metrics, BoundsPrintAsShortNumbers) {
  for (const auto& sample : page(full_host()).all("loopscope_poll_wait_seconds_bucket")) {
    EXPECT_LE(sample.labels.at("le").size(), 9u) << sample.labels.at("le");
  }
}

TEST(Metrics, LeaveOutWhatIsNotKnown) {
  HostSnapshot host = full_host();
  auto& process = host.processes[0];
  process.loop_facts.clear();
  process.fds = {};
  process.resources.reset();
  const Page text = page(host);
  for (const char* name : {"loopscope_registered_fds", "loopscope_active_ready_ratio",
                           "loopscope_open_fds", "process_open_fds", "process_cpu_seconds_total"}) {
    EXPECT_FALSE(text.types.contains(name)) << name;
  }
  EXPECT_EQ(text.value("loopscope_iterations_total", {{"loop", "main"}}), 100);
}

TEST(Metrics, OfNothingAreTheVersion) {
  const Page text = page(HostSnapshot{});
  EXPECT_EQ(text.types.size(), 1u);
  EXPECT_TRUE(text.types.contains("loopscope_build_info"));
}

TEST(Metrics, LoopsOfOneNameStayApart) {
  HostSnapshot host = healthy_host();
  auto& loops = host.processes[0].recording.loops;
  loops = {healthy_loop("main", 7), healthy_loop("main", 3), healthy_loop("main#2", 9),
           healthy_loop("", 10)};
  loops[0].iterations = 7;
  loops[1].iterations = 3;
  loops[2].iterations = 9;
  for (int round = 0; round < 2; ++round) {
    const Page text = page(host);
    EXPECT_EQ(text.value("loopscope_iterations_total", {{"loop", "main"}}), 3);
    EXPECT_EQ(text.value("loopscope_iterations_total", {{"loop", "main#2"}}), 7);
    EXPECT_EQ(text.value("loopscope_iterations_total", {{"loop", "main#2#2"}}), 9);
    EXPECT_EQ(text.all("loopscope_iterations_total").size(), 4u);
    std::swap(loops[0], loops[1]);  // the order in the snapshot does not matter
  }
}

TEST(Metrics, OfSeveralProcessesCarryTheirLabels) {
  HostSnapshot host = healthy_host();
  host.processes.push_back(host.processes[0]);
  host.processes[1].recording.pid = 99;
  host.processes[1].recording.command = "other";
  const Page text = page(host, LabelMode::kMulti);
  EXPECT_EQ(text.value("process_open_fds", {{"process", "server"}, {"pid", "1234"}}), 12);
  EXPECT_EQ(text.value("process_open_fds", {{"process", "other"}, {"pid", "99"}}), 12);
  EXPECT_EQ(text.value("loopscope_iterations_total", {{"pid", "99"}, {"loop", "main"}}), 1000);
  std::set<std::pair<std::string, std::map<std::string, std::string>>> series;
  for (const auto& sample : text.samples) {
    EXPECT_TRUE(series.emplace(sample.name, sample.labels).second) << sample.name;
  }
  EXPECT_FALSE(page(host).all("process_open_fds").front().labels.contains("pid"));
}

TEST(Metrics, OfOneProcessWithTwoRecordingsTellBothWithoutLabels) {
  HostSnapshot host = healthy_host();
  host.processes.push_back(host.processes[0]);
  host.processes[1].fds.ledger.emplace();
  host.processes[1].recording.loops = {healthy_loop("probed", 1)};
  host.processes.push_back(host.processes[0]);
  host.processes[2].recording.pid = 99;
  const Page text = page(host);
  EXPECT_EQ(text.all("loopscope_iterations_total").size(),
            host.processes[0].recording.loops.size() + 1);
  EXPECT_EQ(text.value("loopscope_iterations_total", {{"loop", "probed"}}), 1000);
  EXPECT_EQ(text.all("process_open_fds").size(), 1u) << "nothing would tell another process apart";
}

TEST(Metrics, CountOpensAndClosesOfSourcesWithALedger) {
  HostSnapshot host = healthy_host();
  EXPECT_FALSE(page(host).types.contains("loopscope_fd_opens_total"));
  snapshot::LedgerSummary& ledger = host.processes[0].fds.ledger.emplace();
  ledger.opened_by_kind = {{"tcp", 9}, {"file", 1}};
  ledger.closed_by_kind = {{"tcp", 8}};
  const Page text = page(host);
  EXPECT_EQ(text.types.at("loopscope_fd_opens_total"), "counter");
  EXPECT_EQ(text.value("loopscope_fd_opens_total", {{"kind", "tcp"}}), 9);
  EXPECT_EQ(text.value("loopscope_fd_closes_total", {{"kind", "tcp"}}), 8);
  EXPECT_EQ(text.value("loopscope_fd_closes_total", {{"kind", "file"}}), 0);
  EXPECT_EQ(text.all("loopscope_fd_opens_total").size(), process::kDescriptorKinds);
}

TEST(Metrics, CountSuspectedLeaksOnlyWhereTheyWouldBeSeen) {
  HostSnapshot host = healthy_host();
  EXPECT_FALSE(page(host).types.contains("loopscope_suspected_leaked_fds"));
  host.processes[0].fds.ledger.emplace();
  EXPECT_EQ(page(host).value("loopscope_suspected_leaked_fds"), 0);
  findings::Finding growth;
  growth.rule = "fd-growth";
  growth.count = 51;
  host.processes[0].findings.push_back(growth);
  EXPECT_EQ(page(host).value("loopscope_suspected_leaked_fds"), 51);
}

// The library's and the probe's, or those before and after an exec.
TEST(Metrics, NoSeriesComesTwiceOfAProcessWithTwoRecordings) {
  HostSnapshot host = healthy_host();
  host.processes.push_back(host.processes[0]);
  host.processes.push_back(host.processes[0]);
  host.processes[0].recording.life = recording::Life::kExecuted;
  host.processes[1].recording.dropped[0] = 2;
  host.processes[2].recording.dropped[0] = 3;
  host.processes[2].recording.loops[0].iterations = 5;
  host.processes[2].fds.ledger.emplace();
  host.processes[2].fds.open = 77;
  const Page text = page(host, LabelMode::kMulti);
  std::set<std::pair<std::string, std::map<std::string, std::string>>> series;
  for (const auto& sample : text.samples) {
    EXPECT_TRUE(series.emplace(sample.name, sample.labels).second) << sample.name;
  }
  EXPECT_EQ(text.value("process_open_fds", {{"pid", "1234"}}), 77) << "the one with the ledger";
  EXPECT_EQ(text.value("loopscope_dropped_records_total", {{"kind", "loops"}}), 5);
  EXPECT_EQ(text.value("loopscope_iterations_total", {{"loop", "main"}}), 5);
  EXPECT_EQ(text.value("loopscope_iterations_total", {{"loop", "main#2"}}), 1000);
  EXPECT_EQ(text.all("loopscope_iterations_total").size(), 2u);
}

TEST(Metrics, OfAProcessThatIsGoneAreNotExported) {
  HostSnapshot host = healthy_host();
  host.processes[0].recording.life = recording::Life::kKilled;
  EXPECT_EQ(page(host, LabelMode::kMulti).types.size(), 1u);
}

TEST(Metrics, SurviveHostileNames) {
  HostSnapshot host = healthy_host();
  auto& loop = host.processes[0].recording.loops[0];
  loop.name = "a\"b\\c\nd\xff\xed\xa0\x80";
  loop.watchers = {watcher("\xc3\xa9 \xc3", static_cast<recording::WatcherKind>(50))};
  const std::string replacement = "\xef\xbf\xbd";
  const Page text = page(host);
  EXPECT_EQ(
      text.value("loopscope_iterations_total",
                 {{"loop", "a\"b\\c\nd" + replacement + replacement + replacement + replacement}}),
      1000);
  EXPECT_EQ(text.value("loopscope_callback_seconds_count",
                       {{"watcher", "\xc3\xa9 " + replacement}, {"kind", "other"}}),
            0);
}

TEST(LabelModeOf, FollowsTheServer) {
  HostSnapshot host;
  EXPECT_EQ(label_mode(host), LabelMode::kSingle);
  host.mode = snapshot::Mode::kServe;
  EXPECT_EQ(label_mode(host), LabelMode::kMulti);
}

TEST(LoopCollectable, AsksItsSourceEachTime) {
  int calls = 0;
  const LoopCollectable collectable(
      [&] {
        HostSnapshot host = healthy_host();
        host.processes[0].recording.loops[0].iterations = static_cast<std::uint64_t>(++calls);
        return host;
      },
      LabelMode::kSingle);
  EXPECT_EQ(collectable.Collect().front().metric.front().counter.value, 1);
  EXPECT_EQ(collectable.Collect().front().metric.front().counter.value, 2);
  EXPECT_THROW(LoopCollectable({}, LabelMode::kSingle), std::invalid_argument);
}

}  // namespace
}  // namespace loopscope::metrics
