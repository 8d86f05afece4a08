// SPDX-License-Identifier: Apache-2.0
//
// library_crowd MODE ...: many loops and badly named ones, by the library; what it has done is said
// on stdout as one line of JSON. Ends when its standard input does.
//
//   threads N TURNS   N threads, each with a loop of TURNS turns, all alive at once
//   loops N           N loops called "job", one after the other, of 3 turns each
//   many N            N loops at once
//   names FILE        a loop and watchers with the names in FILE, each ended by a NUL
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "loopscope/loop.h"

namespace {

using namespace std::chrono_literals;

/// Turns `turns` times: each wait finds the descriptor ready.
void turn(loopscope::Loop& loop, long turns) {
  const int fd = eventfd(1, EFD_CLOEXEC);
  if (fd < 0) std::exit(20);
  long done = 0;
  loopscope::Io io(loop, "ready", fd, loopscope::kRead, [&](int) {
    if (++done == turns) loop.stop();
  });
  loop.run();
  io.stop();
  close(fd);
}

void threads(int count, long turns) {
  std::barrier all_here(count);
  std::vector<std::thread> made;
  for (int i = 0; i < count; ++i) {
    made.emplace_back([&] {
      loopscope::Loop loop({.name = "worker", .recent_turns = 64});
      turn(loop, 1);
      all_here.arrive_and_wait();
      if (turns > 1) turn(loop, turns - 1);
      all_here.arrive_and_wait();
    });
  }
  for (std::thread& each : made) each.join();
}

void until_told() {
  std::puts("");
  std::fflush(stdout);
  char byte = 0;
  while (read(0, &byte, 1) > 0) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 2 ? argv[1] : "";
  const long number = argc > 2 ? std::atol(argv[2]) : 0;
  if (mode == "threads" && argc == 4) {
    threads(static_cast<int>(number), std::atol(argv[3]));
    std::printf("{\"turns\": %ld}", number * std::atol(argv[3]));
    until_told();
  } else if (mode == "loops") {
    for (long i = 0; i < number; ++i) {
      loopscope::Loop loop({.name = "job", .recent_turns = 64});
      turn(loop, 3);
    }
    std::printf("{\"turns\": %ld}", 3 * number);
    until_told();
  } else if (mode == "many") {
    std::vector<std::unique_ptr<loopscope::Loop>> loops;
    for (long i = 0; i < number; ++i) {
      loops.push_back(std::make_unique<loopscope::Loop>(
          loopscope::LoopOptions{.name = "one of many", .recent_turns = 64}));
      turn(*loops.back(), 1);
    }
    std::printf("{\"turns\": %ld}", number);
    until_told();
  } else if (mode == "names") {
    std::ifstream file(argv[2], std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(file), {}};
    std::vector<std::string> names;
    for (std::size_t at = 0; at < all.size();) {
      names.emplace_back(all.c_str() + at);
      at += names.back().size() + 1;
    }
    if (names.empty()) return 3;
    loopscope::Loop loop({.name = names[0]});
    std::vector<std::unique_ptr<loopscope::Timer>> timers;
    std::size_t ran = 0;
    for (const std::string& name : names) {
      timers.push_back(std::make_unique<loopscope::Timer>(loop, name, 0s, 0s, [&] {
        // A stall, so that a finding names it.
        if (ran == 0) usleep(150000);
        if (++ran == timers.size()) loop.stop();
      }));
    }
    loop.run();
    std::printf("{\"names\": %zu}", names.size());
    until_told();
  } else {
    return 2;
  }
  return 0;
}
