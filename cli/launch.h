// SPDX-License-Identifier: Apache-2.0
//
// Starts a program and stands between it and whoever started us, so that neither notices: same
// terminal, process group, descriptors, signal mask and dispositions, limits; signals passed on;
// stopped and continued together; the same end.
//
//   fork ──► (parent: server, threads, …) ──► start() ──► wait()
//     └────► child: as it was when we were started, waits for start(), then execvp(3)
//
// The child is forked before anything of ours is set up: so there is nothing to be undone in it
// (threads, blocked signals, descriptors), and it gets what we were given even where
// we would not know of it.
//
// Thread-safety: one thread, the main one. Once an object exists, all signals of that thread (and
// of those it starts) are blocked for good: wait() takes them with sigtimedwait(2), which leaves
// every disposition as it was.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/group_witness.h"

namespace loopscope::cli {

/// How a program ended.
struct End {
  bool killed = false;
  int number = 0;  // its exit status, or the signal that killed it
  /// What a shell would call $?.
  int exit_status() const { return killed ? 128 + number : number; }
};

class Launch {
 public:
  /// Forks the child that becomes `program` (argv, as for execvp), with `environment` set over
  /// ours. Throws std::system_error if it cannot. Only while this process has one thread.
  ///
  /// In this process, standard input and output become /dev/null and every other descriptor is
  /// closed but standard error and `keep`: a pipe that we held open would never end for who reads
  /// it.
  Launch(char** program, const std::vector<std::pair<std::string, std::string>>& environment,
         const std::vector<int>& keep);
  /// A child that was not started ends without a trace.
  ~Launch();
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  pid_t pid() const { return pid_; }

  /// Lets the child become the program. 0, or the errno of execvp(3); then there is nothing to wait
  /// for.
  /// Throws std::system_error if it cannot: then it is as if it was never called.
  int start();

  /// Until the program has ended. Meanwhile `tick` is called every `interval`, on this thread; what
  /// it throws ends nothing. Throws std::system_error if nobody can say how the program ended.
  End wait(std::chrono::milliseconds interval, const std::function<void()>& tick);

  /// What `tick` threw last; empty: nothing.
  const std::string& trouble() const { return trouble_; }

  /// Whether somebody ended it: SIGINT, SIGTERM or SIGQUIT came (a Ctrl-C, as a rule) and it ended
  /// within kTakesItsLeave; or SIGHUP, and it died of that.
  bool told_to_end() const;
  static constexpr std::chrono::seconds kTakesItsLeave{10};

  /// After the program's end: its descendants that became our children and have ended, as wait()
  /// does.
  void bury_orphans();

 private:
  pid_t pid_ = -1;
  int gate_ = -1;             // a byte lets the child go; the end of file ends it
  int status_ = -1;           // the child's errno if execvp fails; the end of file if not
  std::optional<End> ended_;  // while it was being started
  std::optional<std::chrono::steady_clock::time_point> told_to_end_;
  std::unique_ptr<GroupWitness> witness_;
  std::string trouble_;
};

/// Opens /dev/null for those of the descriptors 0 to 2 that are closed, with close-on-exec: what we
/// open later must not be taken for them, and the program finds them closed as they were. Reading
/// or writing there fails as before. Throws std::system_error if /dev/null cannot be opened.
void fill_standard_descriptors();

}  // namespace loopscope::cli
