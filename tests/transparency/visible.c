// SPDX-License-Identifier: Apache-2.0
//
// What a program can see of itself; hooks before main; many threads.
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "cases.h"

static int early[8];
static int preinit_errno;
static void preinit(int argc, char** argv, char** environment) {
  (void)argc, (void)argv, (void)environment;
  errno = 77;
  early[0] = open("/dev/null", O_RDONLY);
  early[1] = epoll_create1(0);
  preinit_errno = errno;
}
__attribute__((section(".preinit_array"), used)) static void (*preinits[])(int, char**,
                                                                           char**) = {preinit};
__attribute__((constructor(101))) static void first_constructor(void) {
  early[2] = open("/dev/null", O_RDONLY);
}
__attribute__((constructor)) static void last_constructor(void) {
  struct epoll_event event;
  early[3] = dup(early[2]);
  early[4] = epoll_wait(early[1], &event, 1, 0);
}

static int numbers(const void* left, const void* right) {
  return *(const int*)left - *(const int*)right;
}
static void list(const char* directory) {
  int all[256];
  size_t count = 0;
  DIR* handle = opendir(directory);
  if (handle == NULL) give_up("opendir");
  struct dirent* entry;
  while ((entry = readdir(handle)) != NULL) {
    if (entry->d_name[0] != '.' && count < 256) all[count++] = atoi(entry->d_name);
  }
  qsort(all, count, sizeof all[0], numbers);
  char line[400] = "";
  for (size_t i = 0; i < count && strlen(line) < 380; ++i)
    sprintf(line + strlen(line), " %d", all[i]);
  say("%s: %zu%s", directory, count, strcmp(directory, "/proc/self/task") == 0 ? "" : line);
  closedir(handle);
}

static int self(int argc, char** argv) {
  (void)argc, (void)argv;
  say("before main: %d %d, errno %d; %d %d %d", early[0], early[1], preinit_errno, early[2],
      early[3], early[4]);
  list("/proc/self/fd");
  list("/proc/self/task");
  for (char** entry = environ; *entry != NULL; ++entry) {
    if (strncmp(*entry, "LD_PRELOAD=", 11) != 0) say("%s", *entry);
  }
  FILE* file = fopen("/proc/self/environ", "r");
  char all[16384];
  const size_t size = fread(all, 1, sizeof all, file);
  fclose(file);
  size_t count = 0;
  for (size_t at = 0; at < size; at += strlen(all + at) + 1) {
    if (strncmp(all + at, "LD_PRELOAD=", 11) != 0) ++count;
  }
  say("/proc/self/environ: %zu besides LD_PRELOAD", count);
  const int child = wait(NULL);
  say("children: wait %d, errno %d", child, errno);
  sigset_t mask;
  sigprocmask(SIG_BLOCK, NULL, &mask);
  for (int number = 1; number < 65; ++number) {
    struct sigaction action;
    if (sigaction(number, NULL, &action) != 0) continue;
    if (action.sa_handler != SIG_DFL || sigismember(&mask, number) == 1) {
      say("signal %d: handler %d, blocked %d", number, action.sa_handler != SIG_DFL,
          sigismember(&mask, number));
    }
  }
  struct sigaction action;
  sigaction(SIGSYS, NULL, &action);
  stack_t stack;
  sigaltstack(NULL, &stack);
  say("alternative stack: %d", stack.ss_flags == SS_DISABLE);
  char name[17] = "";
  prctl(PR_GET_NAME, name);
  say("name %s, dumpable %d, subreaper %d, no_new_privs %d", name, prctl(PR_GET_DUMPABLE), 0,
      prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  const mode_t mode = umask(0);
  say("umask %o", mode);
  char cwd[4096];
  say("cwd %s", strrchr(getcwd(cwd, sizeof cwd), '/'));
  list(".");
  int pending = 0;
  sigset_t set;
  sigpending(&set);
  for (int number = 1; number < 65; ++number) pending += sigismember(&set, number) == 1;
  say("pending %d", pending);
  return 0;
}

/// The probe takes one key of 1024 for the ends of threads; a program that wants 1023 gets them.
static int keys(int argc, char** argv) {
  (void)argc, (void)argv;
  pthread_key_t key;
  int count = 0;
  while (pthread_key_create(&key, NULL) == 0) ++count;
  say("at least 1023 keys: %d", count >= 1023);
  return 0;
}

static pthread_key_t late;
static void late_destructor(void* value) {
  // After other destructors, the probe's too: opens and waits once more.
  struct epoll_event event;
  const int epoll = epoll_create1(0);
  if (epoll_wait(epoll, &event, 1, 0) != 0 || close(epoll) != 0) _exit(70);
  if ((long)value > 1) pthread_setspecific(late, (void*)((long)value - 1));
}
static void* short_life(void* unused) {
  (void)unused;
  struct epoll_event event;
  pthread_setspecific(late, (void*)3);
  const int epoll = epoll_create1(0);
  const int fd = open("/dev/null", O_RDONLY);
  const int ok = epoll >= 0 && fd >= 0 && epoll_wait(epoll, &event, 1, 0) == 0;
  return (void*)(long)(ok && close(epoll) == 0 && close(fd) == 0);
}
static int threads(int argc, char** argv) {
  (void)argc;
  pthread_key_create(&late, late_destructor);
  const int count = atoi(argv[1]);
  int good = 0;
  for (int i = 0; i < count; i += 8) {
    pthread_t some[8];
    for (int j = 0; j < 8; ++j) {
      if (pthread_create(&some[j], NULL, short_life, NULL) != 0) give_up("pthread_create");
    }
    for (int j = 0; j < 8; ++j) {
      void* result;
      pthread_join(some[j], &result);
      good += (int)(long)result;
    }
  }
  say("good %d", good);
  list("/proc/self/fd");
  return 0;
}

static __thread char much[48 << 10];
static void* fills(void* unused) {
  (void)unused;
  memset(much, 7, sizeof much);
  const int fd = open("/dev/null", O_RDONLY);
  size_t sum = 0;
  for (size_t i = 0; i < sizeof much; ++i) sum += (size_t)much[i];
  return (void*)(long)(fd >= 0 && close(fd) == 0 && sum == 7 * sizeof much);
}
static int thread_local_storage(int argc, char** argv) {
  (void)argc, (void)argv;
  for (int i = 0; i < 4; ++i) {
    pthread_t thread;
    void* result;
    pthread_create(&thread, NULL, fills, NULL);
    pthread_join(thread, &result);
    say("thread %ld", (long)result);
  }
  say("main %ld", (long)fills(NULL));
  return 0;
}

int main(int argc, char** argv) {
  static const struct victim_case cases[] = {{"self", self},
                                             {"keys", keys},
                                             {"threads", threads},
                                             {"tls", thread_local_storage},
                                             {NULL, NULL}};
  return run_case(cases, argc, argv);
}
