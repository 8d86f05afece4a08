// SPDX-License-Identifier: Apache-2.0
//
// What the rules over ended processes have in common: who opened a site's descriptors, what is
// known of those that are open, and the words for them.
//
// Thread-safety: no state.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "instrumentation/findings/end_rules.h"

namespace loopscope::findings {

/// Whose code a stack is. `own`: patterns of files that are the program's own wherever they lie.
Opener opener_of(const recording::Stack& stack, std::string_view executable,
                 std::span<const std::string> own);

/// Whether a descriptor was doing its work until the end.
bool in_service(const recording::FdRecord& fd, const recording::RecordingSnapshot& recording);

/// Whether nothing was ever done with a descriptor, as far as was seen.
bool untouched(const recording::FdRecord& fd);

/// The end of the process; if it is unknown, when the recording was read.
std::uint64_t end_ns(const recording::RecordingSnapshot& recording);

/// "3 TCP sockets", "a pipe end", "2 files".
std::string descriptors_text(std::uint64_t count, recording::DescriptorKind kind);

/// "opened at Client::connect (client.cpp:42)"; the role alone if nothing is known of the place.
std::string at_place(const Place& place);

Place make_place(const char* role, const Image& image, std::optional<std::size_t> site);
FoundDescriptor make_descriptor(const recording::FdRecord& fd);
/// Oldest first, cut to what a finding holds.
std::vector<FoundDescriptor> make_descriptors(std::vector<const recording::FdRecord*> fds);

/// "to 127.0.0.1:5432", "/var/log/x", "on 0.0.0.0:80": what a descriptor is about; may be empty.
std::string about_text(const recording::FdRecord& fd);

/// "0.8 s after start".
std::string after_start(std::uint64_t at_ns, const recording::RecordingSnapshot& recording);

}  // namespace loopscope::findings
