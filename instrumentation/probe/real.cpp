// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/probe/real.h"

#include <dlfcn.h>
#include <errno.h>

/// For calls_x86_64.S.
extern "C" [[gnu::visibility("hidden")]] long (*loopscope_real_syscall)(long, long, long, long,
                                                                        long, long, long);
long (*loopscope_real_syscall)(long, long, long, long, long, long, long) = nullptr;
extern "C" [[gnu::visibility("hidden")]] void loopscope_find_real() noexcept {
  loopscope::probe::find_real();
}

namespace loopscope::probe {

Real g_real;

void find_real() noexcept {
  const int saved = errno;
  // Every thread that comes here finds the same; the last store makes the table good.
#define LOOK_UP(name)                                                                  \
  if (__atomic_load_n(&g_real.name, __ATOMIC_RELAXED) == nullptr) {                    \
    __atomic_store_n(&g_real.name,                                                     \
                     reinterpret_cast<decltype(g_real.name)>(dlsym(RTLD_NEXT, #name)), \
                     __ATOMIC_RELEASE);                                                \
  }
#define BIRTH(result, name, parameters, arguments, facts) LOOK_UP(name)
#define IO(result, name, parameters, arguments, fd) LOOK_UP(name)
#define FIRST(result, name, parameters, arguments) LOOK_UP(name)
#define HOOK(result, name, parameters, arguments) \
  if (&g_real.name != reinterpret_cast<decltype(&g_real.name)>(&g_real.syscall)) LOOK_UP(name)
#define SAME(name, as)
#include "instrumentation/probe/hooks.def"
#undef BIRTH
#undef IO
#undef FIRST
#undef HOOK
#undef SAME
  LOOK_UP(syscall)
  loopscope_real_syscall = g_real.syscall;
  errno = saved;
}

}  // namespace loopscope::probe
