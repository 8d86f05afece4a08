// SPDX-License-Identifier: Apache-2.0
//
// The definitions that the probe's hooks stand in front of: another preload's, libc's. Found by
// dlsym(RTLD_NEXT) when the probe starts, or at the first hook that is called before.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>

namespace loopscope::probe {

struct Real {
#define BIRTH(result, name, parameters, arguments, facts) result(*name) parameters;
#define IO(result, name, parameters, arguments, fd) result(*name) parameters;
#define FIRST(result, name, parameters, arguments) result(*name) parameters;
#define HOOK(result, name, parameters, arguments) result(*name) parameters;
#define SAME(name, as)
#include "instrumentation/probe/hooks.def"
#undef BIRTH
#undef IO
#undef FIRST
#undef HOOK
#undef SAME
};

extern Real g_real;

/// Looks everything up. Any thread; does nothing the second time.
void find_real() noexcept;

/// For hooks that may run before the probe has started.
inline const Real& real() noexcept {
  if (__atomic_load_n(&g_real.syscall, __ATOMIC_ACQUIRE) == nullptr) [[unlikely]]
    find_real();
  return g_real;
}

/// Defines the body of a hook under a C++ name of its own, exported as `name`: the headers'
/// declarations (exception specifications, variadic parameters, fortified inline bodies) don't get
/// into its way.
#define LOOPSCOPE_HOOK(result, name, parameters)                                          \
  extern "C" [[gnu::visibility("default")]] result hook_##name parameters __asm__(#name); \
  extern "C" result hook_##name parameters

}  // namespace loopscope::probe
