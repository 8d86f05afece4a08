// SPDX-License-Identifier: Apache-2.0
//
// Preloaded: the hard limit of descriptors is 2^20, as it is on many machines; a test cannot raise
// it everywhere.
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int getrlimit(__rlimit_resource_t resource, struct rlimit* limit) {
  const long result = syscall(SYS_prlimit64, 0, resource, (void*)0, limit);
  if (result == 0 && resource == RLIMIT_NOFILE) limit->rlim_max = 1 << 20;
  return (int)result;
}
