// SPDX-License-Identifier: Apache-2.0
#include "memory_model.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "threads_model.h"
#include "traced_atomics.h"

namespace loopscope::model {
namespace {

Memory* g_memory = nullptr;        // whose writer is being traced
Execution* g_execution = nullptr;  // that is being explored
/// Thrown through the reader: this execution leads nowhere.
struct DeadEnd {};

void must(bool holds, const char* otherwise) {
  if (holds) return;
  std::fprintf(stderr, "model: %s\n", otherwise);
  std::abort();
}

bool acquires(int order) {
  return order == __ATOMIC_ACQUIRE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}
bool releases(int order) {
  return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

bool is_within(const void* at, const unsigned char* base, std::size_t bytes) {
  const auto* byte = static_cast<const unsigned char*>(at);
  return byte >= base && byte < base + bytes;
}

std::uint64_t merged(std::uint64_t word, std::uint64_t place, unsigned size, std::uint64_t value) {
  std::memcpy(reinterpret_cast<unsigned char*>(&word) + place % 8, &value, size);
  return word;
}

/// The processor's own.
template <typename Do>
std::uint64_t by_size(unsigned size, Do act) {
  switch (size) {
    case 1:
      return act(std::uint8_t{});
    case 2:
      return act(std::uint16_t{});
    case 4:
      return act(std::uint32_t{});
    default:
      return act(std::uint64_t{});
  }
}

std::uint64_t real_load(const void* at, unsigned size) {
  return by_size(size, [at](auto kind) -> std::uint64_t {
    return __atomic_load_n(static_cast<const decltype(kind)*>(at), __ATOMIC_SEQ_CST);
  });
}
void real_store(void* at, unsigned size, std::uint64_t value) {
  by_size(size, [at, value](auto kind) -> std::uint64_t {
    using T = decltype(kind);
    __atomic_store_n(static_cast<T*>(at), static_cast<T>(value), __ATOMIC_SEQ_CST);
    return 0;
  });
}

}  // namespace

void note(Memory& memory, const Op& op) {
  if (op.kind != Op::Kind::kFence) {
    const std::uint64_t word = op.place / 8 * 8;
    std::uint64_t value = 0;
    std::memcpy(&value, memory.base_ + word, 8);
    memory.program_.before.emplace(word, value);
  }
  memory.program_.ops.push_back(op);
}

/// Before it is done.
static void note_store(Op::Kind kind, const void* at, unsigned size, std::uint64_t value,
                       int order) {
  if (g_memory == nullptr || !is_within(at, g_memory->base(), g_memory->bytes())) return;
  note(*g_memory, {kind, static_cast<std::uint8_t>(size), order, g_memory->place(at), value});
}

// --- what the real code calls ---

std::uint64_t traced_load(const void* at, unsigned size, int order) {
  if (g_execution != nullptr) {
    const Memory& memory = g_execution->memory_;
    if (is_within(at, memory.base(), memory.bytes())) {
      return g_execution->load(memory.place(at), size, order);
    }
  }
  if (Threads* threads = Threads::current()) {
    if (threads->has(at)) return threads->load(at, size, order);
  }
  return real_load(at, size);
}

void traced_store(void* at, unsigned size, std::uint64_t value, int order) {
  if (Threads* threads = Threads::current(); threads != nullptr && threads->has(at)) {
    threads->store(at, size, value, order);
    return;
  }
  note_store(Op::Kind::kStore, at, size, value, order);
  real_store(at, size, value);
}

bool traced_exchange(void* at, unsigned size, std::uint64_t& expected, std::uint64_t desired,
                     int success, int failure) {
  if (Threads* threads = Threads::current(); threads != nullptr && threads->has(at)) {
    return threads->exchange(at, size, expected, desired, success, failure);
  }
  const std::uint64_t there = real_load(at, size);
  if (there != expected) {
    expected = there;
    return false;
  }
  note_store(Op::Kind::kChange, at, size, desired, success);
  real_store(at, size, desired);
  return true;
}

static std::uint64_t traced_change(void* at, unsigned size, int order, std::uint64_t operand,
                                   bool add) {
  if (Threads* threads = Threads::current(); threads != nullptr && threads->has(at)) {
    return threads->change(at, size, order, operand, add);
  }
  const std::uint64_t there = real_load(at, size);
  const std::uint64_t after = add ? there + operand : there | operand;
  note_store(Op::Kind::kChange, at, size, after, order);
  real_store(at, size, after);
  return there;
}
std::uint64_t traced_add(void* at, unsigned size, std::uint64_t amount, int order) {
  return traced_change(at, size, order, amount, true);
}
std::uint64_t traced_or(void* at, unsigned size, std::uint64_t bits, int order) {
  return traced_change(at, size, order, bits, false);
}

void traced_fence(int order) {
  if (g_execution != nullptr) {
    g_execution->fence(order);
  } else if (Threads* threads = Threads::current()) {
    threads->fence(order);
  } else if (g_memory != nullptr && releases(order)) {
    note(*g_memory, {Op::Kind::kFence, 0, order, 0, 0});
  }
}

int traced_yield() {
  if (Threads* threads = Threads::current()) threads->yield();
  return 0;
}

static bool g_single_threaded = false;
bool traced_single_threaded() { return g_single_threaded; }
void believe_single_threaded(bool yes) { g_single_threaded = yes; }

// --- Memory ---

Memory::Memory(void* base, std::size_t bytes)
    : base_(static_cast<unsigned char*>(base)), bytes_(bytes / 8 * 8) {}
Memory::~Memory() = default;

std::uint64_t Memory::place(const void* at) const {
  return static_cast<std::uint64_t>(static_cast<const unsigned char*>(at) - base_);
}

Program Memory::trace(const std::function<void()>& writer) {
  program_ = {};
  g_memory = this;
  writer();
  g_memory = nullptr;
  return std::move(program_);
}

Tally& Tally::operator+=(const Tally& other) {
  executions += other.executions;
  loads += other.loads;
  choices += other.choices;
  excluded += other.excluded;
  return *this;
}

// --- Execution ---

Execution::Execution(Memory& memory, const Program& program)
    : memory_(memory),
      program_(program),
      ids_(static_cast<std::uint16_t*>(std::calloc(memory.bytes() / 8, sizeof(std::uint16_t)))) {
  for (const auto& [place, value] : program_.before) {
    ids_[place / 8] = static_cast<std::uint16_t>(words_.size() + 1);
    words_.push_back({place, {{value, 0, 0}}});
  }
  must(words_.size() < 65535, "too many words");
  std::uint32_t fenced = 0;
  std::uint32_t step = 0;
  for (const Op& op : program_.ops) {
    ++step;
    if (op.kind == Op::Kind::kFence) {
      fenced = step;
      continue;
    }
    Word& word = words_[ids_[op.place / 8] - 1u];
    std::uint32_t view = releases(op.order) ? step : fenced;
    if (op.kind == Op::Kind::kChange && word.stores.back().view > view) {
      view = word.stores.back().view;  // goes on with the release sequence
    }
    word.stores.push_back(
        {merged(word.stores.back().value, op.place, op.size, op.value), step, view});
  }
  show(0);
}

Execution::~Execution() {
  show(program_.ops.size());
  std::free(ids_);
}

void Execution::show(std::size_t ops) {
  for (const Word& word : words_) {
    std::uint64_t value = word.stores.front().value;
    for (const Store& store : word.stores) {
      if (store.step <= ops) value = store.value;
    }
    std::memcpy(memory_.base() + word.place, &value, 8);
  }
}

const Execution::Word& Execution::word_at(const void* at) const {
  const std::uint16_t id = ids_[memory_.place(at) / 8];
  must(id != 0, "the program never stores to the word asked for");
  return words_[id - 1u];
}
std::size_t Execution::stores_to(const void* at) const { return word_at(at).stores.size(); }
std::uint64_t Execution::value_of(const void* at, std::size_t store) const {
  return word_at(at).stores[store].value;
}
std::size_t Execution::step_of(const void* at, std::size_t store) const {
  return word_at(at).stores[store].step;
}

void Execution::pin(const void* at, std::size_t first, std::size_t last) {
  pinned_ = static_cast<std::int32_t>(&word_at(at) - words_.data());
  pinned_first_ = static_cast<std::uint32_t>(first);
  pinned_last_ = static_cast<std::uint32_t>(last);
}

void Execution::branch_only_at(std::vector<const void*> at) {
  for (Word& word : words_) word.branches = false;
  for (const void* one : at) {
    if (const std::uint16_t id = ids_[memory_.place(one) / 8]; id != 0) {
      words_[id - 1u].branches = true;
    }
  }
}

/// Its newest store that a reader with that view knows of.
std::uint32_t Execution::last_known(const Word& word, std::uint32_t view) const {
  std::size_t known = word.stores.size() - 1;
  while (word.stores[known].step > view) --known;
  return static_cast<std::uint32_t>(known);
}

std::size_t Execution::choose(std::size_t count) {
  if (count < 2) return 0;
  ++tally_.choices;
  if (depth_ == path_.size()) path_.push_back({0, static_cast<std::uint32_t>(count)});
  must(path_[depth_].count == count, "the reader did something else than before");
  return path_[depth_++].taken;
}

std::uint64_t Execution::load(std::uint64_t place, unsigned size, int order) {
  std::uint64_t value = 0;
  const std::uint16_t id = ids_[place / 8];
  if (id == 0) {
    std::memcpy(&value, memory_.base() + place, size);
    return value;
  }
  ++tally_.loads;
  Word& word = words_[id - 1u];
  if (word.round != round_) {
    word.round = round_;
    word.floor = 0;
  }
  const std::uint32_t known = last_known(word, acquired_);
  if (known > word.floor) word.floor = known;

  const auto part = [&](const Store& store) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, reinterpret_cast<const unsigned char*>(&store.value) + place % 8, size);
    return bits;
  };
  std::uint32_t taken = word.floor;
  const bool refused = scripted_ < script_.size();
  if (id - 1 == pinned_) {
    std::uint32_t first = pinned_first_;
    std::uint32_t last = pinned_last_;
    if (refused) first = last = script_[scripted_++];
    if (first < word.floor) first = word.floor;
    if (first > last) throw DeadEnd{};
    taken = first + static_cast<std::uint32_t>(choose(last - first + 1));
    pin_unfenced_ = loads_unfenced_ && !refused;
    loads_unfenced_ &= !refused;
  } else {
    std::uint32_t may[256];
    std::size_t count = 0;
    for (std::uint32_t i = word.floor; i < word.stores.size(); ++i) {
      const Store& store = word.stores[i];
      // A copy with this will be refused.
      if (exclude_ && pinned_ >= 0 && !refused) {
        const Word& pinned = words_[static_cast<std::size_t>(pinned_)];
        if (last_known(pinned, store.view) > pinned_last_) {
          ++tally_.excluded;
          continue;
        }
      }
      bool again = false;
      for (std::size_t j = 0; j < count; ++j) {
        const Store& older = word.stores[may[j]];
        again |= part(older) == part(store) && older.view <= store.view;
      }
      if (again) continue;
      must(count < std::size(may), "too many stores to one word");
      may[count++] = i;
    }
    // (None: what is known already is too new, and the pinned word will say so.)
    if (count > 0) taken = word.branches && !refused ? may[choose(count)] : may[0];
    loads_unfenced_ = true;
  }
  const Store& store = word.stores[taken];
  word.floor = taken;
  if (store.view > pending_) pending_ = store.view;
  if (acquires(order) && store.view > acquired_) acquired_ = store.view;
  return part(store);
}

void Execution::fence(int order) {
  if (!acquires(order) || fences_++ == forgotten_fence_) return;
  if (pending_ > acquired_) acquired_ = pending_;
  loads_unfenced_ = false;
}

Tally Execution::explore(const std::function<bool()>& reader, std::uint64_t most) {
  tally_ = {};
  path_.clear();
  exclude_ = true;
  show(0);
  for (;;) {
    ++round_;
    acquired_ = pending_ = 0;
    depth_ = 0;
    fences_ = 0;
    scripted_ = 0;
    loads_unfenced_ = pin_unfenced_ = false;
    bool go_on = true;
    g_execution = this;
    try {
      go_on = reader();
      ++tally_.executions;
    } catch (const DeadEnd&) {
    }
    g_execution = nullptr;
    if (exclude_ && pinned_ >= 0 && pin_unfenced_) {
      // The reader does not do what excluding rests on.
      exclude_ = false;
      path_.clear();
      if (go_on) continue;
    }
    if (!go_on || tally_.executions >= most) return tally_;
    while (!path_.empty() && path_.back().taken + 1 == path_.back().count) path_.pop_back();
    if (path_.empty()) return tally_;
    ++path_.back().taken;
  }
}

// --- mutants ---

Program without_fences(Program program) {
  std::erase_if(program.ops, [](const Op& op) { return op.kind == Op::Kind::kFence; });
  return program;
}

Program relaxed(Program program, std::uint64_t place, std::size_t bytes) {
  for (Op& op : program.ops) {
    if (op.kind != Op::Kind::kFence && op.place >= place && op.place < place + bytes) {
      op.order = __ATOMIC_RELAXED;
    }
  }
  return program;
}

Program earlier(Program program, std::size_t op, std::size_t before) {
  std::rotate(program.ops.begin() + static_cast<std::ptrdiff_t>(before),
              program.ops.begin() + static_cast<std::ptrdiff_t>(op),
              program.ops.begin() + static_cast<std::ptrdiff_t>(op) + 1);
  return program;
}
Program later(Program program, std::size_t op, std::size_t after) {
  std::rotate(program.ops.begin() + static_cast<std::ptrdiff_t>(op),
              program.ops.begin() + static_cast<std::ptrdiff_t>(op) + 1,
              program.ops.begin() + static_cast<std::ptrdiff_t>(after) + 1);
  return program;
}

std::ptrdiff_t find_store(const Program& program, std::uint64_t place, int nth, std::size_t from) {
  for (std::size_t i = from; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    if (op.kind != Op::Kind::kFence && op.place == place && nth-- == 0) {
      return static_cast<std::ptrdiff_t>(i);
    }
  }
  return -1;
}

std::string counted(std::uint64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i != 0 && (digits.size() - i) % 3 == 0) text += ' ';
    text += digits[i];
  }
  return text;
}

}  // namespace loopscope::model
