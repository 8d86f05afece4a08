// SPDX-License-Identifier: Apache-2.0
#include "cli/launch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <system_error>

namespace loopscope::cli {
namespace {

using std::chrono::steady_clock;

/// How long a child may take to become the program before it is looked at.
constexpr int kStartMs = 20;

sigset_t all_signals() {
  sigset_t all;
  sigfillset(&all);
  return all;
}

struct Pipe {
  int read = -1;
  int write = -1;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
      throw std::system_error(errno, std::generic_category(), "cannot make a pipe");
    }
    read = ends[0];
    write = ends[1];
  }
};

[[noreturn]] void become(char** program,
                         const std::vector<std::pair<std::string, std::string>>& environment,
                         const Pipe& gate, const Pipe& status, const struct sigaction& on_child_end,
                         int on_parent_end) {
  // Who tied our life to theirs (bwrap --die-with-parent) meant the program's.
  if (on_parent_end != 0) prctl(PR_SET_PDEATHSIG, on_parent_end, 0, 0, 0);
  close(gate.write);
  close(status.read);
  char go = 0;
  ssize_t got = 0;
  do {
    got = read(gate.read, &go, 1);
  } while (got < 0 && errno == EINTR);
  if (got != 1) _exit(0);
  for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
  sigaction(SIGCHLD, &on_child_end, nullptr);
  execvp(program[0], program);
  const int error = errno;
  (void)!write(status.write, &error, sizeof error);
  _exit(127);
}

/// Everything but standard error and `keep`.
void let_go_of_descriptors(std::vector<int> keep) {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) {
    dup3(null, STDIN_FILENO, O_CLOEXEC);
    dup3(null, STDOUT_FILENO, O_CLOEXEC);
    if (null > STDERR_FILENO) close(null);
  }
  std::sort(keep.begin(), keep.end());
  unsigned first = STDERR_FILENO + 1;
  for (const int fd : keep) {
    if (fd < static_cast<int>(first)) continue;
    if (static_cast<unsigned>(fd) > first) close_range(first, static_cast<unsigned>(fd) - 1, 0);
    first = static_cast<unsigned>(fd) + 1;
  }
  close_range(first, ~0u, 0);
}

/// Stops this process as `signal` would have, until somebody continues it.
void stop_with(int signal) {
  struct sigaction action {};
  sigaction(signal, nullptr, &action);
  // Ignored by who started us, yet the program let itself be stopped by it.
  if (action.sa_handler == SIG_IGN) signal = SIGSTOP;
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, signal);
  // The terminal's own, to the whole group, may be waiting: with ours that would be two stops, and
  // the shell's SIGCONT undoes one.
  const timespec now{0, 0};
  while (signal != SIGSTOP && sigtimedwait(&one, nullptr, &now) > 0) {
  }
  raise(signal);
  pthread_sigmask(SIG_UNBLOCK, &one, nullptr);  // here
  pthread_sigmask(SIG_BLOCK, &one, nullptr);
}

/// The program's end if it has come; follows it into a stop on the way.
std::optional<End> look_after(pid_t pid) {
  for (;;) {
    siginfo_t info{};
    constexpr int kAny = WEXITED | WSTOPPED | WCONTINUED | WNOHANG;
    if (waitid(P_PID, static_cast<id_t>(pid), &info, kAny) != 0 || info.si_pid == 0) {
      return std::nullopt;
    }
    switch (info.si_code) {
      case CLD_EXITED:
        return End{false, info.si_status};
      case CLD_KILLED:
      case CLD_DUMPED:
        return End{true, info.si_status};
      case CLD_STOPPED: {
        // Unless it was continued meanwhile: stopping now would be stopping for ever.
        siginfo_t next{};
        waitid(P_PID, static_cast<id_t>(pid), &next, WEXITED | WCONTINUED | WNOHANG | WNOWAIT);
        if (next.si_pid == 0) stop_with(info.si_status);
        break;
      }
      default:
        break;
    }
  }
}

/// Orphans that became our children, as the first process of a container has them: the program
/// would have waited for them in our place.
void bury(pid_t program, pid_t witness) {
  for (;;) {
    siginfo_t info{};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
    if (info.si_pid == program || info.si_pid == witness) return;
    waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED | WNOHANG);
  }
}

void pass_on(pid_t pid, int signal, siginfo_t info, GroupWitness& witness) {
  const bool from_a_process = info.si_code <= 0;
  // Our own: SIGPIPE, when who reads our messages is gone.
  if (from_a_process && info.si_pid == getpid()) return;
  // The terminal's go to the group; without a witness that is all there is to go by.
  if (witness.exists() ? witness.saw(signal) : !from_a_process) return;
  if (info.si_code == SI_QUEUE) {
    // With its value; sender and user are set by the kernel's rules for us.
    syscall(SYS_rt_sigqueueinfo, pid, signal, &info);
  } else {
    kill(pid, signal);
  }
}

}  // namespace

void fill_standard_descriptors() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    (void)!open("/dev/null", O_RDWR | O_CLOEXEC);  // the lowest free number: this one
  }
}

Launch::Launch(char** program, const std::vector<std::pair<std::string, std::string>>& environment,
               const std::vector<int>& keep) {
  const Pipe gate, status;
  // Ignored, children would vanish without a status; the program gets what we were given.
  struct sigaction before {};
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  sigaction(SIGCHLD, &standard, &before);

  int on_parent_end = 0;
  prctl(PR_GET_PDEATHSIG, &on_parent_end, 0, 0, 0);

  pid_ = fork();
  if (pid_ == 0) become(program, environment, gate, status, before, on_parent_end);
  const int error = errno;
  close(gate.read);
  close(status.write);
  gate_ = gate.write;
  status_ = status.read;
  if (pid_ < 0) {
    close(gate_);
    close(status_);
    throw std::system_error(error, std::generic_category(), "cannot fork");
  }
  const sigset_t all = all_signals();
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  witness_ = std::make_unique<GroupWitness>();
  std::vector<int> ours = keep;
  ours.insert(ours.end(), {gate_, status_, witness_->descriptor()});
  let_go_of_descriptors(std::move(ours));
}

Launch::~Launch() {
  if (gate_ >= 0) {
    close(gate_);
    waitpid(pid_, nullptr, 0);
  }
  if (status_ >= 0) close(status_);
}

int Launch::start() {
  const char go = 1;
  // A child that was killed meanwhile leaves nobody to read; wait() will say so.
  (void)!write(gate_, &go, 1);
  close(gate_);
  gate_ = -1;
  // Somebody may press Ctrl-Z before it is the program: a stopped child does not answer.
  pollfd answer{status_, POLLIN, 0};
  while (!ended_ && poll(&answer, 1, kStartMs) != 1) ended_ = look_after(pid_);
  int error = 0;
  if (ended_ || read(status_, &error, sizeof error) != static_cast<ssize_t>(sizeof error)) return 0;
  waitpid(pid_, nullptr, 0);
  return error;
}

End Launch::wait(std::chrono::milliseconds interval, const std::function<void()>& tick) {
  const sigset_t all = all_signals();
  steady_clock::time_point due = steady_clock::now() + interval;
  // SIGCHLD may have come before it was blocked.
  if (!ended_) ended_ = look_after(pid_);
  while (!ended_) {
    const auto left =
        std::max(std::chrono::nanoseconds(0), std::chrono::nanoseconds(due - steady_clock::now()));
    const timespec wait{static_cast<time_t>(left.count() / 1'000'000'000),
                        static_cast<long>(left.count() % 1'000'000'000)};
    siginfo_t info{};
    const int signal = sigtimedwait(&all, &info, &wait);
    if (signal < 0) {
      if (errno != EAGAIN) continue;  // continued after a stop
      due = steady_clock::now() + interval;
      tick();
    } else if (signal == SIGCHLD) {
      ended_ = look_after(pid_);
      bury(pid_, witness_->pid());
    } else {
      if (signal == SIGINT || signal == SIGTERM || signal == SIGQUIT) {
        told_to_end_ = steady_clock::now();
      }
      pass_on(pid_, signal, info, *witness_);
    }
  }
  // Before this, it was told something else: a REPL goes on after a Ctrl-C.
  if (told_to_end_ && steady_clock::now() - *told_to_end_ > kTakesItsLeave) told_to_end_.reset();
  return *ended_;
}

bool Launch::told_to_end() const {
  return told_to_end_ || (ended_ && ended_->killed && ended_->number == SIGHUP);
}

void Launch::bury_orphans() { bury(pid_, witness_->pid()); }

}  // namespace loopscope::cli
