// SPDX-License-Identifier: Apache-2.0
//
// Calls `report` from places that a symboliser must tell apart. It prints, one a line, the name of
// the place and the return address less the load bias of the module: what a probe would record.
// The test finds the lines it expects by the comments "call NAME".
#include <dlfcn.h>
#include <link.h>

#include <cstdint>
#include <cstdio>

#define NOINLINE __attribute__((noinline))
#define INLINE inline __attribute__((always_inline))

extern "C" NOINLINE void report(const char* place) {
  void* address = __builtin_return_address(0);
  Dl_info info;
  link_map* map = nullptr;
  dladdr1(address, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP);
  std::printf("%s %llx\n", place,
              static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(address) -
                                              static_cast<std::uintptr_t>(map->l_addr)));
}

volatile int sink;

namespace fixture {
namespace {

INLINE void innermost() {
  report("inlined");  // call inlined
  sink = 1;
}

INLINE void middle() {
  sink = 2;
  innermost();  // call innermost
}

NOINLINE void hidden(int value) {
  report("hidden");  // call hidden
  sink = value;
}

}  // namespace

NOINLINE void outer(int value) {
  sink = value;
  middle();  // call middle
}

template <typename T>
struct Box {
  NOINLINE void put(T value) {
    report("template");  // call template
    sink = static_cast<int>(value);
  }
};

}  // namespace fixture

extern "C" NOINLINE void plain_c(int value) {
  report("plain");  // call plain
  sink = value;
}

// ends_in_call's call is its last instruction: where it would return to is the next function.
asm(".text\n"
    ".type ends_in_call, @function\n"
    "ends_in_call: nop; nop; nop; nop\n"
    ".size ends_in_call, . - ends_in_call\n"
    ".type next_function, @function\n"
    "next_function: nop; nop\n"
    ".size next_function, . - next_function\n");
extern "C" __attribute__((visibility("hidden"))) const char next_function[];

extern "C" __attribute__((visibility("default"))) NOINLINE void run_chain() {
  fixture::outer(1);
  fixture::hidden(2);
  fixture::Box<long>().put(3);
  plain_c(4);
  link_map* map = nullptr;
  Dl_info info;
  dladdr1(next_function, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP);
  std::printf("next %llx\n",
              static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(next_function) -
                                              static_cast<std::uintptr_t>(map->l_addr)));
  std::fflush(stdout);
}
