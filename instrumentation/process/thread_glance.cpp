// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/process/thread_glance.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

namespace loopscope::process {
namespace {

/// Beyond, the outermost calls are not seen.
constexpr std::size_t kMostStackBytes = 256u << 10;
/// A thread that is ready to run may wait for a CPU before it can stop.
constexpr std::uint64_t kPatienceNs = 50'000'000;
constexpr int kSpins = 200;

constexpr std::pair<long, const char*> kNames[] = {
#define LOOPSCOPE_CALL(name) \
  { SYS_##name, #name }
    LOOPSCOPE_CALL(accept),
    LOOPSCOPE_CALL(accept4),
    LOOPSCOPE_CALL(clock_nanosleep),
    LOOPSCOPE_CALL(clone),
    LOOPSCOPE_CALL(close),
    LOOPSCOPE_CALL(connect),
    LOOPSCOPE_CALL(copy_file_range),
    LOOPSCOPE_CALL(epoll_pwait),
    LOOPSCOPE_CALL(epoll_ctl),
    LOOPSCOPE_CALL(execve),
    LOOPSCOPE_CALL(fallocate),
    LOOPSCOPE_CALL(fcntl),
    LOOPSCOPE_CALL(fdatasync),
    LOOPSCOPE_CALL(flock),
    LOOPSCOPE_CALL(fstat),
    LOOPSCOPE_CALL(fsync),
    LOOPSCOPE_CALL(ftruncate),
    LOOPSCOPE_CALL(futex),
    LOOPSCOPE_CALL(getdents64),
    LOOPSCOPE_CALL(getrandom),
    LOOPSCOPE_CALL(io_getevents),
    LOOPSCOPE_CALL(io_uring_enter),
    LOOPSCOPE_CALL(ioctl),
    LOOPSCOPE_CALL(linkat),
    LOOPSCOPE_CALL(lseek),
    LOOPSCOPE_CALL(madvise),
    LOOPSCOPE_CALL(mkdirat),
    LOOPSCOPE_CALL(mmap),
    LOOPSCOPE_CALL(mount),
    LOOPSCOPE_CALL(mprotect),
    LOOPSCOPE_CALL(mq_timedreceive),
    LOOPSCOPE_CALL(mq_timedsend),
    LOOPSCOPE_CALL(mremap),
    LOOPSCOPE_CALL(msgrcv),
    LOOPSCOPE_CALL(msgsnd),
    LOOPSCOPE_CALL(msync),
    LOOPSCOPE_CALL(munmap),
    LOOPSCOPE_CALL(nanosleep),
    LOOPSCOPE_CALL(newfstatat),
    LOOPSCOPE_CALL(openat),
    LOOPSCOPE_CALL(ppoll),
    LOOPSCOPE_CALL(pread64),
    LOOPSCOPE_CALL(preadv),
    LOOPSCOPE_CALL(pselect6),
    LOOPSCOPE_CALL(pwrite64),
    LOOPSCOPE_CALL(pwritev),
    LOOPSCOPE_CALL(read),
    LOOPSCOPE_CALL(readlinkat),
    LOOPSCOPE_CALL(readv),
    LOOPSCOPE_CALL(recvfrom),
    LOOPSCOPE_CALL(recvmmsg),
    LOOPSCOPE_CALL(recvmsg),
    LOOPSCOPE_CALL(renameat2),
    LOOPSCOPE_CALL(restart_syscall),
    LOOPSCOPE_CALL(rt_sigsuspend),
    LOOPSCOPE_CALL(rt_sigtimedwait),
    LOOPSCOPE_CALL(semop),
    LOOPSCOPE_CALL(semtimedop),
    LOOPSCOPE_CALL(sendfile),
    LOOPSCOPE_CALL(sendmmsg),
    LOOPSCOPE_CALL(sendmsg),
    LOOPSCOPE_CALL(sendto),
    LOOPSCOPE_CALL(shutdown),
    LOOPSCOPE_CALL(splice),
    LOOPSCOPE_CALL(statx),
    LOOPSCOPE_CALL(sync),
    LOOPSCOPE_CALL(sync_file_range),
    LOOPSCOPE_CALL(syncfs),
    LOOPSCOPE_CALL(tee),
    LOOPSCOPE_CALL(truncate),
    LOOPSCOPE_CALL(unlinkat),
    LOOPSCOPE_CALL(vmsplice),
    LOOPSCOPE_CALL(wait4),
    LOOPSCOPE_CALL(waitid),
    LOOPSCOPE_CALL(write),
    LOOPSCOPE_CALL(writev),
#ifdef SYS_access  // what only older architectures have
    LOOPSCOPE_CALL(access),
    LOOPSCOPE_CALL(creat),
    LOOPSCOPE_CALL(epoll_wait),
    LOOPSCOPE_CALL(fork),
    LOOPSCOPE_CALL(getdents),
    LOOPSCOPE_CALL(link),
    LOOPSCOPE_CALL(lstat),
    LOOPSCOPE_CALL(mkdir),
    LOOPSCOPE_CALL(open),
    LOOPSCOPE_CALL(pause),
    LOOPSCOPE_CALL(poll),
    LOOPSCOPE_CALL(readlink),
    LOOPSCOPE_CALL(rename),
    LOOPSCOPE_CALL(rmdir),
    LOOPSCOPE_CALL(select),
    LOOPSCOPE_CALL(stat),
    LOOPSCOPE_CALL(unlink),
    LOOPSCOPE_CALL(vfork),
#endif
#ifdef SYS_clone3
    LOOPSCOPE_CALL(clone3),
#endif
#ifdef SYS_close_range
    LOOPSCOPE_CALL(close_range),
#endif
#ifdef SYS_epoll_pwait2
    LOOPSCOPE_CALL(epoll_pwait2),
#endif
#ifdef SYS_futex_waitv
    LOOPSCOPE_CALL(futex_waitv),
#endif
#ifdef SYS_openat2
    LOOPSCOPE_CALL(openat2),
#endif
#undef LOOPSCOPE_CALL
};

/// A small file of /proc, in one read(2); empty if it cannot be had.
std::string read_task_file(std::int32_t pid, std::int32_t thread_id, const char* name) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/task/%d/%s", pid, thread_id, name);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  char buffer[1024];
  ssize_t got = 0;
  do {
    got = ::read(fd, buffer, sizeof buffer);
  } while (got < 0 && errno == EINTR);
  ::close(fd);
  return got > 0 ? std::string(buffer, static_cast<std::size_t>(got)) : "";
}

std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

/// "Operation not permitted (process 12 traces it)".
std::string refused(std::int32_t pid, std::int32_t thread_id, int error) {
  std::string why = std::generic_category().message(error);
  const std::string status = read_task_file(pid, thread_id, "status");
  constexpr std::string_view kTracer = "TracerPid:\t";
  if (const std::size_t at = status.find(kTracer); at != std::string::npos) {
    const std::size_t from = at + kTracer.size();
    const std::string tracer = status.substr(from, status.find('\n', from) - from);
    if (tracer != "0") why += " (process " + tracer + " traces it)";
  }
  return why;
}

/// From the stack pointer upwards, as far as there is memory.
int copy_memory(StackCopy& copy) {
  static const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t from = copy.registers[StackCopy::kStackPointer];
  copy.begin = from;
  copy.memory.resize(kMostStackBytes);
  // A piece a page: what lies in pages that are there is copied, whatever follows.
  std::vector<iovec> pieces;
  for (std::uint64_t at = from; at < from + kMostStackBytes;) {
    const std::uint64_t end = std::min((at / page + 1) * page, from + kMostStackBytes);
    pieces.push_back({reinterpret_cast<void*>(at), end - at});
    at = end;
  }
  const iovec to{copy.memory.data(), copy.memory.size()};
  const std::size_t most = std::min<std::size_t>(pieces.size(), IOV_MAX);
  const ssize_t got = ::process_vm_readv(copy.pid, &to, 1, pieces.data(), most, 0);
  copy.memory.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return got < 0 ? errno : 0;
}

#ifdef __x86_64__

/// Calls that report a stop as EINTR, and have done nothing when they do.
bool may_be_called_again(std::int64_t number) {
  switch (number) {
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
#ifdef SYS_epoll_pwait2
    case SYS_epoll_pwait2:
#endif
    case SYS_read:
    case SYS_readv:
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_recvmmsg:
    case SYS_accept:
    case SYS_accept4:
    case SYS_connect:
    case SYS_write:
    case SYS_writev:
    case SYS_sendto:
    case SYS_sendmsg:
    case SYS_sendmmsg:
    case SYS_semop:
    case SYS_semtimedop:
    case SYS_rt_sigtimedwait:
    case SYS_msgrcv:
    case SYS_msgsnd:
    case SYS_io_getevents:
    case SYS_io_uring_enter:
      return true;
    default:
      return false;
  }
}

/// The kernel's own, for tracers to see: the call is made again unless a signal's handler runs
/// first; then it ends with EINTR, as it would have.
constexpr long long kRestartUnlessHandled = -514;  // ERESTARTNOHAND

void undo_interruption(pid_t thread_id, user_regs_struct& registers) {
  if (static_cast<std::int64_t>(registers.orig_rax) < 0 ||
      static_cast<std::int64_t>(registers.rax) != -EINTR ||
      !may_be_called_again(static_cast<std::int64_t>(registers.orig_rax))) {
    return;
  }
  registers.rax = static_cast<unsigned long long>(kRestartUnlessHandled);
  iovec all{&registers, sizeof registers};
  ::ptrace(PTRACE_SETREGSET, thread_id, reinterpret_cast<void*>(NT_PRSTATUS), &all);
}

void take_registers(const user_regs_struct& from, StackCopy& copy) {
  copy.registers = {from.rax, from.rdx, from.rcx, from.rbx, from.rsi, from.rdi,
                    from.rbp, from.rsp, from.r8,  from.r9,  from.r10, from.r11,
                    from.r12, from.r13, from.r14, from.r15, from.rip};
  copy.known = (1u << StackCopy::kRegisters) - 1;
}

/// The signal that stopped it, to be passed on; 0: the stop was ours, or a signal that stops.
int pending_signal(pid_t thread_id) {
  siginfo_t info{};
  if (::ptrace(PTRACE_GETSIGINFO, thread_id, nullptr, &info) != 0) return 0;
  return info.si_code >> 8 == PTRACE_EVENT_STOP ? 0 : info.si_signo;
}

/// On a thread of its own: when it ends, the kernel lets go of whatever it still traced.
void seize_and_copy(StackCopy& copy, const std::function<bool()>& still_wanted,
                    StackAttempt& attempt) {
  const pid_t thread_id = copy.thread_id;
  if (::ptrace(PTRACE_SEIZE, thread_id, nullptr, nullptr) != 0) {
    attempt.why = refused(copy.pid, thread_id, errno);
    return;
  }
  if (!still_wanted()) {
    attempt.why = "it has gone on";
    return;
  }
  if (::ptrace(PTRACE_INTERRUPT, thread_id, nullptr, nullptr) != 0) {
    attempt.why = refused(copy.pid, thread_id, errno);
    return;
  }
  // Not by waitpid(2): who waits for the program here, on another thread, may be told instead.
  // Registers can be had once it has stopped.
  user_regs_struct registers{};
  iovec all{&registers, sizeof registers};
  const std::uint64_t began = now_ns();
  for (int tries = 0;; ++tries) {
    all.iov_len = sizeof registers;
    if (::ptrace(PTRACE_GETREGSET, thread_id, reinterpret_cast<void*>(NT_PRSTATUS), &all) == 0) {
      break;
    }
    if (errno != ESRCH || now_ns() - began > kPatienceNs) {
      attempt.why = errno == ESRCH ? "it did not stop" : refused(copy.pid, thread_id, errno);
      return;
    }
    if (tries < kSpins) {
      ::sched_yield();
    } else {
      const timespec pause{0, 50'000};
      ::nanosleep(&pause, nullptr);
    }
  }
  int error = EINVAL;  // a program of 32 bits
  if (all.iov_len == sizeof registers) {
    take_registers(registers, copy);
    error = copy_memory(copy);
    undo_interruption(thread_id, registers);
  }
  const auto signal = static_cast<std::intptr_t>(pending_signal(thread_id));
  ::ptrace(PTRACE_DETACH, thread_id, nullptr, reinterpret_cast<void*>(signal));
  if (error != 0) {
    attempt.why = std::generic_category().message(error);
    return;
  }
  attempt.copy = std::move(copy);
}

#endif

}  // namespace

std::optional<ThreadTimes> read_thread_times(std::int32_t pid, std::int32_t thread_id) {
  const std::string line = read_task_file(pid, thread_id, "schedstat");
  unsigned long long cpu = 0, waited = 0;
  if (std::sscanf(line.c_str(), "%llu %llu", &cpu, &waited) != 2) return std::nullopt;
  return ThreadTimes{cpu, waited};
}

std::optional<SystemCall> parse_system_call(const std::string& line) {
  SystemCall call;
  long long number = -1;
  unsigned long long values[8] = {};
  const int got =
      std::sscanf(line.c_str(), "%lld 0x%llx 0x%llx 0x%llx 0x%llx 0x%llx 0x%llx 0x%llx 0x%llx",
                  &number, &values[0], &values[1], &values[2], &values[3], &values[4], &values[5],
                  &values[6], &values[7]);
  const bool in_call = got == 9 && number >= 0;
  if (!in_call && (got != 3 || number != SystemCall::kNone)) return std::nullopt;
  call.number = number;
  if (in_call) std::copy(values, values + 6, call.arguments.begin());
  call.stack_pointer = values[in_call ? 6 : 0];
  call.program_counter = values[in_call ? 7 : 1];
  return call;
}

std::optional<ThreadLook> look_at_thread(std::int32_t pid, std::int32_t thread_id) {
  const std::string stat = read_task_file(pid, thread_id, "stat");
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos || name_end + 2 >= stat.size()) return std::nullopt;
  ThreadLook look;
  look.state = stat[name_end + 2];
  look.call = parse_system_call(read_task_file(pid, thread_id, "syscall"));
  look.channel = read_task_file(pid, thread_id, "wchan");
  if (look.channel == "0") look.channel.clear();
  return look;
}

std::string system_call_name(std::int64_t number) {
  if (number == SystemCall::kNone) return "";
  for (const auto& [known, name] : kNames) {
    if (known == number) return name;
  }
  return "system call " + std::to_string(number);
}

bool resumes_unnoticed(std::int64_t number) {
  switch (number) {
    case SYS_clock_nanosleep:
    case SYS_nanosleep:
    case SYS_futex:
    case SYS_ppoll:
    case SYS_pselect6:
    case SYS_wait4:
    case SYS_waitid:
    case SYS_flock:
#ifdef SYS_poll
    case SYS_poll:
    case SYS_select:
    case SYS_pause:
#endif
      return true;
    default:
      return false;
  }
}

StackAttempt copy_blocked_stack(std::int32_t pid, std::int32_t thread_id, const ThreadLook& look) {
#ifdef __x86_64__
  if (!look.call) return {std::nullopt, "it is not blocked in a system call"};
  StackCopy copy;
  copy.pid = pid;
  copy.thread_id = thread_id;
  copy.registers[StackCopy::kStackPointer] = look.call->stack_pointer;
  copy.registers[StackCopy::kProgramCounter] = look.call->program_counter;
  copy.known = 1u << StackCopy::kStackPointer | 1u << StackCopy::kProgramCounter;
  if (const int error = copy_memory(copy); error != 0) {
    return {std::nullopt, refused(pid, thread_id, error)};
  }
  if (parse_system_call(read_task_file(pid, thread_id, "syscall")) != look.call) {
    return {std::nullopt, "it has gone on"};
  }
  return {std::move(copy), ""};
#else
  static_cast<void>(pid), static_cast<void>(thread_id), static_cast<void>(look);
  return {std::nullopt, "not on this architecture"};
#endif
}

StackAttempt copy_stack(std::int32_t pid, std::int32_t thread_id,
                        const std::function<bool()>& still_wanted) {
#ifdef __x86_64__
  StackAttempt attempt;
  StackCopy copy;
  copy.pid = pid;
  copy.thread_id = thread_id;
  copy.memory.resize(kMostStackBytes);  // not while it is stopped
  try {
    std::thread([&] { seize_and_copy(copy, still_wanted, attempt); }).join();
  } catch (const std::system_error& error) {  // no thread to be had
    attempt.why = error.code().message();
  }
  return attempt;
#else
  static_cast<void>(pid), static_cast<void>(thread_id), static_cast<void>(still_wanted);
  return {std::nullopt, "not on this architecture"};
#endif
}

}  // namespace loopscope::process
