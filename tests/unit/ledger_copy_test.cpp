// SPDX-License-Identifier: Apache-2.0
//
// The reading side of the descriptor ledger, over recordings that are written by hand.
#include "instrumentation/recording/ledger_copy.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <random>
#include <thread>

#include "instrumentation/recording/directory.h"
#include "instrumentation/recording/paths.h"
#include "instrumentation/recording/reader.h"
#include "tests/unit/ledger_region.h"

namespace loopscope::recording {
namespace {

using fixtures::Born;
using fixtures::LedgerRegion;
using fixtures::RecordingPlace;
using testing::ElementsAre;

constexpr std::uint64_t kHour = 3'600'000'000'000;

class LedgerFile : public testing::Test {
 protected:
  Reader reader() {
    auto opened = Reader::open(ledger_.path());
    EXPECT_TRUE(opened) << opened.error().message;
    return *std::move(opened);
  }
  static RecordingSnapshot read(Reader& reader, bool details = true) {
    ReadOptions options;
    options.details = details;
    auto taken = reader.read(options);
    EXPECT_TRUE(taken) << taken.error().message;
    return taken ? *std::move(taken) : RecordingSnapshot{};
  }
  RecordingSnapshot read_once(bool details = true) {
    Reader fresh = reader();
    return read(fresh, details);
  }

  RecordingPlace place_;
  LedgerRegion ledger_{place_.path(), 4321};
};

void store_address(Text<32>& to, const void* address, std::size_t size) {
  std::memcpy(to.raw, address, size);
}

TEST_F(LedgerFile, TellsEveryDescriptorThatIsOpen) {
  const std::uint64_t before = realtime_ns();
  ledger_.open(3, {.kind = DescriptorKind::kTcp, .flags = kFdCloseOnExec | kFdListening});
  ledger_.open(4, {.kind = DescriptorKind::kPipe, .flags = kFdReadEnd});
  ledger_.open(5);
  ledger_.close(5);
  ledger_.open(700, {.kind = DescriptorKind::kFile,
                     .origin = FdOrigin::kInherited,
                     .flags = kFdNonBlocking,
                     .target = "/var/log/x"});
  ledger_.slot(3).registered_epoll_fd.store(9 + 1);
  ledger_.slot(3).registered_events.store(1);
  ledger_.slot(3).events.store(12);
  ledger_.slot(3).io_calls.store(34);
  ledger_.slot(3).busy_ns.store(56);
  ledger_.slot(3).activity_ns.store(monotonic_ns());
  ledger_.detail(4).pair_fd.store(8 + 1);
  ledger_.header().accepts.store(7);
  ledger_.header().bad_closes.store(2);
  ledger_.header().fd_lost.store(1);
  ledger_.header().fd_met.store(5);

  const RecordingSnapshot taken = read_once();
  EXPECT_EQ(taken.version, kVersion);
  EXPECT_EQ(taken.run_pid, 4321);
  EXPECT_EQ(taken.source, SourceKind::kProbe);
  EXPECT_EQ(taken.life, Life::kRunning);
  EXPECT_FALSE(taken.finished);
  ASSERT_TRUE(taken.ledger);
  const Ledger& ledger = *taken.ledger;
  EXPECT_EQ(ledger.open, 3u);
  EXPECT_EQ(ledger.peak, 3u);
  EXPECT_EQ(ledger.inherited, 1u);
  EXPECT_EQ(ledger.accepts, 7u);
  EXPECT_EQ(ledger.bad_closes, 2u);
  EXPECT_EQ(ledger.lost, 1u);
  EXPECT_EQ(ledger.met, 5u);
  EXPECT_EQ(ledger.opened[static_cast<std::size_t>(DescriptorKind::kTcp)], 1u);
  EXPECT_EQ(ledger.opened[static_cast<std::size_t>(DescriptorKind::kFile)], 1u);
  EXPECT_EQ(ledger.closed[static_cast<std::size_t>(DescriptorKind::kFile)], 1u);

  ASSERT_EQ(ledger.fds.size(), 3u);
  const FdRecord& tcp = ledger.fds[0];
  EXPECT_EQ(tcp.fd, 3);
  EXPECT_EQ(tcp.generation, 1u);
  EXPECT_EQ(tcp.kind, DescriptorKind::kTcp);
  EXPECT_EQ(tcp.origin, FdOrigin::kOpened);
  EXPECT_TRUE(tcp.close_on_exec && tcp.listening);
  EXPECT_FALSE(tcp.non_blocking || tcp.accepted || tcp.read_end || tcp.write_end);
  EXPECT_EQ(tcp.registered_epoll_fd, 9);
  EXPECT_EQ(tcp.events, 12u);
  EXPECT_EQ(tcp.io_calls, 34u);
  EXPECT_EQ(tcp.busy_ns, 56u);
  EXPECT_EQ(tcp.thread_id, 77);
  for (const std::uint64_t instant : {tcp.opened_ns, tcp.activity_ns}) {
    EXPECT_GE(instant + 1'000'000, before);
    EXPECT_LE(instant, realtime_ns() + 1'000'000);
  }
  EXPECT_EQ(ledger.fds[1].fd, 4);
  EXPECT_TRUE(ledger.fds[1].read_end);
  EXPECT_EQ(ledger.fds[1].pair_fd, 8);
  EXPECT_EQ(ledger.fds[1].activity_ns, 0u);
  EXPECT_EQ(ledger.fds[2].fd, 700);
  EXPECT_EQ(ledger.fds[2].origin, FdOrigin::kInherited);
  EXPECT_TRUE(ledger.fds[2].non_blocking);
  EXPECT_EQ(ledger.fds[2].target, "/var/log/x");
  EXPECT_FALSE(ledger.fds[2].site);
  EXPECT_THAT(taken.registered, ElementsAre(Registration(3, 9)));
}

TEST_F(LedgerFile, TextsComeOnlyIfAskedForAndAgesAlways) {
  for (int fd = 0; fd < 600; ++fd) ledger_.open(fd, {.target = "/x"});
  Reader again = reader();
  for (int round = 0; round < 2; ++round) {
    const RecordingSnapshot taken = read(again, false);
    ASSERT_EQ(taken.ledger->fds.size(), 600u);
    for (const FdRecord& fd : taken.ledger->fds) {
      EXPECT_EQ(fd.target, "");
      EXPECT_EQ(fd.thread_id, 77);
      EXPECT_NE(fd.opened_ns, 0u);
    }
  }
  EXPECT_EQ(read(again, true).ledger->fds[599].target, "/x");

  // A number that is given away again is another descriptor, and born later.
  const std::uint64_t first = read(again, false).ledger->fds[5].opened_ns;
  ledger_.close(5);
  ledger_.open(5, {.thread_id = 78});
  const RecordingSnapshot taken = read(again, false);
  EXPECT_EQ(taken.ledger->fds[5].thread_id, 78);
  EXPECT_GT(taken.ledger->fds[5].opened_ns + 1'000'000, first);
  EXPECT_EQ(taken.ledger->fds[5].generation, 3u);
}

TEST_F(LedgerFile, ADetailOfAnEarlierDescriptorIsNotTakenForThisOnes) {
  ledger_.open(3, {.target = "/old"});
  ledger_.close(3);
  ledger_.open(3, {.target = "/new"});
  ledger_.detail(3).generation.store(1);
  const FdRecord fd = read_once().ledger->fds.at(0);
  EXPECT_EQ(fd.target, "");
  EXPECT_EQ(fd.opened_ns, 0u);
  EXPECT_EQ(fd.thread_id, 0);
}

TEST_F(LedgerFile, SitesHaveTheirStacks) {
  const auto program = ledger_.module("/usr/bin/server", 0x5000, std::string("\x01\xff\x00z", 4));
  const auto site = ledger_.site(DescriptorKind::kTcp, {{0x5123, program}, {0xdead, 0}});
  ledger_.site(DescriptorKind::kFile, {});
  const auto unused = ledger_.site(DescriptorKind::kFile, {{1, 0}});
  ledger_.region().sites()[unused - 1].hash.store(0);
  ledger_.region().sites()[unused - 1].opened.store(99);
  ledger_.open(3, {.site = site});
  ledger_.open(4, {.site = site});
  ledger_.close(4);
  ledger_.region().sites()[site - 1].peak.store(2);

  const Ledger ledger = *read_once().ledger;
  ASSERT_EQ(ledger.sites.size(), 3u);
  const SiteRecord& record = ledger.sites[0];
  EXPECT_EQ(record.kind, DescriptorKind::kTcp);
  EXPECT_EQ(record.opened, 2u);
  EXPECT_EQ(record.closed, 1u);
  EXPECT_EQ(record.peak, 2u);
  EXPECT_GT(record.first_ns + kHour, realtime_ns());
  ASSERT_EQ(record.frames.size(), 2u);
  EXPECT_EQ(record.frames[0].address, 0x5123u);
  EXPECT_EQ(record.frames[0].module, 0u);
  EXPECT_EQ(record.frames[0].offset, 0x123u);
  EXPECT_FALSE(record.frames[1].module);
  EXPECT_EQ(record.frames[1].offset, 0u);
  EXPECT_TRUE(ledger.sites[1].frames.empty());
  EXPECT_EQ(ledger.sites[2].opened, 0u) << "being made: says nothing yet";
  ASSERT_EQ(ledger.modules.size(), 1u);
  EXPECT_EQ(ledger.modules[0].path, "/usr/bin/server");
  EXPECT_THAT(ledger.modules[0].build_id, ElementsAre(0x01, 0xff, 0x00, 'z'));
  EXPECT_EQ(ledger.fds.at(0).site, 0u);
}

TEST(AddressText, IsWhatOneWouldType) {
  sockaddr_in four{};
  four.sin_family = AF_INET;
  four.sin_port = htons(80);
  inet_pton(AF_INET, "127.0.0.1", &four.sin_addr);
  EXPECT_EQ(address_text(&four, sizeof four), "127.0.0.1:80");
  EXPECT_EQ(address_text(&four, sizeof four - 1), "");
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(443);
  inet_pton(AF_INET6, "::1", &six.sin6_addr);
  EXPECT_EQ(address_text(&six, sizeof six), "[::1]:443");
  inet_pton(AF_INET6, "fe80::1", &six.sin6_addr);
  six.sin6_scope_id = 2;
  EXPECT_EQ(address_text(&six, sizeof six), "[fe80::1%2]:443");
  sockaddr_un local{};
  local.sun_family = AF_UNIX;
  EXPECT_EQ(address_text(&local, sizeof local), "");
  EXPECT_EQ(address_text(&local, 1), "");
  EXPECT_EQ(address_text(nullptr, 0), "");
}

TEST_F(LedgerFile, AddressesAreReadable) {
  ledger_.open(3, {.kind = DescriptorKind::kTcp});
  sockaddr_in local{};
  local.sin_family = AF_INET;
  local.sin_port = htons(8080);
  store_address(ledger_.detail(3).local, &local, sizeof local);
  sockaddr_in6 peer{};
  peer.sin6_family = AF_INET6;
  peer.sin6_port = htons(1);
  store_address(ledger_.detail(3).peer, &peer, sizeof peer);
  const FdRecord fd = read_once().ledger->fds.at(0);
  EXPECT_EQ(fd.local, "0.0.0.0:8080");
  EXPECT_EQ(fd.peer, "[::]:1");
}

TEST_F(LedgerFile, GenerationsOfSomeNumbers) {
  ledger_.open(3);
  ledger_.open(4);
  ledger_.close(4);
  const Reader fresh = reader();
  EXPECT_THAT(fresh.generations({3, 4, 5, 255, 256, 100'000, -1, std::numeric_limits<int>::max()}),
              ElementsAre(1u, 2u, 0u, 0u, 0u, 0u, 0u, 0u));
}

TEST_F(LedgerFile, HowItEnded) {
  ledger_.open(3);
  Reader again = reader();
  ledger_.header().state.store(static_cast<std::uint32_t>(ProcessState::kExecuted));
  ledger_.header().ended_realtime_ns.store(123);
  EXPECT_EQ(read(again).life, Life::kExecuted);
  EXPECT_EQ(read(again).ended_ns, 123u);
  ledger_.header().exit_status.store(3);
  ledger_.header().exit_status_known.store(1);
  ledger_.header().state.store(static_cast<std::uint32_t>(ProcessState::kExited));
  RecordingSnapshot taken = read(again);
  EXPECT_EQ(taken.life, Life::kExited);
  EXPECT_EQ(taken.exit_status, 3);
  EXPECT_FALSE(taken.finished) << "it has said goodbye, but may still close something";
  ledger_.header().state.store(static_cast<std::uint32_t>(ProcessState::kRunning));
  EXPECT_EQ(read(again).life, Life::kRunning);

  // What it ran before an exec that nobody noted: the next image's recording is there.
  std::ofstream(next_image_path(ledger_.path())) << "x";
  taken = read(again);
  EXPECT_EQ(taken.life, Life::kExecuted);
  EXPECT_TRUE(taken.finished);
  std::filesystem::remove(next_image_path(ledger_.path()));

  // Of a process that is no more.
  ledger_.header().start_ticks = 1;
  taken = read_once();
  EXPECT_EQ(taken.life, Life::kKilled);
  EXPECT_TRUE(taken.finished);
  EXPECT_EQ(taken.ledger->fds.size(), 1u) << "what it had open can still be read";
}

TEST_F(LedgerFile, AbsurdNumbersAreCut) {
  const auto site = ledger_.site(DescriptorKind::kTcp, {{1, 9}, {2, 1}});
  ledger_.module("/x", 0, "id");
  ledger_.open(3, {.site = site});
  ledger_.open(4);
  ledger_.slot(3).facts.store(0xFFFFFFFF);
  ledger_.slot(3).registered_epoll_fd.store(std::numeric_limits<std::int32_t>::min());
  ledger_.slot(4).site.store(0xFFFFFFFF);
  ledger_.detail(3).pair_fd.store(std::numeric_limits<std::int32_t>::min());
  std::memset(ledger_.detail(3).target.raw, 'x', sizeof ledger_.detail(3).target.raw);
  std::memset(ledger_.detail(3).peer.raw, 0xFF, sizeof ledger_.detail(3).peer.raw);
  Site& broken = ledger_.region().sites()[0];
  broken.kind.store(0xFFFFFFFF);
  broken.frame_count.store(0xFFFFFFFF);
  broken.modules[0].store(0xFFFF);
  ledger_.region().modules()[0].build_id_bytes.store(0xFFFFFFFF);
  std::memset(ledger_.region().modules()[0].path.raw, 'y', 256);
  ledger_.header().site_count.store(0xFFFFFFFF);
  ledger_.header().module_count.store(0xFFFFFFFF);
  ledger_.header().fd_open.store(-5);
  ledger_.header().fd_peak.store(std::numeric_limits<std::int64_t>::min());
  ledger_.header().fd_opened[kKindSlots - 1].store(11);
  for (auto& word : ledger_.header().fd_chunks) word.store(~0ull);

  const Ledger ledger = *read_once().ledger;
  EXPECT_EQ(ledger.open, 0u);
  EXPECT_EQ(ledger.peak, 0u);
  EXPECT_EQ(ledger.opened[static_cast<std::size_t>(DescriptorKind::kOther)], 11u);
  ASSERT_EQ(ledger.fds.size(), 2u);
  EXPECT_EQ(ledger.fds[0].kind, DescriptorKind::kOther);
  EXPECT_EQ(ledger.fds[0].origin, FdOrigin::kUnknown);
  EXPECT_EQ(ledger.fds[0].registered_epoll_fd, -1);
  EXPECT_EQ(ledger.fds[0].pair_fd, -1);
  EXPECT_EQ(ledger.fds[0].target.size(), kTargetBytes);
  EXPECT_EQ(ledger.fds[0].peer, "");
  EXPECT_EQ(ledger.fds[0].site, 0u);
  EXPECT_FALSE(ledger.fds[1].site);
  EXPECT_EQ(ledger.sites.size(), kMaxSites);
  EXPECT_EQ(ledger.sites[0].frames.size(), kSiteFrames);
  EXPECT_EQ(ledger.sites[0].kind, DescriptorKind::kOther);
  EXPECT_FALSE(ledger.sites[0].frames[0].module);
  EXPECT_EQ(ledger.modules.size(), kMaxModules);
  EXPECT_EQ(ledger.modules[0].path.size(), 256u);
  EXPECT_EQ(ledger.modules[0].build_id.size(), 31u);
}

TEST_F(LedgerFile, PartsOutsideTheFileAreRefused) {
  const auto refused = [&](std::uint64_t Header::*member, std::uint64_t value) {
    const std::uint64_t good = ledger_.header().*member;
    ledger_.header().*member = value;
    const auto opened = Reader::open(ledger_.path());
    ledger_.header().*member = good;
    return !opened && opened.error().code == Error::Code::kFormat;
  };
  const std::uint64_t end = ledger_.header().file_bytes;
  for (const auto member :
       {&Header::details_offset, &Header::sites_offset, &Header::modules_offset}) {
    for (const std::uint64_t value : {end, end - 64, ~std::uint64_t{63}, std::uint64_t{4097}}) {
      EXPECT_TRUE(refused(member, value)) << value;
    }
  }
  EXPECT_TRUE(Reader::open(ledger_.path()));
}

// Overwrites words of the ledger's parts; the sanitizers watch.
TEST_F(LedgerFile, DamageNeverCrashesTheReader) {
  std::mt19937_64 random(7);
  const auto module = ledger_.module("/usr/bin/server", 0x5000, "0123456789");
  for (int i = 0; i < 20; ++i) ledger_.site(DescriptorKind::kTcp, {{0x5000, module}});
  for (int fd = 0; fd < 400; ++fd) ledger_.open(fd, {.site = 1u + fd % 20, .target = "/t"});
  Reader again = reader();
  int readable = 0;
  for (int round = 0; round < 300; ++round) {
    for (int damage = 0; damage < 20; ++damage) {
      std::uint64_t* word = nullptr;
      const std::uint64_t index = random();
      switch (random() % 5) {
        case 0:
          word = reinterpret_cast<std::uint64_t*>(&ledger_.slot(0)) + index % (400 * 8);
          break;
        case 1:
          word = reinterpret_cast<std::uint64_t*>(&ledger_.detail(0)) + index % (400 * 32);
          break;
        case 2:
          word = reinterpret_cast<std::uint64_t*>(ledger_.region().sites()) + index % (20 * 32);
          break;
        case 3:
          word = reinterpret_cast<std::uint64_t*>(ledger_.region().modules()) + index % 40;
          break;
        default:  // counters and chunk bits
          word = reinterpret_cast<std::uint64_t*>(&ledger_.header().loop_count) +
                 index % ((sizeof(Header) - offsetof(Header, loop_count)) / 8);
      }
      *word = random() % 4 == 0 ? ~0ull : random();
    }
    ledger_.header().loop_count.store(0);
    const auto taken = again.read({.details = round % 2 == 0});
    readable += taken ? 1 : 0;
  }
  EXPECT_EQ(readable, 300) << "it is all there, whatever it says";
}

// A thread opens and closes as fast as it can; whatever the reader is given belongs together.
TEST_F(LedgerFile, ADescriptorIsNeverMixedFromTwo) {
  constexpr int kNumbers = 40;
  const std::jthread writer([&](const std::stop_token& stop) {
    std::uint32_t round = 0;
    while (!stop.stop_requested()) {
      const int fd = static_cast<int>(++round % kNumbers);
      if ((ledger_.slot(fd).generation.load() & 1) != 0) {
        ledger_.close(fd);
        __atomic_thread_fence(__ATOMIC_RELEASE);
      } else {
        const auto generation = ledger_.slot(fd).generation.load() + 1;
        ledger_.open(fd, {.flags = generation << 16 & 0x3F0000,
                          .target = std::to_string(generation),
                          .thread_id = static_cast<std::int32_t>(generation)});
      }
    }
  });
  Reader again = reader();
  std::uint64_t checked = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
  for (int round = 0; std::chrono::steady_clock::now() < end || checked < 100; ++round) {
    const bool details = round % 2 == 0;
    const RecordingSnapshot taken = read(again, details);
    for (const FdRecord& fd : taken.ledger->fds) {
      ++checked;
      ASSERT_EQ(fd.thread_id, static_cast<std::int32_t>(fd.generation));
      ASSERT_EQ(fd.close_on_exec, (fd.generation & 1) != 0);
      ASSERT_EQ(fd.non_blocking, (fd.generation & 2) != 0);
      ASSERT_EQ(fd.listening, (fd.generation & 4) != 0);
      if (details) {
        ASSERT_EQ(fd.target, std::to_string(fd.generation));
      }
    }
  }
}

// Bounds are wide: what is measured is in the class comment.
TEST_F(LedgerFile, ManyDescriptorsAreReadAtOnce) {
  if (ledger_.header().fd_slots < 10'000) GTEST_SKIP() << "ulimit -Hn is below 10000";
  for (int fd = 0; fd < 10'000; ++fd) ledger_.open(fd, {.target = "/some/path"});
  Reader again = reader();
  for (const bool details : {false, true}) {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(read(again, details).ledger->fds.size(), 10'000u);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    RecordProperty(details ? "details_ms" : "plain_ms", std::to_string(took.count()));
    EXPECT_LT(took.count(), 300);
  }
}

// --- format 1 ---

class FormatOne : public testing::Test {
 protected:
  void SetUp() override {
    path_ = place_.path() + "/26955-1215453-0.loopscope";
    const std::string command = "xz -dc '" LOOPSCOPE_SAMPLES "/format-1.loopscope.xz' | dd of='" +
                                path_ + "' bs=64k conv=sparse status=none";
    ASSERT_EQ(std::system(command.c_str()), 0) << "needs xz (Debian: xz-utils)";
  }
  RecordingPlace place_;
  std::string path_;
};

TEST_F(FormatOne, IsStillRead) {
  auto reader = Reader::open(path_);
  ASSERT_TRUE(reader) << reader.error().message;
  const auto taken = reader->read();
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_EQ(taken->version, 1u);
  EXPECT_EQ(taken->source, SourceKind::kLibrary);
  EXPECT_EQ(taken->pid, 26955);
  EXPECT_EQ(taken->command, "existing");
  EXPECT_EQ(taken->life, Life::kKilled);
  EXPECT_EQ(taken->run_pid, 0);
  EXPECT_FALSE(taken->ledger);
  EXPECT_THAT(taken->registered, testing::Contains(testing::Pair(testing::_, 3)));
  ASSERT_EQ(taken->loops.size(), 1u);
  const LoopSnapshot& loop = taken->loops[0];
  EXPECT_EQ(loop.name, "existing");
  EXPECT_EQ(loop.iterations, 22u);
  EXPECT_EQ(loop.recent.size(), 22u);
  EXPECT_EQ(loop.epoll_fd, 3);
  ASSERT_EQ(loop.watchers.size(), 3u);
  EXPECT_EQ(loop.watchers[1].callback.count, 21u);
  for (const std::uint64_t dropped : taken->dropped) EXPECT_EQ(dropped, 0u);
}

TEST_F(FormatOne, DamagedNeverCrashesTheReader) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
    const std::uint64_t word = random() % 4 == 0 ? ~0ull : random();
    file.seekp(static_cast<std::streamoff>(16 + random() % 2600));
    file.write(reinterpret_cast<const char*>(&word),
               static_cast<std::streamsize>(1 + random() % 8));
    file.close();
    if (auto reader = Reader::open(path_)) (void)reader->read();
    if (round % 50 == 49) SetUp();
  }
}

}  // namespace
}  // namespace loopscope::recording
