// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/symbols/own_stack.h"

#include <signal.h>

#include <exception>
#include <utility>

#include "instrumentation/recording/fault_signals.h"

namespace loopscope::symbols {
namespace {

constexpr std::size_t kStackBytes = 8u << 20;

}  // namespace

OwnStack::~OwnStack() {
  if (!running_) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  pthread_join(thread_, nullptr);
}

void OwnStack::call(const std::function<void()>& work) {
  const std::lock_guard one(callers_);
  if (!running_) {
    const sigset_t others = recording::all_but_faults();
    sigset_t before;
    pthread_sigmask(SIG_BLOCK, &others, &before);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, kStackBytes);
    running_ = pthread_create(
                   &thread_, &attributes,
                   [](void* self) -> void* {
                     static_cast<OwnStack*>(self)->serve();
                     return nullptr;
                   },
                   this) == 0;
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  if (!running_) return work();

  std::unique_lock lock(mutex_);
  failure_ = nullptr;
  work_ = &work;
  changed_.notify_all();
  changed_.wait(lock, [this] { return work_ == nullptr; });
  if (failure_ != nullptr) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void OwnStack::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || work_ != nullptr; });
    if (ending_) return;
    const std::function<void()>& work = *work_;
    lock.unlock();
    std::exception_ptr failure;
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    failure_ = failure;
    work_ = nullptr;
    changed_.notify_all();
  }
}

}  // namespace loopscope::symbols
