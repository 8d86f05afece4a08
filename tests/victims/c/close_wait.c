/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps connections whose peers have closed: they stay in CLOSE_WAIT, idle, for 1.9 s.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t size = sizeof address;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int listener = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  must(bind(listener, (struct sockaddr*)&address, size), "bind");
  must(listen(listener, 8), "listen");
  must(getsockname(listener, (struct sockaddr*)&address, &size), "getsockname");
  for (int i = 0; i < 2; ++i) {
    char request[4];
    const int client = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    must(connect(client, (struct sockaddr*)&address, size), "connect");
    const int fd = must(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept4");  // LEAK
    must((int)send(client, "GET", 4, MSG_NOSIGNAL), "send");
    must((int)recv(fd, request, sizeof request, 0), "recv");
    must((int)send(fd, "200", 4, MSG_NOSIGNAL), "send");
    must((int)recv(client, request, sizeof request, 0), "recv");
    close(client);
    if (is_healthy(argc, argv)) close(fd);
  }
  usleep(1900000);
  close(listener);
  return 0;
}
