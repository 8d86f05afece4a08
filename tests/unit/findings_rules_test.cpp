// SPDX-License-Identifier: Apache-2.0
//
// Every rule: a case in which it must speak, and its twins, as close to it as can be, in which it
// must not.
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "instrumentation/findings/rules.h"
#include "instrumentation/findings/text.h"
#include "tests/unit/fixtures.h"

namespace loopscope::findings {
namespace {

using namespace loopscope::fixtures;
using recording::LoopSnapshot;
using recording::RecordingSnapshot;
using recording::Turn;

using Change = std::function<void(LoopSnapshot&)>;

std::vector<Finding> found(const RecordingSnapshot& recording) {
  return evaluate({.recording = recording, .open_fds = 12, .fd_limit = 1024});
}

std::vector<Finding> found(const Change& change) {
  RecordingSnapshot recording = healthy_recording();
  change(recording.loops.front());
  return found(recording);
}

/// Exactly one finding, of this rule, and nothing about it left unsaid. Gives it back for a closer
/// look.
Finding only(const std::vector<Finding>& all, const std::string& rule, Severity severity) {
  EXPECT_EQ(all.size(), 1u) << rule;
  if (all.size() != 1) return {};
  const Finding& finding = all.front();
  EXPECT_EQ(finding.rule, rule);
  EXPECT_EQ(finding.severity, severity) << finding.title;
  EXPECT_NE(finding.title, "");
  EXPECT_NE(finding.detail, "");
  EXPECT_NE(finding.advice, "");
  EXPECT_NE(finding.subject, "");
  return finding;
}

TEST(Rules, FindNothingInAHealthyProcess) { EXPECT_TRUE(found(healthy_recording()).empty()); }

TEST(Rules, FindNothingWhereNothingIsKnownYet) {
  RecordingSnapshot recording;
  EXPECT_TRUE(evaluate({.recording = recording, .open_fds = {}, .fd_limit = {}}).empty());
  recording.loops.emplace_back();
  EXPECT_TRUE(evaluate({.recording = recording, .open_fds = 0, .fd_limit = 0}).empty());
}

TEST(Rules, AreListedOnceEachWithTheirSeverities) {
  std::set<std::string> names;
  for (const Rule& rule : rules()) {
    EXPECT_TRUE(names.insert(rule.name).second) << rule.name;
    EXPECT_FALSE(rule.severities.empty()) << rule.name;
    EXPECT_STRNE(rule.summary, "");
  }
  EXPECT_EQ(names,
            (std::set<std::string>{"loop-stall", "busy-spin", "fork-without-loop-fork",
                                   "backend-rebuilt", "timer-lag", "fd-limit", "batch-saturated",
                                   "records-dropped", "own-failures", "fd-growth"}));
}

/// A server that has run for a minute and opened a file every second, which nobody closes or uses.
struct Growing {
  static constexpr std::uint64_t kSecond = 1'000'000'000;
  RecordingSnapshot recording = healthy_recording();
  Growing() {
    recording.started_ns = 1'700'000'000 * kSecond;
    recording.taken_ns = recording.started_ns + 60 * kSecond;
    recording::Ledger& ledger = recording.ledger.emplace();
    recording::SiteRecord& site = ledger.sites.emplace_back();
    site.kind = recording::DescriptorKind::kFile;
    for (int i = 0; i < 60; ++i) {
      recording::FdRecord& fd = ledger.fds.emplace_back();
      fd.fd = 10 + i;
      fd.kind = site.kind;
      fd.origin = recording::FdOrigin::kOpened;
      fd.opened_ns = recording.started_ns + static_cast<std::uint64_t>(i) * kSecond;
      fd.site = 0;
      ++site.opened;
    }
  }
  void each(const std::function<void(recording::FdRecord&)>& change) {
    for (recording::FdRecord& fd : recording.ledger->fds) change(fd);
  }
  bool silent() const { return found(recording).empty(); }
};

TEST(FdGrowth, SaysHowManyAndHowFast) {
  Growing growing;
  const Finding finding = only(found(growing.recording), "fd-growth", Severity::kWarning);
  // Those of the last ten seconds may yet be used.
  EXPECT_EQ(finding.count, 51u);
  EXPECT_EQ(finding.title, "51 files opened at one place lie idle, and their number only grows");
  EXPECT_EQ(finding.kind, "file");
  EXPECT_EQ(finding.descriptors.front().fd, 10);
}

TEST(FdGrowth, ToleratesWhatIsUsedClosedOrServed) {
  {
    Growing closed;
    closed.recording.ledger->sites[0].closed = 1;
    EXPECT_TRUE(closed.silent());
  }
  {
    Growing registered;
    registered.each([](auto& fd) { fd.registered_epoll_fd = 3; });
    EXPECT_TRUE(registered.silent());
  }
  {
    Growing used;
    used.each([&](auto& fd) { fd.activity_ns = used.recording.taken_ns - Growing::kSecond; });
    EXPECT_TRUE(used.silent());
  }
  {
    Growing accepted;
    accepted.each([](auto& fd) { fd.accepted = true; });
    EXPECT_TRUE(accepted.silent());
  }
}

TEST(FdGrowth, ToleratesAStartAnEpisodeAndAYoungProcess) {
  {
    Growing start;
    start.each([&](auto& fd) {
      fd.opened_ns = start.recording.started_ns + (fd.opened_ns - start.recording.started_ns) / 100;
    });
    EXPECT_TRUE(start.silent());
  }
  {
    Growing episode;
    episode.recording.taken_ns += 60 * Growing::kSecond;
    EXPECT_TRUE(episode.silent());
  }
  {
    // Lately, and all at once.
    Growing burst;
    burst.each([&](auto& fd) { fd.opened_ns = burst.recording.taken_ns - 12 * Growing::kSecond; });
    EXPECT_TRUE(burst.silent());
  }
  {
    Growing young;
    young.recording.started_ns = young.recording.taken_ns - 29 * Growing::kSecond;
    EXPECT_TRUE(young.silent());
  }
  {
    Growing few;
    few.recording.ledger->fds.resize(30);
    EXPECT_TRUE(few.silent());
  }
  {
    Growing ended;
    ended.recording.life = recording::Life::kExited;
    EXPECT_TRUE(ended.silent());
  }
}

TEST(Rules, ShowTheMostSevereFirst) {
  RecordingSnapshot recording = healthy_recording();
  recording.dropped[0] = 1;
  recording.loops[0].stalls = 1;
  recording.loops[0].used_after_fork = true;
  const auto all = found(recording);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].rule, "fork-without-loop-fork");
  EXPECT_EQ(all[1].rule, "loop-stall");
  EXPECT_EQ(all[2].rule, "records-dropped");
}

// --- loop-stall ----------------------------------------------------------------------------------

void three_stalls(LoopSnapshot& loop) {
  loop.watchers = {watcher("query", recording::WatcherKind::kTimer)};
  loop.stalls = 3;
  loop.busy.add(212 * kMillisecond);
  Turn& turn = loop.recent[490];
  turn.busy_ns = 212 * kMillisecond;
  turn.watcher = 1;
  turn.watcher_ns = 210 * kMillisecond;
}

TEST(LoopStall, SaysHowOftenHowLongAndWhere) {
  const auto all = found(three_stalls);
  only(all, "loop-stall", Severity::kWarning);
  EXPECT_EQ(all[0].title, "loop \"main\" stalled 3 times, the longest 212 ms");
  EXPECT_EQ(all[0].count, 3u);
  EXPECT_EQ(all[0].subject, "main");
  EXPECT_NE(all[0].detail.find("212 ms in turn 991, 210 ms of it in \"query\" (timer)"),
            std::string::npos)
      << all[0].detail;
}

TEST(LoopStall, DatesTheFirstOnlyIfAllAreAtHand) {
  const auto stalled = [](std::uint64_t stalls) {
    return found([stalls](LoopSnapshot& loop) {
      loop.stalls = stalls;
      for (const std::size_t i : {100u, 300u}) loop.recent[i].busy_ns = 200 * kMillisecond;
    });
  };
  const auto both = stalled(2);
  only(both, "loop-stall", Severity::kWarning);
  const LoopSnapshot loop = healthy_loop();
  EXPECT_EQ(both.at(0).since_ns, loop.recent[100].at_ns);
  EXPECT_NE(both[0].detail.find("The longest: 200 ms in turn 601"), std::string::npos)
      << both[0].detail;
  const auto one_is_gone = stalled(3);
  only(one_is_gone, "loop-stall", Severity::kWarning);
  EXPECT_FALSE(one_is_gone.at(0).since_ns);
  EXPECT_NE(one_is_gone[0].detail.find("Of the 3, 2 are still among the recorded turns"),
            std::string::npos)
      << one_is_gone[0].detail;
}

TEST(LoopStall, SaysThatTheLongestIsNotAmongThoseAtHand) {
  const auto all = found([](LoopSnapshot& loop) {
    three_stalls(loop);
    loop.busy.add(5 * kSecond);
  });
  only(all, "loop-stall", Severity::kWarning);
  EXPECT_NE(all[0].title.find("the longest 5 s"), std::string::npos) << all[0].title;
  EXPECT_NE(all[0].detail.find("not the longest (5 s): 212 ms in turn 991"), std::string::npos)
      << all[0].detail;
  EXPECT_EQ(all[0].detail.find("longest recent"), std::string::npos) << all[0].detail;
  EXPECT_EQ(found(three_stalls).at(0).detail.find("not the longest"), std::string::npos);
}

TEST(LoopStall, TellsAStallInProgressFromEarlierOnes) {
  const auto all = found([](LoopSnapshot& loop) {
    loop.recent[100].busy_ns = 200 * kMillisecond;
    loop.phase = recording::Phase::kDispatching;
    loop.phase_ns = loop.stalled_ns = kSecond;
    loop.stalls = 2;
  });
  only(all, "loop-stall", Severity::kError);
  EXPECT_NE(all[0].detail.find("The earlier one: 200 ms in turn 601"), std::string::npos)
      << all[0].detail;
  EXPECT_EQ(all[0].since_ns, kNow - kSecond);
}

TEST(LoopStall, ShowsAtMostThreeTurns) {
  const auto all = found([](LoopSnapshot& loop) {
    loop.stalls = 10;
    for (int i = 0; i < 10; ++i) loop.recent[i].busy_ns = (200 + i) * kMillisecond;
  });
  only(all, "loop-stall", Severity::kWarning);
  EXPECT_NE(all[0].detail.find("209 ms"), std::string::npos);
  EXPECT_NE(all[0].detail.find("207 ms"), std::string::npos);
  EXPECT_EQ(all[0].detail.find("206 ms"), std::string::npos);
}

TEST(LoopStall, IsAnErrorWhileItLasts) {
  const auto all = found([](LoopSnapshot& loop) {
    loop.watchers = {watcher("query", recording::WatcherKind::kIo)};
    loop.phase = recording::Phase::kDispatching;
    loop.phase_ns = loop.stalled_ns = 1200 * kMillisecond;
    loop.stalls = 1;
    loop.running_watcher = 1;
    loop.running_watcher_ns = 1190 * kMillisecond;
  });
  only(all, "loop-stall", Severity::kError);
  EXPECT_EQ(all[0].title, "loop \"main\" has been stalled for 1.2 s");
  EXPECT_NE(all[0].detail.find("\"query\" (io), for 1.19 s"), std::string::npos) << all[0].detail;
  EXPECT_EQ(all[0].since_ns, kNow - 1200 * kMillisecond);
}

TEST(LoopStall, SaysWhenTheProcessIsStopped) {
  RecordingSnapshot recording = healthy_recording();
  recording.loops[0].stalled_ns = kSecond;
  recording.loops[0].stalls = 1;
  const auto stopped =
      evaluate({.recording = recording, .open_fds = {}, .fd_limit = {}, .process_state = 'T'});
  EXPECT_NE(stopped.at(0).detail.find("stopped"), std::string::npos);
  const auto running =
      evaluate({.recording = recording, .open_fds = {}, .fd_limit = {}, .process_state = 'R'});
  EXPECT_EQ(running.at(0).detail.find("stopped"), std::string::npos);
}

TEST(LoopStall, IsSilentBelowTheThreshold) {
  EXPECT_TRUE(found([](LoopSnapshot& loop) {
                loop.busy.add(99 * kMillisecond);
                loop.recent.back().busy_ns = 99 * kMillisecond;
                loop.phase = recording::Phase::kDispatching;
                loop.phase_ns = 99 * kMillisecond;
              }).empty());
}

TEST(LoopStall, SurvivesAWatcherThatIsNotInTheTable) {
  const auto all = found([](LoopSnapshot& loop) {
    three_stalls(loop);
    loop.watchers.clear();
  });
  only(all, "loop-stall", Severity::kWarning);
}

// --- busy-spin -----------------------------------------------------------------------------------

/// A loop that has spun for 60 ms: 600 turns of 100 µs.
void spin(LoopSnapshot& loop) {
  Turn turn = spinning_turn();
  turn.poll_ns = 30 * kMicrosecond;
  turn.busy_ns = 70 * kMicrosecond;
  loop.recent = turns(600, turn);
}

/// 2048 turns of 1 µs: two milliseconds, as far as the recent turns show.
void fast_spin(LoopSnapshot& loop) { loop.recent = turns(2048, spinning_turn()); }

std::vector<Finding> found_with_window(const Change& change, LoopWindow window) {
  RecordingSnapshot recording = healthy_recording();
  change(recording.loops.front());
  const std::vector<std::optional<LoopWindow>> windows = {window};
  return evaluate({.recording = recording, .open_fds = {}, .fd_limit = {}, .windows = windows});
}

TEST(BusySpin, IsSeenInTheRecentTurns) {
  const auto all = found(spin);
  only(all, "busy-spin", Severity::kWarning);
  EXPECT_NE(all[0].title.find("100 % of its last 600 turns"), std::string::npos) << all[0].title;
  EXPECT_EQ(all[0].since_ns, kNow - 60 * kMillisecond);
}

TEST(BusySpin, NamesTheWatcherThatArmsItself) {
  const auto all = found([](LoopSnapshot& loop) {
    spin(loop);
    loop.watchers = {watcher("again", recording::WatcherKind::kIdle)};
    for (auto& turn : loop.recent) turn.watcher = 1;
  });
  only(all, "busy-spin", Severity::kWarning);
  EXPECT_NE(all[0].detail.find("\"again\" (idle)"), std::string::npos);
}

TEST(BusySpin, NeedsNinetyPerCent) {
  const auto with_events = [](std::uint64_t percent) {
    return [percent](LoopSnapshot& loop) {
      spin(loop);
      for (std::size_t i = 0; i < loop.recent.size(); ++i) {
        if (i % 100 < percent) loop.recent[i].ready = 1;
      }
    };
  };
  EXPECT_EQ(found(with_events(10)).size(), 1u);
  EXPECT_TRUE(found(with_events(11)).empty());
}

TEST(BusySpin, NeedsTwoHundredTurns) {
  const auto last = [](std::uint64_t count) {
    return [count](LoopSnapshot& loop) {
      Turn turn = spinning_turn();
      turn.busy_ns = kMillisecond - 1;
      loop.recent = turns(count, turn);
    };
  };
  EXPECT_EQ(found(last(200)).size(), 1u);
  EXPECT_TRUE(found(last(199)).empty());
}

TEST(BusySpin, IsSilentAboutABurst) {
  EXPECT_TRUE(found([](LoopSnapshot& loop) {  // 40 ms before a timer, then it waits again
                spin(loop);
                loop.recent = turns(400, loop.recent.front());
              })
                  .empty());
  EXPECT_TRUE(found(fast_spin).empty());
}

TEST(BusySpin, IsSilentOnceItIsOver) {
  EXPECT_EQ(found([](LoopSnapshot& loop) {
              loop.recent = turns(600, (spin(loop), loop.recent.front()), kNow - 2 * kSecond);
            }).size(),
            1u);
  EXPECT_TRUE(found([](LoopSnapshot& loop) {
                loop.recent = turns(600, (spin(loop), loop.recent.front()), kNow - 2 * kSecond - 1);
              }).empty());
}

TEST(BusySpin, IsSilentAboutWorkCutIntoPieces) {
  EXPECT_TRUE(found([](LoopSnapshot& loop) {  // an idle callback that computes 1 ms a turn
                Turn turn = spinning_turn();
                turn.busy_ns = kMillisecond;
                loop.recent = turns(600, turn);
              })
                  .empty());
}

TEST(BusySpin, IsSilentWhenTheLoopMostlyWaits) {
  EXPECT_TRUE(found([](LoopSnapshot& loop) {  // nine polls without waiting, then 100 ms of rest
                spin(loop);
                for (std::size_t i = 0; i < loop.recent.size(); i += 10) {
                  loop.recent[i] = healthy_turn();
                  loop.recent[i].poll_ns = 100 * kMillisecond;
                }
                std::uint64_t end = kNow;
                for (auto turn = loop.recent.rbegin(); turn != loop.recent.rend(); ++turn) {
                  turn->at_ns = end - turn->busy_ns;
                  end = turn->at_ns - turn->poll_ns;
                }
              })
                  .empty());
}

TEST(BusySpin, IsSilentWhereReadyEventsCannotBeSeen) {
  EXPECT_TRUE(found([](LoopSnapshot& loop) {
                spin(loop);
                for (auto& turn : loop.recent) turn.ready = recording::kReadyUnknown;
              }).empty());
}

TEST(BusySpin, IsSilentAboutALoopThatEnded) {
  EXPECT_TRUE(found([](LoopSnapshot& loop) {
                spin(loop);
                loop.ended = true;
              }).empty());
}

TEST(BusySpin, OfAMillionTurnsASecondIsSeenAgainstAnEarlierSnapshot) {
  // One second in which 950 000 turns of 1 µs went by.
  const auto all = found_with_window(fast_spin, {kSecond, 950'000, 950'000});
  only(all, "busy-spin", Severity::kWarning);
}

TEST(BusySpin, AgainstAnEarlierSnapshotNeedsHalfTheTime) {
  EXPECT_EQ(found_with_window(fast_spin, {kSecond, 500'000, 500'000}).size(), 1u);
  EXPECT_TRUE(found_with_window(fast_spin, {kSecond, 499'999, 499'999}).empty());
  // Enough time, but not most of the turns.
  EXPECT_TRUE(found_with_window(fast_spin, {kSecond, 900'000, 800'000}).empty());
  // 30 ms are too short to tell.
  EXPECT_TRUE(found_with_window(fast_spin, {30 * kMillisecond, 30'000, 30'000}).empty());
}

TEST(BusySpin, OfALoopThatNeverDidAnythingElseIsSeenInOneSnapshot) {
  const auto all = found([](LoopSnapshot& loop) {
    fast_spin(loop);
    loop.iterations = loop.nonblocking = 19'000'000;
  });
  only(all, "busy-spin", Severity::kWarning);
}

// --- fork-without-loop-fork ----------------------------------------------------------------------

TEST(ForkWithoutLoopFork, IsAnError) {
  const auto all = found([](LoopSnapshot& loop) { loop.used_after_fork = true; });
  only(all, "fork-without-loop-fork", Severity::kError);
  EXPECT_EQ(all[0].subject, "main");
}

TEST(ForkWithoutLoopFork, SaysWhatIsSharedByBackend) {
  const auto detail = [](const std::string& backend) {
    return found([&](LoopSnapshot& loop) {
             loop.used_after_fork = true;
             loop.backend = backend;
           })
        .at(0)
        .detail;
  };
  EXPECT_NE(detail("epoll").find("shares its epoll set"), std::string::npos);
  for (const char* backend : {"poll", "select"}) {
    EXPECT_EQ(detail(backend).find("epoll"), std::string::npos) << detail(backend);
    EXPECT_NE(detail(backend).find("signal"), std::string::npos) << detail(backend);
    EXPECT_NE(detail(backend).find("swallowed"), std::string::npos) << detail(backend);
  }
  EXPECT_NE(detail("linuxaio").find("what the linuxaio backend set up"), std::string::npos);
  EXPECT_NE(detail("").find("what the backend set up"), std::string::npos);
}

// --- backend-rebuilt -----------------------------------------------------------------------------

TEST(BackendRebuilt, SpeaksTheThirdTime) {
  only(found([](LoopSnapshot& loop) { loop.backend_rebuilds = 3; }), "backend-rebuilt",
       Severity::kWarning);
  EXPECT_TRUE(found([](LoopSnapshot& loop) { loop.backend_rebuilds = 2; }).empty());
}

// --- timer-lag -----------------------------------------------------------------------------------

Change lags(std::size_t count, std::uint64_t each_ns) {
  return [=](LoopSnapshot& loop) {
    loop.timer_lag = times(std::vector<std::uint64_t>(count, each_ns));
  };
}

TEST(TimerLag, SpeaksBeyondATenthOfASecond) {
  const auto all = found(lags(1000, 150 * kMillisecond));
  only(all, "timer-lag", Severity::kWarning);
  EXPECT_EQ(all[0].count, 1000u);
}

TEST(TimerLag, IsSilentAtTheThresholdAndWithTooFewSamples) {
  EXPECT_TRUE(found(lags(1000, 100 * kMillisecond)).empty());
  EXPECT_TRUE(found(lags(999, 10 * kSecond)).empty());
}

Change late_among_punctual(std::uint64_t late, std::uint64_t punctual) {
  return [=](LoopSnapshot& loop) {
    lags(punctual, kMillisecond)(loop);
    for (std::uint64_t i = 0; i < late; ++i) loop.timer_lag.add(300 * kMillisecond);
  };
}

TEST(TimerLag, IsSilentAboutOneHiccup) {
  // 50 timers fell due while one turn took its time; loop-stall tells of that.
  EXPECT_TRUE(found(late_among_punctual(50, 950)).empty());
}

TEST(TimerLag, NamesALoopThatIsLateMostOfTheTime) {
  const auto all = found(late_among_punctual(700, 300));
  only(all, "timer-lag", Severity::kWarning);
  EXPECT_NE(all[0].title.find("one in ten"), std::string::npos) << all[0].title;
}

TEST(TimerLag, NamesTheLatestTimer) {
  const auto all = found([](LoopSnapshot& loop) {
    lags(1000, 150 * kMillisecond)(loop);
    loop.watchers = {watcher("early", recording::WatcherKind::kTimer),
                     watcher("late", recording::WatcherKind::kTimer)};
    loop.watchers[0].lag = times({kMillisecond});
    loop.watchers[1].lag = times({150 * kMillisecond});
  });
  only(all, "timer-lag", Severity::kWarning);
  EXPECT_NE(all[0].detail.find("\"late\""), std::string::npos);
}

// --- fd-limit ------------------------------------------------------------------------------------

std::vector<Finding> found_open(std::optional<std::uint64_t> open,
                                std::optional<std::uint64_t> limit) {
  const RecordingSnapshot recording = healthy_recording();
  return evaluate({.recording = recording, .open_fds = open, .fd_limit = limit});
}

TEST(FdLimit, WarnsAtEightyAndFailsAtNinetyFivePerCent) {
  EXPECT_TRUE(found_open(799, 1000).empty());
  only(found_open(800, 1000), "fd-limit", Severity::kWarning);
  only(found_open(949, 1000), "fd-limit", Severity::kWarning);
  only(found_open(950, 1000), "fd-limit", Severity::kError);
  EXPECT_TRUE(found_open(51, 64).empty());  // 79.7 %
  only(found_open(52, 64), "fd-limit", Severity::kWarning);
  only(found_open(61, 64), "fd-limit", Severity::kError);  // 95.3 %
  EXPECT_EQ(found_open(950, 1000).front().title, "950 of 1000 descriptors are open (95 %)");
}

TEST(FdLimit, IsSilentWhereEitherIsUnknown) {
  EXPECT_TRUE(found_open(1000, std::nullopt).empty());
  EXPECT_TRUE(found_open(std::nullopt, 1000).empty());
  EXPECT_TRUE(found_open(5, 0).empty());
}

TEST(FdLimit, DoesNotOverflow) {
  EXPECT_TRUE(found_open(1'000'000, ~std::uint64_t{0}).empty());
  only(found_open(~std::uint64_t{0}, ~std::uint64_t{0}), "fd-limit", Severity::kError);
}

// --- batch-saturated -----------------------------------------------------------------------------

/// The largest batch held three events; `registered` descriptors are.
RecordingSnapshot saturated(std::uint64_t saturated, std::uint64_t iterations,
                            std::int32_t registered = 4) {
  RecordingSnapshot recording = healthy_recording();
  LoopSnapshot& loop = recording.loops.front();
  loop.saturated = saturated;
  loop.iterations = iterations;
  loop.ready.max = 3;
  recording.registered.clear();
  for (std::int32_t fd = 10; fd < 10 + registered; ++fd) {
    recording.registered.emplace_back(fd, loop.epoll_fd);
  }
  return recording;
}

TEST(BatchSaturated, NeedsTwentyAndOnePerCent) {
  only(found(saturated(20, 2000)), "batch-saturated", Severity::kInfo);
  EXPECT_TRUE(found(saturated(20, 2001)).empty());
  EXPECT_TRUE(found(saturated(19, 19)).empty());
}

TEST(BatchSaturated, IsSilentWhenNothingWasLeftBehind) {
  EXPECT_TRUE(found(saturated(50, 50, 3)).empty());
}

// --- records-dropped -----------------------------------------------------------------------------

TEST(RecordsDropped, SaysWhatAndHowMany) {
  RecordingSnapshot recording = healthy_recording();
  recording.dropped[static_cast<std::size_t>(recording::DropKind::kWatchers)] = 7;
  recording.dropped[static_cast<std::size_t>(recording::DropKind::kFds)] = 2;
  const auto all = found(recording);
  only(all, "records-dropped", Severity::kInfo);
  EXPECT_EQ(all[0].count, 9u);
  EXPECT_NE(all[0].title.find("7 watchers, 2 fds"), std::string::npos) << all[0].title;
}

// --- own-failures --------------------------------------------------------------------------------

TEST(OwnFailures, SayWhichCallWithWhatAndHowOften) {
  RecordingSnapshot recording = healthy_recording();
  recording.own_failures = {{recording::OwnCall::kMadvise, ENOSPC, 3, 0},
                            {recording::OwnCall::kOpen, EINTR, 0, 5},
                            {recording::OwnCall::kOther, 0, 1, 0}};
  const auto all = found(recording);
  only(all, "own-failures", Severity::kInfo);
  EXPECT_EQ(all[0].count, 4u);
  EXPECT_EQ(all[0].title,
            "system calls of loopscope's own failed: madvise ENOSPC 3 times, others once");
  EXPECT_NE(all[0].advice.find("LOOPSCOPE_DIR"), std::string::npos) << all[0].advice;
}

TEST(OwnFailures, AreSilentOfCallsThatWereMadeAgain) {
  RecordingSnapshot recording = healthy_recording();
  recording.own_failures = {{recording::OwnCall::kMadvise, EINTR, 0, 12}};
  EXPECT_TRUE(found(recording).empty());
}

TEST(OwnFailures, HaveWordsForEveryCallAndForNone) {
  std::set<std::string> names;
  for (std::uint32_t call = 1; call < static_cast<std::uint32_t>(recording::OwnCall::kCount);
       ++call) {
    names.insert(own_call_name(static_cast<recording::OwnCall>(call)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(recording::OwnCall::kCount) - 1);
  EXPECT_FALSE(names.contains("others"));
  EXPECT_STREQ(own_call_name(static_cast<recording::OwnCall>(4711)), "others");
  EXPECT_EQ(errno_name(ENOSPC), "ENOSPC");
  EXPECT_EQ(errno_name(4711), "errno 4711");
  EXPECT_EQ(errno_name(0), "");
}

// --- words ---------------------------------------------------------------------------------------

TEST(Text, DurationsHaveThreeDigits) {
  EXPECT_EQ(duration_text(0), "0 ns");
  EXPECT_EQ(duration_text(999), "999 ns");
  EXPECT_EQ(duration_text(35'000), "35 µs");
  EXPECT_EQ(duration_text(999'600), "1 ms");
  EXPECT_EQ(duration_text(212'345'678), "212 ms");
  EXPECT_EQ(duration_text(1'250'000'000), "1.25 s");
  EXPECT_EQ(duration_text(119 * kSecond), "119 s");
  EXPECT_EQ(duration_text(125 * kSecond), "2 min 5 s");
  EXPECT_EQ(duration_text(7500 * kSecond), "2 h 5 min");
}

TEST(Text, PercentIsRoundedDown) {
  EXPECT_EQ(percent_text(999, 1000), "99 %");
  EXPECT_EQ(percent_text(1000, 1000), "100 %");
  EXPECT_EQ(percent_text(1, 0), "0 %");
  EXPECT_EQ(percent_text(~0ull, 1), "1844674407370955161600 %");
}

TEST(Text, TimesAndWatchers) {
  EXPECT_EQ(times_text(1), "once");
  EXPECT_EQ(times_text(3), "3 times");
  LoopSnapshot loop = healthy_loop();
  EXPECT_EQ(loop_text(loop), "loop \"main\"");
  loop.name.clear();
  EXPECT_EQ(loop_text(loop), "loop 0");
  EXPECT_EQ(watcher_text(loop, 0), "");
  EXPECT_EQ(watcher_text(loop, 1), "");
  EXPECT_STREQ(watcher_kind_name(static_cast<recording::WatcherKind>(99)), "other");
  EXPECT_EQ(drop_kind_name(8), nullptr);
}

}  // namespace
}  // namespace loopscope::findings
