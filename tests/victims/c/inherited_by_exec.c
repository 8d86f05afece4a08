/* SPDX-License-Identifier: Apache-2.0
 *
 * A listening socket without close-on-exec reaches a helper program that knows nothing of it. The
 * parent closes its own: the port stays taken while the helper lives.
 * inherited_by_exec [healthy] runs itself as inherited_by_exec helper.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "helper") == 0) {
    usleep(300000);
    return 0;
  }
  struct sockaddr_in address = {.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int type = is_healthy(argc, argv) ? SOCK_STREAM | SOCK_CLOEXEC : SOCK_STREAM;
  const int listener = must(socket(AF_INET, type, 0), "socket");  // LEAK
  must(bind(listener, (struct sockaddr*)&address, sizeof address), "bind");
  must(listen(listener, 8), "listen");
  const pid_t pid = must(fork(), "fork");
  if (pid == 0) {
    execl(argv[0], argv[0], "helper", (char*)NULL);
    _exit(3);
  }
  usleep(100000);
  close(listener);
  must(waitpid(pid, NULL, 0), "waitpid");
  return 0;
}
