// SPDX-License-Identifier: Apache-2.0
//
// Cancellation of threads in every kind of wait, deferred and asynchronous: cleanup handlers and
// destructors run, and what they do to descriptors works.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "cases.h"

namespace {

int g_pipe[2];
int g_listener;
pthread_barrier_t g_barrier;
const char* g_what;
bool g_asynchronous;

struct Guard {
  int fd;
  ~Guard() { say("destructor: close %d", close(fd)); }
};

void cleanup(void* fd) {
  const int opened = open("/dev/null", O_RDONLY);
  say("cleanup: opened %d, close %d %d", opened >= 0, close(opened), close(*static_cast<int*>(fd)));
}

struct ThreadLocal {
  ~ThreadLocal() { say("thread_local destructor: %d", open("/dev/null", O_RDONLY) >= 0); }
  int used = 0;
};
thread_local ThreadLocal t_local;

void wait(int epoll) {
  epoll_event event;
  pollfd one = {g_pipe[0], POLLIN, 0};
  pollfd on_epoll = {epoll, POLLIN, 0};
  char byte;
  fd_set set;
  FD_ZERO(&set);
  FD_SET(g_pipe[0], &set);
  const auto is = [](const char* what) { return strcmp(g_what, what) == 0; };
  if (is("epoll_wait")) epoll_wait(epoll, &event, 1, -1);
  if (is("epoll_pwait")) epoll_pwait(epoll, &event, 1, -1, nullptr);
  if (is("epoll_pwait2")) epoll_pwait2(epoll, &event, 1, nullptr, nullptr);
  if (is("poll")) poll(&one, 1, -1);
  if (is("ppoll")) ppoll(&one, 1, nullptr, nullptr);
  if (is("ppoll_epoll")) ppoll(&on_epoll, 1, nullptr, nullptr);
  if (is("select")) select(g_pipe[0] + 1, &set, nullptr, nullptr, nullptr);
  if (is("pselect")) pselect(g_pipe[0] + 1, &set, nullptr, nullptr, nullptr, nullptr);
  if (is("accept")) accept(g_listener, nullptr, nullptr);
  if (is("accept4")) accept4(g_listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (is("read") && read(g_pipe[0], &byte, 1) > 0) return;
  if (is("recv")) recv(g_listener, &byte, 1, 0);
  if (is("open_fifo") && open("fifo", O_RDONLY) >= 0) return;
  // Not blocking: the request is there already, and honoured on the way in.
  if (is("close")) close(fcntl(g_pipe[0], F_DUPFD, 200));
  if (is("open") && open("/dev/null", O_RDONLY) >= 0) return;
  if (is("write") && write(g_pipe[1], "x", 1) != 1) return;
}

void* run(void*) {
  t_local.used = 1;
  const int epoll = epoll_create1(0);
  epoll_event interest = {EPOLLIN, {}};
  interest.data.u64 = 0x7654321000ull;
  epoll_ctl(epoll, EPOLL_CTL_ADD, g_pipe[0], &interest);
  epoll_event event;
  epoll_wait(epoll, &event, 1, 0);  // a loop from now on
  Guard guard{dup(g_pipe[0])};
  int own = dup(g_pipe[0]);
  if (g_asynchronous) pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
  pthread_cleanup_push(cleanup, &own);
  const bool at_once =
      strcmp(g_what, "close") == 0 || strcmp(g_what, "open") == 0 || strcmp(g_what, "write") == 0;
  if (at_once) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    pthread_barrier_wait(&g_barrier);
    pthread_barrier_wait(&g_barrier);  // the request has been made
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);
  } else {
    pthread_barrier_wait(&g_barrier);
  }
  wait(epoll);
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
  say("went on");
  pthread_cleanup_pop(0);
  return nullptr;
}

void* lasts(void*) {
  // More of them than blocks for ended loops are kept, while threads are cancelled at any moment.
  for (;;) {
    const int epoll = epoll_create1(0);
    epoll_event event;
    epoll_event interest = {EPOLLIN, {}};
    interest.data.u64 = 0x7654321000ull;
    epoll_ctl(epoll, EPOLL_CTL_ADD, g_pipe[0], &interest);
    epoll_wait(epoll, &event, 1, 0);
    close(epoll);
    pthread_testcancel();
  }
}
void* cancelled_at_any_time(void* kind) {
  pthread_setcanceltype(kind != nullptr ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED,
                        nullptr);
  return lasts(nullptr);
}

int one(int, char** argv) {
  g_what = argv[1];
  g_asynchronous = strcmp(argv[2], "asynchronous") == 0;
  MUST(pipe(g_pipe));
  MUST(mkfifo("fifo", 0600));
  g_listener = MUST(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in here{};
  here.sin_family = AF_INET;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  MUST(bind(g_listener, reinterpret_cast<sockaddr*>(&here), sizeof here));
  MUST(listen(g_listener, 1));
  int pair[2];
  if (strcmp(g_what, "recv") == 0) {
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    g_listener = pair[0];
  }
  pthread_barrier_init(&g_barrier, nullptr, 2);
  pthread_t thread;
  if (pthread_create(&thread, nullptr, run, nullptr) != 0) give_up("pthread_create");
  pthread_barrier_wait(&g_barrier);
  const bool at_once =
      strcmp(g_what, "close") == 0 || strcmp(g_what, "open") == 0 || strcmp(g_what, "write") == 0;
  if (!at_once)
    usleep(15000);  // now it waits; if not yet, the request comes first: the same is said
  pthread_cancel(thread);
  if (at_once) pthread_barrier_wait(&g_barrier);
  void* result = nullptr;
  pthread_join(thread, &result);
  say("cancelled %d", result == PTHREAD_CANCELED);
  // The program lives on and its other threads wait for descriptors.
  const int epoll = MUST(epoll_create1(0));
  epoll_event event{};
  say("epoll_wait %d", epoll_wait(epoll, &event, 1, 1));
  return 0;
}

int any_time(int, char** argv) {
  MUST(pipe(g_pipe));
  const bool asynchronous = strcmp(argv[1], "asynchronous") == 0;
  for (int i = 0; i < 150; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, cancelled_at_any_time, asynchronous ? argv : nullptr) != 0)
      give_up("pthread_create");
    usleep(static_cast<useconds_t>(300 + i * 7));
    pthread_cancel(thread);
    void* result = nullptr;
    pthread_join(thread, &result);
    if (result != PTHREAD_CANCELED) say("not cancelled");
    closefrom(5);
  }
  const int epoll = MUST(epoll_create1(0));
  epoll_event event{};
  say("epoll_wait %d", epoll_wait(epoll, &event, 1, 1));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  static const victim_case cases[] = {{"one", one}, {"any_time", any_time}, {nullptr, nullptr}};
  return run_case(cases, argc, argv);
}
