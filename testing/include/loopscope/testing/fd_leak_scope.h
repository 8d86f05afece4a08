// SPDX-License-Identifier: Apache-2.0
//
// loopscope::testing::FdLeakScope: which descriptors were opened since the scope began and are
// still open, in any test framework. gtest.h and catch2.h are built on it.
//
// What it sees: the descriptors of the whole process, in /proc/self/fd. A number that was open at
// the start and belongs to another file now counts too; one that was closed and has the same file
// again (stdout, redirected and put back) does not. When the process runs under `loopscope check`,
// `loopscope run` or with the probe preloaded, it also knows where each one was opened; without,
// `where` is empty. Only then can it tell an epoll, eventfd, timerfd, signalfd or inotify
// descriptor from another of these that was given its number: the kernel gives them one identity.
//
// Other threads: what they open meanwhile and still hold counts like everything else, as nothing
// but the probe knows who opened a descriptor. Join them first, or tell theirs by `ignore_if`, or
// give them time with `patience`.
//
// Lazily opened: what a library opens at its first use and keeps for good is opened in whichever
// test comes first. The few that system libraries keep are known (first_use()) and noted, not
// reported; open your own before the first scope (in main, in an environment) or allow() them.
//
// Not thread-safe: one scope is used by one thread at a time. Any number of scopes may exist at
// once, nested or in several threads. A scope belongs to its process: in a forked child it reports
// nothing. Cost: 1 µs a descriptor at the start and at the end; a leak under the probe costs what
// naming its stack takes, the first one up to a few 100 ms (debug information is read).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "loopscope/export.h"

namespace loopscope::testing {

/// One call of the stack that opened a descriptor. What is not known is empty or 0.
struct FdFrame {
  std::string function;
  std::string file;
  int line = 0;
  std::string module;  // path of the program or library
  std::uint64_t offset = 0;
  bool inlined = false;  // into the next frame
  bool script = false;   // a line of a script that an interpreter ran
};

/// A descriptor that was opened since the scope began and is still open.
struct FdLeak {
  int fd = -1;
  std::string kind;    // "tcp", "udp", "unix", "pipe", "eventfd", "epoll", "file" ...
  std::string target;  // a path, "127.0.0.1:4000 -> 127.0.0.1:80", "pipe:[9309]" ...
  std::string where;   // "Client::connect (client.cpp:42)"; empty: not known
  std::string file;    // of `where`, as it was compiled; empty: not known
  int line = 0;
  std::vector<FdFrame> stack;  // innermost first; empty: not known
  int thread_id = 0;           // that opened it; 0: not known
  bool reused = false;         // the number was open at the start, and another file's

  // Identity, for fd_is_still_open().
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint32_t generation = 0;  // in the probe's ledger; 0: not known
};

/// Descriptors that are meant to stay open. Patterns are those of fnmatch(3), where `*` matches '/'
/// too; all three must match.
struct FdAllowance {
  std::string kind = "*";
  std::string target = "*";
  /// Any frame of the stack: its function, file or module. Anything but "*" matches only where the
  /// stack is known.
  std::string where = "*";
  std::string reason{};  // shown by allowed()
  /// How many of these may be open in the process; the ones beyond are leaks.
  unsigned most = ~0u;
};

/// What glibc, libstdc++ and the name services open at their first use and keep: the socket of
/// syslog(3) and of the journal, the maps and pipe of SSSD, /dev/urandom. One of each.
LOOPSCOPE_EXPORT std::vector<FdAllowance> first_use();

struct FdLeakOptions {
  std::vector<FdAllowance> allowed = first_use();
  /// Descriptors for which this returns true are no leaks. Called with everything that is known.
  std::function<bool(const FdLeak&)> ignore_if;
  /// How long leaks() looks again before it calls something a leak: for descriptors that another
  /// thread is about to close. A scope that finds nothing never waits.
  std::chrono::milliseconds patience{0};
};

/// What scopes use that are made without options of their own; the framework listeners too. To be
/// changed before the first scope, by one thread.
LOOPSCOPE_EXPORT FdLeakOptions& default_options();

class LOOPSCOPE_EXPORT FdLeakScope {
 public:
  using AtEnd = std::function<void(const std::vector<FdLeak>&)>;

  struct Allowed {
    FdLeak descriptor;
    std::string reason;
  };

  /// Notes what is open now.
  FdLeakScope();
  explicit FdLeakScope(FdLeakOptions options);
  /// `at_end` is called by the destructor if there are leaks, with all of them; it must not throw.
  /// Descriptors of objects that are declared after the scope are closed by then.
  explicit FdLeakScope(AtEnd at_end);
  FdLeakScope(FdLeakOptions options, AtEnd at_end);
  /// Without `at_end`, and if leaks() was never asked, leaks are written to stderr.
  ~FdLeakScope();
  FdLeakScope(const FdLeakScope&) = delete;
  FdLeakScope& operator=(const FdLeakScope&) = delete;

  /// The descriptor that is open under this number now may stay open. Throws std::invalid_argument
  /// if none is.
  void ignore(int fd);
  void allow(FdAllowance allowance);
  void ignore_if(std::function<bool(const FdLeak&)> predicate);

  /// Opened since the start and open now, by rising number; may be called any number of times.
  std::vector<FdLeak> leaks();

  /// What the last leaks() left out because of an allowance, and why.
  const std::vector<Allowed>& allowed() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Whether the very descriptor is still open.
LOOPSCOPE_EXPORT bool fd_is_still_open(const FdLeak& leak);

/// For people, several lines, grouped by where they were opened: what leaked, where, and what to do
/// to learn more. Empty if there are none. `when`: "in this test", "by the test suite".
LOOPSCOPE_EXPORT std::string describe(const std::vector<FdLeak>& leaks,
                                      const std::string& when = "in this scope");

}  // namespace loopscope::testing
