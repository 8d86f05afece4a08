// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/probe/real.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <string.h>

#include <cstddef>
#include <cstdint>

/// For calls_x86_64.S.
extern "C" [[gnu::visibility("hidden")]] long (*loopscope_real_syscall)(long, long, long, long,
                                                                        long, long, long);
long (*loopscope_real_syscall)(long, long, long, long, long, long, long) = nullptr;
extern "C" [[gnu::visibility("hidden")]] void loopscope_find_real() noexcept {
  loopscope::probe::find_real();
}

namespace loopscope::probe {

Real g_real;

namespace {

constexpr std::uint32_t gnu_hash(const char* name) noexcept {
  std::uint32_t hash = 5381;
  for (; *name != '\0'; ++name) hash = hash * 33 + static_cast<unsigned char>(*name);
  return hash;
}

#if defined(__x86_64__) && defined(__GLIBC__) && __GLIBC_PREREQ(2, 35)

/// The dynamic symbols of a loaded object, as its hash table (DT_GNU_HASH) leads to them.
class Symbols {
 public:
  bool read(const link_map& object) noexcept {
    const std::uint32_t* hash = nullptr;
    for (const ElfW(Dyn)* entry = object.l_ld; entry->d_tag != DT_NULL; ++entry) {
      switch (entry->d_tag) {
        case DT_GNU_HASH:
          hash = at<const std::uint32_t>(object, *entry);
          break;
        case DT_SYMTAB:
          symbols_ = at<const ElfW(Sym)>(object, *entry);
          break;
        case DT_STRTAB:
          names_ = at<const char>(object, *entry);
          break;
        case DT_VERSYM:
          versions_ = at<const ElfW(Half)>(object, *entry);
          break;
        default:
          break;
      }
    }
    if (hash == nullptr || symbols_ == nullptr || names_ == nullptr) return false;
    buckets_ = hash[0];
    first_ = hash[1];
    bloom_words_ = hash[2];
    bloom_shift_ = hash[3];
    if (bloom_words_ == 0) return false;
    bloom_ = reinterpret_cast<const std::uint64_t*>(hash + 4);
    bucket_ = reinterpret_cast<const std::uint32_t*>(bloom_ + bloom_words_);
    bias_ = object.l_addr;
    return true;
  }

  /// As dlsym(3) finds it: of several versions the default one. Null: not here.
  const ElfW(Sym) * find(const char* name, std::uint32_t hash) const noexcept {
    const std::uint64_t word = bloom_[hash / 64 % bloom_words_];
    if ((word >> (hash % 64) & word >> ((hash >> bloom_shift_) % 64) & 1) == 0) return nullptr;
    if (buckets_ == 0) return nullptr;
    std::uint32_t index = bucket_[hash % buckets_];
    if (index < first_) return nullptr;
    for (const std::uint32_t* chain = bucket_ + buckets_ - first_;; ++index) {
      if ((chain[index] | 1) == (hash | 1)) {
        const ElfW(Sym)& symbol = symbols_[index];
        if (symbol.st_shndx != SHN_UNDEF && is_default(index) &&
            strcmp(names_ + symbol.st_name, name) == 0) {
          return &symbol;
        }
      }
      if ((chain[index] & 1) != 0) return nullptr;
    }
  }

  void* address(const ElfW(Sym) & symbol) const noexcept {
    return reinterpret_cast<void*>(bias_ + symbol.st_value);
  }

 private:
  /// The linker has added the bias to what lies in writable memory, and not to the others.
  template <typename T>
  static T* at(const link_map& object, const ElfW(Dyn) & entry) noexcept {
    const ElfW(Addr) value = entry.d_un.d_ptr;
    return reinterpret_cast<T*>(value < object.l_addr ? value + object.l_addr : value);
  }
  bool is_default(std::uint32_t index) const noexcept {
    constexpr ElfW(Half) kHidden = 0x8000;
    constexpr ElfW(Half) kFirstNamed = 2;  // 0 local, 1 without a version
    return versions_ == nullptr || (versions_[index] & kHidden) == 0 ||
           (versions_[index] & ~kHidden) < kFirstNamed;
  }

  const ElfW(Sym) * symbols_ = nullptr;
  const char* names_ = nullptr;
  const ElfW(Half) * versions_ = nullptr;
  const std::uint64_t* bloom_ = nullptr;
  const std::uint32_t* bucket_ = nullptr;
  std::uint32_t buckets_ = 0;
  std::uint32_t first_ = 0;
  std::uint32_t bloom_words_ = 0;
  std::uint32_t bloom_shift_ = 0;
  ElfW(Addr) bias_ = 0;
};

/// The objects after the probe in the order in which the linker searches them: what RTLD_NEXT means
/// to it. dlsym(3) takes 150 ns a name and there are 150; this takes 30.
class Next {
 public:
  Next() noexcept {
    dl_find_object self{};
    if (_dl_find_object(&g_real, &self) != 0) return;
    for (const link_map* object = self.dlfo_link_map->l_next; object != nullptr;
         object = object->l_next) {
      if (objects_ == kMost || !symbols_[objects_].read(*object)) return;
      ++objects_;
    }
  }

  void* find(const char* name, std::uint32_t hash) const noexcept {
    for (unsigned i = 0; i < objects_; ++i) {
      const ElfW(Sym)* symbol = symbols_[i].find(name, hash);
      if (symbol == nullptr) continue;
      if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC) break;  // STT_GNU_IFUNC wants to be called
      return symbols_[i].address(*symbol);
    }
    // Also what lies beyond an object that could not be read.
    return dlsym(RTLD_NEXT, name);
  }

 private:
  static constexpr unsigned kMost = 48;
  Symbols symbols_[kMost];
  unsigned objects_ = 0;
};

#else

struct Next {
  static void* find(const char* name, std::uint32_t) noexcept { return dlsym(RTLD_NEXT, name); }
};

#endif

}  // namespace

void find_real() noexcept {
  const int saved = errno;
  const Next next;
  // Every thread that comes here finds the same; the last store makes the table good.
#define LOOK_UP(name)                                                                  \
  if (__atomic_load_n(&g_real.name, __ATOMIC_RELAXED) == nullptr) {                    \
    constexpr std::uint32_t kHash = gnu_hash(#name);                                   \
    __atomic_store_n(&g_real.name,                                                     \
                     reinterpret_cast<decltype(g_real.name)>(next.find(#name, kHash)), \
                     __ATOMIC_RELEASE);                                                \
  }
#define BIRTH(result, name, parameters, arguments, facts) LOOK_UP(name)
#define IO(result, name, parameters, arguments, fd) LOOK_UP(name)
#define FIRST(result, name, parameters, arguments) LOOK_UP(name)
#define HOOK(result, name, parameters, arguments) \
  if (&g_real.name != reinterpret_cast<decltype(&g_real.name)>(&g_real.syscall)) LOOK_UP(name)
#define SAME(name, as)
#include "instrumentation/probe/hooks.def"
#undef BIRTH
#undef IO
#undef FIRST
#undef HOOK
#undef SAME
  LOOK_UP(syscall)
  loopscope_real_syscall = g_real.syscall;
  errno = saved;
}

}  // namespace loopscope::probe
