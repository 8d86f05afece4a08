// SPDX-License-Identifier: Apache-2.0
#include "loop_thread.h"

#include <sys/eventfd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace demo {
namespace {

UniqueFd make_wakeup() {
  UniqueFd wakeup(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wakeup) throw std::system_error(errno, std::generic_category(), "eventfd");
  return wakeup;
}

}  // namespace

// loopscope::Async does the same with less, and is what a program should use. Here a forked child
// will run the server's loop on purpose without Loop::after_fork() (misbehaviour.cpp); if it took
// the wake-up that libev sends itself, no Async of the parent would work again.
LoopThread::LoopThread(const loopscope::LoopOptions& options)
    : loop_(options),
      wakeup_(make_wakeup()),
      posted_(loop_, "posted", wakeup_.get(), loopscope::kRead, [this](int) { run_posted(); }) {}

LoopThread::~LoopThread() { stop(); }

void LoopThread::start() {
  thread_ = std::thread([this] { loop_.run(); });
}

void LoopThread::post(Task task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  eventfd_write(wakeup_.get(), 1);
}

void LoopThread::join() {
  if (thread_.joinable()) thread_.join();
}

void LoopThread::stop() {
  post([this] { loop_.stop(); });
  join();
}

void LoopThread::run_posted() {
  eventfd_t count = 0;
  eventfd_read(wakeup_.get(), &count);
  std::vector<Task> tasks;
  {
    const std::lock_guard lock(mutex_);
    tasks.swap(tasks_);
  }
  for (const Task& task : tasks) task();
}

}  // namespace demo
