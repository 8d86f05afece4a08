// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "instrumentation/recording/command_name.h"

namespace loopscope::recording {
namespace {

std::string called(const std::string& argv0, NamesProgram names_program) {
  const TextPiece name = command_name(argv0.c_str(), names_program);
  return {name.text, name.size};
}

bool nothing(const char*, std::size_t) { return false; }

TEST(CommandNameTest, TheLastPartOfAPath) {
  for (const auto& [argv0, name] : std::vector<std::pair<std::string, std::string>>{
           {"/usr/sbin/nginx", "nginx"},
           {"./demo", "demo"},
           {"python3", "python3"},
           {"-bash", "-bash"},
           {"a:b", "a:b"},
           {"/opt/a:b/c", "c"},
           {"/opt/", "/opt/"},
           {"", ""},
       }) {
    EXPECT_EQ(called(argv0, nothing), name) << argv0;
  }
}

TEST(CommandNameTest, TheProgramOfATitle) {
  for (const auto& [argv0, name] : std::vector<std::pair<std::string, std::string>>{
           {"nginx: worker process", "nginx"},
           {"nginx: master process nginx -c /x/nginx.conf", "nginx"},
           {"nginx: master process /usr/sbin/nginx -g daemon on; master_process on;", "nginx"},
           {"postgres: checkpointer", "postgres"},
           {"postgres: 15/main: walwriter ", "postgres"},
           {"postgres: alice shop 127.0.0.1(5123) idle", "postgres"},
           {"sshd: user [priv]", "sshd"},
           {"sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", "sshd"},
           {"redis-server *:6379", "redis-server"},
           {"/usr/bin/redis-server 127.0.0.1:6379", "redis-server"},
           {"/usr/lib/postfix/sbin/master: starting", "master"},
           {"npm run build", "npm"},
           {"unicorn master -c app/config.rb: ready", "unicorn"},
           {": odd", ":"},
           {" odd", " odd"},
       }) {
    EXPECT_EQ(called(argv0, nothing), name) << argv0;
  }
}

TEST(CommandNameTest, APathMayHaveBlanksInIt) {
  const NamesProgram mine = [](const char* text, std::size_t size) {
    const std::string path(text, size);
    return path == "/usr/bin/my program" || path == "/opt/a: b/my program";
  };
  EXPECT_EQ(called("/usr/bin/my program", mine), "my program");
  EXPECT_EQ(called("/usr/bin/my program: worker 1", mine), "my program");
  EXPECT_EQ(called("/opt/a: b/my program", mine), "my program");
  EXPECT_EQ(called("/usr/bin/my other program", mine), "my");
}

TEST(CommandNameTest, APathIsTakenForOneOnlyIfItLeadsToAFile) {
  const std::filesystem::path directory =
      std::filesystem::temp_directory_path() / ("loopscope names " + std::to_string(getpid()));
  std::filesystem::create_directories(directory);
  const std::string file = directory / "my program";
  EXPECT_EQ(called(file, names_this_program), "loopscope");
  std::ofstream(file) << "x";
  EXPECT_EQ(called(file, names_this_program), "my program");
  EXPECT_EQ(called(directory.string() + "/other", names_this_program), "loopscope");
  EXPECT_EQ(called(directory, names_this_program), "loopscope") << "a directory is no program";
  std::filesystem::remove_all(directory);
}

/// Called in a copy of this program whose name has a blank in it.
TEST(CommandNameTest, DISABLED_OwnName) {
  for (const char* argv0 : {"my test", "./my test", "/moved/away/my test"}) {
    EXPECT_EQ(called(argv0, names_this_program), "my test") << argv0;
  }
  EXPECT_EQ(called("my other", names_this_program), "my");
}

TEST(CommandNameTest, TheProgramItselfIsKnownWithoutItsDirectory) {
  const std::filesystem::path directory =
      std::filesystem::temp_directory_path() / ("loopscope-names-" + std::to_string(getpid()));
  std::filesystem::create_directories(directory);
  const std::filesystem::path copy = directory / "my test";
  std::filesystem::copy_file(std::filesystem::canonical("/proc/self/exe"), copy);
  const std::string command = "'" + copy.string() +
                              "' --gtest_also_run_disabled_tests "
                              "--gtest_filter=CommandNameTest.DISABLED_OwnName >/dev/null";
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace loopscope::recording
