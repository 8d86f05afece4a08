// SPDX-License-Identifier: Apache-2.0
#include "webui/server/response.h"

#include <civetweb.h>

#include <algorithm>
#include <chrono>

#include "instrumentation/snapshot/json.h"

namespace loopscope::webui {
namespace {

/// CivetWeb's own timeout begins anew with every byte the client takes; this one does not.
constexpr std::chrono::seconds kLongestSend{30};
constexpr std::size_t kPiece = 16 * 1024;

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
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
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

std::string head(int status, std::string_view content_type, const std::string& extra) {
  std::string text = "HTTP/1.1 " + std::to_string(status) + " ";
  text += reason(status);
  text += "\r\nContent-Type: ";
  text += content_type;
  text += "\r\n";
  text += kSafetyHeaders;
  text += extra;
  return text;
}

}  // namespace

bool send_all(mg_connection* connection, std::string_view bytes) {
  const auto deadline = std::chrono::steady_clock::now() + kLongestSend;
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, kPiece);
    if (mg_write(connection, piece.data(), piece.size()) != static_cast<int>(piece.size())) {
      return false;
    }
    bytes.remove_prefix(piece.size());
    if (!bytes.empty() && std::chrono::steady_clock::now() > deadline) return false;
  }
  return true;
}

void send_response(mg_connection* connection, const Response& response, bool head_only) {
  std::string text = head(response.status, response.content_type, response.extra_headers);
  text += "Content-Length: " + std::to_string(response.body.size()) + "\r\n\r\n";
  if (!head_only) {
    // A small answer leaves in one segment.
    const std::string_view first = response.body.substr(0, kPiece);
    text += first;
    if (!send_all(connection, text)) return;
    send_all(connection, response.body.substr(first.size()));
  } else {
    send_all(connection, text);
  }
}

void send_error(mg_connection* connection, int status, std::string_view code,
                const std::string& message, bool head_only, std::string extra_headers) {
  std::string body = "{\"error\":{\"code\":";
  body += snapshot::json_string(std::string(code));
  body += ",\"message\":";
  body += snapshot::json_string(message);
  body += "}}\n";
  Response response;
  response.status = status;
  response.content_type = "application/json";
  response.body = body;
  response.extra_headers = std::move(extra_headers);
  send_response(connection, response, head_only);
}

bool send_stream_head(mg_connection* connection) {
  // X-Accel-Buffering: nginx in front would otherwise hold events back.
  return send_all(connection, head(200, "text/event-stream", "X-Accel-Buffering: no\r\n") + "\r\n");
}

}  // namespace loopscope::webui
