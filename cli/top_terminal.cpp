// SPDX-License-Identifier: Apache-2.0
#include "cli/top_terminal.h"

// Functions, not macros: theirs are called erase, clear, timeout ...
#define NCURSES_NOMACROS 1
#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <term.h>
#include <unistd.h>
// Macros of <term.h>, too.
#undef columns
#undef lines

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <system_error>

namespace loopscope::cli::top {
namespace {

constexpr int kTaken[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};
/// A lone Esc is told from the beginning of an arrow key by waiting so long.
constexpr int kEscapeMilliseconds = 25;

/// Pairs of colours, on whatever background the terminal has.
enum Pair : short { kPairGood = 1, kPairWarning, kPairBad, kPairMeter, kPairKey };

bool wants_colours() {
  const char* none = std::getenv("NO_COLOR");
  return none == nullptr || *none == '\0';
}

attr_t attributes(Style style, bool colours, short& pair) {
  pair = 0;
  const auto coloured = [&](Pair one) { pair = colours ? static_cast<short>(one) : short{0}; };
  switch (style) {
    case Style::kPlain:
      return A_NORMAL;
    case Style::kDim:
      return A_DIM;
    case Style::kBold:
      return A_BOLD;
    case Style::kGood:
      coloured(kPairGood);
      return A_NORMAL;
    case Style::kWarning:
      coloured(kPairWarning);
      return A_BOLD;
    case Style::kBad:
      coloured(kPairBad);
      return A_BOLD;
    case Style::kMeter:
      coloured(kPairMeter);
      return A_NORMAL;
    case Style::kTitle:
      return A_REVERSE;
    case Style::kActive:
      return A_REVERSE | A_BOLD;
    case Style::kKey:
      coloured(kPairKey);
      return colours ? A_NORMAL : A_REVERSE;
  }
  return A_NORMAL;
}

KeyPress key_of(int result, wint_t code) {
  const auto key = [](Key which) { return KeyPress{which, 0, 0}; };
  if (result == KEY_CODE_YES) {
    switch (code) {
      case KEY_UP:
        return key(Key::kUp);
      case KEY_DOWN:
        return key(Key::kDown);
      case KEY_LEFT:
        return key(Key::kLeft);
      case KEY_RIGHT:
        return key(Key::kRight);
      case KEY_PPAGE:
        return key(Key::kPageUp);
      case KEY_NPAGE:
        return key(Key::kPageDown);
      case KEY_HOME:
        return key(Key::kHome);
      case KEY_END:
        return key(Key::kEnd);
      case KEY_ENTER:
        return key(Key::kEnter);
      case KEY_BACKSPACE:
        return key(Key::kBackspace);
      case KEY_BTAB:
        return key(Key::kBackTab);
      default:
        if (code > KEY_F0 && code <= KEY_F(12)) {
          return {Key::kFunction, 0, static_cast<int>(code - KEY_F0)};
        }
        return {};
    }
  }
  switch (code) {
    case '\r':
    case '\n':
      return key(Key::kEnter);
    case 27:
      return key(Key::kEscape);
    case '\t':
      return key(Key::kTab);
    case '\b':
    case 127:
      return key(Key::kBackspace);
    default:
      return {Key::kCharacter, static_cast<char32_t>(code), 0};
  }
}

}  // namespace

std::unique_ptr<Terminal> Terminal::open() {
  std::unique_ptr<Terminal> terminal(new Terminal);
  sigset_t taken;
  sigemptyset(&taken);
  for (const int signal : kTaken) sigaddset(&taken, signal);
  pthread_sigmask(SIG_BLOCK, &taken, &terminal->before_);
  terminal->signals_ = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
  if (terminal->signals_ < 0) {
    const int error = errno;
    pthread_sigmask(SIG_SETMASK, &terminal->before_, nullptr);
    throw std::system_error(error, std::generic_category(), "signalfd");
  }
  // newterm() says no; initscr() would end the process.
  terminal->curses_ = newterm(nullptr, stdout, stdin);
  if (terminal->curses_ == nullptr) return nullptr;
  // "dumb", and what is like it, cannot be told where to write.
  const char* move = tigetstr("cup");
  if (move == nullptr || move == reinterpret_cast<char*>(-1)) return nullptr;
  cbreak();
  noecho();
  nonl();
  set_escdelay(kEscapeMilliseconds);
  keypad(stdscr, TRUE);
  nodelay(stdscr, TRUE);
  scrollok(stdscr, FALSE);
  leaveok(stdscr, FALSE);
  if (wants_colours() && has_colors() && start_color() == OK && use_default_colors() == OK) {
    terminal->colours_ = true;
    init_pair(kPairGood, COLOR_GREEN, -1);
    init_pair(kPairWarning, COLOR_YELLOW, -1);
    init_pair(kPairBad, COLOR_RED, -1);
    init_pair(kPairMeter, COLOR_GREEN, -1);
    init_pair(kPairKey, COLOR_BLACK, COLOR_CYAN);
  }
  curs_set(0);
  return terminal;
}

Terminal::~Terminal() {
  if (curses_ != nullptr) {
    curs_set(1);
    endwin();
    delscreen(curses_);
  }
  if (signals_ >= 0) {
    close(signals_);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
}

std::size_t Terminal::width() const {
  return static_cast<std::size_t>(std::max(1, getmaxx(stdscr)));
}
std::size_t Terminal::height() const {
  return static_cast<std::size_t>(std::max(1, getmaxy(stdscr)));
}

void Terminal::paint(const Canvas& canvas) {
  erase();
  for (std::size_t row = 0; row < canvas.lines.size(); ++row) {
    const Line& line = canvas.lines[row];
    move(static_cast<int>(row), 0);
    std::size_t taken = 0;
    const auto put = [&](const std::string& text, Style style) {
      short pair = 0;
      attr_t look = attributes(style, colours_, pair);
      if (line.selected) look = (look & ~A_DIM) | A_REVERSE;
      attr_set(look, pair, nullptr);
      addstr(text.c_str());
      taken += columns(text);
    };
    for (const Span& span : line.spans) put(span.text, span.style);
    const bool filled = line.selected || line.fill != Style::kPlain;
    if (filled && taken < canvas.width) put(std::string(canvas.width - taken, ' '), line.fill);
  }
  attr_set(A_NORMAL, 0, nullptr);
  curs_set(canvas.cursor_shown ? 1 : 0);
  move(static_cast<int>(canvas.cursor_row), static_cast<int>(canvas.cursor_column));
  refresh();
}

void Terminal::take_size() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
    resizeterm(size.ws_row, size.ws_col);
  }
}

void Terminal::suspend() {
  curs_set(1);
  endwin();
  // By the signal itself, so that the shell sees what it expects. Of a group without a parent that
  // could continue it, the kernel drops it, and we go on.
  struct sigaction was {};
  struct sigaction stop {};
  stop.sa_handler = SIG_DFL;
  sigaction(SIGTSTP, &stop, &was);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, SIGTSTP);
  raise(SIGTSTP);
  pthread_sigmask(SIG_UNBLOCK, &only, nullptr);  // stops here
  pthread_sigmask(SIG_BLOCK, &only, nullptr);
  sigaction(SIGTSTP, &was, nullptr);
  take_size();
  clearok(stdscr, TRUE);
  refresh();  // back to the modes of before endwin()
}

Terminal::Input Terminal::wait(int milliseconds) {
  Input input;
  pollfd both[] = {{STDIN_FILENO, POLLIN, 0}, {signals_, POLLIN, 0}};
  if (poll(both, std::size(both), std::max(0, milliseconds)) < 0 && errno != EINTR) {
    throw std::system_error(errno, std::generic_category(), "poll");
  }
  signalfd_siginfo signal{};
  while (read(signals_, &signal, sizeof signal) == static_cast<ssize_t>(sizeof signal)) {
    switch (static_cast<int>(signal.ssi_signo)) {
      case SIGWINCH:
        take_size();
        input.changed = true;
        break;
      case SIGTSTP:
        suspend();
        input.changed = true;
        break;
      default:
        input.ending = static_cast<int>(signal.ssi_signo);
        return input;
    }
  }
  if ((both[0].revents & POLLIN) != 0) {
    wint_t code = 0;
    for (int result = get_wch(&code); result != ERR; result = get_wch(&code)) {
      input.keys.push_back(key_of(result, code));
    }
    // Readable, and nothing to read: its end. (A key that has only begun is a byte in the pipe.)
    if (input.keys.empty()) {
      int waiting = 0;
      pollfd again = {STDIN_FILENO, POLLIN, 0};
      input.gone =
          poll(&again, 1, 0) > 0 && (ioctl(STDIN_FILENO, FIONREAD, &waiting) != 0 || waiting == 0);
    }
  } else if ((both[0].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) {
    input.gone = true;
  }
  return input;
}

}  // namespace loopscope::cli::top
