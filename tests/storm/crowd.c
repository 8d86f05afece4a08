// SPDX-License-Identifier: Apache-2.0
//
// crowd MODE ...: many of one thing, counted by the program itself, which says on stdout what it
// has done as one line of JSON. It knows nothing of loopscope.
//
//   tree DEPTH BREADTH ALIVE  each process forks BREADTH children, DEPTH generations of them, about
//                             ALIVE at once at most; each opens 3 descriptors and closes 2
//   short N                   N processes one after the other, each second one another image of
//   this
//                             program; each opens 3 descriptors and closes 2
//   threads N TURNS           N threads, each with an epoll loop of TURNS turns, all alive at once
//   loops N                   N epoll loops, one after the other, of 3 turns each; ends when its
//                             standard input does
//   descriptors N             opens N of them, at one place; ends when its standard input does
//   signals N                 children that end by each signal there is, in turn
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct shared {
  sem_t room;
  atomic_long processes;
};
static struct shared* shared;

static void fail(const char* what) {
  perror(what);
  _exit(20);
}

static void open_and_close(void) {
  int fds[3];
  for (int i = 0; i < 3; ++i) {
    fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fds[i] < 0) fail("open");
  }
  close(fds[0]);
  close(fds[1]);
}

static void wait_for(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) fail("waitpid");
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    fprintf(stderr, "a child ended with %d\n", status);
    _exit(21);
  }
}

static void tree(int depth, int breadth) {
  atomic_fetch_add(&shared->processes, 1);
  open_and_close();
  if (depth == 0) return;
  pid_t apart[64];
  int count = 0;
  for (int i = 0; i < breadth; ++i) {
    // With room for it beside us, else after the one before.
    const int beside = sem_trywait(&shared->room) == 0;
    const pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
      tree(depth - 1, breadth);
      if (beside) sem_post(&shared->room);
      _exit(0);
    }
    if (beside) {
      apart[count++] = pid;
    } else {
      wait_for(pid);
    }
  }
  while (count != 0) wait_for(apart[--count]);
}

static void short_processes(int count) {
  for (int i = 0; i < count; ++i) {
    const pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
      if (i % 2 == 0) {
        execl("/proc/self/exe", "crowd", "one", NULL);
        _exit(22);
      }
      open_and_close();
      _exit(0);
    }
    wait_for(pid);
  }
}

static pthread_barrier_t all_here;
static long turns_each;

static void turn(int epoll_fd, long turns) {
  struct epoll_event event;
  for (long i = 0; i < turns; ++i) {
    const int expected = 1;
    if (epoll_wait(epoll_fd, &event, 1, 10000) != expected) fail("epoll_wait");
  }
}

static int make_ready(int epoll_fd) {
  const int fd = eventfd(1, EFD_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  if (fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
  return fd;
}

static void* thread(void* unused) {
  (void)unused;
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) fail("epoll_create1");
  const int fd = make_ready(epoll_fd);
  turn(epoll_fd, 1);
  pthread_barrier_wait(&all_here);
  turn(epoll_fd, turns_each - 1);
  pthread_barrier_wait(&all_here);
  close(fd);
  close(epoll_fd);
  return NULL;
}

static void threads(int count, long turns) {
  pthread_t* made = calloc((size_t)count, sizeof *made);
  pthread_attr_t small;
  turns_each = turns;
  pthread_barrier_init(&all_here, NULL, (unsigned)count);
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 256 * 1024);
  for (int i = 0; i < count; ++i) {
    if (pthread_create(&made[i], &small, thread, NULL) != 0) fail("pthread_create");
  }
  for (int i = 0; i < count; ++i) pthread_join(made[i], NULL);
  free(made);
}

static void until_told(void) {
  char byte;
  puts("");
  fflush(stdout);
  while (read(0, &byte, 1) > 0) {
  }
}

int main(int argc, char** argv) {
  const char* mode = argc > 1 ? argv[1] : "";
  const int number = argc > 2 ? atoi(argv[2]) : 0;
  if (strcmp(mode, "one") == 0) {
    open_and_close();
    return 0;
  }
  if (argc < 3) return 2;
  if (strcmp(mode, "tree") == 0 && argc == 5) {
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) fail("mmap");
    sem_init(&shared->room, 1, (unsigned)atoi(argv[4]));
    tree(number, atoi(argv[3]));
    printf("{\"processes\": %ld}\n", atomic_load(&shared->processes));
  } else if (strcmp(mode, "short") == 0) {
    short_processes(number);
    printf("{\"processes\": %d}\n", number + 1);
  } else if (strcmp(mode, "threads") == 0 && argc == 4) {
    threads(number, atol(argv[3]));
    printf("{\"turns\": %ld}\n", number * atol(argv[3]));
  } else if (strcmp(mode, "loops") == 0) {
    for (int i = 0; i < number; ++i) {
      const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
      if (epoll_fd < 0) fail("epoll_create1");
      const int fd = make_ready(epoll_fd);
      turn(epoll_fd, 3);
      close(fd);
      close(epoll_fd);
    }
    printf("{\"turns\": %ld}", 3L * number);
    until_told();
  } else if (strcmp(mode, "descriptors") == 0) {
    for (int i = 0; i < number; ++i) {
      if (eventfd(0, EFD_CLOEXEC) < 0) fail("eventfd");
    }
    printf("{\"opened\": %d}", number);
    until_told();
  } else if (strcmp(mode, "signals") == 0) {
    static const int ending[] = {SIGKILL, SIGABRT, SIGSEGV, SIGTERM, SIGBUS, SIGFPE, SIGUSR1};
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    for (int i = 0; i < number; ++i) {
      const int wanted = ending[(size_t)i % (sizeof ending / sizeof *ending)];
      const pid_t pid = fork();
      int status = 0;
      if (pid == 0) {
        open_and_close();
        kill(getpid(), wanted);
        _exit(23);
      }
      while (waitpid(pid, &status, 0) < 0) {
      }
      if (!WIFSIGNALED(status) || WTERMSIG(status) != wanted) return 24;
    }
    printf("{\"processes\": %d}\n", number + 1);
  } else {
    return 2;
  }
  return 0;
}
