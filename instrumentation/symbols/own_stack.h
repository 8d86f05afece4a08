// SPDX-License-Identifier: Apache-2.0
//
// A thread with a stack that is large enough for libdw, which puts line tables of a few hundred KiB
// on it, more than whoever asks may have.
//
// Thread-safety: call() from any thread, one after the other. The thread is made with the first
// call, blocks all signals, sleeps when there is nothing to do, and ends with the object.
#pragma once

#include <pthread.h>

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>

namespace loopscope::symbols {

class OwnStack {
 public:
  OwnStack() = default;
  ~OwnStack();
  OwnStack(const OwnStack&) = delete;
  OwnStack& operator=(const OwnStack&) = delete;

  /// Runs `work` there and waits for it; right here if no thread can be had. What `work` throws is
  /// thrown here.
  void call(const std::function<void()>& work);

 private:
  void serve();

  std::mutex callers_;  // one call at a time
  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void()>* work_ = nullptr;
  std::exception_ptr failure_;
  bool ending_ = false;
  bool running_ = false;
  pthread_t thread_{};
};

}  // namespace loopscope::symbols
