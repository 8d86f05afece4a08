// SPDX-License-Identifier: Apache-2.0
//
// The lines of the script that an interpreter executes in the calling thread: CPython 3.8 to 3.13
// and Ruby 3.1 are read in place, node tells them (node-lines.cjs). Only where the probe's option
// `scripts` asks for them.
//
// What is kept of a stack: the two innermost lines, then the innermost ones that are not of a
// library, then, if there is room left, those of libraries in between: both the call into the
// standard library and the program's own line are there, however deep the library is. Nothing
// outside of the program's outermost line; of a file that Python's import system reads, one line:
// each import would be a place of its own.
//
// Any thread, also one that holds no interpreter lock; in signal handlers. Allocates nothing, takes
// no lock, makes no system call but for the ledger's first use of a page, leaves errno alone. Cost:
// Python and Ruby 0.6 to 1.2 µs an open; nothing in a process where neither was there when it
// started. An interpreter that is loaded later (by dlopen) is not seen, nor are other versions,
// a Python without the GIL or with reference tracing.
#pragma once

#include "instrumentation/recording/ledger.h"

namespace loopscope::probe {

/// Looks for interpreters in the process; true if there is one to be read. Once, where dlsym(3) may
/// be called; from then on script_frames() answers.
bool find_interpreters() noexcept;

/// The lines that this thread executes; none if it executes no script.
void script_frames(recording::ScriptStack& stack) noexcept;

}  // namespace loopscope::probe
