// SPDX-License-Identifier: Apache-2.0
#include "cli/group_witness.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace loopscope::cli {
namespace {

/// A witness that is stopped or starved does not answer: then the signal is passed on, which is the
/// lesser evil.
constexpr int kAnswerMs = 200;
/// Between the first and the last member of a control group that is signalled one by one.
constexpr timespec kOneByOne{0, 10'000'000};

[[noreturn]] void witness(int socket) {
  // The sockets of the maker, its output file, and the pipes it inherited.
  if (socket > 0) close_range(0, static_cast<unsigned>(socket) - 1, 0);
  close_range(static_cast<unsigned>(socket) + 1, ~0u, 0);
  prctl(PR_SET_NAME, "loopscope-group", 0, 0, 0);
  unsigned char question = 0;
  while (read(socket, &question, 1) == 1) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, question);
    const timespec now{0, 0};
    const unsigned char answer = sigtimedwait(&one, nullptr, &now) > 0 ? 1 : 0;
    if (write(socket, &answer, 1) != 1) break;
  }
  _exit(0);
}

/// Who means a whole group may signal its members one after the other only to end them.
bool ends_programs(int signal) {
  return signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGQUIT;
}

}  // namespace

GroupWitness::GroupWitness() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return;
  const pid_t maker = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != maker) _exit(0);  // it was gone before it could be asked for
    witness(ends[1]);
  }
  close(ends[1]);
  socket_ = ends[0];
}

GroupWitness::~GroupWitness() {
  if (socket_ >= 0) close(socket_);
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
}

bool GroupWitness::ask(int signal) {
  const auto question = static_cast<unsigned char>(signal);
  unsigned char answer = 0;
  if (send(socket_, &question, 1, MSG_NOSIGNAL) != 1) return false;
  pollfd wait{socket_, POLLIN, 0};
  if (poll(&wait, 1, kAnswerMs) != 1 || recv(socket_, &answer, 1, 0) != 1) {
    // An answer that comes later would be taken for that to the next question.
    close(socket_);
    socket_ = -1;
    return false;
  }
  return answer == 1;
}

bool GroupWitness::saw(int signal) {
  if (!exists() || socket_ < 0) return false;
  if (ask(signal)) return true;
  if (!ends_programs(signal) || socket_ < 0) return false;
  nanosleep(&kOneByOne, nullptr);
  return ask(signal);
}

}  // namespace loopscope::cli
