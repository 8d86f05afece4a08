// SPDX-License-Identifier: Apache-2.0
//
// The writing side of the ledger: sites by role, deaths with their places, incidents. What it wrote
// is read back by the reader.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "instrumentation/recording/ledger.h"
#include "instrumentation/recording/reader.h"

namespace loopscope::recording {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

/// One ledger a process: each test uses numbers of its own.
LedgerWriter& ledger() {
  static LedgerWriter* const made = [] {
    auto* writer = new LedgerWriter;
    writer->attach(ProcessRecorder::instance());
    return writer;
  }();
  return *made;
}

Ledger taken() {
  auto reader = read_own_process();
  EXPECT_TRUE(reader) << (reader ? "" : reader.error().message);
  ReadOptions options;
  options.details = true;
  auto snapshot = reader->read(options);
  EXPECT_TRUE(snapshot && snapshot->ledger);
  return *std::move(snapshot->ledger);
}

SiteRef open_site(std::uintptr_t frame) {
  return ledger().site(DescriptorKind::kFile, &frame, 1, monotonic_ns());
}
SiteRef call_site(std::uintptr_t frame) { return ledger().call_site(&frame, 1, monotonic_ns()); }

void open(int fd, SiteRef site = 0) {
  LedgerWriter::Birth birth;
  birth.kind = DescriptorKind::kFile;
  birth.site = site;
  birth.thread_id = 10;
  birth.now_ns = monotonic_ns();
  ledger().opened(fd, birth);
}
LedgerWriter::Death death(SiteRef site) { return {site, 20, monotonic_ns()}; }

Incident* mishap(IncidentKind kind, int fd, SiteRef site, std::uint32_t generation = 0) {
  LedgerWriter::Mishap one;
  one.kind = kind;
  one.fd = fd;
  one.site = site;
  one.thread_id = 30;
  one.now_ns = monotonic_ns();
  one.call = "close";
  one.generation = generation;
  return ledger().incident(one);
}

std::vector<IncidentRecord> incidents_at(SiteRef site) {
  std::vector<IncidentRecord> found;
  for (const IncidentRecord& one : taken().incidents) {
    if (one.site == site - 1) found.push_back(one);
  }
  return found;
}

TEST(LedgerWriter, APlaceThatOpensIsNotThePlaceThatCloses) {
  const SiteRef opens = open_site(0x1000);
  const SiteRef closes = call_site(0x1000);
  EXPECT_NE(opens, closes);
  EXPECT_EQ(closes, call_site(0x1000));
  EXPECT_EQ(opens, open_site(0x1000));
  const Ledger now = taken();
  EXPECT_EQ(now.sites[opens - 1].role, SiteRole::kOpen);
  EXPECT_EQ(now.sites[closes - 1].role, SiteRole::kCall);
  EXPECT_EQ(now.sites[closes - 1].opened, 0u);
  ASSERT_THAT(now.sites[closes - 1].frames, SizeIs(1));
}

TEST(LedgerWriter, ADoubleCloseIsToldWithAllItsPlaces) {
  const SiteRef opens = open_site(0x2000);
  const SiteRef first = call_site(0x2001);
  const SiteRef second = call_site(0x2002);
  const std::uint64_t before = realtime_ns();
  open(100, opens);
  EXPECT_TRUE(ledger().closed(100, death(first)));
  EXPECT_FALSE(ledger().closed(100, death(second)));
  mishap(IncidentKind::kDoubleClose, 100, second);
  const auto found = incidents_at(second);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].kind, IncidentKind::kDoubleClose);
  EXPECT_EQ(found[0].descriptor_kind, DescriptorKind::kFile);
  EXPECT_EQ(found[0].open_site, opens - 1);
  EXPECT_EQ(found[0].close_site, first - 1);
  EXPECT_EQ(found[0].close_thread_id, 20);
  EXPECT_EQ(found[0].thread_id, 30);
  EXPECT_EQ(found[0].call, "close");
  EXPECT_EQ(found[0].count, 1u);
  EXPECT_GE(found[0].opened_ns + 1'000'000, before);
  EXPECT_GE(found[0].closed_ns, found[0].opened_ns);
  EXPECT_GE(found[0].first_ns, found[0].closed_ns);
}

TEST(LedgerWriter, HealthyClosesAreNoIncidents) {
  const SiteRef closes = call_site(0x3001);
  for (int round = 0; round < 3; ++round) {
    open(110);
    EXPECT_TRUE(ledger().closed(110, death(closes)));
  }
  EXPECT_THAT(incidents_at(closes), IsEmpty());
  const Ledger now = taken();
  const auto found = std::find_if(now.closed_fds.begin(), now.closed_fds.end(),
                                  [](const ClosedFd& one) { return one.fd.fd == 110; });
  ASSERT_NE(found, now.closed_fds.end());
  EXPECT_EQ(found->close_site, closes - 1);
}

TEST(LedgerWriter, TheSameAgainIsCountedNotRepeated) {
  const SiteRef closes = call_site(0x4001);
  for (int fd = 120; fd < 130; ++fd) {
    LedgerWriter::Mishap one;
    one.kind = IncidentKind::kCloseNeverOpened;
    one.fd = fd;
    one.site = closes;
    one.now_ns = monotonic_ns();
    one.consecutive = fd != 120;
    ledger().incident(one);
  }
  const auto found = incidents_at(closes);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].count, 10u);
  EXPECT_EQ(found[0].consecutive, 9u);
  EXPECT_EQ(found[0].fd, 120);
  EXPECT_EQ(found[0].last_fd, 129);
  EXPECT_FALSE(found[0].open_site || found[0].close_site);
}

TEST(LedgerWriter, OtherPlacesAndKindsAreOthers) {
  const SiteRef closes = call_site(0x5001);
  open(130, open_site(0x5000));
  ledger().closed(130, death(call_site(0x5002)));
  open(131, open_site(0x5000));
  ledger().closed(131, death(call_site(0x5003)));
  mishap(IncidentKind::kDoubleClose, 130, closes);
  mishap(IncidentKind::kDoubleClose, 131, closes);
  mishap(IncidentKind::kUseAfterClose, 130, closes);
  EXPECT_THAT(incidents_at(closes), SizeIs(3));
}

TEST(LedgerWriter, WhatWasClosedOutOfSightHasNoPlace) {
  const SiteRef closes = call_site(0x6001);
  const std::uint64_t lost = taken().lost;
  open(140);
  ASSERT_TRUE(ledger().closed(140, death(closes)));
  ledger().was_closed_unseen(140);
  mishap(IncidentKind::kDoubleClose, 140, closes);
  const auto found = incidents_at(closes);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_FALSE(found[0].close_site);
  EXPECT_EQ(found[0].closed_ns, 0u);
  EXPECT_EQ(taken().lost, lost + 1);
}

// Events may come for a descriptor whose number has been given to another one.
TEST(LedgerWriter, AnEarlierDescriptorOfTheNumber) {
  const SiteRef closes = call_site(0x7001);
  const SiteRef waits = call_site(0x7002);
  open(150, open_site(0x7000));
  const std::uint32_t registered = ledger().slot(150)->generation.load();
  ledger().closed(150, death(closes));
  open(150, open_site(0x7003));
  mishap(IncidentKind::kEventAfterClose, 150, waits, registered);
  auto found = incidents_at(waits);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].close_site, closes - 1);
  EXPECT_FALSE(found[0].open_site) << "the later one's";
  // Once that one is closed too, the first close is not known any more.
  ledger().closed(150, death(call_site(0x7004)));
  mishap(IncidentKind::kEventAfterClose, 150, waits, registered);
  found = incidents_at(waits);
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_FALSE(found[1].close_site);
}

TEST(LedgerWriter, MetIsOpenedAndSaidSo) {
  ledger();  // else there is nothing to take yet
  const Ledger before = taken();
  LedgerWriter::Birth birth;
  birth.kind = DescriptorKind::kPipe;
  ledger().met(160, birth);
  const Ledger after = taken();
  EXPECT_EQ(after.met, before.met + 1);
  EXPECT_EQ(after.open, before.open + 1);
  for (const FdRecord& one : after.fds) {
    if (one.fd == 160) {
      EXPECT_EQ(one.origin, FdOrigin::kMet);
    }
  }
}

TEST(LedgerWriter, ThreadsThatFailTogetherAreAllCounted) {
  const SiteRef closes = call_site(0x8001);
  ASSERT_NE(mishap(IncidentKind::kUseNeverOpened, 170, closes), nullptr);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([closes] {
      for (int n = 0; n < 1000; ++n) mishap(IncidentKind::kUseNeverOpened, 170, closes);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto found = incidents_at(closes);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].count, 4001u);
}

// The last one: the table stays full.
TEST(LedgerWriter, AFullTableDropsAndCounts) {
  errno = EXDEV;
  std::uint32_t made = 0;
  for (std::uint32_t i = 0; i < kMaxIncidents + 10; ++i) {
    made += mishap(IncidentKind::kCloseNeverOpened, 5, call_site(0x100000 + i)) != nullptr;
  }
  EXPECT_EQ(errno, EXDEV);
  const Header& header = *ProcessRecorder::instance().region().header();
  EXPECT_LE(made, kMaxIncidents);
  EXPECT_EQ(header.incident_count.load(), kMaxIncidents);
  EXPECT_EQ(header.dropped[static_cast<std::size_t>(DropKind::kIncidents)].load(),
            kMaxIncidents + 10 - made);
  // Known ones are still counted.
  EXPECT_NE(mishap(IncidentKind::kCloseNeverOpened, 5, call_site(0x100000)), nullptr);
}

}  // namespace
}  // namespace loopscope::recording
