// SPDX-License-Identifier: Apache-2.0
#include "loopscope/loop.h"

#include <stdexcept>
#include <utility>

#include "loop/loop_core.h"

namespace loopscope {
namespace {

unsigned flags_of(Backend backend) {
  switch (backend) {
    case Backend::kAuto:
      return EVFLAG_AUTO;
    case Backend::kSelect:
      return EVBACKEND_SELECT;
    case Backend::kPoll:
      return EVBACKEND_POLL;
    case Backend::kEpoll:
      return EVBACKEND_EPOLL;
    case Backend::kLinuxAio:
      return EVBACKEND_LINUXAIO;
    case Backend::kIoUring:
      return EVBACKEND_IOURING;
  }
  throw std::invalid_argument("loopscope: no such backend");
}

/// One outermost or nested run; also when an exception passes.
class Running {
 public:
  explicit Running(detail::Instrument& instrument) : instrument_(instrument) {
    instrument_.enter();
  }
  ~Running() { instrument_.leave(); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  detail::Instrument& instrument_;
};

bool run(detail::LoopCore& core, int flags) {
  int left = 0;
  {
    const Running running(*core.instrument);
    left = ev_run(core.loop, flags);
  }
  if (core.thrown) std::rethrow_exception(std::exchange(core.thrown, nullptr));
  return left != 0;
}

}  // namespace

Loop::Loop(const LoopOptions& options) : core_(std::make_unique<detail::LoopCore>()) {
  const unsigned flags = flags_of(options.backend);
  core_->loop = options.default_loop ? ev_default_loop(flags) : ev_loop_new(flags);
  if (core_->loop == nullptr) {
    const std::string which = options.backend == Backend::kAuto
                                  ? "any backend that $LIBEV_FLAGS allows"
                                  : std::string("backend ") + detail::backend_name(flags);
    throw std::runtime_error(
        "loopscope: libev cannot make a loop with " + which + " here" +
        (options.backend == Backend::kAuto ? "" : "; Backend::kAuto takes one that works"));
  }
  if (detail::Instrument::find(core_->loop) != nullptr) {
    throw std::invalid_argument(
        "loopscope: the default loop belongs to another Loop or is instrumented already");
  }
  try {
    core_->instrument = &detail::Instrument::attach(core_->loop, options);
  } catch (...) {
    ev_loop_destroy(core_->loop);
    throw;
  }
  core_->instrument->set_chained(true);
}

Loop::~Loop() {
  core_->instrument->detach();
  ev_loop_destroy(core_->loop);
}

void Loop::run() { loopscope::run(*core_, 0); }
bool Loop::run_once() { return loopscope::run(*core_, EVRUN_ONCE); }
bool Loop::poll() { return loopscope::run(*core_, EVRUN_NOWAIT); }
void Loop::stop() { ev_break(core_->loop, EVBREAK_ONE); }
void Loop::after_fork() { ev_loop_fork(core_->loop); }
Seconds Loop::now() const { return Seconds(ev_now(core_->loop)); }
std::uint32_t Loop::id() const { return core_->instrument->recorder().id(); }
void Loop::pause_recording(bool paused) { core_->instrument->recorder().pause(paused); }

Backend Loop::backend() const {
  switch (ev_backend(core_->loop)) {
    case EVBACKEND_SELECT:
      return Backend::kSelect;
    case EVBACKEND_POLL:
      return Backend::kPoll;
    case EVBACKEND_EPOLL:
      return Backend::kEpoll;
    case EVBACKEND_LINUXAIO:
      return Backend::kLinuxAio;
    case EVBACKEND_IOURING:
      return Backend::kIoUring;
    default:
      return Backend::kAuto;
  }
}

struct ev_loop* Loop::native_handle() {
  core_->instrument->set_chained(false);
  return core_->loop;
}

}  // namespace loopscope
