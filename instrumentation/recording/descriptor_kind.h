// SPDX-License-Identifier: Apache-2.0
//
// What a descriptor refers to. The numbers are part of the recording format: appended to, never
// renumbered. The names (process/descriptors.h) are part of the JSON and of the metrics' labels.
#pragma once

#include <cstddef>
#include <cstdint>

namespace loopscope::recording {

enum class DescriptorKind : std::uint8_t {
  kTcp,  // MPTCP too
  kUdp,
  kUnix,
  kNetlink,
  kSocket,  // any other protocol
  kPipe,    // FIFOs too
  kEventfd,
  kTimerfd,
  kSignalfd,
  kEpoll,
  kInotify,
  kFanotify,
  kMemfd,
  kPidfd,
  kIoUring,
  kFile,
  kDirectory,
  kDevice,
  kTty,
  kOther,
  kCount
};

inline constexpr std::size_t kDescriptorKinds = static_cast<std::size_t>(DescriptorKind::kCount);

}  // namespace loopscope::recording
