// SPDX-License-Identifier: Apache-2.0
//
// Names of recordings, shared by the side that writes them (inside observed programs: nothing of
// libstdc++) and the readers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace loopscope::recording {

inline constexpr char kFileSuffix[] = ".loopscope";
inline constexpr unsigned kMaxImages = 1000;

/// What a recording's name says. (pid, start_ticks) is unique while the machine runs.
struct RecordingName {
  std::int32_t pid = 0;
  std::uint64_t start_ticks = 0;
  unsigned image = 0;        // how many programs the process was before, by exec(3)
  std::int32_t run_pid = 0;  // of the `loopscope run` it belongs to; 0: none
};

/// DIRECTORY/PID-STARTTICKS-IMAGE.loopscope, or PID-STARTTICKS-IMAGE-RUN.loopscope for a process
/// started by `loopscope run`. False if it does not fit.
bool recording_path(char* to, std::size_t size, const char* directory,
                    const RecordingName& name) noexcept;

/// The other way round: false if a file of this name (without directory) is not a recording.
bool parse_recording_name(const char* text, RecordingName& name) noexcept;

/// $LOOPSCOPE_DIR, else $XDG_RUNTIME_DIR/loopscope, else /dev/shm/loopscope-UID. False if it does
/// not fit. Both variables are ignored in a setuid program (secure_getenv(3)).
bool default_directory(char* to, std::size_t size) noexcept;

/// /dev/shm/loopscope-UID: where a process can write that may write nowhere else.
bool user_directory(char* to, std::size_t size) noexcept;

/// Removes the oldest recordings of processes that are gone when there are more than `keep`; those
/// of a `loopscope run` that still lives are its own to remove. Best effort, at most four a call.
/// `directory`: a descriptor.
void prune_directory(int directory, std::size_t keep) noexcept;

/// How many recordings of ended processes are kept.
inline constexpr std::size_t kKeptRecordings = 32;

/// /proc/sys/kernel/random/boot_id, and its end.
inline constexpr std::size_t kBootIdBytes = 37;
/// False if it cannot be read.
bool read_boot_id(char (&to)[kBootIdBytes]) noexcept;

/// Field 22 of /proc/PID/stat (clock ticks after boot); 0 if there is no such process or it is a
/// zombie, kTicksUnknown if nobody can say: no descriptor left, no memory, not allowed.
inline constexpr std::uint64_t kTicksUnknown = ~std::uint64_t{0};
std::uint64_t ask_start_ticks(std::int32_t pid) noexcept;
/// Likewise, and 0 also if nobody can say.
std::uint64_t read_start_ticks(std::int32_t pid) noexcept;

}  // namespace loopscope::recording
