// SPDX-License-Identifier: Apache-2.0
//
// What a snapshot of a process with many descriptors takes, and what the observed loop notices of
// it: its turns are timed one by one, in windows with a snapshot and windows without, in turns.
// Every snapshot counts all descriptors anew (a server would count them more rarely).
//
//   impact [--descriptors N] [--by process|thread] [--windows N] [--cpu C] [--other-cpu C]
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <atomic>
#include <deque>
#include <new>
#include <thread>

#include "instrumentation/recording/reader.h"
#include "instrumentation/snapshot/host_snapshot.h"
#include "instrumentation/snapshot/json.h"
#include "loopscope/loop.h"
#include "tests/bench/support.h"

namespace loopscope::bench {
namespace {

constexpr std::uint64_t kWindow = 250'000'000;  // ns
constexpr int kMaxWindows = 1000;
constexpr int kActive = 50;

/// Between the loop and the process or thread that takes snapshots.
struct Shared {
  std::atomic<int> asked{0};
  std::atomic<int> done{0};
  std::uint64_t took_ns[kMaxWindows] = {};
  std::uint64_t bytes = 0;
};

[[noreturn]] void take_snapshots(Shared& shared, const std::string& path, bool in_process) {
  for (;;) {
    if (shared.asked.load() == shared.done.load()) {
      usleep(1000);
      continue;
    }
    const std::uint64_t begin = monotonic_ns();
    auto collector = [&] {
      if (!in_process) return snapshot::Collector::of_file(path);
      auto reader = recording::read_own_process();
      if (!reader) die(reader.error().message);
      return snapshot::Collector::in_process(*std::move(reader));
    }();
    const snapshot::HostSnapshot taken = collector->collect();
    if (taken.processes.size() != 1) die("the snapshot shows no process");
    shared.bytes = snapshot::to_json(taken).size();
    shared.took_ns[shared.done.load() % kMaxWindows] = monotonic_ns() - begin;
    shared.done.fetch_add(1);
  }
}

/// Windows without a snapshot are kept in two halves, whose difference is the method's noise.
enum Kind { kWithout, kWithoutToo, kWith };

struct Turns {
  Shared* shared = nullptr;
  int windows = 0;
  std::uint64_t window_end = 0;
  std::uint64_t last = 0;
  std::vector<double> durations[3];  // by Kind
};

void on_turn(struct ev_loop* loop, ev_prepare* watcher, int) {
  auto& turns = *static_cast<Turns*>(watcher->data);
  const std::uint64_t now = monotonic_ns();
  const bool with = turns.windows % 2 != 0;
  const Kind kind = with ? kWith : turns.windows % 4 == 0 ? kWithout : kWithoutToo;
  if (turns.last != 0) turns.durations[kind].push_back(static_cast<double>(now - turns.last));
  turns.last = now;
  if (now < turns.window_end) return;
  // A snapshot that is not ready yet belongs to its window: wait for its end.
  if (with && turns.shared->done.load() != turns.shared->asked.load()) return;
  if (--turns.windows == 0) return ev_break(loop, EVBREAK_ALL);
  if (turns.windows % 2 != 0) turns.shared->asked.fetch_add(1);
  turns.window_end = now + kWindow;
  turns.last = 0;
}

void run(Options& options) {
  const int descriptors = options.integer("descriptors", 10000);
  const bool by_thread = options.text("by", "process") == "thread";
  const int windows = std::min(options.integer("windows", 40), kMaxWindows);
  const int cpu = options.integer("cpu", -1);
  const int other_cpu = options.integer("other-cpu", -1);
  options.refuse_unknown();
  allow_descriptors(static_cast<rlim_t>(descriptors) + 100);
  alarm(static_cast<unsigned>(windows) + 120);

  struct ev_loop* loop = ev_loop_new(EVFLAG_AUTO);
  instrument(loop, {.name = "impact"});
  struct Pipe {
    ev_io watcher{};
    int write_end = -1;
  };
  std::deque<Pipe> pipes;
  for (int i = 0; i < descriptors / 2; ++i) {
    int ends[2];
    must(pipe2(ends, O_NONBLOCK | O_CLOEXEC), "pipe2");
    Pipe& pipe = pipes.emplace_back();
    pipe.write_end = ends[1];
    ev_io_init(
        &pipe.watcher,
        [](struct ev_loop*, ev_io* watcher, int) {
          char byte = 0;
          if (read(watcher->fd, &byte, 1) != 1) die_errno("read");
          if (write(static_cast<Pipe*>(watcher->data)->write_end, "x", 1) != 1) die_errno("write");
        },
        ends[0], EV_READ);
    pipe.watcher.data = &pipe;
    ev_io_start(loop, &pipe.watcher);
    if (i < kActive && write(ends[1], "x", 1) != 1) die_errno("write");
  }

  void* memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die_errno("mmap");
  Turns turns;
  turns.shared = ::new (memory) Shared;
  turns.windows = windows;
  for (auto& durations : turns.durations) durations.reserve(2'000'000);
  const std::string path = recording_path();
  if (path.empty()) die("no recording: " + recording_error());
  if (by_thread) {
    std::thread([&shared = *turns.shared, path, other_cpu] {
      pin(other_cpu);
      take_snapshots(shared, path, true);
    }).detach();
  } else if (must(fork(), "fork") == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(other_cpu);
    take_snapshots(*turns.shared, path, false);
  }
  pin(cpu);
  ev_prepare prepare;
  ev_prepare_init(&prepare, on_turn);
  prepare.data = &turns;
  ev_prepare_start(loop, &prepare);
  ev_run(loop, 0);

  const auto& taken = *turns.shared;
  std::vector<double> took(taken.took_ns, taken.took_ns + taken.done.load());
  Line line;
  line.add("snapshots", static_cast<double>(took.size()));
  line.add("snapshot_ms", quantile(took, 0.5) * 1e-6);
  line.add("snapshot_worst_ms", quantile(took, 1) * 1e-6);
  line.add("json_bytes", static_cast<double>(taken.bytes));
  const auto percentiles = [&](const std::string& suffix, const std::vector<double>& durations) {
    line.add("turn_p50_us" + suffix, quantile(durations, 0.5) * 1e-3);
    line.add("turn_p99_us" + suffix, quantile(durations, 0.99) * 1e-3);
    line.add("turn_p999_us" + suffix, quantile(durations, 0.999) * 1e-3);
    line.add("turn_max_us" + suffix, quantile(durations, 1) * 1e-3);
  };
  percentiles("_with", turns.durations[kWith]);
  percentiles("_half", turns.durations[kWithout]);
  percentiles("_other_half", turns.durations[kWithoutToo]);
  std::vector<double> without = turns.durations[kWithout];
  without.insert(without.end(), turns.durations[kWithoutToo].begin(),
                 turns.durations[kWithoutToo].end());
  percentiles("_without", without);
  line.print();
  std::fflush(stdout);
  _exit(0);
}

}  // namespace
}  // namespace loopscope::bench

int main(int argc, char** argv) {
  loopscope::bench::Options options(argc, argv);
  loopscope::bench::run(options);
}
