// SPDX-License-Identifier: Apache-2.0
//
// Glances at threads of a child process: the stack that they give, and that the child's calls do
// not notice. Each child hangs in one call until it is let go; it is looked at many times
// meanwhile, and ends with 0 only if the call returned what it should have.
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "instrumentation/process/thread_glance.h"
#include "instrumentation/symbols/symbolizer.h"
#include "instrumentation/symbols/unwind.h"

namespace loopscope {
namespace {

using process::StackAttempt;
using process::ThreadLook;

constexpr int kLooks = 200;
constexpr timeval kHalfAMinute{30, 0};

/// What parent and child share.
struct Shared {
  std::atomic<int> word;
  std::atomic<int> handled;
  std::atomic<int> ready;
};

/// The function to be found on the child's stack.
[[gnu::noinline]] int hang(const std::function<int()>& how) {
  const int result = how();
  asm volatile("" ::: "memory");  // no tail call
  return result;
}

class Child {
 public:
  /// `how` runs in the child: 0 if all was as it should be.
  explicit Child(const std::function<int(Shared&)>& how) {
    shared_ = static_cast<Shared*>(
        mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (pipe(pipe_) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      alarm(50);
      _exit(hang([&] { return how(*shared_); }));
    }
  }
  ~Child() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(pipe_[0]);
    close(pipe_[1]);
    munmap(shared_, sizeof(Shared));
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  Shared& shared() const { return *shared_; }

  /// Until it is blocked in that call, or computes (-1).
  ThreadLook await(long number) const {
    for (;;) {
      const auto look = process::look_at_thread(pid_, pid_);
      if (!look) return {};
      const bool there = number < 0 ? shared_->ready.load() != 0 && look->state == 'R'
                                    : look->state == 'S' && look->call &&
                                          (look->call->number == number ||
                                           look->call->number == SYS_restart_syscall);
      if (there) return *look;
      usleep(1000);
    }
  }

  /// Its exit status; 1000 and more: a signal.
  int end() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

 private:
  Shared* shared_ = nullptr;
  int pipe_[2] = {-1, -1};
  pid_t pid_ = -1;
};

bool always() { return true; }

/// Names of functions, innermost first.
std::vector<std::string> functions(const process::StackCopy& copy) {
  static symbols::Symbolizer symbolizer;
  std::vector<std::string> names;
  for (const symbols::UnwoundFrame& frame : symbols::unwind(copy).frames) {
    for (const symbols::Frame& each : symbolizer.resolve(frame.code)) {
      names.push_back(each.function);
    }
  }
  return names;
}

bool has(const std::vector<std::string>& names, const std::string& function) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return name.find(function + "(") != std::string::npos;
  });
}

/// Stops the child in the call again and again, lets it go on by `release`, and wants it to end
/// well.
void expect_unnoticed(Child& child, long number, const std::function<void()>& release) {
  child.await(number);
  int copies = 0;
  int late = 0;
  while (copies < kLooks) {
    const StackAttempt attempt = process::copy_stack(child.pid(), child.pid(), always);
    if (attempt.copy) {
      if (copies++ == 0) {
        EXPECT_TRUE(has(functions(*attempt.copy), "hang"));
      }
    } else if (attempt.why == "it did not stop" && ++late < kLooks) {
      // It had no CPU within the patience of a look: a matter of the machine's other load.
    } else {
      ADD_FAILURE() << attempt.why;
      break;
    }
  }
  EXPECT_EQ(copies, kLooks);
  release();
  EXPECT_EQ(child.end(), 0);
}

// --- stopped: calls that the kernel resumes ---

TEST(StoppedThread, SleepsOn) {
  Child child([](Shared&) {
    const timespec time{1, 0};
    timespec left{};
    return nanosleep(&time, &left) == 0 ? 0 : errno;
  });
  expect_unnoticed(child, SYS_clock_nanosleep, [] {});
}

TEST(StoppedThread, PollsOn) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Child child([&](Shared&) {
    pollfd one{ends[0], POLLIN, 0};
    return poll(&one, 1, 30000) == 1 ? 0 : 1;
  });
  expect_unnoticed(child, SYS_poll, [&] { ASSERT_EQ(write(ends[1], "x", 1), 1); });
}

TEST(StoppedThread, SelectsOn) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Child child([&](Shared&) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    timeval timeout = kHalfAMinute;
    return select(ends[0] + 1, &set, nullptr, nullptr, &timeout) == 1 ? 0 : 1;
  });
  expect_unnoticed(child, SYS_pselect6, [&] { ASSERT_EQ(write(ends[1], "x", 1), 1); });
}

TEST(StoppedThread, ReadsOn) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Child child([&](Shared&) {
    char byte = 0;
    return read(ends[0], &byte, 1) == 1 && byte == 'x' ? 0 : 1;
  });
  expect_unnoticed(child, SYS_read, [&] { ASSERT_EQ(write(ends[1], "x", 1), 1); });
}

TEST(StoppedThread, WaitsForItsFutexOn) {
  Child child([](Shared& shared) {
    const timespec timeout{30, 0};
    const long result = syscall(SYS_futex, &shared.word, FUTEX_WAIT, 0, &timeout, nullptr, 0);
    return result == 0 ? 0 : errno;
  });
  expect_unnoticed(child, SYS_futex, [&] {
    // The kernel resumes the wait by comparing the word anew: changed before that, it is EAGAIN.
    child.await(SYS_futex);
    child.shared().word = 1;
    syscall(SYS_futex, &child.shared().word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  });
}

// --- stopped: calls that the kernel ends with EINTR ---

TEST(StoppedThread, WaitsForEventsOn) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Child child([&](Shared&) {
    const int epoll = epoll_create1(0);
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event);
    return epoll_wait(epoll, &event, 1, 30000) == 1 ? 0 : 1;
  });
  expect_unnoticed(child, SYS_epoll_wait, [&] { ASSERT_EQ(write(ends[1], "x", 1), 1); });
}

TEST(StoppedThread, WaitsForEventsWithAMaskOn) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Child child([&](Shared&) {
    const int epoll = epoll_create1(0);
    epoll_event event{};
    event.events = EPOLLIN;
    epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event);
    sigset_t all, after;
    sigfillset(&all);
    const int ready = epoll_pwait(epoll, &event, 1, -1, &all);
    sigprocmask(SIG_SETMASK, nullptr, &after);
    return ready == 1 && sigismember(&after, SIGUSR1) == 0 ? 0 : 1;
  });
  expect_unnoticed(child, SYS_epoll_pwait, [&] { ASSERT_EQ(write(ends[1], "x", 1), 1); });
}

TEST(StoppedThread, ReceivesWithATimeoutOn) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  Child child([&](Shared&) {
    setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &kHalfAMinute, sizeof kHalfAMinute);
    char byte = 0;
    return recv(ends[0], &byte, 1, 0) == 1 ? 0 : 1;
  });
  expect_unnoticed(child, SYS_recvfrom, [&] { ASSERT_EQ(write(ends[1], "x", 1), 1); });
}

TEST(StoppedThread, WaitsForItsSemaphoreOn) {
  const int semaphore = semget(IPC_PRIVATE, 1, 0600);
  ASSERT_GE(semaphore, 0);
  Child child([&](Shared&) {
    sembuf down{0, -1, 0};
    return semop(semaphore, &down, 1) == 0 ? 0 : 1;
  });
  expect_unnoticed(child, SYS_semtimedop, [&] {
    sembuf up{0, 1, 0};
    ASSERT_EQ(semop(semaphore, &up, 1), 0);
  });
  semctl(semaphore, 0, IPC_RMID);
}

TEST(StoppedThread, WaitsForASignalOn) {
  Child child([](Shared&) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    sigprocmask(SIG_BLOCK, &one, nullptr);
    const timespec timeout{30, 0};
    return sigtimedwait(&one, nullptr, &timeout) == SIGUSR1 ? 0 : 1;
  });
  expect_unnoticed(child, SYS_rt_sigtimedwait, [&] { kill(child.pid(), SIGUSR1); });
}

TEST(StoppedThread, IsInterruptedByItsOwnSignals) {
  Child child([](Shared& shared) {
    static Shared* counted = &shared;
    struct sigaction action {};
    action.sa_handler = [](int) { ++counted->handled; };
    sigaction(SIGUSR1, &action, nullptr);
    const int epoll = epoll_create1(0);
    epoll_event event{};
    const int ready = epoll_wait(epoll, &event, 1, 30000);
    return ready == -1 && errno == EINTR && shared.handled == 1 ? 0 : 1;
  });
  expect_unnoticed(child, SYS_epoll_wait, [&] { kill(child.pid(), SIGUSR1); });
}

// --- stopped: one that computes ---

[[gnu::noinline]] int compute(Shared& shared) {
  shared.ready = 1;
  volatile unsigned value = 1;
  while (shared.word.load(std::memory_order_relaxed) == 0) value = value * 1664525 + 1013904223;
  return 0;
}

TEST(StoppedThread, ComputesOn) {
  Child child(compute);
  child.await(-1);
  const StackAttempt attempt = process::copy_stack(child.pid(), child.pid(), always);
  ASSERT_TRUE(attempt.copy) << attempt.why;
  const auto names = functions(*attempt.copy);
  EXPECT_TRUE(has(names, "compute"));
  EXPECT_TRUE(has(names, "hang"));
  expect_unnoticed(child, -1, [&] { child.shared().word = 1; });
}

TEST(StoppedThread, LosesNoSignal) {
  constexpr int kSignals = 500;
  Child child([](Shared& shared) {
    static Shared* counted = &shared;
    struct sigaction action {};
    action.sa_handler = [](int) { ++counted->handled; };
    sigaction(SIGRTMIN, &action, nullptr);
    return compute(shared);
  });
  child.await(-1);
  for (int i = 0; i < kSignals; ++i) {
    ASSERT_EQ(sigqueue(child.pid(), SIGRTMIN, {}), 0);
    process::copy_stack(child.pid(), child.pid(), always);
  }
  child.shared().word = 1;
  EXPECT_EQ(child.end(), 0);
  EXPECT_EQ(child.shared().handled, kSignals);
}

TEST(StoppedThread, IsLeftAloneWhenNotWanted) {
  Child child(compute);
  child.await(-1);
  const StackAttempt attempt = process::copy_stack(child.pid(), child.pid(), [] { return false; });
  EXPECT_FALSE(attempt.copy);
  EXPECT_EQ(attempt.why, "it has gone on");
  child.shared().word = 1;
  EXPECT_EQ(child.end(), 0);
}

TEST(StoppedThread, IsRefusedWhileAnotherTracesIt) {
  Child child(compute);
  child.await(-1);
  Child tracer([&](Shared& shared) {
    if (ptrace(PTRACE_SEIZE, child.pid(), nullptr, nullptr) != 0) return 77;
    return compute(shared);
  });
  while (tracer.shared().ready == 0) usleep(1000);
  const StackAttempt attempt = process::copy_stack(child.pid(), child.pid(), always);
  EXPECT_FALSE(attempt.copy);
  EXPECT_NE(attempt.why.find("process " + std::to_string(tracer.pid()) + " traces it"),
            std::string::npos)
      << attempt.why;
  tracer.shared().word = 1;
  EXPECT_EQ(tracer.end(), 0);
  child.shared().word = 1;
  EXPECT_EQ(child.end(), 0);
}

// --- not stopped ---

/// A stop would make it return early.
TEST(BlockedThread, WritesAllItWanted) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  static char bytes[1 << 20];
  Child child([&](Shared&) {
    return write(ends[1], bytes, sizeof bytes) == static_cast<ssize_t>(sizeof bytes) ? 0 : 1;
  });
  const ThreadLook look = child.await(SYS_write);
  for (int i = 0; i < kLooks; ++i) {
    const StackAttempt attempt = process::copy_blocked_stack(child.pid(), child.pid(), look);
    ASSERT_TRUE(attempt.copy) << attempt.why;
  }
  EXPECT_EQ(process::system_call_name(look.call->number), "write");
  EXPECT_FALSE(process::resumes_unnoticed(look.call->number));
  std::vector<char> to(sizeof bytes);
  for (std::size_t left = sizeof bytes; left > 0;) {
    const ssize_t got = read(ends[0], to.data(), left);
    ASSERT_GT(got, 0);
    left -= static_cast<std::size_t>(got);
  }
  EXPECT_EQ(child.end(), 0);
}

TEST(BlockedThread, HasAStack) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Child child([&](Shared&) {
    char byte = 0;
    return read(ends[0], &byte, 1) == 1 ? 0 : 1;
  });
  const ThreadLook look = child.await(SYS_read);
  const StackAttempt attempt = process::copy_blocked_stack(child.pid(), child.pid(), look);
  ASSERT_TRUE(attempt.copy) << attempt.why;
  const auto names = functions(*attempt.copy);
  ASSERT_FALSE(names.empty());
  EXPECT_NE(names[0].find("read"), std::string::npos) << names[0];
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  EXPECT_EQ(child.end(), 0);
}

TEST(BlockedThread, ThatHasGoneOnHasNone) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Child child([&](Shared& shared) {
    char byte = 0;
    return read(ends[0], &byte, 1) == 1 ? compute(shared) : 1;
  });
  const ThreadLook look = child.await(SYS_read);
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  child.await(-1);
  const StackAttempt attempt = process::copy_blocked_stack(child.pid(), child.pid(), look);
  EXPECT_FALSE(attempt.copy);
  EXPECT_EQ(attempt.why, "it has gone on");
  child.shared().word = 1;
  EXPECT_EQ(child.end(), 0);
}

TEST(ThreadLook, OfNobodyIsNone) {
  Child child([](Shared&) { return 0; });
  const pid_t pid = child.pid();
  EXPECT_EQ(child.end(), 0);
  EXPECT_FALSE(process::look_at_thread(pid, pid));
  EXPECT_FALSE(process::read_thread_times(pid, pid));
  EXPECT_FALSE(process::copy_stack(pid, pid, always).copy);
}

TEST(ThreadTimes, Grow) {
  Child child(compute);
  child.await(-1);
  const auto before = process::read_thread_times(child.pid(), child.pid());
  ASSERT_TRUE(before);
  while (process::read_thread_times(child.pid(), child.pid())->cpu_ns <
         before->cpu_ns + 10'000'000) {
    usleep(1000);
  }
  child.shared().word = 1;
  EXPECT_EQ(child.end(), 0);
}

TEST(SystemCallLine, IsParsed) {
  const auto call =
      process::parse_system_call("230 0x1 0x2 0x7ffc 0x4 0x5 0xffffffffffffffff 0x7ffc35 0x7f99\n");
  ASSERT_TRUE(call);
  EXPECT_EQ(call->number, 230);
  EXPECT_EQ(call->arguments[2], 0x7ffcu);
  EXPECT_EQ(call->arguments[5], ~0ull);
  EXPECT_EQ(call->stack_pointer, 0x7ffc35u);
  EXPECT_EQ(call->program_counter, 0x7f99u);

  const auto fault = process::parse_system_call("-1 0x7ffc35 0x7f99\n");
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->number, process::SystemCall::kNone);
  EXPECT_EQ(fault->stack_pointer, 0x7ffc35u);
  EXPECT_EQ(fault->program_counter, 0x7f99u);

  for (const char* line : {"", "running\n", "230\n", "230 0x1 0x2\n", "-2 0x1 0x2\n", "x 0x1\n"}) {
    EXPECT_FALSE(process::parse_system_call(line)) << line;
  }
}

TEST(SystemCallName, IsThatOfTheKernel) {
  EXPECT_EQ(process::system_call_name(SYS_clock_nanosleep), "clock_nanosleep");
  EXPECT_EQ(process::system_call_name(99999), "system call 99999");
  EXPECT_EQ(process::system_call_name(process::SystemCall::kNone), "");
}

}  // namespace
}  // namespace loopscope
