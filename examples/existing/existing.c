// SPDX-License-Identifier: Apache-2.0
//
// An echo server on plain libev, as many are: every client has an ev_io and an inactivity timeout.
// What loopscope needs of it is marked with "loopscope:", one line to record the loop and one for
// each name. There is no Inspector in it: `loopscope serve` shows it from outside.
//
//     existing [PORT]        default: 7007, on 127.0.0.1
#define _GNU_SOURCE  // accept4
#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <loopscope.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const ev_tstamp kTimeout = 60.;

static loopscope_loop* scope;

struct client {
  ev_io io;
  ev_timer timeout;
};

static void hang_up(struct ev_loop* loop, struct client* client) {
  ev_timer_stop(loop, &client->timeout);
  ev_io_stop(loop, &client->io);  // before close: the number may be given out again at once
  close(client->io.fd);
  free(client);
}

static void on_timeout(struct ev_loop* loop, ev_timer* timeout, int events) {
  (void)events;
  hang_up(loop, timeout->data);
}

static void on_client(struct ev_loop* loop, ev_io* io, int events) {
  (void)events;
  struct client* client = io->data;
  char text[4096];
  const ssize_t size = recv(io->fd, text, sizeof text, 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  // Kept short: a client that doesn't read what it is sent is hung up on. The demo has a buffer.
  if (size <= 0 || send(io->fd, text, (size_t)size, MSG_NOSIGNAL) != size) {
    hang_up(loop, client);
    return;
  }
  ev_timer_again(loop, &client->timeout);
}

static void on_accept(struct ev_loop* loop, ev_io* io, int events) {
  (void)events;
  const int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  struct client* client = calloc(1, sizeof *client);
  if (client == NULL) {
    close(fd);
    return;
  }
  ev_io_init(&client->io, on_client, fd, EV_READ);
  ev_timer_init(&client->timeout, on_timeout, 0., kTimeout);
  client->io.data = client->timeout.data = client;
  loopscope_name(scope, &client->io, "client");             // loopscope: all clients, one name
  loopscope_name(scope, &client->timeout, "idle-timeout");  // loopscope: no call when they go
  ev_io_start(loop, &client->io);
  ev_timer_again(loop, &client->timeout);
}

static int listen_on(unsigned short port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  const struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(fd, (const struct sockaddr*)&address, sizeof address) != 0 || listen(fd, 128) != 0) {
    fprintf(stderr, "existing: cannot listen on 127.0.0.1:%d: %s\n", port, strerror(errno));
    exit(1);
  }
  return fd;
}

int main(int argc, char** argv) {
  const unsigned short port = (unsigned short)(argc > 1 ? atoi(argv[1]) : 7007);
  struct ev_loop* loop = EV_DEFAULT;
  ev_io listener;
  ev_io_init(&listener, on_accept, listen_on(port), EV_READ);
  ev_io_start(loop, &listener);

  scope =
      loopscope_instrument(loop, "existing", NULL);  // loopscope: this one line records the loop
  loopscope_name(scope, &listener, "accept");        // loopscope: and this times the callbacks
  if (*loopscope_recording_error()) fprintf(stderr, "existing: %s\n", loopscope_recording_error());

  printf("Echoes on 127.0.0.1:%d. `loopscope serve` shows its loop.\n", port);
  fflush(stdout);
  ev_run(loop, 0);
  return 0;
}
