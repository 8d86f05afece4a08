// SPDX-License-Identifier: Apache-2.0
//
// opens [leak|close|skip|fail|arguments]...
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

[[gnu::noinline]] static int connect_to_database() {
  return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);  // LINE: database
}

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "leak") == 0) {
      // More than one, and none of them ever closed or used: nothing but a leak.
      for (int n = 0; n < 3; ++n) connect_to_database();
    }
    if (std::strcmp(argv[i], "close") == 0) close(connect_to_database());
    if (std::strcmp(argv[i], "skip") == 0) return 77;
    if (std::strcmp(argv[i], "fail") == 0) return 7;
    if (std::strcmp(argv[i], "arguments") == 0) {
      std::printf("%d: <opens>", argc);
      for (int n = 1; n < argc; ++n) std::printf("<%s>", argv[n]);
      std::puts("");
      return 0;
    }
  }
}
