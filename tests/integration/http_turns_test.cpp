// SPDX-License-Identifier: Apache-2.0
//
// What was served in a turn, as it is sent: /api/v1/turns, /api/v1/snapshot?served=1 and the
// stream, with made-up snapshots.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "instrumentation/snapshot/json.h"
#include "tests/integration/http_client.h"
#include "webui/server/server.h"

namespace loopscope::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::HasSubstr;
using webui::Server;

constexpr std::uint64_t kStall = 100'000'000;

/// Turns `first` … `last`, which serve as many things as their number says modulo 3; a later one is
/// a little longer.
recording::LoopSnapshot a_loop(std::uint64_t first, std::uint64_t last) {
  recording::LoopSnapshot loop;
  loop.id = 7;
  loop.generation = 1;
  loop.name = "main";
  loop.iterations = last + 1;  // one is in progress
  loop.current_ready = 1;
  loop.ring_turns = 64;
  loop.stall_threshold_ns = kStall;
  recording::WatcherSnapshot watcher;
  watcher.name = "client";
  watcher.active = 1;
  watcher.fd = 12;
  loop.watchers.push_back(watcher);
  std::vector<recording::Served> served;
  for (std::uint64_t number = first; number <= last; ++number) {
    recording::Turn turn;
    turn.turn = number;
    turn.at_ns = 1'800'000'000'000'000'000 + number;
    turn.busy_ns = 1000 + number;
    turn.served_first = static_cast<std::uint32_t>(served.size());
    turn.served_count = number % 3;
    turn.served_lost = number == first ? 4 : 0;
    for (std::uint64_t i = 0; i < number % 3; ++i) {
      recording::Served one;
      one.start_ns = 100 * i;
      one.ns = number;
      if (i == 0) {
        one.watcher = 1;
      } else {
        one.fd = 40;
        one.kind = recording::DescriptorKind::kTcp;
        one.gone = true;
      }
      served.push_back(one);
    }
    loop.recent.push_back(turn);
  }
  loop.served = std::make_shared<const std::vector<recording::Served>>(std::move(served));
  return loop;
}

snapshot::HostSnapshot a_host(recording::LoopSnapshot loop) {
  snapshot::HostSnapshot host;
  host.taken_at_ns = 1'800'000'000'000'000'000;
  host.version = "0.0-test";
  snapshot::ProcessSnapshot process;
  process.recording.pid = 4711;
  process.recording.start_ticks = 99;
  process.recording.loops.push_back(std::move(loop));
  host.processes.push_back(std::move(process));
  return host;
}

class TurnsTest : public ::testing::Test {
 protected:
  json turns(const std::string& query) {
    const Reply reply = get(server_.port(), "/api/v1/turns?" + query);
    EXPECT_EQ(reply.status, 200) << query << reply.body;
    EXPECT_EQ(reply.header("content-type"), "application/json");
    return json::parse(reply.body, nullptr, false);
  }

  webui::SnapshotRequest asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

  std::mutex mutex_;
  webui::SnapshotRequest asked_;
  Server server_{{}, [this](const webui::SnapshotRequest& request) {
                   const std::lock_guard lock(mutex_);
                   asked_ = request;
                   return a_host(a_loop(11, 20));
                 }};
};

TEST_F(TurnsTest, AllThatAreThere) {
  const json body = turns("process=4711-99&loop=7");
  EXPECT_EQ(body["schema"], "loopscope.turns/1");
  EXPECT_EQ(body["taken_at"], "2027-01-15T08:00:00.000000Z");
  EXPECT_EQ(body["process"], "4711-99");
  EXPECT_EQ(body["loop"], 7);
  EXPECT_EQ(body["lost"], 10) << "turns 1 to 10; 21 is in progress";
  ASSERT_EQ(body["turns"].size(), 10u);
  EXPECT_EQ(body["turns"][0]["turn"], 11);
  EXPECT_EQ(body["turns"][0]["served_lost"], 4);
  EXPECT_EQ(body["turns"][1]["served"], json::array()) << "turn 12 served nothing";
  EXPECT_EQ(body["turns"][1]["served_lost"], 0);
  const json served = body["turns"][9]["served"];  // turn 20
  ASSERT_EQ(served.size(), 2u);
  EXPECT_EQ(served[0], json::parse(R"({"watcher":"client","kind":"io","fd":12,
                                       "start":0,"seconds":2e-8})"));
  EXPECT_EQ(served[1], json::parse(R"({"watcher":null,"kind":"tcp","fd":40,"gone":true,
                                       "start":1e-7,"seconds":2e-8})"));
  EXPECT_TRUE(asked().served);
  EXPECT_EQ(asked().pid, 4711);
  EXPECT_GT(asked().recent, 1u << 20) << "all that the ring holds";
}

TEST_F(TurnsTest, OnlyThoseThatAreAskedFor) {
  const json some = turns("from=9&loop=7&to=12&process=4711-99");
  ASSERT_EQ(some["turns"].size(), 2u);
  EXPECT_EQ(some["turns"][0]["turn"], 11);
  EXPECT_EQ(some["turns"][1]["turn"], 12);
  EXPECT_EQ(some["lost"], 2);
  const json later = turns("process=4711-99&loop=7&from=19&to=1000");
  EXPECT_EQ(later["turns"].size(), 2u);
  EXPECT_EQ(later["lost"], 0) << "what is not finished yet is not lost";
  const json none = turns("process=4711-99&loop=7&from=100");
  EXPECT_EQ(none["turns"], json::array());
  EXPECT_EQ(none["lost"], 0);
  EXPECT_EQ(turns("process=4711-99&loop=7&from=0&to=0")["lost"], 0);
  const json coded = turns("process=4711%2D99&loop=%37&from=%31%39");
  EXPECT_EQ(coded["turns"].size(), 2u) << "as the other routes read theirs";
}

TEST(Turns, OfAProcessWithTwoRecordings) {
  const Server server({}, [](const webui::SnapshotRequest&) {
    snapshot::HostSnapshot host = a_host(a_loop(11, 20));
    host.processes.insert(host.processes.begin(), host.processes.front());
    host.processes.front().recording.loops.front().id = 0;
    return host;
  });
  EXPECT_EQ(get(server.port(), "/api/v1/turns?process=4711-99&loop=7").status, 200);
  EXPECT_EQ(get(server.port(), "/api/v1/turns?process=4711-99&loop=0").status, 200);
  EXPECT_EQ(get(server.port(), "/api/v1/turns?process=4711-99&loop=1").status, 404);
}

TEST_F(TurnsTest, WhatIsWrongIsSaid) {
  const auto refused = [&](const std::string& query) {
    const Reply reply = get(server_.port(), "/api/v1/turns" + query);
    const json body = json::parse(reply.body, nullptr, false);
    EXPECT_FALSE(body["error"]["message"].get<std::string>().empty()) << query;
    return std::pair(reply.status, body["error"]["code"].get<std::string>());
  };
  for (const char* query :
       {"", "?process=4711-99", "?loop=7", "?process=&loop=7", "?process=x&loop=7",
        "?process=4711-99&loop=", "?process=4711-99&loop=main", "?process=4711-99&loop=-1",
        "?process=4711-99&loop=7&from=x",
        "?process=4711-99&loop=7&to=", "?process=4711-99&loop=7&from=%",
        "?process=4711-99&loop=7&from=-3", "?process=4711-99&loop=7&from=5&to=4",
        "?process=4711-99&loop=7&to=99999999999999999999999"}) {
    EXPECT_EQ(refused(query), std::pair(400, std::string("bad_request"))) << query;
  }
  for (const char* query : {"?process=4711-98&loop=7", "?process=1-99&loop=7",
                            "?process=4711-99-1&loop=7", "?process=4711-99&loop=8"}) {
    EXPECT_EQ(refused(query), std::pair(404, std::string("not_found"))) << query;
  }
}

TEST_F(TurnsTest, NeedsTheTokenAndHasAHead) {
  webui::ServerOptions options;
  options.token = "secret";
  const Server server(options, [](const webui::SnapshotRequest&) { return a_host(a_loop(1, 2)); });
  EXPECT_EQ(get(server.port(), "/api/v1/turns?process=4711-99&loop=7").status, 401);
  const Reply head = request(server_.port(), "HEAD", "/api/v1/turns?process=4711-99&loop=7");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.body, "");
}

TEST_F(TurnsTest, ASnapshotHasItIfItIsAsked) {
  EXPECT_EQ(get(server_.port(), "/api/v1/snapshot").status, 200);
  EXPECT_FALSE(asked().served);
  EXPECT_EQ(get(server_.port(), "/api/v1/snapshot?served=0").status, 200);
  EXPECT_FALSE(asked().served);
  const Reply reply = get(server_.port(), "/api/v1/snapshot?served=1");
  EXPECT_TRUE(asked().served);
  EXPECT_EQ(json::parse(reply.body)["processes"][0]["loops"][0]["recent"][9]["served"].size(), 2u);
  for (const char* query : {"?served", "?served=", "?served=yes"}) {
    EXPECT_EQ(get(server_.port(), std::string("/api/v1/snapshot") + query).status, 400) << query;
  }
}

TEST(ServedJson, IsAbsentWhereItIsNotKnown) {
  const auto recent = [](const recording::LoopSnapshot& loop) {
    return json::parse(snapshot::to_json(a_host(loop)))["processes"][0]["loops"][0]["recent"];
  };
  recording::LoopSnapshot loop = a_loop(1, 2);
  loop.recent[0].served_first = recording::Turn::kNoServed;  // not sent with this turn
  EXPECT_FALSE(recent(loop)[0].contains("served"));
  EXPECT_FALSE(recent(loop)[0].contains("served_lost"));
  EXPECT_TRUE(recent(loop)[1].contains("served"));
  loop.served.reset();  // of no turn
  EXPECT_FALSE(recent(loop)[1].contains("served"));
  EXPECT_FALSE(recent(loop)[1].contains("served_lost"));
}

TEST(ServedJson, ACallbackWithoutANameHasNone) {
  recording::LoopSnapshot loop = a_loop(1, 2);
  loop.watchers.clear();
  const json body = json::parse(snapshot::to_json(a_host(loop)));
  const json one = body["processes"][0]["loops"][0]["recent"][0]["served"][0];
  EXPECT_EQ(one["watcher"], nullptr);
  EXPECT_EQ(one["kind"], nullptr);
  EXPECT_EQ(one["fd"], nullptr);
}

/// The turns that have it, of those that a client gets which has seen none.
std::vector<std::uint64_t> told(recording::LoopSnapshot loop) {
  snapshot::HostSnapshot host = a_host(std::move(loop));
  webui::trim_to_news(host, {});
  std::vector<std::uint64_t> numbers;
  for (const recording::Turn& turn : host.processes[0].recording.loops[0].recent) {
    if (turn.served_first != recording::Turn::kNoServed) numbers.push_back(turn.turn);
  }
  return numbers;
}

TEST(ServedStream, StalledTurnsAndTheLongestHaveIt) {
  recording::LoopSnapshot loop = a_loop(1, 200);
  for (const std::size_t at : {2u, 50u, 150u}) loop.recent[at].busy_ns = kStall + at;
  const std::vector<std::uint64_t> numbers = told(loop);
  ASSERT_EQ(numbers.size(), 3u + 16u);
  EXPECT_EQ(numbers[0], 3u);
  EXPECT_EQ(numbers[1], 51u);
  EXPECT_EQ(numbers[2], 151u);
  for (std::uint64_t i = 0; i < 16; ++i) EXPECT_EQ(numbers[3 + i], 185 + i) << "the longest";
}

TEST(ServedStream, OneTurnThatServedMuchDoesNotMakeAnEventOfMegabytes) {
  recording::LoopSnapshot loop = a_loop(1, 20);
  loop.recent[19].served_count = 60'000;  // the longest: more than an event holds
  const std::vector<std::uint64_t> numbers = told(loop);
  EXPECT_EQ(numbers.size(), 15u);
  EXPECT_EQ(numbers.back(), 19u);
}

TEST(ServedStream, FirstEventsToo) {
  webui::StreamHub hub(
      [](const webui::SnapshotRequest& request) {
        recording::LoopSnapshot loop = a_loop(1, 200);
        if (!request.served) loop.served.reset();
        return a_host(std::move(loop));
      },
      20ms, 2);
  const auto stream = hub.subscribe();
  const std::shared_ptr<const std::string> event = stream->next();
  ASSERT_NE(event, nullptr);
  const json body = json::parse(event->substr(event->find("data: ") + 6));
  std::size_t with = 0;
  for (const json& turn : body["processes"][0]["loops"][0]["recent"])
    with += turn.contains("served");
  EXPECT_EQ(with, 16u);
  hub.stop();
}

}  // namespace
}  // namespace loopscope::test
