// SPDX-License-Identifier: Apache-2.0
//
// A value, or what went wrong. For things that happen (a file that is not there, another version);
// misuse of an interface throws std::invalid_argument instead.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace loopscope::recording {

/// `message` says what failed, on what, why, and what to try.
struct Error {
  enum class Code {
    kNotFound,
    kPermission,
    kFormat,
    kOtherVersion,
    kInUse,
    kNoSpace,
    kBadArgument,
    kSystem
  };

  Code code = Code::kSystem;
  std::string message;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT(google-explicit-constructor)
  Result(Error error)
      : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return state_.index() == 0; }
  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error)
      : error_(std::move(error)), failed_(true) {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return !failed_; }
  const Error& error() const { return error_; }

 private:
  Error error_;
  bool failed_ = false;
};

}  // namespace loopscope::recording
