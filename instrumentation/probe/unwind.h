// SPDX-License-Identifier: Apache-2.0
//
// The calling thread's stack, as return addresses: what the probe keeps of a place where a
// descriptor was opened. Reads the unwind tables (.eh_frame) of the objects in memory and remembers
// their rules; needs no library but libc's dynamic linker.
//
// Any thread, any number at a time, in signal handlers, on stacks of the program's own making.
// Allocates nothing, takes no lock, leaves errno alone. Cost of 16 frames: 70 to 100 ns once their
// return addresses have been seen, 0.1 to 0.5 µs more for each new one. Once a thread, and again
// whenever its stack is deeper than ever before, one harmless system call for each page of stack;
// on a stack that is not the thread's own (fibers, sigaltstack) one for each page crossed, every
// time. Fixed memory: 128 KiB of zeroes, of which a program uses what its return addresses fall
// into.
//
// A stack that cannot be followed is short. The walk stays in readable memory and each frame lies
// strictly above the one before, but for where a signal came in. Code without unwind tables (made
// by a JIT compiler) is taken to keep frame pointers. Why and how: docs/decisions/0011-unwinder.md.
// Where there is no x86-64 glibc (2.35 or later) a stack has one frame.
#pragma once

#include <cstdint>

namespace loopscope::probe {

/// A frame, seen right after the call that it is in returned.
struct StackStart {
  std::uintptr_t pc;
  std::uintptr_t sp;
  std::uintptr_t bp;
};

/// Stores the frames from the innermost to the outermost: `start.pc` and then its callers, at most
/// `most` of them; returns how many. All are return addresses (the call is before them), but for
/// the pc of code that a signal interrupted.
int unwind(const StackStart& start, std::uintptr_t* frames, int most) noexcept;

/// Of a walk that is known, what keep_note() was given for it under that key; 0: nothing. As if the
/// frames had been unwound and looked up, at half the cost. `key` and notes are 32 bits, not 0.
std::uint32_t recall_note(const StackStart& start, int most, std::uint32_t key) noexcept;
/// For the walk that unwind() has just made, its `count` frames being `frames`. One note a walk.
void keep_note(const StackStart& start, const std::uintptr_t* frames, int count, int most,
               std::uint32_t key, std::uint32_t note) noexcept;

/// Called with the errno when the kernel would not say whether a page can be read (a seccomp
/// filter): the stack ends there. Null: nobody wants to know.
extern void (*g_unwind_asked_in_vain)(int error) noexcept;

/// Rules learnt so far no longer count. To be called after dlclose(3): an object that is mapped
/// where another was is noticed by its build-id, but not all objects have one.
void forget_unwind_rules() noexcept;

/// The frame of the caller of the function this is used in, which becomes one with a frame pointer.
/// Not for functions that realign their stack (a local variable aligned to more than 16 bytes).
__attribute__((always_inline)) inline StackStart caller_frame() noexcept {
#if defined(__x86_64__)
  // push %rbp; mov %rsp, %rbp: the caller's rbp is where ours points to, its return address above.
  const auto* frame = static_cast<const std::uintptr_t*>(__builtin_frame_address(0));
  return {reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)),
          reinterpret_cast<std::uintptr_t>(frame + 2), frame[0]};
#else
  return {reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)), 0, 0};
#endif
}

}  // namespace loopscope::probe
