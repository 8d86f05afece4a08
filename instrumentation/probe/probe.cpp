// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/probe/probe.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <new>

#include "instrumentation/probe/ask.h"
#include "instrumentation/probe/census.h"
#include "instrumentation/probe/loops.h"
#include "instrumentation/probe/registrations.h"
#include "instrumentation/probe/script_frames.h"
#include "instrumentation/recording/fault_signals.h"
#include "instrumentation/recording/own_calls.h"
#include "instrumentation/recording/paths.h"

namespace loopscope::probe {

__thread Thread t_thread __attribute__((tls_model("initial-exec")));

namespace {

constexpr std::uint32_t kNotYet = 0;

struct Options {
  std::int32_t run_pid = 0;
  Stacks stacks = Stacks::kFull;
  bool scripts = false;
  bool closes = false;
  bool census = false;
  std::uint64_t stall_ns = 0;
  bool clock_known = false;
  recording::ClockKind clock = recording::ClockKind::kMonotonic;
  char boot_id[recording::kBootIdBytes] = "";
  char directory[recording::kPathBytes / 2] = "";
};

}  // namespace

constinit Probe g_probe{&kNotYet, ~0u,   Stacks::kFull, false, nullptr,
                        false,    false, false,         false, 0};
constinit LedgerWriter g_ledger;

namespace {

std::uint32_t g_starting = 0;  // 0 not started, 1 being started, 2 started
pthread_key_t g_thread_key;
bool g_has_key = false;
Options g_options;
const char* const* g_arguments = nullptr;  // of the program, where libc tells constructors

std::uint64_t number_at(const char* at) noexcept {
  std::uint64_t number = 0;
  for (; *at >= '0' && *at <= '9'; ++at) number = number * 10 + static_cast<unsigned>(*at - '0');
  return number;
}

/// "run=PID,stacks=off|caller|full,closes,scripts,census,stall=NS,clock=tsc|monotonic,
/// boot=ID,dir=PATH"; `dir` takes all the rest. `clock` and `boot` spare each process asking. What
/// is not understood is left out: a probe has nobody to complain to.
void read_options(Options& options) noexcept {
  const char* at = secure_getenv("LOOPSCOPE_PROBE");
  while (at != nullptr && at[0] != '\0') {
    if (strncmp(at, "dir=", 4) == 0) {
      if (strlen(at + 4) < sizeof options.directory) strcpy(options.directory, at + 4);
      return;
    }
    if (strncmp(at, "run=", 4) == 0) options.run_pid = static_cast<std::int32_t>(number_at(at + 4));
    if (strncmp(at, "stacks=off", 10) == 0) options.stacks = Stacks::kOff;
    if (strncmp(at, "stacks=caller", 13) == 0) options.stacks = Stacks::kCaller;
    if (strncmp(at, "scripts", 7) == 0) options.scripts = true;
    if (strncmp(at, "closes", 6) == 0) options.closes = true;
    if (strncmp(at, "census", 6) == 0) options.census = true;
    if (strncmp(at, "stall=", 6) == 0) options.stall_ns = number_at(at + 6);
    if (strncmp(at, "clock=", 6) == 0) {
      options.clock_known = true;
      options.clock = strncmp(at + 6, "tsc", 3) == 0 ? recording::ClockKind::kTsc
                                                     : recording::ClockKind::kMonotonic;
    }
    const char* const end = strchrnul(at, ',');
    if (strncmp(at, "boot=", 5) == 0 && end - at - 5 == recording::kBootIdBytes - 1) {
      memcpy(options.boot_id, at + 5, recording::kBootIdBytes - 1);
    }
    at = *end != '\0' ? end + 1 : end;
  }
}

/// Notes which of [first, first + count) are open, by one poll(2): it says POLLNVAL for a number
/// that is not. If that fails, one by one.
unsigned inherit(unsigned first, unsigned count) noexcept {
  pollfd fds[256];
  for (unsigned i = 0; i < count; ++i) fds[i] = {static_cast<int>(first + i), 0, 0};
  timespec none{};
  const bool asked = recording::own_call(recording::OwnCall::kPoll, [&] {
                       return syscall(SYS_ppoll, fds, count, &none, nullptr, 0);
                     }) >= 0;
  unsigned found = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (asked ? (fds[i].revents & POLLNVAL) != 0 : ask_kernel(fds[i].fd) != Answer::kOpen) continue;
    LedgerWriter::Birth birth;
    birth.origin = recording::FdOrigin::kInherited;
    g_ledger.opened(fds[i].fd, birth);
    ++found;
  }
  return found;
}

/// What this process has open before it opens anything itself.
void inherit_all() noexcept {
  rlimit limit{};
  // Who may have how many cannot be told: the first ones, as most have.
  if (recording::own_call(recording::OwnCall::kGetrlimit,
                          [&] { return getrlimit(RLIMIT_NOFILE, &limit); }) != 0) {
    limit.rlim_cur = 1024;
  }
  const auto highest =
      static_cast<unsigned>(limit.rlim_cur < (1u << 20) ? limit.rlim_cur : (1u << 20));
  // How many there are, in one call (Linux 6.2); before that, the first numbers must do, and the
  // reader finds the others.
  struct stat status {};
  const bool counted = count_open(status) && status.st_size > 0;
  const auto wanted = counted ? static_cast<unsigned>(status.st_size) : 0;
  unsigned found = 0;
  unsigned most = counted ? 32 : 256;  // that will do for nearly everybody
  for (unsigned first = 0; first < highest; first += most, most = 256) {
    const unsigned count = highest - first < most ? highest - first : most;
    found += inherit(first, count);
    if (!counted || found >= wanted) break;
  }
}

void thread_ends(void* thread) {
  Thread& own = *static_cast<Thread*>(thread);
  // In a forked child, one that recorded nothing has its parent's loops.
  if (g_probe.process->settled() && own.generation == g_probe.generation) end_thread_loops(own);
  thread_ended(own.tid);
}

/// `status` is what exit(3) was given; of that, eight bits are left.
void exits(int status, void*) {
  if (g_probe.process == nullptr || t_thread.off != 0) return;
  tell_if_unrecorded(t_thread);
  take_census(t_thread);
  g_probe.process->ended(status & 0xFF, true);
}

void start_thread(Thread& thread) noexcept {
  const int saved = errno;
  thread.tid = g_probe.sealed ? 0 : static_cast<std::int32_t>(syscall(SYS_gettid));
  ::new (static_cast<void*>(thread.clock)) recording::Clock(g_probe.process->clock());
  expect_end(thread);
  // Of a forked child: what it knows is its parent's.
  if (thread.generation != 0) forget_own_loops(thread);
  thread.failure = {};
  thread_began(thread.tid);
  thread.generation = g_probe.generation;
  errno = saved;
}

/// The recording that this process has from now on.
void take_recording() noexcept {
  g_ledger.attach(*g_probe.process);
  inherit_all();
  registrations_forked();
  __atomic_store_n(&g_probe.generation, g_probe.process->generation(), __ATOMIC_RELEASE);
}

/// True once the probe has been started, by whoever.
bool start() noexcept {
  // In an executable's preinit functions libc does not know the environment yet, and so we don't
  // know where the recording goes: not yet. (Once started, clearenv(3) may take it away.)
  if (environ == nullptr) return false;
  std::uint32_t none = 0;
  if (!__atomic_compare_exchange_n(&g_starting, &none, 1u, false, __ATOMIC_ACQ_REL,
                                   __ATOMIC_ACQUIRE)) {
    return none == 2;
  }
  find_real();
  read_options(g_options);
  // Forked children record there too, whatever the program does to its environment (nginx clears
  // it).
  if (g_options.directory[0] == '\0' &&
      !recording::default_directory(g_options.directory, sizeof g_options.directory)) {
    g_options.directory[0] = '\0';
  }
  g_unwind_asked_in_vain = [](int error) noexcept {
    recording::own_call_failed(recording::OwnCall::kSigprocmask, error);
  };
  g_probe.stacks = g_options.stacks;
  g_probe.closes = g_options.closes;
  g_probe.census = g_options.census;
  g_probe.stall_ns = g_options.stall_ns;
  if (g_options.scripts) {
    g_probe.scripts = find_interpreters();
    g_probe.told_scripts = true;
  }
  recording::RegionSettings settings;
  settings.source = recording::SourceKind::kProbe;
  settings.run_pid = g_options.run_pid;
  settings.clock_known = g_options.clock_known;
  settings.clock = g_options.clock;
  settings.boot_id = g_options.boot_id[0] != '\0' ? g_options.boot_id : nullptr;
  settings.arguments = g_arguments;
  settings.directory = g_options.directory[0] != '\0' ? g_options.directory : nullptr;
  g_probe.process = &recording::ProcessRecorder::instance(settings);
  const int no_key = pthread_key_create(&g_thread_key, thread_ends);
  g_has_key = no_key == 0;
  if (!g_has_key) recording::own_call_failed(recording::OwnCall::kThreadKey, no_key);
  // Registered first, so run last: after the program's own handlers and destructors.
  on_exit(exits, nullptr);
  g_probe.sentinel = g_probe.process->sentinel();
  take_recording();
  __atomic_store_n(&g_starting, 2u, __ATOMIC_RELEASE);
  return true;
}

/// Whether this process has a recording of its own, complete with what it inherited.
bool has_recording() noexcept {
  return __atomic_load_n(g_probe.sentinel, __ATOMIC_ACQUIRE) ==
         __atomic_load_n(&g_probe.generation, __ATOMIC_ACQUIRE);
}

/// A forked child gets its recording. The child may have started threads before it records
/// anything, and all of them come here: one does it, the others wait. Who waits is told by its
/// process, as a child may be forked while another thread of its parent settles.
bool settle(Thread&) noexcept {
  static std::int32_t settling = 0;
  const std::int32_t self = getpid();
  for (;;) {
    std::int32_t holder = __atomic_load_n(&settling, __ATOMIC_RELAXED);
    if (holder != self && __atomic_compare_exchange_n(&settling, &holder, self, false,
                                                      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
      break;
    }
    sched_yield();
  }
  if (!has_recording()) {
    forget_loops();
    g_ledger.forget();
    g_probe.process->settle_fork();
    take_recording();
  }
  __atomic_store_n(&settling, 0, __ATOMIC_RELEASE);
  return true;
}

/// Making a recording takes 10 KiB of stack. A child may be forked on the stack of a signal
/// handler, a fiber or a small thread that has no such room.
bool on_a_stack_of_our_own(bool (*work)(Thread&) noexcept, Thread& thread) noexcept {
#if defined(__x86_64__)
  constexpr std::size_t kSize = 64 << 10;
  void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    // The next call that is to be recorded asks again.
    recording::own_call_failed(recording::OwnCall::kMmap, errno);
    return false;
  }
  {
    char* top = static_cast<char*>(memory) + kSize;
    Thread* argument = &thread;
    bool done = false;
    // rbx is the callee's to keep. With what is in the red zone nothing happens: it is not on the
    // new stack.
    asm volatile(
        "movq %%rsp, %%rbx\n\t"
        "movq %[top], %%rsp\n\t"
        "callq *%[work]\n\t"
        "movq %%rbx, %%rsp"
        : "=a"(done), "+D"(argument), [top] "+S"(top), [work] "+d"(work)
        :
        : "rbx", "rcx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
          "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
          "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "cc", "memory");
    recording::own_call(recording::OwnCall::kMunmap, [&] { return munmap(memory, kSize); });
    return done;
  }
#else
  return work(thread);
#endif
}

/// come_alive(); `roomy`: there is stack enough.
bool wake(Thread& thread, bool roomy) noexcept {
  if (thread.off != 0) return false;
  const int saved = errno;
  const Undisturbed undisturbed;
  const Quiet quiet(thread);
  bool alive = __atomic_load_n(&g_starting, __ATOMIC_ACQUIRE) == 2;
  if (!alive) {
    alive =
        roomy ? start() : on_a_stack_of_our_own([](Thread&) noexcept { return start(); }, thread);
  }
  if (alive && !has_recording()) {
    // A forked child of a program that has locked itself in goes unrecorded: a recording takes
    // system calls.
    alive = !g_probe.sealed && on_a_stack_of_our_own(settle, thread);
  }
  if (alive && thread.generation != g_probe.generation) start_thread(thread);
  errno = saved;
  return alive;
}

/// Before main and before most other constructors: on the program's first stack.
[[gnu::constructor(101)]] void on_load([[maybe_unused]] int count,
                                       [[maybe_unused]] char** arguments) noexcept {
#if defined(__GLIBC__)
  g_arguments = arguments;
#endif
  wake(t_thread, true);
}

}  // namespace

bool come_alive(Thread& thread) noexcept { return wake(thread, false); }

void tell_if_unrecorded(const Thread& thread) noexcept {
  if (thread.off == 0 && __atomic_load_n(&g_starting, __ATOMIC_ACQUIRE) == 2 && !has_recording()) {
    g_probe.process->tell_ancestor();
  }
}

void expect_end(Thread& thread) noexcept {
  if (!g_has_key) return;
  const int failure = pthread_setspecific(g_thread_key, &thread);
  if (failure != 0) recording::own_call_failed(recording::OwnCall::kThreadKey, failure);
}

bool meet_thread(Thread& thread) noexcept {
  if (thread.off != 0 || thread.generation == g_probe.generation) return false;
  return __atomic_load_n(&g_starting, __ATOMIC_ACQUIRE) == 2 && g_probe.process->settled() &&
         come_alive(thread);
}

std::uint64_t now(Thread& thread) noexcept {
  if (thread.reading_clock) return recording::monotonic_ns();  // in a handler that interrupted it
  thread.reading_clock = true;
  const std::uint64_t ns = reinterpret_cast<recording::Clock*>(thread.clock)->now();
  thread.reading_clock = false;
  return ns;
}

namespace {

/// More than what is done undisturbed takes. Where the stack has no more, the fault comes here,
/// with nothing locked and the program's own mask: its handler may end the process or jump away.
constexpr std::size_t kUndisturbedStack = 1408;

[[gnu::noinline]] void fault_now_if_ever() noexcept {
  volatile char room[kUndisturbedStack];
  room[0] = 0;
  asm volatile("" : : "r"(room) : "memory");
}

/// The kernel's sigset_t: all but recording::kFaultSignals.
constexpr std::uint64_t held_back() noexcept {
  std::uint64_t held = ~std::uint64_t{0};
  for (const int signal : recording::kFaultSignals) held &= ~(std::uint64_t{1} << (signal - 1));
  return held;
}
constexpr std::uint64_t kHeldBack = held_back();

}  // namespace

Undisturbed::Undisturbed() noexcept
    : mask_(0),
      cancel_state_(PTHREAD_CANCEL_ENABLE),
      cancel_type_(PTHREAD_CANCEL_DEFERRED),
      masked_(!g_probe.sealed) {
  fault_now_if_ever();
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state_);
  pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &cancel_type_);
  // What could not be masked is not to be unmasked either.
  masked_ =
      masked_ && recording::own_call(recording::OwnCall::kSigprocmask, [&] {
                   return syscall(SYS_rt_sigprocmask, SIG_BLOCK, &kHeldBack, &mask_, sizeof mask_);
                 }) == 0;
}

Undisturbed::~Undisturbed() {
  const int saved = errno;
  // The mask is the program's: it comes back, whatever the kernel said the first times.
  for (int left = 8; masked_ && left > 0; --left) {
    masked_ = syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask_, nullptr, sizeof mask_) != 0;
    if (!masked_) break;
    if (left > 1) {
      recording::own_call_retried(recording::OwnCall::kSigprocmask, errno);
    } else {
      recording::own_call_failed(recording::OwnCall::kSigprocmask, errno);
    }
  }
  errno = saved;
  // In this order: glibc 2.36's pthread_setcancelstate ends an asynchronously cancelled thread
  // without the result PTHREAD_CANCELED, its pthread_setcanceltype with it.
  pthread_setcancelstate(cancel_state_, nullptr);
  pthread_setcanceltype(cancel_type_, nullptr);
}

void seal(Thread& thread) noexcept {
  if (g_probe.sealed || !recording_for(thread)) return;
  const Quiet quiet(thread);
  g_ledger.reserve_ahead();
  reserve_loops();
  g_probe.process->seal();
  g_probe.sealed = true;
  // The unwinder asks the kernel what can be read, a new site for the name of its program.
  g_probe.stacks = Stacks::kOff;
  g_probe.scripts = g_probe.told_scripts = false;
}

}  // namespace loopscope::probe
