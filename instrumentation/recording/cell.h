// SPDX-License-Identifier: Apache-2.0
//
// A word in the recording that one thread writes while others, perhaps in other processes, read it.
//
// Cost: what a plain load or store costs; on x86-64 no access here emits a locked instruction or a
// fence. A `Cell` is plain memory, so a recording can be copied with pread(2) and looked at through
// the same structs.
#pragma once

#include <type_traits>

namespace loopscope::recording {

template <typename T>
struct Cell {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);

  T raw;

  // The generic forms of the built-ins: Clang takes the _n forms for integers only, and T may be an
  // enum.
  T load() const noexcept { return load(__ATOMIC_RELAXED); }
  T load_acquire() const noexcept { return load(__ATOMIC_ACQUIRE); }
  void store(T value) noexcept { __atomic_store(&raw, &value, __ATOMIC_RELAXED); }
  void store_release(T value) noexcept { __atomic_store(&raw, &value, __ATOMIC_RELEASE); }

  /// Single writer only: a load and a store, not an atomic read-modify-write.
  void add(T amount) noexcept { store(static_cast<T>(load() + amount)); }

 private:
  T load(int order) const noexcept {
    T value;
    __atomic_load(const_cast<T*>(&raw), &value, order);
    return value;
  }
};

static_assert(sizeof(Cell<unsigned long long>) == 8);

/// Text that is replaced while readers may be copying it: they see old and new words, never a data
/// race. `Size` is a multiple of 8; what does not fit is cut, the rest is zeroed.
template <unsigned Size>
struct alignas(8) Text {
  static_assert(Size % 8 == 0);

  char raw[Size];

  void store(const char* text, unsigned size) noexcept {
    if (size > Size - 1) size = Size - 1;
    for (unsigned at = 0; at < Size; at += 8) {
      char word[8] = {};
      for (unsigned i = 0; i < 8 && at + i < size; ++i) word[i] = text[at + i];
      unsigned long long bits = 0;
      __builtin_memcpy(&bits, word, 8);
      __atomic_store_n(reinterpret_cast<unsigned long long*>(raw + at), bits, __ATOMIC_RELAXED);
    }
  }
};

}  // namespace loopscope::recording
