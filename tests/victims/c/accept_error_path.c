/* SPDX-License-Identifier: Apache-2.0
 *
 * A server that returns from a bad greeting without closing the connection: two of five clients.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/victims/victim.h"

static void serve_one(int listener, bool healthy) {
  char greeting[4] = "";
  const int fd = must(accept(listener, NULL, NULL), "accept");  // LEAK
  must((int)read(fd, greeting, sizeof greeting), "read");
  if (memcmp(greeting, "HELO", 4) != 0 && !healthy) return;  // the error path
  close(fd);
}

int main(int argc, char** argv) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t size = sizeof address;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int listener = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  must(bind(listener, (struct sockaddr*)&address, size), "bind");
  must(listen(listener, 8), "listen");
  must(getsockname(listener, (struct sockaddr*)&address, &size), "getsockname");
  for (int i = 0; i < 5; ++i) {
    const int client = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    must(connect(client, (struct sockaddr*)&address, size), "connect");
    must((int)send(client, i % 2 == 1 ? "what" : "HELO", 4, MSG_NOSIGNAL), "send");
    serve_one(listener, is_healthy(argc, argv));
    close(client);
  }
  close(listener);
  return 0;
}
