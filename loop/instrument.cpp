// SPDX-License-Identifier: Apache-2.0
#include "loop/instrument.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

#include "instrumentation/recording/probe_link.h"
#include "loop/interpose.h"

namespace loopscope::detail {
namespace {

using recording::LoopSettings;
using recording::ProcessRecorder;
using recording::WaitOutcome;
using recording::WatcherKind;
using recording::WatcherRef;

/// Loops that are recorded, by address. No lock: a child forked by one thread must not inherit one
/// held by another.
struct Slot {
  std::atomic<struct ev_loop*> loop{nullptr};
  std::atomic<Instrument*> instrument{nullptr};
};
Slot g_slots[recording::kMaxLoops];
std::atomic<std::uint32_t> g_used_slots{0};
/// Raised with every change: tells a thread that the answer it remembers may be stale.
std::atomic<std::uint64_t> g_change{1};
std::atomic<std::uint32_t> g_loops_made{0};

struct Remembered {
  struct ev_loop* loop = nullptr;
  Instrument* instrument = nullptr;
  std::uint64_t change = 0;
};
thread_local constinit Remembered t_remembered;

void note_exit(int status, void*) {
  if (ProcessRecorder* process = ProcessRecorder::existing()) process->ended(status, true);
}

void watch_exit() {
  static const int registered = on_exit(note_exit, nullptr);
  (void)registered;
}

/// Descriptors that were in the epoll set before we saw epoll_ctl calls for it. Reading fdinfo
/// holds the set's mutex, so this is done once, and only for loops that had run before they were
/// instrumented.
void note_registered(int epoll_fd) noexcept {
  char path[48];
  std::snprintf(path, sizeof path, "/proc/self/fdinfo/%d", epoll_fd);
  std::FILE* info = std::fopen(path, "re");
  if (info == nullptr) return;
  char line[256];
  while (std::fgets(line, sizeof line, info) != nullptr) {
    int fd = 0;
    unsigned events = 0;
    if (std::sscanf(line, "tfd: %d events: %x", &fd, &events) == 2) {  // NOLINT(cert-err34-c)
      ProcessRecorder::instance().register_fd(fd, epoll_fd, events);
    }
  }
  std::fclose(info);
}

}  // namespace

thread_local constinit WaitNote t_wait;
std::atomic<Instrument*> Instrument::by_epoll_fd_[Instrument::kEpollFds];

const char* backend_name(unsigned backend) noexcept {
  switch (backend) {
    case EVBACKEND_SELECT:
      return "select";
    case EVBACKEND_POLL:
      return "poll";
    case EVBACKEND_EPOLL:
      return "epoll";
    case EVBACKEND_LINUXAIO:
      return "linuxaio";
    case EVBACKEND_IOURING:
      return "io_uring";
    default:
      return "other";
  }
}

Instrument* Instrument::find(struct ev_loop* loop) noexcept {
  const std::uint64_t change = g_change.load(std::memory_order_acquire);
  Remembered& remembered = t_remembered;
  if (remembered.loop == loop && remembered.change == change) [[likely]]
    return remembered.instrument;
  Instrument* found = nullptr;
  const std::uint32_t used = g_used_slots.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < used && found == nullptr; ++i) {
    if (g_slots[i].loop.load(std::memory_order_acquire) == loop) {
      found = g_slots[i].instrument.load(std::memory_order_acquire);
    }
  }
  remembered = {loop, found, change};
  return found;
}

Instrument& Instrument::attach(struct ev_loop* loop, const LoopOptions& options) {
  if (loop == nullptr) throw std::invalid_argument("loopscope: the loop is null");
  if (Instrument* there = find(loop)) return *there;
  watch_exit();
  const std::string name =
      options.name.empty() ? "loop-" + std::to_string(g_loops_made.fetch_add(1) + 1) : options.name;
  if (options.stall_threshold.count() <= 0) {
    throw std::invalid_argument("loopscope: the stall threshold must be longer than zero");
  }
  LoopSettings settings;
  settings.name = name.c_str();
  settings.backend = backend_name(ev_backend(loop));
  settings.stall_threshold_ns = static_cast<std::uint64_t>(options.stall_threshold.count());
  settings.ring_turns = options.recent_turns;
  return *new Instrument(loop, settings);
}

Instrument::Instrument(struct ev_loop* loop, const LoopSettings& settings)
    : loop_(loop),
      recorder_(settings),
      handle_(*this),
      hooks_(read_host_hooks(loop)),
      sees_run_(ev_run_is_interposed()) {
  fork_settled_ = recorder_.generation();
  std::uint32_t slot = 0;
  for (; slot < recording::kMaxLoops; ++slot) {
    Instrument* free = nullptr;
    if (g_slots[slot].instrument.compare_exchange_strong(free, this, std::memory_order_acq_rel))
      break;
  }
  if (slot == recording::kMaxLoops)
    return;  // no room: the recorder has counted the drop, the loop stays as it is
  listed_ = true;
  g_slots[slot].loop.store(loop, std::memory_order_release);
  std::uint32_t used = g_used_slots.load(std::memory_order_relaxed);
  while (used < slot + 1 &&
         !g_used_slots.compare_exchange_weak(used, slot + 1, std::memory_order_acq_rel)) {
  }
  g_change.fetch_add(1, std::memory_order_acq_rel);

  install_hooks();
  if (!sees_run_) ev_set_invoke_pending_cb(loop, on_invoke_pending);

  // Neither may keep the loop alive. libev takes the reference of a cleanup watcher back by itself.
  ev_fork_init(&fork_watcher_, on_fork);
  fork_watcher_.data = this;
  ev_fork_start(loop, &fork_watcher_);
  ev_unref(loop);
  ev_cleanup_init(&cleanup_watcher_, on_cleanup);
  cleanup_watcher_.data = this;
  ev_cleanup_start(loop, &cleanup_watcher_);

  // Inside a callback of the loop already (or in a run that began before): nobody will tell that it
  // was entered.
  depth_ = sees_run_ ? static_cast<int>(ev_depth(loop)) : 0;
  if (depth_ > 0) recorder_.enter();
  ran_before_ = ev_iteration(loop) > 0;
  // Making a recording takes up to some ms (on a disk); timers started next must not be due that
  // much earlier.
  if (ev_depth(loop) == 0) ev_now_update(loop);
}

Instrument::~Instrument() = default;

void Instrument::detach() {
  for (Slot& slot : g_slots) {
    if (slot.instrument.load(std::memory_order_acquire) != this) continue;
    slot.loop.store(nullptr, std::memory_order_release);
    slot.instrument.store(nullptr, std::memory_order_release);
    if (hooked_) remove_hooks();
    if (of_epoll_fd(learned_epoll_fd_) == this)
      by_epoll_fd_[learned_epoll_fd_].store(nullptr, std::memory_order_release);
    if (!sees_run_) {
      ev_set_invoke_pending_cb(
          loop_, hooks_.invoke_pending != nullptr ? hooks_.invoke_pending : ev_invoke_pending);
    }
    ev_ref(loop_);
    ev_fork_stop(loop_, &fork_watcher_);
    ev_cleanup_stop(loop_, &cleanup_watcher_);
    break;
  }
  g_change.fetch_add(1, std::memory_order_acq_rel);
  // A callback that is being measured may have asked for this: its Measure still needs the
  // recorder.
  detached_ = true;
  if (measures_ == 0) delete this;
}

void Instrument::on_release(struct ev_loop* loop) noexcept {
  Instrument* instrument = find(loop);
  if (instrument == nullptr) return;
  if (instrument->hooks_.release != nullptr) instrument->hooks_.release(loop);
  recording::LoopRecorder& recorder = instrument->recorder_;
  recorder.poll_begin();
  if (recorder.generation() != instrument->fork_settled_) [[unlikely]] {
    // A forked child is about to wait and libev has not been told.
    recorder.set_used_after_fork(true);
    instrument->fork_settled_ = recorder.generation();
  }
  t_wait.seen = false;
  t_wait.of = instrument;
  t_wait.open = true;
}

void Instrument::on_acquire(struct ev_loop* loop) noexcept {
  WaitNote& wait = t_wait;
  wait.open = false;
  Instrument* instrument = find(loop);
  if (instrument == nullptr) return;
  if (wait.seen) [[likely]] {
    instrument->recorder_.poll_end(wait.outcome);
    if (wait.epoll_fd != instrument->learned_epoll_fd_) [[unlikely]]
      instrument->learn_epoll_fd(wait.epoll_fd);
  } else {
    // linuxaio and io_uring wait by system calls of their own: what they returned is not known.
    instrument->recorder_.poll_end(WaitOutcome{});
  }
  if (instrument->hooks_.acquire != nullptr) instrument->hooks_.acquire(loop);
}

void Instrument::on_invoke_pending(struct ev_loop* loop) {
  // Only installed where ev_run cannot be interposed: the end of the callbacks is then the last
  // that is known of a turn.
  Instrument* instrument = find(loop);
  const LoopHook host = instrument != nullptr ? instrument->hooks_.invoke_pending : nullptr;
  if (instrument != nullptr && instrument->depth_ == 0) instrument->recorder_.maybe_entering();
  if (host != nullptr) {
    host(loop);
  } else {
    ev_invoke_pending(loop);
  }
  instrument = find(loop);  // a callback may have released it
  if (instrument != nullptr && instrument->depth_ == 0) instrument->recorder_.maybe_leaving();
}

void Instrument::learn_epoll_fd(int epoll_fd) noexcept {
  const int saved = errno;
  learned_epoll_fd_ = epoll_fd;
  recorder_.set_epoll_fd(epoll_fd);
  if (ran_before_) note_registered(epoll_fd);
  ran_before_ = false;
  if (static_cast<unsigned>(epoll_fd) < kEpollFds && ev_backend(loop_) == EVBACKEND_EPOLL) {
    remove_hooks();
    by_epoll_fd_[epoll_fd].store(this, std::memory_order_release);
    take_from_probe(epoll_fd);
  }
  errno = saved;
}

void Instrument::take_from_probe(int epoll_fd) noexcept {
  if (ev_backend(loop_) != EVBACKEND_EPOLL) return;
  if (const recording::ProbeLink* probe = recording::find_probe()) probe->leave(epoll_fd);
}

void Instrument::install_hooks() noexcept {
  // While ours were not installed the host may have set others.
  const HostHooks now = read_host_hooks(loop_);
  if (now.release != static_cast<LoopHook>(on_release)) {
    hooks_.release = now.release;
    hooks_.acquire = now.acquire;
  }
  hooked_ = true;
  real_set_loop_release_cb(loop_, on_release, on_acquire);
}

void Instrument::remove_hooks() noexcept {
  hooked_ = false;
  real_set_loop_release_cb(loop_, hooks_.release, hooks_.acquire);
}

bool Instrument::waits_unsettled(const void* caller) noexcept {
  const int saved = errno;
  Dl_info from{};
  Dl_info libev{};
  const bool is_libev = dladdr(caller, &from) != 0 &&
                        dladdr(reinterpret_cast<void*>(&ev_loop_new), &libev) != 0 &&
                        from.dli_fbase == libev.dli_fbase;
  if (is_libev) {
    recorder_.settle_fork();
    recorder_.set_epoll_fd(learned_epoll_fd_);
    recorder_.set_used_after_fork(true);
    fork_settled_ = recorder_.generation();
  } else {
    by_epoll_fd_[learned_epoll_fd_].store(nullptr, std::memory_order_release);
    learned_epoll_fd_ = -1;
    install_hooks();
  }
  errno = saved;
  return is_libev;
}

void Instrument::on_fork(struct ev_loop* /*loop*/, ev_fork* watcher, int /*events*/) {
  auto* instrument = static_cast<Instrument*>(watcher->data);
  recording::LoopRecorder& recorder = instrument->recorder_;
  recorder.settle_fork();
  // libev is about to replace its epoll set; its new descriptor has to be learned. The host may
  // have changed its hooks since.
  if (!instrument->hooked_) {
    if (of_epoll_fd(instrument->learned_epoll_fd_) == instrument) {
      by_epoll_fd_[instrument->learned_epoll_fd_].store(nullptr, std::memory_order_release);
    }
    instrument->learned_epoll_fd_ = -1;
    instrument->install_hooks();
  }
  if (recorder.generation() != instrument->fork_settled_) {
    instrument->fork_settled_ = recorder.generation();  // ev_loop_fork was called, as it should be
  } else {
    // libev runs fork watchers also when it throws its epoll set away by itself, having met a stale
    // registration.
    recorder.backend_rebuilt();
  }
}

void Instrument::on_cleanup(struct ev_loop* /*loop*/, ev_cleanup* watcher, int /*events*/) {
  static_cast<Instrument*>(watcher->data)->detach();
}

void Instrument::name(ev_watcher* watcher, WatcherKind kind, std::string_view name) {
  if (!listed_) return;
  const WatcherCallback trampoline = trampoline_for(watcher->cb);
  if (trampoline == nullptr)
    return ProcessRecorder::instance().drop(recording::DropKind::kWatchers);
  const WatcherRef ref = recorder_.watcher(name.data(), name.size(), kind);
  const auto [at, fresh] = named_.try_emplace(watcher, Named{ref, kind});
  if (!fresh && at->second.ref != ref) recorder_.watcher_active(at->second.ref, -1, -1);
  if (fresh || at->second.ref != ref) {
    recorder_.watcher_active(ref, 1,
                             kind == WatcherKind::kIo ? reinterpret_cast<ev_io*>(watcher)->fd : -1);
  }
  at->second = {ref, kind};
  ev_set_cb(watcher, trampoline);
}

void Instrument::unname(ev_watcher* watcher) noexcept {
  const auto at = named_.find(watcher);
  if (at == named_.end()) return;
  ev_set_cb(watcher, behind_trampoline(watcher->cb));
  recorder_.watcher_active(at->second.ref, -1, -1);
  named_.erase(at);
}

void Instrument::on_named(WatcherCallback callback, struct ev_loop* loop, ev_watcher* watcher,
                          int events) {
  // Not known here: copied or moved, started on another loop, or left over from one that is gone.
  Instrument* instrument = find(loop);
  if (instrument == nullptr) return callback(loop, watcher, events);
  const auto at = instrument->named_.find(watcher);
  if (at == instrument->named_.end()) return callback(loop, watcher, events);
  const Named named = at->second;  // the callback may unname or free its watcher
  const bool is_timer = named.kind == WatcherKind::kTimer || named.kind == WatcherKind::kPeriodic;
  const Measure measure(*instrument, named.ref, is_timer);
  if (is_timer) instrument->raw_timer_lag(named, watcher, measure.start_ns());
  callback(loop, watcher, events);
}

void Instrument::raw_timer_lag(const Named& named, const ev_watcher* watcher,
                               std::uint64_t ran_ns) noexcept {
  // libev has already stopped the timer or moved its due time on, so the due time of this expiry is
  // worked out backwards. `at` of an active timer is its next due time in seconds of
  // CLOCK_MONOTONIC; ev_timer_stop leaves due time - time of the turn in it. Periodics work on
  // CLOCK_REALTIME and keep the time that follows.
  // Invoked by hand before the loop has ever waited: there is no turn to measure from.
  if (recorder_.turn_started_ns() == 0) return;
  double due = 0;
  if (named.kind == WatcherKind::kTimer) {
    const auto* timer = reinterpret_cast<const ev_timer*>(watcher);
    if (ev_is_active(timer)) {
      due = timer->at - timer->repeat;
    } else if (timer->repeat > 0.) {
      return;  // stopped and fed by hand: no due time
    } else {
      due = timer->at + static_cast<double>(recorder_.turn_started_ns()) * 1e-9;
    }
  } else {
    const auto* periodic = reinterpret_cast<const ev_periodic*>(watcher);
    if (!ev_is_active(periodic) || periodic->reschedule_cb != nullptr || periodic->interval <= 0.)
      return;
    const double offset = (static_cast<double>(recording::realtime_ns()) -
                           static_cast<double>(recording::monotonic_ns())) *
                          1e-9;
    due = periodic->at - periodic->interval - offset;
  }
  if (due > 0) recorder_.timer_lag(named.ref, static_cast<std::uint64_t>(due * 1e9), ran_ns);
}

}  // namespace loopscope::detail

namespace loopscope {
namespace {

using recording::WatcherKind;

template <typename Event>
ev_watcher* base(Event* watcher) {
  return reinterpret_cast<ev_watcher*>(
      watcher);  // NOLINT: libev's watchers all begin with an ev_watcher
}

}  // namespace

void InstrumentedLoop::name(ev_io* watcher, std::string_view name) {
  instrument_.name(base(watcher), WatcherKind::kIo, name);
}
void InstrumentedLoop::name(ev_timer* watcher, std::string_view name) {
  instrument_.name(base(watcher), WatcherKind::kTimer, name);
}
void InstrumentedLoop::name(ev_periodic* watcher, std::string_view name) {
  instrument_.name(base(watcher), WatcherKind::kPeriodic, name);
}
void InstrumentedLoop::name(ev_signal* watcher, std::string_view name) {
  instrument_.name(base(watcher), WatcherKind::kSignal, name);
}
void InstrumentedLoop::name(ev_child* watcher, std::string_view name) {
  instrument_.name(base(watcher), WatcherKind::kChild, name);
}
void InstrumentedLoop::name(ev_stat* watcher, std::string_view name) {
  instrument_.name(base(watcher), WatcherKind::kStat, name);
}
void InstrumentedLoop::name(ev_idle* watcher, std::string_view name) {
  instrument_.name(base(watcher), WatcherKind::kIdle, name);
}
void InstrumentedLoop::name(ev_prepare* watcher, std::string_view name) {
  instrument_.name(base(watcher), WatcherKind::kPrepare, name);
}
void InstrumentedLoop::name(ev_check* watcher, std::string_view name) {
  instrument_.name(base(watcher), WatcherKind::kCheck, name);
}
void InstrumentedLoop::name(ev_fork* watcher, std::string_view name) {
  instrument_.name(base(watcher), WatcherKind::kFork, name);
}
void InstrumentedLoop::name(ev_async* watcher, std::string_view name) {
  instrument_.name(base(watcher), WatcherKind::kAsync, name);
}

void InstrumentedLoop::unname(void* watcher) {
  instrument_.unname(static_cast<ev_watcher*>(watcher));
}
void InstrumentedLoop::release() { instrument_.detach(); }
void InstrumentedLoop::pause(bool paused) { instrument_.recorder().pause(paused); }
std::uint32_t InstrumentedLoop::id() const { return instrument_.recorder().id(); }
struct ev_loop* InstrumentedLoop::native_handle() const {
  return instrument_.loop();
}

InstrumentedLoop& instrument(struct ev_loop* loop, const LoopOptions& options) {
  return detail::Instrument::attach(loop, options).handle();
}

std::string recording_error() { return recording::ProcessRecorder::instance().region().error; }
std::string recording_path() {
  const recording::ProcessRecorder& process = recording::ProcessRecorder::instance();
  return process.settled() ? process.region().path : "";  // of a forked child: not the parent's
}

}  // namespace loopscope
