// SPDX-License-Identifier: Apache-2.0
//
// Opening files whose paths come from recordings or from other processes' mappings: somebody else
// chose them.
//
// Thread-safety: free function without state.
#pragma once

#include <string>

namespace loopscope::symbols {

/// A regular file on a file system that holds files, for reading. -1 and errno if it is none:
/// nothing but a regular file is ever opened (opening a device may do something, a FIFO waits), nor
/// one of /proc, /sys and their like (reading /proc/kmsg takes the messages from the system's log),
/// nor is one of the kernel's links followed that lead past permissions (/proc/PID/exe, root, fd;
/// Linux 5.6).
int open_regular_file(const std::string& path);

}  // namespace loopscope::symbols
