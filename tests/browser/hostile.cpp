// SPDX-License-Identifier: Apache-2.0
//
// hostile MODULE: opens a descriptor in each of many functions, some in MODULE, says "ready", and
// waits in epoll until it is killed.
//
// Every name that begins with hostile_ is a place for another one of the same length: the browser's
// test writes HTML there, in the built files, so that the names are in symbol tables and DWARF as a
// linker would have put them.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cstdio>

#define FUNCTION(name) \
  extern "C" int name() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }
FUNCTION(hostile_function_svg_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)
FUNCTION(hostile_function_img_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)
FUNCTION(hostile_function_script_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)
FUNCTION(hostile_function_end_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)
FUNCTION(hostile_function_quote_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)
FUNCTION(hostile_function_away_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)

// Their mangled names have the length before the name.
namespace demangled {
#define TEMPLATE(name)               \
  template <typename T>              \
  int name(T flags) {                \
    return open("/dev/null", flags); \
  }
TEMPLATE(hostile_demangled_svg_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)
TEMPLATE(hostile_demangled_script_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)
TEMPLATE(hostile_demangled_quote_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)
}  // namespace demangled

#define INLINED(name)                               \
  [[gnu::always_inline]] static inline int name() { \
    return open("/dev/null", O_RDONLY | O_CLOEXEC); \
  }
INLINED(hostile_inlined_img_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)
INLINED(hostile_inlined_end_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx)

// Of a source file of that name.
#define OPENS(name) \
  static int name() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }
#line 1 "hostile_source_svg_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
OPENS(in_first_file)
#line 1 "hostile_source_img_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
OPENS(in_second_file)
#line 1 "hostile_source_quote_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
OPENS(in_third_file)
#line 54 "hostile.cpp"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  void* module = dlopen(argv[1], RTLD_NOW);
  if (module == nullptr) return 3;
  auto* open_all = reinterpret_cast<int (*)()>(dlsym(module, "open_all"));
  if (open_all == nullptr) return 4;
  const int opened[] = {
      open_all(),
      hostile_function_svg_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(),
      hostile_function_img_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(),
      hostile_function_script_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(),
      hostile_function_end_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(),
      hostile_function_quote_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(),
      hostile_function_away_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(),
      demangled::hostile_demangled_svg_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(O_RDONLY),
      demangled::hostile_demangled_script_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(O_RDONLY),
      demangled::hostile_demangled_quote_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(O_RDONLY),
      hostile_inlined_img_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(),
      hostile_inlined_end_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx(),
      in_first_file(),
      in_second_file(),
      in_third_file(),
  };
  for (const int fd : opened) {
    if (fd < 0) return 5;
  }
  int ends[2];
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0 || pipe(ends) != 0) return 6;
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) != 0) return 7;
  std::puts("ready");
  std::fflush(stdout);
  for (;;) epoll_wait(epoll, &event, 1, 50);
}
