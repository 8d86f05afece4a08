// SPDX-License-Identifier: Apache-2.0
//
// HTTP/1.1 as far as this server speaks it: one request a connection, its head parsed strictly, its
// body ignored; answers with a length, or without an end. Every byte of an answer's head is made
// here: one place for the headers.
//
// Thread-safety: pure functions, plain values.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace loopscope::webui {

/// A request's head. The path is as it was sent: no route needs an escape, and %00 or ".." must not
/// become anything else.
struct Request {
  std::string method;
  std::string target;     // as sent
  std::string authority;  // of an absolute target ("http://HOST/"), else empty
  std::string path;       // without query
  std::string query;      // what follows '?'
  int minor_version = 1;  // HTTP/1.N
  std::vector<std::pair<std::string, std::string>> headers;  // values without blanks around them

  bool head_only() const { return method == "HEAD"; }
  /// Null: it is not there; `repeated`: more than once. The name's case does not matter.
  const std::string* header(std::string_view name, bool* repeated = nullptr) const;
  /// Whether more bytes than the head are to be expected.
  bool has_body() const;
};

/// Why a head is not one.
struct BadRequest {
  int status = 400;
  std::string_view code = "bad_request";
  std::string message;
};

/// The length of the head, with the empty line at its end; none: that has not arrived.
std::optional<std::size_t> head_length(std::string_view bytes);

/// Whether these first bytes may become a request at all: a TLS hello, say, never will.
bool may_be_request(std::string_view bytes);

/// `head` as head_length() found it. Strict: CRLF ends lines, one blank separates the request
/// line's parts, no folded lines, no control characters. Fills `request`, or says what is wrong.
std::optional<BadRequest> parse_head(std::string_view head, Request& request);

struct Response {
  int status = 200;
  std::string_view content_type = "text/plain; charset=utf-8";
  std::shared_ptr<const std::string> body;  // null: empty
  std::string extra_headers;                // "Name: value\r\n"…
  bool endless = false;                     // events without end: no length, and no body here

  Response& with(std::string bytes) {
    body = std::make_shared<const std::string>(std::move(bytes));
    return *this;
  }
};

/// {"error":{"code":...,"message":...}}
Response error_response(int status, std::string_view code, const std::string& message,
                        std::string extra_headers = {});

/// Status line and headers of an answer that closes its connection.
std::string head_of(const Response& response);

}  // namespace loopscope::webui
