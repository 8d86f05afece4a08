// SPDX-License-Identifier: Apache-2.0
//
// Births: the hooks that all look alike (BIRTH in the table), and those that take a variable number
// of arguments, make several descriptors, or hide one in a FILE or DIR.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "instrumentation/probe/births.h"
#include "instrumentation/probe/hooks.h"

using namespace loopscope::probe;  // NOLINT(google-build-using-namespace): the definitions below
                                   // are C's

#define BIRTH(result, name, parameters, arguments, facts)             \
  LOOPSCOPE_HOOK(result, name, parameters) {                          \
    Thread& thread = t_thread;                                        \
    if (!recording_for(thread)) return real().name arguments;         \
    const result returned = g_real.name arguments;                    \
    if (returned >= 0) born(thread, returned, caller_frame(), facts); \
    return returned;                                                  \
  }
#define IO(result, name, parameters, arguments, fd)
#define FIRST(result, name, parameters, arguments)
#define HOOK(result, name, parameters, arguments)
#define SAME(name, as)
#include "instrumentation/probe/hooks.def"

namespace loopscope::probe {

void note_pair(Thread& thread, const int* fds, const Born& first, const Born& second,
               const StackStart& site) noexcept {
  Born one = first, other = second;
  one.pair_fd = fds[1];
  other.pair_fd = fds[0];
  born(thread, fds[0], site, one);
  born(thread, fds[1], site, other);
}

void note_dup_over(Thread& thread, int from, int to, int flags, const StackStart& site) noexcept {
  if (from == to) return;
  const Born facts = duplicated(from, close_on_exec(flags) & kFdCloseOnExec);
  // Between the kernel's dup2 and this nobody else can be given the number: it was open all along.
  closing(thread, to, site);
  born(thread, to, site, facts);
}

void note_lock(int fd, bool locked) noexcept {
  g_ledger.set_flags(fd, locked ? recording::kFdLocked : 0, recording::kFdLocked);
}

template <typename Lock>
[[gnu::always_inline]] inline int lock_file(int fd, bool locks, const StackStart& site, Lock lock) {
  Thread& thread = t_thread;
  const int returned = lock();
  if (noting_for(thread)) {
    if (returned == 0) {
      note_lock(fd, locks);
    } else if (errno == EBADF) {
      use_failed(thread, fd, "lock", site);
    }
  }
  return returned;
}

void note_fcntl(Thread& thread, int fd, int command, long argument, int returned,
                const StackStart& site) noexcept {
  using recording::kFdNonBlocking;
  if (returned < 0) {
    // The other commands are ways to ask whether a number is open.
    const bool uses = command == F_SETFL || command == F_SETLK || command == F_SETLKW ||
                      command == F_OFD_SETLK || command == F_OFD_SETLKW;
    if (uses && errno == EBADF) use_failed(thread, fd, "fcntl", site);
    return;
  }
  switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
      born(thread, returned, site, duplicated(fd, command == F_DUPFD_CLOEXEC ? kFdCloseOnExec : 0));
      break;
    case F_SETFD:
      g_ledger.set_flags(fd, (argument & FD_CLOEXEC) != 0 ? kFdCloseOnExec : 0, kFdCloseOnExec);
      break;
    case F_SETFL:
      g_ledger.set_flags(fd, (argument & O_NONBLOCK) != 0 ? kFdNonBlocking : 0, kFdNonBlocking);
      break;
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
      note_lock(fd, reinterpret_cast<const struct flock*>(argument)->l_type != F_UNLCK);
      break;
    default:
      break;
  }
}

void note_ioctl(Thread& thread, int fd, unsigned long request, const void* argument, int returned,
                const StackStart& site) noexcept {
  using recording::kFdNonBlocking;
  if (returned < 0) {
    if ((request == FIONBIO || request == FIONREAD) && errno == EBADF) {
      use_failed(thread, fd, "ioctl", site);
    }
    return;
  }
  switch (request) {
    case TIOCGPTPEER:
      born(thread, returned, site, Born(DescriptorKind::kTty));
      break;
    case FIOCLEX:
      g_ledger.set_flags(fd, kFdCloseOnExec, 0);
      break;
    case FIONCLEX:
      g_ledger.set_flags(fd, 0, kFdCloseOnExec);
      break;
    case FIONBIO: {
      int on = 0;
      if (argument != nullptr) memcpy(&on, argument, sizeof on);
      g_ledger.set_flags(fd, on != 0 ? kFdNonBlocking : 0, kFdNonBlocking);
      break;
    }
    default:
      break;
  }
}

namespace {

/// "r", "w+e", "a" ...: 'a' and 'e' matter here, up to a ",ccs=".
std::uint32_t mode_flags(const char* mode) noexcept {
  std::uint32_t flags = 0;
  for (; *mode != '\0' && *mode != ','; ++mode) {
    if (*mode == 'a') flags |= recording::kFdAppend;
    if (*mode == 'e') flags |= kFdCloseOnExec;
  }
  return flags;
}

void born_file(Thread& thread, FILE* file, const char* path, const char* mode,
               const StackStart& site) noexcept {
  const int saved = errno;
  const int fd = fileno(file);
  if (fd >= 0) {
    Born facts = opened_path(path, 0);
    facts.flags |= mode_flags(mode);
    born(thread, fd, site, facts);
  }
  errno = saved;
}

template <typename Open>
[[gnu::always_inline]] inline FILE* open_file(const char* path, const char* mode,
                                              const StackStart& site, Open open) {
  Thread& thread = t_thread;
  if (!recording_for(thread)) return open();
  FILE* file = open();
  if (file != nullptr) born_file(thread, file, path, mode, site);
  return file;
}

template <typename Open>
[[gnu::always_inline]] inline FILE* reopen_file(const char* path, const char* mode, FILE* file,
                                                const StackStart& site, Open open) {
  Thread& thread = t_thread;
  if (!recording_for(thread)) return open();
  const int saved = errno;
  const int before = fileno(file);
  errno = saved;
  FILE* opened = open();
  const int after_errno = errno;
  // freopen closes the file even if it cannot open the other; usually the number stays the same.
  if (before >= 0) closing(thread, before, site);
  if (opened != nullptr) born_file(thread, opened, path != nullptr ? path : "", mode, site);
  errno = after_errno;
  return opened;
}

}  // namespace
}  // namespace loopscope::probe

#define LOOPSCOPE_OPEN(name)                                                 \
  LOOPSCOPE_HOOK(int, name, (const char* path, int flags, mode_t mode)) {    \
    Thread& thread = t_thread;                                               \
    if (!recording_for(thread)) return real().name(path, flags, mode);       \
    const int fd = g_real.name(path, flags, mode);                           \
    if (fd >= 0) born(thread, fd, caller_frame(), opened_path(path, flags)); \
    return fd;                                                               \
  }
#define LOOPSCOPE_OPENAT(name)                                                    \
  LOOPSCOPE_HOOK(int, name, (int at, const char* path, int flags, mode_t mode)) { \
    Thread& thread = t_thread;                                                    \
    if (!recording_for(thread)) return real().name(at, path, flags, mode);        \
    const int fd = g_real.name(at, path, flags, mode);                            \
    if (fd >= 0) born(thread, fd, caller_frame(), opened_path(path, flags));      \
    return fd;                                                                    \
  }
// The mode is there only if a file may be created. Reading it anyway reads a register.
LOOPSCOPE_OPEN(open)
LOOPSCOPE_OPEN(open64)
LOOPSCOPE_OPENAT(openat)
LOOPSCOPE_OPENAT(openat64)
LOOPSCOPE_SAME(int, __open, open, (const char* path, int flags, mode_t mode))
LOOPSCOPE_SAME(int, __open64, open64, (const char* path, int flags, mode_t mode))

LOOPSCOPE_HOOK(int, signalfd, (int fd, const sigset_t* mask, int flags)) {
  Thread& thread = t_thread;
  if (!recording_for(thread)) return real().signalfd(fd, mask, flags);
  const int returned = g_real.signalfd(fd, mask, flags);
  // Given one, it changes that.
  if (returned >= 0 && fd == -1) {
    born(thread, returned, caller_frame(), Born(DescriptorKind::kSignalfd, close_on_exec(flags)));
  }
  return returned;
}

LOOPSCOPE_HOOK(int, accept, (int fd, struct sockaddr* address, socklen_t* size)) {
  Thread& thread = t_thread;
  if (!recording_for(thread)) return real().accept(fd, address, size);
  note_use(thread, fd);
  const int returned = used(thread, fd, "accept", g_real.accept(fd, address, size));
  if (returned >= 0) {
    accepted(thread, returned, fd, 0, caller_frame(), size != nullptr ? address : nullptr,
             size != nullptr ? *size : 0);
  }
  return returned;
}

LOOPSCOPE_HOOK(int, accept4, (int fd, struct sockaddr* address, socklen_t* size, int flags)) {
  Thread& thread = t_thread;
  if (!recording_for(thread)) return real().accept4(fd, address, size, flags);
  note_use(thread, fd);
  const int returned = used(thread, fd, "accept4", g_real.accept4(fd, address, size, flags));
  if (returned >= 0) {
    accepted(thread, returned, fd, flags, caller_frame(), size != nullptr ? address : nullptr,
             size != nullptr ? *size : 0);
  }
  return returned;
}

LOOPSCOPE_HOOK(int, socketpair, (int domain, int type, int protocol, int* fds)) {
  Thread& thread = t_thread;
  if (!recording_for(thread)) return real().socketpair(domain, type, protocol, fds);
  const int returned = g_real.socketpair(domain, type, protocol, fds);
  if (returned == 0) {
    const Born end = opened_socket(domain, type);
    note_pair(thread, fds, end, end, caller_frame());
  }
  return returned;
}

LOOPSCOPE_HOOK(int, pipe, (int* fds)) {
  Thread& thread = t_thread;
  if (!recording_for(thread)) return real().pipe(fds);
  const int returned = g_real.pipe(fds);
  if (returned == 0) {
    note_pair(thread, fds, Born(DescriptorKind::kPipe, kFdReadEnd),
              Born(DescriptorKind::kPipe, kFdWriteEnd), caller_frame());
  }
  return returned;
}
LOOPSCOPE_SAME(int, __pipe, pipe, (int* fds))

LOOPSCOPE_HOOK(int, pipe2, (int* fds, int flags)) {
  Thread& thread = t_thread;
  if (!recording_for(thread)) return real().pipe2(fds, flags);
  const int returned = g_real.pipe2(fds, flags);
  if (returned == 0) {
    note_pair(thread, fds, Born(DescriptorKind::kPipe, kFdReadEnd | close_on_exec(flags)),
              Born(DescriptorKind::kPipe, kFdWriteEnd | close_on_exec(flags)), caller_frame());
  }
  return returned;
}

// A forked child that only rearranges its descriptors before an exec gets no recording for that:
// dup2, dup3 and fcntl do not make one.
LOOPSCOPE_HOOK(int, dup2, (int from, int to)) {
  Thread& thread = t_thread;
  if (!noting_for(thread)) return real().dup2(from, to);
  const int returned = g_real.dup2(from, to);
  if (returned >= 0) note_dup_over(thread, from, to, 0, caller_frame());
  return returned;
}
LOOPSCOPE_SAME(int, __dup2, dup2, (int from, int to))

LOOPSCOPE_HOOK(int, dup3, (int from, int to, int flags)) {
  Thread& thread = t_thread;
  if (!noting_for(thread)) return real().dup3(from, to, flags);
  const int returned = g_real.dup3(from, to, flags);
  if (returned >= 0) note_dup_over(thread, from, to, flags, caller_frame());
  return returned;
}

LOOPSCOPE_HOOK(int, flock, (int fd, int operation)) {
  return lock_file(fd, (operation & LOCK_UN) == 0, caller_frame(),
                   [&] { return real().flock(fd, operation); });
}
LOOPSCOPE_HOOK(int, lockf, (int fd, int command, off_t size)) {
  if (command == F_TEST) return real().lockf(fd, command, size);
  return lock_file(fd, command == F_LOCK || command == F_TLOCK, caller_frame(),
                   [&] { return real().lockf(fd, command, size); });
}
LOOPSCOPE_HOOK(int, lockf64, (int fd, int command, off64_t size)) {
  if (command == F_TEST) return real().lockf64(fd, command, size);
  return lock_file(fd, command == F_LOCK || command == F_TLOCK, caller_frame(),
                   [&] { return real().lockf64(fd, command, size); });
}

LOOPSCOPE_HOOK(int, fcntl, (int fd, int command, void* argument)) {
  Thread& thread = t_thread;
  if (!noting_for(thread)) return real().fcntl(fd, command, argument);
  const int returned = g_real.fcntl(fd, command, argument);
  note_fcntl(thread, fd, command, reinterpret_cast<long>(argument), returned, caller_frame());
  return returned;
}
LOOPSCOPE_SAME(int, __fcntl, fcntl, (int fd, int command, void* argument))

LOOPSCOPE_HOOK(int, fcntl64, (int fd, int command, void* argument)) {
  Thread& thread = t_thread;
  if (!noting_for(thread)) return real().fcntl64(fd, command, argument);
  const int returned = g_real.fcntl64(fd, command, argument);
  note_fcntl(thread, fd, command, reinterpret_cast<long>(argument), returned, caller_frame());
  return returned;
}

LOOPSCOPE_HOOK(int, ioctl, (int fd, unsigned long request, void* argument)) {
  Thread& thread = t_thread;
  if (!noting_for(thread)) return real().ioctl(fd, request, argument);
  const int returned = g_real.ioctl(fd, request, argument);
  note_ioctl(thread, fd, request, argument, returned, caller_frame());
  return returned;
}

LOOPSCOPE_HOOK(FILE*, fopen, (const char* path, const char* mode)) {
  return open_file(path, mode, caller_frame(), [&] { return real().fopen(path, mode); });
}
LOOPSCOPE_HOOK(FILE*, fopen64, (const char* path, const char* mode)) {
  return open_file(path, mode, caller_frame(), [&] { return real().fopen64(path, mode); });
}
LOOPSCOPE_HOOK(FILE*, setmntent, (const char* path, const char* mode)) {
  return open_file(path, mode, caller_frame(), [&] { return real().setmntent(path, mode); });
}
LOOPSCOPE_HOOK(FILE*, tmpfile, (void)) {
  return open_file("(tmpfile)", "", caller_frame(), [&] { return real().tmpfile(); });
}
LOOPSCOPE_HOOK(FILE*, tmpfile64, (void)) {
  return open_file("(tmpfile)", "", caller_frame(), [&] { return real().tmpfile64(); });
}
LOOPSCOPE_HOOK(FILE*, freopen, (const char* path, const char* mode, FILE* file)) {
  return reopen_file(path, mode, file, caller_frame(),
                     [&] { return real().freopen(path, mode, file); });
}
LOOPSCOPE_HOOK(FILE*, freopen64, (const char* path, const char* mode, FILE* file)) {
  return reopen_file(path, mode, file, caller_frame(),
                     [&] { return real().freopen64(path, mode, file); });
}

LOOPSCOPE_HOOK(FILE*, popen, (const char* command, const char* mode)) {
  Thread& thread = t_thread;
  if (!recording_for(thread)) return real().popen(command, mode);
  FILE* file = g_real.popen(command, mode);
  if (file != nullptr) {
    const int saved = errno;
    Born facts(DescriptorKind::kPipe,
               mode_flags(mode) | (mode[0] == 'r' ? kFdReadEnd : kFdWriteEnd));
    facts.target = command;
    facts.target_size = strlen(command);
    born(thread, fileno(file), caller_frame(), facts);
    errno = saved;
  }
  return file;
}

LOOPSCOPE_HOOK(DIR*, opendir, (const char* path)) {
  Thread& thread = t_thread;
  if (!recording_for(thread)) return real().opendir(path);
  DIR* directory = g_real.opendir(path);
  if (directory != nullptr) {
    born(thread, dirfd(directory), caller_frame(), opened_path(path, O_DIRECTORY | O_CLOEXEC));
  }
  return directory;
}

LOOPSCOPE_HOOK(int, openpty,
               (int* controller, int* terminal, char* name, const struct termios* settings,
                const struct winsize* size)) {
  Thread& thread = t_thread;
  if (!recording_for(thread)) return real().openpty(controller, terminal, name, settings, size);
  // It opens and closes through functions that are hooked as well: only what remains counts.
  int returned = -1;
  {
    const Quiet quiet(thread);
    returned = g_real.openpty(controller, terminal, name, settings, size);
  }
  if (returned == 0) {
    const int fds[2] = {*controller, *terminal};
    const Born end(DescriptorKind::kTty);
    note_pair(thread, fds, end, end, caller_frame());
  }
  return returned;
}

LOOPSCOPE_HOOK(pid_t, forkpty,
               (int* controller, char* name, const struct termios* settings,
                const struct winsize* size)) {
  Thread& thread = t_thread;
  if (!recording_for(thread)) return real().forkpty(controller, name, settings, size);
  pid_t returned = -1;
  {
    const Quiet quiet(thread);
    returned = g_real.forkpty(controller, name, settings, size);
  }
  if (returned > 0) born(thread, *controller, caller_frame(), Born(DescriptorKind::kTty));
  return returned;
}
