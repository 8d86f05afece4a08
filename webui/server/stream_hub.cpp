// SPDX-License-Identifier: Apache-2.0
#include "webui/server/stream_hub.h"

#include <pthread.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "instrumentation/snapshot/json.h"
#include "webui/server/failures.h"

namespace loopscope::webui {
namespace {

/// Turns a loop in one event: 1280 a second, drawn one by one. Of a faster loop the telling ones
/// are chosen, see choose().
constexpr std::size_t kTurnsPerLoop = 512;
/// Turns in one event over all loops, about 200 bytes each: a host with many loops must not turn
/// every event into megabytes.
constexpr std::size_t kTurnsPerEvent = 8192;
constexpr std::size_t kLeastTurnsPerLoop = 32;
/// Turns that are kept whatever else there is: those that stalled the loop, and the longest others.
constexpr std::size_t kStalledTurns = 64;
constexpr std::size_t kLongestTurns = 16;
/// What was served goes with turns that stalled the loop and the longest others, as far as so many
/// records in one event go, about 100 bytes each, over all loops: the longest turns first.
constexpr std::size_t kServedPerEvent = 8192;
constexpr std::size_t kLeastServedPerLoop = 128;
/// Turns to choose from over all loops (80 bytes each, in memory only): the whole ring of 64 loops.
constexpr std::size_t kTurnsHeld = 64 * std::size_t{recording::kDefaultRingTurns};
constexpr std::size_t kLeastTurnsHeld = 1024;

/// Open sites in one event: a stack is a few KB. The snapshot has more.
constexpr snapshot::JsonOptions kEventJson{.sites = 20, .sites_of_ended = 3};

std::shared_ptr<const std::string> event_of(const snapshot::HostSnapshot& host) {
  std::string json =
      snapshot::to_json(host, kEventJson);  // one line: no newline could end the event early
  std::string event;
  event.reserve(json.size() + 32);
  event += "event: snapshot\ndata: ";
  event += json;
  event += "\n\n";
  return std::make_shared<const std::string>(std::move(event));
}

std::size_t count_loops(const snapshot::HostSnapshot& host) {
  std::size_t loops = 0;
  for (const auto& process : host.processes) loops += process.recording.loops.size();
  return loops;
}

/// How many turns of each loop to take, when `last` is what was there a moment ago.
std::size_t turns_held(const snapshot::HostSnapshot* last) {
  const std::size_t loops = last != nullptr ? count_loops(*last) + 1 : 1;
  return std::max(kTurnsHeld / loops, kLeastTurnsHeld);
}

/// How many of them to give to a client, apart from stalled ones.
std::size_t turns_given(const snapshot::HostSnapshot& host) {
  return std::clamp(kTurnsPerEvent / std::max<std::size_t>(count_loops(host), 1),
                    kLeastTurnsPerLoop, kTurnsPerLoop);
}

/// Leaves about `limit` of the turns (oldest first, and so they stay): those that stalled the loop,
/// as far as kStalledTurns go, the longest others, and the newest, which have half of the room at
/// least. A list of the newest alone would miss what one watches a loop for.
void choose(std::vector<recording::Turn>& turns, std::uint64_t stall_threshold_ns,
            std::size_t limit) {
  if (turns.size() <= limit) return;
  using Index = std::uint32_t;
  std::vector<Index> stalled, others;
  for (Index i = 0; i < turns.size(); ++i) {
    const bool stall = stall_threshold_ns != 0 && turns[i].busy_ns >= stall_threshold_ns;
    (stall ? stalled : others).push_back(i);
  }
  const auto keep_longest = [&](std::vector<Index>& some, std::size_t most) {
    if (some.size() <= most) return;
    const auto end = some.begin() + static_cast<std::ptrdiff_t>(most);
    std::nth_element(some.begin(), end, some.end(),
                     [&](Index a, Index b) { return turns[a].busy_ns > turns[b].busy_ns; });
    some.erase(end, some.end());
  };
  keep_longest(stalled, kStalledTurns);
  keep_longest(others, kLongestTurns);

  std::vector<bool> chosen(turns.size());
  for (const Index i : stalled) chosen[i] = true;
  for (const Index i : others) chosen[i] = true;
  const std::size_t picked = stalled.size() + others.size();
  std::size_t newest = std::max(limit / 2, limit > picked ? limit - picked : 0);
  for (std::size_t i = turns.size(); i > 0 && newest > 0; --i) {
    if (chosen[i - 1]) continue;
    chosen[i - 1] = true;
    --newest;
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    if (chosen[i]) turns[kept++] = turns[i];
  }
  turns.resize(kept);
}

/// Leaves what was served in the turns that matter; of the others /api/v1/turns tells.
void choose_served(std::vector<recording::Turn>& turns, std::uint64_t stall_threshold_ns,
                   std::size_t limit) {
  std::vector<recording::Turn*> longest;
  longest.reserve(turns.size());
  for (recording::Turn& turn : turns) longest.push_back(&turn);
  const std::size_t most = std::min(longest.size(), kStalledTurns + kLongestTurns);
  std::partial_sort(
      longest.begin(), longest.begin() + static_cast<std::ptrdiff_t>(most), longest.end(),
      [](const recording::Turn* a, const recording::Turn* b) { return a->busy_ns > b->busy_ns; });
  std::size_t others = 0;
  for (std::size_t i = 0; i < longest.size(); ++i) {
    recording::Turn& turn = *longest[i];
    const bool stall = stall_threshold_ns != 0 && turn.busy_ns >= stall_threshold_ns;
    const bool matters = i < most && (stall || others++ < kLongestTurns);
    if (matters && turn.served_count <= limit) {
      limit -= turn.served_count;
    } else {
      turn.served_first = recording::Turn::kNoServed;
    }
  }
}

std::size_t served_given(const snapshot::HostSnapshot& host) {
  return std::max(kServedPerEvent / std::max<std::size_t>(count_loops(host), 1),
                  kLeastServedPerLoop);
}

/// What begins a stream: as /api/v1/snapshot, the newest turns.
std::shared_ptr<const std::string> first_event_of(snapshot::HostSnapshot host) {
  const std::size_t limit = turns_given(host);
  const std::size_t most_served = served_given(host);
  for (auto& process : host.processes) {
    for (auto& loop : process.recording.loops) {
      auto& recent = loop.recent;
      if (recent.size() > limit) {
        recent.erase(recent.begin(), recent.end() - static_cast<std::ptrdiff_t>(limit));
      }
      choose_served(recent, loop.stall_threshold_ns, most_served);
    }
  }
  return event_of(host);
}

/// A process has one recording for each program it became by exec(3).
std::string recording_id(const snapshot::ProcessSnapshot& process) {
  return process.id() + process.recording.path;
}

}  // namespace

StreamPosition position_after(const snapshot::HostSnapshot& host, const StreamPosition& before) {
  StreamPosition position;  // only of loops that are still there: it cannot grow for ever
  for (const auto& process : host.processes) {
    const std::string id = recording_id(process);
    for (const auto& loop : process.recording.loops) {
      auto key = std::make_tuple(id, loop.id, loop.generation);
      if (!loop.recent.empty()) {
        position.emplace(std::move(key), loop.recent.back().turn);
      } else if (const auto known = before.find(key); known != before.end()) {
        position.insert(*known);
      } else {
        position.emplace(std::move(key), 0);  // it has no turn yet: none of the next is old
      }
    }
  }
  return position;
}

void trim_to_news(snapshot::HostSnapshot& host, const StreamPosition& position) {
  const std::size_t limit = turns_given(host);
  const std::size_t most_served = served_given(host);
  for (auto& process : host.processes) {
    const std::string id = recording_id(process);
    for (auto& loop : process.recording.loops) {
      auto& recent = loop.recent;
      if (recent.empty()) continue;
      const auto known = position.find(std::make_tuple(id, loop.id, loop.generation));
      // What a loop did before it was first looked at was promised to nobody.
      const std::uint64_t last = known != position.end() ? known->second : recent.front().turn - 1;
      const auto news = std::find_if(recent.begin(), recent.end(),
                                     [last](const auto& turn) { return turn.turn > last; });
      recent.erase(recent.begin(), news);
      choose(recent, loop.stall_threshold_ns, limit);
      choose_served(recent, loop.stall_threshold_ns, most_served);
      loop.recent_lost = recent.empty() ? 0 : recent.back().turn - last - recent.size();
    }
  }
}

StreamHub::StreamHub(SnapshotProvider provider, std::chrono::milliseconds interval,
                     unsigned max_streams)
    : provider_(std::move(provider)), interval_(interval), max_streams_(max_streams) {
  ticker_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "loopscope-tick");
    tick();
  });
}

StreamHub::~StreamHub() {
  stop();
  ticker_.join();
}

void StreamHub::finish(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  finishing_ = true;
  wakeup_.notify_all();
  gone_.wait_for(lock, patience, [this] { return stopping_ || streams_ == 0; });
}

void StreamHub::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  tell();
  wakeup_.notify_all();
}

void StreamHub::on_news(std::function<void()> listener) {
  const std::lock_guard lock(mutex_);
  listener_ = std::move(listener);
}

/// With the lock.
void StreamHub::tell() {
  news_.notify_all();
  if (listener_) listener_();
}

bool StreamHub::has_news(const Subscription& subscription) const {
  return snapshot_ && (!subscription.started_ || subscription.seen_ < newest_);
}

std::unique_ptr<StreamHub::Subscription> StreamHub::subscribe() {
  const std::lock_guard lock(mutex_);
  if (streams_ >= max_streams_ || stopping_ || finishing_) return nullptr;
  auto subscription = std::make_unique<Subscription>(*this);
  if (streams_++ == 0) wakeup_.notify_all();
  return subscription;
}

void StreamHub::leave() {
  const std::lock_guard lock(mutex_);
  if (--streams_ > 0) return;
  wakeup_.notify_all();
  gone_.notify_all();
}

void StreamHub::tick() {
  std::unique_lock lock(mutex_);
  while (!stopping_ && !finished_) {
    if (streams_ == 0) {
      frames_.clear();
      queued_bytes_ = 0;
      snapshot_.reset();
      first_.reset();
      wakeup_.wait(lock, [this] { return stopping_ || streams_ > 0; });
      continue;
    }
    const bool last_one = finishing_;
    const auto begin = std::chrono::steady_clock::now();
    const std::shared_ptr<const StreamPosition> before =
        frames_.empty() ? std::make_shared<const StreamPosition>() : frames_.back().position;
    const std::shared_ptr<const snapshot::HostSnapshot> last = snapshot_;
    lock.unlock();

    Frame frame;
    std::shared_ptr<const snapshot::HostSnapshot> taken;
    try {
      SnapshotRequest request;
      request.recent = turns_held(last.get());
      request.served = true;
      taken = std::make_shared<const snapshot::HostSnapshot>(provider_(request));
      snapshot::HostSnapshot news = *taken;
      trim_to_news(news, *before);
      frame.bytes = event_of(news);
      frame.position = std::make_shared<const StreamPosition>(position_after(*taken, *before));
    } catch (const std::exception&) {
      taken.reset();  // out of memory, say: the streams wait, the next tick tries again
      count_failure(Failure::kStream);
    }

    lock.lock();
    if (taken) {
      snapshot_ = std::move(taken);
      queued_bytes_ += frame.bytes->size();
      frames_.push_back(std::move(frame));
      ++newest_;
      first_.reset();
      while (frames_.size() > kQueuedFrames ||
             (frames_.size() > 1 && queued_bytes_ > kQueuedBytes)) {
        queued_bytes_ -= frames_.front().bytes->size();
        frames_.pop_front();
      }
      tell();
    }
    if (last_one) {
      finished_ = true;
      tell();
    }
    // A snapshot that takes long must not keep a core busy: rest at least as long as it took.
    const auto now = std::chrono::steady_clock::now();
    const auto next = std::max(begin + interval_, now + (now - begin));
    wakeup_.wait_until(lock, next, [this] { return stopping_ || finishing_; });
  }
}

StreamHub::Next StreamHub::Subscription::poll() {
  const std::lock_guard lock(hub_.mutex_);
  if (hub_.stopping_) return {Next::kEnd, nullptr};
  if (!hub_.has_news(*this)) return {hub_.finished_ ? Next::kEnd : Next::kNothing, nullptr};
  if (std::shared_ptr<const std::string> frame = shared_frame()) {
    return {Next::kFrame, std::move(frame)};
  }
  return {Next::kOwnFrame, nullptr};
}

/// With the lock, when there is news: what others send too; null: there is no such.
std::shared_ptr<const std::string> StreamHub::Subscription::shared_frame() {
  if (!started_) {
    if (!hub_.first_) return nullptr;
    position_ = hub_.frames_.back().position;
    seen_ = hub_.newest_;
    started_ = true;
    return hub_.first_;
  }
  const std::uint64_t oldest = hub_.newest_ - hub_.frames_.size() + 1;
  if (seen_ + 1 < oldest) return nullptr;
  const Frame& frame = hub_.frames_[static_cast<std::size_t>(seen_ + 1 - oldest)];
  ++seen_;
  position_ = frame.position;
  return frame.bytes;
}

std::shared_ptr<const std::string> StreamHub::Subscription::next() {
  std::unique_lock lock(hub_.mutex_);
  hub_.news_.wait(lock,
                  [this] { return hub_.stopping_ || hub_.finished_ || hub_.has_news(*this); });
  if (hub_.stopping_ || !hub_.has_news(*this)) return nullptr;
  if (!started_) {
    // Made on one's own thread, once for all who begin at the same time.
    lock.unlock();
    const std::lock_guard making(hub_.making_first_);
    lock.lock();
    if (!hub_.first_) {
      const std::shared_ptr<const snapshot::HostSnapshot> whole = hub_.snapshot_;
      const std::uint64_t number = hub_.newest_;
      const std::shared_ptr<const StreamPosition> position = hub_.frames_.back().position;
      lock.unlock();
      std::shared_ptr<const std::string> first = first_event_of(*whole);
      lock.lock();
      if (number == hub_.newest_) hub_.first_ = first;
      position_ = position;
      seen_ = number;
      started_ = true;
      return first;
    }
  }
  if (std::shared_ptr<const std::string> frame = shared_frame()) return frame;
  // Too far behind: a frame of one's own.
  const std::shared_ptr<const snapshot::HostSnapshot> whole = hub_.snapshot_;
  const std::shared_ptr<const StreamPosition> position =
      std::exchange(position_, hub_.frames_.back().position);
  seen_ = hub_.newest_;
  lock.unlock();
  snapshot::HostSnapshot news = *whole;
  trim_to_news(news, *position);
  return event_of(news);
}

}  // namespace loopscope::webui
