// SPDX-License-Identifier: Apache-2.0
//
// loopscope::Loop, a libev loop that records its turns, and its named watchers;
// loopscope::instrument() for a program that has a libev loop already.
//
// Threads: a loop and its watchers belong to one thread at a time, as in libev; only Async::send()
// may be called from any thread (and from signal handlers). Different loops in different threads
// are independent. Recording: every loop writes to the recording of its process
// (docs/recording-format.md), which `loopscope::Inspector`, the `loopscope` command and a
// post-mortem read. If no recording can be made, loops run all the same: see recording_error().
// Cost: see the table in README.md; a turn costs two clock reads and some stores, a callback one
// more clock read.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "loopscope/export.h"

struct ev_loop;
struct ev_watcher;
struct ev_io;
struct ev_timer;
struct ev_periodic;
struct ev_signal;
struct ev_child;
struct ev_stat;
struct ev_idle;
struct ev_prepare;
struct ev_check;
struct ev_fork;
struct ev_async;
struct stat;

namespace loopscope {

using Seconds = std::chrono::duration<double>;

/// How libev waits. kAuto is libev's choice (epoll on Linux, or what $LIBEV_FLAGS says).
enum class Backend { kAuto, kSelect, kPoll, kEpoll, kLinuxAio, kIoUring };

struct LoopOptions {
  /// Shown everywhere; at most 63 bytes are kept. Empty: "loop-N".
  std::string name;
  Backend backend = Backend::kAuto;
  /// Use libev's default loop (ev_default_loop) instead of a new one. Child watchers need it. It
  /// can be had once.
  bool default_loop = false;
  /// A busy part longer than this is a stall. 100 ms is what a person notices.
  std::chrono::nanoseconds stall_threshold = std::chrono::milliseconds(100);
  /// How many recent turns are kept, 32 bytes each; rounded up to a power of two, 64 … 1048576.
  unsigned recent_turns = 4096;
};

namespace detail {
struct LoopCore;
struct WatcherCore;
class Instrument;
}  // namespace detail

/// An existing loop that is being recorded, made by instrument(). The object is loopscope's; it
/// lives until release() or until the loop is destroyed (ev_loop_destroy).
class LOOPSCOPE_EXPORT InstrumentedLoop {
 public:
  /// Gives a watcher of this loop a name, so that its callbacks are timed; several watchers may
  /// share one. The watcher keeps its `data`; its `cb` is replaced by one that calls the old one,
  /// so use ev_set_cb before, not after, and call name() again after ev_init/ev_set_cb. For timers
  /// and periodics the lag is derived from the watcher's own due time: exact, but for a repeating
  /// timer that has fallen behind by whole periods, where libev keeps no due time, it is a lower
  /// bound. No call is needed when the watcher is freed, copied, moved or started on another loop:
  /// a copy, or the same watcher elsewhere, calls its callback as before, but is not timed until it
  /// is named there.
  void name(ev_io* watcher, std::string_view name);
  void name(ev_timer* watcher, std::string_view name);
  void name(ev_periodic* watcher, std::string_view name);
  void name(ev_signal* watcher, std::string_view name);
  void name(ev_child* watcher, std::string_view name);
  void name(ev_stat* watcher, std::string_view name);
  void name(ev_idle* watcher, std::string_view name);
  void name(ev_prepare* watcher, std::string_view name);
  void name(ev_check* watcher, std::string_view name);
  void name(ev_fork* watcher, std::string_view name);
  void name(ev_async* watcher, std::string_view name);

  /// Puts the watcher's own callback back.
  void unname(void* watcher);

  /// Stops recording this loop and restores the host's hooks. Allowed in a callback of the loop.
  /// Watchers are not touched: those that are named still call their callbacks, by one more jump.
  /// The object is gone afterwards.
  void release();

  /// Recording off and on again, from the loop's thread. While off a turn costs the two calls of an
  /// empty hook.
  void pause(bool paused);

  std::uint32_t id() const;
  struct ev_loop* native_handle() const;

 private:
  friend class detail::Instrument;
  friend class Loop;
  explicit InstrumentedLoop(detail::Instrument& instrument) : instrument_(instrument) {}
  detail::Instrument& instrument_;
};

/// Starts recording an existing libev loop; one line in a program that has one. Instrumenting it
/// twice gives the same object. Hooks that the host has set (ev_set_loop_release_cb,
/// ev_set_invoke_pending_cb), before or after, keep working. Only `name`, `stall_threshold` and
/// `recent_turns` of the options count. Call it on the loop's thread, or before the loop runs.
/// Throws std::invalid_argument for a null loop.
LOOPSCOPE_EXPORT InstrumentedLoop& instrument(struct ev_loop* loop,
                                              const LoopOptions& options = {});

/// Why this process' recording is not in a file that others can read (no space, no permission, …),
/// and what to do; empty if it is. Recording goes on in memory then, and an Inspector in this
/// process still shows it.
LOOPSCOPE_EXPORT std::string recording_error();

/// Where this process' recording is; empty if it is in no file.
LOOPSCOPE_EXPORT std::string recording_path();

/// Owns a libev loop. Not movable: watchers refer to it, and it must outlive them.
class LOOPSCOPE_EXPORT Loop {
 public:
  /// Throws std::runtime_error if the backend is not available here, std::invalid_argument for
  /// options that make no sense.
  explicit Loop(const LoopOptions& options = {});
  explicit Loop(std::string_view name) : Loop(LoopOptions{.name = std::string(name)}) {}
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// Runs until stop(), or until no watcher is active that keeps the loop alive. May be called from
  /// a callback (nested): the inner run ends for itself, and callback times are the callbacks' own,
  /// without what ran nested in them.
  ///
  /// If a callback throws, the other callbacks of the same dispatch still run, then run() ends and
  /// throws that exception on; a second exception in the same dispatch is dropped. The loop stays
  /// usable.
  void run();
  /// One turn: waits until something happens. Returns whether watchers are left.
  bool run_once();
  /// One turn without waiting. Returns whether watchers are left.
  bool poll();
  /// Ends the innermost run() once the present callbacks are done.
  void stop();

  /// Tell the loop that this is a forked child (ev_loop_fork). Without it the child shares the
  /// parent's epoll set, and each takes the other's events; loopscope reports that as a finding.
  /// Call it in the child before the loop runs again.
  void after_fork();

  /// libev's time of this turn, seconds since the epoch (ev_now).
  Seconds now() const;
  Backend backend() const;
  std::uint32_t id() const;
  /// See InstrumentedLoop::pause.
  void pause_recording(bool paused);

  /// The loop for use with libev's own functions. From the first call on, each named callback's
  /// start is measured by a clock read of its own (10 ns more): callbacks of watchers that
  /// loopscope doesn't know may run in between.
  struct ev_loop* native_handle();

 private:
  friend struct detail::WatcherCore;
  std::unique_ptr<detail::LoopCore> core_;
};

/// What all watchers share: movable, stopped and forgotten by the destructor (also from inside
/// their own callback, which then finishes normally). A default-constructed or moved-from watcher
/// is empty: only assignment and destruction are allowed.
class LOOPSCOPE_EXPORT Watcher {
 public:
  /// Lets the loop watch, or not. Both are harmless if it already does, or doesn't. Constructors
  /// start.
  void start();
  void stop();
  bool active() const;
  /// libev's priority, -2 … 2: higher ones run first in a turn. Stops and restarts an active
  /// watcher.
  void set_priority(int priority);
  /// Whether this watcher keeps Loop::run() from returning; true at first.
  void keep_loop_alive(bool keep);

 protected:
  Watcher();
  explicit Watcher(std::unique_ptr<detail::WatcherCore> core);
  Watcher(Watcher&&) noexcept;
  Watcher& operator=(Watcher&&) noexcept;
  ~Watcher();
  std::unique_ptr<detail::WatcherCore> core_;
};

/// Bits for Io.
inline constexpr int kRead = 1;
inline constexpr int kWrite = 2;

/// A descriptor is readable or writable. The callback gets the events that are true.
class LOOPSCOPE_EXPORT Io : public Watcher {
 public:
  using Callback = std::function<void(int events)>;
  Io() = default;
  Io(Loop& loop, std::string_view name, int fd, int events, Callback callback);
  /// Other events for the same descriptor.
  void set_events(int events);
  int fd() const;
};

/// Once after a while, or again and again. Lag is measured exactly, from each due time to the
/// callback's start.
class LOOPSCOPE_EXPORT Timer : public Watcher {
 public:
  using Callback = std::function<void()>;
  Timer() = default;
  /// First after `after`, then every `repeat` if that is not zero.
  Timer(Loop& loop, std::string_view name, Seconds after, Seconds repeat, Callback callback);
  /// Starts over, due after `after`.
  void restart(Seconds after, Seconds repeat = Seconds(0));
  /// ev_timer_again: a repeating timer starts its period anew (the cheap way to have an inactivity
  /// timeout).
  void again();
  Seconds remaining() const;
};

/// At a wall-clock time, or every `interval` from `offset`; follows jumps of the system's clock.
class LOOPSCOPE_EXPORT Periodic : public Watcher {
 public:
  using Callback = std::function<void()>;
  Periodic() = default;
  Periodic(Loop& loop, std::string_view name, Seconds offset, Seconds interval, Callback callback);
};

/// A signal arrived; runs in the loop, not in signal context.
class LOOPSCOPE_EXPORT Signal : public Watcher {
 public:
  using Callback = std::function<void(int signal)>;
  Signal() = default;
  Signal(Loop& loop, std::string_view name, int signal, Callback callback);
};

/// A child process ended. Only on the default loop (libev's rule): std::invalid_argument otherwise.
/// pid 0: any child.
class LOOPSCOPE_EXPORT Child : public Watcher {
 public:
  using Callback = std::function<void(int pid, int status)>;
  Child() = default;
  Child(Loop& loop, std::string_view name, int pid, Callback callback);
};

/// A path's attributes changed; looked at every `interval` (zero: libev's choice), at once where
/// inotify helps.
class LOOPSCOPE_EXPORT Stat : public Watcher {
 public:
  using Callback = std::function<void(const struct ::stat& now, const struct ::stat& before)>;
  Stat() = default;
  Stat(Loop& loop, std::string_view name, std::string path, Seconds interval, Callback callback);
};

/// Wakes the loop from another thread or a signal handler; several sends may become one call.
class LOOPSCOPE_EXPORT Async : public Watcher {
 public:
  using Callback = std::function<void()>;
  Async() = default;
  Async(Loop& loop, std::string_view name, Callback callback);
  /// Any thread. The watcher must be active and must not be moved or destroyed meanwhile.
  void send();
};

/// Runs in every turn in which nothing of higher priority is pending; the loop doesn't block while
/// one is active.
class LOOPSCOPE_EXPORT Idle : public Watcher {
 public:
  using Callback = std::function<void()>;
  Idle() = default;
  Idle(Loop& loop, std::string_view name, Callback callback);
};

/// Before the loop waits, and right after.
class LOOPSCOPE_EXPORT Prepare : public Watcher {
 public:
  using Callback = std::function<void()>;
  Prepare() = default;
  Prepare(Loop& loop, std::string_view name, Callback callback);
};
class LOOPSCOPE_EXPORT Check : public Watcher {
 public:
  using Callback = std::function<void()>;
  Check() = default;
  Check(Loop& loop, std::string_view name, Callback callback);
};

/// In a forked child, after Loop::after_fork(), before the loop waits again.
class LOOPSCOPE_EXPORT Fork : public Watcher {
 public:
  using Callback = std::function<void()>;
  Fork() = default;
  Fork(Loop& loop, std::string_view name, Callback callback);
};

}  // namespace loopscope
