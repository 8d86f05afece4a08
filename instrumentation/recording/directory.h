// SPDX-License-Identifier: Apache-2.0
//
// Where recordings are, and which of them belong to processes that still live.
//
//   $LOOPSCOPE_DIR, else $XDG_RUNTIME_DIR/loopscope, else /dev/shm/loopscope-UID
//
// A file is named PID-STARTTICKS-IMAGE.loopscope, see paths.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "instrumentation/recording/result.h"

namespace loopscope::recording {

struct RecordingFile {
  std::string path;
  std::int32_t pid = 0;
  std::uint64_t start_ticks = 0;
  unsigned image = 0;  // how many exec(3)s of this process came before
  bool alive = false;  // the process lives and still runs this image
};

/// The directory new recordings go to, and the first one that is searched.
std::string recording_directory();

/// Every directory recordings of this user may be in (programs may run with another environment
/// than ours).
std::vector<std::string> recording_directories();

/// Recordings in `directory`, the living first, then newest first. Error if the directory exists
/// but cannot be read.
Result<std::vector<RecordingFile>> list_recordings(const std::string& directory);

/// The file of what the process ran after the recording at `path`: exists once it has called
/// exec(3). Empty if `path` is not named like a recording.
std::string next_image_path(const std::string& path);

}  // namespace loopscope::recording
