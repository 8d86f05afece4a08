// SPDX-License-Identifier: Apache-2.0
//
// A malloc that opens, reads and closes a file in every call, as allocators do that ask the kernel
// for their settings. Memory comes from one block and is never given back.
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static char block[64 << 20] __attribute__((aligned(64)));
static size_t used;

void* malloc(size_t size) {
  const int saved = errno;
  char byte;
  const int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    if (read(fd, &byte, 1) != 1) _exit(61);
    close(fd);
  }
  errno = saved;
  const size_t whole = (size + 31) / 16 * 16;
  const size_t begin = __atomic_fetch_add(&used, whole, __ATOMIC_RELAXED);
  if (begin + whole > sizeof block) {
    errno = ENOMEM;
    return NULL;
  }
  *(size_t*)(block + begin) = size;
  return block + begin + 16;
}
void free(void* memory) { (void)memory; }
void* calloc(size_t count, size_t size) { return malloc(count * size); }
void* realloc(void* memory, size_t size) {
  void* other = malloc(size);
  if (memory != NULL && other != NULL) {
    const size_t before = *(size_t*)((char*)memory - 16);
    memcpy(other, memory, before < size ? before : size);
  }
  return other;
}
void* memalign(size_t alignment, size_t size) {
  char* memory = malloc(size + alignment);
  return memory == NULL ? NULL : memory + (alignment - (size_t)memory % alignment) % alignment;
}
void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void** to, size_t alignment, size_t size) {
  *to = memalign(alignment, size);
  return *to == NULL ? ENOMEM : 0;
}
