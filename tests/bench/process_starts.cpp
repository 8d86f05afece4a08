// SPDX-License-Identifier: Apache-2.0
//
// Starts a program many times, one after the other, as a shell script or a build does, and says how
// long one took from posix_spawn to its end.
//
//   process_starts --program PATH [--processes N] [--cpu C]
//
// Prints {"process_us": N}. Its own start is not in it. What is in its environment (LD_PRELOAD) the
// processes get too.
#include <spawn.h>
#include <sys/wait.h>

#include "tests/bench/support.h"

namespace loopscope::bench {
namespace {

void start_and_wait(const std::string& program) {
  char* arguments[] = {const_cast<char*>(program.c_str()), nullptr};
  pid_t child = 0;
  errno = posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environ);
  if (errno != 0) die_errno(program);
  int status = 0;
  must(waitpid(child, &status, 0), "waitpid");
  if (status != 0) die(program + ": wait status " + std::to_string(status));
}

void run(Options& options) {
  const std::string program = options.text("program", "");
  const int processes = options.integer("processes", 500);
  const int cpu = options.integer("cpu", -1);
  options.refuse_unknown();
  if (program.empty() || processes < 1) die("--program and at least one process are needed");
  pin(cpu);
  for (int i = 0; i < 3; ++i) start_and_wait(program);  // its pages are in memory then
  const std::uint64_t began = monotonic_ns();
  for (int i = 0; i < processes; ++i) start_and_wait(program);
  Line().add("process_us", 1e-3 * static_cast<double>(monotonic_ns() - began) / processes).print();
}

}  // namespace
}  // namespace loopscope::bench

int main(int argc, char** argv) {
  loopscope::bench::Options options(argc, argv);
  loopscope::bench::run(options);
}
