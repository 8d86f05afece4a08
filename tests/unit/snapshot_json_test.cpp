// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/epoll.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "instrumentation/snapshot/json.h"
#include "tests/unit/fixtures.h"

namespace loopscope::snapshot {
namespace {

using namespace loopscope::fixtures;
using nlohmann::json;

std::set<std::string> keys(const json& object) {
  std::set<std::string> all;
  for (const auto& item : object.items()) all.insert(item.key());
  return all;
}

json parsed(const HostSnapshot& host) { return json::parse(to_json(host)); }

TEST(Rfc3339, HasMicrosecondsInUtc) {
  EXPECT_EQ(rfc3339(0), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(rfc3339(kNow + 123'456'789), "2026-03-01T12:00:00.123456Z");
  EXPECT_EQ(rfc3339(1'709'210'096'000'001'999), "2024-02-29T12:34:56.000001Z");
  EXPECT_EQ(rfc3339(~std::uint64_t{0}), "2554-07-21T23:34:33.709551Z");
}

TEST(Json, OfNothingIsComplete) {
  const json root = parsed(HostSnapshot{});
  EXPECT_EQ(root["schema"], "loopscope.snapshot/1");
  EXPECT_EQ(root["processes"], json::array());
  EXPECT_EQ(root["unreadable"], json::array());
}

// The names are the contract of docs/http-api.md.
TEST(Json, HasExactlyTheDocumentedFields) {
  HostSnapshot host = healthy_host();
  auto& loop = host.processes[0].recording.loops[0];
  loop.watchers = {watcher("accept", recording::WatcherKind::kIo)};
  loop.phase = recording::Phase::kDispatching;
  host.processes[0].findings.emplace_back();
  host.unreadable = {{"/x", "no"}};
  const json root = parsed(host);
  using Set = std::set<std::string>;
  EXPECT_EQ(keys(root),
            (Set{"schema", "taken_at", "server", "processes", "unreadable", "processes_folded"}));
  EXPECT_EQ(keys(root["server"]), (Set{"version", "mode"}));
  EXPECT_EQ(keys(root["unreadable"][0]), (Set{"path", "error"}));
  const json& process = root["processes"][0];
  EXPECT_EQ(keys(process), (Set{"id",          "pid",         "parent_pid",     "run_pid",
                                "command",     "argv",        "source",         "started_at",
                                "state",       "ended",       "uptime_seconds", "exit_status",
                                "signal",      "cpu_seconds", "resident_bytes", "recording",
                                "loops",       "fds",         "findings",       "dropped",
                                "own_failures"}));
  EXPECT_EQ(keys(process["recording"]), (Set{"path", "version", "clock", "error"}));
  EXPECT_EQ(keys(process["fds"]),
            (Set{"open", "limit", "peak", "opened", "closed", "by_kind", "opened_by_kind",
                 "closed_by_kind", "inherited", "unseen", "met", "closed_unseen", "accepts",
                 "bad_closes", "sites", "sites_total"}));
  EXPECT_EQ(keys(root["processes_folded"]), (Set{"count", "exited", "killed", "fds"}));
  EXPECT_EQ(keys(root["processes_folded"]["fds"]), (Set{"opened", "closed", "open_at_end"}));
  EXPECT_EQ(keys(process["findings"][0]),
            (Set{"rule", "severity", "title", "detail", "advice", "count", "since", "subject"}));
  EXPECT_EQ(keys(process["dropped"]),
            (Set{"loops", "watchers", "fds", "sites", "modules", "events", "waits", "incidents"}));
  const json& one = process["loops"][0];
  EXPECT_EQ(keys(one), (Set{"id",
                            "name",
                            "backend",
                            "state",
                            "thread_id",
                            "epoll_fd",
                            "iterations",
                            "ready_events",
                            "registered_fds",
                            "polls",
                            "busy_seconds",
                            "idle_seconds",
                            "utilization",
                            "phase",
                            "phase_seconds",
                            "current",
                            "stall_threshold_seconds",
                            "stalls",
                            "stalled_seconds",
                            "poll_wait_seconds",
                            "busy_turn_seconds",
                            "poll_delay_seconds",
                            "timer_lag_seconds",
                            "ready_events_per_poll",
                            "recent",
                            "recent_lost",
                            "ring_capacity",
                            "skew_turns",
                            "watchers",
                            "unattributed_seconds"}));
  EXPECT_EQ(keys(one["polls"]), (Set{"blocking", "nonblocking", "events", "timeout", "interrupted",
                                     "error", "saturated", "unknown"}));
  EXPECT_EQ(keys(one["current"]), (Set{"ready", "watcher", "watcher_seconds"}));
  EXPECT_EQ(keys(one["recent"][0]), (Set{"turn", "at", "poll_wait", "busy", "ready", "timeout",
                                         "result", "watcher", "watcher_seconds"}));
  EXPECT_EQ(keys(one["watchers"][0]), (Set{"name", "kind", "fd", "active", "invocations",
                                           "callback_seconds", "lag_seconds"}));
  EXPECT_EQ(keys(one["poll_wait_seconds"]),
            (Set{"count", "sum", "min", "max", "p50", "p90", "p99", "p999", "buckets"}));
}

TEST(Json, SaysWhatIsInTheSnapshot) {
  const json root = parsed(healthy_host());
  EXPECT_EQ(root["taken_at"], "2026-03-01T12:00:00.000000Z");
  EXPECT_EQ(root["server"], json({{"version", "0.1.0"}, {"mode", "inspector"}}));
  const json& process = root["processes"][0];
  EXPECT_EQ(process["id"], "1234-987654");
  EXPECT_EQ(process["argv"], json({"./server", "--port", "80"}));
  EXPECT_EQ(process["source"], "library");
  EXPECT_EQ(process["state"], "running");
  EXPECT_EQ(process["uptime_seconds"], 30);
  EXPECT_EQ(process["exit_status"], nullptr);
  EXPECT_EQ(process["cpu_seconds"], 1.25);
  EXPECT_EQ(process["resident_bytes"], 8 << 20);
  EXPECT_EQ(process["recording"]["error"], nullptr);
  EXPECT_EQ(process["fds"]["open"], 12);
  EXPECT_EQ(process["fds"]["peak"], nullptr);
  EXPECT_EQ(process["fds"]["by_kind"], json({{"tcp", 8}, {"epoll", 1}, {"file", 3}}));
  const json& loop = process["loops"][0];
  EXPECT_EQ(loop["name"], "main");
  EXPECT_EQ(loop["state"], "live");
  EXPECT_EQ(loop["registered_fds"], 4);
  EXPECT_EQ(loop["polls"]["blocking"], 1000);
  EXPECT_DOUBLE_EQ(loop["idle_seconds"].get<double>(), 10.005);  // with the poll in progress
  EXPECT_DOUBLE_EQ(loop["busy_seconds"].get<double>(), 0.1);
  EXPECT_DOUBLE_EQ(loop["utilization"].get<double>(), 0.1 / 10.105);
  EXPECT_EQ(loop["phase"], "polling");
  EXPECT_EQ(loop["current"], nullptr);
  EXPECT_EQ(loop["recent"].size(), 500u);
  EXPECT_EQ(loop["recent"][0]["turn"], 501);
  EXPECT_EQ(loop["recent"][0]["poll_wait"], 0.01);
  EXPECT_EQ(loop["recent"][0]["timeout"], -1);
  EXPECT_EQ(loop["recent"][0]["watcher"], nullptr);
  EXPECT_EQ(loop["recent"][0]["result"], "events");
}

/// With a ledger: two descriptors from one site, one that only the kernel knows.
HostSnapshot host_with_ledger() {
  HostSnapshot host = healthy_host();
  auto& process = host.processes[0];
  process.recording.source = recording::SourceKind::kProbe;
  process.recording.run_pid = 99;
  process.fds.opened = 10;
  process.fds.closed = 8;
  process.fds.peak = 7;
  LedgerSummary& ledger = process.fds.ledger.emplace();
  ledger.opened_by_kind = {{"tcp", 9}, {"file", 1}};
  ledger.closed_by_kind = {{"tcp", 8}};
  ledger.inherited = 3;
  ledger.unseen = 1;
  ledger.met = 4;
  ledger.closed_unseen = 5;
  ledger.accepts = 6;
  ledger.bad_closes = 2;
  OpenSite site;
  site.id = 17;
  site.kind = process::DescriptorKind::kTcp;
  site.live = 2;
  site.opened = 9;
  site.closed = 7;
  site.peak = 5;
  site.oldest_ns = kNow - 90 * kSecond;
  StackFrame named;
  named.function = "accept_one(int)";
  named.file = "/src/server.cpp";
  named.line = 12;
  named.module = "/usr/bin/server";
  named.offset = 0x1234;
  named.inlined = true;
  site.stack = std::make_shared<const std::vector<StackFrame>>(
      std::vector<StackFrame>{named, StackFrame{"", "", 0, "", 0x7f0000001000, false}});
  process.sites.assign(30, site);
  process.sites_total = 31;
  auto& list = process.descriptors.emplace();
  Descriptor& one = list.emplace_back();
  one.record.fd = 7;
  one.record.generation = 3;
  one.record.kind = process::DescriptorKind::kTcp;
  one.record.origin = recording::FdOrigin::kOpened;
  one.record.close_on_exec = one.record.non_blocking = one.record.accepted = true;
  one.record.registered_epoll_fd = 5;
  one.record.registered_events = EPOLLIN | EPOLLET | 1u << 27;
  one.record.events = 40;
  one.record.io_calls = 80;
  one.record.activity_ns = kNow - 2 * kSecond;
  one.record.opened_ns = kNow - 90 * kSecond;
  one.record.busy_ns = 1500 * kMillisecond;
  one.record.thread_id = 1234;
  one.record.local = "127.0.0.1:80";
  one.record.peer = "[::1]:4000";
  one.record.site = 17;
  one.event_share = 0.04;
  Descriptor& other = list.emplace_back();
  other.unseen = true;
  other.record.fd = 8;
  other.record.kind = process::DescriptorKind::kFile;
  other.record.target = "/etc/hosts\xff";
  process.descriptors_left_out = 11;
  return host;
}

TEST(Json, TellsTheLedger) {
  const json process = parsed(host_with_ledger())["processes"][0];
  EXPECT_EQ(process["source"], "probe");
  EXPECT_EQ(process["run_pid"], 99);
  EXPECT_EQ(process["ended"], nullptr);
  const json& fds = process["fds"];
  EXPECT_EQ(fds["open"], 12);
  EXPECT_EQ(fds["opened"], 10);
  EXPECT_EQ(fds["closed"], 8);
  EXPECT_EQ(fds["peak"], 7);
  EXPECT_EQ(fds["opened_by_kind"], json({{"tcp", 9}, {"file", 1}}));
  EXPECT_EQ(fds["closed_by_kind"], json({{"tcp", 8}}));
  EXPECT_EQ(fds["inherited"], 3);
  EXPECT_EQ(fds["unseen"], 1);
  EXPECT_EQ(fds["met"], 4);
  EXPECT_EQ(fds["closed_unseen"], 5);
  EXPECT_EQ(fds["accepts"], 6);
  EXPECT_EQ(fds["bad_closes"], 2);
  ASSERT_EQ(fds["sites"].size(), 30u);
  EXPECT_EQ(fds["sites_total"], 31);
  const json& site = fds["sites"][0];
  EXPECT_EQ(site["id"], 17);
  EXPECT_EQ(site["kind"], "tcp");
  EXPECT_EQ(site["live"], 2);
  EXPECT_EQ(site["oldest_seconds"], 90);
  EXPECT_EQ(site["stack"][0], json({{"function", "accept_one(int)"},
                                    {"file", "/src/server.cpp"},
                                    {"line", 12},
                                    {"module", "/usr/bin/server"},
                                    {"offset", 0x1234},
                                    {"inlined", true},
                                    {"script", false}}));
  EXPECT_EQ(site["stack"][1], json({{"function", nullptr},
                                    {"file", nullptr},
                                    {"line", nullptr},
                                    {"module", nullptr},
                                    {"offset", 0x7f0000001000},
                                    {"inlined", false},
                                    {"script", false}}));
}

TEST(Json, ListsDescriptors) {
  const json fds = parsed(host_with_ledger())["processes"][0]["fds"];
  ASSERT_EQ(fds["list"].size(), 2u);
  EXPECT_EQ(fds["list_left_out"], 11);
  EXPECT_EQ(fds["list"][0], json({{"fd", 7},
                                  {"kind", "tcp"},
                                  {"origin", "opened"},
                                  {"target", nullptr},
                                  {"local", "127.0.0.1:80"},
                                  {"peer", "[::1]:4000"},
                                  {"age_seconds", 90},
                                  {"idle_seconds", 2},
                                  {"thread_id", 1234},
                                  {"close_on_exec", true},
                                  {"nonblocking", true},
                                  {"listening", false},
                                  {"accepted", true},
                                  {"end", nullptr},
                                  {"pair_fd", nullptr},
                                  {"epoll_fd", 5},
                                  {"interest", {"in", "et"}},
                                  {"events", 40},
                                  {"event_share", 0.04},
                                  {"io_calls", 80},
                                  {"busy_seconds", 1.5},
                                  {"generation", 3},
                                  {"site", 17}}));
  const json& other = fds["list"][1];
  EXPECT_EQ(other["origin"], "unseen");
  EXPECT_EQ(other["target"], "/etc/hosts\xef\xbf\xbd");
  for (const char* key : {"age_seconds", "idle_seconds", "thread_id", "close_on_exec", "events",
                          "io_calls", "busy_seconds", "site", "epoll_fd", "interest"}) {
    EXPECT_EQ(other[key], nullptr) << key;
  }
  EXPECT_EQ(keys(other), keys(fds["list"][0]));
}

TEST(Json, GivesAsManySitesAsAskedFor) {
  HostSnapshot host = host_with_ledger();
  const auto sites = [&] {
    return json::parse(
               to_json(host, {.sites = 20, .sites_of_ended = 3}))["processes"][0]["fds"]["sites"]
        .size();
  };
  EXPECT_EQ(sites(), 20u);
  host.processes[0].recording.life = recording::Life::kExited;
  EXPECT_EQ(sites(), 3u);
}

TEST(Json, SaysHowAProcessEnded) {
  HostSnapshot host = host_with_ledger();
  auto& recording = host.processes[0].recording;
  const std::tuple<recording::Life, const char*, const char*> cases[] = {
      {recording::Life::kExited, "exited", "exit"},
      {recording::Life::kExecuted, "exited", "exec"},
      {recording::Life::kKilled, "killed", "killed"}};
  for (const auto& [life, state, ended] : cases) {
    recording.life = life;
    const json process = parsed(host)["processes"][0];
    EXPECT_EQ(process["state"], state);
    EXPECT_EQ(process["ended"], ended);
    EXPECT_EQ(process["fds"]["sites"][0]["oldest_seconds"], nullptr) << "its end is not known";
  }
  recording.ended_ns = kNow - 30 * kSecond;
  EXPECT_EQ(parsed(host)["processes"][0]["fds"]["sites"][0]["oldest_seconds"], 60);
  EXPECT_EQ(parsed(host)["processes"][0]["fds"]["list"][0]["idle_seconds"], 0) << "never negative";
}

TEST(Json, OfAHistogramIsInSecondsAndWithoutEmptyBuckets) {
  HostSnapshot host = healthy_host();
  auto& loop = host.processes[0].recording.loops[0];
  loop.poll_wait = times({kMicrosecond, kMicrosecond, 2 * kSecond});
  loop.ready = counts({0, 3, 1000});
  const json root = parsed(host)["processes"][0]["loops"][0];
  const json& wait = root["poll_wait_seconds"];
  EXPECT_EQ(wait["count"], 3);
  EXPECT_EQ(wait["sum"], 2.000002);
  EXPECT_EQ(wait["min"], 1e-6);
  EXPECT_EQ(wait["max"], 2);
  EXPECT_NEAR(wait["p50"].get<double>(), 1e-6, 3e-8);
  ASSERT_EQ(wait["buckets"].size(), 2u);
  EXPECT_EQ(wait["buckets"][0][0], 1e-6);
  EXPECT_EQ(wait["buckets"][0][1], 2);
  EXPECT_GE(wait["buckets"][1][0], 2.0);
  EXPECT_LE(wait["buckets"][1][0], 2.06);
  const json& ready = root["ready_events_per_poll"];
  EXPECT_EQ(ready["sum"], 1003);
  EXPECT_EQ(ready["min"], 0);
  EXPECT_EQ(ready["buckets"][0], json({0, 1}));
  EXPECT_EQ(ready["buckets"][1], json({3, 1}));
  const json& empty = root["timer_lag_seconds"];
  EXPECT_EQ(empty["count"], 0);
  EXPECT_EQ(empty["sum"], 0);
  for (const char* key : {"min", "max", "p50", "p90", "p99", "p999"}) {
    EXPECT_EQ(empty[key], nullptr) << key;
  }
  EXPECT_EQ(empty["buckets"], json::array());
}

TEST(Json, SaysNullForWhatIsNotKnown) {
  HostSnapshot host = healthy_host();
  auto& process = host.processes[0];
  process.resources.reset();
  process.fds = {};
  process.loop_facts.clear();
  process.recording.life = recording::Life::kKilled;
  process.recording.path.clear();
  auto& loop = process.recording.loops[0];
  loop = {};
  loop.recent = turns(1, {});
  const json root = parsed(host)["processes"][0];
  EXPECT_EQ(root["state"], "killed");
  for (const char* key : {"uptime_seconds", "cpu_seconds", "resident_bytes", "exit_status"}) {
    EXPECT_EQ(root[key], nullptr) << key;
  }
  EXPECT_EQ(root["recording"]["path"], nullptr);
  EXPECT_EQ(root["fds"]["open"], nullptr);
  EXPECT_EQ(root["fds"]["limit"], nullptr);
  EXPECT_EQ(root["fds"]["by_kind"], json::object());
  for (const char* key : {"opened_by_kind", "closed_by_kind", "inherited", "unseen", "met",
                          "closed_unseen", "accepts", "bad_closes"}) {
    EXPECT_EQ(root["fds"][key], nullptr) << key;
  }
  EXPECT_FALSE(root["fds"].contains("list"));
  const json& one = root["loops"][0];
  EXPECT_EQ(one["utilization"], nullptr);
  EXPECT_EQ(one["epoll_fd"], nullptr);
  EXPECT_EQ(one["registered_fds"], nullptr);
  EXPECT_EQ(one["recent"][0]["ready"], nullptr);
  EXPECT_EQ(one["recent"][0]["timeout"], nullptr);
}

TEST(Json, DoesNotKnowHowLongTheLastPhaseOfAGoneProcessWas) {
  for (const auto life : {recording::Life::kKilled, recording::Life::kExited}) {
    HostSnapshot host = healthy_host();
    host.processes[0].recording.life = life;
    auto& loop = host.processes[0].recording.loops[0];
    loop.phase = recording::Phase::kDispatching;
    loop.phase_ns = loop.stalled_ns = loop.running_watcher_ns = 0;  // as it is read then
    loop.watchers = {watcher("query", recording::WatcherKind::kIo)};
    loop.running_watcher = 1;
    const json one = parsed(host)["processes"][0]["loops"][0];
    EXPECT_EQ(one["phase"], "dispatching");
    EXPECT_EQ(one["phase_seconds"], nullptr);
    EXPECT_EQ(one["stalled_seconds"], nullptr);
    EXPECT_EQ(one["current"]["watcher"], "query");
    EXPECT_EQ(one["current"]["watcher_seconds"], nullptr);
  }
  HostSnapshot host = healthy_host();
  host.processes[0].recording.loops[0].ended = true;
  const json ended = parsed(host)["processes"][0]["loops"][0];
  EXPECT_EQ(ended["phase_seconds"], nullptr);
  EXPECT_EQ(ended["stalled_seconds"], 0);
}

TEST(Json, GivesNoResultToWaitsThatWereNotSeen) {
  HostSnapshot host = healthy_host();
  auto& loop = host.processes[0].recording.loops[0];
  loop.ready_unknown = 600;
  loop.timeouts = 100;
  loop.recent.back().ready = recording::kReadyUnknown;
  const json one = parsed(host)["processes"][0]["loops"][0];
  EXPECT_EQ(one["polls"]["events"], 300);
  EXPECT_EQ(one["polls"]["timeout"], 100);
  EXPECT_EQ(one["polls"]["unknown"], 600);
  EXPECT_EQ(one["recent"].back()["result"], nullptr);
  EXPECT_EQ(one["recent"].back()["ready"], nullptr);
  EXPECT_EQ(one["recent"].front()["result"], "events");
}

TEST(Json, OfAnEndedProcess) {
  HostSnapshot host = healthy_host();
  auto& recording = host.processes[0].recording;
  recording.life = recording::Life::kExited;
  recording.exit_status = 3;
  recording.ended_ns = recording.started_ns + 1500 * kMillisecond;
  recording.loops[0].ended = true;
  const json root = parsed(host)["processes"][0];
  EXPECT_EQ(root["state"], "exited");
  EXPECT_EQ(root["exit_status"], 3);
  EXPECT_EQ(root["uptime_seconds"], 1.5);
  EXPECT_EQ(root["loops"][0]["state"], "ended");
}

TEST(Json, SaysWhatAStalledLoopIsStuckIn) {
  HostSnapshot host = healthy_host();
  auto& loop = host.processes[0].recording.loops[0];
  loop.phase = recording::Phase::kDispatching;
  loop.phase_ns = 2 * kSecond;
  loop.watchers = {watcher("query", recording::WatcherKind::kIo)};
  loop.running_watcher = 1;
  loop.running_watcher_ns = 1900 * kMillisecond;
  loop.current_ready = 3;
  const json root = parsed(host)["processes"][0]["loops"][0];
  EXPECT_EQ(root["current"], json({{"ready", 3}, {"watcher", "query"}, {"watcher_seconds", 1.9}}));
  EXPECT_DOUBLE_EQ(root["busy_seconds"].get<double>(), 2.1);
  EXPECT_DOUBLE_EQ(root["idle_seconds"].get<double>(), 10.0);
  // 0.1 s of finished turns and 0.1 s of this one: nothing named had them.
  EXPECT_DOUBLE_EQ(root["unattributed_seconds"].get<double>(), 0.2);
}

TEST(Json, GivesAWatchersDescriptorOnlyIfItIsTheOne) {
  HostSnapshot host = healthy_host();
  auto& loop = host.processes[0].recording.loops[0];
  loop.watchers = {watcher("one", recording::WatcherKind::kIo),
                   watcher("two", recording::WatcherKind::kIo),
                   watcher("none", recording::WatcherKind::kTimer)};
  loop.watchers[0].fd = loop.watchers[1].fd = 7;
  loop.watchers[1].active = 2;
  loop.watchers[2].lag = times({kMillisecond});
  const json root = parsed(host)["processes"][0]["loops"][0]["watchers"];
  EXPECT_EQ(root[0]["fd"], 7);
  EXPECT_EQ(root[1]["fd"], nullptr);
  EXPECT_EQ(root[2]["fd"], nullptr);
  EXPECT_EQ(root[1]["active"], 2);
  EXPECT_EQ(root[0]["lag_seconds"], nullptr);
  EXPECT_EQ(root[2]["lag_seconds"]["count"], 1);
  EXPECT_EQ(root[2]["kind"], "timer");
}

TEST(Json, DatesFindings) {
  HostSnapshot host = healthy_host();
  findings::Finding finding;
  finding.severity = findings::Severity::kError;
  finding.since_ns = kNow;
  host.processes[0].findings = {finding, {}};
  const json root = parsed(host)["processes"][0]["findings"];
  EXPECT_EQ(root[0]["since"], "2026-03-01T12:00:00.000000Z");
  EXPECT_EQ(root[0]["severity"], "error");
  EXPECT_EQ(root[1]["since"], nullptr);
}

TEST(Json, SurvivesHostileStringsAndNumbers) {
  const std::string hostile("\xff\xc0\xaf\"\\\n\t\x01\x00</script>\xe2\x82", 21);
  HostSnapshot host = healthy_host();
  auto& process = host.processes[0];
  process.recording.command = hostile;
  process.recording.argv = {hostile, ""};
  process.recording.error = hostile;
  process.recording.path = hostile;
  auto& loop = process.recording.loops[0];
  loop.name = loop.backend = hostile;
  loop.watchers = {watcher(hostile, static_cast<recording::WatcherKind>(77))};
  loop.watchers[0].active = -5;
  loop.phase = static_cast<recording::Phase>(9);
  loop.running_watcher = 4'000'000'000u;
  loop.iterations = 1;
  loop.timeouts = loop.errors = loop.interrupted = loop.nonblocking = ~std::uint64_t{0};
  loop.poll_wait.sum = loop.busy.sum = loop.phase_ns = ~std::uint64_t{0};
  loop.recent[0].watcher = 65535;
  loop.recent[0].timeout_ns = -77;
  loop.recent[0].at_ns = ~std::uint64_t{0};
  process.recording.started_ns = ~std::uint64_t{0};
  host.unreadable = {{hostile, hostile}};
  const json root = parsed(host);
  EXPECT_EQ(root["processes"][0]["state"], "running");
  EXPECT_EQ(root["processes"][0]["loops"][0]["polls"]["events"], 0);
  EXPECT_EQ(root["processes"][0]["loops"][0]["watchers"][0]["kind"], "other");
  EXPECT_NE(root["processes"][0]["command"].get<std::string>().find("</script>"),
            std::string::npos);
}

TEST(Json, WritesNanosecondsExactly) {
  HostSnapshot host = healthy_host();
  auto& loop = host.processes[0].recording.loops[0];
  const std::pair<std::uint64_t, const char*> cases[] = {
      {0, "0"},
      {1, "0.000000001"},
      {1'000'000'000, "1"},
      {1'500'000'000, "1.5"},
      {60'000'000'001, "60.000000001"},
      {~std::uint64_t{0}, "18446744073.709551615"}};
  for (const auto& [ns, text] : cases) {
    loop.phase_ns = ns;
    const std::string wanted = std::string("\"phase_seconds\":") + text + ",";
    EXPECT_NE(to_json(host).find(wanted), std::string::npos) << wanted;
  }
}

}  // namespace
}  // namespace loopscope::snapshot
