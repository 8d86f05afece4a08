// SPDX-License-Identifier: Apache-2.0
#include "webui/server/http_message.h"

#include <algorithm>

#include "instrumentation/snapshot/json.h"

namespace loopscope::webui {
namespace {

constexpr std::size_t kMostHeaders = 128;

// The page is one origin's script, style and data, nothing else; nobody may frame it, and no other
// origin may read or embed what is answered here.
constexpr std::string_view kSafetyHeaders =
    "Cache-Control: no-store\r\n"
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; font-src 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Connection: close\r\n";

std::string_view reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 414:
      return "URI Too Long";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return status < 500 ? "Error" : "Internal Server Error";
  }
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

/// RFC 9110's tchar.
bool is_token_char(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char);
}

/// What may be in a header's value: all but control characters.
bool is_value_char(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

bool is_target_char(char c) { return c > 0x20 && c < 0x7f; }

std::string_view without_blanks(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

BadRequest bad(std::string message) { return {400, "bad_request", std::move(message)}; }

std::optional<BadRequest> parse_target(Request& request) {
  std::string_view rest = request.target;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (rest.size() <= scheme.size() ||
        !equal_ignoring_case(rest.substr(0, scheme.size()), scheme)) {
      continue;
    }
    rest.remove_prefix(scheme.size());
    const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
    request.authority = rest.substr(0, end);
    if (request.authority.empty()) return bad("the address has no host");
    rest.remove_prefix(end);
    request.path = "/";  // "http://host" alone
    break;
  }
  const std::size_t query = std::min(rest.find('?'), rest.size());
  if (query > 0 || request.authority.empty()) request.path = rest.substr(0, query);
  if (query < rest.size()) request.query = rest.substr(query + 1);
  if (request.path.empty() || (request.path.front() != '/' && request.path != "*")) {
    return bad("the address must begin with /");
  }
  return std::nullopt;
}

std::optional<BadRequest> parse_request_line(std::string_view line, Request& request) {
  const std::string not_http = "the request is not HTTP";
  const std::size_t first = line.find(' ');
  const std::size_t second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos) return bad(not_http);
  request.method = line.substr(0, first);
  request.target = line.substr(first + 1, second - first - 1);
  const std::string_view version = line.substr(second + 1);
  if (!is_token(request.method) || request.target.empty() ||
      !std::all_of(request.target.begin(), request.target.end(), is_target_char)) {
    return bad(not_http);
  }
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (version.size() != 8 || version.substr(0, 5) != "HTTP/" || !digit(version[5]) ||
      version[6] != '.' || !digit(version[7])) {
    return bad(not_http);
  }
  if (version[5] != '1') {
    return BadRequest{505, "bad_request", "this server speaks HTTP/1.1"};
  }
  request.minor_version = version[7] - '0';
  return parse_target(request);
}

}  // namespace

const std::string* Request::header(std::string_view name, bool* repeated) const {
  const std::string* found = nullptr;
  for (const auto& [each, value] : headers) {
    if (!equal_ignoring_case(each, name)) continue;
    if (found != nullptr && repeated != nullptr) *repeated = true;
    if (found == nullptr) found = &value;
  }
  return found;
}

bool Request::has_body() const {
  const std::string* length = header("Content-Length");
  return (length != nullptr && *length != "0") || header("Transfer-Encoding") != nullptr;
}

std::optional<std::size_t> head_length(std::string_view bytes) {
  const std::size_t end = bytes.find("\r\n\r\n");
  if (end == std::string_view::npos) return std::nullopt;
  return end + 4;
}

bool may_be_request(std::string_view bytes) {
  return bytes.empty() || is_token_char(bytes.front());
}

std::optional<BadRequest> parse_head(std::string_view head, Request& request) {
  head.remove_suffix(2);  // of the empty line: what is left is lines that each end with CRLF
  bool first = true;
  while (!head.empty()) {
    const std::size_t end = head.find("\r\n");
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(end + 2);
    if (first) {
      if (const auto wrong = parse_request_line(line, request)) return wrong;
      first = false;
      continue;
    }
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) {
      return bad("a header is not \"Name: value\"");
    }
    const std::string_view value = without_blanks(line.substr(colon + 1));
    if (!std::all_of(value.begin(), value.end(), is_value_char)) {
      return bad("a header holds a control character");
    }
    if (request.headers.size() == kMostHeaders) {
      return BadRequest{431, "headers_too_long",
                        "there are more than " + std::to_string(kMostHeaders) + " headers"};
    }
    request.headers.emplace_back(line.substr(0, colon), value);
  }
  if (first) return bad("the request is not HTTP");
  return std::nullopt;
}

Response error_response(int status, std::string_view code, const std::string& message,
                        std::string extra_headers) {
  std::string body = "{\"error\":{\"code\":";
  body += snapshot::json_string(std::string(code));
  body += ",\"message\":";
  body += snapshot::json_string(message);
  body += "}}\n";
  Response response;
  response.status = status;
  response.content_type = "application/json";
  response.extra_headers = std::move(extra_headers);
  return response.with(std::move(body));
}

std::string head_of(const Response& response) {
  std::string text = "HTTP/1.1 " + std::to_string(response.status) + " ";
  text += reason(response.status);
  text += "\r\nContent-Type: ";
  text += response.endless ? "text/event-stream" : response.content_type;
  text += "\r\n";
  text += kSafetyHeaders;
  text += response.extra_headers;
  if (response.endless) {
    // nginx in front would otherwise hold events back.
    text += "X-Accel-Buffering: no\r\n";
  } else {
    const std::size_t length = response.body ? response.body->size() : 0;
    text += "Content-Length: " + std::to_string(length) + "\r\n";
  }
  return text + "\r\n";
}

}  // namespace loopscope::webui
