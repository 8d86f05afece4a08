// SPDX-License-Identifier: Apache-2.0
//
// epoll_victim FD THREADS END TURNS: turns epoll loops as fast as it can, one a thread, opens and
// closes descriptors of all kinds, forks now and then, and tells its truth (FD: a memory file,
// truth.h) at every step. It knows nothing of loopscope; the driver puts the probe in.
//
//   END      run             until it is killed, or told to finish: then with status 0
//            abort           abort(3), in turn TURNS of the first thread
//            overflow        a recursion that opens, waits and closes at each level, from that turn
//                            on, until the stack is full
//            overflow-exit   likewise; a handler on a stack of its own calls _exit(9)
//            bad-alloc       the address space is limited then, and memory asked for until it
//            throws memory          takes memory without a limit of its own: the kernel's OOM
//            killer
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "truth.h"

namespace {

using loopscope::storm::ThreadTruth;
using loopscope::storm::Truth;

constexpr unsigned kHeld = 40;  // descriptors, at most
constexpr unsigned kForkEvery = 400;

Truth* truth;
std::string end;
unsigned long end_turn;

/// Of one thread.
struct Victim {
  explicit Victim(ThreadTruth& truth_of_thread) : mine(truth_of_thread) {
    mine.thread_id = static_cast<std::int32_t>(syscall(SYS_gettid));
    epoll_fd = open_one([] { return epoll_create1(EPOLL_CLOEXEC); });
    event_fd = open_one([] { return eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC); });
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = event_fd;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event_fd, &event) != 0) std::exit(20);
  }

  template <typename Open>
  int open_one(const Open& open) {
    mine.opening += 1;
    const int fd = open();
    if (fd < 0) std::exit(21);
    mine.opened += 1;
    return fd;
  }
  template <typename Open>
  void open_two(const Open& open) {
    int ends[2];
    mine.opening += 2;
    if (open(ends) != 0) std::exit(22);
    mine.opened += 2;
    held.push_back(ends[0]);
    held.push_back(ends[1]);
  }
  void close_one(int fd) {
    mine.closing += 1;
    if (close(fd) != 0) std::exit(23);
    mine.closed += 1;
  }

  void open_some(unsigned long turn) {
    switch (turn % 7) {
      case 0:
        held.push_back(open_one([] { return open("/dev/null", O_RDONLY | O_CLOEXEC); }));
        break;
      case 1:
        open_two([](int* ends) { return pipe2(ends, O_CLOEXEC); });
        break;
      case 2:
        held.push_back(open_one([] { return socket(AF_INET, SOCK_STREAM, 0); }));
        break;
      case 3:
        open_two([](int* ends) { return socketpair(AF_UNIX, SOCK_STREAM, 0, ends); });
        break;
      case 4:
        held.push_back(open_one([this] { return dup(event_fd); }));
        break;
      case 5:
        held.push_back(open_one([] { return timerfd_create(CLOCK_MONOTONIC, 0); }));
        break;
      default:
        held.push_back(open_one([] { return epoll_create1(0); }));
        break;
    }
    while (held.size() > kHeld) {
      close_one(held.front());
      held.erase(held.begin());
    }
  }

  void wait_once(unsigned long turn) {
    epoll_event events[8];
    if (turn % 16 == 15) {  // nothing is ready
      eventfd_t value = 0;
      eventfd_read(event_fd, &value);
      if (epoll_wait(epoll_fd, events, 8, 0) != 0) std::exit(24);
      mine.waits += 1;
      mine.timeouts += 1;
      eventfd_write(event_fd, 1);
    } else {
      if (epoll_wait(epoll_fd, events, 8, 10000) != 1) std::exit(25);
      mine.waits += 1;
      mine.events += 1;
    }
  }

  void fork_once() {
    const pid_t child = fork();
    if (child < 0) return;
    if (child == 0) {
      int fds[loopscope::storm::kForkedOpens];
      for (int& fd : fds) fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
      for (int i = 0; i < loopscope::storm::kForkedCloses; ++i) close(fds[i]);
      _exit(loopscope::storm::kForkedStatus);
    }
    while (waitpid(child, nullptr, 0) < 0) {
    }
    truth->forks += 1;
  }

  ThreadTruth& mine;
  int epoll_fd;
  int event_fd;
  std::vector<int> held;
};

int overflow(Victim& victim, unsigned long turn) {
  char frame[200];
  memset(frame, static_cast<int>(turn), sizeof frame);
  victim.wait_once(turn);
  victim.close_one(victim.open_one([] { return open("/dev/null", O_RDONLY | O_CLOEXEC); }));
  const int deeper = overflow(victim, turn + 1);
  return deeper + frame[turn % sizeof frame];
}

void begin_end(Victim& victim, unsigned long turn) {
  if (end == "abort") abort();
  if (end == "overflow" || end == "overflow-exit") {
    if (end == "overflow-exit") {
      static char stack[64 * 1024];
      stack_t other{};
      other.ss_sp = stack;
      other.ss_size = sizeof stack;
      sigaltstack(&other, nullptr);
      struct sigaction action {};
      action.sa_handler = [](int) { _exit(9); };
      action.sa_flags = SA_ONSTACK;
      sigaction(SIGSEGV, &action, nullptr);
    }
    std::exit(26 + overflow(victim, turn));
  }
  if (end == "bad-alloc") {
    // What is in use, and a little.
    FILE* file = fopen("/proc/self/statm", "re");
    victim.mine.opening += 1;
    victim.mine.opened += 1;
    unsigned long pages = 0;
    if (file == nullptr || fscanf(file, "%lu", &pages) != 1) std::exit(27);
    victim.mine.closing += 1;
    fclose(file);
    victim.mine.closed += 1;
    const rlim_t limit = pages * 4096 + turn % 64 * 65536;
    const rlimit limits{limit, limit};
    setrlimit(RLIMIT_AS, &limits);
  }
}

void run(int index) {
  Victim victim(truth->threads[index]);
  static std::vector<std::vector<char>> taken;
  for (unsigned long turn = 0; truth->finish == 0; ++turn) {
    victim.wait_once(turn);
    if (turn == 0) truth->ready += 1;
    if (turn % 3 == 0) victim.open_some(turn / 3);
    if (index != 0) continue;
    if (turn % kForkEvery == kForkEvery - 1) victim.fork_once();
    if (turn == end_turn) begin_end(victim, turn);
    if (turn >= end_turn && (end == "bad-alloc" || end == "memory")) {
      taken.emplace_back(end == "memory" ? 1 << 20 : 1 << 17, 'x');
    }
  }
  for (const int fd : victim.held) victim.close_one(fd);
  victim.close_one(victim.event_fd);
  victim.close_one(victim.epoll_fd);
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
