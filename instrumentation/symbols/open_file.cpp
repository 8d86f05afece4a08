// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/symbols/open_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

namespace loopscope::symbols {
namespace {

/// Holds what is at the path without opening it.
int hold(const std::string& path) {
#ifdef SYS_openat2
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_NO_MAGICLINKS;
  const long fd = ::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how);
  // EPERM: a seccomp filter that does not know the call (containers).
  if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(fd);
#endif
  return ::open(path.c_str(), O_PATH | O_CLOEXEC);
}

bool holds_files(int fd) {
  // What the kernel makes up.
  static constexpr unsigned long kNone[] = {
      PROC_SUPER_MAGIC,   SYSFS_MAGIC,        DEBUGFS_MAGIC,       TRACEFS_MAGIC,
      SECURITYFS_MAGIC,   CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, BPF_FS_MAGIC,
      DEVPTS_SUPER_MAGIC, PSTOREFS_MAGIC,     EFIVARFS_MAGIC,      SELINUX_MAGIC,
      SMACK_MAGIC,        NSFS_MAGIC,         BINFMTFS_MAGIC,      RDTGROUP_SUPER_MAGIC,
      0x62656570 /* configfs */};
  struct statfs status {};
  if (::fstatfs(fd, &status) != 0) return false;
  return std::find(std::begin(kNone), std::end(kNone), static_cast<unsigned long>(status.f_type)) ==
         std::end(kNone);
}

}  // namespace

int open_regular_file(const std::string& path) {
  const int held = hold(path);
  if (held < 0) return -1;
  struct stat status {};
  int fd = -1;
  int why = 0;
  if (::fstat(held, &status) != 0) {
    why = errno;
  } else if (!S_ISREG(status.st_mode) || !holds_files(held)) {
    why = EINVAL;
  } else {
    // O_NONBLOCK: who holds a lease on it must not make us wait.
    constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    const std::string itself = "/proc/self/fd/" + std::to_string(held);
    fd = ::open(itself.c_str(), kFlags);
    if (fd < 0) why = errno;
    struct stat proc {};
    if (fd < 0 && why == ENOENT && ::stat("/proc/self/fd", &proc) != 0) {
      // No /proc (a chroot): by its path, if that still leads to the same.
      struct stat again {};
      fd = ::open(path.c_str(), kFlags);
      why = errno;
      if (fd >= 0 && (::fstat(fd, &again) != 0 || again.st_ino != status.st_ino ||
                      again.st_dev != status.st_dev)) {
        ::close(fd);
        fd = -1;
        why = ENOENT;
      }
    }
  }
  ::close(held);
  errno = why;
  return fd;
}

}  // namespace loopscope::symbols
