// SPDX-License-Identifier: Apache-2.0
//
// The ways in which a process ends.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include "cases.h"

static int status_of(char** argv) { return atoi(argv[1]); }

static int by_return(int argc, char** argv) {
  (void)argc;
  return status_of(argv);
}
static int by_exit(int argc, char** argv) {
  (void)argc;
  printf("left in stdio's buffer\n");
  exit(status_of(argv));
}
static int by__exit(int argc, char** argv) {
  (void)argc;
  printf("lost with stdio's buffer\n");
  _exit(status_of(argv));
}
static int by__Exit(int argc, char** argv) {
  (void)argc;
  printf("lost with stdio's buffer\n");
  _Exit(status_of(argv));
}

static void quick_one(void) { say("at_quick_exit 1"); }
static void quick_two(void) { say("at_quick_exit 2, open %d", open("/dev/null", O_RDONLY)); }
static int by_quick_exit(int argc, char** argv) {
  (void)argc;
  at_quick_exit(quick_one);
  at_quick_exit(quick_two);
  quick_exit(status_of(argv));
}

static int by_abort(int argc, char** argv) {
  (void)argc, (void)argv;
  abort();
}
static int by_signal(int argc, char** argv) {
  (void)argc;
  const struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  MUST(kill(getpid(), atoi(argv[1])));
  say("survived");
  return 3;
}
static int by_null(int argc, char** argv) {
  (void)argc, (void)argv;
  const struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  *(volatile int*)8 = 1;
  return 3;
}
static int by_trap(int argc, char** argv) {
  (void)argc, (void)argv;
  const struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  __builtin_trap();
}

static pthread_t main_thread;
static void* outlives_main(void* unused) {
  (void)unused;
  say("join %d", pthread_join(main_thread, NULL));
  const int fd = open("/dev/null", O_RDONLY);
  say("open %d", fd);
  say("close %d", close(fd));
  return NULL;  // the last thread: exit(0)
}
static int by_pthread_exit(int argc, char** argv) {
  (void)argc, (void)argv;
  main_thread = pthread_self();
  pthread_t thread;
  if (pthread_create(&thread, NULL, outlives_main, NULL) != 0) give_up("pthread_create");
  pthread_detach(thread);
  pthread_exit(NULL);
}
static void* exits(void* status) { exit((int)(long)status); }
static int in_thread(int argc, char** argv) {
  (void)argc;
  pthread_t thread;
  if (pthread_create(&thread, NULL, exits, (void*)(long)status_of(argv)) != 0) give_up("create");
  pthread_join(thread, NULL);
  return 3;
}

// Handlers and destructors open and close as well; their order is libc's.
static void at_exit_one(void) { say("atexit 1, open %d", open("/dev/null", O_RDONLY)); }
static void at_exit_two(void) { say("atexit 2, close %d", close(0)); }
static void on_exit_three(int status, void* argument) {
  say("on_exit 3: status %d, argument %s", status, (const char*)argument);
}
static int handlers;
__attribute__((destructor(300))) static void destructor_early(void) {
  if (handlers) say("destructor 300, open %d", open("/dev/null", O_RDONLY));
}
__attribute__((destructor(200))) static void destructor_late(void) {
  if (handlers) say("destructor 200, open %d", open("/dev/null", O_RDONLY));
}
static int by_handlers(int argc, char** argv) {
  (void)argc;
  handlers = 1;
  atexit(at_exit_one);
  atexit(at_exit_two);
  on_exit(on_exit_three, (void*)"three");
  printf("in the buffer\n");
  return status_of(argv);
}
static void exits_again(void) { _exit(44); }
static int changed_at_exit(int argc, char** argv) {
  (void)argc;
  atexit(exits_again);
  return status_of(argv);
}

int main(int argc, char** argv) {
  static const struct victim_case cases[] = {{"return", by_return},
                                             {"exit", by_exit},
                                             {"_exit", by__exit},
                                             {"_Exit", by__Exit},
                                             {"quick_exit", by_quick_exit},
                                             {"abort", by_abort},
                                             {"signal", by_signal},
                                             {"null", by_null},
                                             {"trap", by_trap},
                                             {"pthread_exit", by_pthread_exit},
                                             {"thread", in_thread},
                                             {"handlers", by_handlers},
                                             {"changed", changed_at_exit},
                                             {NULL, NULL}};
  return run_case(cases, argc, argv);
}
