// SPDX-License-Identifier: Apache-2.0
//
// The probe's unwinder against glibc's backtrace(3), which takes its time and is right.
#include <alloca.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <gtest/gtest.h>
#include <link.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "instrumentation/probe/unwind.h"

#if defined(__x86_64__) && defined(__GLIBC__)

// Frames as only compilers, JITs and assembler authors make them. Each calls `callback(argument)`.
extern "C" {
using Callback = void (*)(void*);
void unwind_test_clobbers_rbp(Callback callback, void* argument);
void unwind_test_realigned(Callback callback, void* argument);
void unwind_test_saved_sp(Callback callback, void* argument);
extern const char unwind_test_large_frame[];
extern const char unwind_test_plt_stub[];
extern const char unwind_test_popped[];
extern const char unwind_test_by_rbp[];
}
asm(R"(
  .text
  .globl unwind_test_clobbers_rbp, unwind_test_realigned, unwind_test_saved_sp
  .globl unwind_test_large_frame, unwind_test_plt_stub, unwind_test_popped, unwind_test_by_rbp
unwind_test_clobbers_rbp:
  .cfi_startproc
  push %rbp
  .cfi_def_cfa_offset 16
  .cfi_offset %rbp, -16
  mov $0x12345678, %ebp
  mov %rdi, %rax
  mov %rsi, %rdi
  call *%rax
  pop %rbp
  .cfi_def_cfa_offset 8
  .cfi_restore %rbp
  ret
  .cfi_endproc

unwind_test_realigned:                             # gcc's for a local variable aligned to 64 bytes
  .cfi_startproc
  lea 8(%rsp), %r10
  .cfi_def_cfa %r10, 0
  and $-64, %rsp
  push -8(%r10)
  push %rbp
  mov %rsp, %rbp
  .cfi_escape 0x10, 6, 2, 0x76, 0                  # rbp is at rbp + 0
  push %r10
  .cfi_escape 0x0f, 3, 0x76, 0x78, 0x06            # CFA = [rbp - 8]
  sub $40, %rsp
  mov %rdi, %rax
  mov %rsi, %rdi
  call *%rax
  mov -8(%rbp), %r10
  .cfi_def_cfa %r10, 0
  leave
  lea -8(%r10), %rsp
  .cfi_def_cfa %rsp, 8
  ret
  .cfi_endproc

unwind_test_saved_sp:                              # OpenSSL's
  .cfi_startproc
  mov %rsp, %rax
  .cfi_def_cfa_register %rax
  sub $56, %rsp
  mov %rax, 40(%rsp)
  .cfi_escape 0x0f, 5, 0x77, 40, 0x06, 0x23, 8     # CFA = [rsp + 40] + 8
  mov %rdi, %rax
  mov %rsi, %rdi
  call *%rax
  mov 40(%rsp), %rsp
  .cfi_def_cfa %rsp, 8
  ret
  .cfi_endproc

unwind_test_large_frame:                           # never runs
  .cfi_startproc
  .cfi_def_cfa_offset 8192
  nop
  nop
  .cfi_endproc

unwind_test_popped:                                # never runs; gcc's after a leave
  .cfi_startproc
  .cfi_offset %rbp, -16
  nop
  nop
  .cfi_endproc

unwind_test_by_rbp:                                # never runs
  .cfi_startproc
  .cfi_def_cfa %rbp, 16
  .cfi_offset %rbp, -16
  nop
  nop
  .cfi_endproc

  .p2align 4
unwind_test_plt_stub:                              # never runs; what ld says of a PLT
  .cfi_startproc
  # CFA = rsp + 8 + ((rip & 15) >= 11) * 8
  .cfi_escape 0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22
  .skip 16, 0x90
  .cfi_endproc
)");

namespace loopscope::probe {
namespace {

using Word = std::uintptr_t;

constexpr int kMost = 64;
constexpr Word kPage = 4096;

inline void not_a_tail_call() { asm volatile("" ::: "memory"); }
inline void use(char* memory) { asm volatile("" ::"r"(memory) : "memory"); }

/// One stack, taken twice. The first frame is the call of capture() itself.
struct Stacks {
  int ours_size = 0;
  int reference_size = 0;
  Word ours[kMost];
  Word reference[kMost + 4];

  std::vector<Word> own() const { return {ours, ours + ours_size}; }
  std::vector<Word> expected() const { return {reference, reference + reference_size}; }
  // For signal handlers and threads.
  bool is_prefix() const {
    return ours_size <= reference_size &&
           memcmp(ours, reference, static_cast<std::size_t>(ours_size) * sizeof(Word)) == 0;
  }
  bool same() const { return ours_size == reference_size && is_prefix(); }
};

// A sanitizer's backtrace() has a frame of the sanitizer first.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// glibc's backtrace loads libgcc with its first call, which allocates: not in a signal handler.
const int reference_is_ready = [] {
  void* frames[2];
  return backtrace(frames, 2);
}();

/// backtrace() from the caller of the function that this is used in; `frames` has room for 4 more.
__attribute__((always_inline)) inline int take_reference(Word first, Word* frames, int most) {
  const int size = backtrace(reinterpret_cast<void**>(frames), most + 4);
  int skip = 1;  // the function itself
  while (kSanitized && skip < 3 && frames[skip] != first) ++skip;
  const int count = std::min(std::max(size - skip, 0), most);
  memmove(frames, frames + skip, static_cast<std::size_t>(count) * sizeof(Word));
  return count;
}

__attribute__((noinline)) void capture(Stacks& stacks, int most = kMost) {
  stacks.ours_size = unwind(caller_frame(), stacks.ours, most);
  stacks.reference_size = take_reference(stacks.ours[0], stacks.reference, most);
}

void expect_same(const Stacks& stacks, int at_least) {
  EXPECT_EQ(stacks.own(), stacks.expected());
  EXPECT_GE(stacks.ours_size, at_least);
}

using Function = void (*)(Callback, void*);

/// body(), called by `function`.
template <typename Body>
__attribute__((noinline)) void within(Function function, Body body) {
  function(
      [](void* it) {
        (*static_cast<Body*>(it))();
        not_a_tail_call();
      },
      &body);
  not_a_tail_call();
}

// Calls of functions with frames of different sizes; distinct code for each N.
template <int N>
__attribute__((noinline)) void nested(Callback callback, void* argument) {
  char frame[N * 24 + 1];
  use(frame);
  if constexpr (N == 0) {
    callback(argument);
  } else {
    nested<N - 1>(callback, argument);
  }
  use(frame);
}

template <std::size_t Size>
__attribute__((noinline)) void with_alloca(Callback callback, void* argument) {
  static volatile std::size_t size = Size;
  auto* space = static_cast<char*>(alloca(size));
  use(space);
  callback(argument);
  use(space);
}

__attribute__((noinline)) void recurse(int depth, Callback callback, void* argument) {
  if (depth == 0) {
    callback(argument);
  } else {
    recurse(depth - 1, callback, argument);
  }
  not_a_tail_call();
}

/// Memory that is gone with the object; pages without access until they are opened.
class Pages {
 public:
  explicit Pages(std::size_t count, int access = PROT_NONE)
      : size_(count * kPage),
        memory_(mmap(nullptr, size_, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
  ~Pages() { munmap(memory_, size_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  char* page(std::size_t number) const { return static_cast<char*>(memory_) + number * kPage; }
  Word address(std::size_t number) const { return reinterpret_cast<Word>(page(number)); }
  void protect(std::size_t first, std::size_t count, int access) const {
    ASSERT_EQ(mprotect(page(first), count * kPage, access), 0);
  }
  void set(Word address, Word value) const { memcpy(reinterpret_cast<void*>(address), &value, 8); }

 private:
  std::size_t size_;
  void* memory_;
};

/// body() on a stack of our making.
template <typename Body>
void on_fiber(char* stack, std::size_t size, Body body) {
  static thread_local ucontext_t home;
  static thread_local ucontext_t fiber;
  static thread_local Body* what;
  what = &body;
  ASSERT_EQ(getcontext(&fiber), 0);
  fiber.uc_stack.ss_sp = stack;
  fiber.uc_stack.ss_size = size;
  fiber.uc_link = &home;
  makecontext(
      &fiber,
      [] {
        (*what)();
        not_a_tail_call();
      },
      0);
  ASSERT_EQ(swapcontext(&home, &fiber), 0);
}

/// A return address into code whose frame is 8 KiB: the next one is at sp + 8184.
Word in_large_frame() { return reinterpret_cast<Word>(unwind_test_large_frame) + 1; }

TEST(ProbeUnwind, NestedCalls) {
  Stacks stacks;
  within(nested<20>, [&] { capture(stacks); });
  expect_same(stacks, 22);
}

TEST(ProbeUnwind, FramesOfAnySize) {
  for (const Function function :
       {with_alloca<1>, with_alloca<100>, with_alloca<4000>, with_alloca<70'000>}) {
    Stacks stacks;
    within(function, [&] { capture(stacks); });
    expect_same(stacks, 5);
  }
}

// A caller that is found by rbp, beyond functions that use rbp for something else.
TEST(ProbeUnwind, FramePointerIsRestoredOnTheWay) {
  Stacks stacks;
  within(with_alloca<500>, [&] {
    within(unwind_test_clobbers_rbp,
           [&] { within(unwind_test_clobbers_rbp, [&] { capture(stacks); }); });
  });
  expect_same(stacks, 8);
}

TEST(ProbeUnwind, FramesFoundByExpressions) {
  Stacks realigned;
  within(with_alloca<300>, [&] { within(unwind_test_realigned, [&] { capture(realigned); }); });
  expect_same(realigned, 7);
  Stacks saved;
  within(with_alloca<300>, [&] { within(unwind_test_saved_sp, [&] { capture(saved); }); });
  expect_same(saved, 7);
}

// A signal may come in a PLT stub, before its push and after it.
TEST(ProbeUnwind, PltStub) {
  const Word stub = reinterpret_cast<Word>(unwind_test_plt_stub);
  alignas(16) const Word stack[] = {in_large_frame(), in_large_frame() + 1, 0, 0};
  const Word sp = reinterpret_cast<Word>(stack);
  Word frames[2];
  // As return addresses: what is looked up is the byte before.
  ASSERT_EQ(unwind({stub + 10 + 1, sp, 0}, frames, 2), 2);
  EXPECT_EQ(frames[1], stack[0]);
  ASSERT_EQ(unwind({stub + 11 + 1, sp, 0}, frames, 2), 2);
  EXPECT_EQ(frames[1], stack[1]);
}

// A call that does not return may be the last instruction; the return address is then another
// function's.
TEST(ProbeUnwind, CallAtTheEndOfAFunction) {
  alignas(16) const Word stack[] = {in_large_frame(), 0};
  Word frames[2];
  // The byte before is the ret of unwind_test_saved_sp.
  ASSERT_EQ(unwind({in_large_frame() - 1, reinterpret_cast<Word>(stack), 0}, frames, 2), 2);
  EXPECT_EQ(frames[1], stack[0]);
}

TEST(ProbeUnwind, LibcCallsBack) {
  static Stacks stacks;
  static int calls;
  calls = 0;
  int numbers[] = {5, 3, 9, 1};
  const auto compare = [](const void* a, const void* b) {
    if (calls++ == 1) within(nested<3>, [] { capture(stacks); });
    return *static_cast<const int*>(a) - *static_cast<const int*>(b);
  };
  qsort(numbers, 4, sizeof(int), compare);
  expect_same(stacks, 8);
  calls = 1;
  stacks = {};
  const int key = 3;
  bsearch(&key, numbers, 4, sizeof(int), compare);
  expect_same(stacks, 8);
}

TEST(ProbeUnwind, StopsWhenAskedTo) {
  for (const int most : {1, 2, 16}) {
    Stacks stacks;
    within([](Callback callback, void* argument) { recurse(5000, callback, argument); },
           [&] { capture(stacks, most); });
    EXPECT_EQ(stacks.ours_size, most);
    EXPECT_EQ(stacks.own(), stacks.expected());
  }
  Word none = 7;
  EXPECT_EQ(unwind({1, 0, 0}, &none, 0), 0);
  EXPECT_EQ(none, 7u);
}

TEST(ProbeUnwind, NotesAreOfOneWalk) {
  constexpr std::uint32_t kKey = 1u << 31 | 7;
  Word stack[1100] = {};
  Word& return_address = stack[8192 / sizeof(Word) - 1];
  return_address = in_large_frame();
  const StackStart start{in_large_frame(), reinterpret_cast<Word>(stack), 0};
  Word frames[2];
  EXPECT_EQ(recall_note(start, 2, kKey), 0u);
  ASSERT_EQ(unwind(start, frames, 2), 2);
  EXPECT_EQ(recall_note(start, 2, kKey), 0u);
  keep_note(start, frames, 2, 2, kKey, 99);
  EXPECT_EQ(recall_note(start, 2, kKey), 99u);
  EXPECT_EQ(recall_note(start, 2, kKey + 1), 0u);
  EXPECT_EQ(recall_note(start, 1, kKey), 0u);

  // Another caller; and as it was.
  return_address = in_large_frame() + 1;
  EXPECT_EQ(recall_note(start, 2, kKey), 0u);
  return_address = in_large_frame();
  EXPECT_EQ(recall_note(start, 2, kKey), 99u);

  // A note for a walk that another one has replaced is not kept.
  const Word others[2] = {frames[0], frames[1] + 1};
  keep_note(start, others, 2, 2, kKey, 1);
  EXPECT_EQ(recall_note(start, 2, kKey), 99u);
  return_address = in_large_frame() + 1;
  ASSERT_EQ(unwind(start, frames, 2), 2);
  EXPECT_EQ(recall_note(start, 2, kKey), 0u) << "a new walk has no note";
  keep_note(start, frames, 2, 2, kKey, 100);
  EXPECT_EQ(recall_note(start, 2, kKey), 100u);
  forget_unwind_rules();
  EXPECT_EQ(recall_note(start, 2, kKey), 0u);
}

TEST(ProbeUnwind, DeepRecursion) {
  constexpr int kFrames = 6000;
  static Word ours[kFrames];
  static Word reference[kFrames + 4];
  struct Hook {
    __attribute__((noinline)) static void call(int& count, int& expected) {
      count = unwind(caller_frame(), ours, kFrames);
      expected = take_reference(ours[0], reference, kFrames);
    }
  };
  int count = 0;
  int expected = 0;
  within([](Callback callback, void* argument) { recurse(5000, callback, argument); },
         [&] { Hook::call(count, expected); });
  ASSERT_EQ(count, expected);
  EXPECT_GT(count, 5000);
  EXPECT_EQ(memcmp(ours, reference, static_cast<std::size_t>(count) * sizeof(Word)), 0);
}

TEST(ProbeUnwind, Threads) {
  for (int round = 0; round < 3; ++round) {  // the later ones get the stack of an earlier one
    Stacks stacks;
    std::thread([&] { within(nested<12>, [&] { capture(stacks); }); }).join();
    expect_same(stacks, 14);
  }
}

TEST(ProbeUnwind, ThreadOnAStackOfTheProgram) {
  const Pages memory(512, PROT_READ | PROT_WRITE);
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstack(&attributes, memory.page(0), 512 * kPage), 0);
  Stacks stacks;
  pthread_t thread{};
  ASSERT_EQ(pthread_create(
                &thread, &attributes,
                [](void* it) -> void* {
                  within(nested<5>, [&] { capture(*static_cast<Stacks*>(it)); });
                  return nullptr;
                },
                &stacks),
            0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  expect_same(stacks, 7);
}

TEST(ProbeUnwind, ErrnoIsKept) {
  const Pages memory(32, PROT_READ | PROT_WRITE);
  int seen = 0;
  on_fiber(memory.page(0), 32 * kPage, [&] {
    Stacks stacks;
    within(with_alloca<9000>, [&] {
      errno = 77;
      stacks.ours_size = unwind(caller_frame(), stacks.ours, kMost);  // asks for pages
      seen = errno;
    });
  });
  EXPECT_EQ(seen, 77);
}

// ---- signals

Stacks signal_stacks;

void capture_in_handler(int) {
  capture(signal_stacks);
  not_a_tail_call();
}

class Handler {
 public:
  Handler(int signal, void (*function)(int), int flags = 0) : signal_(signal) {
    struct sigaction action {};
    action.sa_handler = function;
    action.sa_flags = flags;
    EXPECT_EQ(sigaction(signal, &action, &before_), 0);
  }
  ~Handler() { sigaction(signal_, &before_, nullptr); }
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;

 private:
  int signal_;
  struct sigaction before_ {};
};

TEST(ProbeUnwind, SignalHandler) {
  const Handler handler(SIGUSR1, capture_in_handler);
  within(nested<6>, [] { raise(SIGUSR1); });
  expect_same(signal_stacks, 12);
}

TEST(ProbeUnwind, SignalHandlerOnItsOwnStack) {
  const Pages memory(32, PROT_READ | PROT_WRITE);
  stack_t stack{};
  stack.ss_sp = memory.page(0);
  stack.ss_size = 32 * kPage;
  stack_t before{};
  ASSERT_EQ(sigaltstack(&stack, &before), 0);
  {
    const Handler handler(SIGUSR1, capture_in_handler, SA_ONSTACK);
    within(nested<6>, [] { raise(SIGUSR1); });
  }
  ASSERT_EQ(sigaltstack(&before, nullptr), 0);
  expect_same(signal_stacks, 12);
}

// The walk goes on where the signal came in, and what can be read there is asked for anew.
TEST(ProbeUnwind, SignalOnAStackThatEnds) {
  const Handler handler(SIGUSR1, capture_in_handler);
  raise(SIGUSR1);
  ASSERT_GE(signal_stacks.ours_size, 2);
  const Word restorer = signal_stacks.ours[1];
  const Pages memory(3);
  memory.protect(0, 1, PROT_READ | PROT_WRITE);
  // The kernel's frame, as glibc's tables describe it: rbp, rsp and rip of the interrupted code.
  alignas(16) Word stack[24] = {};
  stack[15] = 0;
  stack[20] = memory.address(0) + 64;
  stack[21] = in_large_frame();
  Word frames[kMost];
  ASSERT_EQ(unwind({restorer, reinterpret_cast<Word>(stack), 0}, frames, kMost), 2);
  EXPECT_EQ(frames[1], in_large_frame());
}

// The value of rbp that was just popped is still below sp, and compilers rely on it.
TEST(ProbeUnwind, FramePointerInTheRedZone) {
  alignas(64) Word stack[8] = {};
  stack[2] = reinterpret_cast<Word>(stack + 4);
  stack[3] = reinterpret_cast<Word>(unwind_test_by_rbp) + 1;
  stack[5] = in_large_frame();
  Word frames[3];
  ASSERT_EQ(
      unwind({reinterpret_cast<Word>(unwind_test_popped) + 1, reinterpret_cast<Word>(stack + 3), 0},
             frames, 3),
      3);
  EXPECT_EQ(frames[2], in_large_frame());
}

// Anywhere: in prologues, epilogues, the middle of libc. A stack may be shorter than backtrace's,
// where libc's own assembler is not described by rules we follow, but never differ from it.
std::atomic<int> interruptions;
std::atomic<int> same_stacks;
std::atomic<int> wrong_stacks;

TEST(ProbeUnwind, InterruptedAnywhere) {
  const Handler handler(SIGPROF, [](int) {
    static Stacks stacks;
    capture(stacks);
    ++interruptions;
    if (stacks.same()) {
      ++same_stacks;
    } else if (!stacks.is_prefix()) {
      ++wrong_stacks;
    }
  });
  const itimerval often{{0, 200}, {0, 200}};
  ASSERT_EQ(setitimer(ITIMER_PROF, &often, nullptr), 0);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  std::minstd_rand random(1);
  volatile unsigned sink = 0;
  while (std::chrono::steady_clock::now() < end) {
    int numbers[64];
    for (int& number : numbers) number = static_cast<int>(random());
    qsort(numbers, 64, sizeof(int), [](const void* a, const void* b) {
      return *static_cast<const int*>(a) < *static_cast<const int*>(b) ? -1 : 1;
    });
    within(nested<9>, [&] { sink = sink + static_cast<unsigned>(numbers[0]); });
    within(with_alloca<100>, [&] { sink = sink + static_cast<unsigned>(numbers[1]); });
    char text[64];
    snprintf(text, sizeof text, "%d %s %f", numbers[2], "x", 1.5);
    sink = sink + static_cast<unsigned>(strlen(text));
  }
  const itimerval never{};
  ASSERT_EQ(setitimer(ITIMER_PROF, &never, nullptr), 0);
  EXPECT_EQ(wrong_stacks, 0);
  EXPECT_GT(interruptions, 20);
  EXPECT_GE(same_stacks * 10, interruptions * 9) << same_stacks << " of " << interruptions;
}

// ---- stacks of the program's making

TEST(ProbeUnwind, Fiber) {
  const Pages memory(32, PROT_READ | PROT_WRITE);
  for (int round = 0; round < 2; ++round) {
    Stacks stacks;
    on_fiber(memory.page(0), 32 * kPage, [&] {
      within(with_alloca<9000>, [&] { within(nested<10>, [&] { capture(stacks); }); });
    });
    EXPECT_TRUE(stacks.is_prefix());
    EXPECT_GE(stacks.ours_size, 16);
  }
}

TEST(ProbeUnwind, StopsAtAGuardPage) {
  const Pages memory(3);
  memory.protect(0, 1, PROT_READ | PROT_WRITE);
  memory.protect(2, 1, PROT_READ | PROT_WRITE);
  Word frames[kMost];
  for (Word sp = memory.address(0); sp < memory.address(1); sp += 8)
    ASSERT_EQ(unwind({in_large_frame(), sp, 0}, frames, kMost), 1) << sp - memory.address(0);
}

// A stack that was there may be gone, and a smaller one be in its place.
TEST(ProbeUnwind, ForgetsTheStacksOfFibers) {
  const Pages memory(4);
  memory.protect(0, 3, PROT_READ | PROT_WRITE);
  const Word sp = memory.address(0) + 64;
  memory.set(sp + 8184, in_large_frame());
  Word frames[kMost];
  ASSERT_EQ(unwind({in_large_frame(), sp, 0}, frames, kMost), 2);
  EXPECT_EQ(frames[1], in_large_frame());
  memory.protect(1, 2, PROT_NONE);
  EXPECT_EQ(unwind({in_large_frame(), sp, 0}, frames, kMost), 1);
}

// A fiber right below the thread's stack, where its sp alone looks like one of the thread's.
TEST(ProbeUnwind, FiberBelowTheStackOfItsThread) {
  const Pages memory(16 + 512);
  memory.protect(0, 15, PROT_READ | PROT_WRITE);    // the fiber's
  memory.protect(16, 512, PROT_READ | PROT_WRITE);  // the thread's
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstack(&attributes, memory.page(16), 512 * kPage), 0);
  pthread_t thread{};
  ASSERT_EQ(
      pthread_create(
          &thread, &attributes,
          [](void* it) -> void* {
            const auto& pages = *static_cast<const Pages*>(it);
            Word frames[kMost];
            for (int round = 0; round < 2; ++round) {
              on_fiber(pages.page(0), 15 * kPage, [] {
                Stacks stacks;
                within(nested<6>, [&] { capture(stacks); });
                EXPECT_TRUE(stacks.is_prefix());
                EXPECT_GE(stacks.ours_size, 8);
              });
              // The word above is in the guard page.
              EXPECT_EQ(
                  unwind({in_large_frame(), pages.address(14) - kPage + 16, 0}, frames, kMost), 1);
              Stacks stacks;
              within(nested<6>, [&] { capture(stacks); });
              expect_same(stacks, 8);
            }
            return nullptr;
          },
          const_cast<Pages*>(&memory)),
      0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

// ---- code without tables

TEST(ProbeUnwind, CodeMadeAtRunTimeKeepsFramePointers) {
  // push %rbp; mov %rsp, %rbp; sub $48, %rsp; mov %rdi, %rax; mov %rsi, %rdi; call *%rax; leave;
  // ret
  const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x30, 0x48,
                                0x89, 0xf8, 0x48, 0x89, 0xf7, 0xff, 0xd0, 0xc9, 0xc3};
  const Pages memory(1, PROT_READ | PROT_WRITE);
  memcpy(memory.page(0), code, sizeof code);
  memory.protect(0, 1, PROT_READ | PROT_EXEC);
  const auto jitted = reinterpret_cast<Function>(memory.page(0));

  Stacks outer;
  Stacks inner;
  within(with_alloca<200>, [&] {
    capture(outer);
    within(jitted, [&] {
      within(unwind_test_clobbers_rbp, [&] { within(jitted, [&] { capture(inner); }); });
    });
  });
  expect_same(outer, 4);
  std::vector<Word> frames = inner.own();
  const Word after_call = memory.address(0) + 16;
  EXPECT_EQ(std::count(frames.begin(), frames.end(), after_call), 2);
  // The callers of the body, whose own frame is at another place in it now.
  ASSERT_GT(frames.size(), outer.own().size());
  const std::vector<Word> expected(outer.ours + 1, outer.ours + outer.ours_size);
  const std::vector<Word> callers(frames.end() - static_cast<std::ptrdiff_t>(expected.size()),
                                  frames.end());
  EXPECT_EQ(callers, expected);
}

TEST(ProbeUnwind, NonsensicalFramePointers) {
  const Pages code(1, PROT_READ | PROT_WRITE);
  const Word pc = code.address(0) + 64;
  Word frames[kMost];
  alignas(16) Word stack[4] = {};
  const Word sp = reinterpret_cast<Word>(stack + 1);
  for (const Word bp : {Word{0}, Word{8}, sp - 8, sp + 1, ~Word{0}, ~Word{7}, ~Word{15},
                        code.address(0) - 8, Word{1} << 46, Word{1} << 63})
    EXPECT_EQ(unwind({pc, sp, bp}, frames, kMost), 1) << std::hex << bp;
}

// ---- objects that come and go

struct Plugin {
  explicit Plugin(const std::string& name)
      : handle(dlopen((LOOPSCOPE_PLUGINS "/" + name).c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle == nullptr) {
      ADD_FAILURE() << dlerror();
      return;
    }
    call = reinterpret_cast<Function>(dlsym(handle, "plugin_call"));
  }
  ~Plugin() { dlclose(handle); }
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  void* handle;
  Function call = nullptr;
};

void expect_fresh_rules(const std::string& first, const std::string& second, bool told) {
  Function there = nullptr;
  for (int round = 0; round < 4; ++round) {
    {
      const Plugin plugin(round % 2 == 0 ? first : second);
      ASSERT_NE(plugin.call, nullptr);
      if (there == nullptr) there = plugin.call;
      ASSERT_EQ(plugin.call, there) << "the kernel did not use the address again";
      Stacks stacks;
      within(plugin.call, [&] { capture(stacks); });
      expect_same(stacks, 4);
      Stacks again;
      within(plugin.call, [&] { capture(again); });
      expect_same(again, 4);
    }
    if (told) forget_unwind_rules();
  }
}

TEST(ProbeUnwind, ObjectInThePlaceOfAnother) {
  expect_fresh_rules("libunwind-plugin-small.so", "libunwind-plugin-large.so", false);
}

TEST(ProbeUnwind, ObjectWithoutBuildIdInThePlaceOfAnother) {
  expect_fresh_rules("libunwind-plugin-anonymous-small.so", "libunwind-plugin-anonymous-large.so",
                     true);
}

// ---- what a hook must be able to rely on

// Strict seccomp kills at the first system call but read, write, exit and sigreturn.
void expect_no_system_call_once_warm() {
  const auto body = [] {
    struct Hook {
      __attribute__((noinline)) static int call() {
        Word frames[16];
        return unwind(caller_frame(), frames, 16);
      }
    };
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      int count = 0;
      volatile int round = 0;  // not unrolled: all calls are at one place
      while (round < 3) {
        count = Hook::call();
        if (round == 0) prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
        const int next = round + 1;
        round = next;
      }
      syscall(SYS_exit, count);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 16);
  };
  // A stack of more than one page.
  within(nested<18>, [&] { within(with_alloca<5000>, body); });
}

TEST(ProbeUnwind, MakesNoSystemCallOnceWarm) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer makes system calls of its own";
  expect_no_system_call_once_warm();
  std::thread(expect_no_system_call_once_warm).join();
}

template <int... Depths>
Function any_depth(std::integer_sequence<int, Depths...>, std::size_t choice) {
  static constexpr Function kFunctions[] = {nested<Depths>..., with_alloca<50 + Depths>...};
  return kFunctions[choice % std::size(kFunctions)];
}

TEST(ProbeUnwind, ManyThreadsAtOnce) {
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::atomic<long> taken{0};
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 8; ++seed) {
    threads.emplace_back([&, seed] {
      std::minstd_rand random(seed);
      while (!stop) {
        const auto some = [&] {
          return any_depth(std::make_integer_sequence<int, 12>(), random());
        };
        Stacks stacks;
        within(some(), [&] { within(some(), [&] { within(some(), [&] { capture(stacks); }); }); });
        if (!stacks.same()) ++wrong;
        ++taken;
        // All rules are learnt anew, by everybody, while others write them as well.
        if (seed == 1) forget_unwind_rules();
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::seconds(1));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(taken, 1000);
}

/// The code of all objects.
std::vector<std::pair<Word, Word>> code_ranges() {
  std::vector<std::pair<Word, Word>> ranges;
  dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* out) {
        for (int n = 0; n < object->dlpi_phnum; ++n) {
          const ElfW(Phdr)& segment = object->dlpi_phdr[n];
          if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
          const Word begin = object->dlpi_addr + segment.p_vaddr;
          static_cast<std::vector<std::pair<Word, Word>>*>(out)->emplace_back(
              begin, begin + segment.p_memsz);
        }
        return 0;
      },
      &ranges);
  return ranges;
}

// Any code, with any registers: garbage may come out, but nothing that was not on the stack.
__attribute__((noinline)) void walk_garbage(Word low, Word high, unsigned seed) {
  const auto ranges = code_ranges();
  ASSERT_FALSE(ranges.empty());
  std::mt19937_64 random(seed);
  const auto between = [&](Word from, Word to) { return from + random() % (to - from); };
  long followed = 0;
  for (int round = 0; round < 150'000; ++round) {
    const auto& range = ranges[random() % ranges.size()];
    Word frames[32];
    StackStart start{between(range.first, range.second), between(low, high) & ~Word{7},
                     between(low, high) & ~Word{7}};
    if (round % 16 == 1) start.bp = random();
    if (round % 16 == 2) start.sp = random();
    if (round % 16 == 3) start.pc = random();
    if (round % 16 == 4) start.bp = between(low - 65'536, high + 65'536);
    if (round % 16 == 5) start.sp = between(low - 65'536, high + 65'536) & ~Word{7};
    const int count = unwind(start, frames, 32);
    ASSERT_GE(count, 1);
    ASSERT_LE(count, 32);
    ASSERT_EQ(frames[0], start.pc);
    for (int n = 1; n < count; ++n) ASSERT_GE(frames[n], kPage);
    followed += count;
  }
  EXPECT_GT(followed, 150'000 + 100) << "no garbage was followed at all";
}

TEST(ProbeUnwind, GarbageDoesNotHurtOnTheMainStack) {
  char here = 0;
  const Word sp = reinterpret_cast<Word>(&here) & ~Word{15};
  walk_garbage(sp - 16'384, sp + 8192, 1);
}

TEST(ProbeUnwind, GarbageDoesNotHurtOnAThread) {
  std::thread([] {
    const Word top = reinterpret_cast<Word>(pthread_self());
    walk_garbage(top - 65'536, top + 4096, 2);
  }).join();
}

TEST(ProbeUnwind, GarbageDoesNotHurtBetweenGuardPages) {
  const Pages memory(18);
  memory.protect(1, 16, PROT_READ | PROT_WRITE);
  std::mt19937_64 random(3);
  const auto ranges = code_ranges();
  for (Word at = memory.address(1); at < memory.address(17); at += 8) {
    const auto& range = ranges[random() % ranges.size()];
    memory.set(at, random() % 2 == 0 ? memory.address(0) + random() % (18 * kPage)
                                     : range.first + random() % (range.second - range.first));
  }
  walk_garbage(memory.address(0), memory.address(17) + kPage, 4);
}

}  // namespace
}  // namespace loopscope::probe

#else

TEST(ProbeUnwind, OneFrameOnOtherMachines) {
  std::uintptr_t frames[4];
  EXPECT_EQ(loopscope::probe::unwind({42, 0, 0}, frames, 4), 1);
  EXPECT_EQ(frames[0], 42u);
}

#endif
