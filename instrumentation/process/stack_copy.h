// SPDX-License-Identifier: Apache-2.0
//
// A thread's registers and the upper part of its stack, copied out of its process: what a stack can
// be unwound from after the thread has gone on (symbols/unwind.h). Plain values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace loopscope::process {

struct StackCopy {
  /// x86-64's numbers in DWARF: rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to r15, rip.
  static constexpr std::size_t kRegisters = 17;
  static constexpr std::size_t kStackPointer = 7;
  static constexpr std::size_t kProgramCounter = 16;

  std::int32_t pid = 0;
  std::int32_t thread_id = 0;
  std::array<std::uint64_t, kRegisters> registers{};
  std::uint32_t known = 0;        // bit n: registers[n] is known
  std::uint64_t begin = 0;        // address of the first byte
  std::vector<std::byte> memory;  // of the stack, upwards
};

}  // namespace loopscope::process
