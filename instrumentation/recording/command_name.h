// SPDX-License-Identifier: Apache-2.0
//
// What a process is called, from its argv[0]. That is a path as a rule, but daemons write a title
// over it ("nginx: worker process", "redis-server *:6379"), which may hold slashes of its own
// ("nginx: master process nginx -c /etc/nginx.conf"): its last part is then no name at all.
//
// Used inside observed programs: no allocation, nothing of libstdc++. Async-signal-safe.
#pragma once

#include <cstddef>

namespace loopscope::recording {

/// A piece of a longer text, not terminated.
struct TextPiece {
  const char* text;
  std::size_t size;
};

/// Whether a text of that size names the program's file; asked only about texts with blanks in
/// them.
using NamesProgram = bool (*)(const char* text, std::size_t size);

/// The last part of the path `argv0`; of a title, of what is before the first ": " of it, or else
/// of its first word. A piece of `argv0`; empty only if that is.
TextPiece command_name(const char* argv0, NamesProgram names_program) noexcept;

/// Whether there is a file of this name, or the program that runs is one (as PATH finds it, argv[0]
/// is without its directory). Two system calls.
bool names_this_program(const char* text, std::size_t size) noexcept;

}  // namespace loopscope::recording
