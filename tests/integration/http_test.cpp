// SPDX-License-Identifier: Apache-2.0
//
// The HTTP server over real sockets, with made-up snapshots: docs/http-api.md line by line, and
// what rude, slow and foreign clients get.
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/http_client.h"
#include "webui/server/access.h"
#include "webui/server/http_server.h"
#include "webui/server/server.h"
#include "webui/server/stream_hub.h"

namespace loopscope::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using webui::Server;
using webui::ServerOptions;

constexpr const char* kCsp =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' "
    "data:; font-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'";

/// A process with one loop that has made `turns_per_snapshot` more turns whenever it is looked at.
class FakeHost {
 public:
  explicit FakeHost(std::uint64_t turns_per_snapshot = 3, std::size_t padding = 0)
      : turns_per_snapshot_(turns_per_snapshot), padding_(padding) {}

  snapshot::HostSnapshot take(std::size_t recent) {
    const std::lock_guard lock(mutex_);
    ++snapshots_;
    turns_ += turns_per_snapshot_;
    snapshot::HostSnapshot host;
    host.taken_at_ns = 1'800'000'000'000'000'000;
    host.version = "0.0-test";
    host.mode = snapshot::Mode::kInspector;
    snapshot::ProcessSnapshot process;
    process.recording.pid = 4711;
    process.recording.start_ticks = 99;
    process.recording.command = "fake";
    if (padding_ != 0) process.recording.argv = {std::string(padding_, 'x')};
    recording::LoopSnapshot loop;
    loop.id = 1;
    loop.generation = 1;
    loop.name = "main";
    loop.backend = "epoll";
    loop.iterations = turns_;
    loop.ring_turns = 4096;
    loop.stall_threshold_ns = 100'000'000;
    const std::uint64_t kept = std::min<std::uint64_t>({turns_, recent, 4096});
    for (std::uint64_t turn = turns_ - kept + 1; turn <= turns_; ++turn) {
      recording::Turn one;
      one.turn = turn;
      one.at_ns = host.taken_at_ns + turn;
      one.busy_ns = turn;  // a later turn is a little longer
      if (stalled_turns_.contains(turn)) one.busy_ns = loop.stall_threshold_ns;
      loop.recent.push_back(one);
    }
    process.recording.loops.push_back(loop);
    host.processes.push_back(process);
    return host;
  }

  webui::SnapshotProvider provider() {
    return [this](std::size_t recent) { return take(recent); };
  }

  unsigned snapshots() const {
    const std::lock_guard lock(mutex_);
    return snapshots_;
  }

  /// These turns, and no others, are as long as a stall.
  void stall(std::set<std::uint64_t> turns) {
    const std::lock_guard lock(mutex_);
    stalled_turns_ = std::move(turns);
  }

 private:
  const std::uint64_t turns_per_snapshot_;
  const std::size_t padding_;
  mutable std::mutex mutex_;
  std::uint64_t turns_ = 0;
  std::set<std::uint64_t> stalled_turns_;
  unsigned snapshots_ = 0;
};

class HttpTest : public ::testing::Test {
 protected:
  Server& start(ServerOptions options = {}) {
    server_ = std::make_unique<Server>(options, host_.provider());
    return *server_;
  }
  std::uint16_t port() { return server_ ? server_->port() : start().port(); }

  FakeHost host_;
  std::unique_ptr<Server> server_;
};

json error_of(const Reply& reply) {
  EXPECT_EQ(reply.header("content-type"), "application/json");
  const json body = json::parse(reply.body, nullptr, false);
  EXPECT_FALSE(body.is_discarded()) << reply.body;
  if (!body.is_object() || !body.contains("error")) return json::object();
  EXPECT_FALSE(body["error"]["message"].get<std::string>().empty());
  return body["error"];
}

std::vector<std::uint64_t> turns_of(const json& snapshot) {
  std::vector<std::uint64_t> turns;
  for (const json& turn : snapshot["processes"][0]["loops"][0]["recent"]) {
    turns.push_back(turn["turn"]);
  }
  return turns;
}

std::uint64_t lost_of(const json& snapshot) {
  return snapshot["processes"][0]["loops"][0]["recent_lost"];
}

// --- routes --------------------------------------------------------------------------------------

TEST_F(HttpTest, EveryRouteAnswersWithItsTypeAndTheSafetyHeaders) {
  const std::vector<std::pair<std::string, std::string>> routes = {
      {"/", "text/html; charset=utf-8"},
      {"/index.html", "text/html; charset=utf-8"},
      {"/app.js", "text/javascript; charset=utf-8"},
      {"/app.css", "text/css; charset=utf-8"},
      {"/metrics", "text/plain; version=0.0.4; charset=utf-8"},
      {"/sd", "application/json"},
      {"/api/v1/snapshot", "application/json"},
      {"/api/v1/descriptors?process=4711-99", "application/json"},
      {"/healthz", "text/plain; charset=utf-8"},
      {"/no-such-thing", "application/json"},
  };
  for (const auto& [path, type] : routes) {
    SCOPED_TRACE(path);
    const Reply reply = get(port(), path);
    EXPECT_EQ(reply.status, path == "/no-such-thing" ? 404 : 200);
    EXPECT_EQ(reply.header("content-type"), type);
    EXPECT_EQ(reply.header("content-length"), std::to_string(reply.body.size()));
    EXPECT_EQ(reply.header("cache-control"), "no-store");
    EXPECT_EQ(reply.header("content-security-policy"), kCsp);
    EXPECT_EQ(reply.header("x-content-type-options"), "nosniff");
    EXPECT_EQ(reply.header("referrer-policy"), "no-referrer");
    EXPECT_EQ(reply.header("cross-origin-resource-policy"), "same-origin");
    EXPECT_EQ(reply.header("server"), "");
    EXPECT_FALSE(reply.body.empty());
  }
}

TEST_F(HttpTest, ASnapshotIsAskedForByItsParameters) {
  std::mutex mutex;
  snapshot::CollectOptions asked;
  const Server server({}, [&](const webui::SnapshotRequest& wanted) {
    const std::lock_guard lock(mutex);
    asked = wanted;
    return host_.provider()(wanted);
  });
  const auto asked_by = [&](const std::string& query) {
    EXPECT_EQ(get(server.port(), "/api/v1/snapshot" + query).status, 200) << query;
    const std::lock_guard lock(mutex);
    return asked;
  };
  EXPECT_FALSE(asked_by("").descriptors);
  EXPECT_FALSE(asked_by("").pid);
  EXPECT_TRUE(asked_by("?descriptors=1").descriptors);
  EXPECT_FALSE(asked_by("?descriptors=0").descriptors);
  const auto all = asked_by("?recent=3&pid=1234&descriptors=1");
  EXPECT_EQ(all.recent, 3u);
  EXPECT_EQ(all.pid, 1234);
  EXPECT_TRUE(all.descriptors);
  for (const char* query : {"?descriptors=", "?descriptors=yes", "?pid=", "?pid=0", "?pid=-1",
                            "?pid=x", "?pid=99999999999", "?descriptors"}) {
    const Reply reply = get(server.port(), std::string("/api/v1/snapshot") + query);
    EXPECT_EQ(reply.status, 400) << query;
    EXPECT_EQ(error_of(reply)["code"], "bad_request") << query;
  }
}

TEST_F(HttpTest, HeadGivesTheHeadersAlone) {
  for (const char* path : {"/", "/healthz", "/api/v1/stream", "/nothing"}) {
    SCOPED_TRACE(path);
    const Reply head = request(port(), "HEAD", path);
    EXPECT_EQ(head.status, std::string(path) == "/nothing" ? 404 : 200);
    EXPECT_EQ(head.body, "");
    EXPECT_NE(head.header("content-type"), "");
  }
  EXPECT_EQ(request(port(), "HEAD", "/healthz").header("content-length"), "3");
}

TEST_F(HttpTest, OnlyGetAndHeadAreAnswered) {
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "PATCH"}) {
    SCOPED_TRACE(method);
    const Reply reply = request(port(), method, "/api/v1/snapshot");
    EXPECT_EQ(reply.status, 405);
    EXPECT_EQ(reply.header("allow"), "GET, HEAD");
    EXPECT_EQ(error_of(reply)["code"], "method_not_allowed");
  }
}

TEST_F(HttpTest, ABodyDoesNotCostTheClientItsAnswer) {
  const std::string body(50'000, 'b');
  const Reply reply =
      request(port(), "POST", "/", "Content-Length: " + std::to_string(body.size()) + "\r\n", body);
  EXPECT_EQ(reply.status, 405);
}

TEST_F(HttpTest, SnapshotTakesTheNumberOfRecentTurns) {
  const auto recent = [&](const std::string& query) {
    const Reply reply = get(port(), "/api/v1/snapshot" + query);
    EXPECT_EQ(reply.status, 200);
    return turns_of(json::parse(reply.body)).size();
  };
  for (int i = 0; i < 200; ++i) host_.take(0);
  EXPECT_EQ(recent(""), 256u);
  EXPECT_EQ(recent("?recent=7"), 7u);
  EXPECT_EQ(recent("?other=1&recent=8"), 8u);
  EXPECT_EQ(recent("?recent=0"), 0u);
  for (const char* wrong :
       {"?recent=", "?recent=-1", "?recent=x", "?recent=1x", "?recent=99999999999999999999999"}) {
    const Reply reply = get(port(), std::string("/api/v1/snapshot") + wrong);
    EXPECT_EQ(reply.status, 400) << wrong;
    EXPECT_EQ(error_of(reply)["code"], "bad_request") << wrong;
  }
}

TEST_F(HttpTest, AWebSocketUpgradeIsAnOrdinaryRequest) {
  const Reply reply = get(port(), "/healthz",
                          "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: "
                          "13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
  EXPECT_EQ(reply.status, 200);
}

TEST_F(HttpTest, AProviderThatFailsIsAnError500) {
  Server server(
      {}, [](std::size_t) -> snapshot::HostSnapshot { throw std::runtime_error("out of luck"); });
  const Reply reply = get(server.port(), "/api/v1/snapshot");
  EXPECT_EQ(reply.status, 500);
  EXPECT_EQ(error_of(reply)["message"], "out of luck");
  EXPECT_EQ(get(server.port(), "/healthz").status, 200);
}

// --- who may ask ---------------------------------------------------------------------------------

TEST_F(HttpTest, OnlyNamesOfThisMachineAreAnsweredTo) {
  const std::string number = std::to_string(port());
  for (const std::string& host :
       {std::string("127.0.0.1"), "127.0.0.1:" + number, std::string("localhost"),
        "LocalHost:" + number, std::string("[::1]"), "[::1]:" + number,
        std::string("localhost:8080")}) {
    EXPECT_EQ(get(port(), "/healthz", "Host: " + host + "\r\n").status, 200) << host;
  }
  for (const char* host :
       {"evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example",
        "127.0.0.1@evil.example", "127.0.0.2", "0.0.0.0", "[::2]", "[::1", "localhost:80x", ":80",
        "localhost:", "localhost:123456"}) {
    const std::string header = std::string("Host: ") + host + "\r\n";
    if (std::string(host) == "localhost:") continue;  // RFC 9110 allows an empty port
    for (const char* path : {"/", "/metrics", "/api/v1/stream", "/nothing"}) {
      const Reply reply = get(port(), path, header);
      EXPECT_EQ(reply.status, 403) << host << path;
      EXPECT_EQ(error_of(reply)["code"], "foreign_host") << host;
    }
  }
}

TEST_F(HttpTest, ARequestHasExactlyOneHost) {
  EXPECT_EQ(send_raw(port(), "GET /healthz HTTP/1.1\r\n\r\n").status, 400);
  EXPECT_EQ(get(port(), "/healthz", "Host: localhost\r\nHost: localhost\r\n").status, 400);
  EXPECT_EQ(send_raw(port(), "GET /healthz HTTP/1.0\r\n\r\n").status, 200);
}

TEST_F(HttpTest, OtherSitesPagesAreRefused) {
  const std::string own = "127.0.0.1:" + std::to_string(port());
  EXPECT_EQ(get(port(), "/api/v1/snapshot", "Origin: http://" + own + "\r\n").status, 200);
  for (const std::string& origin :
       {std::string("http://evil.example"), std::string("null"), std::string("http://127.0.0.1:1"),
        "ftp://" + own, own, "http://" + own + ".evil.example", std::string("file://")}) {
    const Reply reply = get(port(), "/api/v1/snapshot", "Origin: " + origin + "\r\n");
    EXPECT_EQ(reply.status, 403) << origin;
    EXPECT_EQ(error_of(reply)["code"], "foreign_origin") << origin;
  }
}

TEST_F(HttpTest, TheTokenIsWantedForEverythingButPageAndHealth) {
  ServerOptions options;
  options.token = "s3cret";
  start(options);
  for (const char* path : {"/metrics", "/api/v1/snapshot", "/api/v1/stream"}) {
    SCOPED_TRACE(path);
    for (const char* header :
         {"", "Authorization: Bearer s3creT\r\n", "Authorization: Bearer \r\n",
          "Authorization: Bearer s3cret2\r\n", "Authorization: s3cret\r\n",
          "Authorization: Bearer s3cre\r\n", "Authorization: Basic s3cret\r\n"}) {
      const Reply reply = get(port(), path, header);
      EXPECT_EQ(reply.status, 401) << header;
      EXPECT_THAT(reply.header("www-authenticate"), HasSubstr("Bearer"));
      EXPECT_EQ(error_of(reply)["code"], "unauthorized");
    }
    EXPECT_EQ(request(port(), "HEAD", path, "Authorization: Bearer s3cret\r\n").status, 200);
    EXPECT_EQ(request(port(), "HEAD", path, "Authorization: bearer s3cret\r\n").status, 200);
  }
  for (const char* path : {"/", "/app.js", "/app.css", "/healthz"}) {
    EXPECT_EQ(get(port(), path).status, 200) << path;
  }
}

TEST(AccessTest, BeyondLoopbackNeedsATokenOrInsecure) {
  FakeHost host;
  ServerOptions options;
  options.address = "0.0.0.0";
  EXPECT_THROW(Server(options, host.provider()), std::invalid_argument);
  options.insecure = true;
  const Server open(options, host.provider());
  EXPECT_EQ(get(open.port(), "/healthz", "Host: localhost:1\r\n").status, 200);
  EXPECT_EQ(open.url(), "http://127.0.0.1:" + std::to_string(open.port()) + "/");
  options.insecure = false;
  options.token = "t";
  const Server guarded(options, host.provider());
  EXPECT_EQ(get(guarded.port(), "/metrics", "Host: any.name\r\n").status, 401);
}

TEST(AccessTest, BeyondLoopbackAddressesAndKnownNamesAreAnsweredTo) {
  FakeHost host;
  ServerOptions options;
  options.address = "0.0.0.0";
  options.insecure = true;
  options.host_names = {"box.lan", "Other-Name"};
  const Server server(options, host.provider());
  char own[256] = "";
  ASSERT_EQ(gethostname(own, sizeof own - 1), 0);
  for (const std::string& name :
       {std::string("10.1.2.3"), std::string("192.168.0.7:9464"), std::string("[2001:db8::1]:80"),
        std::string("localhost:1"), std::string("box.lan"), std::string("BOX.LAN:80"),
        std::string("other-name"), std::string(own), std::string(own) + ":9464"}) {
    EXPECT_EQ(get(server.port(), "/metrics", "Host: " + name + "\r\n").status, 200) << name;
  }
  for (const std::string& name :
       {std::string("evil.example"), std::string("10.1.2.3.evil.example"), std::string("lan"),
        std::string("box.lan.evil.example"), std::string("evil.box.lan"), std::string("box.lan."),
        std::string("[evil.example]"), std::string("10.1.2"), std::string("10.1.2.3x"),
        std::string("0x7f.1"), std::string(own) + ".evil.example"}) {
    const Reply reply = get(server.port(), "/metrics", "Host: " + name + "\r\n");
    EXPECT_EQ(reply.status, 403) << name;
    EXPECT_EQ(error_of(reply)["code"], "foreign_host") << name;
    EXPECT_THAT(std::string(error_of(reply)["message"]), HasSubstr("--host NAME")) << name;
  }
}

TEST(AccessTest, ANameThatIsGivenIsAnsweredToOnLoopbackToo) {
  FakeHost host;
  ServerOptions options;
  options.host_names = {"box.lan"};
  const Server server(options, host.provider());
  EXPECT_EQ(get(server.port(), "/metrics", "Host: box.lan:80\r\n").status, 200);
  EXPECT_EQ(get(server.port(), "/metrics", "Host: 10.1.2.3\r\n").status, 403);
  for (const char* wrong : {"", "http://box.lan", "box.lan:80", "a b", "*"}) {
    options.host_names = {wrong};
    EXPECT_THROW(Server(options, host.provider()), std::invalid_argument) << wrong;
  }
}

// --- requests that are not right -----------------------------------------------------------------

TEST_F(HttpTest, TooLongIsSaidSo) {
  const Reply uri = get(port(), "/" + std::string(5000, 'a'));
  EXPECT_EQ(uri.status, 414);
  EXPECT_EQ(error_of(uri)["code"], "uri_too_long");
  EXPECT_EQ(get(port(), "/healthz?" + std::string(5000, 'a')).status, 414);

  const Reply headers = get(port(), "/healthz", "X-Long: " + std::string(20'000, 'h') + "\r\n");
  EXPECT_EQ(headers.status, 431);
  EXPECT_EQ(error_of(headers)["code"], "headers_too_long");

  // Beyond the server's buffer it cannot tell what is too long.
  const Reply huge = get(port(), "/healthz", "X-Long: " + std::string(100'000, 'h') + "\r\n");
  EXPECT_EQ(huge.status, 400);
  EXPECT_THAT(error_of(huge)["message"].get<std::string>(), HasSubstr("longer"));
}

TEST_F(HttpTest, MalformedRequestsGetAnErrorAndNothingElse) {
  for (const char* bytes :
       {"\x16\x03\x01\x02\x01\x01\r\n\r\n", "GET\r\n\r\n", "GET /\r\n\r\n", "\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n", "NONSENSE / HTTP/1.1\r\nHost: localhost\r\n\r\n"}) {
    Connection connection(port());
    connection.send(bytes);
    const std::string answer = connection.receive_until_closed(10s);
    EXPECT_TRUE(connection.closed()) << bytes;
    const Reply reply = parse_reply(answer);
    if (answer.empty()) continue;
    EXPECT_THAT(reply.status, ::testing::AnyOf(400, 405)) << bytes;
    error_of(reply);
  }
  const Reply version = send_raw(port(), "GET / HTTP/3.0\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(version.status, 505);
  EXPECT_EQ(get(port(), "/healthz").status, 200);
}

TEST_F(HttpTest, ManyHeadersDoNotHurt) {
  std::string headers;
  for (int i = 0; i < 200; ++i) headers += "X-" + std::to_string(i) + ": y\r\n";
  const Reply reply = get(port(), "/healthz", headers);
  EXPECT_THAT(reply.status, ::testing::AnyOf(200, 400, 431));
}

TEST_F(HttpTest, AClientThatSendsByteByByteIsEnded) {
  ServerOptions options;
  options.timeout = 800ms;
  start(options);
  Connection slow(port());
  const std::string text =
      "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + std::string(1000, 's');
  const auto began = Clock::now();
  std::string answer;
  for (const char c : text) {
    if (slow.closed() || !slow.send(std::string(1, c)) || Clock::now() - began > 40s) break;
    answer += slow.receive(50ms);
  }
  answer += slow.receive_until_closed(5s);
  EXPECT_TRUE(slow.closed());
  EXPECT_LT(Clock::now() - began, 40s);  // all of it would take 50 s
  const Reply reply = parse_reply(answer);
  EXPECT_EQ(reply.status, 408);
  EXPECT_EQ(error_of(reply)["code"], "timeout");
}

// As a browser does that connects ahead of need.
TEST_F(HttpTest, AClientThatSaysNothingIsHungUpOnWithoutAWord) {
  ServerOptions options;
  options.timeout = 300ms;
  start(options);
  Connection silent(port());
  EXPECT_EQ(silent.receive_until_closed(40s), "");
  EXPECT_TRUE(silent.closed());
}

// The body of a request that is refused is read first; that must not last as long as its sender
// likes.
TEST_F(HttpTest, ABodyThatTricklesInIsGivenUp) {
  start();
  Connection slow(port());
  const auto began = Clock::now();
  ASSERT_TRUE(
      slow.send("POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"));
  std::string answer;
  while (!slow.closed() && Clock::now() - began < 60s) {
    if (!slow.send("x")) break;
    answer += slow.receive(300ms);
    if (!answer.empty()) break;
  }
  EXPECT_LT(Clock::now() - began, 60s);
  EXPECT_EQ(parse_reply(answer).status, 405);
}

TEST_F(HttpTest, SilentConnectionsDoNotTakeEveryThreadForLong) {
  ServerOptions options;
  options.timeout = 500ms;
  options.max_streams = 2;
  start(options);
  std::vector<Connection> silent;
  for (int i = 0; i < 40; ++i) silent.emplace_back(port());
  const auto began = Clock::now();
  EXPECT_EQ(get(port(), "/healthz").status, 200);
  EXPECT_LT(Clock::now() - began, 30s);
}

TEST_F(HttpTest, HalfRequestsGiveWay) {
  start();  // with the usual 10 s for a request
  std::vector<Connection> half;
  for (unsigned i = 0; i < 3 * webui::HttpServer::kMostWaiting; ++i) {
    half.emplace_back(port());
    ASSERT_TRUE(half.back().send("GET /healthz HTTP/1.1\r\nHost: local"));
  }
  EXPECT_EQ(get(port(), "/healthz").status, 200);
  unsigned hung_up = 0;
  for (Connection& each : half) {
    each.receive(0ms);
    hung_up += each.closed();
  }
  EXPECT_GE(hung_up, 2 * webui::HttpServer::kMostWaiting);
  // Those that are left are requests like others.
  ASSERT_TRUE(half.back().send("host\r\n\r\n"));
  EXPECT_EQ(parse_reply(half.back().receive_until_closed(10s)).status, 200);
}

// Who asks for much and reads nothing has a place until others want it.
TEST_F(HttpTest, AnswersThatNobodyReadsGiveWay) {
  FakeHost host(3, 4'000'000);
  ServerOptions options;
  options.timeout = 120s;  // by itself, the server would wait for them longer than we do
  const Server server(options, host.provider());
  std::vector<Connection> lazy;
  for (unsigned i = 0; i < webui::HttpServer::kMostAnswering; ++i) {
    lazy.emplace_back(server.port(), 4096);
    ASSERT_TRUE(lazy.back().send("GET /api/v1/snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    ASSERT_FALSE(lazy.back().receive(10s).empty());
  }
  const std::string question = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
  EXPECT_EQ(send_raw(server.port(), question, 20s).status, 200);
  unsigned hung_up = 0;
  for (Connection& each : lazy) {
    std::size_t received = 0;
    for (std::string more = each.receive(100ms); !more.empty(); more = each.receive(100ms)) {
      received += more.size();
    }
    hung_up += each.closed() && received < 4'000'000;
  }
  EXPECT_GE(hung_up, 1u) << "or they had their answers, and this proves nothing";
}

// --- starting ------------------------------------------------------------------------------------

std::string start_error(const ServerOptions& options) {
  FakeHost host;
  try {
    const Server server(options, host.provider());
  } catch (const webui::ServerError& error) {
    return error.what();
  }
  return "(it started)";
}

TEST(StartTest, APortInUseIsNamedWithAWayOut) {
  FakeHost host;
  const Server first({}, host.provider());
  EXPECT_NE(first.port(), 0);
  ServerOptions options;
  options.port = first.port();
  const std::string message = start_error(options);
  EXPECT_THAT(message, HasSubstr("127.0.0.1:" + std::to_string(first.port())));
  EXPECT_THAT(message, HasSubstr("in use"));
  EXPECT_THAT(message, HasSubstr("another port"));
  EXPECT_EQ(get(first.port(), "/healthz").status, 200);
}

/// start_error() in a child that root has made nobody: with no privilege whoever runs the tests.
std::string start_error_unprivileged(const ServerOptions& options) {
  constexpr unsigned kNobody = 65534;
  int ends[2];
  if (pipe(ends) != 0) return "(no pipe)";
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    close(ends[0]);
    std::string text = "(root could not become nobody)";
    if (geteuid() != 0 ||
        (setgroups(0, nullptr) == 0 && setresgid(kNobody, kNobody, kNobody) == 0 &&
         setresuid(kNobody, kNobody, kNobody) == 0)) {
      text = start_error(options);
    }
    const ssize_t written = write(ends[1], text.data(), text.size());
    _exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  close(ends[1]);
  std::string text(4096, '\0');
  const ssize_t got = child > 0 ? read(ends[0], text.data(), text.size()) : -1;
  close(ends[0]);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  return text;
}

TEST(StartTest, APrivilegedPortSaysWhatItNeeds) {
  std::ifstream file("/proc/sys/net/ipv4/ip_unprivileged_port_start");
  int first_free = 1024;
  file >> first_free;
  ServerOptions options;
  if (first_free <= 1) {  // as in some containers: this kernel knows no privileged port
    options.port = 80;
    EXPECT_THAT(start_error_unprivileged(options),
                ::testing::AnyOf("(it started)", HasSubstr("in use")));
    return;
  }
  options.port = static_cast<std::uint16_t>(std::min(80, first_free - 1));
  EXPECT_THAT(start_error_unprivileged(options),
              HasSubstr("127.0.0.1:" + std::to_string(options.port) +
                        ": Permission denied; ports below 1024"));
}

TEST(StartTest, AnAddressOfAnotherMachineIsRefused) {
  ServerOptions options;
  options.address = "192.0.2.1";  // TEST-NET-1: nobody has it
  options.insecure = true;
  EXPECT_THAT(start_error(options), HasSubstr("no such address"));
}

TEST(StartTest, OptionsThatMakeNoSense) {
  FakeHost host;
  for (const char* address : {"", "here", "127.0.0.1:80", "1.2.3", "256.0.0.1", "::1%lo", "x"}) {
    ServerOptions options;
    options.address = address;
    EXPECT_THROW(Server(options, host.provider()), std::invalid_argument) << address;
  }
  ServerOptions options;
  options.max_streams = 1'000'000;
  EXPECT_THROW(Server(options, host.provider()), std::invalid_argument);
  options = {};
  options.token = "two words";
  EXPECT_THROW(Server(options, host.provider()), std::invalid_argument);
  EXPECT_THROW(Server({}, nullptr), std::invalid_argument);
}

bool this_machine_has_ipv6() {
  const int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  const bool bound = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return bound;
}

TEST(StartTest, ListensOnIpv6OrSaysWhyNot) {
  FakeHost host;
  ServerOptions options;
  options.address = "::1";
  if (!this_machine_has_ipv6()) {
    EXPECT_THAT(start_error(options), ::testing::StartsWith("cannot listen on [::1]:0: "));
    return;
  }
  const auto server = std::make_unique<Server>(options, host.provider());
  EXPECT_EQ(server->url(), "http://[::1]:" + std::to_string(server->port()) + "/");
  Connection connection(server->port(), 0, true);
  ASSERT_TRUE(connection.ok());
  connection.send("GET /healthz HTTP/1.1\r\nHost: [::1]:" + std::to_string(server->port()) +
                  "\r\n\r\n");
  EXPECT_EQ(parse_reply(connection.receive_until_closed(10s)).status, 200);
}

// --- the host does not notice --------------------------------------------------------------------

std::string field_of(const std::filesystem::path& status, const std::string& name) {
  std::ifstream file(status);
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, name.size() + 1, name + ":") == 0) return line.substr(name.size() + 2);
  }
  return {};
}

void on_sigpipe(int) {}

TEST(HostTest, ThreadsAreNamedAndTakeNoSignals) {
  FakeHost host;
  ServerOptions options;
  options.max_streams = 3;
  const Server server(options, host.provider());
  std::this_thread::sleep_for(50ms);
  int servers = 0;
  int workers = 0;
  int tickers = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    const std::string name = field_of(task.path() / "status", "Name");
    if (name.find("loopscope") == std::string::npos) continue;
    servers += name == "loopscope-http";
    workers += name == "loopscope-work";
    tickers += name == "loopscope-tick";
    const std::uint64_t blocked =
        std::stoull(field_of(task.path() / "status", "SigBlk"), nullptr, 16);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1, SIGPIPE, SIGALRM}) {
      EXPECT_TRUE(blocked & (1ull << (signal - 1))) << name << " signal " << signal;
    }
    // While these are blocked, a fault ends the process without asking the host's crash reporter.
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS}) {
      EXPECT_FALSE(blocked & (1ull << (signal - 1))) << name << " signal " << signal;
    }
  }
  EXPECT_EQ(servers, 1);
  EXPECT_EQ(tickers, 1);
  EXPECT_EQ(servers + workers + tickers, static_cast<int>(Server::kThreads));
  sigset_t mine;
  pthread_sigmask(SIG_SETMASK, nullptr, &mine);
  EXPECT_EQ(sigismember(&mine, SIGINT), 0);
}

TEST(HostTest, SigpipeStaysAsTheHostHadIt) {
  struct sigaction before {};
  for (auto* disposition : {SIG_DFL, SIG_IGN, &on_sigpipe}) {
    struct sigaction wanted {};
    wanted.sa_handler = disposition;
    sigaction(SIGPIPE, &wanted, &before);
    FakeHost host;
    const Server server({}, host.provider());
    EXPECT_EQ(get(server.port(), "/healthz").status, 200);
    struct sigaction now {};
    sigaction(SIGPIPE, nullptr, &now);
    EXPECT_EQ(now.sa_handler, disposition);
  }
  signal(SIGPIPE, SIG_DFL);
}

TEST(HostTest, AClientThatGoesAwayDoesNotKillTheHost) {
  signal(SIGPIPE, SIG_DFL);
  FakeHost host(3, 2'000'000);
  ServerOptions options;
  options.stream_interval = 20ms;
  const Server server(options, host.provider());
  for (int i = 0; i < 20; ++i) {
    StreamClient client(server.port(), 4096);
    ASSERT_EQ(client.head().status, 200);
  }
  std::this_thread::sleep_for(200ms);
  EXPECT_EQ(get(server.port(), "/healthz").status, 200);
}

std::vector<int> open_descriptors() {
  std::vector<int> numbers;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    numbers.push_back(std::stoi(entry.path().filename().string()));
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

TEST(HostTest, NoDescriptorIsLeftBehindOrInherited) {
  FakeHost host;
  const std::vector<int> before = open_descriptors();
  {
    const Server server({}, host.provider());
    StreamClient client(server.port());
    ASSERT_TRUE(client.next());
    for (const int fd : open_descriptors()) {
      if (std::find(before.begin(), before.end(), fd) != before.end()) continue;
      const int flags = fcntl(fd, F_GETFD);
      if (flags < 0) continue;
      EXPECT_TRUE(flags & FD_CLOEXEC) << fd;
    }
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(HostTest, AForkedChildCanDestroyItsCopy) {
  FakeHost host;
  auto server = std::make_unique<Server>(ServerOptions{}, host.provider());
  StreamClient client(server->port());
  ASSERT_TRUE(client.next());
  const pid_t child = fork();
  if (child == 0) {
    alarm(5);
    server.reset();
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_TRUE(client.next());
}

TEST(HostTest, SaysNothingOnStderr) {
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  {
    FakeHost host;
    ServerOptions options;
    options.timeout = 300ms;
    const Server server(options, host.provider());
    send_raw(server.port(), "\x01\x02\r\n\r\n");
    send_raw(server.port(), "GET / HTTP/9.9\r\n\r\n");
    options.port = server.port();
    start_error(options);
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
}

// --- the stream ----------------------------------------------------------------------------------

TEST_F(HttpTest, TheStreamBeginsWithAWholeSnapshotThenNews) {
  for (int i = 0; i < 50; ++i) host_.take(0);
  StreamClient client(port());
  const Reply head = client.head();
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("content-type"), "text/event-stream");
  EXPECT_EQ(head.header("cache-control"), "no-store");
  EXPECT_EQ(head.header("content-security-policy"), kCsp);

  const auto first = client.next();
  ASSERT_TRUE(first);
  std::vector<std::uint64_t> turns = turns_of(json::parse(*first));
  EXPECT_GE(turns.size(), 150u);
  for (int i = 0; i < 4; ++i) {
    const auto event = client.next();
    ASSERT_TRUE(event);
    const json news = json::parse(*event);
    EXPECT_EQ(lost_of(news), 0u);
    const std::vector<std::uint64_t> more = turns_of(news);
    ASSERT_FALSE(more.empty());
    EXPECT_LE(more.size(), 10u);
    EXPECT_EQ(more.front(), turns.back() + 1);
    turns = more;
  }
  EXPECT_LE(ServerOptions{}.stream_interval, 500ms) << "at least 2 events a second";
}

TEST_F(HttpTest, NobodyListeningCostsNothing) {
  start();
  {
    StreamClient client(port());
    ASSERT_TRUE(client.next());
  }
  // The server notices a client that went away when it sends to it.
  const auto began = Clock::now();
  unsigned before = 0;
  do {
    before = host_.snapshots();
    std::this_thread::sleep_for(1500ms);
  } while (host_.snapshots() != before && Clock::now() - began < 30s);
  EXPECT_EQ(host_.snapshots(), before);
}

TEST(StreamTest, FiftyStreamsAndOneThatNeverReads) {
  FakeHost host(3, 200'000);
  const Server server({}, host.provider());
  StreamClient never(server.port(), 4096);
  std::vector<std::unique_ptr<StreamClient>> clients;
  for (int i = 0; i < 49; ++i) clients.push_back(std::make_unique<StreamClient>(server.port()));
  std::vector<std::size_t> events(clients.size());
  for (auto& client : clients) ASSERT_TRUE(client->next());

  constexpr std::size_t kEnough = 12;
  const unsigned before = host.snapshots();
  const auto began = Clock::now();
  std::thread reader([&] {
    while (*std::min_element(events.begin(), events.end()) < kEnough &&
           Clock::now() - began < 40s) {
      for (std::size_t i = 0; i < clients.size(); ++i) events[i] += clients[i]->count_events();
      std::this_thread::sleep_for(5ms);
    }
  });
  EXPECT_EQ(get(server.port(), "/healthz").status, 200);
  reader.join();
  const unsigned taken = host.snapshots() - before;
  const auto [least, most] = std::minmax_element(events.begin(), events.end());
  RecordProperty("events_least", static_cast<int>(*least));
  RecordProperty("events_most", static_cast<int>(*most));
  std::printf("events: %zu to %zu; snapshots taken: %u\n", *least, *most, taken);
  EXPECT_GE(*least, kEnough);
  EXPECT_LE(taken, *most + 3) << "one snapshot serves all streams";
}

TEST(StreamTest, OneTooManyIsToldToComeBackAndTheRestStillAnswers) {
  FakeHost host;
  ServerOptions options;
  options.max_streams = 2;
  const Server server(options, host.provider());
  auto first = std::make_unique<StreamClient>(server.port());
  StreamClient second(server.port());
  ASSERT_TRUE(first->next());
  ASSERT_TRUE(second.next());
  const Reply refused = get(server.port(), "/api/v1/stream");
  EXPECT_EQ(refused.status, 503);
  EXPECT_NE(refused.header("retry-after"), "");
  EXPECT_EQ(error_of(refused)["code"], "too_many_streams");
  for (const char* path : {"/", "/metrics", "/api/v1/snapshot", "/healthz"}) {
    EXPECT_EQ(get(server.port(), path).status, 200) << path;
  }
  first.reset();
  const auto deadline = Clock::now() + 30s;
  int status = 503;
  while (status == 503 && Clock::now() < deadline) {
    StreamClient again(server.port());
    status = again.head().status;
    std::this_thread::sleep_for(50ms);
  }
  EXPECT_EQ(status, 200);
}

TEST(StreamTest, AClientThatStopsReadingIsDropped) {
  FakeHost host(3, 1'000'000);
  ServerOptions options;
  options.max_streams = 1;
  options.timeout = 1s;
  options.stream_interval = 50ms;
  const Server server(options, host.provider());
  StreamClient never(server.port(), 4096);
  ASSERT_EQ(never.head().status, 200);
  EXPECT_EQ(get(server.port(), "/api/v1/stream").status, 503);
  const auto deadline = Clock::now() + 15s;
  int status = 503;
  while (status == 503 && Clock::now() < deadline) {
    StreamClient next(server.port());
    status = next.head().status;
    std::this_thread::sleep_for(100ms);
  }
  EXPECT_EQ(status, 200);
}

TEST(StreamTest, ALaggardGetsEverythingOrIsToldWhatItMissed) {
  FakeHost host(100);
  webui::StreamHub hub(host.provider(), 5ms, 4);
  const auto follower = hub.subscribe();
  ASSERT_TRUE(follower);
  const auto data = [](const std::shared_ptr<const std::string>& event) {
    const std::size_t start = event->find("data: ") + 6;
    return json::parse(event->substr(start));
  };
  std::uint64_t last = turns_of(data(follower->next())).back();
  std::size_t events_with_loss = 0;
  for (int i = 0; i < 60; ++i) {
    if (i % 20 == 10) {
      // Longer than the queue reaches: of 100 turns a snapshot not all are given.
      const unsigned from = host.snapshots();
      while (host.snapshots() < from + webui::StreamHub::kQueuedFrames + 20) {
        std::this_thread::sleep_for(5ms);
      }
    }
    const json event = data(follower->next());
    const std::vector<std::uint64_t> turns = turns_of(event);
    ASSERT_FALSE(turns.empty());
    ASSERT_TRUE(std::is_sorted(turns.begin(), turns.end()));
    ASSERT_GT(turns.front(), last);
    ASSERT_EQ(turns.size() + lost_of(event), turns.back() - last) << "a gap nobody told of";
    events_with_loss += lost_of(event) > 0;
    last = turns.back();
  }
  EXPECT_EQ(events_with_loss, 3u);
  hub.stop();
  EXPECT_EQ(follower->next(), nullptr);
}

/// What a client that has seen turn `seen` gets of a host with so many turns of which these
/// stalled.
recording::LoopSnapshot news_of(std::uint64_t turns, std::uint64_t seen,
                                std::set<std::uint64_t> stalled) {
  FakeHost host(seen);
  const webui::StreamPosition position = webui::position_after(host.take(1), {});
  FakeHost later(turns);
  later.stall(std::move(stalled));
  snapshot::HostSnapshot news = later.take(4096);
  webui::trim_to_news(news, position);
  return news.processes[0].recording.loops[0];
}

std::set<std::uint64_t> numbers_of(const recording::LoopSnapshot& loop) {
  std::set<std::uint64_t> numbers;
  for (const auto& turn : loop.recent) {
    EXPECT_TRUE(numbers.empty() || turn.turn > *numbers.rbegin()) << "out of order";
    numbers.insert(turn.turn);
  }
  return numbers;
}

TEST(StreamTest, AStalledTurnIsGivenHoweverFastTheLoopIs) {
  const recording::LoopSnapshot loop = news_of(3000, 1000, {1001, 1700});
  const std::set<std::uint64_t> numbers = numbers_of(loop);
  EXPECT_TRUE(numbers.contains(1001) && numbers.contains(1700));
  EXPECT_EQ(numbers.size(), 512u);
  EXPECT_EQ(*numbers.rbegin(), 3000u);
  EXPECT_TRUE(numbers.contains(3000 - 490));  // the newest of the rest
  EXPECT_EQ(loop.recent_lost, 2000u - 512u);
}

TEST(StreamTest, SoAreTheLongestOfTheOthers) {
  FakeHost host(10'000);
  const webui::StreamPosition position = webui::position_after(host.take(1), {});
  snapshot::HostSnapshot news = host.take(4096);
  auto& loop = news.processes[0].recording.loops[0];
  std::set<std::uint64_t> longest;
  for (std::size_t i = 0; i < 16; ++i) {
    loop.recent[100 * i].busy_ns = 50'000'000 + i;
    longest.insert(loop.recent[100 * i].turn);
  }
  webui::trim_to_news(news, position);
  const std::set<std::uint64_t> numbers = numbers_of(loop);
  EXPECT_TRUE(std::includes(numbers.begin(), numbers.end(), longest.begin(), longest.end()));
  EXPECT_EQ(loop.recent_lost, 10'000u - numbers.size()) << "overwritten or left out";
}

TEST(StreamTest, StallsWithoutNumberDoNotCrowdOutTheRest) {
  std::set<std::uint64_t> all;
  for (std::uint64_t turn = 1; turn <= 2000; ++turn) all.insert(turn);
  const std::set<std::uint64_t> numbers = numbers_of(news_of(3000, 100, all));
  EXPECT_EQ(numbers.size(), 512u);
  EXPECT_EQ(std::distance(numbers.begin(), numbers.upper_bound(2000)), 64);
}

TEST(StreamTest, AFewTurnsAreAllGiven) {
  const recording::LoopSnapshot loop = news_of(1512, 1000, {1100});
  EXPECT_EQ(loop.recent.size(), 512u);
  EXPECT_EQ(loop.recent_lost, 0u);
}

TEST(StreamTest, AStalledTurnReachesEveryStream) {
  FakeHost host(2000);
  host.stall({2001, 4001, 6001});
  webui::StreamHub hub(host.provider(), 20ms, 4);
  const auto stream = hub.subscribe();
  const auto next = [&] {
    const std::shared_ptr<const std::string> event = stream->next();
    return json::parse(event->substr(event->find("data: ") + 6));
  };
  const std::vector<std::uint64_t> first = turns_of(next());
  EXPECT_EQ(first.size(), 512u) << "the newest, as of a snapshot";
  EXPECT_EQ(first.back() - first.front(), 511u);
  for (std::uint64_t turns = first.back(); turns < 6000; turns += 2000) {
    const std::vector<std::uint64_t> numbers = turns_of(next());
    EXPECT_EQ(numbers.front(), turns + 1);
  }
  hub.stop();
}

TEST(StreamTest, ALoopThatIsNewIsGivenWhole) {
  FakeHost host;
  snapshot::HostSnapshot one = host.take(100);
  const webui::StreamPosition position = webui::position_after(one, {});
  snapshot::HostSnapshot two = host.take(100);
  two.processes[0].recording.loops.push_back(two.processes[0].recording.loops[0]);
  two.processes[0].recording.loops[1].generation = 2;
  webui::trim_to_news(two, position);
  EXPECT_EQ(two.processes[0].recording.loops[0].recent.size(), 3u);
  EXPECT_EQ(two.processes[0].recording.loops[1].recent.size(), 6u);
}

TEST(StreamTest, StoppingEndsStreamsAtOnce) {
  FakeHost host(3, 1'000'000);
  ServerOptions options;
  options.stream_interval = 50ms;
  auto server = std::make_unique<Server>(options, host.provider());
  std::vector<std::unique_ptr<StreamClient>> clients;
  for (int i = 0; i < 5; ++i) clients.push_back(std::make_unique<StreamClient>(server->port()));
  for (auto& client : clients) ASSERT_TRUE(client->next());
  StreamClient never(server->port(), 4096);  // its thread is blocked in the middle of an event
  ASSERT_EQ(never.head().status, 200);
  Connection silent(server->port());
  Connection half(server->port());
  half.send("GET /healthz HT");
  std::this_thread::sleep_for(300ms);

  const auto began = Clock::now();
  server.reset();
  EXPECT_LT(Clock::now() - began, 8s);  // the time-out is 10 s
  for (auto& client : clients) {
    while (client->next(2s)) {
    }
    EXPECT_TRUE(client->connection().closed());
  }
}

// --- the page from a directory -------------------------------------------------------------------

TEST(PageTest, ComesFromADirectoryAtEachRequest) {
  const std::filesystem::path root =
      std::filesystem::temp_directory_path() / ("loopscope-page-" + std::to_string(getpid()));
  const std::filesystem::path page = root / "page";
  std::filesystem::create_directories(page);
  std::ofstream(root / "secret.txt") << "SECRET";
  std::ofstream(page / "notes.txt") << "SECRET";
  std::ofstream(page / "index.html") << "<p>one</p>";
  FakeHost host;
  ServerOptions options;
  options.page_directory = page;
  const Server server(options, host.provider());
  EXPECT_EQ(get(server.port(), "/").body, "<p>one</p>");
  std::ofstream(page / "index.html") << "<p>two</p>";
  EXPECT_EQ(get(server.port(), "/").body, "<p>two</p>");
  EXPECT_EQ(get(server.port(), "/app.js").status, 404);
  for (const char* path :
       {"/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt", "/%2e%2e%2fsecret.txt",
        "/..\\secret.txt", "/.%2e/secret.txt", "//secret.txt", "/./../secret.txt", "/notes.txt",
        "/app.js/../../secret.txt", "/../page/notes.txt", "/index.html/", "/app.js%00",
        "/etc/passwd", "//etc/passwd"}) {
    const Reply reply = get(server.port(), path);
    EXPECT_THAT(reply.status, ::testing::AnyOf(400, 404)) << path;
    EXPECT_THAT(reply.body, Not(HasSubstr("SECRET"))) << path;
  }
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace loopscope::test
