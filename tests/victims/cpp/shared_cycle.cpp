// SPDX-License-Identifier: Apache-2.0
//
// Two sessions that own each other: neither destructor runs.
#include <sys/socket.h>
#include <unistd.h>

#include <memory>

#include "tests/victims/victim.h"

namespace {

struct Session {
  Session() : fd(must(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket")) {}  // LEAK
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() { close(fd); }

  int fd;
  std::shared_ptr<Session> partner;
};

}  // namespace

int main(int argc, char** argv) {
  std::shared_ptr<Session> sessions[2];
  for (auto& session : sessions) session = std::make_shared<Session>();
  sessions[0]->partner = sessions[1];
  sessions[1]->partner = sessions[0];
  if (is_healthy(argc, argv)) sessions[1]->partner.reset();
}
