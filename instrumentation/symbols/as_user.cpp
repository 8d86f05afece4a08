// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/symbols/as_user.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

namespace loopscope::symbols {
namespace {

/// The kernel's "nobody's group". A user's own groups are not asked for: that would be a question
/// to whatever directory service the machine has.
constexpr gid_t kNoGroup = 65534;
constexpr long kKeep = -1;

bool set_groups(const std::vector<gid_t>& groups) {
  return ::syscall(SYS_setgroups, groups.size(), groups.data()) == 0;
}
bool set_group(gid_t group) {
  return ::syscall(SYS_setresgid, kKeep, static_cast<long>(group), kKeep) == 0;
}
bool set_user(uid_t user) {
  return ::syscall(SYS_setresuid, kKeep, static_cast<long>(user), kKeep) == 0;
}

}  // namespace

AsUser::AsUser(std::optional<std::uint32_t> user) {
  if (!user || ::geteuid() != 0 || *user == 0) return;
  done_ = false;
  const int count = ::getgroups(0, nullptr);
  if (count < 0) return;
  groups_.resize(static_cast<std::size_t>(count));
  if (::getgroups(count, groups_.data()) != count) return;
  group_ = ::getegid();
  changed_ = true;
  // The user last: it takes the capabilities that the others need, and all that overrule
  // permissions.
  done_ = set_groups({}) && set_group(kNoGroup) && set_user(*user);
  if (!done_) go_back();
}

AsUser::~AsUser() {
  if (changed_) go_back();
}

void AsUser::go_back() {
  changed_ = false;
  // With the effective user root's capabilities come back.
  if (!set_user(0) || !set_group(group_) || (!set_groups(groups_) && done_)) std::abort();
}

}  // namespace loopscope::symbols
