// SPDX-License-Identifier: Apache-2.0
//
// Which frame of a stack a reader should look at. The stacks are such as are met: those of libc's
// callers, of C++ streams, of interpreters.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "instrumentation/findings/blame.h"

namespace loopscope::findings {
namespace {

using recording::StackFrame;

constexpr const char* kServer = "/home/u/build/server";
constexpr const char* kLibc = "/usr/lib/x86_64-linux-gnu/libc.so.6";
constexpr const char* kCxx = "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30";
constexpr const char* kFstream = "/usr/include/c++/12/fstream";

StackFrame native(const char* function, const char* module, const char* file = "", int line = 0) {
  StackFrame frame;
  frame.function = function;
  frame.module = module;
  frame.file = file;
  frame.line = line;
  frame.offset = 0x1234;
  return frame;
}

StackFrame script(const char* function, const char* file, int line = 3) {
  StackFrame frame;
  frame.function = function;
  frame.file = file;
  frame.line = line;
  frame.script = true;
  return frame;
}

/// The frame that is blamed, by its function, and whether it is the program's own.
std::string blamed(const std::vector<StackFrame>& stack, const char* executable = kServer) {
  const Blame found = blame(stack, executable);
  if (!found.frame) return "nothing";
  return (found.owner == Owner::kProgram ? "own " : "system ") + stack.at(*found.frame).function;
}

TEST(Blame, NoStackHasNoFrame) {
  EXPECT_EQ(blamed({}), "nothing");
  EXPECT_EQ(blame({}, kServer).owner, Owner::kSystem);
}

TEST(Blame, InnermostFrameOfTheProgram) {
  EXPECT_EQ(blamed({native("connect_to", kServer), native("main", kServer),
                    native("__libc_start_call_main", kLibc), native("_start", kServer)}),
            "own connect_to");
}

TEST(Blame, SystemLibrariesArePassedOver) {
  EXPECT_EQ(blamed({native("curl_connect", "/usr/lib/x86_64-linux-gnu/libcurl.so.4"),
                    native("fetch", kServer), native("main", kServer)}),
            "own fetch");
}

TEST(Blame, LibraryOfTheProgramIsItsOwnWhereverItLies) {
  for (const char* library : {"/home/u/build/libclient.so.1", "/opt/vendor/lib/libclient.so",
                              "/usr/local/lib/libclient.so", "/tmp/libclient.so (deleted)"}) {
    EXPECT_EQ(blamed({native("open_it", library), native("main", kServer)}), "own open_it")
        << library;
  }
}

TEST(Blame, BaseLibrariesAreNobodysOwnWhereverTheyLie) {
  for (const char* library :
       {"/opt/conda/lib/libstdc++.so.6", "/home/u/gcc/lib64/libasan.so.8",
        "/nix/store/x-glibc/lib/libc.so.6", "/home/u/libloopscope-probe.so"}) {
    EXPECT_EQ(blamed({native("inner", library), native("caller", kServer)}), "own caller")
        << library;
  }
}

TEST(Blame, HeadersOfTheSystemAreNotTheProgramsCode) {
  EXPECT_EQ(blamed({native("std::__basic_file<char>::open", kCxx),
                    native("std::basic_ifstream<char>::basic_ifstream", kServer, kFstream, 546),
                    native("read_config()", kServer, "/home/u/src/config.cpp", 12)}),
            "own read_config()");
  // Without debug information only the name tells.
  EXPECT_EQ(blamed({native("std::basic_filebuf<char>::open(char const*)", kServer),
                    native("read_config()", kServer)}),
            "own read_config()");
  EXPECT_EQ(blamed({native("__fopen", kServer, "/build/gcc-12/src/libstdc++-v3/basic_file.cc", 9),
                    native("read_config()", kServer)}),
            "own read_config()");
}

TEST(Blame, HeadersOfTheProgramAreItsCode) {
  EXPECT_EQ(blamed({native("Fd::open", kServer, "/home/u/src/include/fd.h", 9),
                    native("main", kServer, "/home/u/src/main.cpp", 3)}),
            "own Fd::open");
  // A package of the system that was built where it lies.
  EXPECT_EQ(blamed({native("serve", "/usr/sbin/nginx", "/usr/lib/nginx/build/main.c", 9)},
                   "/usr/sbin/nginx"),
            "own serve");
}

TEST(Blame, InlinedFramesCountByTheirFile) {
  StackFrame ours = native("Client::connect", kServer, "/home/u/src/client.cpp", 42);
  ours.inlined = true;
  StackFrame theirs =
      native("std::make_unique<Client>", kServer, "/usr/include/c++/12/bits/unique_ptr.h", 1065);
  theirs.inlined = true;
  const StackFrame main = native("main", kServer, "/home/u/src/main.cpp", 7);
  EXPECT_EQ(blamed({theirs, ours, main}), "own Client::connect");
  EXPECT_EQ(blamed({theirs, main}), "own main");
}

TEST(Blame, StartCodeIsNeverBlamed) {
  EXPECT_EQ(blamed({native("init_logging", "/usr/lib/liblog.so.1"),
                    native("__libc_start_main_impl", kLibc), native("_start", kServer)}),
            "system init_logging");
}

TEST(Blame, ThreadOfASystemLibraryIsTheSystems) {
  EXPECT_EQ(blamed({native("timer_thread", "/usr/lib/x86_64-linux-gnu/libglib-2.0.so.0"),
                    native("start_thread", kLibc)}),
            "system timer_thread");
}

TEST(Blame, OfTheSystemTheFirstBeyondLibc) {
  EXPECT_EQ(blamed({native("__open", kLibc), native("std::__basic_file<char>::open", kCxx),
                    native("uv_loop_init", "/usr/lib/x86_64-linux-gnu/libuv.so.1")}),
            "system uv_loop_init");
  EXPECT_EQ(blamed({native("__open", kLibc), native("start_thread", kLibc)}), "system __open");
}

TEST(Blame, ProgramOfTheSystemIsTheProgram) {
  EXPECT_EQ(blamed({native("ngx_open_listening_sockets", "/usr/sbin/nginx"),
                    native("main", "/usr/sbin/nginx")},
                   "/usr/sbin/nginx"),
            "own ngx_open_listening_sockets");
  // While it was replaced by an upgrade.
  EXPECT_EQ(blamed({native("main", "/usr/sbin/nginx (deleted)")}, "/usr/sbin/nginx"), "own main");
}

TEST(Blame, InterpretersFramesAreTheRuntimes) {
  EXPECT_EQ(blamed({native("make_timer", "/usr/bin/ruby3.1")}, "/usr/bin/ruby3.1"),
            "system make_timer");
  EXPECT_EQ(blamed({native("uv__async_start", "/usr/bin/node")}, "/usr/bin/node"),
            "system uv__async_start");
  EXPECT_EQ(blamed({native("do_redirection", "/usr/bin/bash")}, "/usr/bin/bash"),
            "system do_redirection");
  EXPECT_EQ(blamed({native("os_open", "/usr/local/bin/python3.11")}, "/usr/local/bin/python3.11"),
            "system os_open");
  const char* managed = "/home/u/.pyenv/versions/3.12.1/bin/python3.12";
  EXPECT_EQ(blamed({native("os_open", managed)}, managed), "system os_open");
}

TEST(Blame, ProgramWithARuntimesNameIsAProgram) {
  EXPECT_EQ(
      blamed({native("listen_on", "/home/u/build/node"), native("main", "/home/u/build/node")},
             "/home/u/build/node"),
      "own listen_on");
  EXPECT_EQ(blamed({native("f", "/usr/bin/nodejs-monitor")}, "/usr/bin/nodejs-monitor"), "own f");
  EXPECT_EQ(blamed({native("f", "/usr/bin/shred")}, "/usr/bin/shred"), "own f");
}

TEST(Blame, SelfBuiltInterpreterIsKnownByTheScriptThatItRuns) {
  EXPECT_EQ(blamed({script("connect", "/home/u/cpython/Lib/../lib/python3.13/socket.py"),
                    native("sock_new", "/home/u/cpython/python")},
                   "/home/u/cpython/python"),
            "system connect");
}

TEST(Blame, LinesOfTheProgramsScriptsComeFirst) {
  EXPECT_EQ(
      blamed({script("create_connection", "/usr/lib/python3.11/socket.py", 845),
              script("fetch", "/home/u/leak.py", 12), script("<module>", "/home/u/leak.py", 20),
              native("sock_initobj", "/usr/bin/python3.11")},
             "/usr/bin/python3.11"),
      "own fetch");
  // Even before native code of the program, which is nearer: the reader can change the line.
  EXPECT_EQ(blamed({native("ext_open", "/home/u/ext.so"), script("fetch", "/home/u/leak.py", 12)},
                   "/usr/bin/python3.11"),
            "own fetch");
}

TEST(Blame, StandardLibrariesAreTheSystems) {
  for (const char* file :
       {"/usr/lib/python3.11/socket.py", "/usr/lib/python3/dist-packages/tornado/ioloop.py",
        "/usr/local/lib/python3.12/asyncio/base_events.py", "<frozen importlib._bootstrap>",
        "/home/u/.pyenv/versions/3.12.1/lib/python3.12/socket.py", "/usr/lib/ruby/3.1.0/socket.rb",
        "/usr/lib/ruby/vendor_ruby/eventmachine.rb", "<internal:io>",
        "/home/u/.rbenv/versions/3.2.2/lib/ruby/3.2.0/socket.rb", "node:net",
        "node:internal/bootstrap/node", "/usr/share/nodejs/ws/lib/websocket.js"}) {
    EXPECT_EQ(blamed({script("inner", file), native("native", "/usr/bin/python3.11")},
                     "/usr/bin/python3.11"),
              "system inner")
        << file;
    EXPECT_EQ(blamed({script("inner", file), script("outer", "/home/u/app/main.py")},
                     "/usr/bin/python3.11"),
              "own outer")
        << file;
  }
}

TEST(Blame, ScriptsWithoutAFileAreWhoeverStartedThems) {
  for (const char* file : {"-e", "<string>", "(eval)", "[eval]", "file:///home/u/app.mjs",
                           "/home/u/lib/pythonic/socket.py", "/home/u/lib/python3-tools/x.py"}) {
    EXPECT_EQ(blamed({script("f", file)}, "/usr/bin/node"), "own f") << file;
  }
}

TEST(Blame, PackagesComeAfterTheProgramsOwnScripts) {
  const StackFrame package =
      script("connect", "/home/u/venv/lib/python3.11/site-packages/redis/connection.py", 600);
  const StackFrame native_part = native("builtin", "/usr/bin/python3.11");
  EXPECT_EQ(blamed({package, script("warm_up", "/home/u/app/cache.py"), native_part},
                   "/usr/bin/python3.11"),
            "own warm_up");
  EXPECT_EQ(blamed({package, native_part}, "/usr/bin/python3.11"), "own connect");
  EXPECT_EQ(blamed({script("connect", "/home/u/app/node_modules/pg/lib/client.js"), native_part},
                   "/usr/bin/node"),
            "own connect");
  EXPECT_EQ(blamed({script("connect", "/var/lib/gems/3.1.0/gems/puma-6/lib/puma.rb"), native_part},
                   "/usr/bin/ruby3.1"),
            "own connect");
}

TEST(Blame, ExtensionOfTheProgramIsItsOwnAndOneOfTheSystemIsNot) {
  EXPECT_EQ(blamed({native("ext_open", "/home/u/app/ext.cpython-311-x86_64-linux-gnu.so"),
                    native("call", "/usr/bin/python3.11")},
                   "/usr/bin/python3.11"),
            "own ext_open");
  EXPECT_EQ(blamed({native("sock_new", "/usr/lib/python3.11/lib-dynload/_socket.so"),
                    native("call", "/usr/bin/python3.11")},
                   "/usr/bin/python3.11"),
            "system sock_new");
}

TEST(Blame, CodeOfNoFileIsNotTheProgramsOwn) {
  EXPECT_EQ(blamed({native("", ""), native("", "")}), "system ");
  EXPECT_EQ(blame({native("", ""), native("", "")}, "").frame, 0U);
}

TEST(Blame, SystemFiles) {
  for (const char* path :
       {"/usr/bin/git", "/usr/lib/git-core/git", "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib64/ld-linux-x86-64.so.2", "/bin/sh", "/sbin/init"}) {
    EXPECT_TRUE(is_system_file(path)) << path;
  }
  for (const char* path :
       {"", "/usr", "/home/usr/lib/x", "/usr/local/lib/libx.so", "/usr/src/a/b.c",
        "/opt/x/lib/y.so", "lib/x.so", "/library/x", "/binary", "/tmp/bin/sh"}) {
    EXPECT_FALSE(is_system_file(path)) << path;
  }
}

TEST(BareFunction, HasNoParametersAndNoSuffixesOfCopies) {
  EXPECT_EQ(bare_function("Client::connect(std::string const&, int)"), "Client::connect");
  EXPECT_EQ(bare_function("Client::connect(int) const"), "Client::connect");
  EXPECT_EQ(bare_function("Box<long>::put(long)"), "Box<long>::put");
  EXPECT_EQ(bare_function("call(void (*)(int), int)"), "call");
  EXPECT_EQ(bare_function("std::function<void (int)>::operator()(int) const"),
            "std::function<void (int)>::operator()");
  EXPECT_EQ(bare_function("open_it.part.0"), "open_it");
  EXPECT_EQ(bare_function("open_it(int) [clone .constprop.0]"), "open_it");
  EXPECT_EQ(bare_function("open_it.cold"), "open_it");
}

TEST(BareFunction, KeepsWhatIsTheName) {
  for (const char* name : {"", "main", "ns::(anonymous namespace)::f", "(anonymous namespace)",
                           "operator()", "Call::operator()", "f(int)::{lambda()#1}", "<module>",
                           "block in connect", ".cold", "Widget.close", ")", "(", "f)"}) {
    EXPECT_EQ(bare_function(name), name);
  }
}

TEST(PlaceName, SaysFunctionAndLine) {
  EXPECT_EQ(place_name(native("Client::connect(int)", kServer, "/home/u/src/client.cpp", 42)),
            "Client::connect (client.cpp:42)");
  EXPECT_EQ(place_name(native("", kServer, "/home/u/src/client.cpp", 42)), "client.cpp:42");
  EXPECT_EQ(place_name(native("connect", kServer, "client.cpp")), "connect (client.cpp)");
}

TEST(PlaceName, SaysModuleAndOffsetWithoutALine) {
  EXPECT_EQ(place_name(native("connect", "/opt/lib/libfoo.so")), "connect in libfoo.so+0x1234");
  EXPECT_EQ(place_name(native("", "/opt/lib/libfoo.so")), "libfoo.so+0x1234");
  EXPECT_EQ(place_name(native("", "")), "address 0x1234");
}

TEST(PlaceName, SaysLineOfScript) {
  EXPECT_EQ(place_name(script("main", "/home/u/leak.py")), "line 3 of leak.py (main)");
  EXPECT_EQ(place_name(script("<module>", "/home/u/leak.py")), "line 3 of leak.py");
  EXPECT_EQ(place_name(script("", "-e", 1)), "line 1 of -e");
}

}  // namespace
}  // namespace loopscope::findings
