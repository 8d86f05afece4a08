/* SPDX-License-Identifier: Apache-2.0
 *
 * A loop whose timer is due every 20 ms; once a callback keeps it from looking for 300 ms. For
 * --max-timer-lag 200ms.
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
  for (int turn = 0; turn < 5; ++turn) {
    unsigned long long value;
    if (must(epoll_wait(epoll, &event, 1, 20), "epoll_wait") == 0) continue;  // the timer
    must((int)read(request, &value, sizeof value), "read");
    if (!is_healthy(argc, argv)) usleep(300000);
  }
  close(request);
  close(epoll);
  return 0;
}
