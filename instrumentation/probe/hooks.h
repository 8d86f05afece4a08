// SPDX-License-Identifier: Apache-2.0
//
// What the hooks_*.cpp share beyond the table.
#pragma once

#include "instrumentation/probe/births.h"
#include "instrumentation/probe/probe.h"

/// Another name of a hook.
#define LOOPSCOPE_SAME(result, name, as, parameters) \
  extern "C" [[gnu::visibility("default"),           \
               gnu::alias(#as)]] result same_##name parameters __asm__(#name);

namespace loopscope::probe {

/// A message that recvmsg gave: descriptors that came with it are born.
void note_message(Thread& thread, const struct msghdr* message, int flags,
                  const StackStart& site) noexcept;

/// connect(2) returned; errno as it left it.
void note_connect(int fd, const struct sockaddr* address, socklen_t size, int returned) noexcept;

/// epoll_ctl is about to register, or has changed, what is waited for. What was registered before,
/// for the case that it fails.
std::uint64_t registering(Thread& thread, int epfd, int fd, std::uint64_t data) noexcept;
void not_registered(int fd, std::uint64_t before) noexcept;
void registered(int epfd, int operation, int fd, std::uint32_t mask) noexcept;

/// The process is about to end with that status, in a way that runs no exit handler of ours.
void process_ends(Thread& thread, int status) noexcept;
/// It is about to become another program. False if it is not ours to say: a vfork child, or one
/// without a recording. Then, if the call returns, exec_failed().
bool begin_exec(Thread& thread) noexcept;
void exec_failed() noexcept;

/// What a call that makes, duplicates or closes descriptors does besides returning one; also for
/// syscall(2). `site` is where it was called.
void note_pair(Thread& thread, const int* fds, const Born& first, const Born& second,
               const StackStart& site) noexcept;
void note_dup_over(Thread& thread, int from, int to, int flags, const StackStart& site) noexcept;
void note_fcntl(Thread& thread, int fd, int command, long argument, int returned,
                const StackStart& site) noexcept;
void note_ioctl(Thread& thread, int fd, unsigned long request, const void* argument, int returned,
                const StackStart& site) noexcept;
void note_close_range(Thread& thread, unsigned first, unsigned last, int flags,
                      std::uint64_t before_ns, const StackStart& site) noexcept;

}  // namespace loopscope::probe
