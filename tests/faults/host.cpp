// SPDX-License-Identifier: Apache-2.0
//
// A program with loopscope's server in it: a loop of its own, a listening socket of its own that
// answers each connection with "hello\n", until standard input ends. Says where both listen
// ("PAGE-PORT OWN-PORT") at the start, and at the end "ended". Whatever the server's threads
// suffer, it must not show here.
#include <loopscope/inspector.h>
#include <loopscope/loop.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

namespace {

using namespace std::chrono_literals;

int listen_on_loopback(std::uint16_t& port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(fd, 16) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return -1;
  }
  port = ntohs(address.sin_port);
  return fd;
}

}  // namespace

int main() {
  loopscope::Loop loop("host");
  loopscope::Inspector inspector;
  std::uint16_t port = 0;
  const int listener = listen_on_loopback(port);
  if (listener < 0) return 1;
  std::printf("%u %u\n", unsigned{inspector.port()}, unsigned{port});
  std::fflush(stdout);

  loopscope::Timer heartbeat(loop, "heartbeat", 0s, 2ms, [] {});
  loopscope::Io acceptor(loop, "acceptor", listener, loopscope::kRead, [&](int) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    (void)!write(fd, "hello\n", 6);
    close(fd);
  });
  loopscope::Io input(loop, "input", STDIN_FILENO, loopscope::kRead, [&](int) {
    char text[64];
    if (read(STDIN_FILENO, text, sizeof text) == 0) loop.stop();
  });
  loop.run();
  std::puts("ended");
  return 7;
}
