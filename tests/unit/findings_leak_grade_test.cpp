// SPDX-License-Identifier: Apache-2.0
//
// The grades, one by one: what makes a leak of descriptors that were open at the end, and its twin
// that is none.
#include <gtest/gtest.h>

#include "instrumentation/findings/leak_grade.h"

namespace loopscope::findings {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

/// The program's own code opened one descriptor, used it for a while and never closed it.
SiteEvidence forgotten() {
  SiteEvidence evidence;
  evidence.opener = Opener::kProgram;
  evidence.ending = Ending::kExited;
  evidence.live = evidence.opened = 1;
  evidence.run_ns = 10 * kSecond;
  return evidence;
}

void expect(const SiteEvidence& evidence, Grade grade_wanted, Reason reason, std::uint64_t count) {
  const Verdict verdict = grade(evidence);
  EXPECT_EQ(verdict.grade, grade_wanted);
  EXPECT_EQ(verdict.reason, reason) << reason_text(verdict.reason);
  EXPECT_EQ(verdict.count, count);
}

TEST(LeakGrade, OwnCodeThatClosesNothing) {
  expect(forgotten(), Grade::kLeak, Reason::kNeverClosed, 1);
}

TEST(LeakGrade, OwnCodeThatClosesSome) {
  auto evidence = forgotten();
  evidence.opened = 100;
  evidence.closed = 98;
  evidence.live = 2;
  expect(evidence, Grade::kLeak, Reason::kNotAlwaysClosed, 2);
}

TEST(LeakGrade, WhatIsInServiceIsKept) {
  auto evidence = forgotten();
  evidence.in_service = 1;
  expect(evidence, Grade::kKept, Reason::kInService, 1);
}

TEST(LeakGrade, OnlyTheIdleOnesOfASiteAreLeaks) {
  auto evidence = forgotten();
  evidence.live = evidence.opened = 12;
  evidence.in_service = 9;
  expect(evidence, Grade::kLeak, Reason::kNeverClosed, 3);
}

TEST(LeakGrade, MoreInServiceThanLiveIsAllInService) {
  auto evidence = forgotten();
  evidence.in_service = 5;
  expect(evidence, Grade::kKept, Reason::kInService, 1);
}

TEST(LeakGrade, AThreadThatOpensAndClosesInTurnIsCaughtInBetween) {
  auto evidence = forgotten();
  evidence.live = 2;
  evidence.in_hand = 2;
  evidence.closed = 2 * kHabit;
  evidence.opened = evidence.closed + evidence.live;
  expect(evidence, Grade::kKept, Reason::kInHand, 2);
  evidence.live = 3;
  expect(evidence, Grade::kLeak, Reason::kNotAlwaysClosed, 1);
  evidence.live = 2;
  evidence.closed = 2 * kHabit - 1;
  expect(evidence, Grade::kLeak, Reason::kNotAlwaysClosed, 2);
  evidence.closed = 0;
  expect(evidence, Grade::kLeak, Reason::kNeverClosed, 2);
}

TEST(LeakGrade, ALibraryMayKeepTwo) {
  auto evidence = forgotten();
  evidence.opener = Opener::kLibrary;
  evidence.live = evidence.opened = kRepeatedCalls - 1;
  expect(evidence, Grade::kKept, Reason::kLibraryOnce, kRepeatedCalls - 1);
  evidence.live = evidence.opened = kRepeatedCalls;
  expect(evidence, Grade::kLeak, Reason::kRepeated, kRepeatedCalls);
}

TEST(LeakGrade, APairIsOneCall) {
  auto evidence = forgotten();
  evidence.opener = Opener::kLibrary;
  evidence.per_call = 2;
  evidence.live = evidence.opened = 2 * (kRepeatedCalls - 1);
  expect(evidence, Grade::kKept, Reason::kLibraryOnce, evidence.live);
  evidence.live = evidence.opened = 2 * kRepeatedCalls;
  expect(evidence, Grade::kLeak, Reason::kRepeated, evidence.live);
}

TEST(LeakGrade, RuntimesKeepWhatTheyKeep) {
  auto evidence = forgotten();
  evidence.opener = Opener::kSystem;
  evidence.live = evidence.opened = kGrowthLive - 1;
  expect(evidence, Grade::kKept, Reason::kRuntime, kGrowthLive - 1);
}

TEST(LeakGrade, GrowthIsALeakWhoeverOpens) {
  for (const Opener opener : {Opener::kProgram, Opener::kLibrary, Opener::kSystem}) {
    for (const Ending ending : {Ending::kExited, Ending::kKilled, Ending::kRunning}) {
      auto evidence = forgotten();
      evidence.opener = opener;
      evidence.ending = ending;
      evidence.live = evidence.opened = kGrowthLive;
      evidence.births_ns = evidence.run_ns / 2;
      expect(evidence, Grade::kLeak, Reason::kGrows, kGrowthLive);
    }
  }
}

TEST(LeakGrade, APoolThatIsFilledAtTheStartDoesNotGrow) {
  auto evidence = forgotten();
  evidence.opener = Opener::kSystem;
  evidence.live = evidence.opened = 10 * kGrowthLive;
  evidence.births_ns = evidence.run_ns / 2 - 1;
  expect(evidence, Grade::kKept, Reason::kRuntime, 10 * kGrowthLive);
}

TEST(LeakGrade, WhatIsClosedNowAndThenDoesNotGrow) {
  auto evidence = forgotten();
  evidence.ending = Ending::kRunning;
  evidence.live = 10 * kGrowthLive;
  evidence.opened = evidence.live + 1;
  evidence.closed = 1;
  evidence.births_ns = evidence.run_ns;
  expect(evidence, Grade::kKept, Reason::kStillRunning, evidence.live);
}

TEST(LeakGrade, AShortRunHasNoGrowth) {
  auto evidence = forgotten();
  evidence.opener = Opener::kSystem;
  evidence.run_ns = kGrowthRunNs - 1;
  evidence.births_ns = evidence.run_ns;
  evidence.live = evidence.opened = 10 * kGrowthLive;
  expect(evidence, Grade::kKept, Reason::kRuntime, 10 * kGrowthLive);
}

TEST(LeakGrade, AKilledProcessCouldNotCloseAnything) {
  auto evidence = forgotten();
  evidence.ending = Ending::kKilled;
  evidence.live = evidence.opened = kManyCalls - 1;
  expect(evidence, Grade::kKept, Reason::kKilledFirst, kManyCalls - 1);
}

TEST(LeakGrade, SeveralIdleOnesAtAKillAreALeak) {
  auto evidence = forgotten();
  evidence.ending = Ending::kKilled;
  evidence.live = evidence.opened = kManyCalls;
  expect(evidence, Grade::kLeak, Reason::kManyAtKill, kManyCalls);
  // Unless the program closes some, or serves some.
  evidence.opened = kManyCalls + 1;
  evidence.closed = 1;
  expect(evidence, Grade::kKept, Reason::kKilledFirst, kManyCalls);
  evidence.closed = 0;
  evidence.live = kManyCalls + 1;
  evidence.in_service = 1;
  expect(evidence, Grade::kKept, Reason::kKilledFirst, kManyCalls + 1);
}

TEST(LeakGrade, ARunningProcessIsNotJudgedByWhatIsOpen) {
  auto evidence = forgotten();
  evidence.ending = Ending::kRunning;
  evidence.live = evidence.opened = 10;
  expect(evidence, Grade::kKept, Reason::kStillRunning, 10);
}

TEST(LeakGrade, ExecPassesThemOn) {
  auto evidence = forgotten();
  evidence.ending = Ending::kExec;
  expect(evidence, Grade::kKept, Reason::kByExec, 1);
}

TEST(LeakGrade, WhatTheNextProgramNeverTouchedIsLost) {
  auto evidence = forgotten();
  evidence.lost_by_exec = true;
  expect(evidence, Grade::kLeak, Reason::kLostByExec, 1);
  evidence.opener = Opener::kSystem;  // a shell: `exec 3>log program`
  expect(evidence, Grade::kKept, Reason::kRuntime, 1);
}

TEST(LeakGrade, NobodyIsBlamedForWhatWasNotSeen) {
  auto evidence = forgotten();
  evidence.opener = Opener::kUnknown;
  evidence.live = evidence.opened = 1000;
  evidence.births_ns = evidence.run_ns;
  expect(evidence, Grade::kKept, Reason::kNotSeen, 1000);
}

TEST(LeakGrade, EveryReasonHasWords) {
  for (int reason = 0; reason <= static_cast<int>(Reason::kNotSeen); ++reason) {
    EXPECT_STRNE(reason_text(static_cast<Reason>(reason)), "") << reason;
  }
}

TEST(InUseOverTime, ALogFileIsAndAConfigurationIsNot) {
  EXPECT_TRUE(in_use_over_time(8, kSecond, 10 * kSecond));
  EXPECT_FALSE(in_use_over_time(7, kSecond, 10 * kSecond)) << "read once, at the start";
  EXPECT_FALSE(in_use_over_time(1000, kSecond + 1, 10 * kSecond)) << "no longer used";
  EXPECT_FALSE(in_use_over_time(1000, 0, kSecond - 1)) << "in a short run all is used lately";
}

}  // namespace
}  // namespace loopscope::findings
