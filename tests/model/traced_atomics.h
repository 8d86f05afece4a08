// SPDX-License-Identifier: Apache-2.0
//
// Put in front of every source of the model (-include): each atomic access that the real code makes
// to a recording goes to memory_model.h instead of to the processor. Nothing in the code changes; a
// load, store or fence that somebody adds, drops or reorders there is added, dropped or reordered
// here.
#pragma once

// What of the library has atomics of its own comes first and keeps them.
#include <sched.h>
#include <sys/single_threaded.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <variant>
#include <vector>

namespace loopscope::model {

// Of `size` bytes at `at`, which lie in one aligned word of eight.
std::uint64_t traced_load(const void* at, unsigned size, int order) noexcept(false);
void traced_store(void* at, unsigned size, std::uint64_t value, int order) noexcept(false);
bool traced_exchange(void* at, unsigned size, std::uint64_t& expected, std::uint64_t desired,
                     int success, int failure);
/// What was there before.
std::uint64_t traced_add(void* at, unsigned size, std::uint64_t amount, int order);
std::uint64_t traced_or(void* at, unsigned size, std::uint64_t bits, int order);
void traced_fence(int order);
int traced_yield();
/// Whether the code under test is to believe that there was never a second thread.
bool traced_single_threaded();

template <typename T>
std::uint64_t to_bits(T value) {
  std::uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof value);
  return bits;
}
template <typename T>
T from_bits(std::uint64_t bits) {
  T value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

template <typename T>
T load_n(const T* at, int order) {
  return from_bits<T>(traced_load(at, sizeof(T), order));
}
template <typename T>
void load_to(const T* at, T* to, int order) {
  *to = load_n(at, order);
}
template <typename T>
void store_n(T* at, std::type_identity_t<T> value, int order) {
  traced_store(at, sizeof(T), to_bits<T>(value), order);
}
template <typename T>
void store_from(T* at, const T* value, int order) {
  traced_store(at, sizeof(T), to_bits<T>(*value), order);
}
template <typename T>
bool exchange_n(T* at, T* expected, std::type_identity_t<T> desired, bool, int success,
                int failure) {
  std::uint64_t there = to_bits<T>(*expected);
  const bool done = traced_exchange(at, sizeof(T), there, to_bits<T>(desired), success, failure);
  if (!done) *expected = from_bits<T>(there);
  return done;
}
template <typename T>
T fetch_add(T* at, std::type_identity_t<T> amount, int order) {
  return from_bits<T>(traced_add(at, sizeof(T), to_bits<T>(amount), order));
}
template <typename T>
T fetch_or(T* at, std::type_identity_t<T> bits, int order) {
  return from_bits<T>(traced_or(at, sizeof(T), to_bits<T>(bits), order));
}

}  // namespace loopscope::model

#ifndef LOOPSCOPE_MODEL_ITSELF
#define __atomic_load_n(at, order) (::loopscope::model::load_n((at), (order)))
#define __atomic_load(at, to, order) (::loopscope::model::load_to((at), (to), (order)))
#define __atomic_store_n(at, value, order) (::loopscope::model::store_n((at), (value), (order)))
#define __atomic_store(at, from, order) (::loopscope::model::store_from((at), (from), (order)))
#define __atomic_compare_exchange_n(at, expected, desired, weak, success, failure) \
  (::loopscope::model::exchange_n((at), (expected), (desired), (weak), (success), (failure)))
#define __atomic_fetch_add(at, amount, order) \
  (::loopscope::model::fetch_add((at), (amount), (order)))
#define __atomic_fetch_sub(at, amount, order) \
  (::loopscope::model::fetch_add((at), -(amount), (order)))
#define __atomic_add_fetch(at, amount, order) \
  (::loopscope::model::fetch_add((at), (amount), (order)) + (amount))
#define __atomic_fetch_or(at, bits, order) (::loopscope::model::fetch_or((at), (bits), (order)))
#define __atomic_thread_fence(order) (::loopscope::model::traced_fence(order))
#define sched_yield() (::loopscope::model::traced_yield())
// Its assembler would not be seen: add_at_once() has another form.
#define LOOPSCOPE_TRACED_ATOMICS
#define __libc_single_threaded (::loopscope::model::traced_single_threaded())
#endif
