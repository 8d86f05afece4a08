// SPDX-License-Identifier: Apache-2.0
//
// The server, byte for byte as a client sends them, through a real socket: every answer is HTTP,
// none says that the server failed, and it goes on serving.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/fuzz/hostile_host.h"
#include "tests/fuzz/must.h"
#include "webui/server/server.h"

namespace {

using namespace loopscope;
using fuzz::must;

/// The stream has no end: its head and some of it will do.
constexpr std::size_t kEnough = 4096;

webui::Server& server() {
  static webui::Server& running = [&]() -> webui::Server& {
    std::signal(SIGPIPE, SIG_IGN);
    webui::ServerOptions options;
    options.timeout = std::chrono::milliseconds(300);
    options.stream_interval = std::chrono::milliseconds(50);
    // Never destroyed: its threads run until the process ends.
    return *new webui::Server(options, [](const webui::SnapshotRequest&) {
      static const snapshot::HostSnapshot host = fuzz::hostile_host();
      return host;
    });
  }();
  return running;
}

std::string answer_to(const std::string& bytes) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  must(fd >= 0, "a socket is had");
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(server().port());
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  must(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0, "the server listens");
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t got = ::send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (got <= 0) break;
    sent += static_cast<std::size_t>(got);
  }
  ::shutdown(fd, SHUT_WR);
  std::string answer;
  char buffer[4096];
  while (answer.size() < kEnough) {
    pollfd one{fd, POLLIN, 0};
    must(::poll(&one, 1, 20'000) > 0, "there is an answer or an end within 20 s");
    const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0) break;
    answer.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(fd);
  return answer;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string answer = answer_to({reinterpret_cast<const char*>(data), size});
  if (answer.empty()) return 0;
  must(answer.starts_with("HTTP/1.1 ") && answer.size() > 13, "an answer is HTTP");
  const std::string status = answer.substr(9, 3);
  must(status != "500" && status != "502", "no request makes the server fail");
  must(answer.find("\r\n\r\n") != std::string::npos, "a head has an end");
  return 0;
}
