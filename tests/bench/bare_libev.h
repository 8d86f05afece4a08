// SPDX-License-Identifier: Apache-2.0
//
// libev as it is in a program without loopscope, inside a program that has loopscope linked.
//
// Two things have to be undone for that. libev's functions that loopscope interposes are called
// through pointers into libev itself. And the calls that libev makes to epoll_wait and epoll_ctl,
// which the dynamic linker has bound to loopscope's definitions, are bound to libc's again: by
// storing another address in libev's global offset table, which is one store and so can be done
// before every slice.
#pragma once

#include <dlfcn.h>
#include <elf.h>
#include <ev.h>
#include <link.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/bench/support.h"

namespace loopscope::bench {

class BareLibev {
 public:
  using Hook = void (*)(struct ev_loop*);

  BareLibev() {
    void* libev = dlopen("libev.so.4", RTLD_NOW | RTLD_NOLOAD);
    if (libev == nullptr) die("the benchmark needs libev as a shared library (libev.so.4)");
    run = reinterpret_cast<int (*)(struct ev_loop*, int)>(dlsym(libev, "ev_run"));
    set_hooks = reinterpret_cast<void (*)(struct ev_loop*, Hook, Hook)>(
        dlsym(libev, "ev_set_loop_release_cb"));
    void* libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    for (const char* name : {"epoll_wait", "epoll_ctl"}) {
      Binding binding{name, nullptr, nullptr, dlsym(libc, name)};
      dl_iterate_phdr(find_slot, &binding);
      if (binding.slot == nullptr) die(std::string("libev's binding of ") + name + " is not found");
      bindings_.push_back(binding);
    }
  }

  /// Whether libev's calls go straight to libc or to what the linker had chosen.
  void interpose(bool on) const {
    for (const Binding& binding : bindings_) {
      __atomic_store_n(binding.slot, on ? binding.linked : binding.libc, __ATOMIC_RELEASE);
    }
  }

  int (*run)(struct ev_loop*, int) = nullptr;
  void (*set_hooks)(struct ev_loop*, Hook, Hook) = nullptr;

 private:
  struct Binding {
    const char* name;
    void** slot;
    void* linked;
    void* libc;
  };

  static int find_slot(dl_phdr_info* object, std::size_t, void* wanted) {
    if (std::strstr(object->dlpi_name, "libev.so") == nullptr) return 0;
    auto& binding = *static_cast<Binding*>(wanted);
    const ElfW(Rela) * tables[2] = {nullptr, nullptr};
    std::size_t bytes[2] = {0, 0};
    const ElfW(Sym)* symbols = nullptr;
    const char* names = nullptr;
    for (int i = 0; i < object->dlpi_phnum; ++i) {
      if (object->dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
      const auto* entry =
          reinterpret_cast<const ElfW(Dyn)*>(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
      for (; entry->d_tag != DT_NULL; ++entry) {
        const auto address = entry->d_un.d_ptr;  // glibc has added the load address
        if (entry->d_tag == DT_JMPREL)
          tables[0] = reinterpret_cast<const ElfW(Rela)*>(address);
        else if (entry->d_tag == DT_PLTRELSZ)
          bytes[0] = entry->d_un.d_val;
        else if (entry->d_tag == DT_RELA)
          tables[1] = reinterpret_cast<const ElfW(Rela)*>(address);
        else if (entry->d_tag == DT_RELASZ)
          bytes[1] = entry->d_un.d_val;
        else if (entry->d_tag == DT_SYMTAB)
          symbols = reinterpret_cast<const ElfW(Sym)*>(address);
        else if (entry->d_tag == DT_STRTAB)
          names = reinterpret_cast<const char*>(address);
      }
    }
    for (int table = 0; table < 2; ++table) {
      for (std::size_t i = 0; i < bytes[table] / sizeof(ElfW(Rela)); ++i) {
        const ElfW(Rela)& relocation = tables[table][i];
        const auto symbol = relocation.r_info >> 32;
        if (symbol == 0 || std::strcmp(names + symbols[symbol].st_name, binding.name) != 0)
          continue;
        binding.slot = reinterpret_cast<void**>(object->dlpi_addr + relocation.r_offset);
        make_writable(binding.slot);
        // With lazy binding the slot may not hold the function's address yet.
        binding.linked = dlsym(RTLD_DEFAULT, binding.name);
        return 1;
      }
    }
    return 0;
  }

  static void make_writable(void* address) {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    auto* begin = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(address) & ~(page - 1));
    must(mprotect(begin, page, PROT_READ | PROT_WRITE), "mprotect");
  }

  std::vector<Binding> bindings_;
};

}  // namespace loopscope::bench
