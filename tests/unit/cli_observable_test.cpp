// SPDX-License-Identifier: Apache-2.0
//
// Files made by hand: ELF headers of other machines, scripts, things that only look like either.
#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "cli/observable.h"

namespace loopscope::cli {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

#if defined(__x86_64__)
constexpr std::uint16_t kMachine = EM_X86_64;
constexpr std::uint16_t kOtherMachine = EM_AARCH64;
#elif defined(__aarch64__)
constexpr std::uint16_t kMachine = EM_AARCH64;
constexpr std::uint16_t kOtherMachine = EM_X86_64;
#endif

class Observable : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "observable-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string file(const std::string& name, const std::string& bytes, mode_t mode = 0755) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path, std::ios::binary) << bytes;
    chmod(path.c_str(), mode);
    return path;
  }

  static Elf64_Ehdr header(std::uint16_t machine = kMachine) {
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_machine = machine;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    return header;
  }

  /// One of this machine, with these segments, whose contents follow the program headers.
  static std::string elf(std::vector<std::pair<std::uint32_t, std::string>> segments) {
    Elf64_Ehdr head = header();
    head.e_phnum = static_cast<std::uint16_t>(segments.size());
    std::string bytes(reinterpret_cast<const char*>(&head), sizeof head);
    std::uint64_t offset = sizeof head + segments.size() * sizeof(Elf64_Phdr);
    std::string contents;
    for (const auto& [type, content] : segments) {
      Elf64_Phdr segment{};
      segment.p_type = type;
      segment.p_offset = offset + contents.size();
      segment.p_filesz = content.size();
      bytes.append(reinterpret_cast<const char*>(&segment), sizeof segment);
      contents += content;
    }
    return bytes + contents;
  }
  static std::string with_loader(const std::string& loader) {
    return elf({{PT_INTERP, loader + '\0'}});
  }

  Examination look(const std::string& path) { return examine(path.c_str(), directory_.c_str()); }

  std::string directory_;
};

TEST_F(Observable, DynamicProgramOfThisMachine) {
  const Examination found = look(file("a", with_loader("/lib64/ld-linux-x86-64.so.2")));
  EXPECT_THAT(found.obstacle, IsEmpty());
  EXPECT_FALSE(found.preload_harms);
  EXPECT_EQ(found.exec_error, 0);
  EXPECT_THAT(found.address_sanitizer, IsEmpty());
}

TEST_F(Observable, StaticProgram) {
  const Examination found = look(file("a", elf({{PT_LOAD, "code"}})));
  EXPECT_THAT(found.obstacle, HasSubstr("it is statically linked"));
  EXPECT_FALSE(found.preload_harms) << "what it starts may be seen";
}

TEST_F(Observable, MuslWouldFailOnThePreload) {
  const Examination found = look(file("a", with_loader("/lib/ld-musl-x86_64.so.1")));
  EXPECT_THAT(found.obstacle, HasSubstr("musl"));
  EXPECT_TRUE(found.preload_harms);
}

TEST_F(Observable, OtherMachineAndOtherClass) {
  Elf64_Ehdr other = header(kOtherMachine);
  Examination found = look(file("a", std::string(reinterpret_cast<char*>(&other), sizeof other)));
  EXPECT_THAT(found.obstacle, HasSubstr("is a program for "));
  EXPECT_TRUE(found.preload_harms);

  other = header(EM_386);
  other.e_ident[EI_CLASS] = ELFCLASS32;
  found = look(file("b", std::string(reinterpret_cast<char*>(&other), sizeof other)));
  EXPECT_THAT(found.obstacle, HasSubstr("32-bit x86"));
  EXPECT_TRUE(found.preload_harms);
}

TEST_F(Observable, GoIsSaid) {
  const std::string note("\4\0\0\0\4\0\0\0\4\0\0\0Go\0\0abcd", 20);
  const std::string loader = std::string("/lib64/ld-linux-x86-64.so.2") + '\0';
  EXPECT_THAT(look(file("a", elf({{PT_INTERP, loader}, {PT_NOTE, note}}))).obstacle,
              HasSubstr("written in Go"));
}

TEST_F(Observable, AddressSanitizerIsFoundByItsName) {
  const std::string strings = std::string("\0libasan.so.8\0", 14);
  const std::uint64_t address = 0x10000;
  std::string dynamic;
  const auto entry = [&dynamic](std::int64_t tag, std::uint64_t value) {
    Elf64_Dyn one{};
    one.d_tag = tag;
    one.d_un.d_val = value;
    dynamic.append(reinterpret_cast<const char*>(&one), sizeof one);
  };
  entry(DT_NEEDED, 1);
  entry(DT_STRTAB, address);
  entry(DT_NULL, 0);
  std::string bytes = elf({{PT_INTERP, std::string("/lib64/ld-linux-x86-64.so.2") + '\0'},
                           {PT_LOAD, strings},
                           {PT_DYNAMIC, dynamic}});
  // The strings are mapped at `address`.
  std::memcpy(
      bytes.data() + sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, p_vaddr),
      &address, sizeof address);
  EXPECT_EQ(look(file("a", bytes)).address_sanitizer, "libasan.so.8");
}

TEST_F(Observable, ScriptsAreFollowed) {
  const std::string plain = file("static", elf({{PT_LOAD, "code"}}));
  const std::string reason = "its interpreter " + plain + " is statically linked";
  for (const std::string& first :
       {"#!" + plain, "#! \t" + plain + " -x", "#!" + plain + "\nexit",
        std::string("#!/usr/bin/env static"), std::string("#!/usr/bin/env -S A=b -u C static -x"),
        std::string("#!/usr/bin/env -Sstatic")}) {
    EXPECT_THAT(look(file("script", first + "\n")).obstacle, HasSubstr(reason)) << first;
  }
  const std::string inner = file("inner", "#!" + plain + "\n");
  EXPECT_THAT(look(file("outer", "#!" + inner + "\n")).obstacle, HasSubstr(reason));
  EXPECT_THAT(look(file("i", "#!/usr/bin/env -i static\n")).obstacle, HasSubstr("environment"));
}

TEST_F(Observable, EndlessAndBrokenScriptsEnd) {
  EXPECT_THAT(look(file("self", "#!" + directory_ + "/self\n")).obstacle, IsEmpty());
  for (const char* text :
       {"#!", "#!\n", "#! \t \n", "#!/usr/bin/env", "#!/usr/bin/env -u", "#!/none\n", ""}) {
    EXPECT_EQ(look(file("broken", text)).exec_error, 0) << text;
  }
}

TEST_F(Observable, DamagedFilesAreSurvived) {
  const std::string whole = elf({{PT_INTERP, "/lib64/ld-linux-x86-64.so.2"},
                                 {PT_DYNAMIC, std::string(64, '\x05')},
                                 {PT_NOTE, "x"}});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(look(file("cut", whole.substr(0, size))).exec_error, 0);
  }
  for (std::size_t at = SELFMAG; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0xFF);
    EXPECT_EQ(look(file("damaged", damaged)).exec_error, 0);
  }
}

TEST_F(Observable, LookedUpAsExecvpDoes) {
  const std::string plain = file("plain", "x", 0644);
  EXPECT_EQ(examine("plain", directory_.c_str()).exec_error, EACCES);
  EXPECT_EQ(examine("none", directory_.c_str()).exec_error, ENOENT);
  EXPECT_EQ(examine("", directory_.c_str()).exec_error, ENOENT);
  EXPECT_EQ(look(plain + "/below").exec_error, ENOTDIR);
  EXPECT_EQ(look(directory_).exec_error, EACCES);
  std::filesystem::create_directory(directory_ + "/later");
  file("later/plain", with_loader("/lib64/ld-linux-x86-64.so.2"));
  EXPECT_EQ(examine("plain", (directory_ + ":" + directory_ + "/later").c_str()).exec_error, 0);
  EXPECT_EQ(examine("sh", nullptr).exec_error, 0) << "the system's own directories";
}

TEST_F(Observable, WhyNoRecording) {
  EXPECT_THAT(why_no_recording(directory_), IsEmpty());
  EXPECT_THAT(why_no_recording(directory_ + "/made"), IsEmpty());
  EXPECT_TRUE(std::filesystem::is_directory(directory_ + "/made"));
  EXPECT_THAT(why_no_recording(directory_ + "/none/below"), HasSubstr("No such file"));
  EXPECT_THAT(why_no_recording(file("file", "")), HasSubstr("not a directory"));
  chmod(directory_.c_str(), 0755);
  EXPECT_THAT(why_no_recording(directory_), HasSubstr("chmod 700"));
}

TEST_F(Observable, WhatLdPreloadCannotName) {
  EXPECT_THAT(why_not_preloadable(file("probe.so", "")), IsEmpty());
  for (const char* name : {"a b.so", "a:b.so", "$ORIGIN.so"}) {
    EXPECT_THAT(why_not_preloadable(file(name, "")), HasSubstr("LD_PRELOAD cannot name")) << name;
  }
  EXPECT_THAT(why_not_preloadable(directory_ + "/none.so"), HasSubstr("cannot be read"));
}

}  // namespace
}  // namespace loopscope::cli
