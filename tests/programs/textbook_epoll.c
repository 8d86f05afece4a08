// SPDX-License-Identifier: Apache-2.0
//
// The echo server of every textbook: epoll_create1, epoll_ctl, epoll_wait in a loop, one thread. It
// knows nothing of loopscope; the probe is shown what most programs' loops look like below their
// libraries.
//
//     textbook_epoll [PORT]        default: any free port, on 127.0.0.1; "port N" is printed once
//     it listens
//
// Ends on SIGTERM or SIGINT: closes what it has open and prints how many clients and bytes it
// served, and how often epoll_wait returned.
#define _GNU_SOURCE  // accept4
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { kEventsAtOnce = 8, kTickMs = 50, kMostDescriptors = 1024 };

static volatile sig_atomic_t ending;

static void on_signal(int number) {
  (void)number;
  ending = 1;
}

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static void watch(int epoll, int fd) {
  struct epoll_event interest = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest) != 0) fail("epoll_ctl");
}

static int listen_on(unsigned short port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  const int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(fd, (struct sockaddr*)&address, sizeof address) != 0) fail("bind");
  if (listen(fd, SOMAXCONN) != 0) fail("listen");
  if (getsockname(fd, (struct sockaddr*)&address, &size) != 0) fail("getsockname");
  printf("port %d\n", ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

int main(int argc, char** argv) {
  struct sigaction action = {
      .sa_handler = on_signal};  // no SA_RESTART: epoll_wait would return EINTR all the same
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  signal(SIGPIPE, SIG_IGN);

  const int listener = listen_on(argc > 1 ? (unsigned short)atoi(argv[1]) : 0);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) fail("epoll_create1");
  watch(epoll, listener);

  static char open_clients[kMostDescriptors];
  unsigned long clients = 0, bytes = 0, waits = 0;
  while (!ending) {
    struct epoll_event ready[kEventsAtOnce];
    const int count = epoll_wait(epoll, ready, kEventsAtOnce, kTickMs);
    waits++;
    if (count < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < count; i++) {
      const int fd = ready[i].data.fd;
      if (fd == listener) {  // until EAGAIN: several may have come at once
        int client;
        while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
          if (client >= kMostDescriptors) {
            close(client);
            continue;
          }
          open_clients[client] = 1;
          clients++;
          watch(epoll, client);
        }
        continue;
      }
      char text[4096];
      const ssize_t size = read(fd, text, sizeof text);
      if (size < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      // A client that doesn't read what it is sent is hung up on: a buffer for it would be the next
      // chapter.
      if (size <= 0 || write(fd, text, (size_t)size) != size) {
        open_clients[fd] = 0;
        close(fd);  // the kernel takes it out of the epoll set
        continue;
      }
      bytes += (unsigned long)size;
    }
  }

  for (int fd = 0; fd < kMostDescriptors; fd++) {
    if (open_clients[fd]) close(fd);
  }
  close(epoll);
  close(listener);
  printf("clients %lu bytes %lu waits %lu\n", clients, bytes, waits);
  return 0;
}
