/* SPDX-License-Identifier: Apache-2.0
 *
 * One callback of an epoll loop sleeps for 300 ms. For --max-stall 250ms.
 */
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "tests/victims/victim.h"

int main(int argc, char** argv) {
  const struct itimerspec every_10_ms = {{0, 10000000}, {0, 10000000}};
  const int epoll = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const int timer = must(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), "timerfd_create");  // OPEN
  struct epoll_event event = {.events = EPOLLIN};
  event.data.fd = timer;
  must(epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event), "epoll_ctl");
  timerfd_settime(timer, 0, &every_10_ms, NULL);
  for (int turn = 0; turn < 5; ++turn) {
    unsigned long long ticks;
    must(epoll_wait(epoll, &event, 1, -1), "epoll_wait");
    must((int)read(timer, &ticks, sizeof ticks), "read");
    if (turn == 2 && !is_healthy(argc, argv)) usleep(300000);  // USE
  }
  close(timer);
  close(epoll);
  return 0;
}
