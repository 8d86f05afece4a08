// SPDX-License-Identifier: Apache-2.0
#include <ev.h>
#include <loopscope.h>
#include <stdio.h>

static void on_tick(struct ev_loop* loop, ev_timer* timer, int events) {
  (void)timer, (void)events;
  printf("tick %u\n", ev_iteration(loop));
}

int main(void) {
  struct ev_loop* loop = EV_DEFAULT;
  ev_timer tick;
  ev_timer_init(&tick, on_tick, 0., 1.);
  ev_timer_start(loop, &tick);

  loopscope_loop* scope = loopscope_instrument(loop, "hello", NULL);  // records the loop
  loopscope_name(scope, &tick, "tick");                               // times these callbacks
  char error[256];
  loopscope_inspector* inspector = loopscope_inspect("127.0.0.1", 0, error, sizeof error);
  if (inspector == NULL) return fprintf(stderr, "%s\n", error), 1;
  printf("Open http://127.0.0.1:%d/\n", loopscope_inspector_port(inspector));

  ev_run(loop, 0);
  return 0;
}
