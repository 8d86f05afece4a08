// SPDX-License-Identifier: Apache-2.0
//
// The fixtures (symbols/chain.cpp) are run and say themselves which addresses they were at; the
// lines expected are those of the comments in their source.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "instrumentation/symbols/names.h"
#include "instrumentation/symbols/own_stack.h"
#include "instrumentation/symbols/symbolizer.h"

namespace loopscope::symbols {
namespace {

namespace fs = std::filesystem;
using BuildId = std::vector<std::uint8_t>;
using ::testing::AnyOf;
using ::testing::StartsWith;

std::string fixture(const std::string& name) { return std::string(SYMBOLS_FIXTURES) + "/" + name; }

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

/// The line of chain.cpp with the comment "call PLACE".
int line_of(const std::string& place) {
  std::ifstream in(SYMBOLS_SOURCE);
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.ends_with("// call " + place)) return number;
  }
  ADD_FAILURE() << "chain.cpp has no line \"call " << place << '"';
  return 0;
}

/// Runs a fixture: link-time return addresses by the name of the place.
std::map<std::string, std::uint64_t> addresses_of(const std::string& program) {
  std::map<std::string, std::uint64_t> result;
  FILE* pipe = ::popen(("'" + program + "'").c_str(), "re");
  if (pipe == nullptr) {
    ADD_FAILURE() << "cannot run " << program;
    return result;
  }
  std::array<char, 64> name{};
  unsigned long long address = 0;
  while (std::fscanf(pipe, "%63s %llx", name.data(), &address) == 2) result[name.data()] = address;
  EXPECT_EQ(::pclose(pipe), 0);
  EXPECT_EQ(result.size(), 5U) << program;
  return result;
}

/// The note of GNU ld as it is in the file: the test has no ELF reader of its own.
BuildId build_id_of(const std::string& path) {
  const std::string content = read_file(path);
  const char note[] = {4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, 'G', 'N', 'U', 0};
  const auto at = content.find(std::string(note, sizeof note));
  if (at == std::string::npos) {
    ADD_FAILURE() << path << " has no build-id";
    return {};
  }
  const auto* first = reinterpret_cast<const std::uint8_t*>(content.data()) + at + sizeof note;
  return {first, first + 20};
}

std::string build_id_path(const BuildId& id) {
  std::string hex;
  for (const std::uint8_t byte : id) {
    std::array<char, 3> digits{};
    std::snprintf(digits.data(), digits.size(), "%02x", byte);
    hex += digits.data();
  }
  return "/.build-id/" + hex.substr(0, 2) + "/" + hex.substr(2) + ".debug";
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

class Symbols : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/loopscope-symbols-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string scratch(const std::string& name) const { return directory_ + "/" + name; }
  std::string copy(const std::string& from, const std::string& name) const {
    fs::copy_file(fixture(from), scratch(name), fs::copy_options::overwrite_existing);
    return scratch(name);
  }
  /// Looks for debug files in the test's directory only.
  Options here() const {
    Options options;
    options.debug_directories = {directory_};
    return options;
  }
  std::vector<Frame> resolve(const std::string& module, const BuildId& id, std::uint64_t address) {
    Symbolizer symbolizer(here());
    return symbolizer.resolve({module, id, address, true});
  }

  std::string directory_;
};

void expect_unknown(const std::vector<Frame>& frames, ModuleState state, const std::string& module,
                    std::uint64_t address) {
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].function, "");
  EXPECT_EQ(frames[0].file, "");
  EXPECT_EQ(frames[0].line, 0);
  EXPECT_EQ(frames[0].module, module);
  EXPECT_EQ(frames[0].offset, address);
  EXPECT_FALSE(frames[0].inlined);
  EXPECT_STREQ(module_state_name(frames[0].state), module_state_name(state));
}

/// Everything that full debug information says of the fixture.
void expect_all(Symbolizer& symbolizer, const std::string& module, const BuildId& id,
                const std::map<std::string, std::uint64_t>& addresses) {
  SCOPED_TRACE(module);
  const auto at = [&](const char* place) {
    return symbolizer.resolve({module, id, addresses.at(place), true});
  };
  const ModuleState state = id.empty() ? ModuleState::kUnverified : ModuleState::kRead;

  const auto inlined = at("inlined");
  ASSERT_EQ(inlined.size(), 3U);
  // Clang writes linkage names, and so parameters, of these; GCC does not.
  EXPECT_THAT(inlined[0].function, AnyOf("fixture::(anonymous namespace)::innermost",
                                         "fixture::(anonymous namespace)::innermost()"));
  EXPECT_EQ(inlined[0].line, line_of("inlined"));
  EXPECT_TRUE(inlined[0].inlined);
  EXPECT_THAT(inlined[1].function, AnyOf("fixture::(anonymous namespace)::middle",
                                         "fixture::(anonymous namespace)::middle()"));
  EXPECT_EQ(inlined[1].line, line_of("innermost"));
  EXPECT_TRUE(inlined[1].inlined);
  EXPECT_EQ(inlined[2].function, "fixture::outer(int)");
  EXPECT_EQ(inlined[2].line, line_of("middle"));
  EXPECT_FALSE(inlined[2].inlined);
  for (const Frame& frame : inlined) {
    EXPECT_EQ(frame.file, SYMBOLS_SOURCE);
    EXPECT_EQ(frame.module, module);
    EXPECT_EQ(frame.offset, addresses.at("inlined"));
    EXPECT_EQ(frame.state, state);
  }

  const auto hidden = at("hidden");
  ASSERT_EQ(hidden.size(), 1U);
  EXPECT_THAT(hidden[0].function, StartsWith("fixture::(anonymous namespace)::hidden"));
  EXPECT_EQ(hidden[0].line, line_of("hidden"));

  const auto from_template = at("template");
  ASSERT_EQ(from_template.size(), 1U);
  EXPECT_EQ(from_template[0].function, "fixture::Box<long>::put(long)");
  EXPECT_EQ(from_template[0].line, line_of("template"));

  const auto plain = at("plain");
  ASSERT_EQ(plain.size(), 1U);
  EXPECT_EQ(plain[0].function, "plain_c");
  EXPECT_EQ(plain[0].line, line_of("plain"));
  EXPECT_EQ(plain[0].file, SYMBOLS_SOURCE);
}

TEST_F(Symbols, PositionIndependentProgram) {
  Symbolizer symbolizer(here());
  expect_all(symbolizer, fixture("pie"), build_id_of(fixture("pie")), addresses_of(fixture("pie")));
}

TEST_F(Symbols, SharedLibrary) {
  Symbolizer symbolizer(here());
  expect_all(symbolizer, fixture("library.so"), build_id_of(fixture("library.so")),
             addresses_of(SYMBOLS_LIBRARY_USER));
}

TEST_F(Symbols, FixedAddressesWithoutBuildId) {
  Symbolizer symbolizer(here());
  expect_all(symbolizer, fixture("fixed"), {}, addresses_of(fixture("fixed")));
}

TEST_F(Symbols, OlderDwarfCompressed) {
  const std::string program = fixture("dwarf4-compressed");
  Symbolizer symbolizer(here());
  expect_all(symbolizer, program, build_id_of(program), addresses_of(program));
}

TEST_F(Symbols, RelativeDirectoryOfCompilationIsJoinedOnce) {
  const std::string program = fixture("relative");
  const auto frames = resolve(program, build_id_of(program), addresses_of(program).at("inlined"));
  ASSERT_EQ(frames.size(), 3U);
  EXPECT_EQ(frames[0].file, "hidden/chain.cpp");  // from the line table
  EXPECT_EQ(frames[1].file, "hidden/chain.cpp");  // from the call's own file number
}

TEST_F(Symbols, WithoutDebugInformationTheSymbolTableNames) {
  const std::string program = fixture("no-debug");
  const auto addresses = addresses_of(program);
  const BuildId id = build_id_of(program);
  const auto outer = resolve(program, id, addresses.at("inlined"));
  ASSERT_EQ(outer.size(), 1U);
  EXPECT_EQ(outer[0].function, "fixture::outer(int)");
  EXPECT_EQ(outer[0].line, 0);
  EXPECT_EQ(outer[0].file, "");
  EXPECT_EQ(outer[0].state, ModuleState::kRead);
  const auto hidden = resolve(program, id, addresses.at("hidden"));
  EXPECT_THAT(hidden.at(0).function, StartsWith("fixture::(anonymous namespace)::hidden(int"));
}

TEST_F(Symbols, StrippedLibraryHasItsExportedNames) {
  const auto addresses = addresses_of(SYMBOLS_LIBRARY_USER);
  const std::string library = copy("library.so.stripped", "library.so");
  const auto plain = resolve(library, build_id_of(library), addresses.at("plain"));
  ASSERT_EQ(plain.size(), 1U);
  EXPECT_EQ(plain[0].function, "plain_c");
  EXPECT_EQ(plain[0].line, 0);
  // In no symbol, and not in the nearest one before it either.
  expect_unknown(resolve(library, build_id_of(library), addresses.at("hidden")), ModuleState::kRead,
                 library, addresses.at("hidden"));
}

TEST_F(Symbols, StrippedProgramIsModuleAndOffset) {
  const auto addresses = addresses_of(fixture("pie"));
  const std::string program = copy("pie.stripped", "program");
  expect_unknown(resolve(program, build_id_of(program), addresses.at("hidden")), ModuleState::kRead,
                 program, addresses.at("hidden"));
}

TEST_F(Symbols, DebugFileBesideByLink) {
  const auto addresses = addresses_of(fixture("pie"));
  const std::string program = copy("pie.linked", "program");
  copy("pie.debug", "pie.debug");
  Symbolizer symbolizer(here());
  expect_all(symbolizer, program, build_id_of(program), addresses);
}

TEST_F(Symbols, DebugFileInHiddenDirectoryByLink) {
  const auto addresses = addresses_of(fixture("pie"));
  const std::string program = copy("pie.linked", "program");
  fs::create_directories(scratch(".debug"));
  copy("pie.debug", ".debug/pie.debug");
  Symbolizer symbolizer(here());
  expect_all(symbolizer, program, build_id_of(program), addresses);
}

TEST_F(Symbols, DebugFileInDebugDirectoryByLink) {
  const auto addresses = addresses_of(fixture("pie"));
  fs::create_directories(scratch("bin"));
  const std::string program = copy("pie.linked", "bin/program");
  Options options;
  options.debug_directories = {scratch("debug")};
  fs::create_directories(scratch("debug") + scratch("bin"));
  fs::copy_file(fixture("pie.debug"), scratch("debug") + scratch("bin") + "/pie.debug");
  Symbolizer symbolizer(options);
  expect_all(symbolizer, program, build_id_of(program), addresses);
}

TEST_F(Symbols, DebugFileByLinkAndChecksum) {
  const auto addresses = addresses_of(fixture("fixed"));
  const std::string program = copy("fixed.linked", "program");
  copy("fixed.debug", "fixed.debug");
  Symbolizer symbolizer(here());
  expect_all(symbolizer, program, {}, addresses);
}

TEST_F(Symbols, DebugFileOfAnotherBuildIsNotUsed) {
  // By checksum.
  const auto fixed = addresses_of(fixture("fixed"));
  const std::string program = copy("fixed.linked", "program");
  std::string debug = read_file(fixture("fixed.debug"));
  debug += '\0';
  write_file(scratch("fixed.debug"), debug);
  expect_unknown(resolve(program, {}, fixed.at("hidden")), ModuleState::kUnverified, program,
                 fixed.at("hidden"));
  // By build-id.
  const auto pie = addresses_of(fixture("pie"));
  const std::string other = copy("pie.linked", "other");
  copy("library.so.debug", "pie.debug");
  expect_unknown(resolve(other, build_id_of(other), pie.at("hidden")), ModuleState::kRead, other,
                 pie.at("hidden"));
}

TEST_F(Symbols, DebugFileByBuildIdAlsoWhenTheProgramIsGone) {
  const auto addresses = addresses_of(fixture("pie"));
  const std::string program = copy("pie.stripped", "program");
  const BuildId id = build_id_of(program);
  const std::string debug = directory_ + build_id_path(id);
  fs::create_directories(fs::path(debug).parent_path());
  fs::copy_file(fixture("pie.debug"), debug);
  {
    Symbolizer symbolizer(here());
    expect_all(symbolizer, program, id, addresses);
  }
  fs::remove(program);
  Symbolizer symbolizer(here());
  expect_all(symbolizer, program, id, addresses);
}

TEST_F(Symbols, SplitDwarfHasLinesAndLinkersNames) {
  const std::string program = fixture("split-dwarf");
  const auto addresses = addresses_of(program);
  const auto frames = resolve(program, build_id_of(program), addresses.at("hidden"));
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_THAT(frames[0].function, StartsWith("fixture::(anonymous namespace)::hidden"));
  EXPECT_EQ(frames[0].line, line_of("hidden"));
  EXPECT_EQ(frames[0].file, SYMBOLS_SOURCE);
}

TEST_F(Symbols, ReturnAddressBelongsToTheCall) {
  const std::string program = fixture("pie");
  const std::uint64_t next = addresses_of(program).at("next");
  Symbolizer symbolizer(here());
  EXPECT_EQ(symbolizer.resolve({program, {}, next, true}).back().function, "ends_in_call");
  EXPECT_EQ(symbolizer.resolve({program, {}, next, false}).back().function, "next_function");
  EXPECT_EQ(symbolizer.resolve({program, {}, next, true}).back().offset, next);
}

TEST_F(Symbols, ReplacedFileIsNotUsed) {
  const auto addresses = addresses_of(fixture("pie"));
  const std::string program = copy("pie", "program");
  const BuildId id = build_id_of(program);
  Symbolizer symbolizer(here());
  EXPECT_EQ(symbolizer.resolve({program, id, addresses.at("hidden"), true}).at(0).line,
            line_of("hidden"));
  fs::remove(program);
  copy("no-debug", "program");
  // A fresh look says so. What was found out before still holds.
  expect_unknown(resolve(program, id, addresses.at("hidden")), ModuleState::kReplaced, program,
                 addresses.at("hidden"));
  EXPECT_EQ(symbolizer.resolve({program, id, addresses.at("hidden"), true}).at(0).line,
            line_of("hidden"));
  // A file without any id is another one, too.
  copy("fixed", "program");
  expect_unknown(resolve(program, id, addresses.at("hidden")), ModuleState::kReplaced, program,
                 addresses.at("hidden"));
}

TEST_F(Symbols, ReplacedFileWithoutBuildIdIsReadAgain) {
  const std::string program = copy("fixed", "program");
  const std::uint64_t address = addresses_of(fixture("fixed")).at("hidden");
  Symbolizer symbolizer(here());
  EXPECT_EQ(symbolizer.resolve({program, {}, address, true}).at(0).line, line_of("hidden"));
  fs::remove(program);
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  expect_unknown(symbolizer.resolve({program, {}, address, true}), ModuleState::kMissing, program,
                 address);
  copy("fixed", "program");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  EXPECT_EQ(symbolizer.resolve({program, {}, address, true}).at(0).line, line_of("hidden"));
}

TEST_F(Symbols, DeletedFileThatCameBackIsFoundByItsBuildId) {
  const std::string program = copy("pie", "program");
  const std::uint64_t address = addresses_of(program).at("hidden");
  const auto frames = resolve(program + " (deleted)", build_id_of(program), address);
  EXPECT_EQ(frames.at(0).line, line_of("hidden"));
  EXPECT_EQ(frames.at(0).module, program + " (deleted)");
  // Without an id it may be any file.
  expect_unknown(resolve(program + " (deleted)", {}, address), ModuleState::kMissing,
                 program + " (deleted)", address);
}

TEST_F(Symbols, WhatIsNoFile) {
  for (const char* module : {"", "[vdso]", "[heap]", "linux-vdso.so.1", "relative/program"}) {
    expect_unknown(resolve(module, {}, 0x1234), ModuleState::kNoFile, module, 0x1234);
  }
  expect_unknown(resolve(scratch("nowhere"), {}, 0x1234), ModuleState::kMissing, scratch("nowhere"),
                 0x1234);
  const std::string with_nul = fixture("pie") + std::string("\0x", 2);
  expect_unknown(resolve(with_nul, {}, 0), ModuleState::kMissing, with_nul, 0);
  const std::string long_path = "/" + std::string(100'000, 'x');
  expect_unknown(resolve(long_path, {}, 0), ModuleState::kMissing, long_path, 0);
  const std::string huge_id = fixture("pie");
  expect_unknown(resolve(huge_id, BuildId(1 << 20, 7), 1), ModuleState::kReplaced, huge_id, 1);
}

TEST_F(Symbols, WhatIsNoElfFile) {
  write_file(scratch("script"), "#!/bin/sh\nexit 0\n");
  expect_unknown(resolve(scratch("script"), {}, 2), ModuleState::kNotElf, scratch("script"), 2);
  write_file(scratch("empty"), "");
  expect_unknown(resolve(scratch("empty"), {}, 2), ModuleState::kNotElf, scratch("empty"), 2);
  expect_unknown(resolve(directory_, {}, 2), ModuleState::kUnreadable, directory_, 2);
  expect_unknown(resolve("/dev/zero", {}, 2), ModuleState::kUnreadable, "/dev/zero", 2);
  ASSERT_EQ(::mkfifo(scratch("fifo").c_str(), 0600), 0);  // opening it would wait for ever
  expect_unknown(resolve(scratch("fifo"), {}, 2), ModuleState::kUnreadable, scratch("fifo"), 2);
}

TEST_F(Symbols, FileTruncatedAfterItWasReadStillAnswers) {
  const auto addresses = addresses_of(fixture("pie"));
  const std::string program = copy("pie", "program");
  const BuildId id = build_id_of(program);
  Symbolizer symbolizer(here());
  EXPECT_EQ(symbolizer.resolve({program, id, addresses.at("plain"), true}).at(0).line,
            line_of("plain"));
  ASSERT_EQ(::truncate(program.c_str(), 0), 0);  // a mapping of it would raise SIGBUS now
  expect_all(symbolizer, program, id, addresses);
}

TEST_F(Symbols, DamagedFilesNeverCrash) {
  const auto addresses = addresses_of(fixture("pie"));
  const std::string good = read_file(fixture("pie"));
  std::uint64_t random = 0x9e3779b97f4a7c15U;
  const auto next = [&random] {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return random;
  };
  int answered = 0;
  const std::string program = scratch("program");
  for (int round = 0; round < 300; ++round) {
    std::string bad = good;
    // Everywhere, or only from the DWARF on (behind the first half), or cut short.
    const std::size_t from = round % 2 == 0 ? 0 : bad.size() / 2;
    for (int i = 0; i < 1 + round % 40; ++i) {
      bad[from + next() % (bad.size() - from)] = static_cast<char>(next());
    }
    if (round % 5 == 4) bad.resize(next() % bad.size());
    write_file(program, bad);
    Symbolizer symbolizer(here());
    for (const auto& [place, address] : addresses) {
      const auto frames = symbolizer.resolve({program, {}, address, true});
      ASSERT_FALSE(frames.empty());
      answered += frames[0].line != 0 ? 1 : 0;
    }
  }
  EXPECT_GT(answered, 300) << "the damage was such that nothing was read";
  EXPECT_LT(answered, 1500);
}

TEST_F(Symbols, SectionsLargerThanTheLimitsAreNotRead) {
  const auto addresses = addresses_of(fixture("pie"));
  Options options = here();
  options.limits.debug_bytes = 1000;
  {
    Symbolizer symbolizer(options);
    const auto frames = symbolizer.resolve({fixture("pie"), {}, addresses.at("inlined"), true});
    ASSERT_EQ(frames.size(), 1U);
    EXPECT_EQ(frames[0].function, "fixture::outer(int)");
    EXPECT_EQ(frames[0].line, 0);
    EXPECT_EQ(frames[0].state, ModuleState::kDebugTooLarge);
  }
  options.limits.symbol_bytes = 100;
  Symbolizer symbolizer(options);
  expect_unknown(symbolizer.resolve({fixture("pie"), {}, addresses.at("inlined"), true}),
                 ModuleState::kDebugTooLarge, fixture("pie"), addresses.at("inlined"));
}

TEST_F(Symbols, MemoryIsBounded) {
  const auto addresses = addresses_of(fixture("pie"));
  Options options = here();
  options.limits.answers = 3;
  options.limits.modules = 4;
  options.limits.loaded_bytes = 1;
  Symbolizer symbolizer(options);
  const std::size_t descriptors = open_descriptors();
  for (int round = 0; round < 2; ++round) {
    for (const char* name : {"pie", "library.so", "fixed", "no-debug", "dwarf4-compressed"}) {
      for (const auto& [place, address] : addresses)
        symbolizer.resolve({fixture(name), {}, address, true});
    }
    // What was forgotten is found out again.
    expect_all(symbolizer, fixture("pie"), build_id_of(fixture("pie")), addresses);
    const Usage usage = symbolizer.usage();
    EXPECT_EQ(usage.answers, 3U);
    EXPECT_EQ(usage.modules, 4U);
    EXPECT_EQ(usage.loaded, 1U);
    EXPECT_GT(usage.loaded_bytes, 1U);
  }
  EXPECT_EQ(open_descriptors(), descriptors);
  symbolizer.release_modules();
  EXPECT_EQ(symbolizer.usage().loaded, 0U);
  EXPECT_EQ(symbolizer.usage().loaded_bytes, 0U);
  EXPECT_EQ(symbolizer.usage().answers, 3U);
  expect_all(symbolizer, fixture("pie"), build_id_of(fixture("pie")), addresses);
}

TEST_F(Symbols, ThreadsShareOne) {
  const auto addresses = addresses_of(fixture("pie"));
  const BuildId id = build_id_of(fixture("pie"));
  Options options = here();
  options.limits.answers = 2;
  Symbolizer symbolizer(options);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        expect_all(symbolizer, fixture("pie"), id, addresses);
        if (round % 7 == 6) symbolizer.release_modules();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(Symbols, NothingIsAskedOfTheNetwork) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::string url = "http://127.0.0.1:" + std::to_string(::ntohs(address.sin_port));
  ::setenv("DEBUGINFOD_URLS", url.c_str(), 1);
  ::setenv("DEBUGINFOD_CACHE_PATH", scratch("cache").c_str(), 1);
  ::setenv("DEBUGINFOD_TIMEOUT", "1", 1);
  const std::string program = copy("pie.linked", "program");
  resolve(program, build_id_of(program), addresses_of(fixture("pie")).at("hidden"));
  ::unsetenv("DEBUGINFOD_URLS");
  pollfd asked{listener, POLLIN, 0};
  EXPECT_EQ(::poll(&asked, 1, 0), 0) << "somebody connected";
  EXPECT_FALSE(fs::exists(scratch("cache")));
  ::close(listener);
}

TEST(SymbolNames, CloneSuffixes) {
  EXPECT_EQ(readable_name("_ZN1a1fEi.cold"), "a::f(int)");
  EXPECT_EQ(readable_name("work.part.0.isra.12"), "work");
  EXPECT_EQ(readable_name("work.constprop.0.cold"), "work");
  EXPECT_EQ(readable_name("openat64@@GLIBC_2.4"), "openat64");
  // Names that have dots of their own.
  EXPECT_EQ(readable_name("main.main"), "main.main");
  EXPECT_EQ(readable_name("net/http.(*conn).serve"), "net/http.(*conn).serve");
  EXPECT_EQ(readable_name("work.7"), "work.7");
  EXPECT_EQ(readable_name(".cold"), ".cold");
  EXPECT_EQ(readable_name(""), "");
}

TEST(SymbolNames, WhatCannotBeDemangledStays) {
  EXPECT_EQ(readable_name("_Z"), "_Z");
  EXPECT_EQ(readable_name("_ZZZZ"), "_ZZZZ");
  EXPECT_EQ(readable_name("_Z" + std::string(100'000, 'P')).size(), 4096U);
}

/// Uses half a MiB of stack.
[[gnu::noinline]] int deep() {
  volatile char much[512 << 10];
  much[0] = 1;
  much[sizeof much - 1] = 2;
  return much[0] + much[sizeof much - 1];
}

TEST(OwnStack, IsLargeWhereTheCallersIsSmall) {
  OwnStack stack;
  int sum = 0;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, 100 << 10), 0);
  struct Task {
    OwnStack& stack;
    int& sum;
  } task{stack, sum};
  pthread_t thread{};
  ASSERT_EQ(pthread_create(
                &thread, &attributes,
                [](void* what) -> void* {
                  auto& its = *static_cast<Task*>(what);
                  its.stack.call([&] { its.sum = deep(); });
                  return nullptr;
                },
                &task),
            0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  EXPECT_EQ(sum, 3);
}

TEST(OwnStack, GivesBackWhatWasThrown) {
  OwnStack stack;
  EXPECT_THROW(stack.call([] { throw std::runtime_error("x"); }), std::runtime_error);
  int calls = 0;
  for (int i = 0; i < 3; ++i) stack.call([&] { ++calls; });
  EXPECT_EQ(calls, 3);
}

}  // namespace
}  // namespace loopscope::symbols
