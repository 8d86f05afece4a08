// SPDX-License-Identifier: Apache-2.0
//
// Every byte of HTTP that is sent goes through here: one place for the headers.
//
// Thread-safety: a connection belongs to the CivetWeb thread that handles it; no other state.
#pragma once

#include <string>
#include <string_view>

struct mg_connection;

namespace loopscope::webui {

struct Response {
  int status = 200;
  std::string_view content_type = "text/plain; charset=utf-8";
  std::string_view body;
  std::string extra_headers;  // "Name: value\r\n"…
};

/// Sends status line, headers and (but for HEAD) the body, and marks the connection to be closed. A
/// client that takes more than 30 s for the whole, or does not read for the server's timeout, is
/// given up.
void send_response(mg_connection* connection, const Response& response, bool head_only);

/// {"error":{"code":...,"message":...}}
void send_error(mg_connection* connection, int status, std::string_view code,
                const std::string& message, bool head_only, std::string extra_headers = {});

/// The head of an answer without an end; the body follows by send_all().
bool send_stream_head(mg_connection* connection);

/// False: the client is gone, or too slow.
bool send_all(mg_connection* connection, std::string_view bytes);

}  // namespace loopscope::webui
