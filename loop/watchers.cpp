// SPDX-License-Identifier: Apache-2.0
//
// The watchers of loopscope::Loop. One Core<> per watcher object holds libev's struct, which must
// not move; the public object only holds a pointer to it.
#include <cxxabi.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "loop/loop_core.h"

namespace loopscope::detail {

using recording::WatcherKind;
using recording::WatcherRef;

/// libev's functions and our kind for each of its structs.
template <typename Event>
struct Traits;
#define LOOPSCOPE_TRAITS(type, kind_value)                        \
  template <>                                                     \
  struct Traits<ev_##type> {                                      \
    static constexpr WatcherKind kKind = WatcherKind::kind_value; \
    static void start(struct ev_loop* loop, ev_##type* watcher) { \
      ev_##type##_start(loop, watcher);                           \
    }                                                             \
    static void stop(struct ev_loop* loop, ev_##type* watcher) {  \
      ev_##type##_stop(loop, watcher);                            \
    }                                                             \
  };
LOOPSCOPE_TRAITS(io, kIo)
LOOPSCOPE_TRAITS(timer, kTimer)
LOOPSCOPE_TRAITS(periodic, kPeriodic)
LOOPSCOPE_TRAITS(signal, kSignal)
LOOPSCOPE_TRAITS(child, kChild)
LOOPSCOPE_TRAITS(stat, kStat)
LOOPSCOPE_TRAITS(idle, kIdle)
LOOPSCOPE_TRAITS(prepare, kPrepare)
LOOPSCOPE_TRAITS(check, kCheck)
LOOPSCOPE_TRAITS(fork, kFork)
LOOPSCOPE_TRAITS(async, kAsync)
#undef LOOPSCOPE_TRAITS

struct WatcherCore {
  WatcherCore(Loop& owner, std::string_view name, WatcherKind kind)
      : loop(*owner.core_),
        ref(loop.instrument->recorder().watcher(name.data(), name.size(), kind)) {}
  virtual ~WatcherCore() = default;
  WatcherCore(const WatcherCore&) = delete;
  WatcherCore& operator=(const WatcherCore&) = delete;

  virtual void libev_start() = 0;
  virtual void libev_stop() = 0;
  virtual bool libev_active() const = 0;
  virtual void libev_set_priority(int priority) = 0;
  virtual int fd() const { return -1; }
  /// The due time of a timer may have changed.
  virtual void note_due() {}

  void start() {
    note_stopped();
    if (started) return;
    libev_start();
    note_started();
  }

  void stop() {
    note_stopped();
    if (!started) {
      libev_stop();  // clears an event that is pending
      return;
    }
    if (!keeps_alive) ev_ref(loop.loop);
    libev_stop();
    started = false;
    loop.instrument->recorder().watcher_active(ref, -1, -1);
  }

  void keep_alive(bool keep) {
    note_stopped();
    if (keep == keeps_alive) return;
    keeps_alive = keep;
    if (!started) return;
    if (keep) {
      ev_ref(loop.loop);
    } else {
      ev_unref(loop.loop);
    }
  }

  void note_started() {
    started = true;
    if (!keeps_alive) ev_unref(loop.loop);
    loop.instrument->recorder().watcher_active(ref, 1, fd());
    note_due();
  }

  /// libev stops one-shot timers by itself, and with that drops a reference that it doesn't hold if
  /// we had given it back.
  void note_stopped() {
    if (!started || libev_active()) return;
    started = false;
    if (!keeps_alive) ev_ref(loop.loop);
    loop.instrument->recorder().watcher_active(ref, -1, -1);
  }

  LoopCore& loop;
  WatcherRef ref;
  bool started = false;
  bool keeps_alive = true;
  bool dead = false;  // destroyed from inside its own callback, which deletes it at its end
  int running = 0;
};

namespace {

template <typename Event, typename Callback>
struct Core final : WatcherCore {
  Core(Loop& owner, std::string_view name, Callback function)
      : WatcherCore(owner, name, Traits<Event>::kKind), callback(std::move(function)) {
    if (!callback) throw std::invalid_argument("loopscope: a watcher needs a callback");
    ev_init(&event, on_event);
    event.data = this;
  }

  static constexpr bool kIsTimer =
      std::is_same_v<Event, ev_timer> || std::is_same_v<Event, ev_periodic>;

  void libev_start() override { Traits<Event>::start(loop.loop, &event); }
  void libev_stop() override { Traits<Event>::stop(loop.loop, &event); }
  bool libev_active() const override { return ev_is_active(&event); }
  void libev_set_priority(int priority) override { ev_set_priority(&event, priority); }
  int fd() const override {
    if constexpr (std::is_same_v<Event, ev_io>) return event.fd;
    return -1;
  }
  void note_due() override {
    // Of an active timer: seconds of CLOCK_MONOTONIC; of a periodic: of CLOCK_REALTIME.
    if constexpr (kIsTimer) due = ev_is_active(&event) ? event.at : 0;
    if constexpr (std::is_same_v<Event, ev_periodic>) {
      // If the clock was set since libev computed `at` (by a callback of this turn, say): what
      // libev took it to be.
      constexpr double kSetNs = 10e9;
      const double libevs =
          ev_now(loop.loop) * 1e9 - static_cast<double>(recording::monotonic_ns());
      due_offset_ns = realtime_offset_ns();
      if (std::abs(due_offset_ns - libevs) > kSetNs) due_offset_ns = libevs;
    }
  }

  /// What CLOCK_REALTIME is ahead of CLOCK_MONOTONIC.
  static double realtime_offset_ns() {
    return static_cast<double>(recording::realtime_ns()) -
           static_cast<double>(recording::monotonic_ns());
  }

  void record_lag(std::uint64_t ran_ns) {
    if constexpr (kIsTimer) {
      if (due > 0) {
        double due_ns = due * 1e9;
        if constexpr (std::is_same_v<Event, ev_periodic>) {
          // By the later of two: where that instant lies now, and where it lay when libev set it. A
          // clock that was set meanwhile makes one of them hours too early.
          due_ns -= std::min(due_offset_ns, realtime_offset_ns());
        }
        if (due_ns > 0) {
          loop.instrument->recorder().timer_lag(ref, static_cast<std::uint64_t>(due_ns), ran_ns);
        }
      }
      note_due();  // libev has already set the next one
    }
    (void)ran_ns;
  }

  void call([[maybe_unused]] int events) {
    if constexpr (std::is_same_v<Event, ev_io>) {
      callback(events & (kRead | kWrite));
    } else if constexpr (std::is_same_v<Event, ev_signal>) {
      callback(event.signum);
    } else if constexpr (std::is_same_v<Event, ev_child>) {
      callback(event.rpid, event.rstatus);
    } else if constexpr (std::is_same_v<Event, ev_stat>) {
      callback(event.attr, event.prev);
    } else {
      callback();
    }
  }

  // GCC binds the reference to a forced unwind to null, which UndefinedBehaviorSanitizer minds.
  [[gnu::no_sanitize("null")]] static void on_event(struct ev_loop* /*loop*/, Event* event,
                                                    int events) {
    auto* core = static_cast<Core*>(event->data);
    core->note_stopped();
    ++core->running;
    {
      const Instrument::Measure measure(*core->loop.instrument, core->ref, kIsTimer);
      core->record_lag(measure.start_ns());
      try {
        core->call(events);
      } catch (abi::__forced_unwind&) {
        throw;  // pthread_exit or cancellation: not ours to stop
      } catch (...) {
        core->loop.caught();
      }
    }
    if (--core->running == 0 && core->dead) delete core;
  }

  Event event{};
  Callback callback;
  double due = 0;
  double due_offset_ns = 0;  // Periodic: what realtime_offset_ns() was when `due` was set
  std::string path;          // Stat: libev keeps a pointer to it
};

using IoCore = Core<ev_io, Io::Callback>;
using TimerCore = Core<ev_timer, Timer::Callback>;
using PeriodicCore = Core<ev_periodic, Periodic::Callback>;
using SignalCore = Core<ev_signal, Signal::Callback>;
using ChildCore = Core<ev_child, Child::Callback>;
using StatCore = Core<ev_stat, Stat::Callback>;
using AsyncCore = Core<ev_async, Async::Callback>;
using IdleCore = Core<ev_idle, Idle::Callback>;
using PrepareCore = Core<ev_prepare, Prepare::Callback>;
using CheckCore = Core<ev_check, Check::Callback>;
using ForkCore = Core<ev_fork, Fork::Callback>;

}  // namespace
}  // namespace loopscope::detail

namespace loopscope {

using namespace detail;  // NOLINT(google-build-using-namespace): the cores above belong to this
                         // file

Watcher::Watcher() = default;
Watcher::Watcher(std::unique_ptr<WatcherCore> core) : core_(std::move(core)) {}
Watcher::Watcher(Watcher&&) noexcept = default;

Watcher& Watcher::operator=(Watcher&& other) noexcept {
  if (this != &other) {
    const Watcher old(std::move(*this));
    core_ = std::move(other.core_);
  }
  return *this;
}

Watcher::~Watcher() {
  if (core_ == nullptr) return;
  core_->stop();
  if (core_->running > 0) {
    core_->dead = true;
    (void)core_.release();  // on_event deletes it
  }
}

void Watcher::start() { core_->start(); }
void Watcher::stop() { core_->stop(); }
bool Watcher::active() const { return core_->libev_active(); }
void Watcher::keep_loop_alive(bool keep) { core_->keep_alive(keep); }

void Watcher::set_priority(int priority) {
  if (priority < EV_MINPRI || priority > EV_MAXPRI) {
    throw std::invalid_argument("loopscope: libev's priorities are -2 to 2");
  }
  const bool was_active = active();
  core_->stop();
  core_->libev_set_priority(priority);
  if (was_active) core_->start();
}

namespace {

template <typename CoreType, typename Callback, typename Setup>
std::unique_ptr<WatcherCore> make(Loop& loop, std::string_view name, Callback&& callback,
                                  Setup setup) {
  auto core = std::make_unique<CoreType>(loop, name, std::forward<Callback>(callback));
  setup(*core);
  core->start();
  return core;
}

void nothing_to_set(WatcherCore&) {}

/// libev's own checks are assertions that Debian's build leaves out; a wrong argument would be
/// silent.
double seconds(Seconds value, const char* what) {
  if (!(value.count() >= 0) || value.count() > 1e15) {
    throw std::invalid_argument(std::string("loopscope: ") + what +
                                " must not be negative or endless");
  }
  return value.count();
}

}  // namespace

Io::Io(Loop& loop, std::string_view name, int fd, int events, Callback callback)
    : Watcher(make<IoCore>(loop, name, std::move(callback), [&](IoCore& core) {
        if (fd < 0) throw std::invalid_argument("loopscope: Io needs an open descriptor");
        if ((events & ~(kRead | kWrite)) != 0)
          throw std::invalid_argument("loopscope: Io events are kRead and kWrite");
        ev_io_set(&core.event, fd, events);
      })) {}

void Io::set_events(int events) {
  auto& core = static_cast<IoCore&>(*core_);
  if ((events & ~(kRead | kWrite)) != 0)
    throw std::invalid_argument("loopscope: Io events are kRead and kWrite");
  const bool was_active = active();
  core.stop();
  ev_io_set(&core.event, core.event.fd, events);
  if (was_active) core.start();
}

int Io::fd() const { return core_->fd(); }

Timer::Timer(Loop& loop, std::string_view name, Seconds after, Seconds repeat, Callback callback)
    : Watcher(make<TimerCore>(loop, name, std::move(callback), [&](TimerCore& core) {
        ev_timer_set(&core.event, seconds(after, "a timer's delay"),
                     seconds(repeat, "a timer's period"));
      })) {}

void Timer::restart(Seconds after, Seconds repeat) {
  auto& core = static_cast<TimerCore&>(*core_);
  core.stop();
  ev_timer_set(&core.event, seconds(after, "a timer's delay"), seconds(repeat, "a timer's period"));
  core.start();
}

void Timer::again() {
  auto& core = static_cast<TimerCore&>(*core_);
  core.note_stopped();
  if (core.started && core.event.repeat > 0) {
    ev_timer_again(core.loop.loop, &core.event);
    core.note_due();
  } else if (core.started) {
    core.stop();  // libev: again() on a timer that doesn't repeat stops it
  } else if (core.event.repeat > 0) {
    ev_timer_again(core.loop.loop, &core.event);
    core.note_started();
  }
}

Seconds Timer::remaining() const {
  auto& core = static_cast<TimerCore&>(*core_);
  return Seconds(ev_timer_remaining(core.loop.loop, &core.event));
}

Periodic::Periodic(Loop& loop, std::string_view name, Seconds offset, Seconds interval,
                   Callback callback)
    : Watcher(make<PeriodicCore>(loop, name, std::move(callback), [&](PeriodicCore& core) {
        ev_periodic_set(&core.event, seconds(offset, "a periodic's offset"),
                        seconds(interval, "a periodic's interval"), nullptr);
      })) {}

Signal::Signal(Loop& loop, std::string_view name, int signal, Callback callback)
    : Watcher(make<SignalCore>(loop, name, std::move(callback), [&](SignalCore& core) {
        if (signal <= 0 || signal >= NSIG) throw std::invalid_argument("loopscope: no such signal");
        ev_signal_set(&core.event, signal);
      })) {}

Child::Child(Loop& loop, std::string_view name, int pid, Callback callback)
    : Watcher(make<ChildCore>(loop, name, std::move(callback), [&](ChildCore& core) {
        if (!ev_is_default_loop(core.loop.loop)) {
          throw std::invalid_argument(
              "loopscope: child watchers need the default loop (LoopOptions::default_loop)");
        }
        ev_child_set(&core.event, pid, 0);
      })) {}

Stat::Stat(Loop& loop, std::string_view name, std::string path, Seconds interval, Callback callback)
    : Watcher(make<StatCore>(loop, name, std::move(callback), [&](StatCore& core) {
        core.path = std::move(path);
        ev_stat_set(&core.event, core.path.c_str(), seconds(interval, "a stat watcher's interval"));
      })) {}

Async::Async(Loop& loop, std::string_view name, Callback callback)
    : Watcher(make<AsyncCore>(loop, name, std::move(callback), nothing_to_set)) {}

void Async::send() {
  auto& core = static_cast<AsyncCore&>(*core_);
  ev_async_send(core.loop.loop, &core.event);
}

Idle::Idle(Loop& loop, std::string_view name, Callback callback)
    : Watcher(make<IdleCore>(loop, name, std::move(callback), nothing_to_set)) {}
Prepare::Prepare(Loop& loop, std::string_view name, Callback callback)
    : Watcher(make<PrepareCore>(loop, name, std::move(callback), nothing_to_set)) {}
Check::Check(Loop& loop, std::string_view name, Callback callback)
    : Watcher(make<CheckCore>(loop, name, std::move(callback), nothing_to_set)) {}
Fork::Fork(Loop& loop, std::string_view name, Callback callback)
    : Watcher(make<ForkCore>(loop, name, std::move(callback), nothing_to_set)) {}

}  // namespace loopscope
