// SPDX-License-Identifier: Apache-2.0
//
// What the probe's hooks cost, measured inside one process that runs under it.
//
//   LD_PRELOAD=libloopscope-probe.so probe_slices [--seconds S] [--cpu C] [--frames N]
//
// with LOOPSCOPE_PROBE=stacks=off or =caller or =full in its environment.
//
// Every slice makes the same system calls, either through the names that the probe stands in front
// of, or through libc's own definitions, taken from its handle. A round has one slice of every kind
// in an order drawn anew, each after a few untimed calls of its kind; printed is the median over
// all rounds of the difference to the bare slice of the same round.
//
// Prints one line of JSON: nanoseconds added to a turn (epoll_wait), to an I/O call (read, write),
// to a turn with its two I/O calls, to a pair of open and close below N frames, the bare time of
// each, and two bare slices' difference. "hooked" is 0 without the preload: then all are noise.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/epoll.h>

#include <random>

#include "tests/bench/support.h"

namespace loopscope::bench {
namespace {

struct Calls {
  int (*wait)(int, epoll_event*, int, int);
  ssize_t (*read)(int, void*, size_t);
  ssize_t (*write)(int, const void*, size_t);
  int (*open)(const char*, int, ...);
  int (*close)(int);
};

template <typename Function>
Function* of_libc(void* libc, const char* name) {
  void* found = dlsym(libc, name);
  if (found == nullptr) die(std::string(name) + ": not in libc.so.6");
  return reinterpret_cast<Function*>(found);
}

// About 200 us a slice, as in slices.cpp.
constexpr int kTurns = 250;
constexpr int kPairs = 200;
constexpr int kWarmUp = 8;
constexpr int kRoundsAside = 20;

class Workload {
 public:
  explicit Workload(int frames) : frames_(frames) {
    must(pipe2(pipe_, O_NONBLOCK | O_CLOEXEC), "pipe2");
    epoll_fd_ = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    epoll_event wanted{};
    wanted.events = EPOLLIN;
    wanted.data.fd = pipe_[0];
    must(epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, pipe_[0], &wanted), "epoll_ctl");
  }

  void turns(const Calls& calls, int count) const {
    char byte = 0;
    epoll_event events[16];
    for (int i = 0; i < count; ++i) {
      if (calls.write(pipe_[1], &byte, 1) != 1 || calls.wait(epoll_fd_, events, 16, -1) != 1 ||
          calls.read(pipe_[0], &byte, 1) != 1) {
        die_errno("a turn");
      }
    }
  }

  void pairs(const Calls& calls, int count) const { pairs_below(calls, count, frames_); }

 private:
  /// Opens and closes below `frames` frames of our own.
  [[gnu::noinline]] static void pairs_below(const Calls& calls, int count, int frames) {
    if (frames > 1) {
      pairs_below(calls, count, frames - 1);
      asm volatile("" ::: "memory");  // no tail call
      return;
    }
    for (int i = 0; i < count; ++i) {
      if (calls.close(calls.open("/dev/null", O_RDONLY)) != 0) die_errno("a pair");
    }
  }

  int frames_;
  int epoll_fd_ = -1;
  int pipe_[2] = {-1, -1};
};

void run(Options& options) {
  const double seconds = options.number("seconds", 2);
  const int cpu = options.integer("cpu", -1);
  const Workload work(options.integer("frames", 16));
  options.refuse_unknown();
  pin(cpu);

  void* libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
  if (libc == nullptr) die("libc.so.6 is not loaded");
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

  enum Slice { kBare, kAgain, kWaits, kUses, kAll, kBarePairs, kPairsAgain, kHookedPairs, kSlices };
  const struct {
    const Calls* calls;
    bool pairs;
  } kinds[kSlices] = {{&bare, false},   {&bare, false}, {&waits, false}, {&uses, false},
                      {&hooked, false}, {&bare, true},  {&bare, true},   {&hooked, true}};
  std::vector<int> order(kSlices);
  for (int slice = 0; slice < kSlices; ++slice) order[static_cast<std::size_t>(slice)] = slice;

  const TickRate rate;
  std::vector<double> added[kSlices], took[kSlices];
  std::mt19937 random(1);
  const std::uint64_t end = monotonic_ns() + static_cast<std::uint64_t>(seconds * 1e9);
  for (int round = 0; monotonic_ns() < end; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    double now[kSlices] = {};
    for (const int slice : order) {
      const Calls& calls = *kinds[slice].calls;
      if (kinds[slice].pairs) {
        work.pairs(calls, kWarmUp);
        const std::uint64_t began = ticks();
        work.pairs(calls, kPairs);
        now[slice] = static_cast<double>(ticks() - began) / kPairs;
      } else {
        work.turns(calls, kWarmUp);
        const std::uint64_t began = ticks();
        work.turns(calls, kTurns);
        now[slice] = static_cast<double>(ticks() - began) / kTurns;
      }
    }
    if (round < kRoundsAside) continue;
    for (int slice = 0; slice < kSlices; ++slice) {
      took[slice].push_back(now[slice]);
      added[slice].push_back(now[slice] - now[kinds[slice].pairs ? kBarePairs : kBare]);
    }
  }
  if (took[kBare].empty()) die("--seconds is too short");
  const double ns = rate.ns_per_tick();
  const auto median = [ns](const std::vector<double>& values) {
    return ns * quantile(values, 0.5);
  };
  Line()
      .add("hooked", hooked.wait != bare.wait ? 1 : 0)
      .add("rounds", static_cast<double>(took[kBare].size()))
      .add("bare_turn_ns", median(took[kBare]))
      .add("bare_again_turn_ns", median(added[kAgain]))
      .add("turn_ns", median(added[kWaits]))
      .add("io_call_ns", median(added[kUses]) / 2)
      .add("turn_with_io_ns", median(added[kAll]))
      .add("bare_pair_ns", median(took[kBarePairs]))
      .add("bare_again_pair_ns", median(added[kPairsAgain]))
      .add("pair_ns", median(added[kHookedPairs]))
      .print();
}

}  // namespace
}  // namespace loopscope::bench

int main(int argc, char** argv) {
  loopscope::bench::Options options(argc, argv);
  loopscope::bench::run(options);
}
