// SPDX-License-Identifier: Apache-2.0
//
// Opens, closes, waits and allocates a known number of times, between hooking_on and off.
#include <fcntl.h>
#include <sys/epoll.h>

#include "cases.h"

extern int hooking_on __attribute__((weak));

int main(int argc, char** argv) {
  if (&hooking_on != NULL) hooking_on = 1;
  const int epoll = epoll_create1(0);
  struct epoll_event event;
  int sum = 0;
  for (int i = 0; i < 25; ++i) {
    const int fd = open("/dev/null", O_RDONLY);
    void* volatile block = malloc(1000);
    sum += epoll_wait(epoll, &event, 1, 0) == 0 && block != NULL;
    free(block);
    close(fd);
  }
  if (&hooking_on != NULL) hooking_on = 0;
  say("%d, hooking %d", sum, &hooking_on != NULL);
  if (argc > 1) {
    const char* preload = getenv("LD_PRELOAD");
    say("its entry is there: %d", preload != NULL && strstr(preload, argv[1]) != NULL);
  }
  return 0;
}
