// SPDX-License-Identifier: Apache-2.0
#include "webui/server/query.h"

namespace loopscope::webui {
namespace {

/// -1: no hexadecimal digit.
int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::optional<std::int32_t> pid_of_id(std::string_view id) {
  std::int32_t pid = 0;
  if (!read_number(id.substr(0, id.find('-')), pid) || pid <= 0) return std::nullopt;
  return pid;
}

std::optional<std::string> decoded(std::string_view value) {
  std::string text;
  text.reserve(value.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (value[i] == '%') {
      const int high = i + 1 < value.size() ? digit(value[i + 1]) : -1;
      const int low = i + 2 < value.size() ? digit(value[i + 2]) : -1;
      if (high < 0 || low < 0) return std::nullopt;
      text += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      text += value[i] == '+' ? ' ' : value[i];
    }
  }
  return text;
}

}  // namespace loopscope::webui
