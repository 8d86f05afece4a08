// SPDX-License-Identifier: Apache-2.0
//
// soak_load CONNECTIONS MESSAGES PORT: keeps so many connections to an echo server on 127.0.0.1,
// one message of 64 bytes under way on each, and ends each connection after so many messages to
// make a new one in its place. Never more than that is under way, so the load is as much as the
// server takes, and no more.
//
// On SIGTERM it waits for the answers that are due, closes, and prints what it did, exactly:
//     {"connections": N, "messages": N, "bytes": N}
//
// An answer that is missing, short or wrong ends it with status 1. Ends with the process that
// started it.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { kMessage = 64, kMostDescriptors = 4096, kEventsAtOnce = 64 };

static volatile sig_atomic_t ending;
static int epoll;
static struct sockaddr_in server = {.sin_family = AF_INET};
static unsigned long connections, messages;
/* By descriptor: messages sent on it, and bytes of the answer that are there. */
static unsigned long sent[kMostDescriptors];
static size_t answered[kMostDescriptors];
static char question[kMessage], answer[kMostDescriptors][kMessage];

static void on_signal(int number) {
  (void)number;
  ending = 1;
}

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static void ask(int fd) {
  if (write(fd, question, kMessage) != kMessage) fail("write");
  sent[fd]++;
  messages++;
}

static void begin(void) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || fd >= kMostDescriptors) fail("socket");
  if (connect(fd, (const struct sockaddr*)&server, sizeof server) != 0) fail("connect");
  const int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  struct epoll_event interest = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest) != 0) fail("epoll_ctl");
  connections++;
  sent[fd] = 0;
  answered[fd] = 0;
  ask(fd);
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fputs("usage: soak_load CONNECTIONS MESSAGES PORT\n", stderr);
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGTERM, &action, NULL);
  server.sin_port = htons((unsigned short)atoi(argv[3]));
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int wanted = atoi(argv[1]);
  const unsigned long most = strtoul(argv[2], NULL, 10);
  memset(question, 'q', kMessage);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) fail("epoll_create1");

  int open_now = 0;
  for (; open_now < wanted; open_now++) begin();
  while (open_now > 0) {
    struct epoll_event ready[kEventsAtOnce];
    const int count = epoll_wait(epoll, ready, kEventsAtOnce, -1);
    if (count < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < count; i++) {
      const int fd = ready[i].data.fd;
      const ssize_t size = read(fd, answer[fd] + answered[fd], kMessage - answered[fd]);
      if (size < 0 && errno == EINTR) continue;
      if (size <= 0) {
        fputs("soak_load: the server hung up\n", stderr);
        return 1;
      }
      answered[fd] += (size_t)size;
      if (answered[fd] < kMessage) continue;
      if (memcmp(answer[fd], question, kMessage) != 0) {
        fputs("soak_load: a wrong answer\n", stderr);
        return 1;
      }
      answered[fd] = 0;
      if (!ending && sent[fd] < most) {
        ask(fd);
        continue;
      }
      close(fd);
      if (ending) {
        open_now--;
      } else {
        begin();
      }
    }
  }
  printf("{\"connections\": %lu, \"messages\": %lu, \"bytes\": %lu}\n", connections, messages,
         messages * kMessage);
  return 0;
}
