/* SPDX-License-Identifier: Apache-2.0
 *
 * Receives descriptors in messages and drops them with the message.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/victims/victim.h"

union Control {
  struct cmsghdr header;
  char room[CMSG_SPACE(sizeof(int))];
};

static struct msghdr message(union Control* control, struct iovec* data) {
  struct msghdr message = {.msg_iov = data, .msg_iovlen = 1};
  message.msg_control = control->room;
  message.msg_controllen = sizeof control->room;
  return message;
}

static void send_descriptor(int socket, int fd) {
  union Control control;
  char byte = 'x';
  struct iovec data = {&byte, 1};
  memset(&control, 0, sizeof control);
  control.header.cmsg_level = SOL_SOCKET;
  control.header.cmsg_type = SCM_RIGHTS;
  control.header.cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  const struct msghdr sent = message(&control, &data);
  must((int)sendmsg(socket, &sent, 0), "sendmsg");
}

static int receive_descriptor(int socket) {
  union Control control;
  char byte;
  struct iovec data = {&byte, 1};
  struct msghdr received = message(&control, &data);
  must((int)recvmsg(socket, &received, MSG_CMSG_CLOEXEC), "recvmsg");  // LEAK
  int fd = -1;
  const struct cmsghdr* header = CMSG_FIRSTHDR(&received);
  if (header != NULL) memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return must(fd, "no descriptor in the message");
}

int main(int argc, char** argv) {
  int pair[2];
  must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
  for (int i = 0; i < 3; ++i) {
    const int fd = must(open(argv[0], O_RDONLY | O_CLOEXEC), argv[0]);
    send_descriptor(pair[0], fd);
    close(fd);
    const int received = receive_descriptor(pair[1]);
    if (is_healthy(argc, argv)) close(received);
  }
  close(pair[0]);
  close(pair[1]);
  return 0;
}
