/* SPDX-License-Identifier: Apache-2.0
 *
 * Closes a descriptor that is registered, while a duplicate lives: the registration stays, and its
 * events go on for a number that is closed.
 */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  const int epoll = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const int fd = must(eventfd(1, EFD_CLOEXEC), "eventfd");  // OPEN
  const int copy = must(dup(fd), "dup");
  struct epoll_event event = {.events = EPOLLIN};
  event.data.fd = fd;
  must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  if (is_healthy(argc, argv)) must(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL), "epoll_ctl");
  close(fd);  // CLOSE1
  for (int turn = 0; turn < 5; ++turn) must(epoll_wait(epoll, &event, 1, 5), "epoll_wait");
  close(copy);
  close(epoll);
  return 0;
}
