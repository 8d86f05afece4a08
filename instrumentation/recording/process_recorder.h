// SPDX-License-Identifier: Apache-2.0
//
// This process' recording: one for all its loops, made when the first of them is, and again in a
// forked child that records.
//
// Thread-safety: everything here may be called from any thread. Nothing throws; what cannot be
// recorded is dropped and counted.
#pragma once

#include <cstdint>

#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/layout.h"
#include "instrumentation/recording/region.h"

namespace loopscope::recording {

class ProcessRecorder {
 public:
  /// Creates the recording on the first call. Any thread. The settings count on the first call
  /// only; a forked child's recording is made with them too (but for `arguments`), so `directory`
  /// and `boot_id` must stay valid.
  static ProcessRecorder& instance(const RegionSettings& settings = {}) noexcept;

  /// The instance if there is one already, for paths that must not create it.
  static ProcessRecorder* existing() noexcept;

  bool active() const noexcept { return region_.base != nullptr; }
  const Region& region() const noexcept { return region_; }
  ClockKind clock() const noexcept { return settings_.clock; }

  /// Gives a forked child its own recording; returns the number of forks since the first ancestor,
  /// plus one. Harmless to call at any time.
  std::uint32_t settle_fork() noexcept;

  /// The word that tells a forked child from its parent, and what it reads in this process.
  const std::uint32_t* sentinel() const noexcept { return sentinel_.word(); }
  std::uint32_t generation() const noexcept { return generation_; }

  /// Whether this process was forked off one that recorded, and runs the same program.
  bool forked() const noexcept { return forked_; }

  /// The recording grows no more, but for room for some loops that is taken now: no system call is
  /// made for it from here on.
  void seal() noexcept;

  void drop(DropKind kind) noexcept;

  /// What failed in a forked child before it had a recording is counted in the nearest ancestor's:
  /// of a child that gets none, nobody else could tell. Any thread.
  void tell_ancestor() noexcept;

  /// Notes that `fd` was put into an epoll set, or taken out. A descriptor in several sets is kept
  /// for the one it was put into last.
  void register_fd(int fd, int epoll_fd, std::uint32_t events) noexcept;
  void unregister_fd(int fd, int epoll_fd) noexcept;

  /// Whether this process has a recording of its own: false in a forked child that has not recorded
  /// yet.
  bool settled() const noexcept { return sentinel_.value() == generation_; }

  /// At a normal end of the process.
  void ended(int status, bool status_known) noexcept;
  /// A child was waited for; `status` as wait(2) gives it.
  void reaped(std::int32_t pid, int status) noexcept;
  /// It has not ended after all.
  void still_running() noexcept;
  /// Before exec(3), and after one that failed.
  void executing(bool yes) noexcept;

 private:
  friend class LoopRecorder;
  ProcessRecorder() = default;
  void start(const RegionSettings& settings) noexcept;
  void make_region() noexcept;

  Region region_;
  /// Of the last recording that this process, or one it was forked off, has in a file. Its mapping
  /// is never taken away; of an ancestor's only `own_failures` is written to.
  Header* nearest_in_file_ = nullptr;
  ForkSentinel sentinel_;
  bool forked_ = false;
  RegionSettings settings_;
  std::uint32_t generation_ = 1;
};

}  // namespace loopscope::recording
