// SPDX-License-Identifier: Apache-2.0
//
// One descriptor number that is opened, used and closed again and again: a reader that finds its
// generation unchanged has one descriptor's values, and so has one who looks after the writer was
// killed.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

#include "instrumentation/recording/ledger.h"
#include "instrumentation/recording/ledger_copy.h"
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

constexpr int kFd = 70;  // alone in its chunk

/// Everything of a life of the number follows from its generation, which is odd.
LedgerWriter::Birth birth_of(std::uint32_t generation, std::string& target) {
  LedgerWriter::Birth birth;
  birth.kind = generation % 4 == 1 ? DescriptorKind::kTcp : DescriptorKind::kPipe;
  birth.origin = generation % 8 < 4 ? FdOrigin::kOpened : FdOrigin::kInherited;
  birth.flags = generation % 4 == 1 ? kFdCloseOnExec : kFdReadEnd;
  birth.thread_id = static_cast<std::int32_t>(1000 + generation);
  birth.now_ns = 1'000'000 + generation;
  birth.pair_fd = static_cast<int>(200 + generation);
  target = "life " + std::to_string(generation) + " of the number";
  birth.target = target.data();
  birth.target_size = target.size();
  return birth;
}

/// What a reader of life `generation` says that is not so; empty if it is right.
std::string wrong(const FdRecord& record) {
  std::string target;
  const LedgerWriter::Birth birth = birth_of(record.generation, target);
  const std::string life = " of life " + std::to_string(record.generation);
  if (record.kind != birth.kind) return "kind" + life;
  if (record.origin != birth.origin) return "origin" + life;
  if (record.close_on_exec != ((birth.flags & kFdCloseOnExec) != 0)) return "flags" + life;
  if (record.thread_id != birth.thread_id) return "thread" + life;
  if (record.opened_ns != birth.now_ns) return "opened" + life;
  if (record.pair_fd != birth.pair_fd) return "pair" + life;
  if (record.target != target) return "target" + life + ": " + record.target;
  if (record.events != 0 && record.events != record.generation * 1000u) return "events" + life;
  return "";
}

class LedgerScene {
 public:
  LedgerScene() {
    ProcessRecorder& process = ProcessRecorder::instance();
    model::believe_single_threaded(true);
    ledger_.attach(process);
    const Region& region = process.region();
    ledger_.slot_for_writing(kFd);
    slot_ = ledger_.slot(kFd);
    memory_.emplace(region.base, region.header()->heap_offset);
    bytes_ = bytes_of_memory(region.base, region.bytes);
    // A number that was used before, as most were.
    if (slot_->generation.load() == 0) live();
    std::memcpy(&header_, region.header(), sizeof header_);
  }

  void live() {
    std::string target;
    ledger_.opened(kFd, birth_of(slot_->generation.load() + 1, target));
    slot_->events.store(slot_->generation.load() * 1000u);
    LedgerWriter::Death death;
    death.now_ns = 2'000'000 + slot_->generation.load();
    ledger_.closed(kFd, death);
  }
  Program trace(int lives) {
    return memory_->trace([&] {
      for (int i = 0; i < lives; ++i) live();
    });
  }

  /// What a reader says that is not so.
  std::string look(std::uint64_t& seen) {
    LedgerCopier copier;
    Ledger ledger;
    std::vector<Registration> registered;
    if (!copier.copy(*bytes_, header_, header_, 0, true, ledger, registered)) {
      return "cannot be read";
    }
    for (const FdRecord& record : ledger.fds) {
      if (record.fd != kFd) continue;
      ++seen;
      if (const std::string what = wrong(record); !what.empty()) return what;
    }
    return "";
  }
  /// Likewise of one that is closed.
  std::string look_at_closed() {
    LedgerCopier copier;
    Ledger ledger;
    std::vector<Registration> registered;
    if (!copier.copy(*bytes_, header_, header_, 0, true, ledger, registered)) {
      return "cannot be read";
    }
    for (const ClosedFd& closed : ledger.closed_fds) {
      if (closed.fd.fd != kFd) continue;
      FdRecord record = closed.fd;
      --record.generation;
      if (closed.closed_ns != 2'000'000 + record.generation) return "closed_ns";
      // Not told of one that is closed.
      std::string target;
      record.pair_fd = birth_of(record.generation, target).pair_fd;
      if (const std::string what = wrong(record); !what.empty()) return what;
    }
    return "";
  }

  std::string every_copy(const Program& program, Tally& tally, std::uint64_t& seen,
                         int forgotten_fence = -1, bool at_once = true) {
    Execution execution(*memory_, program);
    execution.forget_fence(forgotten_fence);
    std::vector<const void*> words;
    for (std::size_t at = 0; at < sizeof(FdSlot); at += 8) {
      words.push_back(reinterpret_cast<const char*>(slot_) + at);
    }
    const FdDetail& detail = ledger_.detail(kFd);
    for (std::size_t at = 0; at < sizeof(FdDetail); at += 8) {
      words.push_back(reinterpret_cast<const char*>(&detail) + at);
    }
    execution.branch_only_at(words);
    const auto generation_of = [&](std::size_t store) {
      return static_cast<std::uint32_t>(execution.value_of(slot_, store));
    };
    std::string what;
    const std::size_t stores = execution.stores_to(slot_);
    for (std::size_t first = 0; first < stores && what.empty();) {
      std::size_t last = first;
      while (last + 1 < stores && generation_of(last + 1) == generation_of(first)) ++last;
      if (generation_of(first) % 2 == 0) {  // closed
        first = last + 1;
        continue;
      }
      execution.pin(slot_, first, last);
      if (!at_once) {
        // A copy of all numbers that finds this one changed, and then of this one alone.
        std::uint32_t changed = 0;
        while (changed < stores && generation_of(changed) == generation_of(0)) ++changed;
        if (changed > last) break;
        execution.refused_first({0, 0, changed});
      }
      tally += execution.explore(
          [&] {
            what = look(seen);
            return what.empty();
          },
          2'000'000);
      first = last + 1;
    }
    return what;
  }

  std::string every_death(const Program& program, std::uint64_t& deaths) {
    Execution execution(*memory_, program);
    for (std::size_t ops = 0; ops <= program.ops.size(); ++ops) {
      execution.show(ops);
      ++deaths;
      std::string what = look(deaths);
      if (what.empty()) what = look_at_closed();
      if (!what.empty()) return what + ", killed after step " + std::to_string(ops);
    }
    return "";
  }

  FdSlot* slot() { return slot_; }
  FdDetail& detail() { return ledger_.detail(kFd); }
  std::uint64_t place(const void* at) const { return memory_->place(at); }

 private:
  LedgerWriter ledger_;
  FdSlot* slot_ = nullptr;
  std::optional<Memory> memory_;
  std::unique_ptr<Bytes> bytes_;
  Header header_;
};

TEST(LedgerModel, OneDescriptorsValues) {
  LedgerScene scene;
  const Program program = scene.trace(2);
  Tally tally;
  std::uint64_t seen = 0;
  EXPECT_EQ(scene.every_copy(program, tally, seen), "") << "with all the others";
  EXPECT_GT(seen, 0u);
  EXPECT_EQ(scene.every_copy(program, tally, seen, -1, false), "") << "by itself";
  std::printf(
      "reliability: protocol-model-descriptor: %s copies of a number that is opened and closed "
      "meanwhile, %s stores that a copy could only be refused for; each one descriptor's\n",
      model::counted(tally.executions).c_str(), model::counted(tally.excluded).c_str());
}

TEST(LedgerModel, NotWithoutTheFencesOrOutOfOrder) {
  LedgerScene scene;
  const Program program = scene.trace(2);
  Tally tally;
  std::uint64_t seen = 0;
  const std::uint64_t generation = scene.place(&scene.slot()->generation);
  expect_caught(scene.every_copy(model::without_fences(program), tally, seen), "no fence");
  expect_caught(scene.every_copy(model::relaxed(program, generation, 4), tally, seen),
                "generation relaxed");
  // The reader's: before the slots; between slots and details the details' are in between as well,
  // so that one more is needed after them.
  expect_caught(scene.every_copy(program, tally, seen, 0), "reader without its first fence");
  expect_caught(scene.every_copy(program, tally, seen, 2), "reader without its third fence");
}

TEST(LedgerModel, AWriterKilledAnywhereLeavesOneDescriptorsValues) {
  LedgerScene scene;
  const Program program = scene.trace(3);
  std::uint64_t deaths = 0;
  EXPECT_EQ(scene.every_death(program, deaths), "");
  std::printf(
      "reliability: protocol-model-descriptor-killed: a ledger's writer killed at %s moments, "
      "each number one descriptor's\n",
      model::counted(deaths).c_str());
  const auto published =
      static_cast<std::size_t>(model::find_store(program, scene.place(&scene.slot()->generation)));
  expect_caught(scene.every_death(model::earlier(program, published, published - 3), deaths),
                "published before its target");
  const auto claimed =
      static_cast<std::size_t>(model::find_store(program, scene.place(&scene.detail().generation)));
  expect_caught(scene.every_death(model::later(program, claimed, claimed + 5), deaths),
                "the detail's generation after the slot");
}

// --- the table of sites ---

/// Two threads make a site each. The first has taken its place in the table and goes on when the
/// second is done: `site_count` is beyond both while one is in the making.
class SitesScene {
 public:
  SitesScene() {
    ProcessRecorder& process = ProcessRecorder::instance();
    model::believe_single_threaded(false);
    ledger_.attach(process);
    const Region& region = process.region();
    memory_.emplace(region.base, region.header()->heap_offset);
    bytes_ = bytes_of_memory(region.base, region.bytes);
    std::memcpy(&parts_, region.header(), sizeof parts_);
    std::memset(parts_.fd_chunks, 0, sizeof parts_.fd_chunks);  // no descriptors
    first_ = trace(kFrames[0]);
    const Program second = trace(kFrames[1]);
    program_ = second;
    program_.before.insert(first_.before.begin(), first_.before.end());
    const std::uint64_t count = memory_->place(&region.header()->site_count);
    program_.before[count / 8 * 8] = first_.before.at(count / 8 * 8);
    for (const Op& op : first_.ops) {
      if (op.place != count) program_.ops.push_back(op);
    }
  }

  const Program& program() const { return program_; }
  Site* sites() const { return ProcessRecorder::instance().region().sites(); }
  std::uint64_t place(const void* at) const { return memory_->place(at); }

  std::string every_copy(const Program& program, Tally& tally, std::uint64_t& whole,
                         int forgotten_fence = -1) {
    Execution execution(*memory_, program);
    execution.forget_fence(forgotten_fence);
    std::vector<const void*> words = {&ProcessRecorder::instance().region().header()->site_count};
    for (int i = 0; i < 2; ++i) {
      Site& site = sites()[i];
      words.insert(words.end(), {&site.hash, &site.frame_count, &site.frames[0]});
    }
    execution.branch_only_at(words);
    std::string what;
    tally += execution.explore([&] {
      LedgerCopier copier;
      Ledger ledger;
      std::vector<Registration> registered;
      if (!copier.copy(*bytes_, parts_, parts_, 0, false, ledger, registered)) {
        what = "cannot be read";
        return false;
      }
      for (std::size_t i = 0; i < ledger.sites.size(); ++i) {
        const SiteRecord& site = ledger.sites[i];
        if (site.frames.empty() && site.first_ns == 0) continue;  // in the making
        ++whole;
        if (site.frames.size() != 1 || site.frames[0].address != kFrames[i]) {
          what = "site " + std::to_string(i) + " is not whole";
        }
      }
      return what.empty();
    });
    return what;
  }

 private:
  /// No module has code there.
  static constexpr std::uintptr_t kFrames[2] = {0x1000, 0x3000};

  Program trace(std::uintptr_t frame) {
    return memory_->trace([&] { ledger_.site(DescriptorKind::kPipe, &frame, 1, 5); });
  }

  LedgerWriter ledger_;
  std::optional<Memory> memory_;
  std::unique_ptr<Bytes> bytes_;
  Header parts_;
  Program first_;
  Program program_;
};

TEST(LedgerModel, ASiteIsWholeOrInTheMaking) {
  SitesScene scene;
  Tally tally;
  std::uint64_t whole = 0;
  EXPECT_EQ(scene.every_copy(scene.program(), tally, whole), "");
  EXPECT_GT(whole, 0u);
  std::printf(
      "reliability: protocol-model-site: %s copies of a table in which two threads make sites, "
      "none torn\n",
      model::counted(tally.executions).c_str());
  const Program unreleased =
      model::relaxed(scene.program(), scene.place(scene.sites()), 2 * sizeof(Site));
  expect_caught(scene.every_copy(unreleased, tally, whole), "hashes relaxed");
  // Of the reader's fences those around the table are needed for this.
  std::string found;
  for (int fence = 0; fence < 10 && found.empty(); ++fence) {
    found = scene.every_copy(scene.program(), tally, whole, fence);
  }
  expect_caught(found, "reader without one of its fences");
}

}  // namespace
}  // namespace loopscope::recording
