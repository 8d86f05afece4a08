// SPDX-License-Identifier: Apache-2.0
#include <loopscope/inspector.h>
#include <loopscope/loop.h>
#include <unistd.h>

#include <iostream>

using namespace std::chrono_literals;

int main() {
  loopscope::Loop loop("hello");
  loopscope::Inspector inspector;
  std::cout << "Open " << inspector.url() << " and type something here." << std::endl;

  loopscope::Timer heartbeat(loop, "heartbeat", 0s, 100ms, [] {});
  loopscope::Io input(loop, "input", STDIN_FILENO, loopscope::kRead, [&](int) {
    char text[4096];
    const ssize_t size = read(STDIN_FILENO, text, sizeof text);
    if (size <= 0) return input.stop();  // the end of a file is always ready: the loop would spin
    std::cout << "You typed: " << std::string_view(text, size) << std::flush;
  });
  loop.run();
}
