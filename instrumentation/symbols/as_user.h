// SPDX-License-Identifier: Apache-2.0
//
// To open a file that another user has named, with that user's rights: root reads everybody's
// recordings, and the paths in them may be of files that their author could not read himself.
//
// Thread-safety: changes the credentials of the calling thread alone (the system calls, not glibc's
// wrappers, which change those of all). The real and the saved user stay root's: the user can
// neither signal nor trace the thread, and his FUSE mounts, which would answer when they like,
// refuse it. Cost: six system calls, 2 µs.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace loopscope::symbols {

class AsUser {
 public:
  /// None, or we are not root: nothing is changed.
  explicit AsUser(std::optional<std::uint32_t> user);
  ~AsUser();
  AsUser(const AsUser&) = delete;
  AsUser& operator=(const AsUser&) = delete;

  /// False: it could not be done (no CAP_SETUID); then no file may be opened.
  bool done() const { return done_; }

 private:
  void go_back();

  bool changed_ = false;
  bool done_ = true;
  std::vector<gid_t> groups_;
  gid_t group_ = 0;
};

}  // namespace loopscope::symbols
