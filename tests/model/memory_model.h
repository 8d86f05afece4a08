// SPDX-License-Identifier: Apache-2.0
//
// Every execution that C++'s memory model allows of one writer and one reader of a recording, both
// the real code (traced_atomics.h).
//
// The writer never reads what a reader writes (readers write nothing), so it is run once, and what
// it did is kept as a Program: stores and fences in their order. A load of the reader may then
// return any store to that word that it is not too late for, as the standard's release and acquire
// have it:
//
//   a store carries what its writer is known to have stored before: all of it for a release store,
//   what was before the last release fence for a relaxed one
//   an acquire load, or a relaxed one with an acquire fence after it, takes over what the store
//   carried: from then on nothing older may be read, of no word
//   and no word's older store after its newer one
//
// Words of eight bytes are the unit: two cells in one word change hands together, as they do in a
// cache line. Executions are enumerated depth first by running the reader again. Of two stores of
// one value to a word the newer is not tried if it carries no less: whatever may follow it may
// follow the older.
//
// Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace loopscope::model {

struct Op {
  enum class Kind : std::uint8_t { kStore, kChange, kFence };  // kChange: a read-modify-write
  Kind kind;
  std::uint8_t size;
  int order;
  std::uint64_t place;  // byte offset
  std::uint64_t value;
};
struct Program {
  std::vector<Op> ops;
  std::map<std::uint64_t, std::uint64_t> before;  // of each word that is stored to; by place
};

/// The bytes that are modelled. One at a time.
class Memory {
 public:
  Memory(void* base, std::size_t bytes);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  /// Runs `writer` and returns what it did here.
  Program trace(const std::function<void()>& writer);
  /// So many ops the writer that is being traced has done.
  std::size_t traced() const { return program_.ops.size(); }

  std::uint64_t place(const void* at) const;
  unsigned char* base() const { return base_; }
  std::size_t bytes() const { return bytes_; }

 private:
  friend void note(Memory& memory, const Op& op);
  unsigned char* base_;
  std::size_t bytes_;
  Program program_;
};

struct Tally {
  std::uint64_t executions = 0;  // of the reader, to its end
  std::uint64_t loads = 0;
  std::uint64_t choices = 0;   // loads that could return more than one store
  std::uint64_t excluded = 0;  // stores that a load could have returned, but see pin()

  Tally& operator+=(const Tally& other);
};

/// What a Program leaves in a Memory, and what a reader may see of it.
class Execution {
 public:
  /// The memory becomes what it was before the program.
  Execution(Memory& memory, const Program& program);
  /// It becomes what the program left.
  ~Execution();
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;

  /// The memory as a writer leaves it that is killed after so many ops.
  void show(std::size_t ops);

  /// Stores to the word that `at` is in, its first value included.
  std::size_t stores_to(const void* at) const;
  std::uint64_t value_of(const void* at, std::size_t store) const;
  /// How many ops were done before that one.
  std::size_t step_of(const void* at, std::size_t store) const;

  /// Only executions in which each load of that word returns that store of it: a sequence word or a
  /// generation that a reader wants to find unchanged. What a reader whose copy was refused does
  /// next is what it could have done at once. A store that can only be returned by a copy that is
  /// refused is not tried: `excluded`. For that the reader must have an acquire fence between its
  /// last other load and its last load of that word; where it has none, nothing is excluded.
  void pin(const void* at, std::size_t store) { pin(at, store, store); }
  /// Likewise of the stores `first` to `last`, which have the same meaning.
  void pin(const void* at, std::size_t first, std::size_t last);
  void unpin() { pinned_ = -1; }
  /// The first loads of the pinned word return these stores instead, and other words' oldest until
  /// then: a reader that is refused at first and tries again by other code. (It can know less than
  /// this in no way.)
  void refused_first(std::vector<std::uint32_t> stores) { script_ = std::move(stores); }
  /// Branches at these words alone; of others, the oldest store that may be returned is.
  void branch_only_at(std::vector<const void*> words);

  /// A mutant: the reader's fence of that number does nothing (0: the first of an execution).
  void forget_fence(int number) { forgotten_fence_ = number; }

  /// Runs the reader in each execution until it returns false or `most` were tried.
  Tally explore(const std::function<bool()>& reader, std::uint64_t most = 50'000'000);

 private:
  friend std::uint64_t traced_load(const void*, unsigned, int);
  friend void traced_fence(int);

  struct Store {
    std::uint64_t value;
    std::uint32_t step;  // ops before it, plus one; 0: the first value
    std::uint32_t view;  // all stores of a step up to this are known to who takes it over
  };
  struct Word {
    std::uint64_t place;
    std::vector<Store> stores;
    std::uint32_t floor = 0;  // the reader has seen this one or knows of it
    std::uint64_t round = 0;  // of which `floor` is
    bool branches = true;
  };

  const Word& word_at(const void* at) const;
  std::uint64_t load(std::uint64_t place, unsigned size, int order);
  void fence(int order);
  std::size_t choose(std::size_t count);
  std::uint32_t last_known(const Word& word, std::uint32_t view) const;
  Memory& memory_;
  Program program_;
  std::vector<Word> words_;
  std::uint16_t* ids_;  // by place / 8: index in words_ plus 1

  std::int32_t pinned_ = -1;
  std::uint32_t pinned_first_ = 0;
  std::uint32_t pinned_last_ = 0;
  std::vector<std::uint32_t> script_;
  std::size_t scripted_ = 0;
  bool exclude_ = true;
  bool loads_unfenced_ = false;
  bool pin_unfenced_ = false;
  int forgotten_fence_ = -1;
  int fences_ = 0;

  // One execution.
  std::uint64_t round_ = 0;
  std::uint32_t acquired_ = 0;
  std::uint32_t pending_ = 0;
  struct Choice {
    std::uint32_t taken;
    std::uint32_t count;
  };
  std::vector<Choice> path_;
  std::size_t depth_ = 0;
  Tally tally_;
};

// --- mutants: what the program would be if somebody changed the code ---

/// The fences are not there.
Program without_fences(Program program);
/// Stores to [at, at + bytes) are relaxed.
Program relaxed(Program program, std::uint64_t place, std::size_t bytes = 1);
/// The store at index `op` is done before the one at `before`, or after the one at `after`.
Program earlier(Program program, std::size_t op, std::size_t before);
Program later(Program program, std::size_t op, std::size_t after);
/// Index of a store to `place`: the `nth` (0: the first) from op `from` on; -1: there is none.
std::ptrdiff_t find_store(const Program& program, std::uint64_t place, int nth = 0,
                          std::size_t from = 0);

std::string counted(std::uint64_t number);  // "12 345"
/// What the code under test is told of its process; false at first.
void believe_single_threaded(bool yes);

}  // namespace loopscope::model
