// SPDX-License-Identifier: Apache-2.0
//
// A census of a process' descriptors, taken from outside: /proc/PID/fd, proc(5).
//
// How many are open comes from the kernel's own count (st_size of /proc/PID/fd, Linux >= 6.2: 2 µs
// whatever the number) and, before that, from the listing. What they are comes from the targets of
// the links in that directory; a socket's protocol from its "system.sockprotoname" attribute: one
// system call a socket, where matching inodes against /proc/net/* would format every socket of the
// network namespace.
//
// The census is not one instant: descriptors opened or closed while it is taken may or may not be
// seen. So `open` (one instant) and the sum over the kinds (the listing) can differ by as many as
// changed in between.
//
// Thread-safety: free functions without state. Cost: `open_descriptors` 2 µs, `take_census` 1 to 2
// µs a descriptor.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "instrumentation/recording/descriptor_kind.h"
#include "instrumentation/recording/result.h"

namespace loopscope::process {

using recording::DescriptorKind;
using recording::kDescriptorKinds;

/// "tcp", "udp", "unix", "netlink", "socket", "pipe", "eventfd" …
const char* descriptor_kind_name(DescriptorKind kind) noexcept;

/// The kind that the target of a link in /proc/PID/fd tells by itself, without another system call:
/// "pipe:[9309]", "anon_inode:[eventfd]", "/memfd:name (deleted)", "/dev/pts/3" … Paths, which need
/// a stat(2), give kFile or kDevice; sockets give kSocket.
DescriptorKind kind_of_target(std::string_view target) noexcept;

/// The kind of a protocol name as the kernel knows it ("TCP", "UDPv6", "UNIX-STREAM", …).
DescriptorKind kind_of_protocol(std::string_view protocol) noexcept;

struct CensusOptions {
  /// Up to so many descriptors are looked at one by one; the rest counts as kOther and in
  /// `unexamined`. At the default a census stays below 50 ms; `open` and `numbers` are complete in
  /// any case.
  std::size_t examine = 12288;
};

struct DescriptorCensus {
  std::uint64_t open = 0;              // the kernel's count
  std::optional<std::uint64_t> limit;  // soft RLIMIT_NOFILE; none: unlimited or not to be known
  /// False if the kernel does not let us list them (another user's process, or one that dropped
  /// privileges): then `by_kind` and `numbers` say nothing.
  bool listed = false;
  std::array<std::uint64_t, kDescriptorKinds> by_kind{};
  std::uint64_t unexamined = 0;       // of kOther: not looked at, see CensusOptions::examine
  std::vector<std::int32_t> numbers;  // rising

  std::uint64_t count(DescriptorKind kind) const { return by_kind[static_cast<std::size_t>(kind)]; }
  bool contains(std::int32_t number) const;
};

/// Counts the descriptors of `pid`, by kind. A descriptor that taking the census itself opens is
/// never counted. Errors: kNotFound if there is no such process (a zombie has no descriptors any
/// more: kNotFound too), kPermission if not even their number is to be had.
recording::Result<DescriptorCensus> take_census(std::int32_t pid,
                                                const CensusOptions& options = {});

/// Which are open, rising, without what they are. The listing is not one instant either. Errors as
/// `take_census`. Cost: 1 µs a descriptor, or less.
struct OpenNumbers {
  std::uint64_t open = 0;  // the kernel's count
  bool listed = false;     // as in DescriptorCensus
  std::vector<std::int32_t> numbers;
};
recording::Result<OpenNumbers> list_open(std::int32_t pid);

/// What one descriptor is now.
struct DescriptorTarget {
  DescriptorKind kind = DescriptorKind::kOther;
  std::string target;  // the link's: "/var/log/x", "socket:[4711]", "pipe:[9309]" …
};
/// None if it is not open, or not to be seen. Two or three system calls.
std::optional<DescriptorTarget> describe_descriptor(std::int32_t pid, std::int32_t number);

/// The same of each of `numbers` (rising) that is open. A socket that is in `before` (rising) under
/// the same number and inode is not asked for its protocol again. Cost: 1 µs a descriptor, twice
/// that for a path or a new socket.
struct DescribedDescriptor {
  std::int32_t number = -1;
  DescriptorTarget what;
};
std::vector<DescribedDescriptor> describe_descriptors(
    std::int32_t pid, const std::vector<std::int32_t>& numbers,
    const std::vector<DescribedDescriptor>& before);

/// Only how many are open. Falls back to listing on kernels before 6.2. Errors as `take_census`.
recording::Result<std::uint64_t> open_descriptors(std::int32_t pid);

/// Soft limit on open descriptors; none if the process is gone or has no limit.
std::optional<std::uint64_t> descriptor_limit(std::int32_t pid);

/// Whether `number` is open in `pid` now. One system call.
bool descriptor_is_open(std::int32_t pid, std::int32_t number) noexcept;

}  // namespace loopscope::process
