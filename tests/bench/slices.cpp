// SPDX-License-Identifier: Apache-2.0
//
// Nanoseconds a turn and nanoseconds a callback, measured inside one process.
//
// One workload runs in short slices. Before each slice the loop is put into one of several states:
// bare libev as without loopscope (bare_libev.h), recorded, recorded with named callbacks, with a
// peer's instrumentation, and so on. A round has one slice of every state, in an order that is
// drawn anew for each round; the program prints, for every state, the median over thousands of
// rounds of its difference to the bare slice of the same round. What disturbs whole processes
// (heat, memory layout, neighbours) disturbs all slices of a round alike, and what hits single
// slices (an interrupt, a switch to another task) is passed over by the median. A second bare state
// in every round shows what the method itself makes of no difference at all.
//
//   slices --workload io|timers|churn [--watched N] [--active A] [--kind pipe|tcp]
//          [--api instrument|loop] [--peers 1] [--compare on-off|off-off] [--seconds S] [--cpu C]
//          [--recent-turns N] [--slice-us N] [--only STATE]
#include <arpa/inet.h>
#include <ev.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <prometheus/histogram.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cmath>
#include <deque>
#include <memory>
#include <random>

#include "loop/instrument.h"
#include "loopscope/loop.h"
#include "tests/bench/bare_libev.h"
#include "tests/bench/support.h"

namespace loopscope::bench {
namespace {

enum class State {
  kBare,        // as without loopscope
  kBareAgain,   // the same, to show the method's noise
  kPaused,      // instrumented, recording switched off
  kRecorded,    // instrumented
  kNamed,       // instrumented, and the callbacks are named and timed
  kFloorTsc,    // peers: two reads of the TSC, a cache line of stores
  kFloorClock,  // two clock_gettime(2), a cache line of stores
  kPrometheus,  // two clock_gettime(2) and two prometheus::Histogram::Observe, prepare/check
  kCount,
};
constexpr const char* kStateNames[] = {"bare",  "bare-again", "paused",      "recorded",
                                       "named", "floor-tsc",  "floor-clock", "prometheus"};

/// Callbacks of the driving kind (reads, accepted connections) still to run in this slice.
long g_left = 0;

// --- peers ---

struct alignas(64) FloorLine {
  std::uint64_t words[8];
};
FloorLine g_floor;

void store_floor(std::uint64_t begin, std::uint64_t end) {
  for (std::uint64_t& word : g_floor.words) __atomic_store_n(&word, end - begin, __ATOMIC_RELAXED);
}
std::uint64_t g_floor_begin = 0;
#if defined(__x86_64__)
void floor_tsc_release(struct ev_loop*) EV_NOEXCEPT { g_floor_begin = __builtin_ia32_rdtsc(); }
void floor_tsc_acquire(struct ev_loop*) EV_NOEXCEPT {
  store_floor(g_floor_begin, __builtin_ia32_rdtsc());
}
#endif
void floor_clock_release(struct ev_loop*) EV_NOEXCEPT { g_floor_begin = monotonic_ns(); }
void floor_clock_acquire(struct ev_loop*) EV_NOEXCEPT {
  store_floor(g_floor_begin, monotonic_ns());
}

/// What a careful user writes by hand: the wait and the busy time as two histograms.
struct PrometheusPeer {
  static prometheus::Histogram::BucketBoundaries bounds() {
    prometheus::Histogram::BucketBoundaries bounds;
    for (int power = 0; power <= 24; ++power) bounds.push_back(std::ldexp(1e-6, power));
    return bounds;
  }
  prometheus::Histogram wait{bounds()};
  prometheus::Histogram busy{bounds()};
  std::uint64_t wait_began = 0;
  std::uint64_t busy_began = monotonic_ns();
  ev_prepare prepare{};
  ev_check check{};

  void start(struct ev_loop* loop) {
    ev_prepare_init(&prepare, [](struct ev_loop*, ev_prepare* watcher, int) {
      auto& self = *static_cast<PrometheusPeer*>(watcher->data);
      self.wait_began = monotonic_ns();
      self.busy.Observe(static_cast<double>(self.wait_began - self.busy_began) * 1e-9);
    });
    ev_check_init(&check, [](struct ev_loop*, ev_check* watcher, int) {
      auto& self = *static_cast<PrometheusPeer*>(watcher->data);
      self.busy_began = monotonic_ns();
      self.wait.Observe(static_cast<double>(self.busy_began - self.wait_began) * 1e-9);
    });
    prepare.data = check.data = this;
    ev_prepare_start(loop, &prepare);
    ev_check_start(loop, &check);
  }
  void stop(struct ev_loop* loop) {
    ev_prepare_stop(loop, &prepare);
    ev_check_stop(loop, &check);
  }
};

// --- workloads ---

enum class Api { kInstrument, kLoop };
/// Which watchers of a workload are active.
enum class Callbacks { kNone, kBare, kNamed };

struct Context {
  struct ev_loop* loop;
  InstrumentedLoop* instrumented;  // null with Api::kLoop
  Loop* owner;                     // null with Api::kInstrument
};

class Workload {
 public:
  virtual ~Workload() = default;
  virtual void switch_to(Callbacks callbacks) = 0;
  /// Called with all watchers of the wanted kind active, before each slice.
  virtual void begin_slice() {}
  /// Callbacks that kNamed times, per unit of g_left.
  virtual double callbacks_per_unit() const = 0;
  /// Units of g_left in a turn.
  virtual double units_per_turn() const = 0;
};

void one_done(struct ev_loop* loop) {
  if (--g_left == 0) ev_break(loop, EVBREAK_ONE);
}

/// A descriptor to read from, and one that makes it readable again.
struct Ends {
  int read_end = -1;
  int write_end = -1;
};

void pass_on(const Ends& ends) {
  char byte = 0;
  if (read(ends.read_end, &byte, 1) != 1) die_errno("read");
  if (write(ends.write_end, &byte, 1) != 1) die_errno("write");
}

Ends make_pipe() {
  int ends[2];
  must(pipe2(ends, O_NONBLOCK | O_CLOEXEC), "pipe2");
  return {ends[0], ends[1]};
}

/// A pipe that never becomes readable and costs one descriptor: both ends are open on it.
int make_idle_pipe() {
  const Ends ends = make_pipe();
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", ends.read_end);
  const int both = must(open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC), "open a pipe's both ends");
  close(ends.read_end);
  close(ends.write_end);
  return both;
}

class Listener {
 public:
  Listener() {
    fd_ = must(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(bind(fd_, reinterpret_cast<sockaddr*>(&address_), sizeof address_), "bind");
    socklen_t size = sizeof address_;
    must(getsockname(fd_, reinterpret_cast<sockaddr*>(&address_), &size), "getsockname");
    must(listen(fd_, 1024), "listen");
  }
  /// The connecting side, connected when this returns.
  int connect_to() const {
    const int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    // Closing resets the connection: no port is left in TIME_WAIT.
    const linger abort{1, 0};
    must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort), "SO_LINGER");
    must(connect(fd, reinterpret_cast<const sockaddr*>(&address_), sizeof address_), "connect");
    return fd;
  }
  int accept_one() const { return accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC); }
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
  sockaddr_in address_{};
};

/// `active` of `watched` descriptors are readable in every turn.
class IoWorkload : public Workload {
 public:
  IoWorkload(const Context& context, int watched, int active, bool tcp)
      : context_(context), active_(active) {
    idle_.resize(static_cast<std::size_t>(watched - active));
    if (tcp) {
      make_idle_connections();
    } else {
      for (ev_io& watcher : idle_) ev_io_set(&watcher, make_idle_pipe(), EV_READ);
    }
    for (ev_io& watcher : idle_) {
      ev_set_cb(&watcher, [](struct ev_loop*, ev_io*, int) { die("an idle descriptor is ready"); });
      ev_io_start(context_.loop, &watcher);
    }
    const Listener listener;
    for (int i = 0; i < active; ++i) {
      Ends ends;
      if (tcp) {
        ends.write_end = listener.connect_to();
        ends.read_end = must(listener.accept_one(), "accept4");
      } else {
        ends = make_pipe();
      }
      if (write(ends.write_end, "x", 1) != 1) die_errno("write");
      add(ends);
    }
    close(listener.fd());
  }

  void switch_to(Callbacks callbacks) override {
    if (callbacks == callbacks_) return;
    for (Active& active : watchers_) {
      if (callbacks_ == Callbacks::kBare) ev_io_stop(context_.loop, &active.bare);
      if (callbacks_ == Callbacks::kNamed) {
        if (context_.owner != nullptr) {
          active.io.stop();
        } else {
          ev_io_stop(context_.loop, &active.named);
        }
      }
      if (callbacks == Callbacks::kBare) ev_io_start(context_.loop, &active.bare);
      if (callbacks == Callbacks::kNamed) {
        if (context_.owner != nullptr) {
          active.io.start();
        } else {
          ev_io_start(context_.loop, &active.named);
        }
      }
    }
    callbacks_ = callbacks;
  }

  double callbacks_per_unit() const override { return 1; }
  double units_per_turn() const override { return active_; }

 private:
  struct Active {
    Ends ends;
    ev_io bare{};
    ev_io named{};
    Io io;
  };

  static void on_read(struct ev_loop* loop, ev_io* watcher, int) {
    pass_on(*static_cast<Ends*>(watcher->data));
    one_done(loop);
  }

  void add(const Ends& ends) {
    Active& active = watchers_.emplace_back();
    active.ends = ends;
    for (ev_io* watcher : {&active.bare, &active.named}) {
      ev_io_init(watcher, on_read, ends.read_end, EV_READ);
      watcher->data = &active.ends;
    }
    if (context_.owner != nullptr) {
      active.io = Io(*context_.owner, "pipe", ends.read_end, kRead,
                     [loop = context_.loop, at = &active.ends](int) {
                       pass_on(*at);
                       one_done(loop);
                     });
      active.io.stop();
    } else {
      context_.instrumented->name(&active.named, "pipe");
    }
  }

  /// The other ends are in a child, so that this process needs one descriptor for each.
  void make_idle_connections() {
    const Listener listener;
    const pid_t parent = getpid();
    if (must(fork(), "fork") == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(0);
      for (std::size_t i = 0; i < idle_.size(); ++i) listener.connect_to();
      for (;;) pause();
    }
    for (ev_io& watcher : idle_) {
      int fd = -1;
      while ((fd = listener.accept_one()) < 0) {
        if (errno != EAGAIN) die_errno("accept4");
        usleep(100);
      }
      ev_io_set(&watcher, fd, EV_READ);
    }
    close(listener.fd());
  }

  Context context_;
  int active_;
  Callbacks callbacks_ = Callbacks::kNone;
  std::deque<ev_io> idle_;
  std::deque<Active> watchers_;
};

/// `watched` timers in the heap, `active` more expire in every turn. libev waits at least a
/// millisecond when only timers are due, so a pipe ends each wait at once.
class TimerWorkload : public Workload {
 public:
  TimerWorkload(const Context& context, int watched, int active)
      : context_(context), idle_(static_cast<std::size_t>(watched)), active_(active) {
    std::mt19937_64 random(1);
    std::uniform_real_distribution<double> due(1e5, 1e6);
    for (ev_timer& timer : idle_) {
      ev_timer_init(
          &timer, [](struct ev_loop*, ev_timer*, int) {}, due(random), 0.);
      ev_timer_start(context_.loop, &timer);
    }
    for (int i = 0; i < active; ++i) {
      Active& timer = timers_.emplace_back();
      for (ev_timer* each : {&timer.bare, &timer.named}) ev_timer_init(each, on_timer, 0., 0.);
      if (context_.owner != nullptr) {
        timer.timer = Timer(*context_.owner, "timer", Seconds(1e5), Seconds(0),
                            [at = &timer] { at->timer.restart(Seconds(0)); });
        timer.timer.stop();
      } else {
        context_.instrumented->name(&timer.named, "timer");
      }
    }
    pipe_ = make_pipe();
    ev_io_init(&driver_, on_read, pipe_.read_end, EV_READ);
    driver_.data = &pipe_;
    ev_io_start(context_.loop, &driver_);
    if (write(pipe_.write_end, "x", 1) != 1) die_errno("write");
  }

  void switch_to(Callbacks callbacks) override {
    if (callbacks == callbacks_) return;
    for (Active& timer : timers_) {
      if (callbacks_ == Callbacks::kBare) ev_timer_stop(context_.loop, &timer.bare);
      if (callbacks_ == Callbacks::kNamed) {
        if (context_.owner != nullptr) {
          timer.timer.stop();
        } else {
          ev_timer_stop(context_.loop, &timer.named);
        }
      }
      if (callbacks == Callbacks::kBare) rearm(context_.loop, &timer.bare);
      if (callbacks == Callbacks::kNamed) {
        if (context_.owner != nullptr) {
          timer.timer.restart(Seconds(0));
        } else {
          rearm(context_.loop, &timer.named);
        }
      }
    }
    callbacks_ = callbacks;
  }

  double callbacks_per_unit() const override { return active_; }
  double units_per_turn() const override { return 1; }

 private:
  struct Active {
    ev_timer bare{};
    ev_timer named{};
    Timer timer;
  };

  static void rearm(struct ev_loop* loop, ev_timer* timer) {
    ev_timer_set(timer, 0., 0.);
    ev_timer_start(loop, timer);
  }
  static void on_timer(struct ev_loop* loop, ev_timer* timer, int) { rearm(loop, timer); }
  static void on_read(struct ev_loop* loop, ev_io* watcher, int) {
    pass_on(*static_cast<Ends*>(watcher->data));
    one_done(loop);
  }

  Context context_;
  std::deque<ev_timer> idle_;
  std::deque<Active> timers_;
  int active_;
  Ends pipe_;
  ev_io driver_{};
  Callbacks callbacks_ = Callbacks::kNone;
};

/// A connection is accepted and watched in one turn, seen to be gone and closed in the next, and
/// the next one is opened. One unit is one connection.
class ChurnWorkload : public Workload {
 public:
  explicit ChurnWorkload(const Context& context) : context_(context) {
    for (ev_io* watcher : {&bare_, &named_}) {
      ev_io_init(watcher, on_connection, listener_.fd(), EV_READ);
      watcher->data = this;
    }
    if (context_.owner != nullptr) {
      io_ = Io(*context_.owner, "listener", listener_.fd(), kRead, [this](int) { accepted_io(); });
      io_.stop();
    } else {
      context_.instrumented->name(&named_, "listener");
    }
  }

  void switch_to(Callbacks callbacks) override {
    if (callbacks == callbacks_) return;
    if (callbacks_ == Callbacks::kBare) ev_io_stop(context_.loop, &bare_);
    if (callbacks_ == Callbacks::kNamed) {
      if (context_.owner != nullptr) {
        io_.stop();
      } else {
        ev_io_stop(context_.loop, &named_);
      }
    }
    if (callbacks == Callbacks::kBare) ev_io_start(context_.loop, &bare_);
    if (callbacks == Callbacks::kNamed) {
      if (context_.owner != nullptr) {
        io_.start();
      } else {
        ev_io_start(context_.loop, &named_);
      }
    }
    callbacks_ = callbacks;
  }

  void begin_slice() override {
    if (client_ < 0) client_ = listener_.connect_to();
  }
  double callbacks_per_unit() const override { return 2; }
  double units_per_turn() const override { return 0.5; }

 private:
  struct Connection {
    ev_io watcher{};
    Io io;
    ChurnWorkload* churn = nullptr;
  };

  int accept_and_hang_up() {
    const int fd = must(listener_.accept_one(), "accept4");
    close(client_);
    client_ = -1;
    return fd;
  }

  void gone(int fd) {
    char byte = 0;
    if (read(fd, &byte, 1) > 0) die("a connection that was hung up has data");
    close(fd);
    if (g_left > 1) client_ = listener_.connect_to();
    one_done(context_.loop);
  }

  static void on_connection(struct ev_loop* loop, ev_io* watcher, int) {
    auto* churn = static_cast<ChurnWorkload*>(watcher->data);
    auto connection = std::make_unique<Connection>();
    connection->churn = churn;
    ev_io_init(&connection->watcher, on_gone, churn->accept_and_hang_up(), EV_READ);
    connection->watcher.data = connection.get();
    if (churn->callbacks_ == Callbacks::kNamed) {
      churn->context_.instrumented->name(&connection->watcher, "connection");
    }
    ev_io_start(loop, &connection.release()->watcher);
  }
  static void on_gone(struct ev_loop* loop, ev_io* watcher, int) {
    const std::unique_ptr<Connection> connection(static_cast<Connection*>(watcher->data));
    ev_io_stop(loop, watcher);
    ChurnWorkload* churn = connection->churn;
    if (churn->callbacks_ == Callbacks::kNamed) churn->context_.instrumented->unname(watcher);
    churn->gone(watcher->fd);
  }

  void accepted_io() {
    auto* connection = new Connection;
    connection->churn = this;
    const int fd = accept_and_hang_up();
    connection->io = Io(*context_.owner, "connection", fd, kRead, [connection](int) {
      const std::unique_ptr<Connection> owned(connection);
      const int number = connection->io.fd();
      connection->io.stop();
      connection->churn->gone(number);
    });
  }

  Context context_;
  Listener listener_;
  ev_io bare_{};
  ev_io named_{};
  Io io_;
  int client_ = -1;
  Callbacks callbacks_ = Callbacks::kNone;
};

// --- the measurement ---

class Bench {
 public:
  explicit Bench(Options& options) {
    api_ = options.text("api", "instrument") == "loop" ? Api::kLoop : Api::kInstrument;
    const int watched = options.integer("watched", 100);
    const int active = options.integer("active", 1);
    const std::string workload = options.text("workload", "io");
    const std::string kind = options.text("kind", "pipe");
    const std::string compare = options.text("compare", "on-off");
    const bool peers = options.integer("peers", 0) != 0;
    LoopOptions loop_options;
    loop_options.name = "bench";
    loop_options.recent_turns = static_cast<unsigned>(options.integer("recent-turns", 4096));
    const std::string only = options.text("only", "");
    seconds_ = options.number("seconds", 2);
    slice_ns_ = options.number("slice-us", 200) * 1e3;
    const int cpu = options.integer("cpu", -1);
    options.refuse_unknown();

    const int descriptors = workload == "io" ? watched + 2 * active : 0;
    allow_descriptors(static_cast<rlim_t>(descriptors) + 100);
    off_only_ = compare == "off-off";
    if (api_ == Api::kLoop) {
      // The default loop, whose address can be had without Loop::native_handle(), which would say
      // that unmeasured callbacks may run.
      loop_options.default_loop = true;
      owner_ = std::make_unique<Loop>(loop_options);
      loop_ = ev_default_loop(0);
    } else {
      loop_ = ev_loop_new(EVFLAG_AUTO);
      instrumented_ = &instrument(loop_, loop_options);
    }
    instrument_ = detail::Instrument::find(loop_);
    if (instrument_ == nullptr) die("the loop is not instrumented");

    const Context context{loop_, instrumented_, owner_.get()};
    if (workload == "io") {
      workload_ = std::make_unique<IoWorkload>(context, watched, active, kind == "tcp");
    } else if (workload == "timers") {
      workload_ = std::make_unique<TimerWorkload>(context, watched, active);
    } else if (workload == "churn") {
      workload_ = std::make_unique<ChurnWorkload>(context);
    } else {
      die("unknown workload " + workload);
    }
    pin(cpu);

    states_ = {State::kBare, State::kBareAgain, State::kPaused, State::kRecorded, State::kNamed};
    if (peers) {
#if defined(__x86_64__)
      states_.push_back(State::kFloorTsc);
#endif
      states_.insert(states_.end(), {State::kFloorClock, State::kPrometheus});
    }
    for (std::size_t i = 0; i < states_.size() && !only.empty(); ++i) {
      if (only == kStateNames[static_cast<int>(states_[i])]) {
        states_ = {states_[i]};
      }
    }
  }

  void run() {
    // The loop's epoll descriptor is learned in its first recorded turn.
    apply(State::kRecorded);
    libev_.set_hooks(loop_, detail::Instrument::on_release, detail::Instrument::on_acquire);
    run_units(4);
    // As many units a slice as take slice_ns_, found in a few doublings; this also warms up.
    units_ = 1;
    TickRate rate;
    const std::uint64_t begin = monotonic_ns();
    double last_ns = 0;
    while (last_ns < slice_ns_ || monotonic_ns() - begin < 50'000'000) {
      if (last_ns < slice_ns_) units_ *= 2;
      last_ns = static_cast<double>(slice(State::kBare)) * rate.ns_per_tick();
    }

    std::mt19937 random(std::random_device{}());
    std::vector<State> order = states_;
    samples_.assign(static_cast<std::size_t>(State::kCount), {});
    const std::uint64_t end = monotonic_ns() + static_cast<std::uint64_t>(seconds_ * 1e9);
    while (monotonic_ns() < end) {
      std::shuffle(order.begin(), order.end(), random);
      for (const State state : order) {
        samples_[static_cast<std::size_t>(state)].push_back(static_cast<double>(slice(state)));
      }
    }
    const double turns = static_cast<double>(units_) / workload_->units_per_turn();
    print(rate.ns_per_tick() / turns);
  }

 private:
  void apply(State state) {
    if (off_only_) state = State::kBare;
    // Recording is in the interposed epoll_wait, which finds the loop by its descriptor.
    const bool linked =
        state == State::kPaused || state == State::kRecorded || state == State::kNamed;
    libev_.interpose(linked);
    instrument_->recorder().pause(state == State::kPaused);
#if defined(__x86_64__)
    if (state == State::kFloorTsc) {
      libev_.set_hooks(loop_, floor_tsc_release, floor_tsc_acquire);
    } else
#endif
        if (state == State::kFloorClock) {
      libev_.set_hooks(loop_, floor_clock_release, floor_clock_acquire);
    } else {
      libev_.set_hooks(loop_, nullptr, nullptr);
    }
    if (last_ == State::kPrometheus) prometheus_.stop(loop_);
    if (state == State::kPrometheus) prometheus_.start(loop_);
    last_ = state;
    workload_->switch_to(state == State::kNamed ? Callbacks::kNamed : Callbacks::kBare);
    through_us_ = linked;
  }

  void run_units(long units) {
    g_left = units;
    workload_->begin_slice();
    if (through_us_) {
      ev_run(loop_, 0);
    } else {
      libev_.run(loop_, 0);
    }
  }

  /// Ticks for units_ in `state`, after a few turns that see the change through and bring the
  /// state's code and data back into the caches.
  std::uint64_t slice(State state) {
    apply(state);
    run_units(std::max(units_ / 8, 4L));
    g_left = units_;
    const std::uint64_t begin = ticks();
    run_units(units_);
    return ticks() - begin;
  }

  void print(double scale) const {
    const auto& bare = samples_[static_cast<std::size_t>(State::kBare)];
    const auto& recorded = samples_[static_cast<std::size_t>(State::kRecorded)];
    Line turn;
    Line spread;
    Line callback;
    for (const State state : states_) {
      const auto index = static_cast<std::size_t>(state);
      if (states_.size() == 1) {
        turn.add(kStateNames[index], quantile(samples_[index], 0.5) * scale);
        continue;
      }
      if (state == State::kBare) continue;
      std::vector<double> differences;
      for (std::size_t i = 0; i < bare.size(); ++i)
        differences.push_back((samples_[index][i] - bare[i]) * scale);
      turn.add(kStateNames[index], quantile(differences, 0.5));
      spread.add(kStateNames[index], quantile(differences, 0.75) - quantile(differences, 0.25));
      if (state == State::kNamed) {
        for (std::size_t i = 0; i < bare.size(); ++i) {
          differences[i] = (samples_[index][i] - recorded[i]) * scale /
                           (workload_->units_per_turn() * workload_->callbacks_per_unit());
        }
        callback.add(kStateNames[index], quantile(differences, 0.5));
      }
    }
    Line line;
    line.add("clock",
             instrument_->recorder().now() != 0 &&
                     recording::ProcessRecorder::instance().clock() == recording::ClockKind::kTsc
                 ? "tsc"
                 : "clock_gettime");
    line.add("rounds", static_cast<double>(samples_[static_cast<std::size_t>(states_[0])].size()));
    line.add("turns_per_slice", static_cast<double>(units_) / workload_->units_per_turn());
    if (!bare.empty()) line.add("bare_turn_ns", quantile(bare, 0.5) * scale);
    line.add("turn_ns", turn).add("turn_iqr_ns", spread).add("callback_ns", callback);
    line.print();
  }

  BareLibev libev_;
  Api api_ = Api::kInstrument;
  bool off_only_ = false;
  double seconds_ = 2;
  double slice_ns_ = 0;
  struct ev_loop* loop_ = nullptr;
  std::unique_ptr<Loop> owner_;
  InstrumentedLoop* instrumented_ = nullptr;
  detail::Instrument* instrument_ = nullptr;
  std::unique_ptr<Workload> workload_;
  PrometheusPeer prometheus_;
  std::vector<State> states_;
  State last_ = State::kBare;
  bool through_us_ = true;
  long units_ = 1;
  std::vector<std::vector<double>> samples_;
};

}  // namespace
}  // namespace loopscope::bench

int main(int argc, char** argv) {
  loopscope::bench::Options options(argc, argv);
  loopscope::bench::Bench bench(options);
  bench.run();
  std::fflush(stdout);
  _exit(0);  // thousands of watchers need no taking apart
}
