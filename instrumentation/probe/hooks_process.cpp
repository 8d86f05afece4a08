// SPDX-License-Identifier: Apache-2.0
//
// What happens to the process itself: exec, exit, children that share memory, privileges that go.
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "instrumentation/probe/census.h"
#include "instrumentation/probe/hooks.h"
#include "instrumentation/probe/probe.h"

using namespace loopscope::probe;  // NOLINT(google-build-using-namespace): the definitions below
                                   // are C's

#define FIRST(result, name, parameters, arguments) \
  LOOPSCOPE_HOOK(result, name, parameters) {       \
    Thread& thread = t_thread;                     \
    if (!live(thread)) come_alive(thread);         \
    return real().name arguments;                  \
  }
#define BIRTH(result, name, parameters, arguments, facts)
#define IO(result, name, parameters, arguments, fd)
#define HOOK(result, name, parameters, arguments)
#define SAME(name, as)
#include "instrumentation/probe/hooks.def"

namespace loopscope::probe {

void process_ends(Thread& thread, int status) noexcept {
  tell_if_unrecorded(thread);
  if (!live(thread)) return;
  take_census(thread);
  g_probe.process->ended(status & 0xFF, true);
}

bool begin_exec(Thread& thread) noexcept {
  tell_if_unrecorded(thread);
  if (!live(thread)) return false;
  take_census(thread);
  g_probe.process->executing(true);
  return true;
}

void exec_failed() noexcept {
  const int saved = errno;
  g_probe.process->executing(false);
  undo_census();
  errno = saved;
}

}  // namespace loopscope::probe

namespace {

/// The image's recording ends with a successful exec; in a vfork child the process is not ours to
/// end, and a forked child that recorded nothing has no recording.
template <typename Exec>
[[gnu::always_inline]] inline int execute(Exec exec) {
  Thread& thread = t_thread;
  const bool ours = begin_exec(thread);
  const int returned = exec();
  if (ours) exec_failed();
  return returned;
}

/// How many arguments follow `first`, its closing null not counted.
int count_arguments(const char* first, va_list list) noexcept {
  int count = 0;
  for (const char* argument = first; argument != nullptr; argument = va_arg(list, const char*)) {
    ++count;
  }
  return count;
}

}  // namespace

LOOPSCOPE_HOOK(int, execve, (const char* path, char* const* arguments, char* const* environment)) {
  return execute([&] { return real().execve(path, arguments, environment); });
}
LOOPSCOPE_HOOK(int, execv, (const char* path, char* const* arguments)) {
  return execute([&] { return real().execv(path, arguments); });
}
LOOPSCOPE_HOOK(int, execvp, (const char* file, char* const* arguments)) {
  return execute([&] { return real().execvp(file, arguments); });
}
LOOPSCOPE_HOOK(int, execvpe, (const char* file, char* const* arguments, char* const* environment)) {
  return execute([&] { return real().execvpe(file, arguments, environment); });
}
LOOPSCOPE_HOOK(int, execveat,
               (int at, const char* path, char* const* arguments, char* const* environment,
                int flags)) {
  return execute([&] { return real().execveat(at, path, arguments, environment, flags); });
}
LOOPSCOPE_HOOK(int, fexecve, (int fd, char* const* arguments, char* const* environment)) {
  return execute([&] { return real().fexecve(fd, arguments, environment); });
}

// The list forms are the array forms with the array made here, as libc makes it.
#define LOOPSCOPE_EXEC_LIST(name, call, environment_of)                                          \
  extern "C" [[gnu::visibility("default")]] int hook_##name(const char* path, const char* first, \
                                                            ...) __asm__(#name);                 \
  extern "C" int hook_##name(const char* path, const char* first, ...) {                         \
    va_list list;                                                                                \
    va_start(list, first);                                                                       \
    const int count = count_arguments(first, list);                                              \
    va_end(list);                                                                                \
    auto** arguments =                                                                           \
        static_cast<char**>(__builtin_alloca((static_cast<size_t>(count) + 1) * sizeof(char*))); \
    va_start(list, first);                                                                       \
    arguments[0] = const_cast<char*>(first);                                                     \
    for (int i = 1; i <= count; ++i) arguments[i] = va_arg(list, char*);                         \
    [[maybe_unused]] char* const* environment = nullptr;                                         \
    environment_of;                                                                              \
    va_end(list);                                                                                \
    return execute([&] { return call; });                                                        \
  }
LOOPSCOPE_EXEC_LIST(execl, real().execv(path, arguments), )
LOOPSCOPE_EXEC_LIST(execlp, real().execvp(path, arguments), )
LOOPSCOPE_EXEC_LIST(execle, real().execve(path, arguments, environment),
                    environment = va_arg(list, char* const*))

LOOPSCOPE_HOOK(void, _exit, (int status)) {
  process_ends(t_thread, status);
  real()._exit(status);
  __builtin_unreachable();
}
LOOPSCOPE_HOOK(void, _Exit, (int status)) {
  process_ends(t_thread, status);
  real()._Exit(status);
  __builtin_unreachable();
}
LOOPSCOPE_HOOK(void, quick_exit, (int status)) {
  process_ends(t_thread, status);
  real().quick_exit(status);
  __builtin_unreachable();
}

// How a child ended is noted with its parent: nobody else learns which signal killed it. The status
// is asked for even where the program does not want to know.
namespace {

template <typename Wait>
[[gnu::always_inline]] inline pid_t reap(int* status, Wait wait) {
  int own = 0;
  int* to = status != nullptr ? status : &own;
  const pid_t pid = wait(to);
  if (pid > 0 && (WIFEXITED(*to) || WIFSIGNALED(*to)) && live(t_thread)) {
    g_probe.process->reaped(pid, *to);
  }
  return pid;
}

}  // namespace

LOOPSCOPE_HOOK(pid_t, wait, (int* status)) {
  return reap(status, [&](int* to) { return real().wait(to); });
}
LOOPSCOPE_HOOK(pid_t, waitpid, (pid_t pid, int* status, int options)) {
  return reap(status, [&](int* to) { return real().waitpid(pid, to, options); });
}
LOOPSCOPE_HOOK(pid_t, wait3, (int* status, int options, struct rusage* usage)) {
  return reap(status, [&](int* to) { return real().wait3(to, options, usage); });
}
LOOPSCOPE_HOOK(pid_t, wait4, (pid_t pid, int* status, int options, struct rusage* usage)) {
  return reap(status, [&](int* to) { return real().wait4(pid, to, options, usage); });
}
LOOPSCOPE_HOOK(int, waitid, (idtype_t kind, id_t id, siginfo_t* info, int options)) {
  const int returned = real().waitid(kind, id, info, options);
  if (returned == 0 && info != nullptr && info->si_pid > 0 && (options & WNOWAIT) == 0 &&
      live(t_thread)) {
    if (info->si_code == CLD_EXITED) {
      g_probe.process->reaped(info->si_pid, (info->si_status & 0xFF) << 8);
    } else if (info->si_code == CLD_KILLED || info->si_code == CLD_DUMPED) {
      g_probe.process->reaped(info->si_pid, info->si_status & 0x7F);
    }
  }
  return returned;
}

// The parent ends inside libc, past any hook: said before. The child is a forked one like any
// other.
LOOPSCOPE_HOOK(int, daemon, (int keep_directory, int keep_stdio)) {
  Thread& thread = t_thread;
  const bool ours = live(thread);
  process_ends(thread, 0);
  const int returned = real().daemon(keep_directory, keep_stdio);
  if (ours && live(thread)) {
    g_probe.process->still_running();
    undo_census();
  }
  return returned;
}

// A child made by clone with the parent's memory and descriptors of its own, while the parent
// waits, is a vfork child: what it does to its descriptors is not the parent's doing. (One that
// runs beside its parent cannot be told from a thread here: see docs/probe.md.)
LOOPSCOPE_HOOK(int, clone,
               (int (*function)(void*), void* stack, int flags, void* argument, pid_t* parent_tid,
                void* tls, pid_t* child_tid)) {
  Thread& thread = t_thread;
  const bool like_vfork = (flags & CLONE_VM) != 0 && (flags & CLONE_VFORK) != 0 &&
                          (flags & (CLONE_FILES | CLONE_SETTLS)) == 0;
  if (like_vfork) ++thread.off;
  const int returned = real().clone(function, stack, flags, argument, parent_tid, tls, child_tid);
  if (like_vfork) --thread.off;
  return returned;
}

LOOPSCOPE_HOOK(int, prctl,
               (int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)) {
  if (option == PR_SET_SECCOMP) seal(t_thread);
  return real().prctl(option, a, b, c, d);
}

LOOPSCOPE_HOOK(int, dlclose, (void* handle)) {
  const int returned = real().dlclose(handle);
  forget_unwind_rules();
  return returned;
}

/// For vfork_x86_64.S.
extern "C" [[gnu::visibility("hidden")]] void loopscope_before_vfork() noexcept { ++t_thread.off; }
extern "C" [[gnu::visibility("hidden")]] void loopscope_after_vfork() noexcept { --t_thread.off; }
/// On other architectures vfork(2) is what it may be by POSIX, a fork.
#if !defined(__x86_64__)
LOOPSCOPE_HOOK(pid_t, vfork, (void)) { return fork(); }
LOOPSCOPE_SAME(pid_t, __vfork, vfork, (void))
#endif
