// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/symbols/unwind.h"

#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>

#include "instrumentation/symbols/as_user.h"
#include "instrumentation/symbols/memory_left.h"
#include "instrumentation/symbols/open_file.h"

namespace loopscope::symbols {
namespace {

constexpr std::size_t kMostFrames = 128;

/// Of whom find_elf() is asked, and with whose rights: a module does not say.
thread_local pid_t unwound_pid = 0;
thread_local std::optional<std::uint32_t> unwound_as_user;

/// As an Elf that is read where it is needed. -1: no.
int open_elf(int fd, Elf** elf) {
  if (fd < 0) return -1;
  *elf = ::elf_begin(fd, ELF_C_READ, nullptr);
  if (*elf != nullptr) return fd;
  ::close(fd);
  return -1;
}

/// The kernel's link to the program, which has no name any more.
int open_program(const std::string& exe) {
  const int fd = ::open(exe.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  struct stat status {};
  if (fd < 0 || (::fstat(fd, &status) == 0 && S_ISREG(status.st_mode))) return fd;
  ::close(fd);
  return -1;
}

/// `name`: the path of a mapping, or "[vdso: PID]".
int find_elf(Dwfl_Module* module, void** user_data, const char* name, Dwarf_Addr base,
             char** file_name, Elf** elf) {
  if (name[0] != '/') {
    // The vdso is read from the process' memory.
    return std::string_view(name).starts_with("[vdso")
               ? dwfl_linux_proc_find_elf(module, user_data, name, base, file_name, elf)
               : -1;
  }
  std::string path = name;
  bool is_program = false;
  constexpr std::string_view kDeleted = " (deleted)";
  if (path.ends_with(kDeleted)) {
    // The program itself can be had still.
    const std::string exe = "/proc/" + std::to_string(unwound_pid) + "/exe";
    char target[PATH_MAX];
    const ssize_t length = ::readlink(exe.c_str(), target, sizeof target);
    if (length <= 0 || std::string_view(target, static_cast<std::size_t>(length)) != path) {
      return -1;
    }
    path = exe;
    is_program = true;
  }
  const AsUser user(unwound_as_user);
  if (!user.done()) return -1;
  const int fd = open_elf(is_program ? open_program(path) : open_regular_file(path), elf);
  if (fd >= 0) *file_name = ::strdup(path.c_str());
  return fd;
}

/// Frame information lies in the file itself; names are not looked up here.
int find_no_debuginfo(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*,
                      GElf_Word, char**) {
  return -1;
}

constexpr Dwfl_Callbacks kCallbacks = {find_elf, find_no_debuginfo, nullptr, nullptr};

const process::StackCopy& copy_of(void* argument) {
  return *static_cast<const process::StackCopy*>(argument);
}

pid_t next_thread(Dwfl*, void* argument, void** thread_argument) {
  if (*thread_argument != nullptr) return 0;
  *thread_argument = argument;
  return copy_of(argument).thread_id;
}

bool get_thread(Dwfl*, pid_t thread_id, void* argument, void** thread_argument) {
  *thread_argument = argument;
  return thread_id == copy_of(argument).thread_id;
}

bool read_memory(Dwfl*, Dwarf_Addr address, Dwarf_Word* result, void* argument) {
  const process::StackCopy& copy = copy_of(argument);
  const std::size_t size = copy.memory.size();
  if (address >= copy.begin && size >= sizeof *result &&
      address - copy.begin <= size - sizeof *result) {
    std::memcpy(result, copy.memory.data() + (address - copy.begin), sizeof *result);
    return true;
  }
  // A signal handler's own stack, for instance.
  const iovec to{result, sizeof *result};
  const iovec from{reinterpret_cast<void*>(address), sizeof *result};
  return ::process_vm_readv(copy.pid, &to, 1, &from, 1, 0) == sizeof *result;
}

bool set_registers(Dwfl_Thread* thread, void* argument) {
  const process::StackCopy& copy = copy_of(argument);
  for (unsigned number = 0; number < process::StackCopy::kRegisters; ++number) {
    if ((copy.known >> number & 1) == 0) continue;
    const Dwarf_Word value = copy.registers[number];
    if (!dwfl_thread_state_registers(thread, static_cast<int>(number), 1, &value)) return false;
  }
  dwfl_thread_state_register_pc(thread, copy.registers[process::StackCopy::kProgramCounter]);
  return true;
}

constexpr Dwfl_Thread_Callbacks kThread = {
    next_thread, get_thread, read_memory, set_registers, nullptr, nullptr,
};

UnwoundFrame describe(Dwfl* dwfl, Dwarf_Addr address, bool is_return_address) {
  UnwoundFrame frame;
  frame.address = address;
  frame.code.is_return_address = is_return_address;
  Dwfl_Module* module = dwfl_addrmodule(dwfl, address - (is_return_address ? 1 : 0));
  if (module == nullptr) return frame;
  const char* name =
      dwfl_module_info(module, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
  GElf_Addr bias = 0;
  if (name == nullptr || dwfl_module_getelf(module, &bias) == nullptr) return frame;
  // "[vdso: PID]"
  frame.code.module = std::string_view(name).starts_with("[vdso") ? "[vdso]" : name;
  frame.code.address = address - bias;
  const unsigned char* bits = nullptr;
  GElf_Addr where = 0;
  const int size = dwfl_module_build_id(module, &bits, &where);
  if (size > 0) frame.code.build_id.assign(bits, bits + size);
  return frame;
}

struct Walk {
  Dwfl* dwfl;
  UnwoundStack& stack;
  std::uint64_t stack_pointer = 0;  // of the outermost frame so far
};

int add_frame(Dwfl_Frame* state, void* argument) {
  Walk& walk = *static_cast<Walk*>(argument);
  Dwarf_Addr address = 0;
  bool is_activation = false;
  if (!dwfl_frame_pc(state, &address, &is_activation)) return DWARF_CB_ABORT;
  walk.stack.frames.push_back(describe(walk.dwfl, address, !is_activation));
  walk.stack_pointer = 0;
  Dwarf_Word value = 0;
  if (dwfl_frame_reg(state, process::StackCopy::kStackPointer, &value) == 0) {
    walk.stack_pointer = value;
  }
  return walk.stack.frames.size() < kMostFrames ? DWARF_CB_OK : DWARF_CB_ABORT;
}

template <typename T>
bool read_value(const process::StackCopy& copy, std::uint64_t address, T& value) {
  const iovec to{&value, sizeof value};
  const iovec from{reinterpret_cast<void*>(address), sizeof value};
  return ::process_vm_readv(copy.pid, &to, 1, &from, 1, 0) == sizeof value;
}

/// Whether the instruction before `returns_to` calls `function`: directly, through the linkage
/// table, or through a pointer of the linker's.
bool calls(const process::StackCopy& copy, std::uint64_t returns_to, std::uint64_t function) {
  std::array<unsigned char, 6> code{};
  if (returns_to < code.size() || !read_value(copy, returns_to - code.size(), code)) return false;
  std::int32_t distance = 0;
  std::memcpy(&distance, &code[2], sizeof distance);
  std::uint64_t target = returns_to + static_cast<std::uint64_t>(std::int64_t{distance});
  if (code[0] != 0xff || code[1] != 0x15) {  // call *pointer(%rip)
    if (code[1] != 0xe8) return false;       // call target
    if (target == function) return true;
    // In the table: [endbr64] [bnd] jmp *pointer(%rip)
    std::array<unsigned char, 16> entry{};
    if (!read_value(copy, target, entry)) return false;
    constexpr std::array<unsigned char, 4> kEndbr64 = {0xf3, 0x0f, 0x1e, 0xfa};
    std::size_t at = std::memcmp(entry.data(), kEndbr64.data(), kEndbr64.size()) == 0 ? 4 : 0;
    if (entry[at] == 0xf2) ++at;
    if (entry[at] != 0xff || entry[at + 1] != 0x25) return false;
    std::memcpy(&distance, &entry[at + 2], sizeof distance);
    target += at + 6 + static_cast<std::uint64_t>(std::int64_t{distance});
  }
  std::uint64_t pointer = 0;
  return read_value(copy, target, pointer) && pointer == function;
}

/// Whether the outermost frame is where a thread or the program begins.
bool begins_thread(const Walk& walk) {
  if (walk.stack.frames.empty()) return false;
  const std::uint64_t address = walk.stack.frames.back().address - 1;
  Dwfl_Module* module = dwfl_addrmodule(walk.dwfl, address);
  const char* name = module != nullptr ? dwfl_module_addrname(module, address) : nullptr;
  if (name == nullptr) return false;
  const std::string_view function(name);
  return function == "_start" || function.find("clone") != std::string_view::npos;
}

/// The frame pointer of a thread that was not stopped, if the function where unwinding ended keeps
/// one: above its locals lie the caller's and the return address, and before that one is a call of
/// this very function. Only few functions that block keep one (the probe's do).
std::optional<std::uint64_t> find_frame_pointer(const process::StackCopy& copy, const Walk& walk) {
  constexpr std::size_t kMostLocals = 4096;
  if (walk.stack.frames.empty() || walk.stack_pointer < copy.begin) return std::nullopt;
  const std::uint64_t address = walk.stack.frames.back().address - 1;
  Dwfl_Module* module = dwfl_addrmodule(walk.dwfl, address);
  if (module == nullptr) return std::nullopt;
  GElf_Off offset = 0;
  GElf_Sym symbol;
  if (dwfl_module_addrinfo(module, address, &offset, &symbol, nullptr, nullptr, nullptr) ==
      nullptr) {
    return std::nullopt;
  }
  for (std::uint64_t at = walk.stack_pointer; at < walk.stack_pointer + kMostLocals; at += 8) {
    const std::uint64_t from = at - copy.begin;
    if (from + 16 > copy.memory.size()) break;
    std::uint64_t returns_to = 0;
    std::memcpy(&returns_to, copy.memory.data() + from + 8, sizeof returns_to);
    if (dwfl_addrmodule(walk.dwfl, returns_to) != nullptr &&
        calls(copy, returns_to, address - offset)) {
      return at;
    }
  }
  return std::nullopt;
}

}  // namespace

UnwoundStack unwind(const process::StackCopy& copy, std::optional<std::uint32_t> as_user) {
  UnwoundStack stack;
  const auto failed = [&stack](const char* what) {
    const char* message = dwfl_errmsg(-1);
    stack.why = std::string(what) + ": " + (message != nullptr ? message : "unknown error");
    return stack;
  };
  if (memory_left() < kLeastMemoryLeft) {
    stack.why = "too little memory is left to unwind it";
    return stack;
  }
  ::elf_version(EV_CURRENT);
  unwound_pid = copy.pid;
  unwound_as_user = as_user;
  const std::unique_ptr<Dwfl, decltype(&dwfl_end)> dwfl(dwfl_begin(&kCallbacks), dwfl_end);
  if (dwfl == nullptr) return failed("cannot begin");
  if (dwfl_linux_proc_report(dwfl.get(), copy.pid) != 0 ||
      dwfl_report_end(dwfl.get(), nullptr, nullptr) != 0) {
    return failed("cannot read the process' mappings");
  }
  process::StackCopy known = copy;
  if (!dwfl_attach_state(dwfl.get(), nullptr, copy.pid, &kThread, &known)) {
    return failed("cannot read the program");
  }
  for (;;) {
    Walk walk{dwfl.get(), stack};
    const int result = dwfl_getthread_frames(dwfl.get(), copy.thread_id, add_frame, &walk);
    constexpr unsigned kFramePointer = 6;
    const bool all_known = (known.known >> kFramePointer & 1) != 0;
    // Where a register is missing libdwfl ends as if there were no more.
    stack.complete = result == 0 && (all_known || begins_thread(walk));
    if (stack.complete) return stack;
    if (stack.frames.size() == kMostFrames) {
      stack.why = "deeper than " + std::to_string(kMostFrames) + " calls";
      return stack;
    }
    const auto found = all_known ? std::nullopt : find_frame_pointer(known, walk);
    if (!found) {
      if (result != 0) return failed("cannot go further");
      stack.why = "cannot go further: it was not stopped, and its frame pointer is not known";
      return stack;
    }
    known.registers[kFramePointer] = *found;
    known.known |= 1u << kFramePointer;
    stack.frames.clear();
  }
}

}  // namespace loopscope::symbols
