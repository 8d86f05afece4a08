// SPDX-License-Identifier: Apache-2.0
#include "line_connection.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace demo {
namespace {

using loopscope::kRead;
using loopscope::kWrite;

/// Longer lines are no messages of ours; without a limit a peer could fill our memory.
constexpr std::size_t kLongestLine = 16'384;
/// A peer that doesn't read its answers gets no more requests read until it does.
constexpr std::size_t kMostUnsent = 65'536;

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

LineConnection::LineConnection(loopscope::Loop& loop, std::string_view watcher, UniqueFd socket,
                               OnLine on_line, OnClose on_close)
    : socket_(std::move(socket)),
      on_line_(std::move(on_line)),
      on_close_(std::move(on_close)),
      io_(loop, watcher, socket_.get(), interest_, [this](int events) { on_ready(events); }) {}

void LineConnection::send(std::string_view text) {
  unsent_ += text;
  // Answers to lines that came in together go out together, at the end of on_ready().
  if (in_callback_) return;
  flush();
  update_interest();
}

void LineConnection::finish() {
  finishing_ = true;
  if (in_callback_) return;
  flush();
  update_interest();
}

void LineConnection::on_ready(int events) {
  in_callback_ = true;
  const bool open = (events & kRead) == 0 || receive();
  in_callback_ = false;
  if (!open) {
    // Whoever is told may destroy this object, so the function must not go with it.
    const OnClose on_close = std::move(on_close_);
    io_.stop();
    on_close();
    return;
  }
  flush();
  update_interest();
}

/// False at the end of the connection. One read per event: a busy peer gets its next turn when the
/// others have had theirs.
bool LineConnection::receive() {
  char buffer[16 * 1024];
  const ssize_t size = recv(socket_.get(), buffer, sizeof buffer, 0);
  if (size < 0) return would_block(errno);
  if (size == 0) return false;
  if (finishing_) return true;
  received_.append(buffer, static_cast<std::size_t>(size));
  hand_out_lines();
  return received_.size() <= kLongestLine;
}

void LineConnection::hand_out_lines() {
  std::size_t begin = 0;
  for (std::size_t end; !finishing_ && (end = received_.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    std::string_view line(received_.data() + begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    on_line_(line);
  }
  received_.erase(0, finishing_ ? received_.size() : begin);
}

void LineConnection::flush() {
  if (!unsent_.empty()) {
    const ssize_t size = ::send(socket_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
    if (size > 0) unsent_.erase(0, static_cast<std::size_t>(size));
    // After an error reading fails too: on_ready() hears of it, and there is one place to close.
    if (size < 0 && !would_block(errno)) unsent_.clear();
  }
  if (finishing_ && unsent_.empty()) shutdown(socket_.get(), SHUT_WR);
}

/// A socket is nearly always writable: asking for kWrite with nothing to write would spin.
void LineConnection::update_interest() {
  const int wanted = (unsent_.size() < kMostUnsent ? kRead : 0) | (unsent_.empty() ? 0 : kWrite);
  if (wanted == interest_) return;
  interest_ = wanted;
  io_.set_events(wanted);
}

}  // namespace demo
