// SPDX-License-Identifier: Apache-2.0
//
// Generators that are left before their end and never destroyed: what their frames own stays open.
#include <fcntl.h>
#include <unistd.h>

#include <coroutine>
#include <exception>

#include "tests/victims/victim.h"

namespace {

struct File {
  explicit File(const char* path) : fd(must(open(path, O_RDONLY | O_CLOEXEC), path)) {}  // LEAK
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { close(fd); }
  int fd;
};

struct Bytes {
  struct promise_type {
    char value = 0;
    Bytes get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    std::suspend_always yield_value(char byte) {
      value = byte;
      return {};
    }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};

Bytes bytes_of(const char* path) {
  const File file(path);
  char byte;
  while (read(file.fd, &byte, 1) == 1) co_yield byte;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 0; i < 3; ++i) {
    const Bytes bytes = bytes_of(argv[0]);
    if (bytes.handle.promise().value != 0x7f) return 3;
    if (is_healthy(argc, argv)) bytes.handle.destroy();
  }
}
