// SPDX-License-Identifier: Apache-2.0
//
// Functions of libc and libev that this library defines before they do, so that it sees what
// passes:
//
//   epoll_wait, poll, select    the kernel's own number of ready events, the timeout asked for,
//   errors epoll_ctl                   which descriptors are registered ev_run when the thread
//   enters and leaves its loop ev_set_loop_release_cb      hooks that the host sets after us are
//   kept and called instead of replacing ours
//
// All are weak and pass through to the next definition (another preload's, libc's, libev's), with
// its result and errno. What they do on top is a few loads unless this very thread is inside a
// recorded loop's wait. A program that is linked so that libev comes before loopscope goes without
// the last two (see Instrument::on_invoke_pending).
#include "loop/interpose.h"

#include <dlfcn.h>
#include <ev.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include <cerrno>

#include "loop/instrument.h"
#include "loopscope/export.h"

#define LOOPSCOPE_INTERPOSED LOOPSCOPE_EXPORT __attribute__((weak))

// Said before the first use, as GCC wants it: these are ours only if nobody else has one.
#pragma weak ev_run
#pragma weak ev_set_loop_release_cb

/// The body of our ev_run; by comparing addresses we learn whether a call of ev_run reaches it.
extern "C" [[gnu::visibility("hidden")]] int loopscope_own_ev_run(struct ev_loop* loop, int flags);

namespace loopscope::detail {
namespace {

using recording::WaitOutcome;
using recording::WaitResult;

/// The definition after ours, in libc's case always there. dlsym(3) is not async-signal-safe, so
/// the library's constructor looks everything up early.
template <typename Function>
Function* next(const char* name) noexcept {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

/// libev's. Where it was linked before loopscope, or statically into the program, its definition is
/// not after ours; but then it is the one that a plain reference, `first`, reaches.
template <typename Function>
Function* libevs(const char* name, Function* first) noexcept {
  Function* found = next<Function>(name);
  return found != nullptr ? found : first;
}

struct Next {
  decltype(&::epoll_wait) epoll_wait = next<decltype(::epoll_wait)>("epoll_wait");
  decltype(&::epoll_ctl) epoll_ctl = next<decltype(::epoll_ctl)>("epoll_ctl");
  decltype(&::poll) poll = next<decltype(::poll)>("poll");
  decltype(&::select) select = next<decltype(::select)>("select");
  decltype(&::ev_run) ev_run = libevs("ev_run", &::ev_run);
  void (*set_release)(struct ev_loop*, LoopHook, LoopHook) =
      libevs<void(struct ev_loop*, LoopHook, LoopHook)>(
          "ev_set_loop_release_cb", reinterpret_cast<void (*)(struct ev_loop*, LoopHook, LoopHook)>(
                                        &::ev_set_loop_release_cb));
};

const Next& real() noexcept {
  static const Next functions;
  return functions;
}

[[gnu::constructor]] void look_up_early() { real(); }

void note(int returned, int error, std::int64_t timeout_ns, int epoll_fd, int most) noexcept {
  WaitNote& wait = t_wait;
  WaitOutcome& outcome = wait.outcome;
  wait.seen = true;
  wait.epoll_fd = epoll_fd;
  outcome.timeout_ns = timeout_ns < 0 ? recording::kTimeoutInfinite : timeout_ns;
  outcome.ready = returned > 0 ? returned : 0;
  outcome.saturated = most > 0 && returned == most;
  if (returned > 0) {
    outcome.result = WaitResult::kEvents;
  } else if (returned == 0) {
    outcome.result = WaitResult::kTimeout;
  } else {
    outcome.result = error == EINTR ? WaitResult::kInterrupted : WaitResult::kError;
  }
}

std::int64_t milliseconds(int timeout) noexcept {
  return timeout < 0 ? -1 : std::int64_t{timeout} * 1'000'000;
}

}  // namespace

void real_set_loop_release_cb(struct ev_loop* loop, LoopHook release, LoopHook acquire) {
  real().set_release(loop, release, acquire);
}

bool ev_run_is_interposed() noexcept { return &::ev_run == &loopscope_own_ev_run; }

}  // namespace loopscope::detail

using loopscope::detail::Instrument;
using loopscope::detail::t_wait;

extern "C" {

LOOPSCOPE_INTERPOSED int epoll_wait(int epfd, struct epoll_event* events, int maxevents,
                                    int timeout) {
  const int returned = loopscope::detail::real().epoll_wait(epfd, events, maxevents, timeout);
  if (t_wait.open) {
    loopscope::detail::note(returned, errno, loopscope::detail::milliseconds(timeout), epfd,
                            maxevents);
  }
  return returned;
}

LOOPSCOPE_INTERPOSED int poll(struct pollfd* fds, nfds_t count, int timeout) {
  const int returned = loopscope::detail::real().poll(fds, count, timeout);
  if (t_wait.open)
    loopscope::detail::note(returned, errno, loopscope::detail::milliseconds(timeout), -1, 0);
  return returned;
}

LOOPSCOPE_INTERPOSED int select(int count, fd_set* read, fd_set* write, fd_set* except,
                                struct timeval* timeout) {
  // Read before the call: Linux' select changes it.
  const std::int64_t asked = timeout == nullptr ? -1
                                                : std::int64_t{timeout->tv_sec} * 1'000'000'000 +
                                                      std::int64_t{timeout->tv_usec} * 1'000;
  const int returned = loopscope::detail::real().select(count, read, write, except, timeout);
  if (t_wait.open) loopscope::detail::note(returned, errno, asked, -1, 0);
  return returned;
}

LOOPSCOPE_INTERPOSED int epoll_ctl(int epfd, int operation, int fd,
                                   struct epoll_event* event) noexcept {
  // Read before the call: a callback on another thread may reuse the memory as soon as the kernel
  // has it.
  const std::uint32_t events = event != nullptr && operation != EPOLL_CTL_DEL ? event->events : 0;
  const int returned = loopscope::detail::real().epoll_ctl(epfd, operation, fd, event);
  if (returned == 0) {
    if (auto* process = loopscope::recording::ProcessRecorder::existing()) {
      process->register_fd(fd, operation == EPOLL_CTL_DEL ? -1 : epfd, events);
    }
  }
  return returned;
}

int loopscope_own_ev_run(struct ev_loop* loop, int flags) {
  // Looked up again at the end: a callback may have instrumented the loop, or released it.
  struct Scope {
    struct ev_loop* loop;
    ~Scope() {
      if (Instrument* instrument = Instrument::find(loop)) instrument->leave();
    }
  };
  if (Instrument* instrument = Instrument::find(loop)) instrument->enter();
  const Scope scope{loop};
  return loopscope::detail::real().ev_run(loop, flags);
}

LOOPSCOPE_INTERPOSED int ev_run(struct ev_loop* loop, int flags)
    __attribute__((alias("loopscope_own_ev_run")));

LOOPSCOPE_INTERPOSED void ev_set_loop_release_cb(struct ev_loop* loop,
                                                 void (*release)(struct ev_loop*) EV_NOEXCEPT,
                                                 void (*acquire)(struct ev_loop*)
                                                     EV_NOEXCEPT) EV_NOEXCEPT {
  if (Instrument* instrument = Instrument::find(loop)) {
    instrument->set_host_hooks(release, acquire);
    return;
  }
  loopscope::detail::real().set_release(loop, release, acquire);
}

}  // extern "C"
