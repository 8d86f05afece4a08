/* SPDX-License-Identifier: Apache-2.0
 *
 * Closes a number that was never opened: the member was never set.
 */
#include <fcntl.h>
#include <unistd.h>

#include "tests/victims/victim.h"

struct Session {
  int log;
  int socket;
};

static void end(const struct Session* session) {
  close(session->log);
  if (session->socket >= 0) close(session->socket);  // CLOSE1
}

int main(int argc, char** argv) {
  struct Session session;
  memset(&session, is_healthy(argc, argv) ? -1 : 1, sizeof session);  // 0x01010101: nobody's number
  session.log = must(open(argv[0], O_RDONLY | O_CLOEXEC), argv[0]);
  end(&session);
  return 0;
}
