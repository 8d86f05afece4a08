// SPDX-License-Identifier: Apache-2.0
#include "cli/observable.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

namespace loopscope::cli {
namespace {

/// The kernel gives up after this many scripts that name scripts (BINPRM_MAX_RECURSION).
constexpr int kMaxScripts = 5;
/// The kernel looks at so much of a "#!" line (BINPRM_BUF_SIZE).
constexpr std::size_t kScriptBytes = 256;
constexpr std::size_t kMaxProgramHeaders = 1024;
constexpr std::size_t kMaxDynamicEntries = 16 * 1024;
constexpr std::size_t kMaxNoteBytes = 64 * 1024;
constexpr std::size_t kMaxNameBytes = 4096;
/// Below this a recording cannot even begin (header, loops, a few descriptors).
constexpr std::uint64_t kSmallestRecordingBytes = 512 * 1024;

// --- finding it ----------------------------------------------------------------------------------

/// 0, or the errno with which execve(2) would refuse this path.
int exec_error(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno;
  if (!S_ISREG(status.st_mode)) return EACCES;
  return faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

struct Found {
  std::string path;
  int error = 0;
};

/// As execvp(3): a name with a slash is a path, any other is looked up; one that may not be
/// executed is remembered while the search goes on.
Found find_program(const std::string& name, const char* path_variable) {
  if (name.empty()) return {"", ENOENT};
  if (name.find('/') != std::string::npos) return {name, exec_error(name)};
  std::string_view directories = path_variable != nullptr ? path_variable : "/bin:/usr/bin";
  int error = ENOENT;
  for (;;) {
    const std::size_t end = std::min(directories.find(':'), directories.size());
    const std::string directory(directories.substr(0, end));  // empty: here
    std::string path = directory;
    if (!path.empty()) path += '/';
    path += name;
    const int why = exec_error(path);
    if (why == 0) return {path, 0};
    if (why == EACCES) error = EACCES;
    if (end == directories.size()) return {"", error};
    directories.remove_prefix(end + 1);
  }
}

// --- reading it ----------------------------------------------------------------------------------

class File {
 public:
  explicit File(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }

  std::string read(std::uint64_t offset, std::size_t size) const {
    std::string bytes(size, '\0');
    const ssize_t got = pread(fd_, bytes.data(), size, static_cast<off_t>(offset));
    bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return bytes;
  }

  template <typename T>
  std::optional<T> value(std::uint64_t offset) const {
    T value{};
    const ssize_t got = pread(fd_, &value, sizeof value, static_cast<off_t>(offset));
    if (got != static_cast<ssize_t>(sizeof value)) return std::nullopt;
    return value;
  }

  /// A string that ends in a zero byte.
  std::string text(std::uint64_t offset) const {
    std::string bytes = read(offset, kMaxNameBytes);
    bytes.resize(std::min(bytes.find('\0'), bytes.size()));
    return bytes;
  }

 private:
  int fd_;
};

using ElfHeader = Elf64_Ehdr;
using ProgramHeader = Elf64_Phdr;

/// What matters of an ELF file of this machine's own kind. Files of the other class are not looked
/// into: that they are of the other class is all there is to know.
struct Elf {
  std::string loader;  // PT_INTERP; empty: none
  std::string name;    // DT_SONAME
  std::vector<std::string> needed;
  bool go = false;
};

Elf read_elf(const File& file, const ElfHeader& header) {
  Elf elf;
  std::vector<ProgramHeader> segments;
  const std::size_t count = std::min<std::size_t>(header.e_phnum, kMaxProgramHeaders);
  for (std::size_t i = 0; i < count; ++i) {
    const auto segment = file.value<ProgramHeader>(header.e_phoff + i * sizeof(ProgramHeader));
    if (!segment) break;
    segments.push_back(*segment);
  }
  const auto offset_of = [&](std::uint64_t address) -> std::optional<std::uint64_t> {
    for (const ProgramHeader& segment : segments) {
      if (segment.p_type == PT_LOAD && address >= segment.p_vaddr &&
          address - segment.p_vaddr < segment.p_filesz) {
        return address - segment.p_vaddr + segment.p_offset;
      }
    }
    return std::nullopt;
  };
  for (const ProgramHeader& segment : segments) {
    if (segment.p_type == PT_INTERP) elf.loader = file.text(segment.p_offset);
    if (segment.p_type == PT_NOTE) {
      // The name of Go's note, "Go\0\0", after the three words of its header: one is all there is
      // in that segment.
      const std::string note =
          file.read(segment.p_offset, std::min<std::size_t>(segment.p_filesz, kMaxNoteBytes));
      if (note.size() >= 16 && note.compare(12, 4, "Go\0\0", 4) == 0) elf.go = true;
    }
    if (segment.p_type != PT_DYNAMIC) continue;
    std::vector<std::uint64_t> needed;
    std::optional<std::uint64_t> strings, name;
    for (std::size_t i = 0;
         i < std::min<std::size_t>(segment.p_filesz / sizeof(Elf64_Dyn), kMaxDynamicEntries); ++i) {
      const auto entry = file.value<Elf64_Dyn>(segment.p_offset + i * sizeof(Elf64_Dyn));
      if (!entry || entry->d_tag == DT_NULL) break;
      if (entry->d_tag == DT_STRTAB) strings = offset_of(entry->d_un.d_ptr);
      if (entry->d_tag == DT_NEEDED) needed.push_back(entry->d_un.d_val);
      if (entry->d_tag == DT_SONAME) name = entry->d_un.d_val;
    }
    if (!strings) continue;
    for (const std::uint64_t at : needed) elf.needed.push_back(file.text(*strings + at));
    if (name) elf.name = file.text(*strings + *name);
  }
  return elf;
}

std::string machine_text(const ElfHeader& header) {
  const bool wide = header.e_ident[EI_CLASS] == ELFCLASS64;
  switch (header.e_machine) {
    case EM_386:
      return "32-bit x86";
    case EM_X86_64:
      return wide ? "x86-64" : "x32";
    case EM_AARCH64:
      return "64-bit ARM";
    case EM_ARM:
      return "32-bit ARM";
    case EM_RISCV:
      return wide ? "64-bit RISC-V" : "32-bit RISC-V";
    case EM_PPC64:
      return "64-bit PowerPC";
    case EM_S390:
      return "s390";
    default:
      return "ELF machine " + std::to_string(header.e_machine);
  }
}

/// Whether the loader will find itself in secure-execution mode (ld.so(8)), where it ignores
/// LD_PRELOAD. As the kernel decides it in cap_bprm_creds_from_file().
std::string privilege(const File& file) {
  struct stat status {};
  struct statvfs mount {};
  if (fstat(file.fd(), &status) != 0) return "";
  // Where the bits have no effect the program is like any other.
  if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return "";
  if (fstatvfs(file.fd(), &mount) == 0 && (mount.f_flag & ST_NOSUID) != 0) return "";
  const bool setuid = (status.st_mode & S_ISUID) != 0;
  const bool setgid = (status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
  if ((setuid ? status.st_uid : geteuid()) != getuid()) return setuid ? "setuid" : "secure";
  if ((setgid ? status.st_gid : getegid()) != getgid()) return setgid ? "setgid" : "secure";
  if (getuid() != 0 && fgetxattr(file.fd(), "security.capability", nullptr, 0) > 0) {
    return "capabilities";
  }
  return "";
}

std::string privilege_text(const std::string& kind) {
  if (kind == "setuid") return "is setuid, and the loader ignores LD_PRELOAD for it";
  if (kind == "setgid") return "is setgid, and the loader ignores LD_PRELOAD for it";
  if (kind == "capabilities") {
    return "has file capabilities, and the loader ignores LD_PRELOAD for it";
  }
  return "is started with an effective user or group that is not the real one, and the loader "
         "ignores LD_PRELOAD then";
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

/// What a "#!" line starts.
struct Script {
  std::string interpreter;
  std::string wanted_by_env;  // what env(1), being the interpreter, looks up in PATH
  bool clears_environment = false;
};

std::optional<Script> parse_script(const std::string& head) {
  if (!head.starts_with("#!")) return std::nullopt;
  const std::string line = head.substr(2, std::min(head.find('\n'), head.size()) - 2);
  const char* blank = " \t";
  const std::size_t begin = line.find_first_not_of(blank);
  if (begin == std::string::npos) return std::nullopt;
  const std::size_t end = std::min(line.find_first_of(blank, begin), line.size());
  Script script;
  script.interpreter = line.substr(begin, end - begin);
  if (base_name(script.interpreter) != "env") return script;

  // All that follows is one argument for the kernel; env -S splits it.
  std::istringstream words(line.substr(end));
  std::string word;
  while (words >> word) {
    if (word == "-" || word == "-i" || word == "--ignore-environment") {
      script.clears_environment = true;
    } else if (word == "-u" || word == "--unset" || word == "-C" || word == "--chdir") {
      words >> word;
    } else if (word.size() > 2 && word.starts_with("-S")) {  // -Spython3
      script.wanted_by_env = word.substr(2);
      break;
    } else if (word[0] != '-' && word.find('=') == std::string::npos) {
      script.wanted_by_env = word;
      break;
    }
  }
  return script;
}

/// The ELF header of the command itself: the probe is made for the same machine.
const ElfHeader& own_header() {
  static const ElfHeader header = File("/proc/self/exe").value<ElfHeader>(0).value_or(ElfHeader{});
  return header;
}

}  // namespace

Examination examine(const char* program, const char* path_variable) {
  Examination examination;
  Found found = find_program(program, path_variable);
  if (found.error != 0) {
    examination.exec_error = found.error;
    return examination;
  }

  std::string subject = "it";
  for (int depth = 0; depth <= kMaxScripts; ++depth) {
    const File file(found.path);
    if (!file.is_open()) return examination;
    const std::string head = file.read(0, kScriptBytes);

    if (const auto script = parse_script(head)) {
      if (script->clears_environment) {
        examination.obstacle =
            subject + " is a script whose first line clears the environment (env -i)";
        return examination;
      }
      found = script->wanted_by_env.empty() ? Found{script->interpreter, 0}
                                            : find_program(script->wanted_by_env, path_variable);
      // The attempt will say what is wrong with it.
      if (found.error != 0 || exec_error(found.path) != 0) return examination;
      subject = "its interpreter " + found.path;
      continue;
    }

    if (head.size() < sizeof(Elf32_Ehdr) || head.compare(0, SELFMAG, ELFMAG) != 0) {
      // execvp(3) gives what the kernel does not know to the shell; what binfmt_misc(5) starts
      // instead cannot be told from here.
      if (found.path == "/bin/sh") return examination;
      found = {"/bin/sh", 0};
      subject = "its interpreter /bin/sh";
      continue;
    }

    ElfHeader header{};
    std::memcpy(&header, head.data(), std::min(head.size(), sizeof header));
    const ElfHeader& own = own_header();
    if (header.e_ident[EI_CLASS] != own.e_ident[EI_CLASS] ||
        header.e_ident[EI_DATA] != own.e_ident[EI_DATA] || header.e_machine != own.e_machine) {
      examination.obstacle = subject + " is a program for " + machine_text(header) +
                             ", the probe is for " + machine_text(own);
      examination.preload_harms = true;  // "cannot be preloaded (wrong ELF class)" on its stderr
      return examination;
    }
    if (header.e_ident[EI_CLASS] != ELFCLASS64) return examination;  // a 32-bit build of ours
    const Elf elf = read_elf(file, header);
    // The loader itself, given the program as an argument, does read LD_PRELOAD.
    const bool is_loader = elf.name.starts_with("ld-linux") || elf.name.starts_with("ld64.so");
    if (elf.loader.empty() && !is_loader) {
      examination.obstacle = subject + " is statically linked, so no library can be preloaded";
      return examination;
    }
    if (base_name(elf.loader).starts_with("ld-musl")) {
      examination.obstacle = subject + " is linked with musl, the probe needs glibc";
      examination.preload_harms = true;  // musl loads it, finds symbols missing, and gives up
      return examination;
    }
    if (const std::string kind = privilege(file); !kind.empty()) {
      examination.obstacle = subject + " " + privilege_text(kind);
      return examination;
    }
    if (elf.go) {
      examination.obstacle =
          subject + " is written in Go, which makes its system calls without libc";
    }
    for (const std::string& library : elf.needed) {
      if (library.starts_with("libasan.so")) examination.address_sanitizer = library;
    }
    return examination;
  }
  return examination;
}

std::string why_no_recording(const std::string& directory) {
  const std::string hint = " (LOOPSCOPE_DIR or --dir names another directory)";
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return "cannot make the directory " + directory + ": " + std::strerror(errno) + hint;
  }
  struct stat status {};
  if (lstat(directory.c_str(), &status) != 0) {
    return "cannot use the directory " + directory + ": " + std::strerror(errno) + hint;
  }
  if (!S_ISDIR(status.st_mode)) return directory + " is not a directory" + hint;
  if (status.st_uid != geteuid() || (status.st_mode & 0077) != 0) {
    return directory + " must belong to you and be closed to others (chmod 700)" + hint;
  }
  if (faccessat(AT_FDCWD, directory.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
    return "cannot write to the directory " + directory + ": " + std::strerror(errno) + hint;
  }
  struct statvfs space {};
  if (statvfs(directory.c_str(), &space) == 0) {
    if (space.f_bavail * space.f_frsize < kSmallestRecordingBytes) {
      return "there is no space left in " + directory + hint;
    }
    if (space.f_files != 0 && space.f_favail == 0) {
      return "there is room for no more files in " + directory + hint;
    }
  }
  return "";
}

std::string why_not_preloadable(const std::string& probe) {
  // Its separators, and what begins $ORIGIN and the like: there is no way to quote them.
  if (probe.find_first_of(": \t\n$") != std::string::npos) {
    return "LD_PRELOAD cannot name " + probe + ", which holds a space, a colon or a dollar sign";
  }
  if (access(probe.c_str(), R_OK) != 0) {
    return "the probe " + probe + " cannot be read: " + std::strerror(errno);
  }
  return "";
}

}  // namespace loopscope::cli
