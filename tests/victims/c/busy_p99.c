/* SPDX-License-Identifier: Apache-2.0
 *
 * Every turn of a loop is busy for 12 ms. For --max-busy-p99 10ms.
 */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  const int epoll = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const int request = must(eventfd(1, EFD_CLOEXEC), "eventfd");
  struct epoll_event event = {.events = EPOLLIN};
  must(epoll_ctl(epoll, EPOLL_CTL_ADD, request, &event), "epoll_ctl");
  for (int turn = 0; turn < 120; ++turn) {
    must(epoll_wait(epoll, &event, 1, -1), "epoll_wait");
    if (!is_healthy(argc, argv)) usleep(12000);
  }
  close(request);
  close(epoll);
  return 0;
}
