// SPDX-License-Identifier: Apache-2.0
//
// What loopscope hangs on a libev loop. One Instrument per recorded loop, found again by the loop's
// address from libev's hooks.
#pragma once

#include <ev.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <string_view>
#include <unordered_map>

#include "instrumentation/recording/loop_recorder.h"
#include "loop/host_hooks.h"
#include "loop/trampolines.h"
#include "loopscope/loop.h"

namespace loopscope::detail {

class Instrument;

/// What an interposed wait call of this thread saw, for loops that are measured by libev's hooks:
/// filled between the release and the acquire hook.
struct WaitNote {
  bool open = false;  // a recorded loop of this thread is in its backend's wait: `of`
  Instrument* of = nullptr;
  bool seen = false;
  int epoll_fd = -1;
  recording::WaitOutcome outcome;
};
extern thread_local constinit WaitNote t_wait;

/// Two ways to see a wait:
///
///   hooks        libev calls on_release before it waits and on_acquire after. Works for every
///   backend; what the wait returned is
///                noted by the interposed epoll_wait, poll or select if the backend uses one.
///   epoll_wait   the interposed epoll_wait finds the loop by its epoll descriptor and measures
///   right there, without hooks
///                (half the cost). A loop on epoll begins with hooks, to learn its descriptor, and
///                goes over to this; when libev is about to replace the descriptor (after a fork)
///                it goes back to hooks for a turn.
class Instrument {
 public:
  /// The instrument of `loop`, null if it has none. Any thread; a few ns for the loop that this
  /// thread asked for last.
  static Instrument* find(struct ev_loop* loop) noexcept;

  /// Makes it, or gives the one there is.
  static Instrument& attach(struct ev_loop* loop, const LoopOptions& options);

  /// Gives the loop back as it was and deletes the object, at once or when the last callback that
  /// is being measured ends. Named watchers are not touched: their callbacks go on through one more
  /// jump (trampolines.h).
  void detach();

  // --- the loop's run, from Loop::run or the interposed ev_run ---
  void enter() noexcept {
    if (depth_++ == 0) recorder_.enter();
  }
  void leave() noexcept {
    if (depth_ > 0 && --depth_ == 0) recorder_.leave();
  }

  /// Measures a callback from construction to destruction, also when it throws.
  class Measure {
   public:
    Measure(Instrument& instrument, recording::WatcherRef watcher, bool is_timer) noexcept
        : instrument_(instrument), recorder_(instrument.recorder_), watcher_(watcher) {
      ++instrument.measures_;
      // Where nothing unnamed can have run since the last measured interval ended, that end is the
      // start, and a clock read is saved. Not for the first callback of a turn in which libev had
      // much to sort out before (many events, due timers).
      const bool exact = !instrument.chained_ ||
                         (recorder_.first_callback() && (is_timer || recorder_.ready() > 4));
      frame_ = recorder_.callback_begin(watcher, exact);
    }
    ~Measure() {
      recorder_.callback_end(frame_, watcher_);
      // Released by the callback: nothing of it is used after this.
      if (--instrument_.measures_ == 0 && instrument_.detached_) delete &instrument_;
    }
    Measure(const Measure&) = delete;
    Measure& operator=(const Measure&) = delete;

    std::uint64_t start_ns() const noexcept { return frame_.start_ns; }

   private:
    Instrument& instrument_;
    recording::LoopRecorder& recorder_;
    recording::WatcherRef watcher_;
    recording::LoopRecorder::CallbackFrame frame_;
  };

  void name(ev_watcher* watcher, recording::WatcherKind kind, std::string_view name);
  void unname(ev_watcher* watcher) noexcept;

  recording::LoopRecorder& recorder() noexcept { return recorder_; }
  struct ev_loop* loop() const noexcept {
    return loop_;
  }
  InstrumentedLoop& handle() noexcept { return handle_; }
  /// The host sets other hooks: true if they are kept here and called by ours.
  bool take_host_hooks(LoopHook release, LoopHook acquire) noexcept {
    if (!hooked_) return false;
    hooks_.release = release;
    hooks_.acquire = acquire;
    return true;
  }

  /// Whether every callback that runs in this loop is measured.
  void set_chained(bool chained) noexcept { chained_ = chained; }

  // --- the wait, measured in epoll_wait ---

  /// The loop that waits on this descriptor, if it is measured there.
  static Instrument* of_epoll_fd(int epoll_fd) noexcept {
    if (static_cast<unsigned>(epoll_fd) >= kEpollFds) return nullptr;
    return by_epoll_fd_[epoll_fd].load(std::memory_order_acquire);
  }
  /// Whether no fork has happened since libev was last told of one.
  bool fork_settled() const noexcept { return recorder_.process_generation() == fork_settled_; }
  /// In a forked child that waits on the parent's epoll descriptor: true if it is libev that does,
  /// and the wait is to be recorded (as used after a fork); false if the number belongs to
  /// something else in the child.
  bool waits_unsettled(const void* caller) noexcept;

  /// What a named watcher's trampoline calls: its callback, measured if the loop is recorded and
  /// the watcher is known here.
  static void on_named(WatcherCallback callback, struct ev_loop* loop, ev_watcher* watcher,
                       int events);

  // --- libev's hooks ---
  static void on_release(struct ev_loop* loop) noexcept;
  static void on_acquire(struct ev_loop* loop) noexcept;
  static void on_invoke_pending(struct ev_loop* loop);

  /// The loop is about to wait on that descriptor: no business of a probe in the same process.
  void take_from_probe(int epoll_fd) noexcept;

 private:
  struct Named {
    recording::WatcherRef ref;
    recording::WatcherKind kind;
  };

  Instrument(struct ev_loop* loop, const recording::LoopSettings& settings);
  ~Instrument();
  static void on_fork(struct ev_loop* loop, ev_fork* watcher, int events);
  static void on_cleanup(struct ev_loop* loop, ev_cleanup* watcher, int events);
  void raw_timer_lag(const Named& named, const ev_watcher* watcher, std::uint64_t ran_ns) noexcept;
  void learn_epoll_fd(int epoll_fd) noexcept;
  void install_hooks() noexcept;
  void remove_hooks() noexcept;

  static constexpr unsigned kEpollFds = 4096;  // loops with a higher descriptor stay with hooks
  static std::atomic<Instrument*> by_epoll_fd_[kEpollFds];

  struct ev_loop* loop_;
  // Beside the recorder's first members: both are looked at in every turn.
  std::uint32_t fork_settled_ = 0;  // the recorder's generation that libev was last told of
  recording::LoopRecorder recorder_;
  InstrumentedLoop handle_;
  HostHooks hooks_;
  bool chained_ = false;
  bool sees_run_ = false;  // ev_run is interposed, so entering and leaving are known
  int depth_ = 0;
  /// Found by its loop; if not (too many loops), nothing of the host is touched.
  bool listed_ = false;
  bool detached_ = false;  // waits for the last Measure to end
  int measures_ = 0;
  bool hooked_ = false;
  bool ran_before_ = false;  // registered descriptors before we saw epoll_ctl
  int learned_epoll_fd_ = -1;
  ev_fork fork_watcher_{};
  ev_cleanup cleanup_watcher_{};
  std::unordered_map<ev_watcher*, Named> named_;
};

/// Whether calls of ev_run by the program reach our definition first (it depends on the order of
/// linking).
bool ev_run_is_interposed() noexcept;

const char* backend_name(unsigned backend) noexcept;

}  // namespace loopscope::detail
