// SPDX-License-Identifier: Apache-2.0
//
// HTTP as far as the server speaks it: what a head is, and what is none.
#include "webui/server/http_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace loopscope::test {
namespace {

using namespace std::string_literals;
using webui::BadRequest;
using webui::Request;

/// 0: it is a request.
int status_of(const std::string& head, Request* parsed = nullptr) {
  const auto length = webui::head_length(head);
  if (!length) return -1;
  Request request;
  const std::optional<BadRequest> wrong =
      webui::parse_head(std::string_view(head).substr(0, *length), request);
  if (parsed != nullptr) *parsed = request;
  return wrong ? wrong->status : 0;
}

TEST(HeadTest, ItsPartsAreAsTheyWereSent) {
  Request request;
  ASSERT_EQ(status_of("GET /a/../%2e?x=1&y=?2 HTTP/1.1\r\nHost: localhost:1\r\nX-Two:  \ta b\t \r\n"
                      "x-EMPTY:\r\n\r\nrest",
                      &request),
            0);
  EXPECT_EQ(request.method, "GET");
  EXPECT_EQ(request.path, "/a/../%2e");
  EXPECT_EQ(request.query, "x=1&y=?2");
  EXPECT_EQ(request.minor_version, 1);
  EXPECT_EQ(request.authority, "");
  ASSERT_NE(request.header("host"), nullptr);
  EXPECT_EQ(*request.header("HOST"), "localhost:1");
  EXPECT_EQ(*request.header("x-two"), "a b");
  EXPECT_EQ(*request.header("X-Empty"), "");
  EXPECT_EQ(request.header("X-Tw"), nullptr);
  EXPECT_FALSE(request.has_body());
}

TEST(HeadTest, AnAbsoluteAddressNamesItsHost) {
  Request request;
  ASSERT_EQ(status_of("GET HTTP://evil.example:80/metrics?a HTTP/1.1\r\n\r\n", &request), 0);
  EXPECT_EQ(request.authority, "evil.example:80");
  EXPECT_EQ(request.path, "/metrics");
  EXPECT_EQ(request.query, "a");
  ASSERT_EQ(status_of("GET http://h HTTP/1.1\r\n\r\n", &request), 0);
  EXPECT_EQ(request.path, "/");
  ASSERT_EQ(status_of("GET http://h?q HTTP/1.1\r\n\r\n", &request), 0);
  EXPECT_EQ(request.path, "/");
  EXPECT_EQ(request.query, "q");
  EXPECT_EQ(status_of("GET http:///x HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET ftp://h/x HTTP/1.1\r\n\r\n"), 400);
}

TEST(HeadTest, AHeaderTwiceIsSaid) {
  Request request;
  ASSERT_EQ(status_of("GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", &request), 0);
  bool repeated = false;
  EXPECT_EQ(*request.header("Host", &repeated), "a");
  EXPECT_TRUE(repeated);
}

TEST(HeadTest, WhatIsNoHead) {
  for (const std::string& head : {"\r\n\r\n"s,
                                  "GET\r\n\r\n"s,
                                  "GET /\r\n\r\n"s,
                                  "GET  / HTTP/1.1\r\n\r\n"s,
                                  "GET / HTTP/1.1 \r\n\r\n"s,
                                  " GET / HTTP/1.1\r\n\r\n"s,
                                  "GET / http/1.1\r\n\r\n"s,
                                  "GET / HTTP/11\r\n\r\n"s,
                                  "GET / HTTP/1.10\r\n\r\n"s,
                                  "G(T / HTTP/1.1\r\n\r\n"s,
                                  "GET /\x01 HTTP/1.1\r\n\r\n"s,
                                  "GET /\xc3\xa4 HTTP/1.1\r\n\r\n"s,
                                  "GET a HTTP/1.1\r\n\r\n"s,
                                  "GET / HTTP/1.1\r\nno colon\r\n\r\n"s,
                                  "GET / HTTP/1.1\r\nHost : a\r\n\r\n"s,
                                  "GET / HTTP/1.1\r\n: a\r\n\r\n"s,
                                  "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"s,
                                  "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"s,
                                  "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n"s,
                                  "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"s,
                                  "GET / HTTP/1.1\nHost: a\r\n\r\n"s}) {
    EXPECT_EQ(status_of(head), 400) << head;
  }
  EXPECT_EQ(status_of("GET / HTTP/2.0\r\n\r\n"), 505);
  EXPECT_EQ(status_of("GET / HTTP/0.9\r\n\r\n"), 505);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: a\r\n"), -1) << "it is not complete";
  std::string many = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 128; ++i) many += "X: y\r\n";
  EXPECT_EQ(status_of(many + "\r\n"), 0);
  EXPECT_EQ(status_of(many + "X: y\r\n\r\n"), 431);
}

TEST(HeadTest, ABodyIsExpectedWhereOneIsAnnounced) {
  Request request;
  for (const auto& [header, body] : {std::pair{"Content-Length: 0", false},
                                     {"Content-Length: 7", true},
                                     {"transfer-encoding: chunked", true}}) {
    ASSERT_EQ(status_of("GET / HTTP/1.1\r\n"s + header + "\r\n\r\n", &request), 0);
    EXPECT_EQ(request.has_body(), body) << header;
  }
}

TEST(HeadTest, ATlsHelloIsNoneFromItsFirstByte) {
  EXPECT_FALSE(webui::may_be_request("\x16\x03\x01"));
  EXPECT_FALSE(webui::may_be_request("\r"));
  EXPECT_TRUE(webui::may_be_request("G"));
  EXPECT_TRUE(webui::may_be_request(""));
}

}  // namespace
}  // namespace loopscope::test
