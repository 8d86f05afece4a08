// SPDX-License-Identifier: Apache-2.0
//
// Baseline files: an error, or a baseline that is the same when it was written and read again.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "cli/baseline.h"
#include "tests/fuzz/must.h"

namespace {

using namespace loopscope::cli;
using loopscope::fuzz::must;

loopscope::recording::Result<Baseline> read(std::string_view text) {
  static const int fd = ::memfd_create("baseline", MFD_CLOEXEC);
  static const std::string path = "/proc/self/fd/" + std::to_string(fd);
  must(::ftruncate(fd, 0) == 0, "a file is cut");
  must(::pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()),
       "a file is written");
  return read_baseline(path);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto first = read({reinterpret_cast<const char*>(data), size});
  if (!first) {
    must(!first.error().message.empty(), "what is wrong is said");
    return 0;
  }
  const std::string text = baseline_text(*first);
  const auto second = read(text);
  must(second && baseline_text(*second) == text, "a baseline is what was written");
  return 0;
}
