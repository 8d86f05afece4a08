// SPDX-License-Identifier: Apache-2.0
//
// What the probe's hooks cost, measured inside one process that runs under it.
//
//   LD_PRELOAD=libloopscope-probe.so LOOPSCOPE_PROBE=stacks=full probe_slices [--seconds S] [--cpu
//   C] [--depth N]
//
// Every slice makes the same system calls, either through the names that the probe stands in front
// of, or through libc's own definitions, taken from its handle. A round has one slice of every kind
// in an order drawn anew; printed is the median over all rounds of the difference to the bare slice
// of the same round. Without the preload the differences are the method's noise.
//
// Prints JSON: nanoseconds added to a turn (epoll_wait), to an I/O call (read, write), to a pair of
// open and close (at a stack of N frames), and the bare time of each.
#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace {

struct Calls {
  int (*wait)(int, epoll_event*, int, int);
  ssize_t (*read)(int, void*, size_t);
  ssize_t (*write)(int, const void*, size_t);
  int (*open)(const char*, int, ...);
  int (*close)(int);
};

std::uint64_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_nsec);
}

template <typename Function>
Function* of_libc(void* libc, const char* name) {
  return reinterpret_cast<Function*>(dlsym(libc, name));
}

int g_epoll = -1;
int g_pipe[2] = {-1, -1};
constexpr int kTurns = 200;
constexpr int kPairs = 200;

void turns(const Calls& calls) {
  char byte = 0;
  epoll_event events[16];
  for (int i = 0; i < kTurns; ++i) {
    if (calls.write(g_pipe[1], &byte, 1) != 1 || calls.wait(g_epoll, events, 16, -1) != 1 ||
        calls.read(g_pipe[0], &byte, 1) != 1) {
      std::abort();
    }
  }
}

/// Opens and closes below `depth` frames of our own.
[[gnu::noinline]] int pairs(const Calls& calls, int depth) {
  if (depth > 0) {
    const int result = pairs(calls, depth - 1);
    asm volatile("" ::: "memory");  // no tail call
    return result;
  }
  for (int i = 0; i < kPairs; ++i) calls.close(calls.open("/dev/null", O_RDONLY));
  return 0;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 3;
  int depth = 14;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--seconds") == 0) seconds = std::atof(argv[i + 1]);
    if (std::strcmp(argv[i], "--depth") == 0) depth = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--cpu") == 0) {
      cpu_set_t cpus;
      CPU_ZERO(&cpus);
      CPU_SET(static_cast<std::size_t>(std::atoi(argv[i + 1])), &cpus);
      sched_setaffinity(0, sizeof cpus, &cpus);
    }
  }
  void* libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
  if (libc == nullptr) return 3;
  const Calls bare{of_libc<int(int, epoll_event*, int, int)>(libc, "epoll_wait"),
                   of_libc<ssize_t(int, void*, size_t)>(libc, "read"),
                   of_libc<ssize_t(int, const void*, size_t)>(libc, "write"),
                   of_libc<int(const char*, int, ...)>(libc, "open"),
                   of_libc<int(int)>(libc, "close")};
  const Calls hooked{::epoll_wait, ::read, ::write, ::open, ::close};
  Calls waits = bare, uses = bare;
  waits.wait = hooked.wait;
  uses.read = hooked.read;
  uses.write = hooked.write;

  if (pipe2(g_pipe, O_NONBLOCK | O_CLOEXEC) != 0) return 3;
  g_epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event wanted{};
  wanted.events = EPOLLIN;
  wanted.data.fd = g_pipe[0];
  epoll_ctl(g_epoll, EPOLL_CTL_ADD, g_pipe[0], &wanted);

  enum Slice { kBare, kAgain, kWaits, kUses, kAll, kBarePairs, kHookedPairs, kSlices };
  std::vector<double> added[kSlices], bare_turn, bare_pair;
  std::mt19937 random(1);
  const std::uint64_t end = now() + static_cast<std::uint64_t>(seconds * 1e9);
  for (int round = 0; now() < end; ++round) {
    int order[kSlices];
    for (int i = 0; i < kSlices; ++i) order[i] = i;
    std::shuffle(order, order + kSlices, random);
    double took[kSlices] = {};
    for (const int slice : order) {
      const std::uint64_t began = now();
      switch (slice) {
        case kBare:
        case kAgain:
          turns(bare);
          break;
        case kWaits:
          turns(waits);
          break;
        case kUses:
          turns(uses);
          break;
        case kAll:
          turns(hooked);
          break;
        case kBarePairs:
          pairs(bare, depth);
          break;
        default:
          pairs(hooked, depth);
          break;
      }
      took[slice] = static_cast<double>(now() - began);
    }
    if (round < 20) continue;  // warm-up
    bare_turn.push_back(took[kBare] / kTurns);
    bare_pair.push_back(took[kBarePairs] / kPairs);
    for (const int slice : {kAgain, kWaits, kUses, kAll}) {
      added[slice].push_back((took[slice] - took[kBare]) / kTurns);
    }
    added[kHookedPairs].push_back((took[kHookedPairs] - took[kBarePairs]) / kPairs);
  }
  std::printf(
      "{\"rounds\":%zu,\"bare_turn_ns\":%.1f,\"noise_ns\":%.2f,\"turn_ns\":%.2f,"
      "\"io_call_ns\":%.2f,\"all_ns\":%.2f,\"bare_pair_ns\":%.1f,\"pair_ns\":%.2f}\n",
      bare_turn.size(), median(bare_turn), median(added[kAgain]), median(added[kWaits]),
      median(added[kUses]) / 2, median(added[kAll]), median(bare_pair),
      median(added[kHookedPairs]));
  return 0;
}
