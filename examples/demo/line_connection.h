// SPDX-License-Identifier: Apache-2.0
//
// A non-blocking stream socket that speaks in lines. The server, its clients and the admin page all
// use it, so buffers, partial writes and the end of a connection are dealt with once.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "loopscope/loop.h"
#include "socket.h"

namespace demo {

class LineConnection {
 public:
  /// Without the line's end, "\n" or "\r\n". May call send() and finish(), but not destroy the
  /// connection.
  using OnLine = std::function<void(std::string_view line)>;
  /// The connection is over; may destroy it. Never called from inside send() or finish().
  using OnClose = std::function<void()>;

  /// `watcher` is the name under which loopscope shows the callbacks.
  LineConnection(loopscope::Loop& loop, std::string_view watcher, UniqueFd socket, OnLine on_line,
                 OnClose on_close);
  LineConnection(const LineConnection&) = delete;  // the callbacks refer to it
  LineConnection& operator=(const LineConnection&) = delete;

  /// Sends `text` as it is. What the socket doesn't take now is kept and sent later.
  void send(std::string_view text);

  /// Sends what is left, says "no more" to the peer and waits for it to hang up. Lines that still
  /// come in are ignored. Closing at once instead could destroy answers that are under way.
  void finish();

 private:
  void on_ready(int events);
  bool receive();
  void hand_out_lines();
  void flush();
  void update_interest();

  UniqueFd socket_;
  OnLine on_line_;
  OnClose on_close_;
  std::string received_;
  std::string unsent_;
  bool in_callback_ = false;
  bool finishing_ = false;
  int interest_ = loopscope::kRead;
  loopscope::Io io_;  // after socket_, so that it stops before the socket is closed
};

}  // namespace demo
