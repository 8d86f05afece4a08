// SPDX-License-Identifier: Apache-2.0
//
// A library for loading.c: opens when it is loaded, when it is asked and when it is unloaded.
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

static int own = -1;
__attribute__((constructor)) static void loaded(void) { own = open("/dev/null", O_RDONLY); }
__attribute__((destructor)) static void unloaded(void) { close(own); }

int library_opens(void) { return open("/dev/null", O_RDWR | O_CLOEXEC); }
int library_loops(void) {
  const int epoll = epoll_create1(0);
  struct epoll_event event;
  int waits = 0;
  for (int i = 0; i < 3; ++i) waits += epoll_wait(epoll, &event, 1, 0) == 0;
  return close(epoll) == 0 ? waits : -1;
}
