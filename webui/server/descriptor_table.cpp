// SPDX-License-Identifier: Apache-2.0
#include "webui/server/descriptor_table.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <utility>
#include <vector>

#include "instrumentation/process/descriptors.h"
#include "instrumentation/snapshot/json.h"
#include "webui/server/query.h"

namespace loopscope::webui {
namespace {

using Key = TableQuery::Key;
using snapshot::Descriptor;

constexpr std::pair<std::string_view, Key> kKeys[] = {
    {"fd", Key::kFd},         {"kind", Key::kKind},
    {"target", Key::kTarget}, {"age", Key::kAge},
    {"idle", Key::kIdle},     {"events", Key::kEvents},
    {"busy", Key::kBusy},     {"event_share", Key::kEventShare},
    {"site", Key::kSite},     {"io_calls", Key::kIoCalls}};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool contains(std::string_view text, std::string_view lower_case) {
  return std::search(text.begin(), text.end(), lower_case.begin(), lower_case.end(),
                     [](char a, char b) { return lower(a) == b; }) != text.end();
}

std::optional<process::DescriptorKind> kind_named(std::string_view name) {
  for (std::size_t i = 0; i < process::kDescriptorKinds; ++i) {
    const auto kind = static_cast<process::DescriptorKind>(i);
    if (process::descriptor_kind_name(kind) == name) return kind;
  }
  return std::nullopt;
}

bool matches(const Descriptor& row, const TableQuery& query) {
  const recording::FdRecord& fd = row.record;
  if (query.kind && fd.kind != *query.kind) return false;
  if (query.site && fd.site != *query.site) return false;
  if (query.epoll_fd && fd.registered_epoll_fd != *query.epoll_fd) return false;
  if (query.text.empty()) return true;
  std::array<char, 16> number{};
  const char* end = std::to_chars(number.data(), number.data() + number.size(), fd.fd).ptr;
  return contains({number.data(), static_cast<std::size_t>(end - number.data())}, query.text) ||
         contains(process::descriptor_kind_name(fd.kind), query.text) ||
         contains(fd.target, query.text) || contains(fd.local, query.text) ||
         contains(fd.peer, query.text);
}

/// What one row is sorted by.
struct Sorted {
  bool unknown = false;
  double number = 0;
  std::string_view text;
  const Descriptor* row = nullptr;
};

Sorted sorted_by(const Descriptor& row, Key key, bool ledger, std::uint64_t now) {
  const recording::FdRecord& fd = row.record;
  Sorted by;
  by.row = &row;
  const auto number = [&](bool known, auto value) {
    by.unknown = !known;
    if (known) by.number = static_cast<double>(value);
  };
  const auto since = [&](std::uint64_t then) {
    number(now != 0 && then != 0, now > then ? now - then : 0);
  };
  const bool seen = ledger && !row.unseen;
  switch (key) {
    case Key::kFd:
      break;  // by which equal ones are sorted
    case Key::kKind:
      by.text = process::descriptor_kind_name(fd.kind);
      break;
    case Key::kTarget:
      by.text = !fd.target.empty() ? fd.target : !fd.peer.empty() ? fd.peer : fd.local;
      by.unknown = by.text.empty();
      break;
    case Key::kAge:
      since(fd.opened_ns);
      break;
    case Key::kIdle:
      since(fd.activity_ns);
      break;
    case Key::kEvents:
      number(seen, fd.events);
      break;
    case Key::kEventShare:
      number(row.event_share.has_value(), row.event_share.value_or(0));
      break;
    case Key::kBusy:
      number(seen, fd.busy_ns);
      break;
    case Key::kIoCalls:
      number(seen, fd.io_calls);
      break;
    case Key::kSite:
      number(fd.site.has_value(), fd.site.value_or(0));
      break;
  }
  return by;
}

/// The rows that match: how many, and those of the page in order.
std::pair<std::size_t, std::vector<const Descriptor*>> page_of(const DescriptorTable& table,
                                                               const TableQuery& query) {
  std::vector<Sorted> rows;
  const recording::RecordingSnapshot& recording = table.process.recording;
  const bool ledger = table.process.fds.ledger.has_value();
  const std::uint64_t now =
      recording.life == recording::Life::kRunning ? recording.taken_ns : recording.ended_ns;
  if (table.process.descriptors) {
    rows.reserve(table.process.descriptors->size());
    for (const Descriptor& row : *table.process.descriptors) {
      if (matches(row, query)) rows.push_back(sorted_by(row, query.sort, ledger, now));
    }
  }

  const std::size_t begin = std::min(query.offset, rows.size());
  const std::size_t end = begin + std::min(query.limit, rows.size() - begin);
  const auto before = [&](const Sorted& a, const Sorted& b) {
    if (a.unknown != b.unknown) return b.unknown;
    const Sorted& less = query.descending ? b : a;
    const Sorted& more = query.descending ? a : b;
    if (less.number != more.number) return less.number < more.number;
    if (const int order = less.text.compare(more.text); order != 0) return order < 0;
    // All equal: rising, but for the order of the numbers themselves.
    if (query.sort == Key::kFd) return less.row->record.fd < more.row->record.fd;
    return a.row->record.fd < b.row->record.fd;
  };
  // Only what is on the page needs to be in order; the rest just before or after it.
  const auto at = [&](std::size_t index) {
    return rows.begin() + static_cast<std::ptrdiff_t>(index);
  };
  if (begin < end) {
    if (begin > 0) std::nth_element(rows.begin(), at(begin), rows.end(), before);
    std::partial_sort(at(begin), at(end), rows.end(), before);
  }
  std::vector<const Descriptor*> page;
  page.reserve(end - begin);
  for (std::size_t i = begin; i < end; ++i) page.push_back(rows[i].row);
  return {rows.size(), std::move(page)};
}

}  // namespace

TableQuery table_query(std::string_view query, std::string& error) {
  TableQuery asked;
  std::set<std::string_view> given;
  for_each_parameter(query, [&](std::string_view name, std::string_view coded) {
    if (name.empty()) return true;  // "&&"
    const auto wrong = [&](const std::string& text) {
      error = std::string(name) + text;
      return false;
    };
    if (!given.insert(name).second) return wrong(" is given twice");
    const std::optional<std::string> value = decoded(coded);
    if (!value) return wrong(" has a % without two hexadecimal digits after it: write %25");
    const auto number = [&](auto& to, const char* what) {
      return read_number(*value, to) || wrong(what);
    };
    if (name == "process") {
      asked.process = *value;
    } else if (name == "offset") {
      return number(asked.offset, " must be a number of rows: offset=0");
    } else if (name == "limit") {
      const std::string limits = " must be a number of rows, at most " +
                                 std::to_string(TableQuery::kMostRows) + ": limit=200";
      return number(asked.limit, limits.c_str()) &&
             (asked.limit <= TableQuery::kMostRows || wrong(limits));
    } else if (name == "sort") {
      const auto* found = std::find_if(std::begin(kKeys), std::end(kKeys),
                                       [&](const auto& key) { return key.first == *value; });
      if (found == std::end(kKeys)) {
        return wrong(
            " must be fd, kind, target, age, idle, events, event_share, busy, io_calls or site");
      }
      asked.sort = found->second;
    } else if (name == "order") {
      if (*value != "asc" && *value != "desc") return wrong(" must be asc or desc");
      asked.descending = *value == "desc";
    } else if (name == "q") {
      asked.text = *value;
      std::transform(asked.text.begin(), asked.text.end(), asked.text.begin(), lower);
    } else if (name == "kind") {
      asked.kind = kind_named(*value);
      if (!asked.kind) return wrong(" must be a kind of descriptor: tcp, pipe, file and so on");
    } else if (name == "site") {
      return number(asked.site.emplace(), " must be the id of an open site: site=3");
    } else if (name == "epoll_fd") {
      return number(asked.epoll_fd.emplace(), " must be the number of a descriptor: epoll_fd=5");
    } else {
      error = "there is no parameter \"" + std::string(name) +
              "\": process, offset, limit, sort, order, q, kind, site, epoll_fd";
      return false;
    }
    return true;
  });
  if (error.empty() && asked.process.empty()) {
    error = "process is wanted: the id that /api/v1/snapshot gives it, process=1234-987654";
  }
  return asked;
}

std::string table_json(const DescriptorTable& table, const TableQuery& query) {
  const auto [matched, page] = page_of(table, query);
  const snapshot::ProcessSnapshot& process = table.process;
  const std::optional<std::uint64_t>& open = process.fds.open;
  // Without a list at most their number is known.
  const std::size_t left_out = process.descriptors ? process.descriptors_left_out
                                                   : static_cast<std::size_t>(open.value_or(0));
  const std::size_t listed = process.descriptors ? process.descriptors->size() : 0;
  const bool known = process.descriptors || open;

  std::string out;
  out.reserve(256 + page.size() * 512);
  out += R"({"schema":"loopscope.descriptors/1","taken_at":)";
  out += snapshot::json_string(snapshot::rfc3339(table.taken_at_ns));
  out += ",\"process\":" + snapshot::json_string(process.id());
  out += ",\"total\":" + (known ? std::to_string(listed + left_out) : "null");
  out += ",\"matched\":" + std::to_string(matched);
  out += ",\"offset\":" + std::to_string(query.offset);
  out += ",\"rows\":[";
  for (const Descriptor* row : page) snapshot::append_descriptor(out, process, *row);
  out += "],\"left_out\":" + std::to_string(left_out) + "}";
  return out;
}

std::shared_ptr<const DescriptorTable> DescriptorTables::get(const std::string& process) {
  const std::optional<std::int32_t> pid = pid_of_id(process);
  if (!pid) return nullptr;
  const std::lock_guard lock(mutex_);  // who waits for the same table finds it when it is there
  const Clock::time_point began = Clock::now();
  let_go(began);
  if (const auto found = kept_.find(process); found != kept_.end()) return found->second.table;

  SnapshotRequest request;
  request.recent = 0;
  request.table = true;
  request.pid = pid;
  snapshot::HostSnapshot host = provider_(request);
  // Of two recordings of one process, the library's and the probe's, the one that knows more.
  snapshot::ProcessSnapshot* best = nullptr;
  for (snapshot::ProcessSnapshot& each : host.processes) {
    if (each.id() != process) continue;
    if (best == nullptr || (each.fds.ledger && !best->fds.ledger)) best = &each;
  }
  if (best == nullptr) return nullptr;
  const auto table =
      std::make_shared<const DescriptorTable>(DescriptorTable{host.taken_at_ns, std::move(*best)});
  const Clock::time_point now = Clock::now();
  if (kept_.size() >= kMostKept) {
    kept_.erase(std::min_element(kept_.begin(), kept_.end(), [](const auto& a, const auto& b) {
      return a.second.until < b.second.until;
    }));
  }
  kept_[process] = {table, now + std::max<Clock::duration>(kFresh, kShareOfTime * (now - began))};
  return table;
}

void DescriptorTables::let_go() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (lock) let_go(Clock::now());
}

void DescriptorTables::let_go(Clock::time_point now) {
  std::erase_if(kept_, [&](const auto& entry) { return entry.second.until <= now; });
}

}  // namespace loopscope::webui
