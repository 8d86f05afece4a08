// SPDX-License-Identifier: Apache-2.0
//
// soak_epoll: an echo server with one thread and one epoll set, which counts what loopscope has to
// count too and knows nothing of loopscope. It has no timer, so that without clients it makes no
// turn and two readers that come one after the other must see the same numbers.
//
//     {"port": N}     on stdout once it listens, on 127.0.0.1
//     {"turns": ...}  at its end, on SIGTERM: turns (returns of epoll_wait), ready (what they
//                     returned in all), accepted, closed, messages, bytes
//
// $SOAK_MUTANT makes it do what the soak test has to notice: "descriptors" leaks one descriptor
// every 5 connections, "memory" 100 bytes a turn, "count" forgets one connection. Ends with the
// process that started it.
#define _GNU_SOURCE  // accept4
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { kEventsAtOnce = 64, kMessage = 64, kLeakEvery = 5, kLeakBytes = 100 };

static volatile sig_atomic_t ending;

static void on_signal(int number) {
  (void)number;
  ending = 1;
}

static int must(int result, const char* what) {
  if (result < 0) {
    perror(what);
    exit(1);
  }
  return result;
}

static void watch(int epoll, int fd) {
  struct epoll_event interest = {.events = EPOLLIN, .data.fd = fd};
  must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest), "epoll_ctl");
}

static int listen_anywhere(void) {
  const int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  struct sockaddr_in address = {.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  must(bind(fd, (struct sockaddr*)&address, size), "bind");
  must(listen(fd, 1024), "listen");
  must(getsockname(fd, (struct sockaddr*)&address, &size), "getsockname");
  printf("{\"port\": %d}\n", ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

static int is_mutant(const char* kind) {
  const char* mutant = getenv("SOAK_MUTANT");
  return mutant != NULL && strcmp(mutant, kind) == 0;
}

int main(void) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGTERM, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
  const int leaks_descriptors = is_mutant("descriptors");
  const int leaks_memory = is_mutant("memory");

  // Between waits the signal is held back: it ends a wait, and none comes after it.
  sigset_t term, while_waiting;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigprocmask(SIG_BLOCK, &term, &while_waiting);

  const int epoll = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const int listener = listen_anywhere();
  watch(epoll, listener);

  unsigned long turns = 0, ready_total = 0, accepted = 0, closed = 0, messages = 0, bytes = 0;
  while (!ending) {
    struct epoll_event ready[kEventsAtOnce];
    const int count = epoll_pwait(epoll, ready, kEventsAtOnce, -1, &while_waiting);
    turns++;
    if (count < 0 && errno != EINTR) must(count, "epoll_pwait");
    if (count > 0) ready_total += (unsigned long)count;
    if (leaks_memory) {
      // Touched, or it would not be resident; and reachable by nobody.
      char* volatile leaked = malloc(kLeakBytes);
      if (leaked != NULL) memset(leaked, 1, kLeakBytes);
    }
    for (int i = 0; i < count; i++) {
      const int fd = ready[i].data.fd;
      if (fd == listener) {
        int client;
        while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
          const int yes = 1;
          setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
          watch(epoll, client);
          if (++accepted % kLeakEvery == 0 && leaks_descriptors) (void)eventfd(0, EFD_CLOEXEC);
        }
        if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) must(-1, "accept4");
        continue;
      }
      char text[4096];
      const ssize_t size = read(fd, text, sizeof text);
      if (size < 0 && errno == EAGAIN) continue;
      if (size <= 0) {  // hung up; the kernel takes it out of the epoll set
        close(fd);
        closed++;
        continue;
      }
      // A client has one message under way: there is always room for the answer.
      if (write(fd, text, (size_t)size) != size) must(-1, "write");
      messages += (unsigned long)size / kMessage;
      bytes += (unsigned long)size;
    }
  }
  close(listener);
  close(epoll);
  if (is_mutant("count")) accepted--;
  printf(
      "{\"turns\": %lu, \"ready\": %lu, \"accepted\": %lu, \"closed\": %lu, \"messages\": %lu, "
      "\"bytes\": %lu}\n",
      turns, ready_total, accepted, closed, messages, bytes);
  return 0;
}
