// SPDX-License-Identifier: Apache-2.0
//
// Deaths. Noted before the real call: a number may be given to another thread before it returns.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>

#include "instrumentation/probe/births.h"
#include "instrumentation/probe/hooks.h"

using namespace loopscope::probe;  // NOLINT(google-build-using-namespace): the definitions below
                                   // are C's

namespace loopscope::probe {

void note_close_range(Thread& thread, unsigned first, unsigned last, int flags,
                      std::uint64_t before_ns, const StackStart& site) noexcept {
  constexpr int kCloseOnExec = 4;  // CLOSE_RANGE_CLOEXEC, Linux 5.11
  if ((flags & kCloseOnExec) != 0) {
    g_ledger.flag_range(first, last, kFdCloseOnExec);
  } else {
    close_epolls(first, last);
    leave_closed(thread);
    g_ledger.closed_range(first, last, before_ns, death_at(thread, site));
  }
}

namespace {

template <typename Close>
[[gnu::always_inline]] inline int close_file(FILE* file, const char* call, const StackStart& site,
                                             Close close) {
  Thread& thread = t_thread;
  if (noting_for(thread)) {
    const int saved = errno;
    const int fd = fileno(file);  // -1: memory, not a file
    if (fd >= 0 && !closing(thread, fd, site)) closing_unknown(thread, fd, call, site);
    errno = saved;
  }
  return close();
}

}  // namespace
}  // namespace loopscope::probe

LOOPSCOPE_HOOK(int, close, (int fd)) {
  Thread& thread = t_thread;
  if (!noting_for(thread)) return real().close(fd);
  const StackStart site = caller_frame();
  const bool known = closing(thread, fd, site);
  const int returned = g_real.close(fd);
  after_close(thread, fd, known, returned, "close", site);
  return returned;
}
LOOPSCOPE_SAME(int, __close, close, (int fd))

// What another thread opens meanwhile is younger than the call, so these are noted after it.
LOOPSCOPE_HOOK(int, close_range, (unsigned first, unsigned last, int flags)) {
  Thread& thread = t_thread;
  if (!noting_for(thread)) return real().close_range(first, last, flags);
  const std::uint64_t before = now(thread);
  const int returned = g_real.close_range(first, last, flags);
  if (returned == 0) note_close_range(thread, first, last, flags, before, caller_frame());
  return returned;
}

LOOPSCOPE_HOOK(void, closefrom, (int first)) {
  Thread& thread = t_thread;
  if (!noting_for(thread)) return real().closefrom(first);
  const std::uint64_t before = now(thread);
  g_real.closefrom(first);
  note_close_range(thread, first > 0 ? static_cast<unsigned>(first) : 0, ~0u, 0, before,
                   caller_frame());
}

LOOPSCOPE_HOOK(int, fclose, (FILE * file)) {
  return close_file(file, "fclose", caller_frame(), [&] { return real().fclose(file); });
}
LOOPSCOPE_HOOK(int, pclose, (FILE * file)) {
  return close_file(file, "pclose", caller_frame(), [&] { return real().pclose(file); });
}
LOOPSCOPE_HOOK(int, endmntent, (FILE * file)) {
  if (file == nullptr) return real().endmntent(file);
  return close_file(file, "endmntent", caller_frame(), [&] { return real().endmntent(file); });
}

LOOPSCOPE_HOOK(int, closedir, (DIR * directory)) {
  Thread& thread = t_thread;
  if (directory != nullptr && noting_for(thread)) {
    const int saved = errno;
    const int fd = dirfd(directory);
    const StackStart site = caller_frame();
    if (!closing(thread, fd, site)) closing_unknown(thread, fd, "closedir", site);
    errno = saved;
  }
  return real().closedir(directory);
}
