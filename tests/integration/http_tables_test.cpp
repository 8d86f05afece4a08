// SPDX-License-Identifier: Apache-2.0
//
// /api/v1/descriptors, /sd, /metrics?process=ID and the last event of a stream, over real sockets,
// with made-up snapshots: docs/http-api.md line by line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/http_client.h"
#include "webui/server/descriptor_table.h"
#include "webui/server/query.h"
#include "webui/server/server.h"
#include "webui/server/service_discovery.h"

namespace loopscope::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using process::DescriptorKind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using webui::Server;

constexpr std::uint64_t kNow = 1'800'000'000'000'000'000;
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr char kId[] = "4711-99";

snapshot::Descriptor descriptor(std::int32_t fd, DescriptorKind kind) {
  snapshot::Descriptor one;
  one.record.fd = fd;
  one.record.kind = kind;
  one.record.generation = 1;
  one.record.opened_ns = kNow - static_cast<std::uint64_t>(fd) * kSecond;
  return one;
}

snapshot::ProcessSnapshot a_process(std::int32_t pid, const std::string& command) {
  snapshot::ProcessSnapshot process;
  process.recording.pid = pid;
  process.recording.start_ticks = 99;
  process.recording.command = command;
  process.recording.taken_ns = kNow;
  process.recording.source = recording::SourceKind::kProbe;
  process.fds.ledger.emplace();
  return process;
}

snapshot::HostSnapshot a_host(std::vector<snapshot::ProcessSnapshot> processes) {
  snapshot::HostSnapshot host;
  host.taken_at_ns = kNow;
  host.version = "0.0-test";
  host.mode = snapshot::Mode::kServe;
  host.processes = std::move(processes);
  return host;
}

json error_of(const Reply& reply) {
  EXPECT_EQ(reply.header("content-type"), "application/json");
  const json body = json::parse(reply.body, nullptr, false);
  if (!body.is_object() || !body.contains("error")) return json::object();
  return body["error"];
}

class TablesTest : public ::testing::Test {
 protected:
  TablesTest() {
    snapshot::ProcessSnapshot process = a_process(4711, "demo");
    std::vector<snapshot::Descriptor>& list = process.descriptors.emplace();
    list.push_back(descriptor(3, DescriptorKind::kFile));
    list.back().record.target = "/var/log/Demo.log";
    list.back().record.site = 2;
    list.push_back(descriptor(4, DescriptorKind::kEpoll));
    list.push_back(descriptor(5, DescriptorKind::kTcp));
    list.back().record.local = "127.0.0.1:80";
    list.back().record.peer = "10.0.0.7:4000";
    list.back().record.registered_epoll_fd = 4;
    list.back().record.events = 7;
    list.back().record.busy_ns = 10;
    list.back().record.site = 1;
    list.push_back(descriptor(6, DescriptorKind::kTcp));
    list.back().record.local = "127.0.0.1:80";
    list.back().record.peer = "10.0.0.8:4001";
    list.back().record.registered_epoll_fd = 4;
    list.back().record.events = 9;
    list.back().record.busy_ns = 5;
    list.back().record.site = 1;
    list.back().event_share = 0.5;
    list.push_back(descriptor(17, DescriptorKind::kPipe));
    list.back().unseen = true;
    list.back().record.opened_ns = 0;
    list.back().record.target = "pipe:[9]";
    host_ = a_host({process});
  }

  Server& server() {
    if (!server_) {
      server_ = std::make_unique<Server>(webui::ServerOptions{},
                                         [this](const webui::SnapshotRequest& request) {
                                           const std::lock_guard lock(mutex_);
                                           ++taken_;
                                           asked_ = request;
                                           return host_;
                                         });
    }
    return *server_;
  }

  Reply reply(const std::string& query) {
    return get(server().port(), "/api/v1/descriptors?process=" + std::string(kId) + query);
  }
  json table(const std::string& query) {
    const Reply answer = reply(query);
    EXPECT_EQ(answer.status, 200) << query << answer.body;
    EXPECT_EQ(answer.header("content-type"), "application/json");
    return json::parse(answer.body);
  }
  static std::vector<int> numbers(const json& table) {
    std::vector<int> fds;
    for (const json& row : table["rows"]) fds.push_back(row["fd"]);
    return fds;
  }
  std::vector<int> rows(const std::string& query) { return numbers(table(query)); }

  std::mutex mutex_;
  snapshot::HostSnapshot host_;
  unsigned taken_ = 0;
  webui::SnapshotRequest asked_;
  std::unique_ptr<Server> server_;
};

// --- /api/v1/descriptors -------------------------------------------------------------------------

TEST_F(TablesTest, GivesRowsAsTheSnapshotListsThem) {
  const json all = table("");
  EXPECT_EQ(all["schema"], "loopscope.descriptors/1");
  EXPECT_EQ(all["process"], kId);
  EXPECT_THAT(all["taken_at"].get<std::string>(), HasSubstr("2027-01-15T08:00:00"));
  EXPECT_EQ(all["total"], 5);
  EXPECT_EQ(all["matched"], 5);
  EXPECT_EQ(all["offset"], 0);
  EXPECT_EQ(all["left_out"], 0);
  EXPECT_THAT(numbers(all), ElementsAre(3, 4, 5, 6, 17));
  const std::string whole = get(server().port(), "/api/v1/snapshot?descriptors=1").body;
  EXPECT_EQ(all["rows"], json::parse(whole)["processes"][0]["fds"]["list"]);
  const std::lock_guard lock(mutex_);
  EXPECT_EQ(asked_.pid, std::nullopt) << "that was the snapshot";
}

TEST_F(TablesTest, AsksForTheTableOfThatProcessAlone) {
  table("");
  const std::lock_guard lock(mutex_);
  EXPECT_TRUE(asked_.table);
  EXPECT_EQ(asked_.recent, 0u);
  EXPECT_EQ(asked_.pid, 4711);
}

TEST_F(TablesTest, SortsWithTheUnknownLast) {
  EXPECT_THAT(rows("&sort=fd&order=desc"), ElementsAre(17, 6, 5, 4, 3));
  EXPECT_THAT(rows("&sort=kind"), ElementsAre(4, 3, 17, 5, 6));
  EXPECT_THAT(rows("&sort=kind&order=desc"), ElementsAre(5, 6, 17, 3, 4)) << "equal ones rise";
  EXPECT_THAT(rows("&sort=target"), ElementsAre(3, 5, 6, 17, 4));
  EXPECT_THAT(rows("&sort=target&order=desc"), ElementsAre(17, 6, 5, 3, 4));
  EXPECT_THAT(rows("&sort=age"), ElementsAre(3, 4, 5, 6, 17)) << "youngest first";
  EXPECT_THAT(rows("&sort=age&order=desc"), ElementsAre(6, 5, 4, 3, 17));
  EXPECT_THAT(rows("&sort=idle"), ElementsAre(3, 4, 5, 6, 17)) << "nothing is known";
  EXPECT_THAT(rows("&sort=events&order=desc"), ElementsAre(6, 5, 3, 4, 17));
  EXPECT_THAT(rows("&sort=event_share"), ElementsAre(6, 3, 4, 5, 17));
  EXPECT_THAT(rows("&sort=busy&order=desc"), ElementsAre(5, 6, 3, 4, 17));
  EXPECT_THAT(rows("&sort=io_calls"), ElementsAre(3, 4, 5, 6, 17));
  EXPECT_THAT(rows("&sort=site"), ElementsAre(5, 6, 3, 4, 17));
  EXPECT_THAT(rows("&sort=site&order=desc"), ElementsAre(3, 5, 6, 4, 17));
}

TEST_F(TablesTest, FiltersByText) {
  EXPECT_THAT(rows("&q=demo.LOG"), ElementsAre(3));
  EXPECT_THAT(rows("&q=TCP"), ElementsAre(5, 6));
  EXPECT_THAT(rows("&q=10.0.0.8"), ElementsAre(6));
  EXPECT_THAT(rows("&q=127.0.0.1%3a80"), ElementsAre(5, 6));
  EXPECT_THAT(rows("&q=7"), ElementsAre(5, 6, 17)) << "a number, two addresses";
  EXPECT_THAT(rows("&q=pipe:%5B"), ElementsAre(17));
  EXPECT_THAT(rows("&q=a+b"), ElementsAre());
  EXPECT_THAT(rows("&q="), ElementsAre(3, 4, 5, 6, 17));
  const json some = table("&q=tcp&limit=1&offset=1");
  EXPECT_EQ(some["matched"], 2);
  EXPECT_EQ(some["total"], 5);
  EXPECT_THAT(numbers(some), ElementsAre(6));
}

TEST_F(TablesTest, FiltersByColumn) {
  EXPECT_THAT(rows("&kind=tcp"), ElementsAre(5, 6));
  EXPECT_THAT(rows("&site=1"), ElementsAre(5, 6));
  EXPECT_THAT(rows("&site=0"), ElementsAre()) << "one without a site is of none";
  EXPECT_THAT(rows("&epoll_fd=4"), ElementsAre(5, 6));
  EXPECT_THAT(rows("&kind=tcp&q=8&sort=events&order=desc"), ElementsAre(6, 5));
}

TEST_F(TablesTest, PagesNeitherOverlapNorMissARow) {
  {
    std::vector<snapshot::Descriptor>& list = *host_.processes[0].descriptors;
    list.clear();
    for (std::int32_t fd = 0; fd < 1000; ++fd) {
      list.push_back(descriptor(fd, DescriptorKind::kTcp));
      list.back().record.events = static_cast<std::uint64_t>(fd % 7);
      list.back().record.registered_epoll_fd = fd % 2 == 0 ? 4 : -1;
    }
  }
  for (const char* how : {"&sort=events", "&sort=events&order=desc", "&sort=kind", "&order=desc",
                          "&sort=events&epoll_fd=4"}) {
    SCOPED_TRACE(how);
    const std::vector<int> whole = rows(std::string(how) + "&limit=10000");
    std::vector<int> pieces;
    for (int offset = 0; offset < 1000; offset += 60) {
      const std::vector<int> page =
          rows(std::string(how) + "&limit=60&offset=" + std::to_string(offset));
      pieces.insert(pieces.end(), page.begin(), page.end());
    }
    EXPECT_EQ(pieces, whole);
    EXPECT_EQ(std::set<int>(whole.begin(), whole.end()).size(), whole.size());
    EXPECT_EQ(whole.size(), std::string(how).find("epoll_fd") == std::string::npos ? 1000u : 500u);
  }
  EXPECT_EQ(rows("").size(), 200u);
  EXPECT_EQ(rows("&offset=900").size(), 100u);
  EXPECT_EQ(rows("&offset=1000").size(), 0u);
  EXPECT_EQ(rows("&offset=18446744073709551615").size(), 0u);
  EXPECT_EQ(rows("&limit=0").size(), 0u);
}

TEST_F(TablesTest, SaysWhichParameterIsWrong) {
  for (const auto& [query, word] : std::vector<std::pair<std::string, std::string>>{
           {"&offset=-1", "offset"},
           {"&offset=", "offset"},
           {"&limit=x", "limit"},
           {"&limit=10001", "limit"},
           {"&sort=size", "sort"},
           {"&sort=FD", "sort"},
           {"&order=up", "order"},
           {"&kind=sockets", "kind"},
           {"&kind=", "kind"},
           {"&site=1x", "site"},
           {"&site=-1", "site"},
           {"&epoll_fd=99999999999", "epoll_fd"},
           {"&q=%2", "q has a %"},
           {"&q=%zz", "q has a %"},
           {"&ofset=1", "ofset"},
           {"&limit=1&limit=2", "limit is given twice"},
           {"&process=1-1", "process is given twice"},
       }) {
    const Reply answer = reply(query);
    EXPECT_EQ(answer.status, 400) << query;
    EXPECT_EQ(error_of(answer)["code"], "bad_request") << query;
    EXPECT_THAT(error_of(answer)["message"].get<std::string>(), HasSubstr(word)) << query;
  }
  const Reply none = get(server().port(), "/api/v1/descriptors");
  EXPECT_EQ(none.status, 400);
  EXPECT_THAT(error_of(none)["message"].get<std::string>(), HasSubstr("process"));
}

TEST_F(TablesTest, AProcessThatIsNotThereIs404) {
  for (const char* id :
       {"4711-98", "4711", "4711-99-1", "1-99", "x", "-1", "4711-99x", "99999999999999-1"}) {
    const Reply answer = get(server().port(), std::string("/api/v1/descriptors?process=") + id);
    EXPECT_EQ(answer.status, 404) << id;
    EXPECT_EQ(error_of(answer)["code"], "no_such_process") << id;
  }
}

TEST_F(TablesTest, WhatIsNotListedIsCounted) {
  host_.processes[0].descriptors_left_out = 10;
  const json some = table("&limit=2");
  EXPECT_EQ(some["total"], 15);
  EXPECT_EQ(some["matched"], 5);
  EXPECT_EQ(some["left_out"], 10);
}

TEST_F(TablesTest, WithoutAListTheirNumberMayBeKnown) {
  host_.processes[0].descriptors.reset();
  host_.processes[0].fds.open = 12;
  snapshot::ProcessSnapshot unknown = a_process(4712, "nothing");
  host_.processes.push_back(unknown);
  const json counted = table("");
  EXPECT_EQ(counted["total"], 12);
  EXPECT_EQ(counted["left_out"], 12);
  EXPECT_EQ(counted["matched"], 0);
  EXPECT_EQ(counted["rows"], json::array());
  const json nothing =
      json::parse(get(server().port(), "/api/v1/descriptors?process=4712-99").body);
  EXPECT_EQ(nothing["total"], nullptr);
  EXPECT_EQ(nothing["left_out"], 0);
}

TEST_F(TablesTest, OfTwoRecordingsOfAProcessTheOneWithALedgerSpeaks) {
  snapshot::ProcessSnapshot library = a_process(4711, "demo");
  library.fds.ledger.reset();
  library.recording.source = recording::SourceKind::kLibrary;
  library.descriptors.emplace().push_back(descriptor(1, DescriptorKind::kTty));
  host_.processes.insert(host_.processes.begin(), library);
  EXPECT_EQ(rows("").size(), 5u);
}

TEST(DescriptorTablesTest, OneTableServesManyQuestions) {
  unsigned taken = 0;
  webui::DescriptorTables tables([&](const webui::SnapshotRequest&) {
    ++taken;
    return a_host({a_process(1, "a"), a_process(2, "b")});
  });
  const auto eventually = [](const auto& condition) {
    const auto deadline = Clock::now() + 20s;
    while (!condition() && Clock::now() < deadline) std::this_thread::sleep_for(10ms);
    return condition();
  };
  // On a machine that stood still meanwhile the second one may be another: it is tried again.
  std::shared_ptr<const webui::DescriptorTable> first;
  EXPECT_TRUE(eventually([&] {
    first = tables.get("1-99");
    return first == tables.get("1-99");
  }));
  EXPECT_NE(tables.get("2-99"), nullptr);
  EXPECT_EQ(tables.get("3-99"), nullptr);
  EXPECT_EQ(tables.get(""), nullptr);
  const unsigned before = taken;
  EXPECT_TRUE(eventually([&] { return tables.get("1-99") != first; })) << "it grows old";
  EXPECT_GT(taken, before);

  std::weak_ptr<const webui::DescriptorTable> kept = first;
  first.reset();
  EXPECT_TRUE(eventually([&] {
    tables.let_go();
    return kept.expired();
  })) << "nobody asks for it";
}

TEST(QueryTest, ValuesAreDecoded) {
  EXPECT_EQ(webui::decoded("a%20b+c%2Bd%c3%A4"), "a b c+d\xc3\xa4");
  EXPECT_EQ(webui::decoded(""), "");
  for (const char* wrong : {"%", "%2", "a%", "%g0", "%0g"}) {
    EXPECT_EQ(webui::decoded(wrong), std::nullopt) << wrong;
  }
}

// --- /sd and /metrics?process=ID -----------------------------------------------------------------

class DiscoveryTest : public ::testing::Test {
 protected:
  DiscoveryTest() {
    snapshot::ProcessSnapshot library = a_process(4711, "demo");
    library.recording.source = recording::SourceKind::kLibrary;
    library.fds.ledger.reset();
    library.recording.loops.push_back(loop("of the library"));
    snapshot::ProcessSnapshot probe = a_process(4711, "demo");
    probe.recording.loops.push_back(loop("of the probe"));
    snapshot::ProcessSnapshot other = a_process(4712, "n\xff\"x");
    other.recording.loops.push_back(loop("of another"));
    snapshot::ProcessSnapshot gone = a_process(4713, "gone");
    gone.recording.life = recording::Life::kKilled;
    host_ = a_host({library, probe, other, gone});
  }
  static recording::LoopSnapshot loop(const std::string& name) {
    recording::LoopSnapshot one;
    one.id = 1;
    one.name = name;
    one.iterations = 5;
    return one;
  }
  Server& server(webui::ServerOptions options = {}) {
    if (!server_) {
      server_ = std::make_unique<Server>(options,
                                         [this](const webui::SnapshotRequest&) { return host_; });
    }
    return *server_;
  }
  snapshot::HostSnapshot host_;
  std::unique_ptr<Server> server_;
};

TEST_F(DiscoveryTest, ListsEachRunningProcessOnce) {
  const std::string address = "127.0.0.1:" + std::to_string(server().port());
  const Reply answer = get(server().port(), "/sd");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("content-type"), "application/json");
  const json groups = json::parse(answer.body);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0], json({{"targets", {address}},
                             {"labels",
                              {{"__metrics_path__", "/metrics"},
                               {"__param_process", "4711-99"},
                               {"process", "demo"},
                               {"pid", "4711"},
                               {"__meta_loopscope_process", "4711-99"},
                               {"__meta_loopscope_pid", "4711"},
                               {"__meta_loopscope_command", "demo"},
                               {"__meta_loopscope_source", "library"}}}}));
  EXPECT_EQ(groups[1]["labels"]["process"], "n\xef\xbf\xbd\"x");
}

TEST_F(DiscoveryTest, TheTargetIsWhatWasAskedFor) {
  const auto target = [&](const std::string& headers) -> std::string {
    return json::parse(get(server().port(), "/sd", headers).body)[0]["targets"][0];
  };
  EXPECT_EQ(target("Host: localhost:8080\r\n"), "localhost:8080") << "a forwarded port";
  EXPECT_EQ(target("Host: [::1]:9464\r\n"), "[::1]:9464");
  const Reply old = send_raw(server().port(), "GET /sd HTTP/1.0\r\n\r\n");
  EXPECT_EQ(json::parse(old.body)[0]["targets"][0], "127.0.0.1:" + std::to_string(server().port()));
  EXPECT_EQ(get(server().port(), "/sd", "Host: evil.example\r\n").status, 403);
}

TEST_F(DiscoveryTest, OnlyANameOrAnAddressIsATarget) {
  for (const char* host : {"a.example:9464", "10.0.0.1", "[fe80::1%25eth0]:1", "my_host"}) {
    EXPECT_EQ(webui::scrape_target(host), host);
  }
  for (const char* host : {"", "a/b", "a b", "a@b", "a?b", "a\"b", "a\xc3\xa4"}) {
    EXPECT_EQ(webui::scrape_target(host), std::nullopt) << host;
  }
  webui::ServerOptions options;
  options.address = "0.0.0.0";
  options.token = "t";  // with one, whatever the server is called is right
  const std::string token = "Authorization: Bearer t\r\n";
  EXPECT_EQ(get(server(options).port(), "/sd", token + "Host: a.example/x\r\n").status, 400);
  EXPECT_EQ(get(server(options).port(), "/sd", token + "Host: a.example\r\n").status, 200);
}

TEST_F(DiscoveryTest, AnEmptyListWhereNothingRuns) {
  host_.processes.clear();
  const Reply answer = get(server().port(), "/sd");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(json::parse(answer.body), json::array());
}

TEST_F(DiscoveryTest, TheTokenIsWantedForAllOfIt) {
  webui::ServerOptions options;
  options.token = "s3cret";
  for (const char* path : {"/sd", "/metrics?process=4711-99", "/api/v1/descriptors?process=4711-99",
                           "/api/v1/descriptors?process=0"}) {
    const Reply refused = get(server(options).port(), path);
    EXPECT_EQ(refused.status, 401) << path;
    EXPECT_THAT(refused.header("www-authenticate"), HasSubstr("Bearer"));
  }
  EXPECT_EQ(get(server().port(), "/sd", "Authorization: Bearer s3cret\r\n").status, 200);
}

TEST_F(DiscoveryTest, TheMetricsOfOneProcess) {
  const Reply answer = get(server().port(), "/metrics?process=4711-99");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  // Both recordings of it, nothing of the other; its labels are the target's.
  EXPECT_THAT(answer.body, HasSubstr("loopscope_iterations_total{loop=\"of the probe\"} 5"));
  EXPECT_THAT(answer.body, HasSubstr("loopscope_iterations_total{loop=\"of the library\"} 5"));
  EXPECT_THAT(answer.body, ::testing::Not(HasSubstr("of another")));
  EXPECT_THAT(answer.body, ::testing::Not(HasSubstr("pid=")));
  EXPECT_THAT(get(server().port(), "/metrics").body, HasSubstr("pid=\"4711\""));
}

TEST_F(DiscoveryTest, OfAProcessThatIsGoneThereAreNone) {
  for (const char* id : {"4713-99", "4711-98", "4711", "x", "4711-99-1"}) {
    const Reply answer = get(server().port(), std::string("/metrics?process=") + id);
    EXPECT_EQ(answer.status, 404) << id;
    EXPECT_EQ(error_of(answer)["code"], "no_such_process") << id;
  }
  for (const char* query : {"?process=", "?process=%", "?process"}) {
    EXPECT_EQ(get(server().port(), std::string("/metrics") + query).status, 400) << query;
  }
}

// --- the last event ------------------------------------------------------------------------------

TEST(LastEventTest, EveryStreamGetsOneMoreAndEnds) {
  std::atomic<bool> ended{false};
  webui::ServerOptions options;
  options.stream_interval = 1h;  // only what is asked for
  auto server = std::make_unique<Server>(options, [&](const webui::SnapshotRequest&) {
    snapshot::ProcessSnapshot process = a_process(4711, "demo");
    process.recording.loops.emplace_back();
    if (ended) {
      process.recording.life = recording::Life::kKilled;
      process.signal = 11;
    }
    return a_host({process});
  });
  std::vector<std::unique_ptr<StreamClient>> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(std::make_unique<StreamClient>(server->port()));
  for (auto& client : clients) {
    const auto first = client->next();
    ASSERT_TRUE(first);
    EXPECT_EQ(json::parse(*first)["processes"][0]["state"], "running");
  }
  ended = true;
  server->finish(30s);
  EXPECT_EQ(get(server->port(), "/api/v1/stream").status, 503) << "no more streams";
  EXPECT_EQ(get(server->port(), "/healthz").status, 200);
  server.reset();
  for (auto& client : clients) {
    const auto last = client->next();
    ASSERT_TRUE(last);
    EXPECT_EQ(json::parse(*last)["processes"][0]["state"], "killed");
    EXPECT_EQ(json::parse(*last)["processes"][0]["signal"], 11);
    EXPECT_FALSE(client->next());
    EXPECT_TRUE(client->connection().closed());
  }
}

TEST(LastEventTest, ADeafClientIsNotWaitedForLong) {
  webui::ServerOptions options;
  options.stream_interval = 10ms;
  auto server = std::make_unique<Server>(options, [&](const webui::SnapshotRequest&) {
    snapshot::ProcessSnapshot process = a_process(4711, "demo");
    process.recording.argv = {std::string(4'000'000, 'x')};
    return a_host({process});
  });
  StreamClient deaf(server->port(), 4096);
  ASSERT_EQ(deaf.head().status, 200);
  const auto began = Clock::now();
  server->finish(200ms);
  server.reset();
  EXPECT_LT(Clock::now() - began, 10s) << "not until it reads, or its time is over";
}

TEST(LastEventTest, WithoutStreamsNothingIsTaken) {
  std::atomic<unsigned> taken{0};
  auto server =
      std::make_unique<Server>(webui::ServerOptions{}, [&](const webui::SnapshotRequest&) {
        ++taken;
        return a_host({});
      });
  server->finish(1h);
  server.reset();
  EXPECT_EQ(taken, 0u);
}

}  // namespace
}  // namespace loopscope::test
