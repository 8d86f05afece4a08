// SPDX-License-Identifier: Apache-2.0
//
// The parts, one by one (Google Benchmark): what a turn is made of, and what readers do. A part
// alone, in a tight loop, is cheaper than in a program whose caches and branch predictor have
// better things to keep; for what a turn really costs see slices.cpp.
#include <benchmark/benchmark.h>
#include <fcntl.h>

#include <memory>
#include <string>
#include <vector>

#include "instrumentation/metrics/collector.h"
#include "instrumentation/recording/histogram.h"
#include "instrumentation/recording/loop_recorder.h"
#include "instrumentation/recording/reader.h"
#include "instrumentation/snapshot/host_snapshot.h"
#include "instrumentation/snapshot/json.h"
#include "tests/bench/support.h"

namespace loopscope::bench {
namespace {

using namespace recording;  // NOLINT(google-build-using-namespace)

void clock_read(benchmark::State& state, ClockKind kind) {
  Clock clock(kind);
  const std::uint64_t begin = clock.now();
  while (clock.now() - begin < 20'000'000) {  // the first 10 ms of a Clock are not typical
  }
  for (auto _ : state) benchmark::DoNotOptimize(clock.now());
}
BENCHMARK_CAPTURE(clock_read, tsc, ClockKind::kTsc);
BENCHMARK_CAPTURE(clock_read, clock_gettime, ClockKind::kMonotonic);

void time_bucket(benchmark::State& state) {
  std::uint64_t value = 1;
  for (auto _ : state) {
    benchmark::DoNotOptimize(time_index(value));
    value = value * 6364136223846793005u + 1;
  }
}
BENCHMARK(time_bucket);

std::unique_ptr<LoopRecorder> make_recorder(const char* name) {
  LoopSettings settings;
  settings.name = name;
  settings.backend = "epoll";
  auto recorder = std::make_unique<LoopRecorder>(settings);
  if (!recorder->active()) die("no recording: loops are full");
  recorder->enter();
  return recorder;
}

WaitOutcome outcome_of(int ready) {
  WaitOutcome outcome;
  outcome.ready = ready;
  outcome.timeout_ns = 1'000'000;
  return outcome;
}

void turn(benchmark::State& state) {
  const auto recorder = make_recorder("turn");
  const WaitOutcome outcome = outcome_of(1);
  for (auto _ : state) {
    recorder->poll_begin();
    recorder->poll_end(outcome);
  }
}
BENCHMARK(turn);

void callback(benchmark::State& state, bool exact_start) {
  const auto recorder = make_recorder("callback");
  const WatcherRef watcher = recorder->watcher("connection", 10, WatcherKind::kIo);
  recorder->poll_begin();
  recorder->poll_end(outcome_of(1));
  for (auto _ : state) {
    recorder->callback_end(recorder->callback_begin(watcher, exact_start), watcher);
  }
}
BENCHMARK_CAPTURE(callback, chained, false);
BENCHMARK_CAPTURE(callback, exact_start, true);

void timer_lag(benchmark::State& state) {
  const auto recorder = make_recorder("timer");
  const WatcherRef watcher = recorder->watcher("timer", 5, WatcherKind::kTimer);
  std::uint64_t due = 1;
  for (auto _ : state) {
    recorder->timer_lag(watcher, due, due + 12345 + (due & 1023));
    ++due;
  }
}
BENCHMARK(timer_lag);

void register_and_forget_fd(benchmark::State& state) {
  ProcessRecorder& process = ProcessRecorder::instance();
  for (auto _ : state) {
    process.register_fd(100, 3, 1);
    process.register_fd(100, -1, 0);
  }
}
BENCHMARK(register_and_forget_fd);

/// 10 loops with 20 watchers each, whose histograms are about as full as they get.
class TenLoops {
 public:
  /// One set for the whole process: each benchmark runs several times, and ended loops stay
  /// readable for a while.
  static void exist() { static const TenLoops loops; }

 private:
  TenLoops() {
    for (int i = 0; i < 10; ++i) {
      loops_.push_back(make_recorder(("loop-" + std::to_string(i)).c_str()));
      LoopRecorder& loop = *loops_.back();
      WatcherRef refs[20];
      for (int w = 0; w < 20; ++w) {
        const std::string name = "watcher-" + std::to_string(w);
        refs[w] = loop.watcher(name.c_str(), name.size(),
                               w % 4 == 0 ? WatcherKind::kTimer : WatcherKind::kIo);
      }
      for (int t = 0; t < 5000; ++t) {
        loop.poll_begin();
        loop.poll_end(outcome_of(t % 50));
        const WatcherRef ref = refs[t % 20];
        loop.callback_end(loop.callback_begin(ref, true), ref);
        const std::uint64_t lag = 1000ull << (t % 20);
        if (t % 20 % 4 == 0) loop.timer_lag(ref, 1, 1 + lag + static_cast<std::uint64_t>(t));
      }
    }
  }

  std::vector<std::unique_ptr<LoopRecorder>> loops_;
};

Reader own_reader() {
  auto reader = read_own_process();
  if (!reader) die(reader.error().message);
  return *std::move(reader);
}

void read_recording(benchmark::State& state, bool from_file) {
  TenLoops::exist();
  auto from = Reader::open(ProcessRecorder::instance().region().path);
  if (!from) die(from.error().message);
  Reader reader = from_file ? *std::move(from) : own_reader();
  for (auto _ : state) {
    auto snapshot = reader.read();
    if (!snapshot) die(snapshot.error().message);
    benchmark::DoNotOptimize(*snapshot);
  }
}
BENCHMARK_CAPTURE(read_recording, in_process, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(read_recording, from_file, true)->Unit(benchmark::kMicrosecond);

void metrics_text(benchmark::State& state) {
  TenLoops::exist();
  const auto collector = snapshot::Collector::in_process(own_reader());
  snapshot::CollectOptions options;
  options.recent = 0;
  std::size_t bytes = 0;
  for (auto _ : state) {
    const snapshot::HostSnapshot host = collector->collect(options);
    bytes = metrics::to_text(host, metrics::LabelMode::kSingle).size();
  }
  state.counters["bytes"] = static_cast<double>(bytes);
}
BENCHMARK(metrics_text)->Unit(benchmark::kMillisecond);

void snapshot_json(benchmark::State& state) {
  TenLoops::exist();
  const auto collector = snapshot::Collector::in_process(own_reader());
  std::size_t bytes = 0;
  for (auto _ : state) bytes = snapshot::to_json(collector->collect()).size();
  state.counters["bytes"] = static_cast<double>(bytes);
}
BENCHMARK(snapshot_json)->Unit(benchmark::kMillisecond);

/// Each time with a Collector that knows nothing yet, so that all descriptors are counted.
void snapshot_of_descriptors(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  allow_descriptors(count + 100);
  std::vector<int> fds;
  while (fds.size() < count) fds.push_back(must(open("/dev/null", O_RDONLY | O_CLOEXEC), "open"));
  for (auto _ : state) {
    const auto collector = snapshot::Collector::in_process(own_reader());
    benchmark::DoNotOptimize(snapshot::to_json(collector->collect()).size());
  }
  for (const int fd : fds) close(fd);
}
BENCHMARK(snapshot_of_descriptors)->Arg(100)->Arg(10000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace loopscope::bench

BENCHMARK_MAIN();
