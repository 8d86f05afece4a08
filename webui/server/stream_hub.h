// SPDX-License-Identifier: Apache-2.0
//
// One snapshot for all streams: a single thread takes and serialises it, every stream sends the
// same bytes, each at its own pace.
//
//   ticker ──► [frame 41][frame 42][frame 43]      the last few, shared
//                  ▲                    ▲
//               laggard              the others    each a Subscription: "I have seen 40"
//
// A stream that lags by a few frames gets all of them. One that lags further than the queue reaches
// gets a frame made for it alone from the newest snapshot: the turns since the last frame *it* got,
// with `recent_lost` saying how many of those are gone. So what a client adds up is right, however
// slow it is.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <tuple>

#include "instrumentation/snapshot/host_snapshot.h"

namespace loopscope::webui {

/// What is asked of a provider; it may take only the number of turns, if it has no choice but that.
struct SnapshotRequest : snapshot::CollectOptions {
  operator std::size_t() const { return recent; }  // NOLINT(google-explicit-constructor)
};

/// Takes a snapshot. Called from several threads at once.
using SnapshotProvider = std::function<snapshot::HostSnapshot(const SnapshotRequest&)>;

/// The last turn given of each loop: (recording, loop id, generation) -> turn.
using StreamPosition =
    std::map<std::tuple<std::string, std::uint32_t, std::uint64_t>, std::uint64_t>;

/// The position after `host` was given to a client that was at `before`.
StreamPosition position_after(const snapshot::HostSnapshot& host, const StreamPosition& before);

/// Leaves in `host` only what is new to a client at `position`, and of that, if it is much, the
/// turns that stalled their loop, the longest others and the newest. `recent_lost` says how many
/// new turns it does not get: overwritten or left out. Of loops that are not in `position` all that
/// is there is new. What was served stays with the stalled and the longest turns only.
void trim_to_news(snapshot::HostSnapshot& host, const StreamPosition& position);

/// Thread-safety: all methods from any thread. The ticker sleeps while nobody subscribes.
/// Memory: at most kQueuedFrames frames and (beyond the newest) kQueuedBytes.
class StreamHub {
 public:
  static constexpr std::size_t kQueuedFrames = 25;  // 10 s
  static constexpr std::size_t kQueuedBytes = 16u << 20;

  StreamHub(SnapshotProvider provider, std::chrono::milliseconds interval, unsigned max_streams);
  /// Subscriptions must be gone: stop(), then join the threads that serve them.
  ~StreamHub();
  StreamHub(const StreamHub&) = delete;
  StreamHub& operator=(const StreamHub&) = delete;

  /// What a stream that does not want to wait is to do next.
  struct Next {
    enum What {
      kNothing,   // there is no news: the listener will be called
      kFrame,     // send `frame`
      kOwnFrame,  // next() gives it at once, but makes it first, which takes a while
      kEnd,       // as when next() gives null
    } what;
    std::shared_ptr<const std::string> frame;
  };

  /// One client's place in the stream. Used by one thread at a time.
  class Subscription {
   public:
    explicit Subscription(StreamHub& hub) : hub_(hub) {}
    ~Subscription() { hub_.leave(); }
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;

    /// Blocks for the next frame, the bytes of one server-sent event. Null: the server shuts down,
    /// or this stream has had its last frame.
    std::shared_ptr<const std::string> next();
    /// Does not block.
    Next poll();

   private:
    friend class StreamHub;
    std::shared_ptr<const std::string> shared_frame();

    StreamHub& hub_;
    bool started_ = false;
    std::uint64_t seen_ = 0;
    std::shared_ptr<const StreamPosition> position_;
  };

  /// Called, on whatever thread has news, when poll() may say something else than before; must not
  /// call back. To be set before the first subscription.
  void on_news(std::function<void()> listener);

  /// None: there are max_streams already.
  std::unique_ptr<Subscription> subscribe();

  /// Gives every stream one more frame, of a snapshot that is taken now, and no other after it.
  /// Waits until they are gone, for at most `patience`; not at all if there are none.
  void finish(std::chrono::milliseconds patience);

  /// Ends every next() and the ticker. Idempotent.
  void stop();

 private:
  struct Frame {
    std::shared_ptr<const std::string> bytes;
    std::shared_ptr<const StreamPosition> position;  // of a client that has been given it
  };

  void tick();
  void leave();
  void tell();
  bool has_news(const Subscription& subscription) const;

  const SnapshotProvider provider_;
  const std::chrono::milliseconds interval_;
  const unsigned max_streams_;

  std::mutex mutex_;
  std::condition_variable news_;    // for subscriptions
  std::condition_variable wakeup_;  // for the ticker
  std::condition_variable gone_;    // for finish()
  bool stopping_ = false;
  bool finishing_ = false;  // the next snapshot is the last
  bool finished_ = false;   // frames_.back() was made from it
  unsigned streams_ = 0;
  std::uint64_t newest_ = 0;  // number of frames_.back(); 0: no frame yet
  std::deque<Frame> frames_;
  std::size_t queued_bytes_ = 0;
  std::shared_ptr<const snapshot::HostSnapshot> snapshot_;  // what frames_.back() was made from
  std::function<void()> listener_;

  // What a stream begins with, if one has begun since the newest frame: all that do send the same.
  std::mutex making_first_;  // taken before mutex_
  std::shared_ptr<const std::string> first_;
  std::thread ticker_;
};

}  // namespace loopscope::webui
