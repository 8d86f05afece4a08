// SPDX-License-Identifier: Apache-2.0
//
// rounds [WHAT]: knows nothing of loopscope. Reads commands from standard input, a line each, does
// what they say and answers with a line that is the same in every run: with the descriptor numbers
// it was given, what calls returned, how its children ended.
//
//   round N     N rounds: descriptors opened and kept, an epoll set that is waited on and kept now
//               and then, a child that waits on a set of its own, a thread that does
//   sets N      N epoll sets that are waited on and closed
//   limit R V   setrlimit(R, V) of what follows: fsize, as, data, nofile
//   chroot DIR  chroot and chdir
//   user UID    setgid, setuid
//   take M      maps M MiB, and gives them back
//   end         returns 41 from main
//
// Otherwise ends with 42 at the end of its input; 99: a call failed that must not.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kMostKept = 900 };

static unsigned long long sum;
static int kept;

static void note(long value) { sum = sum * 1000003 + (unsigned long long)value; }

static int must(int result, const char* what) {
  if (result < 0) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    _exit(99);
  }
  return result;
}

/// A new epoll set with an eventfd that is ready in it, waited on three times.
static int turns(int number) {
  const int set = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const int event = must(eventfd(1, EFD_CLOEXEC), "eventfd");
  struct epoll_event wanted = {.events = EPOLLIN, .data.fd = event};
  must(epoll_ctl(set, EPOLL_CTL_ADD, event, &wanted), "epoll_ctl");
  struct epoll_event got[4];
  for (int i = 0; i < 3; ++i) {
    memset(got, 0, sizeof got);
    note(must(epoll_wait(set, got, 4, 1000), "epoll_wait"));
    note(got[0].data.fd);
  }
  unsigned long long value = 0;
  note(read(event, &value, sizeof value));
  note(epoll_wait(set, got, 4, 0));
  note(close(event));
  note(close(event));  // EBADF
  note(errno);
  if (number % 3 == 0 && kept < kMostKept) {
    ++kept;
    return set;
  }
  note(close(set));
  return -1;
}

static void* thread(void* unused) {
  (void)unused;
  turns(1);
  return NULL;
}

static void one_round(int number) {
  note(turns(number));
  // Kept ones take numbers of chunks that were not in use so far.
  for (int i = 0; i < 6 && kept < kMostKept; ++i, ++kept) {
    note(must(i % 2 ? eventfd(0, EFD_CLOEXEC) : open("/dev/null", O_RDWR | O_CLOEXEC), "open"));
  }
  pthread_t other;
  if (pthread_create(&other, NULL, thread, NULL) != 0) _exit(98);
  pthread_join(other, NULL);
  if (number % 4 == 0) {
    const pid_t child = must(fork(), "fork");
    if (child == 0) {
      turns(1);
      turns(3);
      _exit((int)(sum % 100));
    }
    int status = 0;
    must(waitpid(child, &status, 0) == child ? 0 : -1, "waitpid");
    note(status);
  }
}

static void limit(const char* name, unsigned long value) {
  const int which = !strcmp(name, "fsize")  ? RLIMIT_FSIZE
                    : !strcmp(name, "as")   ? RLIMIT_AS
                    : !strcmp(name, "data") ? RLIMIT_DATA
                                            : RLIMIT_NOFILE;
  struct rlimit wanted;
  must(getrlimit(which, &wanted), "getrlimit");
  wanted.rlim_cur = value;
  if (wanted.rlim_max < value) wanted.rlim_cur = wanted.rlim_max;
  must(setrlimit(which, &wanted), "setrlimit");
}

static int take(unsigned long mebibytes) {
  const size_t size = mebibytes << 20;
  char* memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return errno;
  memory[0] = memory[size - 1] = 1;
  return munmap(memory, size);
}

int main(void) {
  setvbuf(stdout, NULL, _IONBF, 0);
  char line[600];
  int number = 0;
  while (fgets(line, sizeof line, stdin)) {
    char word[16] = "", text[512] = "";
    unsigned long value = 0;
    if (sscanf(line, "round %lu", &value) == 1) {
      for (unsigned long i = 0; i < value; ++i) one_round(number++);
    } else if (sscanf(line, "sets %lu", &value) == 1) {
      for (unsigned long i = 0; i < value; ++i) note(turns(1));
    } else if (sscanf(line, "limit %15s %lu", word, &value) == 2) {
      limit(word, value);
    } else if (sscanf(line, "chroot %511s", text) == 1) {
      must(chroot(text), "chroot");
      must(chdir("/"), "chdir");
    } else if (sscanf(line, "user %lu", &value) == 1) {
      must(setgid((gid_t)value), "setgid");
      must(setuid((uid_t)value), "setuid");
    } else if (sscanf(line, "take %lu", &value) == 1) {
      note(take(value));
    } else if (!strncmp(line, "end", 3)) {
      return 41;
    }
    printf("%d rounds, %d kept, %016llx\n", number, kept, sum);
  }
  return 42;
}
