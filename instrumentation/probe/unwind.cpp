// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/probe/unwind.h"

#include <features.h>

#if defined(__x86_64__) && defined(__LP64__) && defined(__GLIBC__) && __GLIBC_PREREQ(2, 35)

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

// The dynamic linker's: where the kernel put argc, above the main thread's frames.
// NOLINTNEXTLINE(readability-identifier-naming, bugprone-reserved-identifier)
extern "C" void* __libc_stack_end;

namespace loopscope::probe {

void (*g_unwind_asked_in_vain)(int error) noexcept = nullptr;

namespace {

using Word = std::uintptr_t;

constexpr Word kPage = 4096;

constexpr Word page_of(Word address) { return address & ~(kPage - 1); }

// Any odd number whose bits look random: spreads what it multiplies over the upper bits.
constexpr std::uint64_t kSpread = 0x9e37'79b9'7f4a'7c15;

//
// Memory
//

/// A word of the stack. By hand, or a sanitizer would object to what no C++ program may read.
inline Word stack_word(Word address) {
  Word value;
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  asm("movq %1, %0" : "=r"(value) : "m"(*reinterpret_cast<const Word*>(address)));
  return value;
}

template <typename T>
T read_as(Word address) {
  T value;
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  memcpy(&value, reinterpret_cast<const void*>(address), sizeof value);
  return value;
}

/// Asks the kernel whether a page can be read. A signal mask is copied in before the nonsensical
/// `how` is refused, so EINVAL means yes and nothing is changed. mincore(2) would not do: pages
/// without access (the guard of a stack) are mapped to it, and seccomp filters rarely know it.
/// Any other errno: it could not be asked.
long ask_page(Word page) {
  long result = 0;
  register long size asm("r10") = 8;  // of the kernel's sigset_t
  asm volatile("syscall"
               : "=a"(result)
               : "a"(SYS_rt_sigprocmask), "D"(-1l), "S"(page), "d"(0l), "r"(size)
               : "rcx", "r11", "memory");
  if (result != -EINVAL && result != -EFAULT && g_unwind_asked_in_vain != nullptr) {
    g_unwind_asked_in_vain(static_cast<int>(-result));
  }
  return result;
}
bool page_is_readable(Word page) { return ask_page(page) == -EINVAL; }

//
// The end of the stack
//

// What is known of the thread's own stack: all of [own_from, own_end) can be read as long as the
// thread lives. Nothing is known below own_from; nothing below own_floor belongs to it.
__thread Word own_from __attribute__((tls_model("initial-exec")));
__thread Word own_end __attribute__((tls_model("initial-exec")));
__thread Word own_floor __attribute__((tls_model("initial-exec")));

/// The thread pointer of the thread that the program began with; 0 before constructors.
Word main_thread;

Word thread_pointer() {
  Word value;
  asm("movq %%fs:0, %0" : "=r"(value));
  return value;
}

__attribute__((constructor)) void remember_main_thread() { main_thread = thread_pointer(); }

// How far from its end a stack pointer is still taken for one of the thread's own stack. The kernel
// keeps this much below the main thread's free for it; it is the default size of the others.
constexpr Word kOwnStack = 8 << 20;

/// Whether `sp` is on the thread's own stack; sees to it that own_from is not above it.
__attribute__((noinline, cold)) bool learn_own_stack(Word sp) {
  if (own_end == 0) {
    // glibc puts the descriptor of a thread, which the thread pointer points to, on top of its
    // stack. The main thread's is elsewhere, with anything below it.
    const Word self = thread_pointer();
    Word end = reinterpret_cast<Word>(__libc_stack_end);
    if (end - sp > kOwnStack) {
      if (main_thread == 0 || self == main_thread || self - sp > kOwnStack) return false;
      end = self;
    }
    // In this order, should a signal come between; own_end is what makes own_from count.
    own_from = page_of(end) + kPage;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    own_end = end & ~Word{7};
  }
  const Word lowest = page_of(sp);
  if (own_end - sp > kOwnStack || lowest < own_floor) return false;
  // Every page between: one without access would be a guard, with somebody else's stack below.
  Word from = own_from;  // a signal handler may lower own_from meanwhile: then this raises it again
  while (from > lowest) {
    if (const long said = ask_page(from - kPage); said != -EINVAL) {
      if (said == -EFAULT) own_floor = from;
      break;
    }
    from -= kPage;
  }
  own_from = from;
  return from <= lowest;
}

/// How far up words may be read. On the thread's own stack that is its end. On another one pages
/// are asked for one by one as the walk comes to them, and nothing is remembered: the program may
/// unmap a stack and put a smaller one there.
class Limit {
 public:
  explicit Limit(Word sp) { move(sp); }

  /// To another stack, at the frame of a signal.
  void move(Word sp) {
    growing_ = false;
    if (sp >= own_from && sp < own_end) [[likely]] {
      end_ = own_end;
      return;
    }
    find(sp);
  }

  /// Whether the word at `address` can be read, given that it is not below sp.
  bool covers(Word address, Word sp) {
    if (address - sp < end_ - sp) [[likely]]
      return true;  // both are multiples of 8
    return address >= sp && extend(address);
  }

 private:
  // A frame of more than this is garbage.
  static constexpr Word kLargestFrame = 1 << 20;

  __attribute__((noinline, cold)) void find(Word sp) {
    if (learn_own_stack(sp)) {
      end_ = own_end;
      return;
    }
    // We run on the page that this variable is on, so that one is sure.
    Word here = 0;
    asm("movq %%rsp, %0" : "=r"(here));
    const Word page = page_of(sp);
    growing_ = page == page_of(here) || page_is_readable(page);
    end_ = growing_ ? page + kPage : sp;
  }

  __attribute__((noinline, cold)) bool extend(Word address) {
    if (!growing_ || address - end_ > kLargestFrame) return false;
    while (end_ <= address) {
      if (!page_is_readable(end_)) return false;
      end_ += kPage;
    }
    return true;
  }

  Word end_ = 0;
  bool growing_ = false;
};

//
// Rules: how to get from a frame to its caller's, for one address of the code.
//

enum class Kind : std::uint64_t {
  kNone = 1,    // the tables say nothing of it: frame pointers are tried
  kFromSp,      // CFA = sp + offset
  kFromBp,      // CFA = rbp + offset
  kLoadSp,      // CFA = [sp + offset] + addend
  kLoadBp,      // CFA = [rbp + offset] + addend
  kSignal,      // the kernel's frame: sp is at [sp + offset], rip and rbp around it
  kUnfollowed,  // outermost, or of a shape not known here
};

enum class SavedBp : std::uint64_t {
  kSame,   // in rbp still
  kAtCfa,  // at CFA + offset
  kAtBp,   // at rbp + offset
  kLost,
};

/// A rule in one word; 0 is none at all. Offset: bits 63..32. Addend: 31..20. Where rbp is, in
/// words: 19..5. SavedBp: 4..3. Kind: 2..0.
using Rule = std::uint64_t;

constexpr Rule rule_of(Kind kind) { return static_cast<Rule>(kind); }

constexpr Rule kOffsetUnit = Rule{1} << 32;

inline Kind kind_of(Rule rule) { return static_cast<Kind>(rule & 7); }
inline SavedBp saved_bp_of(Rule rule) { return static_cast<SavedBp>(rule >> 3 & 3); }
inline Word offset_of(Rule rule) {
  return static_cast<Word>(static_cast<std::int64_t>(rule) >> 32);
}
inline Word addend_of(Rule rule) { return rule >> 20 & 0xfff; }
inline Word bp_offset_of(Rule rule) {
  return static_cast<Word>(static_cast<std::int64_t>(rule << 44) >> 49) * 8;
}

/// kUnfollowed if it does not fit.
Rule make_rule(Kind kind, std::int64_t offset, std::int64_t addend, SavedBp saved,
               std::int64_t bp_offset) {
  const bool fits = offset % 8 == 0 && offset >= INT32_MIN && offset <= INT32_MAX && addend >= 0 &&
                    addend < 4096 && addend % 8 == 0 && bp_offset % 8 == 0 &&
                    bp_offset / 8 >= -(1 << 14) && bp_offset / 8 < 1 << 14;
  if (!fits) return rule_of(Kind::kUnfollowed);
  return static_cast<Rule>(offset) * kOffsetUnit | static_cast<Rule>(addend) << 20 |
         (static_cast<Rule>(bp_offset / 8) & 0x7fff) << 5 | static_cast<Rule>(saved) << 3 |
         rule_of(kind);
}

//
// Reading .eh_frame: DWARF 5 section 6.4, as changed by the Linux Standard Base 5.0 chapter 10.
//

/// Bytes of a table; reading past the end gives zeroes and is remembered.
class Bytes {
 public:
  Bytes(Word from, Word end) : at_(from), end_(end) {}

  template <typename T>
  T take() {
    if (end_ - at_ < sizeof(T)) {
      fail();
      return T{};
    }
    const T value = read_as<T>(at_);
    at_ += sizeof(T);
    return value;
  }
  std::uint8_t byte() { return take<std::uint8_t>(); }

  std::uint64_t uleb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const std::uint8_t next = byte();
      if (shift < 64) value |= static_cast<std::uint64_t>(next & 0x7f) << shift;
      if ((next & 0x80) == 0) return value;
    }
  }
  std::int64_t sleb() {
    std::uint64_t value = 0;
    unsigned shift = 0;
    std::uint8_t next = 0;
    do {
      next = byte();
      if (shift < 64) value |= static_cast<std::uint64_t>(next & 0x7f) << shift;
      shift += 7;
    } while ((next & 0x80) != 0);
    if (shift < 64 && (next & 0x40) != 0) value |= ~std::uint64_t{0} << shift;
    return static_cast<std::int64_t>(value);
  }

  /// A pointer in one of the DW_EH_PE encodings. Indirect, aligned and section-relative ones are
  /// not used for code on x86-64.
  Word pointer(std::uint8_t encoding) {
    const Word here = at_;
    Word value = 0;
    switch (encoding & 0x0f) {
      case 0x00:  // absptr
      case 0x04:  // udata8
      case 0x0c:  // sdata8
        value = take<std::uint64_t>();
        break;
      case 0x02:
        value = take<std::uint16_t>();
        break;
      case 0x03:
        value = take<std::uint32_t>();
        break;
      case 0x0a:
        value = static_cast<Word>(std::int64_t{take<std::int16_t>()});
        break;
      case 0x0b:
        value = static_cast<Word>(std::int64_t{take<std::int32_t>()});
        break;
      default:
        fail();
    }
    if ((encoding & 0x70) == 0x10) return here + value;  // pcrel
    if ((encoding & 0x70) != 0) fail();
    return value;
  }

  Bytes part(std::uint64_t size) {
    const Word from = at_;
    skip(size);
    return {from, failed_ ? from : from + size};
  }
  void skip(std::uint64_t size) {
    if (size > end_ - at_) return fail();
    at_ += size;
  }
  void fail() {
    failed_ = true;
    at_ = end_;
  }
  bool failed() const { return failed_; }
  bool empty() const { return at_ == end_; }

 private:
  Word at_;
  Word end_;
  bool failed_ = false;
};

/// A value that depends on the registers of the frame: base + add.
struct Value {
  enum Base : std::uint8_t { kConstant, kSp, kBp, kLoad, kUnknown } base = kUnknown;
  Base loaded = kUnknown;  // kLoad: from [loaded + at], with `loaded` kSp or kBp
  std::int64_t add = 0;
  std::int64_t at = 0;
};

constexpr unsigned kRegisterBp = 6;
constexpr unsigned kRegisterSp = 7;
constexpr unsigned kReturnAddress = 16;

Value register_value(std::uint64_t number, std::int64_t add) {
  if (number == kRegisterSp) return {Value::kSp, Value::kUnknown, add};
  if (number == kRegisterBp) return {Value::kBp, Value::kUnknown, add};
  return {};
}

/// A DWARF expression, for code at `pc`. The operations are those that assemblers and compilers
/// emit into .eh_frame: PLT stubs, realigned stacks, stack pointers that were saved on the stack,
/// signal frames.
Value evaluate(Bytes code, Word pc) {
  Value stack[8];
  int depth = 0;
  const auto push = [&](Value value) {
    if (depth == 8) return code.fail();
    stack[depth++] = value;
  };
  const auto pop = [&]() -> Value {
    if (depth == 0) {
      code.fail();
      return {};
    }
    return stack[--depth];
  };
  const auto constant = [](std::uint64_t number) {
    return Value{Value::kConstant, Value::kUnknown, static_cast<std::int64_t>(number)};
  };
  while (!code.empty()) {
    const std::uint8_t op = code.byte();
    if (op >= 0x30 && op <= 0x4f) {  // lit0..lit31
      push(constant(op - 0x30u));
    } else if (op >= 0x70 && op <= 0x8f) {  // breg0..breg31
      const std::int64_t add = code.sleb();
      push(op == 0x70 + kReturnAddress ? constant(pc + static_cast<Word>(add))
                                       : register_value(op - 0x70u, add));
    } else if (op == 0x08) {  // const1u
      push(constant(code.byte()));
    } else if (op == 0x09) {  // const1s
      push(constant(static_cast<std::uint64_t>(std::int64_t{code.take<std::int8_t>()})));
    } else if (op == 0x0a) {  // const2u
      push(constant(code.take<std::uint16_t>()));
    } else if (op == 0x06) {  // deref
      const Value from = pop();
      const bool known = from.base == Value::kSp || from.base == Value::kBp;
      push(known ? Value{Value::kLoad, from.base, 0, from.add} : Value{});
    } else if (op == 0x23) {  // plus_uconst
      Value value = pop();
      value.add += static_cast<std::int64_t>(code.uleb() & 0xffff'ffff);
      push(value);
    } else if (op == 0x1a || op == 0x1c || op == 0x22 || op == 0x24 || op == 0x2a) {
      const Value right = pop();
      Value left = pop();
      if (right.base != Value::kConstant) return {};
      if (op == 0x22) {  // plus
        left.add += right.add;
      } else if (op == 0x1c) {  // minus
        left.add -= right.add;
      } else if (left.base != Value::kConstant) {
        return {};
      } else if (op == 0x1a) {  // and
        left.add &= right.add;
      } else if (op == 0x24) {  // shl
        left = constant(static_cast<std::uint64_t>(left.add) << (right.add & 63));
      } else {  // ge
        left.add = left.add >= right.add ? 1 : 0;
      }
      push(left);
    } else {
      return {};
    }
  }
  const Value result = pop();
  return code.failed() ? Value{} : result;
}

/// Where the caller's value of a register is.
struct Saved {
  enum { kSame, kAtCfa, kAtAddress, kUndefined, kElsewhere } where = kSame;
  std::int64_t offset = 0;  // kAtCfa
  Value address;            // kAtAddress
};

/// A row of the table that the instructions describe; only what is needed to find the next frame.
struct Row {
  Value cfa;
  bool cfa_is_register = false;  // as opposed to an expression
  std::uint64_t cfa_register = 0;
  std::int64_t cfa_offset = 0;
  Saved bp;
  Saved ra;
};

struct Entry {  // a CIE with what an FDE needs of it
  std::uint64_t code_align = 1;
  std::int64_t data_align = 1;
  std::uint8_t pointers = 0;
  bool sized = false;   // augmentation data has a length
  bool signal = false;  // a frame that the kernel made
};

class Program {
 public:
  Program(const Entry& entry, Word begin, Word pc) : entry_(entry), location_(begin), pc_(pc) {}

  /// Runs the instructions up to the row that holds for the pc.
  bool run(Bytes code) {
    while (!code.empty() && location_ <= pc_) {
      if (!step(code)) return false;
    }
    return !code.failed();
  }
  /// What has been run so far is what DW_CFA_restore goes back to.
  void keep_initial() { initial_ = row_; }

  const Row& row() const { return row_; }

 private:
  static constexpr int kDeepest = 4;

  void advance(std::uint64_t by) { location_ += by * entry_.code_align; }

  void save(std::uint64_t number, const Saved& saved) {
    if (number == kRegisterBp) row_.bp = saved;
    if (number == kReturnAddress) row_.ra = saved;
  }
  void save_at_cfa(std::uint64_t number, std::int64_t factored) {
    save(number, {Saved::kAtCfa, factored * entry_.data_align, {}});
  }
  void restore(std::uint64_t number) {
    if (number == kRegisterBp) row_.bp = initial_.bp;
    if (number == kReturnAddress) row_.ra = initial_.ra;
  }
  void define_cfa(std::uint64_t number, std::int64_t offset) {
    row_.cfa_is_register = true;
    row_.cfa_register = number;
    row_.cfa_offset = offset;
    row_.cfa = register_value(number, offset);
  }

  bool step(Bytes& code) {
    const std::uint8_t op = code.byte();
    switch (op & 0xc0) {
      case 0x40:  // advance_loc
        advance(op & 0x3fu);
        return true;
      case 0x80:  // offset
        save_at_cfa(op & 0x3fu, static_cast<std::int64_t>(code.uleb()));
        return true;
      case 0xc0:  // restore
        restore(op & 0x3fu);
        return true;
      default:
        return step_extended(op, code);
    }
  }

  bool step_extended(std::uint8_t op, Bytes& code) {
    std::uint64_t number = 0;
    switch (op) {
      case 0x00:  // nop
        return true;
      case 0x01:  // set_loc
        location_ = code.pointer(entry_.pointers);
        return true;
      case 0x02:  // advance_loc1
        advance(code.byte());
        return true;
      case 0x03:  // advance_loc2
        advance(code.take<std::uint16_t>());
        return true;
      case 0x04:  // advance_loc4
        advance(code.take<std::uint32_t>());
        return true;
      case 0x05:  // offset_extended
        number = code.uleb();
        save_at_cfa(number, static_cast<std::int64_t>(code.uleb()));
        return true;
      case 0x06:  // restore_extended
        restore(code.uleb());
        return true;
      case 0x07:  // undefined
        save(code.uleb(), {Saved::kUndefined, 0, {}});
        return true;
      case 0x08:  // same_value
        save(code.uleb(), {});
        return true;
      case 0x09:  // register
        number = code.uleb();
        code.uleb();
        save(number, {Saved::kElsewhere, 0, {}});
        return true;
      case 0x0a:  // remember_state
        if (depth_ == kDeepest) return false;
        remembered_[depth_++] = row_;
        return true;
      case 0x0b:  // restore_state
        if (depth_ == 0) return false;
        row_ = remembered_[--depth_];
        return true;
      case 0x0c:  // def_cfa
        number = code.uleb();
        define_cfa(number, static_cast<std::int64_t>(code.uleb()));
        return true;
      case 0x0d:  // def_cfa_register
        define_cfa(code.uleb(), row_.cfa_offset);
        return true;
      case 0x0e:  // def_cfa_offset
        if (!row_.cfa_is_register) return false;
        define_cfa(row_.cfa_register, static_cast<std::int64_t>(code.uleb()));
        return true;
      case 0x0f:  // def_cfa_expression
        row_.cfa_is_register = false;
        row_.cfa = evaluate(code.part(code.uleb()), pc_);
        return true;
      case 0x10:  // expression
        number = code.uleb();
        save(number, {Saved::kAtAddress, 0, evaluate(code.part(code.uleb()), pc_)});
        return true;
      case 0x11:  // offset_extended_sf
        number = code.uleb();
        save_at_cfa(number, code.sleb());
        return true;
      case 0x12:  // def_cfa_sf
        number = code.uleb();
        define_cfa(number, code.sleb() * entry_.data_align);
        return true;
      case 0x13:  // def_cfa_offset_sf
        if (!row_.cfa_is_register) return false;
        define_cfa(row_.cfa_register, code.sleb() * entry_.data_align);
        return true;
      case 0x14:  // val_offset
      case 0x15:  // val_offset_sf
        number = code.uleb();
        code.uleb();
        save(number, {Saved::kElsewhere, 0, {}});
        return true;
      case 0x16:  // val_expression
        number = code.uleb();
        code.skip(code.uleb());
        save(number, {Saved::kElsewhere, 0, {}});
        return true;
      case 0x2e:  // GNU_args_size
        code.uleb();
        return true;
      case 0x2f:  // GNU_negative_offset_extended
        number = code.uleb();
        save_at_cfa(number, -static_cast<std::int64_t>(code.uleb()));
        return true;
      default:
        return false;
    }
  }

  const Entry& entry_;
  Word location_;
  Word pc_;
  Row row_;
  Row initial_;
  Row remembered_[kDeepest];
  int depth_ = 0;
};

/// The kernel's frame: CFA is the interrupted stack pointer, which lies in the ucontext between rbp
/// (5 words below) and rip (above).
Rule signal_rule(const Row& row) {
  const Value& cfa = row.cfa;
  const Value& ra = row.ra.address;
  const Value& bp = row.bp.address;
  const bool known = cfa.base == Value::kLoad && cfa.loaded == Value::kSp && cfa.add == 0 &&
                     cfa.at >= 48 && row.ra.where == Saved::kAtAddress && ra.base == Value::kSp &&
                     ra.add == cfa.at + 8 && row.bp.where == Saved::kAtAddress &&
                     bp.base == Value::kSp && bp.add == cfa.at - 40;
  return known ? make_rule(Kind::kSignal, cfa.at, 0, SavedBp::kLost, 0)
               : rule_of(Kind::kUnfollowed);
}

Rule rule_from(const Row& row, bool signal) {
  if (signal) return signal_rule(row);
  if (row.ra.where != Saved::kAtCfa || row.ra.offset != -8) return rule_of(Kind::kUnfollowed);

  Kind kind = Kind::kUnfollowed;
  std::int64_t offset = row.cfa.add;
  std::int64_t addend = 0;
  switch (row.cfa.base) {
    case Value::kSp:
      kind = Kind::kFromSp;
      break;
    case Value::kBp:
      kind = Kind::kFromBp;
      break;
    case Value::kLoad:
      kind = row.cfa.loaded == Value::kSp ? Kind::kLoadSp : Kind::kLoadBp;
      offset = row.cfa.at;
      addend = row.cfa.add;
      break;
    default:
      return rule_of(Kind::kUnfollowed);
  }
  const Saved& bp = row.bp;
  if (bp.where == Saved::kSame) return make_rule(kind, offset, addend, SavedBp::kSame, 0);
  if (bp.where == Saved::kAtCfa) return make_rule(kind, offset, addend, SavedBp::kAtCfa, bp.offset);
  if (bp.where == Saved::kAtAddress && bp.address.base == Value::kBp)
    return make_rule(kind, offset, addend, SavedBp::kAtBp, bp.address.add);
  return make_rule(kind, offset, addend, SavedBp::kLost, 0);
}

/// Pages found readable during one walk: the rules of a stack's frames are close to each other.
class Pages {
 public:
  bool readable(Word address) {
    const Word page = page_of(address);
    for (const Word known : known_) {
      if (known == page) return true;
    }
    if (!page_is_readable(page)) return false;
    known_[next_++ % kKept] = page;
    return true;
  }

 private:
  static constexpr unsigned kKept = 4;

  Word known_[kKept] = {};
  unsigned next_ = 0;
};

/// The bytes of a CIE or FDE, after its length. Both ends are asked for, as the program may well
/// have lived with broken tables so far.
Bytes entry_bytes(Pages& pages, Word at) {
  constexpr std::uint32_t kLargest = 1 << 20;  // also no 64-bit DWARF, which no linker writes here
  Bytes none(at, at);
  none.fail();
  if (!pages.readable(at) || !pages.readable(at + 3)) return none;
  const auto size = read_as<std::uint32_t>(at);
  if (size > kLargest || !pages.readable(at + 3 + size)) return none;
  return {at + 4, at + 4 + size};
}

bool read_cie(Bytes& bytes, Entry& entry) {
  if (bytes.take<std::uint32_t>() != 0) return false;  // the mark of a CIE
  const std::uint8_t version = bytes.byte();
  if (version != 1 && version != 3) return false;
  char letters[8] = {};
  for (unsigned n = 0;; ++n) {
    if (n == sizeof letters) return false;
    letters[n] = static_cast<char>(bytes.byte());
    if (letters[n] == 0) break;
  }
  entry.code_align = bytes.uleb();
  entry.data_align = bytes.sleb();
  const std::uint64_t return_register = version == 1 ? bytes.byte() : bytes.uleb();
  if (return_register != kReturnAddress || bytes.failed()) return false;
  if (letters[0] == 0) return true;
  if (letters[0] != 'z') return false;
  entry.sized = true;
  Bytes data = bytes.part(bytes.uleb());
  for (const char* letter = letters + 1; *letter != 0; ++letter) {
    switch (*letter) {
      case 'R':
        entry.pointers = data.byte();
        break;
      case 'P': {  // read to get over it: its value may be relative to anything
        const std::uint8_t encoding = data.byte();
        data.pointer(encoding & 0x0f);
        break;
      }
      case 'L':
        data.byte();
        break;
      case 'S':
        entry.signal = true;
        break;
      default:
        return false;
    }
  }
  return !data.failed() && !bytes.failed();
}

struct SearchTable {  // .eh_frame_hdr with the encodings that every linker uses
  std::uint8_t version;
  std::uint8_t frame_encoding;
  std::uint8_t count_encoding;
  std::uint8_t table_encoding;
  std::int32_t frame;
  std::uint32_t count;
};
struct SearchRow {  // sorted; both relative to the header
  std::int32_t location;
  std::int32_t description;
};

/// What the tables of an object say of the code at `pc`.
__attribute__((noinline, cold)) Rule derive_rule(Pages& pages, Word header, Word pc) {
  if (header == 0) return rule_of(Kind::kNone);
  const auto table = read_as<SearchTable>(header);
  constexpr std::uint8_t kRelative = 0x1b;  // pcrel | sdata4
  constexpr std::uint8_t kSorted = 0x3b;    // datarel | sdata4
  if (table.version != 1 || table.frame_encoding != kRelative || table.count_encoding != 0x03 ||
      table.table_encoding != kSorted)
    return rule_of(Kind::kUnfollowed);
  const Word rows = header + sizeof(SearchTable);
  if (table.count == 0) return rule_of(Kind::kNone);
  if (!pages.readable(rows + table.count * sizeof(SearchRow) - 1))
    return rule_of(Kind::kUnfollowed);

  std::uint32_t low = 0;  // rows below it begin at or before pc
  for (std::uint32_t high = table.count; low < high;) {
    const std::uint32_t middle = low + (high - low) / 2;
    const auto row = read_as<SearchRow>(rows + middle * sizeof(SearchRow));
    if (header + static_cast<Word>(std::int64_t{row.location}) <= pc) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return rule_of(Kind::kNone);
  const auto row = read_as<SearchRow>(rows + (low - 1) * sizeof(SearchRow));
  const Word description = header + static_cast<Word>(std::int64_t{row.description});

  Bytes fde = entry_bytes(pages, description);
  const Word cie_at = description + 4 - fde.take<std::uint32_t>();
  if (fde.failed()) return rule_of(Kind::kUnfollowed);
  Bytes cie = entry_bytes(pages, cie_at);
  Entry entry;
  if (!read_cie(cie, entry)) return rule_of(Kind::kUnfollowed);
  const Word begin = fde.pointer(entry.pointers);
  const Word size = fde.pointer(entry.pointers & 0x0f);
  if (entry.sized) fde.skip(fde.uleb());
  if (fde.failed()) return rule_of(Kind::kUnfollowed);
  if (pc < begin || pc - begin >= size) return rule_of(Kind::kNone);

  Program program(entry, begin, pc);
  if (!program.run(cie)) return rule_of(Kind::kUnfollowed);
  program.keep_initial();
  if (!program.run(fde)) return rule_of(Kind::kUnfollowed);
  return rule_from(program.row(), entry.signal);
}

//
// Objects
//

/// Goes up with each forget_unwind_rules().
std::uint64_t generation;

/// Where in the first page of an object something is that tells it from others: bits 11..0, under
/// the other bits of its identity. 0: not known.
constexpr std::size_t kObjects = 64;
std::uint64_t fingerprints[kObjects];

/// Where the build-id is in the object whose file begins at `start`.
__attribute__((noinline, cold)) Word find_fingerprint(Word start) {
  // Without a build-id: where the section headers are, thus what the sizes of the sections are.
  constexpr Word kSectionHeaders = offsetof(Elf64_Ehdr, e_shoff);
  constexpr std::uint32_t kGnu = 'G' | 'N' << 8 | 'U' << 16;
  // A segment other than the first, of an object with gaps between them: only programs have these,
  // and programs stay.
  if (start % kPage != 0 || !page_is_readable(start)) return 0;
  const auto header = read_as<Elf64_Ehdr>(start);
  if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return 0;
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > kPage ||
      header.e_phnum > (kPage - header.e_phoff) / sizeof(Elf64_Phdr))
    return kSectionHeaders;
  for (unsigned n = 0; n < header.e_phnum; ++n) {
    const auto segment = read_as<Elf64_Phdr>(start + header.e_phoff + n * sizeof(Elf64_Phdr));
    if (segment.p_type != PT_NOTE || segment.p_align == 8 || segment.p_offset > kPage ||
        segment.p_filesz > kPage - segment.p_offset)
      continue;
    Bytes notes(start + segment.p_offset, start + segment.p_offset + segment.p_filesz);
    Word at = segment.p_offset;
    while (!notes.empty()) {
      const auto note = notes.take<Elf64_Nhdr>();
      const Word name = (Word{note.n_namesz} + 3) & ~Word{3};
      const Word size = (Word{note.n_descsz} + 3) & ~Word{3};
      const Word id = at + sizeof note + name;
      notes.skip(name);
      notes.skip(size);
      if (notes.failed()) break;
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && note.n_descsz >= 8 &&
          read_as<std::uint32_t>(start + id - 4) == kGnu)
        return id;
      at = id + size;
    }
  }
  return kSectionHeaders;
}

/// An object of the program, while one stack is walked.
struct Object {
  Word begin = 0;  // of one segment, if the object has gaps
  Word size = 0;
  Word tables = 0;  // .eh_frame_hdr
  std::uint64_t tag = 0;

  bool find(Word pc) {
    dl_find_object found;
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    if (_dl_find_object(reinterpret_cast<void*>(pc), &found) != 0) {
      size = 0;
      return false;
    }
    begin = reinterpret_cast<Word>(found.dlfo_map_start);
    size = reinterpret_cast<Word>(found.dlfo_map_end) - begin;
    tables = reinterpret_cast<Word>(found.dlfo_eh_frame);
    // Addresses are used again once an object is gone, so they are not enough of an identity.
    const std::uint64_t identity =
        (begin + reinterpret_cast<Word>(found.dlfo_link_map) * 3 + tables * 5 + size * 7) * kSpread;
    std::uint64_t& slot = fingerprints[identity >> 58];
    static_assert(kObjects == 1 << (64 - 58));
    std::uint64_t known = __atomic_load_n(&slot, __ATOMIC_RELAXED);
    if (known >> 12 != identity >> 12 || known == 0) [[unlikely]] {
      known = (identity & ~(kPage - 1)) | find_fingerprint(begin);
      __atomic_store_n(&slot, known, __ATOMIC_RELAXED);
    }
    const Word at = known & (kPage - 1);
    tag = identity + __atomic_load_n(&generation, __ATOMIC_RELAXED);
    if (at != 0) tag ^= read_as<std::uint64_t>(begin + at) * kSpread;
    return true;
  }
};

//
// The rules learnt so far
//

// Direct-mapped, with two places for each address. The two words of a place are written and read
// without order; a reader that sees halves of two rules finds that they do not belong together, as
// the check is made of the address, the object and all bits of the rule. 0 is empty.
struct Place {
  std::uint64_t check;
  Rule rule;
};
constexpr std::size_t kPairs = 4096;
struct alignas(2 * sizeof(Place)) Pair {
  Place places[2];
};
Pair rules[kPairs];

inline Pair& pair_of(Word pc) { return rules[(pc ^ pc >> 12) & (kPairs - 1)]; }

inline Rule recall(const Place& place, std::uint64_t key) {
  const Rule rule = __atomic_load_n(&place.rule, __ATOMIC_RELAXED);
  const std::uint64_t check = __atomic_load_n(&place.check, __ATOMIC_RELAXED);
  return (check ^ rule * kSpread) == key ? rule : 0;
}

__attribute__((noinline, cold)) Rule learn(Pages& pages, Object object, Word pc) {
  const Rule rule = derive_rule(pages, object.tables, pc);
  Pair& pair = pair_of(pc);
  // The newer of two that share a pair goes first; the older one moves back.
  Place& first = pair.places[0];
  Place& second = pair.places[1];
  const std::uint64_t check = __atomic_load_n(&first.check, __ATOMIC_RELAXED);
  const Rule old = __atomic_load_n(&first.rule, __ATOMIC_RELAXED);
  __atomic_store_n(&second.rule, old, __ATOMIC_RELAXED);
  __atomic_store_n(&second.check, check, __ATOMIC_RELAXED);
  __atomic_store_n(&first.rule, rule, __ATOMIC_RELAXED);
  __atomic_store_n(&first.check, (pc ^ object.tag) ^ rule * kSpread, __ATOMIC_RELAXED);
  return rule;
}

inline Rule rule_at(Pages& pages, Object& object, Word pc) {
  if (pc - object.begin >= object.size) {
    if (!object.find(pc)) return rule_of(Kind::kNone);  // code made at run time
  }
  const Pair& pair = pair_of(pc);
  const std::uint64_t key = pc ^ object.tag;
  if (const Rule rule = recall(pair.places[0], key); rule != 0) [[likely]]
    return rule;
  if (const Rule rule = recall(pair.places[1], key); rule != 0) return rule;
  return learn(pages, object, pc);
}

//
// The walk
//

struct Frame {
  Word pc;
  Word sp;
  Word bp;
};

constexpr bool aligned(Word address) { return address % 8 == 0; }

/// To the caller of code that is not described: a JIT compiler's, mostly, and these keep frame
/// pointers.
bool step_by_frame_pointer(Frame& frame, Limit& limit) {
  const Word bp = frame.bp;
  if (!aligned(bp) || bp < frame.sp || bp + 16 < bp || !limit.covers(bp + 8, frame.sp))
    return false;
  frame = {stack_word(bp + 8), bp + 16, stack_word(bp)};
  return true;
}

/// To where a signal came in, which may be on another stack.
bool step_over_signal(Frame& frame, Limit& limit, Rule rule) {
  const Word at = frame.sp + offset_of(rule);
  if (!limit.covers(at + 8, frame.sp)) return false;
  frame = {stack_word(at + 8), stack_word(at), stack_word(at - 40)};
  if (!aligned(frame.sp)) return false;
  limit.move(frame.sp);
  return true;
}

/// CFA, or 0.
Word load_cfa(const Frame& frame, Limit& limit, Rule rule) {
  const Word base = kind_of(rule) == Kind::kLoadSp ? frame.sp : frame.bp;
  const Word at = base + offset_of(rule);
  if (!aligned(at) || !limit.covers(at, frame.sp)) return 0;
  return stack_word(at) + addend_of(rule);
}

/// 0 where it is not known: then no frame can be found by it. [sp, cfa) is covered.
inline Word callers_bp(const Frame& frame, Limit& limit, Rule rule, Word cfa) {
  if (saved_bp_of(rule) == SavedBp::kAtCfa) {
    const Word at = cfa + bp_offset_of(rule);
    if (at - frame.sp < cfa - frame.sp) [[likely]]
      return stack_word(at);
    // Between the pop of rbp and the return compilers still say where it was; it is there, below
    // sp, as signals spare the red zone.
    const bool popped = frame.sp - at <= 128 && page_of(at) == page_of(frame.sp);
    return popped ? stack_word(at) : 0;
  }
  if (saved_bp_of(rule) == SavedBp::kAtBp) {
    const Word at = frame.bp + bp_offset_of(rule);
    if (aligned(at) && limit.covers(at, frame.sp)) return stack_word(at);
  }
  return 0;
}

//
// Walks that are known
//

constexpr int kMemoFrames = 16;

/// A walk that took every step from sp by a fixed offset. Where pc is the same, and the return
/// addresses lie where they lay, it is the same walk: each step's offset belongs to the address
/// before it. Comparing 15 words of the stack touches four cache lines of ours; the rules of 15
/// addresses are on as many lines, which a server that opens a file per request finds cold.
struct alignas(64) Memo {
  std::uint32_t sequence;  // odd while it is written
  std::uint32_t count;     // 0: empty
  Word pc;
  std::uint64_t generation;
  std::uint64_t most;                // frames that were asked for
  std::uint16_t slots[kMemoFrames];  // of each return address: words above sp
  std::uint64_t note;                // with its key in the upper half; 0: none
  Word frames[kMemoFrames - 1];      // the first is pc
};
static_assert(sizeof(Memo) == 192);
constexpr std::size_t kMemos = 256;
Memo memos[kMemos];

inline Memo& memo_of(const StackStart& start) {
  return memos[((start.pc ^ start.sp >> 3) * kSpread) >> 56];
}
static_assert(kMemos == 1 << 8);

/// Calls `take(i, frame)` for each frame but the first, and returns how many there are; 0 if the
/// walk is not known.
template <typename Take>
inline int recall_walk(const Memo& memo, const StackStart& start, int most, Take take) {
  const std::uint32_t before = __atomic_load_n(&memo.sequence, __ATOMIC_ACQUIRE);
  const std::uint32_t count = __atomic_load_n(&memo.count, __ATOMIC_RELAXED);
  if (before % 2 != 0 || count - 1 >= kMemoFrames ||
      __atomic_load_n(&memo.pc, __ATOMIC_RELAXED) != start.pc ||
      __atomic_load_n(&memo.most, __ATOMIC_RELAXED) != static_cast<std::uint64_t>(most) ||
      __atomic_load_n(&memo.generation, __ATOMIC_RELAXED) !=
          __atomic_load_n(&generation, __ATOMIC_RELAXED)) {
    return 0;
  }
  // All of the thread's own stack from here to its end can be read; the slots lie upwards.
  if (start.sp < own_from || start.sp >= own_end) return 0;
  const Word room = (own_end - start.sp) / 8;
  for (std::uint32_t i = 1; i < count; ++i) {
    const Word slot = __atomic_load_n(&memo.slots[i], __ATOMIC_RELAXED);
    const Word frame = __atomic_load_n(&memo.frames[i - 1], __ATOMIC_RELAXED);
    if (slot >= room || stack_word(start.sp + 8 * slot) != frame) return 0;
    take(i, frame);
  }
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (__atomic_load_n(&memo.sequence, __ATOMIC_RELAXED) != before) return 0;
  return static_cast<int>(count);
}

__attribute__((noinline)) void keep_walk(Memo& memo, const StackStart& start,
                                         const std::uintptr_t* frames, const std::uint16_t* slots,
                                         int count, int most) {
  std::uint32_t before = __atomic_load_n(&memo.sequence, __ATOMIC_RELAXED);
  // Somebody else is at it: theirs is as good.
  if (before % 2 != 0 || !__atomic_compare_exchange_n(&memo.sequence, &before, before + 1, false,
                                                      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
    return;
  }
  __atomic_thread_fence(__ATOMIC_RELEASE);
  __atomic_store_n(&memo.count, static_cast<std::uint32_t>(count), __ATOMIC_RELAXED);
  __atomic_store_n(&memo.pc, start.pc, __ATOMIC_RELAXED);
  __atomic_store_n(&memo.most, static_cast<std::uint64_t>(most), __ATOMIC_RELAXED);
  __atomic_store_n(&memo.generation, __atomic_load_n(&generation, __ATOMIC_RELAXED),
                   __ATOMIC_RELAXED);
  __atomic_store_n(&memo.note, 0, __ATOMIC_RELAXED);
  for (int i = 1; i < count; ++i) {
    __atomic_store_n(&memo.slots[i], slots[i], __ATOMIC_RELAXED);
    __atomic_store_n(&memo.frames[i - 1], frames[i], __ATOMIC_RELAXED);
  }
  __atomic_store_n(&memo.sequence, before + 2, __ATOMIC_RELEASE);
}

}  // namespace

int unwind(const StackStart& start, std::uintptr_t* frames, int most) noexcept {
  if (most <= 0) return 0;
  frames[0] = start.pc;
  Memo& memo = memo_of(start);
  const auto take = [frames](std::uint32_t i, Word frame) { frames[i] = frame; };
  if (const int known = recall_walk(memo, start, most, take); known != 0) return known;
  std::uint16_t slots[kMemoFrames];
  bool repeatable = most <= kMemoFrames;
  Frame frame = {start.pc, start.sp, start.bp};
  if (!aligned(frame.sp)) return 1;
  Limit limit(frame.sp);
  Object object;
  Pages pages;
  // A return address may be the first byte after its function, if that ends in a call. Where a
  // signal came in is the instruction itself.
  Word before = 1;
  int count = 1;
  while (count < most) {
    const Rule rule = rule_at(pages, object, frame.pc - before);
    before = 1;
    Word cfa = 0;
    switch (kind_of(rule)) {
      case Kind::kFromSp:
        cfa = frame.sp + offset_of(rule);
        break;
      case Kind::kFromBp:
        cfa = frame.bp + offset_of(rule);
        break;
      case Kind::kLoadSp:
      case Kind::kLoadBp:
        cfa = load_cfa(frame, limit, rule);
        break;
      case Kind::kSignal:
        if (!step_over_signal(frame, limit, rule)) return count;
        before = 0;
        break;
      case Kind::kNone:
        if (!step_by_frame_pointer(frame, limit)) return count;
        break;
      default:
        if (repeatable) keep_walk(memo, start, frames, slots, count, most);
        return count;
    }
    if (cfa != 0) [[likely]] {
      const Word slot = (cfa - 8 - start.sp) / 8;
      repeatable &= kind_of(rule) == Kind::kFromSp && slot < 1u << 16;
      if (repeatable) slots[count] = static_cast<std::uint16_t>(slot);
      // Strictly above, as the return address is not below sp.
      if (!aligned(cfa) || !limit.covers(cfa - 8, frame.sp)) return count;
      const Word pc = stack_word(cfa - 8);
      if (saved_bp_of(rule) != SavedBp::kSame) frame.bp = callers_bp(frame, limit, rule, cfa);
      frame.pc = pc;
      frame.sp = cfa;
    } else if (kind_of(rule) != Kind::kSignal && kind_of(rule) != Kind::kNone) {
      return count;
    } else {
      repeatable = false;
    }
    // Neither the first page nor the kernel's half holds code of the program.
    if (frame.pc - kPage >= (Word{1} << 47) - kPage) return count;
    frames[count++] = frame.pc;
  }
  if (repeatable) keep_walk(memo, start, frames, slots, count, most);
  return count;
}

std::uint32_t recall_note(const StackStart& start, int most, std::uint32_t key) noexcept {
  const Memo& memo = memo_of(start);
  const std::uint64_t note = __atomic_load_n(&memo.note, __ATOMIC_RELAXED);
  if (note >> 32 != key) return 0;
  // The note is read before the sequence is; it belongs to this walk if it is the same after it.
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (recall_walk(memo, start, most, [](std::uint32_t, Word) {}) == 0) return 0;
  return __atomic_load_n(&memo.note, __ATOMIC_RELAXED) == note ? static_cast<std::uint32_t>(note)
                                                               : 0;
}

void keep_note(const StackStart& start, const std::uintptr_t* frames, int count, int most,
               std::uint32_t key, std::uint32_t note) noexcept {
  Memo& memo = memo_of(start);
  std::uint32_t before = __atomic_load_n(&memo.sequence, __ATOMIC_RELAXED);
  if (before % 2 != 0 || !__atomic_compare_exchange_n(&memo.sequence, &before, before + 1, false,
                                                      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
    return;
  }
  // Another thread may have put another walk here.
  bool same = memo.pc == start.pc && memo.count == static_cast<std::uint32_t>(count) &&
              memo.most == static_cast<std::uint64_t>(most);
  for (int i = 1; same && i < count; ++i) same = memo.frames[i - 1] == frames[i];
  __atomic_thread_fence(__ATOMIC_RELEASE);
  if (same) {
    __atomic_store_n(&memo.note, std::uint64_t{key} << 32 | note, __ATOMIC_RELAXED);
  }
  __atomic_store_n(&memo.sequence, before + 2, __ATOMIC_RELEASE);
}

void forget_unwind_rules() noexcept { __atomic_fetch_add(&generation, 1, __ATOMIC_RELAXED); }

}  // namespace loopscope::probe

#else

namespace loopscope::probe {

void (*g_unwind_asked_in_vain)(int error) noexcept = nullptr;

int unwind(const StackStart& start, std::uintptr_t* frames, int most) noexcept {
  if (most <= 0) return 0;
  frames[0] = start.pc;
  return 1;
}

std::uint32_t recall_note(const StackStart&, int, std::uint32_t) noexcept { return 0; }
void keep_note(const StackStart&, const std::uintptr_t*, int, int, std::uint32_t,
               std::uint32_t) noexcept {}

void forget_unwind_rules() noexcept {}

}  // namespace loopscope::probe

#endif
