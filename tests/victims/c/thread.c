/* SPDX-License-Identifier: Apache-2.0
 *
 * Worker threads that open a log of their own and end without closing it.
 */
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "tests/victims/victim.h"

static const char* g_path;
static bool g_healthy;

static void* work(void* nothing) {
  const int log = must(open(g_path, O_RDONLY | O_CLOEXEC), g_path);  // LEAK
  if (g_healthy) close(log);
  return nothing;
}

int main(int argc, char** argv) {
  g_path = argv[0];
  g_healthy = is_healthy(argc, argv);
  for (int i = 0; i < 3; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, NULL) != 0) return 3;
    pthread_join(thread, NULL);
  }
  return 0;
}
