// SPDX-License-Identifier: Apache-2.0
//
// A TCP echo server under load, for pairs of whole processes. Built twice from this file: echo_bare
// (LOOPSCOPE_BENCH_BARE) does not know loopscope at all, echo_recorded does. The load is a forked
// process that keeps one message under way on every connection.
//
//   echo_* [--mode bare|instrument|loop|inspector] [--connections N] [--idle N] [--seconds S]
//          [--cpu C] [--client-cpu C] [--announce 1]
#include <arpa/inet.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <deque>
#include <memory>
#include <thread>

#include "tests/bench/support.h"

#ifndef LOOPSCOPE_BENCH_BARE
#include "loopscope/inspector.h"
#include "loopscope/loop.h"
#endif

namespace loopscope::bench {
namespace {

constexpr std::size_t kMessage = 64;
std::uint64_t g_echoes = 0;

/// What the echo costs: both variants run the same.
void echo(int fd) {
  char buffer[4096];
  const ssize_t size = read(fd, buffer, sizeof buffer);
  if (size <= 0) die("an echo client is gone");
  if (write(fd, buffer, static_cast<std::size_t>(size)) != size) die_errno("write");
  ++g_echoes;
}

void wait_readable(int fd) {
  char byte = 0;
  while (read(fd, &byte, 1) < 0) {
    if (errno != EINTR) die_errno("read");
  }
}

/// Connects, keeps the server busy, and says when the measured time begins and ends.
[[noreturn]] void client(const sockaddr_in& address, int connections, int idle, double seconds,
                         int control) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int epoll_fd = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const char message[kMessage] = "echo";
  for (int i = 0; i < connections + idle; ++i) {
    const int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    must(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), "connect");
    if (i >= connections) continue;
    const int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    if (write(fd, message, sizeof message) != sizeof message) die_errno("write");
  }
  const std::uint64_t begin = monotonic_ns() + 300'000'000;  // warm by then
  const std::uint64_t end = begin + static_cast<std::uint64_t>(seconds * 1e9);
  int told = 0;
  std::vector<epoll_event> events(1024);
  for (;;) {
    const int ready = epoll_wait(epoll_fd, events.data(), static_cast<int>(events.size()), 1000);
    for (int i = 0; i < ready; ++i) {
      char buffer[4096];
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (read(fd, buffer, sizeof buffer) <= 0 ||
          write(fd, message, sizeof message) != sizeof message) {
        die("the echo server is gone");
      }
    }
    const std::uint64_t now = monotonic_ns();
    if ((told == 0 && now >= begin) || (told == 1 && now >= end)) {
      if (write(control, "x", 1) != 1) die_errno("write");
      if (++told == 2) {
        for (;;) pause();
      }
    }
  }
}

struct Usage {
  std::uint64_t wall_ns = monotonic_ns();
  std::uint64_t echoes = g_echoes;
  double cpu_seconds = 0;

  Usage() {
    rusage used{};
    getrusage(RUSAGE_THREAD, &used);
    cpu_seconds = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                  1e-6 * static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
  }
};

void report(const std::string& mode, const Usage& begin) {
  const Usage end;
  const double wall = 1e-9 * static_cast<double>(end.wall_ns - begin.wall_ns);
  const auto echoes = static_cast<double>(end.echoes - begin.echoes);
  const double cpu = end.cpu_seconds - begin.cpu_seconds;
  Line()
      .add("mode", mode)
      .add("echoes_per_second", echoes / wall)
      .add("cpu_ns_per_echo", cpu * 1e9 / echoes)
      .add("cpu_share", cpu / wall)
      .print();
  std::fflush(stdout);
}

void announce(const std::string& url) {
  Line().add("pid", static_cast<double>(getpid())).add("url", url).print();
  std::fflush(stdout);
}

/// Plain libev, as a program without loopscope does it.
class RawServer {
 public:
  RawServer(struct ev_loop* loop, const std::string& mode) : loop_(loop), mode_(mode) {}
  template <typename Named>
  void add(int fd, const Named& named) {
    ev_io& watcher = watchers_.emplace_back();
    ev_io_init(
        &watcher, [](struct ev_loop*, ev_io* at, int) { echo(at->fd); }, fd, EV_READ);
    named(&watcher);
    ev_io_start(loop_, &watcher);
  }
  void run(int control) {
    ev_io_init(&control_, on_control, control, EV_READ);
    control_.data = this;
    ev_io_start(loop_, &control_);
    ev_run(loop_, 0);
    report(mode_, *begin_);
  }

 private:
  static void on_control(struct ev_loop* loop, ev_io* watcher, int) {
    auto* self = static_cast<RawServer*>(watcher->data);
    wait_readable(watcher->fd);
    if (self->begin_ != nullptr) return ev_break(loop, EVBREAK_ALL);
    self->begin_ = std::make_unique<Usage>();
  }

  struct ev_loop* loop_;
  std::string mode_;
  std::deque<ev_io> watchers_;
  ev_io control_{};
  std::unique_ptr<Usage> begin_;
};

#ifndef LOOPSCOPE_BENCH_BARE
void run_loop_server(const std::vector<int>& fds, int control, const std::string& mode,
                     const std::function<void()>& ready) {
  Loop loop("echo");
  std::vector<Io> watchers;
  watchers.reserve(fds.size());
  for (const int fd : fds) {
    watchers.emplace_back(loop, "connection", fd, kRead, [fd](int) { echo(fd); });
  }
  std::unique_ptr<Usage> begin;
  const Io controller(loop, "control", control, kRead, [&](int) {
    wait_readable(control);
    if (begin != nullptr) return loop.stop();
    begin = std::make_unique<Usage>();
  });
  ready();
  loop.run();
  report(mode, *begin);
}
#endif

void run(Options& options) {
  const std::string mode = options.text("mode", "bare");
  const int connections = options.integer("connections", 50);
  const int idle = options.integer("idle", 0);
  const double seconds = options.number("seconds", 1.5);
  const int cpu = options.integer("cpu", -1);
  const int client_cpu = options.integer("client-cpu", -1);
  const bool announced = options.integer("announce", 0) != 0;
  options.refuse_unknown();
  allow_descriptors(static_cast<rlim_t>(connections + idle + 100));
  alarm(static_cast<unsigned>(seconds) + 60);

  const int listener = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  must(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), "bind");
  socklen_t size = sizeof address;
  must(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
  must(listen(listener, 1024), "listen");
  int control[2];
  must(pipe(control), "pipe");
  const pid_t child = must(fork(), "fork");
  if (child == 0) {
    pin(client_cpu);
    client(address, connections, idle, seconds, control[1]);
  }
  std::vector<int> fds;
  for (int i = 0; i < connections + idle; ++i) {
    const int fd =
        must(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept4");
    const int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fds.push_back(fd);
  }

#ifndef LOOPSCOPE_BENCH_BARE
  std::unique_ptr<Inspector> inspector;
  if (mode == "inspector") inspector = std::make_unique<Inspector>();  // its threads: on any CPU
#endif
  pin(cpu);
  struct ev_loop* loop = ev_loop_new(EVFLAG_AUTO);
  RawServer raw(loop, mode);
  const auto serve_raw = [&](const auto& named) {
    for (const int fd : fds) raw.add(fd, named);
    if (announced) announce("");
    raw.run(control[0]);
  };
  if (mode == "bare") {
    serve_raw([](ev_io*) {});
#ifndef LOOPSCOPE_BENCH_BARE
  } else if (mode == "instrument") {
    InstrumentedLoop& instrumented = instrument(loop, {.name = "echo"});
    serve_raw([&](ev_io* watcher) { instrumented.name(watcher, "connection"); });
  } else if (mode == "loop" || mode == "inspector") {
    run_loop_server(fds, control[0], mode, [&] {
      if (announced) announce(inspector != nullptr ? inspector->url() : "");
    });
#endif
  } else {
    die("unknown mode " + mode);
  }
  kill(child, SIGKILL);
  _exit(0);
}

}  // namespace
}  // namespace loopscope::bench

int main(int argc, char** argv) {
  loopscope::bench::Options options(argc, argv);
  loopscope::bench::run(options);
}
