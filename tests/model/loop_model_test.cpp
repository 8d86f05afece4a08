// SPDX-License-Identifier: Apache-2.0
//
// LoopRecorder and the reader of its loops: no execution shows a reader a turn twice or not at all,
// or parts of two moments as one; nor does a writer that is killed after any of its stores. Each
// promise has mutants of the code that break it, which must be found.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>

#include "instrumentation/recording/loop_copy.h"
#include "instrumentation/recording/loop_recorder.h"
#include "memory_model.h"
#include "mutants.h"

namespace loopscope::recording {
namespace {

using model::Execution;
using model::expect_caught;
using model::Memory;
using model::Op;
using model::Program;
using model::Tally;

bool slow() { return std::getenv("SLOW") != nullptr; }

/// Everything that is written of turn n follows from n.
std::uint64_t poll_of(std::uint64_t n) { return 1000 + n % 5 * 100; }
std::uint64_t busy_of(std::uint64_t n) { return n % 11 == 0 ? kExactDuration + n : 2000 + n % 7; }
std::uint64_t lag_of(std::uint64_t n) { return 300 + n; }
WaitOutcome outcome_of(std::uint64_t n) {
  WaitOutcome outcome;
  outcome.timeout_ns = n % 4 == 1 ? 0 : n % 4 == 2 ? 900 : kTimeoutInfinite;
  outcome.ready = n % 6 == 5 ? kReadyUnknown : static_cast<std::int32_t>(n % 3);
  outcome.result = n % 3 == 0 ? (n % 2 == 0 ? WaitResult::kTimeout : WaitResult::kInterrupted)
                              : WaitResult::kEvents;
  outcome.saturated = n % 3 == 2;
  return outcome;
}

struct Truth {
  std::uint64_t polls = 0, poll_sum = 0, busy_sum = 0, ready = 0, ready_sum = 0, unknown = 0;
  std::uint64_t nonblocking = 0, timeouts = 0, interrupted = 0, saturated = 0, delays = 0;
};
/// Of finished turns 1 … n.
Truth truth_of(std::uint64_t turns) {
  Truth truth;
  for (std::uint64_t n = 1; n <= turns; ++n) {
    const WaitOutcome outcome = outcome_of(n);
    ++truth.polls;
    truth.poll_sum += poll_of(n);
    truth.busy_sum += busy_of(n);
    if (outcome.ready >= 0) {
      ++truth.ready;
      truth.ready_sum += static_cast<std::uint64_t>(outcome.ready);
    } else {
      ++truth.unknown;
    }
    truth.nonblocking += outcome.timeout_ns == 0 ? 1 : 0;
    truth.saturated += outcome.saturated ? 1 : 0;
    truth.interrupted += outcome.result == WaitResult::kInterrupted ? 1 : 0;
    if (outcome.result == WaitResult::kTimeout) {
      ++truth.timeouts;
      truth.delays += outcome.timeout_ns > 0 ? 1 : 0;
    }
  }
  return truth;
}

/// A loop and the program that its writer was in a stretch of its life.
class LoopScene {
 public:
  explicit LoopScene(std::uint64_t turns_before) : recorder_({.name = "model", .ring_turns = 64}) {
    const Region& region = ProcessRecorder::instance().region();
    const LoopEntry& entry = region.loops()[recorder_.id()];
    block_ = entry.block_offset.load();
    // What lies beyond is not the loop's.
    memory_.emplace(region.base, region.header()->heap_offset + region.header()->heap_used.load());
    bytes_ = bytes_of_memory(region.base, region.bytes);
    for (std::uint64_t i = 0; i < turns_before; ++i) turn();
  }

  /// One wait and what follows up to the next.
  void turn() {
    wait_begins();
    wait_ends();
  }
  void wait_begins() {
    if (begun_ != 0) now_ += busy_of(begun_);
    recorder_.poll_began_at(now_);
  }
  void wait_ends() {
    ++begun_;
    now_ += poll_of(begun_);
    recorder_.poll_ended_at(outcome_of(begun_), now_);
    recorder_.timer_lag(0, now_ - lag_of(begun_), now_);
  }

  Program trace(const std::function<void()>& writer) { return memory_->trace(writer); }
  Program trace_turns(int turns) {
    return trace([&] {
      for (int i = 0; i < turns; ++i) turn();
      wait_begins();
    });
  }

  LoopBlock& block() { return *reinterpret_cast<LoopBlock*>(memory_->base() + block_); }
  LoopHot& hot() { return block().hot; }
  std::uint64_t place(const void* at) const { return memory_->place(at); }
  Memory& memory() { return *memory_; }
  const Bytes& bytes() const { return *bytes_; }
  std::uint64_t at() const { return block_; }
  LoopRecorder& recorder() { return recorder_; }
  std::uint64_t begun() const { return begun_; }

 private:
  LoopRecorder recorder_;
  std::uint64_t block_ = 0;
  std::optional<Memory> memory_;
  std::unique_ptr<Bytes> bytes_;
  std::uint64_t now_ = 1'000'000'000;
  std::uint64_t begun_ = 0;
};

bool same(const Histogram& a, const Histogram& b) {
  return a.count == b.count && a.sum == b.sum && a.min == b.min && a.max == b.max &&
         a.buckets == b.buckets;
}
bool same(const LoopCopy& a, const LoopCopy& b) {
  return std::memcmp(&a.hot, &b.hot, offsetof(LoopHot, served)) == 0 &&
         same(a.poll_wait, b.poll_wait) && same(a.busy, b.busy) && same(a.ready, b.ready) &&
         same(a.poll_delay, b.poll_delay) && same(a.timer_lag, b.timer_lag) &&
         std::memcmp(&a.worst, &b.worst, sizeof a.worst) == 0;
}

struct Difference {
  std::string text;  // empty: none
  void expect(const char* what, std::uint64_t is, std::uint64_t least, std::uint64_t most,
              std::uint64_t turns) {
    if (!text.empty() || (is >= least && is <= most)) return;
    text = std::string(what) + " is " + std::to_string(is) + " instead of " +
           std::to_string(least) + " … " + std::to_string(most) + " after " +
           std::to_string(turns) + " turns";
  }
};

/// What a copy says that is not so of its number of turns; empty if it is right. A writer that died
/// in a turn's bookkeeping leaves that turn counted; in the histograms perhaps twice (`twice`), and
/// how its wait ended perhaps not (`missing`).
std::string wrong(const LoopCopy& copy, std::uint64_t twice = 0, std::uint64_t missing = 0) {
  const LoopHot& hot = copy.hot;
  const std::uint64_t turns = hot.turns.load();
  const Truth truth = truth_of(turns);
  const Truth before = truth_of(turns < missing ? 0 : turns - missing);
  Difference found;
  const auto expect = [&](const char* what, std::uint64_t is, std::uint64_t least,
                          std::uint64_t most) { found.expect(what, is, least, most, turns); };
  expect("poll_wait", copy.poll_wait.count, turns, turns + twice);
  expect("busy", copy.busy.count, turns, turns + twice);
  expect("ready", copy.ready.count, truth.ready, truth.ready + twice);
  const std::uint64_t longest = twice * (kExactDuration + 1000);
  // A long turn that lies in the ring yet is rounded there.
  const std::uint64_t rounded = missing * (kExactDuration >> 26);
  expect("poll_wait.sum", copy.poll_wait.sum, truth.poll_sum, truth.poll_sum + longest);
  expect("busy.sum", copy.busy.sum, truth.busy_sum - std::min(rounded, truth.busy_sum),
         truth.busy_sum + longest);
  expect("ready.sum", copy.ready.sum, truth.ready_sum, truth.ready_sum + 3 * twice);
  expect("timeouts", hot.timeouts.load(), before.timeouts, truth.timeouts);
  expect("interrupted", hot.interrupted.load(), before.interrupted, truth.interrupted);
  expect("nonblocking", hot.nonblocking.load(), before.nonblocking, truth.nonblocking);
  expect("saturated", hot.saturated.load(), before.saturated, truth.saturated);
  expect("ready_unknown", hot.ready_unknown.load(), before.unknown, truth.unknown);
  expect("poll_delay", copy.poll_delay.count, before.delays, truth.delays);
  if (turn_is_open(hot)) {
    const WaitOutcome outcome = outcome_of(turns + 1);
    expect("current_poll_ns", hot.current_poll_ns.load(), poll_of(turns + 1), poll_of(turns + 1));
    if (hot.current_ready.load() != outcome.ready ||
        hot.current_timeout_ns.load() != outcome.timeout_ns ||
        (hot.current_result.load() & 3u) != static_cast<unsigned>(outcome.result)) {
      found.text = "the turn in progress has another one's wait, after " + std::to_string(turns);
    }
  }
  if (const std::uint64_t worst = copy.worst.turn.load(); worst != 0) {
    expect("worst.busy_ns", copy.worst.busy_ns.load(), busy_of(worst), busy_of(worst));
    if (copy.worst.ready.load() != outcome_of(worst).ready) found.text = "worst.ready";
  }
  if (const std::uint64_t lag = copy.worst.lag_ns.load();
      lag != 0 && lag != lag_of(turns) && lag != lag_of(turns + 1)) {
    found.text = "worst.lag_ns is " + std::to_string(lag);
  }
  return found.text;
}

/// Every cut that a reader can get of `program`: first wrong one, if any.
struct Verdict {
  std::string wrong;
  Tally tally;
  std::uint64_t taken = 0;
};
Verdict every_cut(LoopScene& scene, const Program& program, int forgotten_fence = -1) {
  Verdict verdict;
  Execution execution(scene.memory(), program);
  execution.forget_fence(forgotten_fence);
  const void* sequence = &scene.hot().sequence;
  for (std::size_t store = 0; store < execution.stores_to(sequence); ++store) {
    if (execution.value_of(sequence, store) % 2 != 0) continue;
    LoopCopy expected;
    execution.show(execution.step_of(sequence, store));
    if (copy_cut(scene.bytes(), scene.at(), kVersion, expected) != Cut::kTaken) {
      verdict.wrong = "no cut of a writer that is between its sections";
      return verdict;
    }
    verdict.wrong = wrong(expected);
    if (!verdict.wrong.empty()) return verdict;
    execution.pin(sequence, store);
    verdict.tally += execution.explore(
        [&] {
          LoopCopy copy;
          if (copy_cut(scene.bytes(), scene.at(), kVersion, copy) != Cut::kTaken) return true;
          ++verdict.taken;
          if (same(copy, expected)) return true;
          verdict.wrong = wrong(copy);
          if (verdict.wrong.empty()) verdict.wrong = "parts of two moments";
          return false;
        },
        3'000'000);
    if (!verdict.wrong.empty()) return verdict;
  }
  return verdict;
}

constexpr std::uint64_t kBeforeFold = 29;  // turns 32, 33 (long) are in the stretch

TEST(LoopModel, ACutIsOneMoment) {
  LoopScene scene(kBeforeFold);
  const Program program = scene.trace_turns(slow() ? 12 : 5);
  const Verdict verdict = every_cut(scene, program);
  EXPECT_EQ(verdict.wrong, "");
  EXPECT_GT(verdict.taken, 10u);
  std::printf(
      "reliability: protocol-model-cut: %s stores and fences of a writer, %s executions of its "
      "reader with %s loads, %s stores that a copy could only be refused for; each copy one "
      "moment\n",
      model::counted(program.ops.size()).c_str(), model::counted(verdict.tally.executions).c_str(),
      model::counted(verdict.tally.loads).c_str(), model::counted(verdict.tally.excluded).c_str());
}

TEST(LoopModel, ACutWithoutItsFencesIsNot) {
  LoopScene scene(kBeforeFold);
  const Program program = scene.trace_turns(5);
  for (int fence = 0; fence < 2; ++fence) {
    const Verdict verdict = every_cut(scene, program, fence);
    expect_caught(verdict.wrong, "reader without fence " + std::to_string(fence));
  }
  expect_caught(every_cut(scene, model::without_fences(program)).wrong, "writer without fences");
  expect_caught(every_cut(scene, model::relaxed(program, scene.place(&scene.hot().sequence))).wrong,
                "`sequence` relaxed");
}

/// A writer in a stretch of turns, and how far its waits were at each of its steps.
struct Stretch {
  Program program;
  struct Mark {
    std::size_t ops;      // done by then
    std::uint64_t began;  // waits whose end was being recorded
    std::uint64_t ended;  // waits whose end was recorded
  };
  std::vector<Mark> marks;
};
Stretch trace_marked(LoopScene& scene, int turns) {
  Stretch stretch;
  stretch.marks.push_back({0, scene.begun(), scene.begun()});
  stretch.program = scene.trace([&] {
    for (int i = 0; i < turns; ++i) {
      scene.wait_begins();
      stretch.marks.push_back({scene.memory().traced(), scene.begun() + 1, scene.begun()});
      scene.wait_ends();
      stretch.marks.push_back({scene.memory().traced(), scene.begun(), scene.begun()});
    }
    scene.wait_begins();
  });
  return stretch;
}

/// What a reader makes of each recording that a killed writer can leave: first wrong one, if any.
std::string every_death(LoopScene& scene, const Stretch& stretch, const Program& program,
                        std::uint64_t& deaths) {
  Execution execution(scene.memory(), program);
  for (std::size_t ops = 0; ops <= program.ops.size(); ++ops) {
    execution.show(ops);
    LoopCopy copy;
    std::uint64_t skew = 0;
    if (!copy_loop(scene.bytes(), scene.at(), kVersion, copy, skew)) return "cannot be read";
    ++deaths;
    const bool inside = scene.hot().sequence.raw % 2 != 0;
    if (inside != (skew != 0)) return "an exact cut of a writer that died inside, or none";
    const std::string what = inside ? wrong(copy, 1, 1) : wrong(copy);
    if (!what.empty()) return what + ", killed after step " + std::to_string(ops);
    const std::uint64_t counted = copy.hot.turns.load() + (turn_is_open(copy.hot) ? 1 : 0);
    std::uint64_t least = 0;
    std::uint64_t most = 0;
    for (const Stretch::Mark& mark : stretch.marks) {
      if (mark.ops > ops) break;
      least = mark.ended;
      most = mark.began;
    }
    if (counted < least || counted > most) {
      return std::to_string(counted) + " waits counted of " + std::to_string(least) + " … " +
             std::to_string(most) + ", killed after step " + std::to_string(ops);
    }
  }
  return "";
}

TEST(LoopModel, AWriterKilledAnywhereLeavesEachTurnCountedOnce) {
  std::uint64_t deaths = 0;
  for (const std::uint64_t before : {0, 1, 20, 29, 60}) {
    LoopScene scene(before);
    const Stretch stretch = trace_marked(scene, slow() ? 70 : 6);
    EXPECT_EQ(every_death(scene, stretch, stretch.program, deaths), "") << "from turn " << before;
  }
  std::printf(
      "reliability: protocol-model-killed: a loop's writer killed after each of %s stores and "
      "fences: every turn counted once\n",
      model::counted(deaths).c_str());
}

TEST(LoopModel, ATurnInAnotherOrderIsLostOrCountedTwice) {
  LoopScene scene(kBeforeFold);
  const Stretch stretch = trace_marked(scene, 6);
  const LoopHot& hot = scene.hot();
  std::uint64_t deaths = 0;
  const auto at = [&](const void* word, int nth = 0, std::size_t from = 0) {
    const std::ptrdiff_t found = model::find_store(stretch.program, scene.place(word), nth, from);
    EXPECT_GE(found, 0) << "a mutant without effect";
    return static_cast<std::size_t>(found);
  };
  const std::size_t turns = at(&hot.turns);
  expect_caught(
      every_death(scene, stretch, model::earlier(stretch.program, turns, turns - 4), deaths),
      "`turns` before the record");
  const std::size_t folded = at(&hot.folded);
  const std::size_t counted =
      at(&hot.turns, 0, folded - 20) < folded ? at(&hot.turns, 0, folded - 20) : folded - 1;
  expect_caught(
      every_death(scene, stretch, model::earlier(stretch.program, folded, counted + 1), deaths),
      "`folded` before the histograms");
  const std::size_t current = at(&hot.current_turn);
  expect_caught(
      every_death(scene, stretch, model::earlier(stretch.program, current, current - 4), deaths),
      "`current_turn` before what it tells of");
  // The turn in progress ended by a store of its own, after or before `turns`.
  Program program = stretch.program;
  program.ops.insert(program.ops.begin() + static_cast<std::ptrdiff_t>(turns),
                     Op{Op::Kind::kStore, 2, __ATOMIC_RELAXED, scene.place(&hot.current_turn), 0});
  expect_caught(every_death(scene, stretch, program, deaths), "ended before it is counted");
  const LoopWorst& worst = scene.block().worst;
  const std::size_t beaten = at(&worst.turn);
  program = stretch.program;
  program.ops.erase(program.ops.begin() + static_cast<std::ptrdiff_t>(beaten));
  expect_caught(every_death(scene, stretch, program, deaths), "worst.turn not taken back first");
}

// --- without a cut: the pieces, and by how much they may differ ---

/// Each turn is folded as it ends, by its length, so that few stores make many states.
class PiecesScene : public LoopScene {
 public:
  PiecesScene() : LoopScene(0) {}
  Program trace_long_turns(int turns) {
    std::uint64_t now = 1'000'000'000;
    const auto turn = [&] {
      recorder().poll_began_at(now += kLong);
      recorder().poll_ended_at({1, WaitResult::kEvents, false, kTimeoutInfinite}, now += 1000);
    };
    for (int i = 0; i < 3; ++i) turn();
    return trace([&] {
      for (int i = 0; i < turns; ++i) turn();
    });
  }
  static constexpr std::uint64_t kLong = kExactDuration + 5;
};

std::string every_mixture(PiecesScene& scene, const Program& program, Tally& tally,
                          int forgotten_fence = -1) {
  Execution execution(scene.memory(), program);
  execution.forget_fence(forgotten_fence);
  LoopBlock& block = scene.block();
  // Of the others the oldest store that may be read: a record that is not there yet, a turn in
  // progress that is in both numbers.
  execution.branch_only_at(
      {&block.hot.turns, &block.hot.folded, &block.poll_wait_buckets[time_index(1000)]});
  std::string what;
  tally += execution.explore([&] {
    LoopCopy copy;
    std::uint64_t skew = 0;
    if (!copy_pieces(scene.bytes(), scene.at(), kVersion, copy, skew)) {
      what = "cannot be read";
      return false;
    }
    Difference found;
    const std::uint64_t turns = copy.hot.turns.load() + (turn_is_open(copy.hot) ? 1 : 0);
    const std::uint64_t waits = copy.poll_wait.count + (turn_is_open(copy.hot) ? 1 : 0);
    // As the view of a snapshot has it: iterations and poll_wait.count, the turn in progress in
    // both.
    found.expect("poll_wait", waits, turns > skew + 1 ? turns - skew - 1 : 0, turns + skew + 1,
                 turns);
    what = found.text;
    return what.empty();
  });
  return what;
}

TEST(LoopModel, PiecesDifferByNoMoreThanTheySay) {
  PiecesScene scene;
  const Program program = scene.trace_long_turns(slow() ? 9 : 6);
  Tally tally;
  EXPECT_EQ(every_mixture(scene, program, tally), "");
  std::printf(
      "reliability: protocol-model-pieces: %s mixtures of a loop's pieces, none further apart "
      "than it says\n",
      model::counted(tally.executions).c_str());
}

TEST(LoopModel, PiecesWithoutFencesDifferByMore) {
  PiecesScene scene;
  const Program program = scene.trace_long_turns(8);
  Tally tally;
  for (int fence = 0; fence < 2; ++fence) {
    expect_caught(every_mixture(scene, program, tally, fence),
                  "reader without fence " + std::to_string(fence));
  }
}

// --- the ring of turns, run over while it is copied ---

std::string every_ring(LoopScene& scene, const Program& program, Tally& tally,
                       std::uint64_t& overtaken, int forgotten_fence = -1) {
  Execution execution(scene.memory(), program);
  execution.forget_fence(forgotten_fence);
  LoopBlock& block = scene.block();
  std::string what;
  tally += execution.explore([&] {
    // The reader knows of a head as it does after a cut.
    LoopHot hot;
    if (!read_hot(scene.bytes(), scene.at(), kVersion, hot)) return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    const std::uint64_t head = hot.turns.load();
    const TurnRing ring{scene.at(), block.ring_offset.raw, block.ring_turns.raw, kVersion};
    std::vector<Turn> turns;
    if (!copy_turns(scene.bytes(), ring, head, 0, 64, 0, turns)) {
      what = "cannot be read";
      return false;
    }
    for (const Turn& turn : turns) {
      const WaitOutcome outcome = outcome_of(turn.turn);
      if (turn.poll_ns != poll_of(turn.turn) ||
          turn.busy_ns != unpack_duration(pack_duration(busy_of(turn.turn))) ||
          turn.ready != outcome.ready || turn.timeout_ns != outcome.timeout_ns ||
          turn.result != outcome.result) {
        what = "turn " + std::to_string(turn.turn) + " is not what it was";
        return false;
      }
    }
    // Those that are missing were the oldest.
    if (!turns.empty() &&
        (turns.back().turn != head || turns.size() != head - turns.front().turn + 1)) {
      what = "a gap in the turns";
      return false;
    }
    overtaken += turns.size() < 64 ? 1 : 0;
    return true;
  });
  return what;
}

TEST(LoopModel, TurnsThatAreOvertakenAreLeftOut) {
  LoopScene scene(65);
  scene.block();
  const Program program = scene.trace_turns(slow() ? 3 : 2);
  // Words of a section that say nothing of the ring only multiply the executions.
  Program ring = program;
  const std::uint64_t hot = scene.place(&scene.hot());
  const std::uint64_t turns = scene.place(&scene.hot().turns);
  const std::uint64_t records = scene.block().ring_offset.raw;
  std::erase_if(ring.ops, [&](const Op& op) {
    return op.kind != Op::Kind::kFence && op.place != hot && op.place != turns &&
           !(op.place >= records && op.place < records + 64 * sizeof(TurnRecord));
  });
  Tally tally;
  std::uint64_t overtaken = 0;
  EXPECT_EQ(every_ring(scene, ring, tally, overtaken), "");
  EXPECT_GT(overtaken, 0u);
  std::printf(
      "reliability: protocol-model-ring: %s copies of a ring that is run over meanwhile, no "
      "turn torn\n",
      model::counted(tally.executions).c_str());

  expect_caught(every_ring(scene, model::without_fences(ring), tally, overtaken), "no fences");
  expect_caught(every_ring(scene, model::relaxed(ring, turns, 8), tally, overtaken),
                "`turns` relaxed");
  expect_caught(every_ring(scene, ring, tally, overtaken, 1), "reader without its fence");
  const std::ptrdiff_t published = model::find_store(ring, turns);
  ASSERT_GE(published, 4);
  const auto at = static_cast<std::size_t>(published);
  expect_caught(every_ring(scene, model::earlier(ring, at, at - 4), tally, overtaken),
                "`turns` before the record");
}

// --- what was served, run over while it is copied ---

constexpr std::uint64_t kManyServed = 40;  // turns of eight records: more than the ring's 256
std::uint64_t served_in(std::uint64_t n) { return n <= kManyServed ? 8 : 1; }
std::uint64_t start_of(std::uint64_t n, std::uint64_t i) { return n * 100 + i * 10; }
std::uint64_t length_of(std::uint64_t n, std::uint64_t i) { return (n + i) % 7 + 1; }

class ServedScene {
 public:
  ServedScene() : recorder_({.name = "served", .ring_turns = 64}) {
    const Region& region = ProcessRecorder::instance().region();
    block_ = region.loops()[recorder_.id()].block_offset.load();
    memory_.emplace(region.base, region.header()->heap_offset + region.header()->heap_used.load());
    bytes_ = bytes_of_memory(region.base, region.bytes);
    for (std::uint64_t n = 1; n <= kManyServed; ++n) turn();
    program_ = memory_->trace([this] {
      for (int n = 0; n < 2; ++n) turn();
      recorder_.poll_began_at(now_ += 10'000);
    });
    // What says nothing of the two rings would only multiply the executions.
    const std::uint64_t hot = memory_->place(&block().hot);
    const std::uint64_t records = block().ring_offset.raw;
    std::erase_if(program_.ops, [&](const Op& op) {
      return op.kind != Op::Kind::kFence && op.place >= hot && op.place < records &&
             op.place != hot && op.place != served_head() && op.place != turns();
    });
  }

  std::string every_copy(const Program& program, Tally& tally, std::uint64_t& lost,
                         int forgotten_fence = -1) {
    Execution execution(*memory_, program);
    execution.forget_fence(forgotten_fence);
    const auto* first =
        reinterpret_cast<const char*>(memory_->base() + block().served_chunks[0].raw);
    const std::size_t overwritten = kManyServed * 8 % kServedPerChunk * sizeof(ServedRecord);
    execution.branch_only_at({&block().hot.turns, &block().hot.served, first + overwritten,
                              first + overwritten + 8, first + overwritten + 16,
                              first + overwritten + 24});
    std::string what;
    tally += execution.explore([&] {
      LoopHot hot;
      if (!read_hot(*bytes_, block_, kVersion, hot)) return false;
      __atomic_thread_fence(__ATOMIC_ACQUIRE);
      LoopSnapshot loop;
      const TurnRing ring{block_, block().ring_offset.raw, block().ring_turns.raw, kVersion};
      if (!copy_turns(*bytes_, ring, hot.turns.load(), 0, 64, 0, loop.recent)) return false;
      __atomic_thread_fence(__ATOMIC_ACQUIRE);
      copy_served(*bytes_, block_, loop);
      if (loop.served == nullptr) return what.empty();
      for (const Turn& turn : loop.recent) {
        const std::uint64_t written = served_in(turn.turn);
        if (turn.served_count + turn.served_lost != written) what = "a record not accounted for";
        lost += turn.served_lost;
        for (std::uint64_t i = turn.served_lost; i < written; ++i) {
          const Served& one = (*loop.served)[turn.served_first + i - turn.served_lost];
          if (one.start_ns != start_of(turn.turn, i) || one.ns != length_of(turn.turn, i)) {
            what = "a record of turn " + std::to_string(turn.turn) + " is not what it was";
          }
        }
      }
      return what.empty();
    });
    return what;
  }

  const Program& program() const { return program_; }
  LoopBlock& block() { return *reinterpret_cast<LoopBlock*>(memory_->base() + block_); }
  std::uint64_t served_head() { return memory_->place(&block().hot.served); }
  std::uint64_t turns() { return memory_->place(&block().hot.turns); }

 private:
  void turn() {
    const std::uint64_t n = recorder_.turn() + (now_ == kStart ? 0 : 1);
    recorder_.poll_began_at(now_ += 10'000);
    recorder_.poll_ended_at({1, WaitResult::kEvents, false, kTimeoutInfinite}, now_ += 1000);
    for (std::uint64_t i = 0; i < served_in(n); ++i) {
      recorder_.served(0, now_ + start_of(n, i), now_ + start_of(n, i) + length_of(n, i));
    }
  }

  static constexpr std::uint64_t kStart = 1'000'000'000;
  LoopRecorder recorder_;
  std::uint64_t block_ = 0;
  std::uint64_t now_ = kStart;
  std::optional<Memory> memory_;
  std::unique_ptr<Bytes> bytes_;
  Program program_;
};

TEST(LoopModel, WhatWasServedIsWholeOrCountedAsLost) {
  ServedScene scene;
  Tally tally;
  std::uint64_t lost = 0;
  EXPECT_EQ(scene.every_copy(scene.program(), tally, lost), "");
  EXPECT_GT(lost, 0u);
  std::printf(
      "reliability: protocol-model-served: %s copies of what was served, run over meanwhile: "
      "each record whole or counted as lost\n",
      model::counted(tally.executions).c_str());
  expect_caught(scene.every_copy(model::without_fences(scene.program()), tally, lost),
                "served records without fences");
  expect_caught(
      scene.every_copy(model::relaxed(scene.program(), scene.served_head(), 8), tally, lost),
      "`served` relaxed");
}

// --- a watcher's histogram ---

TEST(LoopModel, AWatchersCutIsOneMoment) {
  LoopScene scene(3);
  const WatcherRef watcher = scene.recorder().watcher("watcher", 7, WatcherKind::kIo);
  const Region& region = ProcessRecorder::instance().region();
  Memory memory(region.base, region.header()->heap_offset + region.header()->heap_used.load());
  const std::uint64_t at = scene.block().watcher_offsets[0].load();
  auto* block = region.at<WatcherBlock>(at);
  const Program program = memory.trace([&] {
    for (int i = 0; i < 3; ++i) {
      scene.recorder().callback_end(scene.recorder().callback_begin(watcher, true), watcher);
    }
  });
  const auto every_cut_of = [&](const Program& of, Tally& tally, int forgotten_fence) {
    Execution execution(memory, of);
    execution.forget_fence(forgotten_fence);
    std::string what;
    for (std::size_t store = 0; store < execution.stores_to(block) && what.empty(); ++store) {
      if (execution.value_of(block, store) % 2 != 0) continue;
      WatcherSnapshot expected;
      execution.show(execution.step_of(block, store));
      if (!copy_watcher(scene.bytes(), at, expected)) return std::string("cannot be read");
      execution.pin(block, store);
      tally += execution.explore([&] {
        WatcherSnapshot copy;
        if (!copy_watcher(scene.bytes(), at, copy)) return true;
        if (!same(copy.callback, expected.callback)) what = "parts of two moments";
        return what.empty();
      });
    }
    return what;
  };
  Tally tally;
  EXPECT_EQ(every_cut_of(program, tally, -1), "");
  EXPECT_GT(tally.executions, 3u);
  for (int fence = 0; fence < 2; ++fence) {
    expect_caught(every_cut_of(program, tally, fence),
                  "a watcher's reader without fence " + std::to_string(fence));
  }
  expect_caught(every_cut_of(model::without_fences(program), tally, -1),
                "a watcher without fences");
}

}  // namespace
}  // namespace loopscope::recording
