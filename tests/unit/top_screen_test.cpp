// SPDX-License-Identifier: Apache-2.0
//
// Text for cells, and the screens that are made of it, without a terminal.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <langinfo.h>

#include <clocale>
#include <sstream>
#include <string>

#include "cli/top_batch.h"
#include "cli/top_dashboard.h"
#include "cli/top_text.h"
#include "fixtures.h"

namespace loopscope::cli::top {
namespace {

using fixtures::kMillisecond;
using fixtures::kNow;
using fixtures::kSecond;
using testing::Each;
using testing::HasSubstr;
using testing::Not;

/// What a terminal must never be sent by somebody else's name.
const char kHostile[] =
    "\x1b[2J\x1b]0;title\x07 evil\nline\r\x9b\xff\xc3 \xe6\xbc\xa2\xe5\xad\x97 "
    "e\xcc\x81\xe2\x80\xae";

class TopText : public testing::Test {
 protected:
  void SetUp() override {
    before_ = std::setlocale(LC_CTYPE, nullptr);
    ASSERT_NE(std::setlocale(LC_CTYPE, "C.UTF-8"), nullptr);
  }
  void TearDown() override { std::setlocale(LC_CTYPE, before_.c_str()); }
  std::string before_;
};
using TopDashboard = TopText;

TEST_F(TopText, FitsExactly) {
  EXPECT_EQ(fit("abc", 5), "abc  ");
  EXPECT_EQ(fit("abc", 5, true), "  abc");
  EXPECT_EQ(fit("abcdef", 5), "abcd…");
  EXPECT_EQ(fit("abcdef", 1), "…");
  EXPECT_EQ(fit("abcdef", 0), "");
  EXPECT_EQ(fit("1.2µs", 5), "1.2µs");
}

TEST_F(TopText, WideCharactersTakeTwoColumns) {
  EXPECT_EQ(columns("漢字"), 4u);
  EXPECT_EQ(fit("漢字漢字", 5), "漢字…");
  EXPECT_EQ(fit("漢字漢字", 4), "漢… ");  // half a character cannot be shown
  EXPECT_EQ(columns(fit("漢字漢字", 4)), 4u);
}

TEST_F(TopText, CleansWhatCouldMoveTheCursor) {
  const std::string clean_one = clean(kHostile);
  for (const char c : clean_one) EXPECT_FALSE(c >= 0 && c < ' ') << int{c};
  EXPECT_THAT(clean_one, HasSubstr("漢字"));
  EXPECT_THAT(clean_one, Not(HasSubstr("\xcc\x81")));  // no column of its own
  EXPECT_THAT(clean_one, Not(HasSubstr("\xe2\x80\xae")));
  EXPECT_EQ(columns(fit(kHostile, 20)), 20u);
}

TEST_F(TopText, ALongNameIsCutWhateverItIsMadeOf) {
  EXPECT_EQ(columns(fit(std::string(1 << 20, 'x'), 20)), 20u);
  std::string marks = "a";
  for (int i = 0; i < 10'000; ++i) marks += "\xcc\x81";
  EXPECT_LE(fit(marks, 20).size(), 40u);
}

TEST_F(TopText, WithoutUtf8EverythingIsAscii) {
  ASSERT_NE(std::setlocale(LC_CTYPE, "C"), nullptr);
  EXPECT_EQ(clean("1 µs …漢"), "1 us ~?");
  EXPECT_EQ(fit("abcdef", 5), "abcd~");
  EXPECT_EQ(bar(0.5, 4), "##..");
  for (const char c : clean(kHostile)) EXPECT_TRUE(c >= ' ' && c < 127) << int{c};
}

TEST_F(TopText, WrapsBetweenWords) {
  EXPECT_THAT(wrap("one two three", 8, 2), testing::ElementsAre("one two", "  three"));
  EXPECT_THAT(wrap("abcdefghij", 4), testing::ElementsAre("abcd", "efgh", "ij"));
  EXPECT_THAT(wrap("", 4), testing::ElementsAre(""));
  for (std::size_t width = 1; width < 12; ++width) {
    for (const std::string& line : wrap("a 漢字漢字 bcdefg hijklmnopq", width, 3)) {
      EXPECT_LE(columns(line), std::max<std::size_t>(width, 2));
    }
  }
}

TEST_F(TopText, NumbersFitInFiveColumns) {
  for (std::uint64_t ns = 1; ns < 800'000'000'000'000'000ull; ns = ns * 21 / 20 + 1) {
    EXPECT_LE(columns(short_duration(ns)), 5u) << ns;
    EXPECT_LE(columns(short_count(static_cast<double>(ns) / 1000)), 5u) << ns;
  }
  EXPECT_EQ(short_duration(999), "999ns");
  EXPECT_EQ(short_duration(999'499), "999µs");
  EXPECT_EQ(short_duration(999'600), "1.0ms");
  EXPECT_EQ(short_duration(1'234'000'000), "1.23s");
  EXPECT_EQ(short_duration(60 * 60 * kSecond), "60min");
  EXPECT_EQ(short_duration({}), "-");
  EXPECT_EQ(short_count(0.25), "0.25");
  EXPECT_EQ(short_count(42.0), "42");
  EXPECT_EQ(short_count(12'345.0), "12.3k");
  EXPECT_EQ(short_count({}), "-");
}

TEST_F(TopText, APercentageIsFullOnlyWhenItIs) {
  EXPECT_EQ(short_percent(1.0), "100%");
  EXPECT_EQ(short_percent(0.9999), "99.9%");
  EXPECT_EQ(short_percent(0.0), "0%");
  EXPECT_EQ(short_percent(0.0004), "<0.1%");
  EXPECT_EQ(short_percent(0.123), "12.3%");
  EXPECT_EQ(short_percent({}), "-");
  EXPECT_EQ(whole_percent(0.9999), "99%");
  EXPECT_EQ(whole_percent(1.0), "100%");
  EXPECT_EQ(whole_percent(0.001), "<1%");
}

TEST_F(TopText, Bars) {
  EXPECT_EQ(bar(0, 3), "   ");
  EXPECT_EQ(bar(1, 3), "███");
  EXPECT_EQ(bar(0.5, 3), "█▌ ");
  EXPECT_EQ(bar(0.01, 2), "▏ ");  // a little is not nothing
  EXPECT_EQ(bar(7, 2), "██");
}

// --- screens

snapshot::HostSnapshot host_with(const std::string& name, std::uint64_t seconds) {
  snapshot::HostSnapshot host;
  host.taken_at_ns = kNow + seconds * kSecond;
  host.processes.push_back(fixtures::healthy_process());
  auto& process = host.processes[0];
  process.recording.command = name;
  process.recording.argv = {name, name};
  process.fds.open = 12;
  process.fds.limit = 1024;
  auto& loop = process.recording.loops[0];
  loop.name = name;
  loop.watchers = {fixtures::watcher(name, recording::WatcherKind::kIo)};
  for (std::uint64_t i = 0; i < 100 * seconds; ++i) {
    loop.busy.add(5 * kMillisecond);
    loop.poll_wait.add(5 * kMillisecond);
    loop.watchers[0].callback.add(4 * kMillisecond);
  }
  loop.iterations += 100 * seconds;
  process.descriptors.emplace();
  snapshot::Descriptor descriptor;
  descriptor.record.fd = 7;
  descriptor.record.target = name;
  process.descriptors->push_back(descriptor);
  findings::Finding finding;
  finding.rule = "loop-stall";
  finding.severity = findings::Severity::kError;
  finding.title = name + " stalled";
  finding.detail = "It took long.";
  finding.advice = "Move it away.";
  finding.subject = name;
  process.findings = {finding};
  return host;
}

std::string text_of(const Canvas& canvas) {
  std::string all;
  for (const Line& line : canvas.lines) all += line.text() + "\n";
  return all;
}

Dashboard watching(const std::string& name = "server") {
  Dashboard dashboard({{}, 1, "/run/x"});
  dashboard.update(host_with(name, 1), 100 * kSecond);
  dashboard.update(host_with(name, 2), 101 * kSecond);
  return dashboard;
}

KeyPress letter(char character) {
  return {Key::kCharacter, static_cast<char32_t>(static_cast<unsigned char>(character)), 0};
}
KeyPress key(Key which) { return {which, 0, 0}; }
KeyPress function(int number) { return {Key::kFunction, 0, number}; }

TEST_F(TopDashboard, OverviewSaysWhatTheLoopDoes) {
  Dashboard dashboard = watching();
  const std::string shown = text_of(dashboard.draw(140, 24));
  EXPECT_THAT(shown, HasSubstr("1 process"));
  EXPECT_THAT(shown, HasSubstr("server: server"));
  EXPECT_THAT(shown, HasSubstr("~ polling"));
  EXPECT_THAT(shown, HasSubstr("50.0%"));
  EXPECT_THAT(shown, HasSubstr("12/1024"));
  EXPECT_THAT(shown, HasSubstr("error: server (1234): server stalled"));
  EXPECT_THAT(shown, HasSubstr("1!"));
}

TEST_F(TopDashboard, AStallIsSaidInWords) {
  Dashboard dashboard({{}, 1, ""});
  auto host = host_with("server", 1);
  auto& loop = host.processes[0].recording.loops[0];
  loop.phase = recording::Phase::kDispatching;
  loop.phase_ns = loop.stalled_ns = 1'200 * kMillisecond;
  loop.running_watcher = 1;
  loop.running_watcher_ns = 1'100 * kMillisecond;
  dashboard.update(host, kSecond);
  std::string shown = text_of(dashboard.draw(140, 24));
  EXPECT_THAT(shown, HasSubstr("! STALLED 1.20s"));
  EXPECT_THAT(shown, HasSubstr("1 STALLED"));
  EXPECT_THAT(shown, HasSubstr("STALLED for 1.2 s, in the callback \"server\" (io) for 1.1 s"));
  EXPECT_THAT(text_of(dashboard.draw(40, 10)), HasSubstr("! STALLED"));
}

TEST_F(TopDashboard, AKilledProcessSaysBySignal) {
  Dashboard dashboard = watching();
  auto host = host_with("server", 3);
  host.processes[0].recording.life = recording::Life::kKilled;
  host.processes[0].signal = 9;
  dashboard.update(host, 102 * kSecond);
  EXPECT_THAT(text_of(dashboard.draw(140, 24)), HasSubstr("X killed SIGKILL"));
  EXPECT_THAT(text_of(dashboard.draw(80, 24)), HasSubstr("X SIGKILL"));
  dashboard.press(key(Key::kEnter));
  EXPECT_THAT(text_of(dashboard.draw(80, 24)), HasSubstr("killed by SIGKILL"));
}

TEST_F(TopDashboard, EnterTabAndBack) {
  Dashboard dashboard = watching();
  dashboard.draw(100, 30);
  EXPECT_FALSE(dashboard.wanted().descriptors);
  dashboard.press(key(Key::kEnter));
  std::string shown = text_of(dashboard.draw(100, 30));
  EXPECT_THAT(shown, HasSubstr("poll wait"));
  EXPECT_THAT(shown, HasSubstr("[Watchers 1]"));
  EXPECT_THAT(shown, HasSubstr("80.0%"));  // of 5 ms busy, 4 in the callback
  dashboard.press(key(Key::kTab));
  EXPECT_TRUE(dashboard.wanted().descriptors);
  EXPECT_TRUE(dashboard.wants_now());
  dashboard.update(host_with("server", 3), 102 * kSecond);
  EXPECT_FALSE(dashboard.wants_now());
  EXPECT_THAT(text_of(dashboard.draw(100, 30)), HasSubstr("[Descriptors 12]"));
  dashboard.press(key(Key::kTab));
  EXPECT_GT(dashboard.wanted().recent, 0u);
  EXPECT_FALSE(dashboard.wanted().descriptors);
  dashboard.update(host_with("server", 4), 103 * kSecond);
  EXPECT_THAT(text_of(dashboard.draw(100, 30)), HasSubstr("the slowest 200 of the last 500 turns"));
  dashboard.press(key(Key::kTab));
  shown = text_of(dashboard.draw(100, 30));
  EXPECT_THAT(shown, HasSubstr("error: server stalled [loop-stall]"));
  EXPECT_THAT(shown, HasSubstr("-> Move it away."));
  dashboard.press(key(Key::kEscape));
  EXPECT_THAT(text_of(dashboard.draw(100, 30)), HasSubstr("UTIL"));
  EXPECT_EQ(dashboard.wanted().recent, 0u);
}

TEST_F(TopDashboard, FilterSearchSortTree) {
  Dashboard dashboard({{}, 1, ""});
  auto host = host_with("alpha", 1);
  host.processes.push_back(host_with("beta", 1).processes[0]);
  host.processes[1].recording.pid = 77;
  dashboard.update(host, kSecond);
  dashboard.draw(100, 24);

  dashboard.press(function(4));
  for (const char c : std::string("bet")) dashboard.press(letter(c));
  EXPECT_THAT(text_of(dashboard.draw(100, 24)), HasSubstr("Filter: bet"));
  dashboard.press(key(Key::kEnter));
  std::string shown = text_of(dashboard.draw(100, 24));
  EXPECT_THAT(shown, Not(HasSubstr("alpha: alpha")));
  EXPECT_THAT(shown, HasSubstr("beta: beta"));
  EXPECT_THAT(shown, HasSubstr("filter: bet"));
  dashboard.press(key(Key::kEscape));
  EXPECT_THAT(text_of(dashboard.draw(100, 24)), HasSubstr("alpha: alpha"));

  dashboard.press(letter('N'));  // by pid, rising
  Canvas canvas = dashboard.draw(100, 24);
  EXPECT_THAT(text_of(canvas), HasSubstr("PID▲"));
  EXPECT_THAT(canvas.lines[canvas.cursor_row].text(), HasSubstr("beta"));
  dashboard.press(letter('/'));
  for (const char c : std::string("ALPH")) dashboard.press(letter(c));
  canvas = dashboard.draw(100, 24);
  dashboard.press(key(Key::kEnter));
  canvas = dashboard.draw(100, 24);
  EXPECT_THAT(canvas.lines[canvas.cursor_row].text(), HasSubstr("alpha"));
  dashboard.press(letter('N'));  // turned round: the selection goes with its row
  canvas = dashboard.draw(100, 24);
  EXPECT_THAT(canvas.lines[canvas.cursor_row].text(), HasSubstr("alpha"));

  dashboard.press(letter('t'));
  EXPECT_THAT(text_of(dashboard.draw(100, 24)), HasSubstr("alpha alpha"));  // its arguments
  dashboard.press(function(6));
  EXPECT_THAT(text_of(dashboard.draw(100, 24)), HasSubstr("Sort by"));
  dashboard.press(key(Key::kEscape));
  dashboard.press(function(1));
  EXPECT_THAT(text_of(dashboard.draw(100, 24)), HasSubstr("Keys"));
  dashboard.press(key(Key::kEscape));
  EXPECT_FALSE(dashboard.quit());
  dashboard.press(letter('q'));
  EXPECT_TRUE(dashboard.quit());
}

TEST_F(TopDashboard, PauseAndInterval) {
  Dashboard dashboard = watching();
  dashboard.press(letter(' '));
  EXPECT_TRUE(dashboard.paused());
  EXPECT_THAT(text_of(dashboard.draw(80, 24)), HasSubstr("PAUSED"));
  dashboard.press(letter(' '));
  EXPECT_FALSE(dashboard.paused());
  dashboard.press(letter('+'));
  EXPECT_DOUBLE_EQ(dashboard.interval_seconds(), 2);
  dashboard.press(letter('-'));
  dashboard.press(letter('-'));
  dashboard.press(letter('-'));
  EXPECT_DOUBLE_EQ(dashboard.interval_seconds(), 0.5);
}

TEST_F(TopDashboard, OfOneProcessItsLoopIsOpened) {
  Dashboard dashboard({1234, 1, ""});
  dashboard.update(host_with("server", 1), kSecond);
  EXPECT_THAT(text_of(dashboard.draw(100, 30)), HasSubstr("poll wait"));
  EXPECT_EQ(dashboard.wanted().pid, 1234);
  dashboard.press(key(Key::kEscape));
  dashboard.update(host_with("server", 2), 2 * kSecond);
  EXPECT_THAT(text_of(dashboard.draw(100, 30)), HasSubstr("UTIL"));  // not opened again
  snapshot::HostSnapshot none;
  dashboard.update(none, 3 * kSecond);
  EXPECT_THAT(text_of(dashboard.draw(100, 30)), HasSubstr("recording of process 1234 is gone"));
}

TEST_F(TopDashboard, NothingRecordedSaysWhatToDo) {
  Dashboard dashboard({{}, 1, "/run/x"});
  dashboard.update({}, kSecond);
  const std::string shown = text_of(dashboard.draw(80, 24));
  EXPECT_THAT(shown, HasSubstr("loopscope run -- PROGRAM"));
  EXPECT_THAT(shown, HasSubstr("/run/x"));
}

/// Whatever is shown and however small it is: no line is wider, none is more, no control character.
TEST_F(TopDashboard, NothingGoesBeyondTheScreen) {
  for (const char* locale : {"C.UTF-8", "C"}) {
    ASSERT_NE(std::setlocale(LC_CTYPE, locale), nullptr);
    for (const std::size_t width : {1, 2, 7, 20, 39, 40, 60, 79, 80, 118, 200}) {
      for (const std::size_t height : {1, 2, 3, 4, 5, 8, 10, 24, 60}) {
        Dashboard dashboard = watching(kHostile);
        std::vector<KeyPress> keys = {
            letter('t'),       function(6),  key(Key::kEscape), function(1),      key(Key::kDown),
            key(Key::kEscape), letter('\\'), letter('e'),       key(Key::kEnter), key(Key::kEnter)};
        for (int pane = 0; pane < 6; ++pane) keys.push_back(key(Key::kTab));
        keys.push_back(key(Key::kEnd));
        keys.push_back(key(Key::kPageUp));
        std::uint64_t at = 102;
        for (const KeyPress& press : keys) {
          dashboard.press(press);
          dashboard.update(host_with(kHostile, at - 99), at * kSecond);
          ++at;
          const Canvas canvas = dashboard.draw(width, height);
          EXPECT_LE(canvas.lines.size(), height);
          EXPECT_LT(canvas.cursor_row, height);
          EXPECT_LT(canvas.cursor_column, width);
          for (const Line& line : canvas.lines) {
            const std::string text = line.text();
            ASSERT_LE(columns(text), width) << text;
            for (const char c : text) ASSERT_FALSE(c >= 0 && c < ' ') << int{c};
          }
        }
      }
    }
  }
}

TEST_F(TopDashboard, EightyColumnsHoldTheMostImportant) {
  Dashboard dashboard = watching();
  const std::string shown = text_of(dashboard.draw(80, 24));
  for (const char* title :
       {"PID", "STATE", "UTIL", "10s", "100s", "TURN/S", "P99", "LAG99", "FDS", "FIND", "LOOP"}) {
    EXPECT_THAT(shown, HasSubstr(title));
  }
  EXPECT_THAT(text_of(dashboard.draw(40, 10)), HasSubstr("UTIL"));
}

TEST_F(TopDashboard, PlainTextIsOneLineARow) {
  History history;
  const auto first = host_with(kHostile, 1), second = host_with(kHostile, 2);
  history.add(first, kSecond);
  history.add(second, 2 * kSecond);
  std::ostringstream out;
  write_block(out, second, history, false);
  const std::string text = out.str();
  for (const char c : text) EXPECT_FALSE(c >= 0 && c < ' ' && c != '\n') << int{c};
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);  // totals, finding, titles, row
  EXPECT_THAT(text, HasSubstr("over the last 1 s"));
  EXPECT_THAT(text, HasSubstr("50.0%"));
}

}  // namespace
}  // namespace loopscope::cli::top
