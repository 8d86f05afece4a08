// SPDX-License-Identifier: Apache-2.0
//
// library_host: a libev program whose loops the library records: two loops one after another, many
// names, turns enough for a second piece of what was served, a forked child that goes on with its
// loop. It says how often each callback ran; the same whatever went wrong inside the recorder.
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <loopscope.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kNames = 12, kTurns = 700 };

static int g_calls[kNames];
static int g_turns;
static int g_most;

static void on_timer(struct ev_loop* loop, ev_timer* timer, int events) {
  (void)loop, (void)events;
  ++g_calls[(long)timer->data];
}

static void on_pipe(struct ev_loop* loop, ev_io* io, int events) {
  char byte;
  (void)events;
  if (read(io->fd, &byte, 1) != 1) exit(80);
  ++g_calls[0];
  if (++g_turns == g_most) {
    ev_break(loop, EVBREAK_ALL);
  } else if (write(*(int*)io->data, "x", 1) != 1) {
    exit(81);
  }
}

static void run(struct ev_loop* loop, int* fds, int turns) {
  g_turns = 0;
  g_most = turns;
  if (write(fds[1], "x", 1) != 1) exit(82);
  ev_run(loop, 0);
  printf("turns %d\n", g_turns);
}

static void use(struct ev_loop* loop, const char* name) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) exit(83);
  errno = 77;
  loopscope_loop* scope = loopscope_instrument(loop, name, NULL);
  const int after = errno;
  printf("%s: %s, errno %d\n", name, scope != NULL ? "instrumented" : "not instrumented", after);
  static ev_timer timers[kNames];
  for (long i = 1; i < kNames; ++i) {
    char text[16];
    ev_timer_init(&timers[i], on_timer, 0., 0.);
    timers[i].data = (void*)i;
    snprintf(text, sizeof text, "timer-%ld", i);
    errno = 77;
    loopscope_name(scope, &timers[i], text);
    if (errno != 77) printf("naming left errno %d\n", errno);
    ev_timer_start(loop, &timers[i]);
  }
  ev_io io;
  ev_io_init(&io, on_pipe, fds[0], EV_READ);
  io.data = &fds[1];
  loopscope_name(scope, &io, "pipe");
  ev_io_start(loop, &io);
  run(loop, fds, kTurns);
  fflush(stdout);
  errno = 77;
  const pid_t child = fork();
  if (child == 0) {
    printf("forked: errno %d\n", errno);
    ev_loop_fork(loop);
    run(loop, fds, 20);
    fflush(stdout);
    _exit(4);
  }
  int status = 0;
  waitpid(child, &status, 0);
  printf("child: %x\n", status);
  run(loop, fds, 30);
  ev_io_stop(loop, &io);
  for (int i = 1; i < kNames; ++i) ev_timer_stop(loop, &timers[i]);
  close(fds[0]);
  close(fds[1]);
}

int main(void) {
  use(EV_DEFAULT, "first");
  struct ev_loop* second = ev_loop_new(EVFLAG_AUTO);
  use(second, "second");
  ev_loop_destroy(second);
  for (int i = 0; i < kNames; ++i) printf("callback %d: %d\n", i, g_calls[i]);
  int fds[2] = {-1, -1};
  if (pipe(fds) != 0) return 84;
  printf("next number %d\n", fds[0]);  // nothing was left open
  return 3;
}
