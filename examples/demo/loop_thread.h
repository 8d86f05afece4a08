// SPDX-License-Identifier: Apache-2.0
//
// A thread with a loop of its own, and a way for other threads to have something done on it.
#pragma once

#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "loopscope/loop.h"
#include "socket.h"

namespace demo {

class LoopThread {
 public:
  using Task = std::function<void()>;

  explicit LoopThread(const loopscope::LoopOptions& options);
  ~LoopThread();

  /// For watchers made before start() and after stop(), or by what runs on the loop.
  loopscope::Loop& loop() { return loop_; }

  void start();

  /// Runs `task` on the loop's thread. May be called from any thread, also before start().
  void post(Task task);

  /// Waits until the loop has ended, which something that runs on it must bring about. Harmless if
  /// it was never started.
  void join();

  /// Ends the loop and waits for that.
  void stop();

 private:
  void run_posted();

  loopscope::Loop loop_;
  UniqueFd wakeup_;
  loopscope::Io posted_;
  std::mutex mutex_;
  std::vector<Task> tasks_;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace demo
