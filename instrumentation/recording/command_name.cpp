// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/command_name.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "instrumentation/recording/own_calls.h"

namespace loopscope::recording {
namespace {

TextPiece last_part(TextPiece path) {
  std::size_t begin = path.size;
  while (begin > 0 && path.text[begin - 1] != '/') --begin;
  return {path.text + begin, path.size - begin};
}

std::size_t first_blank(TextPiece text) {
  const void* blank = memchr(text.text, ' ', text.size);
  return blank == nullptr ? text.size
                          : static_cast<std::size_t>(static_cast<const char*>(blank) - text.text);
}

}  // namespace

TextPiece command_name(const char* argv0, NamesProgram names_program) noexcept {
  const TextPiece whole{argv0, strlen(argv0)};
  TextPiece path = whole;
  const auto is_path = [&] {
    return first_blank(path) == path.size || names_program(path.text, path.size);
  };
  if (!is_path()) {
    const char* colon = strstr(argv0, ": ");
    if (colon != nullptr && colon != argv0) path.size = static_cast<std::size_t>(colon - argv0);
    if (!is_path()) path.size = first_blank(path);
  }
  const TextPiece name = last_part(path);
  return name.size != 0 ? name : whole;
}

bool names_this_program(const char* text, std::size_t size) noexcept {
  char path[PATH_MAX];
  if (size == 0 || size >= sizeof path) return false;
  memcpy(path, text, size);
  path[size] = '\0';
  struct stat status {};
  if (memchr(text, '/', size) != nullptr) {
    if (uninterrupted(OwnCall::kStat, [&] { return stat(path, &status); }) == 0) {
      if (S_ISREG(status.st_mode)) return true;
    } else if (errno != ENOENT && errno != ENOTDIR && errno != EACCES && errno != ELOOP &&
               errno != ENAMETOOLONG) {
      own_call_failed(OwnCall::kStat, errno);
    }
  }
  // A relative path leads nowhere after chdir(2), and one of PATH has no directory.
  const TextPiece name = last_part({text, size});
  const ssize_t length = read_own_link("/proc/self/exe", path, sizeof path);
  if (length <= 0 || name.size == 0) return false;
  const TextPiece program = last_part({path, static_cast<std::size_t>(length)});
  return program.size == name.size && memcmp(program.text, name.text, name.size) == 0;
}

}  // namespace loopscope::recording
