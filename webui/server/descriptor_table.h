// SPDX-License-Identifier: Apache-2.0
//
// /api/v1/descriptors: the descriptors of one process, sorted, filtered and cut into pages here, so
// that a page can show 100 000 of them by asking for what is in sight.
//
//   DescriptorTables ──► DescriptorTable, taken at one instant ──► TableQuery ──► one page as JSON
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "instrumentation/snapshot/host_snapshot.h"
#include "webui/server/stream_hub.h"

namespace loopscope::webui {

/// What is asked of a table. Rows whose value is not known come last, whatever the order; equal
/// ones are in the order of their numbers: so pages neither overlap nor miss one.
struct TableQuery {
  enum class Key {
    kFd,
    kKind,
    kTarget,  // without one, the peer, then the local address
    kAge,
    kIdle,
    kEvents,
    kEventShare,
    kBusy,
    kIoCalls,
    kSite
  };
  static constexpr std::size_t kMostRows = 10'000;

  std::string process;  // its id
  std::size_t offset = 0;
  std::size_t limit = 200;
  Key sort = Key::kFd;
  bool descending = false;
  // Only rows that are all of this:
  std::string text;  // in lower case: what number, kind, target, local or peer address contain
  std::optional<process::DescriptorKind> kind;
  std::optional<std::size_t> site;
  std::optional<std::int32_t> epoll_fd;  // they are registered in
};

/// `error` says what is wrong with it, and which parameter it is.
TableQuery table_query(std::string_view query, std::string& error);

/// The descriptors of a process at one instant.
struct DescriptorTable {
  std::uint64_t taken_at_ns = 0;  // CLOCK_REALTIME
  /// Without `descriptors`: how many there are may be known, and not which.
  snapshot::ProcessSnapshot process;
};

/// The answer, schema "loopscope.descriptors/1". Cost: 0.1 µs a descriptor of the table, 0.5 µs
/// one of the page.
std::string table_json(const DescriptorTable& table, const TableQuery& query);

/// Takes tables and keeps them for a moment: many pages ask twice a second, and one that is
/// scrolled through asks ten times.
///
/// Thread-safety: any method from any thread; one table is taken at a time. Memory: 350 bytes a
/// descriptor, at most kMostKept tables, until let_go().
class DescriptorTables {
 public:
  /// How long a table is given out. Longer where taking one is dear: at most a tenth of the time is
  /// spent on it.
  static constexpr std::chrono::milliseconds kFresh{250};
  static constexpr unsigned kShareOfTime = 10;
  static constexpr std::size_t kMostKept = 4;

  explicit DescriptorTables(SnapshotProvider provider) : provider_(std::move(provider)) {}

  /// Null: there is no process of this id.
  std::shared_ptr<const DescriptorTable> get(const std::string& process);

  /// Forgets what is too old to be given out. To be called now and then; never waits.
  void let_go();

 private:
  using Clock = std::chrono::steady_clock;
  struct Kept {
    std::shared_ptr<const DescriptorTable> table;
    Clock::time_point until;
  };
  void let_go(Clock::time_point now);

  const SnapshotProvider provider_;
  std::mutex mutex_;
  std::map<std::string, Kept> kept_;  // by process
};

}  // namespace loopscope::webui
