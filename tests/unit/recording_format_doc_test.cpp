// SPDX-License-Identifier: Apache-2.0
//
// docs/recording-format.md against the structs themselves: every row of its tables, and no field
// without a row.
#include <gtest/gtest.h>

#include <cstddef>
#include <fstream>
#include <map>
#include <regex>
#include <string>
#include <tuple>
#include <vector>

#include "instrumentation/recording/layout.h"

namespace loopscope::recording {
namespace {

using Row = std::tuple<std::string, std::size_t, std::size_t>;  // field, offset, size

struct Table {
  std::size_t bytes = 0;
  std::vector<Row> rows;
};

/// The tables with columns offset and size, by the struct that their heading names.
std::map<std::string, Table> documented() {
  std::ifstream file(LOOPSCOPE_FORMAT_DOC);
  EXPECT_TRUE(file) << LOOPSCOPE_FORMAT_DOC;
  const std::regex heading(R"(## (\w+) \((\d+) bytes\))");
  const std::regex field(R"(\| (\d+) \| (\d+) \| `(\w+)` \|.*)");
  std::map<std::string, Table> tables;
  Table* table = nullptr;
  std::smatch match;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("## ")) table = nullptr;
    if (std::regex_match(line, match, heading)) {
      table = &tables[match[1]];
      table->bytes = std::stoul(match[2]);
    } else if (table != nullptr && std::regex_match(line, match, field)) {
      table->rows.emplace_back(match[3], std::stoul(match[1]), std::stoul(match[2]));
    }
  }
  return tables;
}

#define FIELD(type, name) Row(#name, offsetof(type, name), sizeof(type::name))

TEST(FormatDocument, TellsEveryFieldWhereItIs) {
  const auto tables = documented();
  const auto expect = [&](const char* name, std::size_t bytes, const std::vector<Row>& rows) {
    const auto found = tables.find(name);
    ASSERT_NE(found, tables.end()) << name;
    EXPECT_EQ(found->second.bytes, bytes) << name;
    EXPECT_EQ(found->second.rows, rows) << name;
  };
  expect("Header", sizeof(Header),
         {FIELD(Header, magic),
          FIELD(Header, version),
          FIELD(Header, header_bytes),
          FIELD(Header, file_bytes),
          FIELD(Header, source),
          FIELD(Header, pid),
          FIELD(Header, parent_pid),
          FIELD(Header, uid),
          FIELD(Header, start_ticks),
          FIELD(Header, started_monotonic_ns),
          FIELD(Header, started_realtime_ns),
          FIELD(Header, clock),
          FIELD(Header, state),
          FIELD(Header, exit_status),
          FIELD(Header, exit_status_known),
          FIELD(Header, ended_realtime_ns),
          FIELD(Header, exe_device),
          FIELD(Header, exe_inode),
          FIELD(Header, boot_id),
          FIELD(Header, command),
          FIELD(Header, argv_bytes),
          FIELD(Header, argv_truncated),
          FIELD(Header, argv),
          FIELD(Header, run_pid),
          FIELD(Header, has_ledger),
          FIELD(Header, lock),
          FIELD(Header, end_census),
          FIELD(Header, loops_offset),
          FIELD(Header, fds_offset),
          FIELD(Header, fd_slots),
          FIELD(Header, details_offset),
          FIELD(Header, sites_offset),
          FIELD(Header, modules_offset),
          FIELD(Header, incidents_offset),
          FIELD(Header, script_frames_offset),
          FIELD(Header, heap_offset),
          FIELD(Header, heap_used),
          FIELD(Header, loop_count),
          FIELD(Header, recording_failed),
          FIELD(Header, dropped),
          FIELD(Header, site_count),
          FIELD(Header, module_count),
          FIELD(Header, incident_count),
          FIELD(Header, script_frame_count),
          FIELD(Header, fd_open),
          FIELD(Header, fd_peak),
          FIELD(Header, fd_inherited),
          FIELD(Header, fd_met),
          FIELD(Header, fd_lost),
          FIELD(Header, bad_closes),
          FIELD(Header, accepts),
          FIELD(Header, fd_opened),
          FIELD(Header, fd_closed),
          FIELD(Header, reaped_count),
          FIELD(Header, reaped),
          FIELD(Header, fd_chunks),
          FIELD(Header, own_failures)});
  expect("OwnFailure", sizeof(OwnFailure),
         {FIELD(OwnFailure, what), FIELD(OwnFailure, retried), FIELD(OwnFailure, failed)});
  expect("LoopEntry", sizeof(LoopEntry),
         {FIELD(LoopEntry, block_offset), FIELD(LoopEntry, generation)});
  expect("FdSlot", sizeof(FdSlot),
         {FIELD(FdSlot, generation), FIELD(FdSlot, registered_epoll_fd),
          FIELD(FdSlot, registered_events), FIELD(FdSlot, facts), FIELD(FdSlot, registered_data),
          FIELD(FdSlot, events), FIELD(FdSlot, activity_ns), FIELD(FdSlot, busy_ns),
          FIELD(FdSlot, io_calls), FIELD(FdSlot, site), FIELD(FdSlot, turn),
          FIELD(FdSlot, turn_thread)});
  expect("FdDetail", sizeof(FdDetail),
         {FIELD(FdDetail, generation), FIELD(FdDetail, thread_id), FIELD(FdDetail, opened_ns),
          FIELD(FdDetail, pair_fd), FIELD(FdDetail, close_site), FIELD(FdDetail, closed_ns),
          FIELD(FdDetail, close_thread_id), FIELD(FdDetail, peer_closed_ms),
          FIELD(FdDetail, target), FIELD(FdDetail, local), FIELD(FdDetail, peer)});
  expect("Site", sizeof(Site),
         {FIELD(Site, hash), FIELD(Site, kind), FIELD(Site, frame_count), FIELD(Site, opened),
          FIELD(Site, closed), FIELD(Site, first_ns), FIELD(Site, last_ns), FIELD(Site, peak),
          FIELD(Site, reserved), FIELD(Site, frames), FIELD(Site, modules), FIELD(Site, role),
          FIELD(Site, script_count), FIELD(Site, scripts)});
  expect(
      "Module", sizeof(Module),
      {FIELD(Module, begin), FIELD(Module, end), FIELD(Module, bias), FIELD(Module, build_id_bytes),
       FIELD(Module, flags), FIELD(Module, build_id), FIELD(Module, path)});
  expect("ScriptFrameEntry", sizeof(ScriptFrameEntry),
         {FIELD(ScriptFrameEntry, hash), FIELD(ScriptFrameEntry, line),
          FIELD(ScriptFrameEntry, reserved), FIELD(ScriptFrameEntry, function),
          FIELD(ScriptFrameEntry, file)});
  expect("Incident", sizeof(Incident),
         {FIELD(Incident, hash), FIELD(Incident, kind), FIELD(Incident, descriptor_kind),
          FIELD(Incident, site), FIELD(Incident, close_site), FIELD(Incident, open_site),
          FIELD(Incident, thread_id), FIELD(Incident, count), FIELD(Incident, first_ns),
          FIELD(Incident, last_ns), FIELD(Incident, opened_ns), FIELD(Incident, closed_ns),
          FIELD(Incident, close_thread_id), FIELD(Incident, fd), FIELD(Incident, last_fd),
          FIELD(Incident, consecutive), FIELD(Incident, call)});
  expect("LoopWorst", sizeof(LoopWorst),
         {FIELD(LoopWorst, turn), FIELD(LoopWorst, at_ns), FIELD(LoopWorst, busy_ns),
          FIELD(LoopWorst, ready), FIELD(LoopWorst, watcher), FIELD(LoopWorst, watcher_ns),
          FIELD(LoopWorst, served_fd), FIELD(LoopWorst, served_generation),
          FIELD(LoopWorst, served_ns), FIELD(LoopWorst, served_site), FIELD(LoopWorst, lag_watcher),
          FIELD(LoopWorst, lag_ns), FIELD(LoopWorst, lag_at_ns)});
  // LoopHot, then the rest of the block it begins.
  expect("LoopBlock", sizeof(LoopBlock),
         {FIELD(LoopHot, sequence),
          FIELD(LoopHot, phase),
          FIELD(LoopHot, running_watcher),
          FIELD(LoopHot, phase_since_ns),
          FIELD(LoopHot, watcher_since_ns),
          FIELD(LoopHot, turns),
          FIELD(LoopHot, current_poll_ns),
          FIELD(LoopHot, current_timeout_ns),
          FIELD(LoopHot, current_ready),
          FIELD(LoopHot, current_result),
          FIELD(LoopHot, current_turn),
          FIELD(LoopHot, folded),
          FIELD(LoopHot, nonblocking),
          FIELD(LoopHot, timeouts),
          FIELD(LoopHot, interrupted),
          FIELD(LoopHot, errors),
          FIELD(LoopHot, saturated),
          FIELD(LoopHot, ready_unknown),
          FIELD(LoopHot, stalls),
          FIELD(LoopHot, spins),
          FIELD(LoopHot, backend_rebuilds),
          FIELD(LoopHot, outside_ns),
          FIELD(LoopHot, poll_wait),
          FIELD(LoopHot, busy),
          FIELD(LoopHot, ready),
          FIELD(LoopHot, poll_delay),
          FIELD(LoopHot, timer_lag),
          FIELD(LoopHot, served),
          FIELD(LoopBlock, name),
          FIELD(LoopBlock, backend),
          FIELD(LoopBlock, ended),
          FIELD(LoopBlock, thread_id),
          FIELD(LoopBlock, epoll_fd),
          FIELD(LoopBlock, used_after_fork),
          FIELD(LoopBlock, stall_threshold_ns),
          FIELD(LoopBlock, started_monotonic_ns),
          FIELD(LoopBlock, ring_turns),
          FIELD(LoopBlock, watcher_count),
          FIELD(LoopBlock, ring_offset),
          FIELD(LoopBlock, watcher_offsets),
          FIELD(LoopBlock, poll_wait_buckets),
          FIELD(LoopBlock, busy_buckets),
          FIELD(LoopBlock, poll_delay_buckets),
          FIELD(LoopBlock, timer_lag_buckets),
          FIELD(LoopBlock, ready_buckets),
          FIELD(LoopBlock, worst),
          FIELD(LoopBlock, served_kind),
          FIELD(LoopBlock, served_chunk_count),
          FIELD(LoopBlock, served_chunks)});
  expect("WatcherBlock", sizeof(WatcherBlock),
         {FIELD(WatcherBlock, sequence), FIELD(WatcherBlock, callback), FIELD(WatcherBlock, lag),
          FIELD(WatcherBlock, active), FIELD(WatcherBlock, fd), FIELD(WatcherBlock, name),
          FIELD(WatcherBlock, kind), FIELD(WatcherBlock, has_lag), FIELD(WatcherBlock, lag_offset),
          FIELD(WatcherBlock, callback_buckets)});
  EXPECT_EQ(kVersion, 3u) << "the document's title";
}

}  // namespace
}  // namespace loopscope::recording
