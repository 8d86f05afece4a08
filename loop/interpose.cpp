// SPDX-License-Identifier: Apache-2.0
//
// Functions of libc and libev that this library defines before they do, so that it sees what
// passes.
//
// epoll_wait: a loop's turn is measured here (see Instrument, "two ways to see a wait").
// epoll_wait, poll, select: the kernel's own number of ready events, the timeout asked for, errors.
// epoll_ctl: which descriptors are registered.
// ev_run: when the thread enters and leaves its loop.
// ev_set_loop_release_cb: hooks that the host sets while ours are installed are kept and called.
//
// All are weak and pass through to the next definition (another preload's, libc's, libev's), with
// its result and errno. For a descriptor and a thread that have nothing to do with a recorded loop
// they cost a few loads. A program that is linked so that libev comes before loopscope goes without
// the last two (see Instrument::on_invoke_pending).
#include "loop/interpose.h"

#include <dlfcn.h>
#include <ev.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <unistd.h>

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
  decltype(&::epoll_wait) epoll_wait;
  decltype(&::epoll_ctl) epoll_ctl;
  decltype(&::poll) poll;
  decltype(&::select) select;
  decltype(&::ev_run) ev_run;
  void (*set_release)(struct ev_loop*, LoopHook, LoopHook);
};
constinit Next g_next{};

/// In a fully static program there is nothing behind ours: then the system call itself.
int raw_epoll_wait(int epfd, struct epoll_event* events, int most, int timeout) {
  return static_cast<int>(syscall(SYS_epoll_pwait, epfd, events, most, timeout, nullptr, 8));
}
int raw_epoll_ctl(int epfd, int operation, int fd, struct epoll_event* event) noexcept {
  return static_cast<int>(syscall(SYS_epoll_ctl, epfd, operation, fd, event));
}
int raw_poll(struct pollfd* fds, nfds_t count, int timeout) {
  struct timespec time {
    timeout / 1000, timeout % 1000 * 1'000'000L
  };
  return static_cast<int>(
      syscall(SYS_ppoll, fds, count, timeout < 0 ? nullptr : &time, nullptr, 8));
}
int raw_select(int count, fd_set* read, fd_set* write, fd_set* except, struct timeval* timeout) {
  struct timespec time {};
  if (timeout != nullptr) time = {timeout->tv_sec, timeout->tv_usec * 1'000L};
  const auto returned = static_cast<int>(syscall(SYS_pselect6, count, read, write, except,
                                                 timeout != nullptr ? &time : nullptr, nullptr));
  if (timeout != nullptr) *timeout = {time.tv_sec, time.tv_nsec / 1'000};
  return returned;
}

template <typename Function>
Function* next_or(const char* name, Function* raw) noexcept {
  Function* found = next<Function>(name);
  return found != nullptr ? found : raw;
}

/// Before any thread exists: as one of the program's first constructors, or at the first call from
/// one that is earlier still.
[[gnu::constructor]] void look_up() noexcept {
  g_next.epoll_ctl = next_or("epoll_ctl", raw_epoll_ctl);
  g_next.poll = next_or("poll", raw_poll);
  g_next.select = next_or("select", raw_select);
  g_next.ev_run = libevs("ev_run", &::ev_run);
  g_next.set_release = libevs<void(struct ev_loop*, LoopHook, LoopHook)>(
      "ev_set_loop_release_cb",
      reinterpret_cast<decltype(g_next.set_release)>(&::ev_set_loop_release_cb));
  __atomic_store_n(&g_next.epoll_wait, next_or("epoll_wait", raw_epoll_wait), __ATOMIC_RELEASE);
}

const Next& real() noexcept {
  if (g_next.epoll_wait == nullptr) [[unlikely]]
    look_up();
  return g_next;
}

/// For a loop that is measured by hooks, if one is in its wait on this thread.
void note(int returned, std::int64_t timeout_ns, int epoll_fd, int most) noexcept {
  WaitNote& wait = t_wait;
  if (!wait.open) [[likely]]
    return;
  wait.seen = true;
  wait.epoll_fd = epoll_fd;
  wait.outcome = recording::wait_outcome(returned, timeout_ns, most);
}

std::int64_t milliseconds(int timeout) noexcept {
  return timeout < 0 ? recording::kTimeoutInfinite : std::int64_t{timeout} * 1'000'000;
}

}  // namespace

void real_set_loop_release_cb(struct ev_loop* loop, LoopHook release, LoopHook acquire) {
  real().set_release(loop, release, acquire);
}

bool ev_run_is_interposed() noexcept { return &::ev_run == &loopscope_own_ev_run; }

}  // namespace loopscope::detail

using namespace loopscope::detail;  // NOLINT(google-build-using-namespace): the definitions below
                                    // are C's

extern "C" {

LOOPSCOPE_INTERPOSED int epoll_wait(int epfd, struct epoll_event* events, int maxevents,
                                    int timeout) {
  if (Instrument* instrument = Instrument::of_epoll_fd(epfd)) {
    if (instrument->fork_settled() || instrument->waits_unsettled(__builtin_return_address(0)))
        [[likely]] {
      loopscope::recording::LoopRecorder& recorder = instrument->recorder();
      recorder.poll_begin();
      const int returned = real().epoll_wait(epfd, events, maxevents, timeout);
      recorder.poll_end(
          loopscope::recording::wait_outcome(returned, milliseconds(timeout), maxevents));
      return returned;
    }
  }
  // The probe would take a first wait, which may be long, for that of a loop of its own.
  if (t_wait.open) t_wait.of->take_from_probe(epfd);
  const int returned = real().epoll_wait(epfd, events, maxevents, timeout);
  note(returned, milliseconds(timeout), epfd, maxevents);
  return returned;
}

LOOPSCOPE_INTERPOSED int poll(struct pollfd* fds, nfds_t count, int timeout) {
  const int returned = real().poll(fds, count, timeout);
  note(returned, milliseconds(timeout), -1, 0);
  return returned;
}

LOOPSCOPE_INTERPOSED int select(int count, fd_set* read, fd_set* write, fd_set* except,
                                struct timeval* timeout) {
  // Read before the call: Linux' select changes it.
  const std::int64_t asked = timeout == nullptr ? loopscope::recording::kTimeoutInfinite
                                                : std::int64_t{timeout->tv_sec} * 1'000'000'000 +
                                                      std::int64_t{timeout->tv_usec} * 1'000;
  const int returned = real().select(count, read, write, except, timeout);
  note(returned, asked, -1, 0);
  return returned;
}

LOOPSCOPE_INTERPOSED int epoll_ctl(int epfd, int operation, int fd,
                                   struct epoll_event* event) noexcept {
  // Read before the call: a callback on another thread may reuse the memory as soon as the kernel
  // has it.
  const std::uint32_t events = event != nullptr && operation != EPOLL_CTL_DEL ? event->events : 0;
  const int returned = real().epoll_ctl(epfd, operation, fd, event);
  if (returned == 0) {
    if (auto* process = loopscope::recording::ProcessRecorder::existing()) {
      if (operation == EPOLL_CTL_DEL) {
        process->unregister_fd(fd, epfd);
      } else {
        process->register_fd(fd, epfd, events);
      }
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
  return real().ev_run(loop, flags);
}

LOOPSCOPE_INTERPOSED int ev_run(struct ev_loop* loop, int flags)
    __attribute__((alias("loopscope_own_ev_run")));

LOOPSCOPE_INTERPOSED void ev_set_loop_release_cb(struct ev_loop* loop,
                                                 void (*release)(struct ev_loop*) EV_NOEXCEPT,
                                                 void (*acquire)(struct ev_loop*)
                                                     EV_NOEXCEPT) EV_NOEXCEPT {
  if (Instrument* instrument = Instrument::find(loop)) {
    if (instrument->take_host_hooks(release, acquire)) return;
  }
  real().set_release(loop, release, acquire);
}

}  // extern "C"
