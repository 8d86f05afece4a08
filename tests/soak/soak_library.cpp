// SPDX-License-Identifier: Apache-2.0
//
// soak_library: the same echo server as soak_epoll.c, on libev with the library, and with the page
// served by the process itself. It counts by itself what its recording has to hold too.
//
//     {"port": N, "url": "http://..."}  on stdout once it listens
//     {"turns": ...}                    at its end, on SIGTERM: turns (by libev's own count),
//                                       calls of its watchers ("listener", "connection"), accepted,
//                                       closed, messages, bytes
//
// $SOAK_MUTANT: "library-memory" leaks 100 bytes a turn. Ends with the process that started it.
#include <arpa/inet.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_map>

#include "loopscope/inspector.h"
#include "loopscope/loop.h"

namespace {

constexpr unsigned long kMessage = 64;

int must(int result, const char* what) {
  if (result < 0) {
    std::perror(what);
    std::exit(1);
  }
  return result;
}

struct Counts {
  unsigned long listener_calls = 0;
  unsigned long connection_calls = 0;
  unsigned long accepted = 0;
  unsigned long closed = 0;
  unsigned long messages = 0;
  unsigned long bytes = 0;
};

/// Every connection has a watcher of its own, which goes with it: as many come and go as there are
/// connections.
class Server {
 public:
  explicit Server(bool leaks) : leaks_(leaks), loop_("soak") {
    fd_ = must(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    must(bind(fd_, reinterpret_cast<sockaddr*>(&address), size), "bind");
    must(listen(fd_, 1024), "listen");
    must(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
    port_ = ntohs(address.sin_port);
    listener_ = loopscope::Io(loop_, "listener", fd_, loopscope::kRead, [this](int) { accept(); });
    term_ = loopscope::Signal(loop_, "end", SIGTERM, [this](int) { loop_.stop(); });
  }
  ~Server() { close(fd_); }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void run() { loop_.run(); }
  int port() const { return port_; }
  const Counts& counts() const { return counts_; }
  /// libev counts a turn before it waits.
  unsigned turns() { return ev_iteration(loop_.native_handle()); }

 private:
  void accept() {
    ++counts_.listener_calls;
    for (;;) {
      const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) {
        if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) must(-1, "accept4");
        return;
      }
      const int yes = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
      ++counts_.accepted;
      connections_.emplace(fd, loopscope::Io(loop_, "connection", fd, loopscope::kRead,
                                             [this, fd](int) { echo(fd); }));
    }
  }

  void echo(int fd) {
    ++counts_.connection_calls;
    if (leaks_) {
      // Touched, or it would not be resident; and reachable by nobody.
      char* volatile leaked = static_cast<char*>(std::malloc(100));
      if (leaked != nullptr) std::memset(leaked, 1, 100);
    }
    char text[4096];
    const ssize_t size = read(fd, text, sizeof text);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
      ++counts_.closed;
      const auto found = connections_.find(fd);
      const loopscope::Io watcher = std::move(found->second);  // outlives the callback's captures
      connections_.erase(found);
      close(fd);
      return;
    }
    // A client has one message under way: there is always room for the answer.
    if (write(fd, text, static_cast<std::size_t>(size)) != size) must(-1, "write");
    counts_.messages += static_cast<unsigned long>(size) / kMessage;
    counts_.bytes += static_cast<unsigned long>(size);
  }

  const bool leaks_;
  loopscope::Loop loop_;
  int fd_ = -1;
  int port_ = 0;
  Counts counts_;
  std::unordered_map<int, loopscope::Io> connections_;
  loopscope::Io listener_;
  loopscope::Signal term_;
};

}  // namespace

int main() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGPIPE, SIG_IGN);
  const char* mutant = std::getenv("SOAK_MUTANT");
  Server server(mutant != nullptr && std::string(mutant) == "library-memory");
  if (const std::string error = loopscope::recording_error(); !error.empty()) {
    std::fprintf(stderr, "soak_library: %s\n", error.c_str());
    return 1;
  }
  const loopscope::Inspector inspector;
  std::printf("{\"port\": %d, \"url\": \"%s\"}\n", server.port(), inspector.url().c_str());
  std::fflush(stdout);
  server.run();
  const Counts& counts = server.counts();
  std::printf(
      "{\"turns\": %u, \"listener_calls\": %lu, \"connection_calls\": %lu, \"accepted\": %lu, "
      "\"closed\": %lu, \"messages\": %lu, \"bytes\": %lu}\n",
      server.turns(), counts.listener_calls, counts.connection_calls, counts.accepted,
      counts.closed, counts.messages, counts.bytes);
}
