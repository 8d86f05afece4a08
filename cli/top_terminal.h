// SPDX-License-Identifier: Apache-2.0
//
// The terminal that `loopscope top` takes over: paints canvases, gives keys, and leaves it as it
// was, whichever way this ends. Only this includes curses.
//
// While it exists, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP and SIGWINCH are blocked and taken by
// wait(). Make it before any other thread is. Thread-safety: one thread, one at a time.
#pragma once

#include <csignal>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "cli/top_canvas.h"
#include "cli/top_dashboard.h"

struct screen;  // curses' SCREEN

namespace loopscope::cli::top {

class Terminal {
 public:
  /// Takes over standard input and output, both of them terminals. Null: this kind of terminal
  /// ($TERM) cannot be told where to write.
  static std::unique_ptr<Terminal> open();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void paint(const Canvas& canvas);
  std::size_t width() const;
  std::size_t height() const;

  struct Input {
    std::vector<KeyPress> keys;
    bool changed = false;  // its size, or it was stopped and continues: paint again
    /// A signal that wants an end; 0: none.
    int ending = 0;
    bool gone = false;  // the terminal is
  };
  /// Waits for at most `milliseconds`. Ctrl-Z stops the process in here, with the terminal as it
  /// was before; it goes on with `changed`.
  Input wait(int milliseconds);

 private:
  Terminal() = default;
  void suspend();
  void take_size();

  ::screen* curses_ = nullptr;
  int signals_ = -1;  // signalfd
  sigset_t before_{};
  bool colours_ = false;
};

}  // namespace loopscope::cli::top
