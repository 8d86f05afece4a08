// SPDX-License-Identifier: Apache-2.0
//
// Tells a signal that was sent to the whole process group from one that was sent to us alone.
//
//   Ctrl-C, `kill %1`, `kill -TERM -PGID`, systemd stopping a service:   the program has it already
//   `kill -TERM PID-OF-loopscope`, docker stop:                          it must be passed on
//
// Nothing in siginfo_t says which it was (si_code tells the terminal's signals only), and a program
// that takes a second SIGTERM for "at once, then" must not get two. So a process of ours sits in
// the group, with every signal blocked: what it got as well was for all.
//
// The kernel delivers to the youngest member of a group first, so when we have a group's signal the
// witness has it already. Who signals one process after the other (systemd) is waited for a moment.
//
// Ownership: the witness ends with this object, or when the process that made it is gone. Holds no
// descriptor of its maker open. Thread-safety: one thread. Cost: a fork, then 30 µs a question.
#pragma once

#include <sys/types.h>

namespace loopscope::cli {

class GroupWitness {
 public:
  /// Call it with all signals blocked and while there is only one thread.
  GroupWitness();
  ~GroupWitness();
  GroupWitness(const GroupWitness&) = delete;
  GroupWitness& operator=(const GroupWitness&) = delete;

  /// Whether the witness has got `signal` since it was last asked for it. False if there is none
  /// (no process could be forked): ask exists().
  bool saw(int signal);
  bool exists() const { return pid_ > 0; }
  /// -1 if there is none.
  pid_t pid() const { return pid_; }

  /// To be left open by who closes everything else.
  int descriptor() const { return socket_; }

 private:
  bool ask(int signal);

  pid_t pid_ = -1;
  int socket_ = -1;
};

}  // namespace loopscope::cli
