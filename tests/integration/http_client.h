// SPDX-License-Identifier: Apache-2.0
//
// A small HTTP client over a plain socket, for tests: it can be as slow, as rude and as wrong as a
// test wants, which a proper client library would not let it be.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace loopscope::test {

using Clock = std::chrono::steady_clock;

class Connection {
 public:
  /// To 127.0.0.1 (or ::1); check ok(). `receive_buffer` 0: the system's default.
  explicit Connection(std::uint16_t port, int receive_buffer = 0, bool v6 = false)
      : fd_(socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer != 0) {
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    sockaddr_in v4_address{};
    v4_address.sin_family = AF_INET;
    v4_address.sin_port = htons(port);
    v4_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_in6 v6_address{};
    v6_address.sin6_family = AF_INET6;
    v6_address.sin6_port = htons(port);
    v6_address.sin6_addr = in6addr_loopback;
    ok_ = (v6 ? connect(fd_, reinterpret_cast<sockaddr*>(&v6_address), sizeof v6_address)
              : connect(fd_, reinterpret_cast<sockaddr*>(&v4_address), sizeof v4_address)) == 0;
  }
  ~Connection() {
    if (fd_ >= 0) close(fd_);
  }
  Connection(Connection&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), ok_(other.ok_), closed_(other.closed_) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  Connection& operator=(Connection&&) = delete;

  bool ok() const { return ok_; }
  int fd() const { return fd_; }
  /// The server has closed (or reset) the connection, as far as reading has shown.
  bool closed() const { return closed_; }

  /// False: the server does not take it any more.
  bool send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  /// What is there within `timeout`; empty: nothing, or closed.
  std::string receive(std::chrono::milliseconds timeout) {
    pollfd waiting{fd_, POLLIN, 0};
    if (poll(&waiting, 1, static_cast<int>(timeout.count())) <= 0) return {};
    std::string bytes(64 * 1024, '\0');
    const ssize_t got = recv(fd_, bytes.data(), bytes.size(), 0);
    if (got <= 0) closed_ = true;
    bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return bytes;
  }

  std::string receive_until_closed(std::chrono::milliseconds timeout) {
    const auto deadline = Clock::now() + timeout;
    std::string all;
    while (!closed_) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
      if (left.count() <= 0) break;
      all += receive(left);
    }
    return all;
  }

 private:
  int fd_;
  bool ok_ = false;
  bool closed_ = false;
};

struct Reply {
  int status = 0;                              // 0: no HTTP answer came
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::string head;  // as received

  std::string header(const std::string& lower_case_name) const {
    const auto found = headers.find(lower_case_name);
    return found == headers.end() ? std::string() : found->second;
  }
};

inline Reply parse_reply(const std::string& bytes) {
  Reply reply;
  const std::size_t end = bytes.find("\r\n\r\n");
  if (end == std::string::npos || bytes.compare(0, 9, "HTTP/1.1 ") != 0) return reply;
  reply.status = std::stoi(bytes.substr(9, 3));
  reply.head = bytes.substr(0, end);
  reply.body = bytes.substr(end + 4);
  std::size_t line = bytes.find("\r\n") + 2;
  while (line < end) {
    const std::size_t line_end = bytes.find("\r\n", line);
    const std::size_t colon = bytes.find(": ", line);
    if (colon < line_end) {
      std::string name = bytes.substr(line, colon - line);
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      reply.headers[name] = bytes.substr(colon + 2, line_end - colon - 2);
    }
    line = line_end + 2;
  }
  return reply;
}

/// Sends `bytes` as they are and reads until the server closes.
inline Reply send_raw(std::uint16_t port, const std::string& bytes,
                      std::chrono::milliseconds timeout = std::chrono::seconds(10)) {
  Connection connection(port);
  connection.send(bytes);
  return parse_reply(connection.receive_until_closed(timeout));
}

/// `headers`: "Name: value\r\n"…; a Host header is added unless there is one.
inline Reply request(std::uint16_t port, const std::string& method, const std::string& path,
                     const std::string& headers = "", const std::string& body = "") {
  std::string text = method + " " + path + " HTTP/1.1\r\n";
  if (headers.find("Host:") == std::string::npos) {
    text += "Host: 127.0.0.1:" + std::to_string(port) + "\r\n";
  }
  return send_raw(port, text + headers + "\r\n" + body);
}

inline Reply get(std::uint16_t port, const std::string& path, const std::string& headers = "") {
  return request(port, "GET", path, headers);
}

/// Follows /api/v1/stream.
class StreamClient {
 public:
  explicit StreamClient(std::uint16_t port, int receive_buffer = 0)
      : connection_(port, receive_buffer) {
    connection_.send("GET /api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port) +
                     "\r\nAccept: text/event-stream\r\n\r\n");
  }

  /// The answer's head; waits for it.
  Reply head(std::chrono::milliseconds timeout = std::chrono::seconds(10)) {
    fill(timeout, [this] { return head_end() != std::string::npos; });
    if (head_end() == std::string::npos) return {};
    return parse_reply(bytes_.substr(0, head_end() + 4));
  }

  /// The data of the next event; none if it does not come in time or the connection ends.
  std::optional<std::string> next(std::chrono::milliseconds timeout = std::chrono::seconds(10)) {
    if (position_ == 0) {
      if (head(timeout).status == 0) return std::nullopt;
      position_ = head_end() + 4;
    }
    fill(timeout, [this] { return bytes_.find("\n\n", position_) != std::string::npos; });
    const std::size_t end = bytes_.find("\n\n", position_);
    if (end == std::string::npos) return std::nullopt;
    const std::string event = bytes_.substr(position_, end - position_);
    bytes_.erase(position_, end + 2 - position_);
    constexpr std::string_view kStart = "event: snapshot\ndata: ";
    if (event.compare(0, kStart.size(), kStart) != 0) return std::nullopt;
    return event.substr(kStart.size());
  }

  /// Takes what has come, without waiting; the number of whole events in it.
  std::size_t count_events() {
    std::size_t events = 0;
    while (next(std::chrono::milliseconds(0))) ++events;
    return events;
  }

  Connection& connection() { return connection_; }

 private:
  std::size_t head_end() const { return bytes_.find("\r\n\r\n"); }

  template <typename Done>
  void fill(std::chrono::milliseconds timeout, Done done) {
    const auto deadline = Clock::now() + timeout;
    while (!done() && !connection_.closed()) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
      const std::string more = connection_.receive(std::max(left, std::chrono::milliseconds(0)));
      if (more.empty() && left.count() <= 0) return;
      bytes_ += more;
    }
  }

  Connection connection_;
  std::string bytes_;
  std::size_t position_ = 0;
};

}  // namespace loopscope::test
