// SPDX-License-Identifier: Apache-2.0
#include "cli/launch.h"

#include <dirent.h>
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
#include <exception>
#include <system_error>
#include <thread>

#include "cli/observation.h"

namespace loopscope::cli {
namespace {

using std::chrono::steady_clock;

/// Between two tries of what fails at once.
constexpr std::chrono::milliseconds kBreath{5};
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

/// The result of `call`, which is repeated while signals interrupt it.
template <typename Call>
auto uninterrupted(const Call& call) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

/// In the child: tells errno to who waits for it.
[[noreturn]] void give_up(const Pipe& status) {
  const int error = errno;
  (void)uninterrupted([&] { return write(status.write, &error, sizeof error); });
  _exit(127);
}

[[noreturn]] void become(char** program,
                         const std::vector<std::pair<std::string, std::string>>& environment,
                         const Pipe& gate, const Pipe& status, const struct sigaction& on_child_end,
                         int on_parent_end) {
  // Who tied our life to theirs (bwrap --die-with-parent) meant the program's.
  if (on_parent_end != 0) prctl(PR_SET_PDEATHSIG, on_parent_end, 0, 0, 0);
  close(gate.write);
  close(status.read);
  char go = 0;
  const ssize_t got = uninterrupted([&] { return read(gate.read, &go, 1); });
  if (got == 0) _exit(0);
  if (got < 0) give_up(status);
  for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
  sigaction(SIGCHLD, &on_child_end, nullptr);
  execvp(program[0], program);
  give_up(status);
}

/// Somebody may wait for the end of what `fd` is: it becomes a duplicate of `other`. If not even
/// that can be had it is closed, and what we open next gets its number, which harms nobody by now.
void let_go_of(int fd, int other) {
  if (uninterrupted([&] { return dup3(other, fd, O_CLOEXEC); }) < 0) close(fd);
}

/// close_range(2) is not there before Linux 5.9, and a seccomp filter may not know it.
void close_each(unsigned first, unsigned last) {
  DIR* const open_ones = opendir("/proc/self/fd");
  if (open_ones == nullptr) return;
  std::vector<int> found;
  while (const dirent* entry = readdir(open_ones)) {  // NOLINT(concurrency-mt-unsafe): one thread
    const unsigned long fd = std::strtoul(entry->d_name, nullptr, 10);
    if (fd >= first && fd <= last && fd != static_cast<unsigned long>(dirfd(open_ones))) {
      found.push_back(static_cast<int>(fd));
    }
  }
  closedir(open_ones);
  for (const int fd : found) close(fd);
}

void close_all(unsigned first, unsigned last) {
  if (close_range(first, last, 0) != 0) close_each(first, last);
}

/// Everything but standard error and `keep`, which holds one at least.
void let_go_of_descriptors(std::vector<int> keep) {
  const int null = uninterrupted([] { return open("/dev/null", O_RDWR | O_CLOEXEC); });
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO}) {
    if (fd != null) let_go_of(fd, null >= 0 ? null : keep.back());
  }
  if (null > STDERR_FILENO) close(null);
  std::sort(keep.begin(), keep.end());
  unsigned first = STDERR_FILENO + 1;
  for (const int fd : keep) {
    if (fd < static_cast<int>(first)) continue;
    if (static_cast<unsigned>(fd) > first) close_all(first, static_cast<unsigned>(fd) - 1);
    first = static_cast<unsigned>(fd) + 1;
  }
  close_all(first, ~0u);
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

/// Its end by waitpid(2), where waitid(2) is refused: a program whose end nobody learns of would be
/// waited for for ever.
std::optional<End> look_the_old_way(pid_t pid) {
  int status = 0;
  const pid_t ended = uninterrupted([&] { return waitpid(pid, &status, WNOHANG); });
  if (ended < 0 && errno == ECHILD) {
    throw std::system_error(errno, std::generic_category(),
                            "cannot learn how process " + std::to_string(pid) + " ended");
  }
  if (ended != pid) return std::nullopt;
  return WIFSIGNALED(status) ? End{true, WTERMSIG(status)} : End{false, WEXITSTATUS(status)};
}

/// The program's end if it has come; follows it into a stop on the way. Throws std::system_error
/// if it is not there to be waited for.
std::optional<End> look_after(pid_t pid) {
  for (;;) {
    siginfo_t info{};
    constexpr int kAny = WEXITED | WSTOPPED | WCONTINUED | WNOHANG;
    if (uninterrupted([&] { return waitid(P_PID, static_cast<id_t>(pid), &info, kAny); }) != 0) {
      return look_the_old_way(pid);
    }
    if (info.si_pid == 0) return std::nullopt;
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
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // Whoever reads or writes there gets EBADF, as if it were closed.
    const int mode = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    // The lowest free number: this one.
    if (uninterrupted([&] { return open("/dev/null", mode | O_CLOEXEC); }) < 0) {
      throw std::system_error(errno, std::generic_category(),
                              "descriptor " + std::to_string(fd) +
                                  " is closed, and /dev/null cannot be opened in its place");
    }
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
  ours.insert(ours.end(), {gate_, witness_->descriptor(), status_});
  let_go_of_descriptors(std::move(ours));
}

Launch::~Launch() {
  if (gate_ >= 0) {
    close(gate_);
    (void)uninterrupted([&] { return waitpid(pid_, nullptr, 0); });
  }
  if (status_ >= 0) close(status_);
}

int Launch::start() {
  const char go = 1;
  // A child that was killed meanwhile leaves nobody to read; wait() will say so.
  if (uninterrupted([&] { return write(gate_, &go, 1); }) != 1 && errno != EPIPE) {
    throw std::system_error(errno, std::generic_category(), "cannot let the program go");
  }
  close(gate_);
  gate_ = -1;
  // Somebody may press Ctrl-Z before it is the program: a stopped child does not answer.
  pollfd answer{status_, POLLIN, 0};
  while (!ended_) {
    const int answers = poll(&answer, 1, kStartMs);
    if (answers == 1) break;
    if (answers < 0) std::this_thread::sleep_for(kBreath);
    ended_ = look_after(pid_);
  }
  int error = 0;
  if (ended_ || uninterrupted([&] { return read(status_, &error, sizeof error); }) !=
                    static_cast<ssize_t>(sizeof error)) {
    return 0;
  }
  (void)uninterrupted([&] { return waitpid(pid_, nullptr, 0); });
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
      const bool continued = errno == EINTR;  // after a stop
      // Should SIGCHLD ever not come, the end is seen even so.
      ended_ = look_after(pid_);
      if (ended_) break;
      if (steady_clock::now() < due) {
        // Refused, which is not known to happen: no reason to keep a core busy.
        if (!continued) std::this_thread::sleep_for(kBreath);
        continue;
      }
      due = steady_clock::now() + interval;
      try {
        tick();
      } catch (const std::exception& error) {
        // The program goes on, and so must the waiting for it.
        trouble_ = what_of(error);
      }
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
