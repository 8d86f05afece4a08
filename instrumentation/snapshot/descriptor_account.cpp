// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/snapshot/descriptor_account.h"

#include <algorithm>
#include <array>
#include <utility>

#include "instrumentation/recording/clock.h"

namespace loopscope::snapshot {
namespace {

using process::DescriptorKind;
using process::kDescriptorKinds;
using recording::FdRecord;
using recording::Ledger;
using recording::Reader;
using recording::RecordingSnapshot;

/// A look at the kernel's table that took less than this is worth repeating as soon as the number
/// of open descriptors has changed: by_kind and open then agree.
constexpr std::uint64_t kCheapCensusNs = 2'000'000;
/// Such looks may take this share of the time.
constexpr std::uint64_t kCensusShare = 100;
/// Up to so many numbers are asked for one by one (about 1 µs each), which is exact at this moment;
/// beyond it, the last listing answers.
constexpr std::size_t kAskedOneByOne = 1024;
/// Differences that are followed up in one look; the rest waits for the next.
constexpr std::size_t kMostCandidates = 16384;
/// Descriptors the kernel is asked about (2 µs each) in one look, because the ledger does not know
/// what they are.
constexpr std::size_t kMostAsked = 4096;

using KindCounts = std::array<std::uint64_t, kDescriptorKinds>;

std::map<std::string, std::uint64_t> by_name(const std::uint64_t* counts) {
  std::map<std::string, std::uint64_t> named;
  for (std::size_t i = 0; i < kDescriptorKinds; ++i) {
    if (counts[i] == 0) continue;
    named.emplace(process::descriptor_kind_name(static_cast<DescriptorKind>(i)), counts[i]);
  }
  return named;
}

std::uint64_t sum(const std::uint64_t* counts) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < kDescriptorKinds; ++i) total += counts[i];
  return total;
}

const FdRecord* find(const Ledger& ledger, std::int32_t fd) {
  const auto found = std::lower_bound(
      ledger.fds.begin(), ledger.fds.end(), fd,
      [](const FdRecord& record, std::int32_t number) { return record.fd < number; });
  return found != ledger.fds.end() && found->fd == fd ? &*found : nullptr;
}

/// Whether the kernel's name for such a descriptor tells more than its kind does.
bool has_telling_target(DescriptorKind kind) {
  switch (kind) {
    case DescriptorKind::kFile:
    case DescriptorKind::kDirectory:
    case DescriptorKind::kDevice:
    case DescriptorKind::kTty:
    case DescriptorKind::kMemfd:
    case DescriptorKind::kPipe:
    case DescriptorKind::kUnix:
    case DescriptorKind::kSocket:
    case DescriptorKind::kOther:
      return true;
    default:
      return false;
  }
}

/// Waits of the loops on each epoll descriptor that returned events.
std::map<std::int32_t, std::uint64_t> wakeups(const RecordingSnapshot& recording) {
  std::map<std::int32_t, std::uint64_t> counts;
  for (const auto& loop : recording.loops) {
    if (loop.epoll_fd >= 0 && !loop.ended) counts[loop.epoll_fd] += poll_counts(loop).events;
  }
  return counts;
}

}  // namespace

bool DescriptorAccount::has_unsettled() const {
  return std::any_of(unseen_.begin(), unseen_.end(),
                     [](const auto& entry) { return !entry.second.confirmed; });
}

bool DescriptorAccount::look(const Reader& reader, const RecordingSnapshot& recording,
                             const CollectorTiming& timing) {
  first_look_ = looked_at_ns_ == 0;
  looked_ =
      recording.ledger ? reconcile(reader, recording, timing) : take_census(recording.pid, timing);
  if (looked_) peak_ = std::max(peak_, open_);
  return looked_;
}

bool DescriptorAccount::take_census(std::int32_t pid, const CollectorTiming& timing) {
  const auto open = process::open_descriptors(pid);
  if (!open) return false;
  const std::uint64_t now = recording::monotonic_ns();
  const std::uint64_t wait = std::max(timing.census_ns, cost_ns_ * kCensusShare);
  const bool due = looked_at_ns_ == 0 || now - looked_at_ns_ >= wait;
  const bool changed = census_.open != *open && cost_ns_ < kCheapCensusNs;
  open_ = *open;
  if (due || changed) {
    auto census = process::take_census(pid);
    if (!census) return false;
    census_ = *std::move(census);
    looked_at_ns_ = recording::monotonic_ns();
    cost_ns_ = looked_at_ns_ - now;
    open_ = census_.open;
  }
  limit_ = census_.limit;
  return true;
}

bool DescriptorAccount::reconcile(const Reader& reader, const RecordingSnapshot& recording,
                                  const CollectorTiming& timing) {
  const auto open = process::open_descriptors(recording.pid);
  if (!open) return false;
  open_ = *open;
  forget_changed(reader, recording);

  const std::uint64_t now = recording::monotonic_ns();
  const std::uint64_t accounted = recording.ledger->fds.size() - gone_.size() + unseen_.size();
  const std::uint64_t wait = std::max(timing.census_ns, cost_ns_ * kCensusShare);
  const bool due = looked_at_ns_ == 0 || now - looked_at_ns_ >= wait;
  const bool changed = accounted != open_ && cost_ns_ < kCheapCensusNs;
  if (due || changed) {
    const auto listed = process::list_open(recording.pid);
    if (!listed) return false;
    open_ = listed->open;
    looked_at_ns_ = recording::monotonic_ns();
    cost_ns_ = looked_at_ns_ - now;
    limit_ = process::descriptor_limit(recording.pid);
    if (listed->listed) compare(reader, recording, listed->numbers);
  }
  confirm(reader, recording.pid);
  ask_kinds(recording);
  return true;
}

/// Lets go of what the ledger has noted something about since.
void DescriptorAccount::forget_changed(const Reader& reader, const RecordingSnapshot& recording) {
  std::erase_if(gone_, [&](const auto& entry) {
    const FdRecord* record = find(*recording.ledger, entry.first);
    return record == nullptr || record->generation != entry.second;
  });
  if (unseen_.empty()) return;
  std::vector<std::int32_t> numbers;
  for (const auto& [number, unseen] : unseen_) numbers.push_back(number);
  const std::vector<std::uint32_t> generations = reader.generations(numbers);
  const bool one_by_one = numbers.size() <= kAskedOneByOne;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const bool same = i < generations.size() && generations[i] == unseen_[numbers[i]].generation &&
                      (!one_by_one || process::descriptor_is_open(recording.pid, numbers[i]));
    if (!same) unseen_.erase(numbers[i]);
  }
}

/// `open`: what the kernel listed after `recording` was read, rising.
void DescriptorAccount::compare(const Reader& reader, const RecordingSnapshot& recording,
                                const std::vector<std::int32_t>& open) {
  const std::int32_t pid = recording.pid;
  std::vector<std::int32_t> not_noted;
  std::vector<const FdRecord*> not_open;
  const auto& fds = recording.ledger->fds;
  std::size_t at = 0;
  for (const std::int32_t number : open) {
    for (; at < fds.size() && fds[at].fd < number; ++at) not_open.push_back(&fds[at]);
    const bool noted = at < fds.size() && fds[at].fd == number;
    if (noted && !gone_.contains(number)) {
      ++at;
      continue;
    }
    if (noted) ++at;
    if (!unseen_.contains(number)) not_noted.push_back(number);
  }
  for (; at < fds.size(); ++at) not_open.push_back(&fds[at]);

  std::erase_if(unseen_, [&](const auto& entry) {
    return !std::binary_search(open.begin(), open.end(), entry.first);
  });

  std::erase_if(not_open, [&](const FdRecord* record) { return gone_.contains(record->fd); });
  not_open.resize(std::min(not_open.size(), kMostCandidates));
  std::vector<const FdRecord*> closed;
  std::vector<std::int32_t> numbers;
  for (const FdRecord* record : not_open) {
    if (process::descriptor_is_open(pid, record->fd)) continue;
    closed.push_back(record);
    numbers.push_back(record->fd);
  }
  std::vector<std::uint32_t> generations = reader.generations(numbers);
  for (std::size_t i = 0; i < generations.size(); ++i) {
    if (generations[i] == closed[i]->generation) gone_[numbers[i]] = generations[i];
  }

  not_noted.resize(std::min(not_noted.size(), kMostCandidates));
  generations = reader.generations(not_noted);
  const std::uint64_t now = recording::monotonic_ns();
  for (std::size_t i = 0; i < generations.size(); ++i) {
    // An odd one was opened since; unless it is that of a number that was closed out of sight and
    // has been opened out of sight again.
    const auto gone = gone_.find(not_noted[i]);
    const bool reopened = gone != gone_.end() && gone->second == generations[i];
    if ((generations[i] & 1) != 0 && !reopened) continue;
    auto what = process::describe_descriptor(pid, not_noted[i]);
    if (what) unseen_[not_noted[i]] = {generations[i], now, false, *std::move(what)};
  }
}

void DescriptorAccount::confirm(const Reader& reader, std::int32_t pid) {
  const std::uint64_t now = recording::monotonic_ns();
  std::vector<std::int32_t> numbers;
  for (const auto& [number, unseen] : unseen_) {
    if (!unseen.confirmed && now - unseen.since_ns >= kSettleNs) numbers.push_back(number);
  }
  if (numbers.empty()) return;
  std::vector<std::optional<process::DescriptorTarget>> what;
  for (const std::int32_t number : numbers) {
    what.push_back(process::describe_descriptor(pid, number));
  }
  // After the kernel was asked: what was noted before that is seen here.
  const std::vector<std::uint32_t> generations = reader.generations(numbers);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    Unseen& unseen = unseen_[numbers[i]];
    if (i >= generations.size() || generations[i] != unseen.generation || !what[i]) {
      unseen_.erase(numbers[i]);
    } else {
      unseen.confirmed = true;
      unseen.what = *std::move(what[i]);
    }
  }
}

void DescriptorAccount::look_again(const Reader& reader, const RecordingSnapshot& recording) {
  first_look_ = false;
  if (looked_) confirm(reader, recording.pid);
}

bool DescriptorAccount::is_open(const FdRecord& fd) const {
  const auto gone = gone_.find(fd.fd);
  return gone == gone_.end() || gone->second != fd.generation;
}

const process::DescriptorTarget* DescriptorAccount::asked(const FdRecord& fd) const {
  const auto found = asked_.find(fd.fd);
  return found != asked_.end() && found->second.generation == fd.generation ? &found->second.what
                                                                            : nullptr;
}

bool DescriptorAccount::ask(std::int32_t pid, const FdRecord& fd) {
  auto what = process::describe_descriptor(pid, fd.fd);
  if (what) asked_[fd.fd] = {fd.generation, *std::move(what)};
  return what.has_value();
}

void DescriptorAccount::ask_kinds(const RecordingSnapshot& recording) {
  if (asked_.size() > 2 * recording.ledger->fds.size() + kMostAsked) asked_.clear();
  std::size_t questions = 0;
  for (const FdRecord& fd : recording.ledger->fds) {
    if (fd.kind != DescriptorKind::kOther || !is_open(fd) || asked(fd) != nullptr) continue;
    if (++questions > kMostAsked) break;
    ask(recording.pid, fd);
  }
}

DescriptorSummary DescriptorAccount::summary(const RecordingSnapshot& recording) const {
  DescriptorSummary fds;
  if (looked_) {
    fds.open = open_;
    fds.limit = limit_;
  }
  if (!recording.ledger) {
    if (looked_) fds.by_kind = by_name(census_.by_kind.data());
    return fds;
  }

  const Ledger& ledger = *recording.ledger;
  KindCounts kinds{};
  std::uint64_t counted = 0;
  for (const FdRecord& fd : ledger.fds) {
    if (!is_open(fd)) continue;
    const auto* told = fd.kind == DescriptorKind::kOther ? asked(fd) : nullptr;
    ++kinds[static_cast<std::size_t>(told != nullptr ? told->kind : fd.kind)];
    ++counted;
  }
  LedgerSummary& more = fds.ledger.emplace();
  for (const auto& [number, unseen] : unseen_) {
    ++kinds[static_cast<std::size_t>(unseen.what.kind)];
    if (unseen.confirmed) ++more.unseen;
  }
  fds.by_kind = by_name(kinds.data());
  if (!looked_) fds.open = counted;  // nobody else can tell
  fds.peak = std::max({ledger.peak, peak_, *fds.open});
  fds.opened = sum(ledger.opened);
  fds.closed = sum(ledger.closed);
  more.opened_by_kind = by_name(ledger.opened);
  more.closed_by_kind = by_name(ledger.closed);
  more.inherited = ledger.inherited;
  more.met = ledger.met;
  more.closed_unseen = ledger.lost + gone_.size();
  more.accepts = ledger.accepts;
  more.bad_closes = ledger.bad_closes;
  return fds;
}

std::vector<recording::Registration> DescriptorAccount::registered(
    const RecordingSnapshot& recording) const {
  std::vector<recording::Registration> open = recording.registered;
  if (recording.ledger) {
    std::erase_if(open, [&](const auto& entry) { return gone_.contains(entry.first); });
  } else if (census_.listed) {
    // Where the kernel does not let us see which are open, the registrations alone must do.
    const bool one_by_one = open.size() <= kAskedOneByOne;
    std::erase_if(open, [&](const auto& entry) {
      return one_by_one ? !process::descriptor_is_open(recording.pid, entry.first)
                        : !census_.contains(entry.first);
    });
  }
  return open;
}

void DescriptorAccount::list_by_kernel(ProcessSnapshot& process, std::size_t most) {
  const RecordingSnapshot& recording = process.recording;
  // The census may be old where there are many, see CollectorTiming.
  auto open = process::list_open(recording.pid);
  if (!open) return;
  std::vector<Descriptor>& listed = process.descriptors.emplace();
  if (!open->listed) {  // the kernel says how many, and not which
    process.descriptors_left_out = open->open;
    return;
  }
  std::vector<std::int32_t>& numbers = open->numbers;
  if (numbers.size() > most) {
    process.descriptors_left_out = numbers.size() - most;
    numbers.resize(most);
  }
  described_ = process::describe_descriptors(recording.pid, numbers, described_);
  listed.reserve(described_.size());
  for (const auto& [number, what] : described_) {
    Descriptor& one = listed.emplace_back();
    one.unseen = true;
    one.record.fd = number;
    one.record.kind = what.kind;
    one.record.target = what.target;
  }
  for (const auto& [number, epoll_fd] : recording.registered) {
    const auto found =
        std::lower_bound(listed.begin(), listed.end(), number,
                         [](const Descriptor& one, std::int32_t fd) { return one.record.fd < fd; });
    if (found != listed.end() && found->record.fd == number) {
      found->record.registered_epoll_fd = epoll_fd;
    }
  }
}

void DescriptorAccount::list(ProcessSnapshot& process, std::size_t most, bool ask_all) {
  const RecordingSnapshot& recording = process.recording;
  if (!recording.ledger) {
    if (looked_) list_by_kernel(process, ask_all ? most : std::min(most, kMostAsked));
    return;
  }

  std::vector<Descriptor>& listed = process.descriptors.emplace();
  listed.reserve(std::min(most, recording.ledger->fds.size() + unseen_.size()));
  const std::size_t most_questions = ask_all ? most : kMostAsked;
  std::size_t questions = 0;
  const auto waits = wakeups(recording);
  for (const FdRecord& fd : recording.ledger->fds) {
    if (!is_open(fd)) continue;
    if (listed.size() >= most) {
      ++process.descriptors_left_out;
      continue;
    }
    Descriptor& one = listed.emplace_back();
    one.record = fd;
    const bool vague =
        fd.kind == DescriptorKind::kOther || (fd.target.empty() && has_telling_target(fd.kind));
    if (vague && looked_ && asked(fd) == nullptr && questions < most_questions) {
      ++questions;
      ask(recording.pid, fd);
    }
    if (const auto* told = vague ? asked(fd) : nullptr) {
      if (fd.target.empty()) one.record.target = told->target;
      if (fd.kind == DescriptorKind::kOther) one.record.kind = told->kind;
    }
    const auto wait = waits.find(fd.registered_epoll_fd);
    if (fd.registered_epoll_fd >= 0 && wait != waits.end() && wait->second != 0) {
      one.event_share =
          std::min(1.0, static_cast<double>(fd.events) / static_cast<double>(wait->second));
    }
  }
  for (const auto& [number, unseen] : unseen_) {
    if (!unseen.confirmed) continue;
    Descriptor one;
    one.unseen = true;
    one.record.fd = number;
    one.record.generation = unseen.generation;
    one.record.kind = unseen.what.kind;
    one.record.target = unseen.what.target;
    listed.push_back(std::move(one));
  }
  std::sort(listed.begin(), listed.end(),
            [](const Descriptor& a, const Descriptor& b) { return a.record.fd < b.record.fd; });
}

}  // namespace loopscope::snapshot
