// SPDX-License-Identifier: Apache-2.0
//
// library_victim FD THREADS END TURNS: as epoll_victim, but a program that uses the library: loops
// of named watchers, one a thread. It opens nothing that would be counted, as the library keeps no
// ledger.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "loopscope/loop.h"
#include "truth.h"

namespace {

using loopscope::storm::ThreadTruth;
using loopscope::storm::Truth;
using namespace std::chrono_literals;

Truth* truth;
std::string end;
unsigned long end_turn;

int overflow(unsigned long depth) {
  char frame[200];
  memset(frame, static_cast<int>(depth), sizeof frame);
  const int deeper = overflow(depth + 1);
  return deeper + frame[depth % sizeof frame];
}

void run(int index) {
  ThreadTruth& mine = truth->threads[index];
  mine.thread_id = static_cast<std::int32_t>(syscall(SYS_gettid));
  loopscope::Loop loop("victim");
  const int event_fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
  static std::vector<std::vector<char>> taken;
  unsigned long turn = 0;
  // Ready in each turn, so each wait that returned is seen here.
  loopscope::Io io(loop, "eventfd", event_fd, loopscope::kRead, [&](int) {
    mine.waits += 1;
    mine.events += 1;
    if (turn == 0) truth->ready += 1;
    if (truth->finish != 0) loop.stop();
    if (index == 0 && turn == end_turn) {
      if (end == "abort") abort();
      if (end == "overflow") std::exit(26 + overflow(turn));
      if (end == "bad-alloc") {
        const rlimit limits{4096, 4096};
        setrlimit(RLIMIT_AS, &limits);
      }
    }
    if (index == 0 && turn >= end_turn && (end == "bad-alloc" || end == "memory")) {
      taken.emplace_back(end == "memory" ? 1 << 20 : 1 << 17, 'x');
    }
    ++turn;
  });
  loopscope::Timer timer(loop, "timer", 1ms, 1ms, [] {});
  loop.run();
  io.stop();
  close(event_fd);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  truth = loopscope::storm::map_truth(std::atoi(argv[1]));
  if (truth == nullptr) return 3;
  const int threads = std::atoi(argv[2]);
  end = argv[3];
  end_turn = end == "run" ? ~0ul : std::strtoul(argv[4], nullptr, 10);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(run, i);
  run(0);
  for (std::thread& other : others) other.join();
  return 0;
}
