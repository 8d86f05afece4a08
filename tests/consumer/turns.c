/* SPDX-License-Identifier: Apache-2.0
 *
 * A plain libev program with one line of loopscope: ten turns of a 1 ms timer, then 300 ms of
 * something else outside the loop. Its recording must have the turns, and must not take the
 * something else for a stall. */
#include <ev.h>
#include <stdio.h>
#include <unistd.h>

#include "loopscope.h"

static void tick(struct ev_loop* loop, ev_timer* timer, int events) {
  int* left = timer->data;
  (void)events;
  if (--*left == 0) ev_timer_stop(loop, timer);
}

int main(void) {
  struct ev_loop* loop = EV_DEFAULT;
  loopscope_loop* scope = loopscope_instrument(loop, "turns", NULL);
  int left = 10;
  ev_timer timer;
  ev_timer_init(&timer, tick, 0.001, 0.001);
  timer.data = &left;
  ev_timer_start(loop, &timer);
  loopscope_name(scope, &timer, "tick");
  ev_run(loop, 0);
  usleep(300000);
  ev_run(loop, EVRUN_NOWAIT);
  usleep(300000);
  puts(loopscope_recording_error());
  return 0;
}
