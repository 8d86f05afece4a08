// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/probe/script_frames.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "instrumentation/probe/births.h"
#include "instrumentation/probe/hooks.h"
#include "instrumentation/probe/probe.h"

// Which interpreter is here is asked of ld.so by weak references: a dlsym(3) that finds nothing
// allocates its error message, and the probe may be starting within malloc's own start (jemalloc
// opens files there, and holds its lock).
// NOLINTBEGIN(readability-identifier-naming,bugprone-reserved-identifier): the interpreters' names
extern "C" {
[[gnu::weak]] extern char PyGILState_GetThisThreadState;
[[gnu::weak]] extern char _Py_PrintReferences;
[[gnu::weak]] extern char ruby_api_version;
}
// NOLINTEND(readability-identifier-naming,bugprone-reserved-identifier)

namespace loopscope::probe {
namespace {

using recording::kSiteScriptFrames;
using recording::ScriptLine;
using recording::ScriptStack;

using Word = std::uintptr_t;

struct Text {
  const char* at = nullptr;
  std::size_t size = 0;
};

template <typename T>
T read_at(Word base, std::size_t offset) noexcept {
  T value;
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  memcpy(&value, reinterpret_cast<const void*>(base + offset), sizeof value);
  return value;
}

/// Whether it can be an object on a heap at all.
bool plausible(Word address) noexcept {
  return address % 8 == 0 && address - 4096 < (Word{1} << 47) - 4096;
}

template <typename Function>
void find(Function*& function, const char* name) noexcept {
  function = reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

bool begins_with(const Text& text, const char* with) noexcept {
  const std::size_t size = strlen(with);
  return text.size >= size && memcmp(text.at, with, size) == 0;
}

/// Whether the file belongs to the interpreter, its standard library or an installed package, or is
/// none: "<frozen site>", "(eval)".
bool of_library(const Text& file) noexcept {
  if (file.size == 0 || file.at[0] == '<' || file.at[0] == '(') return true;
  constexpr const char* kParts[] = {"/lib/python", "/lib/ruby/", "/gems/"};
  for (const char* part : kParts) {
    if (memmem(file.at, file.size, part, strlen(part)) != nullptr) return true;
  }
  return false;
}

//
// Which frames of a stack are kept
//

constexpr int kLookedAt = 48;   // frames, at most; deeper ones are never kept
constexpr int kAlwaysKept = 2;  // innermost ones

struct Candidate {
  Word frame;  // what the interpreter's reader needs to tell its line
  int line;    // if it is known already
  Text file;
};

/// Collects frames, innermost first.
class Choice {
 public:
  /// False once no more are needed.
  bool add(Word frame, int line, const Text& file) noexcept {
    if (count_ > 0 && file.at == candidates_[count_ - 1].file.at) {
      library_[count_] = library_[count_ - 1];
    } else {
      library_[count_] = of_library(file);
    }
    candidates_[count_] = {frame, line, file};
    if (!library_[count_]) {
      outermost_own_ = count_;
      if (count_ >= kAlwaysKept) ++own_;
    }
    ++count_;
    return count_ < kLookedAt && own_ < static_cast<int>(kSiteScriptFrames) - kAlwaysKept;
  }

  bool empty() const noexcept { return count_ == 0; }
  const Candidate& innermost() const noexcept { return candidates_[0]; }
  void only_innermost() noexcept { count_ = 1; }

  /// Calls `take` for those that are kept.
  template <typename Take>
  void kept(Take take) const noexcept {
    const int room = static_cast<int>(kSiteScriptFrames);
    int others = room - kAlwaysKept - own_;  // of libraries, beyond the innermost
    for (int i = 0; i < count_; ++i) {
      if (outermost_own_ >= 0 && i > outermost_own_) break;
      if (i >= kAlwaysKept && library_[i] && others-- <= 0) continue;
      take(candidates_[i]);
    }
  }

 private:
  Candidate candidates_[kLookedAt];
  bool library_[kLookedAt];
  int count_ = 0;
  int own_ = 0;             // beyond the innermost
  int outermost_own_ = -1;  // of the program itself; -1: there is none
};

//
// CPython. A thread's own frames do not change while it is in a system call, whoever holds the GIL.
// Where they lie was taken from the headers of each version; within one minor version that is part
// of its binary interface in all but name (debuggers and profilers rely on it), and every object on
// the way is asked for its type before it is believed.
//

struct PythonLayout {
  // From the thread's state to its innermost frame; `cframe`: with another struct between.
  std::uint16_t state_frame;
  bool cframe;
  std::uint16_t cframe_frame;
  // The frame.
  std::uint16_t previous;
  std::uint16_t code;
  std::uint16_t owner;  // 0: a frame has none
  // The code.
  std::uint16_t file;
  std::uint16_t name;
  std::uint16_t ascii_header;  // where the characters of an ASCII string begin
};

constexpr PythonLayout kPython38{24, false, 0, 24, 32, 0, 104, 112, 48};  // to 3.10
constexpr PythonLayout kPython311{56, true, 8, 48, 32, 69, 112, 128, 48};
constexpr PythonLayout kPython312{56, true, 0, 8, 0, 70, 112, 128, 40};
constexpr PythonLayout kPython313{72, false, 0, 8, 0, 70, 112, 128, 40};
constexpr std::size_t kPython311Instruction = 56;  // in the frame
constexpr std::size_t kPython311Code = 184;        // of the code, in bytes
constexpr unsigned char kPythonOwnedByC = 3;       // a frame between C and Python, of no script

struct Python {
  PythonLayout layout{};
  int version = 0;  // 308 ... 313; 0: not here
  Word code_type = 0;
  Word frame_type = 0;
  Word text_type = 0;
  void* (*thread_state)() = nullptr;
  int (*finalizing)() = nullptr;
  int (*line_of_frame)(void*) = nullptr;
  int (*line_of_code)(void*, int) = nullptr;
  std::ptrdiff_t (*text_length)(void*) = nullptr;
  std::uint32_t (*text_at)(void*, std::ptrdiff_t) = nullptr;
};
constinit Python g_python;

/// "3.11.2 (main, ..." -> 311; 0 for what is not a release.
int version_of(const char* text) noexcept {
  if (text == nullptr || text[0] != '3' || text[1] != '.') return 0;
  int minor = 0;
  const char* at = text + 2;
  for (; *at >= '0' && *at <= '9' && minor < 100; ++at) minor = minor * 10 + (*at - '0');
  if (*at++ != '.') return 0;
  while (*at >= '0' && *at <= '9') ++at;
  return *at == ' ' ? 300 + minor : 0;  // "3.13.0a1 ", "3.13.0rc1 ": the layout may be another
}

/// What 3.13 says of itself at the start of its runtime state: whether it has a GIL and where the
/// innermost frame is.
bool confirms_layout(const void* runtime, const PythonLayout& layout) noexcept {
  constexpr std::size_t kFreeThreaded = 16;
  constexpr std::size_t kCurrentFrame = 24 + 8 * (3 + 13 + 4);
  const auto at = reinterpret_cast<Word>(runtime);
  return runtime != nullptr && memcmp(runtime, "xdebugpy", 8) == 0 &&
         read_at<std::uint64_t>(at, kFreeThreaded) == 0 &&
         read_at<std::uint64_t>(at, kCurrentFrame) == layout.state_frame;
}

bool find_python() noexcept {
  if (&PyGILState_GetThisThreadState == nullptr) return false;
  Python found;
  find(found.thread_state, "PyGILState_GetThisThreadState");
  const char* (*get_version)() = nullptr;
  find(get_version, "Py_GetVersion");
  found.version = get_version != nullptr ? version_of(get_version()) : 0;
  // Only what this version has is looked up, for the same reason.
  if (found.version < 308 || found.version > 313) return false;
  find(found.finalizing, found.version < 313 ? "_Py_IsFinalizing" : "Py_IsFinalizing");
  find(found.line_of_code, "PyCode_Addr2Line");
  if (found.version < 311) find(found.line_of_frame, "PyFrame_GetLineNumber");
  if (found.version > 311) find(found.line_of_frame, "PyUnstable_InterpreterFrame_GetLine");
  find(found.text_length, "PyUnicode_GetLength");
  find(found.text_at, "PyUnicode_ReadChar");
  found.code_type = reinterpret_cast<Word>(dlsym(RTLD_DEFAULT, "PyCode_Type"));
  found.frame_type = reinterpret_cast<Word>(dlsym(RTLD_DEFAULT, "PyFrame_Type"));
  found.text_type = reinterpret_cast<Word>(dlsym(RTLD_DEFAULT, "PyUnicode_Type"));
  // Reference tracing puts two words in front of every object.
  const bool traces = &_Py_PrintReferences != nullptr;
  if (traces || found.finalizing == nullptr || found.code_type == 0 || found.frame_type == 0 ||
      found.text_type == 0 || found.text_length == nullptr || found.text_at == nullptr ||
      (found.version == 311 ? found.line_of_code == nullptr : found.line_of_frame == nullptr)) {
    return false;
  }
  switch (found.version) {
    case 308:
    case 309:
    case 310:
      found.layout = kPython38;
      break;
    case 311:
      found.layout = kPython311;
      break;
    case 312:
      found.layout = kPython312;
      break;
    case 313:
      found.layout = kPython313;
      if (!confirms_layout(dlsym(RTLD_DEFAULT, "_PyRuntime"), found.layout)) return false;
      break;
    default:
      return false;
  }
  g_python = found;
  return true;
}

bool is_a(Word object, Word type) noexcept {
  return plausible(object) && read_at<Word>(object, 8) == type;
}

/// The characters of an ASCII string; none for others.
Text ascii_text(Word object) noexcept {
  constexpr std::size_t kLength = 16, kState = 32;
  constexpr std::uint32_t kCompactAscii = 0x20 | 0x40;
  if ((read_at<std::uint32_t>(object, kState) & kCompactAscii) != kCompactAscii) return {};
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  return {reinterpret_cast<const char*>(object + g_python.layout.ascii_header),
          read_at<std::size_t>(object, kLength)};
}

/// Any string, in UTF-8. One that is too long: its end.
template <std::size_t Size>
Text utf8_text(Word object, char (&room)[Size]) noexcept {
  if (const Text ascii = ascii_text(object); ascii.at != nullptr) return ascii;
  void* text = reinterpret_cast<void*>(object);  // NOLINT(performance-no-int-to-ptr)
  const std::ptrdiff_t length = g_python.text_length(text);
  constexpr auto kMost = static_cast<std::ptrdiff_t>(Size / 4);
  std::size_t size = 0;
  for (std::ptrdiff_t i = length > kMost ? length - kMost : 0; i < length; ++i) {
    const std::uint32_t c = g_python.text_at(text, i);
    const auto tail = [&](unsigned shift) {
      room[size++] = static_cast<char>(0x80 | (c >> shift & 0x3F));
    };
    if (c < 0x80) {
      room[size++] = static_cast<char>(c);
    } else if (c < 0x800) {
      room[size++] = static_cast<char>(0xC0 | c >> 6);
      tail(0);
    } else if (c - 0xDC80 < 0x80) {
      room[size++] = static_cast<char>(c - 0xDC00);  // a byte that was no UTF-8 (surrogateescape)
    } else if (c < 0x10000) {
      room[size++] = static_cast<char>(0xE0 | c >> 12);
      tail(6);
      tail(0);
    } else {
      room[size++] = static_cast<char>(0xF0 | c >> 18);
      tail(12);
      tail(6);
      tail(0);
    }
  }
  return {room, size};
}

int python_line(Word frame) noexcept {
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  if (g_python.version != 311) return g_python.line_of_frame(reinterpret_cast<void*>(frame));
  const Word code = read_at<Word>(frame, g_python.layout.code);
  const Word at = read_at<Word>(frame, kPython311Instruction) - (code + kPython311Code);
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  return g_python.line_of_code(reinterpret_cast<void*>(code), static_cast<int>(at));
}

void python_frames(ScriptStack& stack) noexcept {
  const PythonLayout& layout = g_python.layout;
  // From its end on, the states of threads that still run are freed under their feet.
  if (g_python.finalizing() != 0) return;
  const auto state = reinterpret_cast<Word>(g_python.thread_state());
  if (state == 0) return;
  Word frame = read_at<Word>(state, layout.state_frame);
  if (layout.cframe) frame = read_at<Word>(frame, layout.cframe_frame);
  Choice choice;
  for (int steps = 0; steps < 2 * kLookedAt && plausible(frame); ++steps) {
    if (g_python.version < 311 && !is_a(frame, g_python.frame_type)) break;
    const Word code = read_at<Word>(frame, layout.code);
    const bool of_c =
        layout.owner != 0 && read_at<unsigned char>(frame, layout.owner) == kPythonOwnedByC;
    if (!of_c) {
      if (!is_a(code, g_python.code_type)) break;
      const Word file = read_at<Word>(code, layout.file);
      if (!is_a(file, g_python.text_type)) break;
      if (!choice.add(frame, 0, ascii_text(file))) break;
    }
    frame = read_at<Word>(frame, layout.previous);
  }
  if (choice.empty()) return;

  const auto name_of = [&](Word its_frame) {
    const Word code = read_at<Word>(its_frame, layout.code);
    return read_at<Word>(code, layout.name);
  };
  if (begins_with(choice.innermost().file, "<frozen importlib")) {
    // It calls what a module of C does when it is loaded by this function, and reads by others.
    const Word name = name_of(choice.innermost().frame);
    const Text text = is_a(name, g_python.text_type) ? ascii_text(name) : Text{};
    if (!begins_with(text, "_call_with_frames_removed")) choice.only_innermost();
  }
  choice.kept([&](const Candidate& one) {
    char file_room[640];
    char name_room[320];
    Text file = one.file;
    const Word code = read_at<Word>(one.frame, layout.code);
    if (file.at == nullptr) file = utf8_text(read_at<Word>(code, layout.file), file_room);
    const Word name = name_of(one.frame);
    if (!is_a(name, g_python.text_type)) return;
    const Text function = utf8_text(name, name_room);
    const int line = python_line(one.frame);
    const std::uint32_t ref =
        g_ledger.script_frame({function.at, function.size, file.at, file.size,
                               static_cast<std::uint32_t>(line > 0 ? line : 0)});
    if (ref != 0) stack.lines[stack.count++] = ref;
  });
}

//
// Ruby 3.1. Each of its threads has an execution context, also while it has given the lock of the
// VM away; other threads have none. rb_profile_frames(), which profilers call in signal handlers,
// walks the same frames, but of code in an eval() it tells the line in one file and the name of
// another: the method's around it.
//

using RubyValue = Word;

// Of an execution context, a control frame, an instruction sequence and what that points to.
constexpr std::size_t kRubyStack = 0, kRubyStackSize = 8, kRubyFrame = 16;
constexpr std::size_t kRubyCounter = 0, kRubySequence = 16, kRubyEnvironment = 32,
                      kRubyFrameSize = 64;
constexpr std::size_t kRubyBody = 16, kRubyCode = 8;
constexpr Word kRubyFrameOfC = 0x80;                   // flag of an environment
constexpr Word kRubyTypeMask = 0x1F, kRubyString = 5;  // of an object's flags
constexpr Word kRubyKindMask = 0xF01F, kRubyIsSequence = 0x701A;

struct Ruby {
  bool here = false;
  std::ptrdiff_t context = 0;  // of a thread: from its thread pointer
  unsigned (*line)(RubyValue, std::size_t) = nullptr;
  RubyValue (*path)(RubyValue) = nullptr;
  RubyValue (*real_path)(RubyValue) = nullptr;
  RubyValue (*label)(RubyValue) = nullptr;
  char* (*text)(RubyValue*) = nullptr;
};
constinit Ruby g_ruby;

#if defined(__x86_64__)
Word thread_pointer() noexcept {
  Word value;
  asm("movq %%fs:0, %0" : "=r"(value));
  return value;
}

bool find_ruby() noexcept {
  if (&ruby_api_version == nullptr) return false;
  Ruby found;
  const auto* version = static_cast<const int*>(dlsym(RTLD_DEFAULT, "ruby_api_version"));
  if (version == nullptr || version[0] != 3 || version[1] != 1) return false;
  find(found.line, "rb_iseq_line_no");
  find(found.path, "rb_iseq_path");
  find(found.real_path, "rb_iseq_realpath");
  find(found.label, "rb_iseq_label");
  find(found.text, "rb_string_value_ptr");
  // A thread-local variable: this is the calling thread's. Where the library was there when the
  // program started it lies at the same distance from the thread pointer in every thread, close
  // below it; otherwise reading it might allocate.
  void* context = dlsym(RTLD_DEFAULT, "ruby_current_ec");
  constexpr Word kStaticStorage = 64 << 10;
  const Word below = thread_pointer() - reinterpret_cast<Word>(context);
  if (context == nullptr || below > kStaticStorage || found.line == nullptr ||
      found.path == nullptr || found.real_path == nullptr || found.label == nullptr ||
      found.text == nullptr) {
    return false;
  }
  found.context = -static_cast<std::ptrdiff_t>(below);
  found.here = true;
  g_ruby = found;
  return true;
}

Word ruby_context() noexcept {
  return read_at<Word>(thread_pointer() + static_cast<Word>(g_ruby.context), 0);
}
#else
bool find_ruby() noexcept { return false; }
Word ruby_context() noexcept { return 0; }
#endif

/// Of a Ruby String; none for nil. Those that name code are never shared parts of others, so that
/// they end with a null.
Text ruby_text(RubyValue value) noexcept {
  constexpr std::size_t kLongest = 1024;
  if (!plausible(value) || (read_at<Word>(value, 0) & kRubyTypeMask) != kRubyString) return {};
  RubyValue there = value;
  const char* at = g_ruby.text(&there);
  return {at, strnlen(at, kLongest)};
}

/// 0: the frame executes nothing of a script.
int ruby_line(Word frame, Word sequence) noexcept {
  const Word counter = read_at<Word>(frame, kRubyCounter);
  const Word body = read_at<Word>(sequence, kRubyBody);
  if (counter == 0 || !plausible(body)) return 0;
  // It points behind the instruction that is being executed.
  const std::size_t position = (counter - read_at<Word>(body, kRubyCode)) / sizeof(Word);
  return static_cast<int>(g_ruby.line(sequence, position > 0 ? position - 1 : 0));
}

void ruby_frames(ScriptStack& stack) noexcept {
  const Word context = ruby_context();
  if (context == 0) return;
  const Word end = read_at<Word>(context, kRubyStack) +
                   read_at<std::size_t>(context, kRubyStackSize) * sizeof(Word);
  Word frame = read_at<Word>(context, kRubyFrame);
  Choice choice;
  for (int steps = 0; steps < 4 * kLookedAt && frame != 0 && frame < end;
       ++steps, frame += kRubyFrameSize) {
    const Word environment = read_at<Word>(frame, kRubyEnvironment);
    if (!plausible(environment)) break;
    if ((read_at<Word>(environment, 0) & kRubyFrameOfC) != 0) continue;
    const Word sequence = read_at<Word>(frame, kRubySequence);
    if (!plausible(sequence) || (read_at<Word>(sequence, 0) & kRubyKindMask) != kRubyIsSequence) {
      continue;
    }
    const int line = ruby_line(frame, sequence);
    if (line <= 0) continue;  // the outermost one, before the script
    Text file = ruby_text(g_ruby.real_path(sequence));
    if (file.at == nullptr) file = ruby_text(g_ruby.path(sequence));  // "(eval)", "<internal:dir>"
    if (file.at != nullptr && !choice.add(sequence, line, file)) break;
  }
  choice.kept([&](const Candidate& one) {
    const Text function = ruby_text(g_ruby.label(one.frame));
    const std::uint32_t ref =
        g_ledger.script_frame({function.at != nullptr ? function.at : "", function.size,
                               one.file.at, one.file.size, static_cast<std::uint32_t>(one.line)});
    if (ref != 0) stack.lines[stack.count++] = ref;
  });
}

//
// node. V8 keeps the positions of a function's code only once something asked for them, so a stack
// read from outside would name the wrong line: node-lines.cjs asks V8 itself and tells us, by a
// file name that access(2) is called with, which is answered 0 though there is no such file. The
// kernel is asked all the same, and first: it knows whether the pointer can be read.
//
//   "/\1loopscope\1?"                                  somebody listens
//   "/\1loopscope\1" FD LINES                         this descriptor was opened by these lines
//   "/\1loopscope\1+" LINES                           what this thread opens from here on
//   "/\1loopscope\1-"                                 to here
//   LINES: { "\n" LINE "\t" FUNCTION "\t" FILE }, innermost first
//

constexpr char kTold[] = "/\1loopscope\1";

std::uint64_t number(const char*& at) noexcept {
  std::uint64_t value = 0;
  for (; *at >= '0' && *at <= '9' && value < (1ull << 40); ++at) {
    value = value * 10 + static_cast<unsigned>(*at - '0');
  }
  return value;
}

/// What a thread opens now was opened by these lines.
struct Told {
  std::uint32_t generation;  // of the recording whose table they are in
  std::uint32_t count;
  std::uint32_t lines[kSiteScriptFrames];
};
__thread Told t_told __attribute__((tls_model("initial-exec")));

void parse_lines(const char* at, ScriptStack& stack) noexcept {
  while (at != nullptr && stack.count < kSiteScriptFrames) {
    ++at;
    const auto line = static_cast<std::uint32_t>(number(at));
    if (*at++ != '\t') return;
    const char* function = at;
    const char* file = strchr(at, '\t');
    if (file == nullptr) return;
    const auto function_size = static_cast<std::size_t>(file++ - function);
    at = strchr(file, '\n');
    const std::size_t file_size =
        at != nullptr ? static_cast<std::size_t>(at - file) : strlen(file);
    const std::uint32_t ref =
        g_ledger.script_frame({function, function_size, file, file_size, line});
    if (ref != 0) stack.lines[stack.count++] = ref;
  }
}

void take_lines(Thread& thread, const char* text) noexcept {
  if (text[0] == '?') g_probe.scripts = true;
  if (text[0] == '-') t_told.count = 0;
  ScriptStack stack;
  parse_lines(strchr(text, '\n'), stack);
  if (text[0] == '+') {
    t_told.generation = g_probe.generation;
    t_told.count = stack.count;
    for (std::uint32_t i = 0; i < stack.count; ++i) t_told.lines[i] = stack.lines[i];
  }
  if (text[0] < '0' || text[0] > '9') return;
  const std::uint64_t fd = number(text);
  if (fd < (1u << 30)) g_ledger.told_scripts(static_cast<int>(fd), stack, now(thread));
}

}  // namespace

bool find_interpreters() noexcept {
  const int saved = errno;
  const bool python = find_python();
  const bool ruby = find_ruby();
  errno = saved;
  return python || ruby;
}

void script_frames(ScriptStack& stack) noexcept {
  const int saved = errno;
  if (g_python.version != 0) python_frames(stack);
  if (g_ruby.here && stack.count == 0) ruby_frames(stack);
  if (t_told.count != 0 && stack.count == 0 && t_told.generation == g_probe.generation) {
    stack.count = t_told.count;
    for (std::uint32_t i = 0; i < stack.count; ++i) stack.lines[i] = t_told.lines[i];
  }
  errno = saved;
}

}  // namespace loopscope::probe

using namespace loopscope::probe;  // NOLINT(google-build-using-namespace): the definition below is
                                   // C's

LOOPSCOPE_HOOK(int, access, (const char* path, int mode)) {
  const int before = errno;
  const int returned = real().access(path, mode);
  if (returned == 0 || !g_probe.told_scripts || (errno != ENOENT && errno != ENAMETOOLONG) ||
      strncmp(path, kTold, sizeof kTold - 1) != 0) {
    return returned;
  }
  Thread& thread = t_thread;
  const int refused = errno;
  if (!recording_for(thread)) {
    errno = refused;
    return returned;
  }
  take_lines(thread, path + sizeof kTold - 1);
  errno = before;
  return 0;
}
