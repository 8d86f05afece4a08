// SPDX-License-Identifier: Apache-2.0
//
// Libraries that come and go at run time. `loading CASE LIBRARY`, where LIBRARY is opening.c's.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/epoll.h>

#include "cases.h"

typedef int opens_t(void);

static void through(const char* how, void* library) {
  if (library == NULL) {
    say("%s: %s", how, dlerror());
    return;
  }
  opens_t* opens = (opens_t*)dlsym(library, "library_opens");
  opens_t* loops = (opens_t*)dlsym(library, "library_loops");
  const int fd = opens();
  say("%s: opens %d, loops %d", how, fd, loops());
  say("%s: dlclose %d", how, dlclose(library));
  say("%s: close %d", how, close(fd));
}

static int all(int argc, char** argv) {
  (void)argc;
  for (int i = 0; i < 20; ++i) {
    through("RTLD_NOW", dlopen(argv[1], RTLD_NOW));
    through("RTLD_LAZY|RTLD_LOCAL", dlopen(argv[1], RTLD_LAZY | RTLD_LOCAL));
    through("RTLD_DEEPBIND", dlopen(argv[1], RTLD_NOW | RTLD_DEEPBIND));
    through("RTLD_GLOBAL", dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL));
  }
  for (int i = 0; i < 3; ++i) through("dlmopen", dlmopen(LM_ID_NEWLM, argv[1], RTLD_NOW));
  say("no such: %d", dlopen("/no/such/library.so", RTLD_NOW) == NULL);
  say("dlerror %d", dlerror() != NULL);
  int (*plain)(int) = (int (*)(int))dlsym(RTLD_DEFAULT, "close");
  void* libc = dlopen("libc.so.6", RTLD_NOW);
  int (*libcs)(int) = (int (*)(int))dlsym(libc, "close");
  int (*versioned)(int) = (int (*)(int))dlvsym(libc, "close", "GLIBC_2.2.5");
  say("close %d %d %d", plain(open("/dev/null", O_RDONLY)), libcs(open("/dev/null", O_RDONLY)),
      versioned(open("/dev/null", O_RDONLY)));
  say("open %d", open("/dev/null", O_RDONLY));
  return 0;
}

int main(int argc, char** argv) {
  static const struct victim_case cases[] = {{"all", all}, {NULL, NULL}};
  return run_case(cases, argc, argv);
}
