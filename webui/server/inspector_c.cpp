// SPDX-License-Identifier: Apache-2.0
//
// The Inspector for C programs; <loopscope.h> documents it.
#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>

#include "loopscope.h"
#include "loopscope/inspector.h"

struct loopscope_inspector {
  explicit loopscope_inspector(const loopscope::InspectorOptions& options) : inspector(options) {}
  loopscope::Inspector inspector;
};

namespace {

void tell(char* error, std::size_t size, const char* message) {
  if (error == nullptr || size == 0) return;
  const std::size_t length = std::min(std::strlen(message), size - 1);
  std::memcpy(error, message, length);
  error[length] = '\0';
}

/// For free(3), as C programs expect. Null: out of memory.
char* c_copy(const std::string& text) {
  auto* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy != nullptr) std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

}  // namespace

extern "C" {

LOOPSCOPE_EXPORT loopscope_inspector* loopscope_inspect(const char* address, unsigned short port,
                                                        char* error, size_t error_size) {
  tell(error, error_size, "");
  try {
    loopscope::InspectorOptions options;
    if (address != nullptr && *address != '\0') options.address = address;
    options.port = port;
    return new loopscope_inspector(options);
  } catch (const std::exception& problem) {
    tell(error, error_size, problem.what());
    return nullptr;
  }
}

LOOPSCOPE_EXPORT unsigned short loopscope_inspector_port(const loopscope_inspector* inspector) {
  return inspector == nullptr ? 0 : inspector->inspector.port();
}

LOOPSCOPE_EXPORT void loopscope_inspector_stop(loopscope_inspector* inspector) { delete inspector; }

LOOPSCOPE_EXPORT char* loopscope_snapshot_json(void) {
  try {
    return c_copy(loopscope::snapshot_json());
  } catch (const std::exception&) {
    return nullptr;
  }
}

LOOPSCOPE_EXPORT char* loopscope_metrics_text(void) {
  try {
    return c_copy(loopscope::metrics_text());
  } catch (const std::exception&) {
    return nullptr;
  }
}

}  // extern "C"
