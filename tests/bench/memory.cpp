// SPDX-License-Identifier: Apache-2.0
//
// Memory that a recording takes: blocks allocated to its file (every page of it is resident, it is
// tmpfs), for one loop with 20 named watchers and then with many registered descriptors.
//
//   memory [--descriptors N]
#include <ev.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <deque>

#include "loopscope/loop.h"
#include "tests/bench/support.h"

namespace loopscope::bench {
namespace {

double allocated_bytes() {
  struct stat file {};
  must(stat(recording_path().c_str(), &file), "stat of the recording");
  return static_cast<double>(file.st_blocks) * 512;
}

/// Private memory of this process: what the library itself allocates beside the recording.
double anonymous_bytes() {
  std::FILE* status = std::fopen("/proc/self/status", "re");
  if (status == nullptr) die_errno("/proc/self/status");
  char line[256];
  double bytes = 0;
  while (std::fgets(line, sizeof line, status) != nullptr) {
    if (std::strncmp(line, "RssAnon:", 8) == 0) bytes = std::strtod(line + 8, nullptr) * 1024;
  }
  std::fclose(status);
  return bytes;
}

void run(Options& options) {
  const int descriptors = options.integer("descriptors", 10000);
  options.refuse_unknown();
  allow_descriptors(static_cast<rlim_t>(descriptors) + 100);

  const double anonymous_before = anonymous_bytes();
  struct ev_loop* loop = ev_loop_new(EVFLAG_AUTO);
  InstrumentedLoop& instrumented = instrument(loop, {.name = "memory"});
  std::deque<ev_timer> timers(20);
  int number = 0;
  for (ev_timer& timer : timers) {
    ev_timer_init(
        &timer, [](struct ev_loop*, ev_timer*, int) {}, 1e-3, 0.);
    instrumented.name(&timer, "timer-" + std::to_string(number++));
    ev_timer_start(loop, &timer);
  }
  ev_run(loop, 0);
  const double fixed = allocated_bytes();
  const double anonymous = anonymous_bytes() - anonymous_before;

  // The cheapest descriptors there are; registered in a set of their own, as a loop would.
  const int epoll_fd = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  int pipe_ends[2];
  must(pipe(pipe_ends), "pipe");
  for (int i = 0; i < descriptors; ++i) {
    const int fd = must(dup(pipe_ends[0]), "dup");
    epoll_event event{};
    event.events = EPOLLIN;
    must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  }
  Line()
      .add("fixed_bytes", fixed)
      .add("anonymous_bytes", anonymous)
      .add("bytes_per_descriptor", (allocated_bytes() - fixed) / descriptors)
      .print();
}

}  // namespace
}  // namespace loopscope::bench

int main(int argc, char** argv) {
  loopscope::bench::Options options(argc, argv);
  loopscope::bench::run(options);
}
