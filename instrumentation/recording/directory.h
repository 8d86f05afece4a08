// SPDX-License-Identifier: Apache-2.0
//
// Where recordings are, and which of them belong to processes that still live.
//
//   $LOOPSCOPE_DIR, else $XDG_RUNTIME_DIR/loopscope, else /dev/shm/loopscope-UID
//
// A file is named PID-STARTTICKS-IMAGE[-RUN].loopscope, see paths.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "instrumentation/recording/result.h"

namespace loopscope::recording {

struct RecordingFile {
  std::string path;
  std::int32_t pid = 0;
  std::uint64_t start_ticks = 0;
  unsigned image = 0;        // how many exec(3)s of this process came before
  std::int32_t run_pid = 0;  // of the `loopscope run` it belongs to; 0: none
  bool alive = false;        // the process lives and still runs this image
  bool foreign = false;      // the file is another user's, who is not root
};

/// The directory new recordings go to, and the first one that is searched.
std::string recording_directory();

/// Every directory recordings of this user may be in (programs may run with another environment
/// than ours). For root, with those of other users in /dev/shm: a server that root starts drops its
/// privileges, and what is recorded afterwards is that user's.
std::vector<std::string> recording_directories();

/// DIRECTORY/loopscope-UID of all users but `not_of`, each owned by the user it is named after:
/// others could only pretend. Not followed if it is a link.
std::vector<std::string> directories_of_users(const std::string& directory, std::uint32_t not_of);

/// Recordings in `directory`, the living first, then newest first. Error if the directory exists
/// but cannot be read, or is a symbolic link. If it is another user's, `most_of_another` of its
/// entries are looked at, whichever come first; `more` says whether there are more. Cost: 5 µs
/// each.
Result<std::vector<RecordingFile>> list_recordings(
    const std::string& directory,
    std::size_t most_of_another = std::numeric_limits<std::size_t>::max(), bool* more = nullptr);

/// The descriptor of the file at `path`, opened for reading in a directory that is held meanwhile:
/// neither it nor the directory is followed if it is a link, and in a directory of another user's
/// only files of that user are opened (a hard link could lead to anybody's).
Result<int> open_recording(const std::string& path);

/// Removes the recording at `path`, likewise. False (and errno) if it cannot be; one that is not
/// there any more counts as removed.
bool remove_recording(const std::string& path);

/// Whether what a recording of `owner` says of a process may be put together with what the kernel
/// tells us of it. A recording may name any process. Root's and our own are believed; others are
/// where that process has no other user's rights (all four of its uids are the owner's).
bool may_speak_of(std::uint32_t owner, std::int32_t pid);

/// Whether `owner` is neither root nor the user we are: what his recordings name is to be looked at
/// with his rights, not with ours.
bool is_foreign(std::uint32_t owner);

/// The file of what the process ran after the recording at `path`: exists once it has called
/// exec(3). Empty if `path` is not named like a recording.
std::string next_image_path(const std::string& path);

}  // namespace loopscope::recording
