// SPDX-License-Identifier: Apache-2.0
//
// The probe in one process: whether it records, for which thread, and what happens when the process
// forks, gives up privileges or ends. Every hook begins with recording() or noting().
//
// Nothing here allocates, throws, or touches libstdc++ at run time. Hooks may run at any time:
// before the probe's constructor, in signal handlers, in a vfork child that shares our memory,
// after the last destructor.
#pragma once

#include <cstddef>
#include <cstdint>

#include "instrumentation/probe/real.h"
#include "instrumentation/probe/unwind.h"
#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/ledger.h"
#include "instrumentation/recording/process_recorder.h"

namespace loopscope::probe {

using recording::DescriptorKind;
using recording::FdSlot;
using recording::LedgerWriter;

struct Loop;

enum class Stacks : std::uint8_t { kOff, kCaller, kFull };

/// A poll or select call site of a thread that may turn out to be a loop: the waits seen so far,
/// those that could not block included.
inline constexpr std::uint32_t kWaitsKept = 8;
inline constexpr std::uint32_t kWaitsBeforeLoop = 3;  // that could block
struct WaitSite {
  const void* caller;
  Loop* loop;  // once it is one
  struct Wait {
    std::uint64_t began_ns;
    std::uint64_t ended_ns;
    std::int64_t timeout_ns;
    std::int32_t ready;
    std::uint32_t result;
  };
  Wait waits[kWaitsKept];
  std::uint32_t seen;
  std::uint32_t blocking;
};
inline constexpr int kWaitSites = 4;

/// The turn that a thread is in.
struct CurrentTurn {
  Loop* loop;
  FdSlot* slot;              // the descriptor that is being served, as far as is known
  std::uint64_t started_ns;  // 0: none
  std::uint64_t mark_ns;     // time up to here has been attributed
  std::uint32_t number;
};

/// What the probe knows of a thread. Static TLS, all zero in a new thread. What every turn touches
/// is on one cache line.
struct alignas(64) Thread {
  std::uint32_t generation;  // of the recording in which it was met; 0: in none
  std::uint32_t off;         // > 0: hooks pass through (the probe itself, a vfork child)
  bool measuring;            // inside a LoopRecorder: a signal handler must not enter it again
  bool registering;          // holds the registrations' lock: a handler must not wait for it
  bool reading_clock;        // likewise for the clock
  std::int32_t tid;
  Loop* last_loop;  // the one this thread waited on last
  CurrentTurn turn;

  Loop* loops;  // all of this thread
  WaitSite sites[kWaitSites];
  alignas(8) unsigned char clock[sizeof(recording::Clock)];

  /// Of the turn: the descriptor that took most of it so far, but for the one being served.
  struct Top {
    FdSlot* slot;  // null: none
    std::uint64_t turn_started_ns;
    std::uint64_t ns;
    std::uint32_t generation;
    std::uint32_t site;
  };
  Top top;

  /// The last call that failed for its number: a sweep over all numbers is one place, met again and
  /// again.
  struct Failure {
    std::uintptr_t pc;
    std::uintptr_t sp;
    recording::Incident* incident;
    std::int32_t fd;
    recording::SiteRef site;
  };
  Failure failure;
};
extern __thread Thread t_thread __attribute__((tls_model("initial-exec")));

struct Probe {
  const std::uint32_t* sentinel;  // see ForkSentinel; never null
  std::uint32_t generation;       // what it reads while this process has its own recording
  Stacks stacks;
  bool sealed;  // a seccomp filter may kill us for a system call: make none
  recording::ProcessRecorder* process;
  // The lines of scripts are asked for, and an interpreter is here that can be read; and a script
  // may tell them. See script_frames.h.
  bool scripts;
  bool told_scripts;
  bool closes;             // the place of each close is noted
  bool census;             // the ledger is compared with the kernel when the process ends
  std::uint64_t stall_ns;  // 0: as LoopSettings has it
};
extern Probe g_probe;
extern LedgerWriter g_ledger;

/// Whether this thread of this process records now.
inline bool live(const Thread& thread) noexcept {
  return thread.generation == g_probe.generation && thread.off == 0 &&
         __atomic_load_n(g_probe.sentinel, __ATOMIC_ACQUIRE) == g_probe.generation;
}

/// Makes it so if it can be: starts the probe, gives a forked child its recording, meets a new
/// thread. False if nothing is to be recorded.
bool come_alive(Thread& thread) noexcept;
/// Before the process ends or becomes another program: of a forked child that never got its
/// recording, an ancestor's tells why.
void tell_if_unrecorded(const Thread& thread) noexcept;
/// Only meets a new thread: a forked child that does nothing but close, duplicate and exec gets no
/// recording.
bool meet_thread(Thread& thread) noexcept;

/// Whether this is still the process that had that generation: a signal handler may fork in the
/// middle of a wait, and the child returns from it with the parent's loop in its hands.
inline bool still(std::uint32_t generation) noexcept {
  return __atomic_load_n(g_probe.sentinel, __ATOMIC_ACQUIRE) == generation;
}

/// For waits and births: a forked child gets its recording with the first.
inline bool recording_for(Thread& thread) noexcept { return live(thread) || come_alive(thread); }
/// For deaths and use.
inline bool noting_for(Thread& thread) noexcept { return live(thread) || meet_thread(thread); }

/// CLOCK_MONOTONIC ns. Only for a live thread.
std::uint64_t now(Thread& thread) noexcept;

/// The loops of this thread will be ended when it ends, even one that is made by the destructor of
/// another thread-specific value.
void expect_end(Thread& thread) noexcept;

/// While it lives, hooks of this thread pass through.
class Quiet {
 public:
  explicit Quiet(Thread& thread) noexcept : thread_(thread) { ++thread_.off; }
  ~Quiet() { --thread_.off; }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  Thread& thread_;
};

/// While it lives, nothing takes this thread out of the middle: no handler (which might jump away
/// or fork) but of its own fault, no cancellation. For what is done rarely and with a lock held;
/// declared before a Quiet. Two system calls; without them, and so without protection from
/// handlers, once sealed. A stack that is too short for it overflows before anything is done.
class Undisturbed {
 public:
  Undisturbed() noexcept;
  ~Undisturbed();
  Undisturbed(const Undisturbed&) = delete;
  Undisturbed& operator=(const Undisturbed&) = delete;

 private:
  std::uint64_t mask_;  // the kernel's sigset_t
  int cancel_state_;
  int cancel_type_;
  bool masked_;
};

/// From now on no system call may be made that the program would not make itself. Takes what it
/// will need before.
void seal(Thread& thread) noexcept;

}  // namespace loopscope::probe
