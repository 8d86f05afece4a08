// SPDX-License-Identifier: Apache-2.0
//
// Every interleaving of a few threads that run the real code (traced_atomics.h), each load free to
// return any store that C++'s memory model allows it (see memory_model.h). For what several threads
// write: tables of sites and incidents, two that close one number, locks.
//
// The threads are contexts of one; each is switched away from before an access to a word that
// another one uses as well, of which one stores. Two such accesses to different words, or two
// loads, come to the same in either order: one order is tried (sleep sets). A store comes last in
// its word's order when it is done; executions in which two threads' stores to two words are
// ordered crosswise are not among these.
//
// Not thread-safe.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace loopscope::model {

class Threads {
 public:
  Threads();
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  /// Memory that the threads share. It is put back before each execution.
  void share(void* at, std::size_t bytes);
  void add(std::function<void()> body);

  struct Count {
    std::uint64_t executions = 0;
    std::uint64_t switches = 0;
    bool stuck = false;  // an execution in which everybody waits
    bool ended = true;   // all were tried
  };
  /// Runs the threads in each way there is. `check` sees what they leave; false ends it.
  Count explore(const std::function<bool()>& check, std::uint64_t most = 2'000'000);

  /// Mutants: acquire and release mean nothing at [at, at + bytes); fences do nothing.
  void weaken(const void* at, std::size_t bytes);
  void forget_fences() { fences_ = false; }

  // For traced_atomics.h: of the thread that is running; null outside.
  static Threads* current();
  bool has(const void* at) const;
  std::uint64_t load(const void* at, unsigned size, int order);
  void store(void* at, unsigned size, std::uint64_t value, int order);
  bool exchange(void* at, unsigned size, std::uint64_t& expected, std::uint64_t desired,
                int success, int failure);
  std::uint64_t change(void* at, unsigned size, int order, std::uint64_t operand, bool add);
  void fence(int order);
  void yield();

 private:
  /// Of each word that is shared, by its id: the newest store that is known.
  using View = std::vector<std::uint32_t>;
  struct Store {
    std::uint64_t value;
    View view;
  };
  struct Word {
    std::uint64_t* at;
    std::vector<Store> stores;
    std::uint32_t users = 0;  // bit by thread
    std::uint32_t writers = 0;
  };
  struct Range {
    unsigned char* base;
    std::size_t bytes;
  };
  struct Thread {
    std::function<void()> body;
    std::unique_ptr<unsigned char[]> stack;
    ucontext_t context;
    bool done = false;
    bool waiting = false;  // until another one has stored
    std::uint32_t next_word = 0;
    bool next_stores = false;
    std::uint32_t last_word = 0;  // that it read
    View view;                    // knows of
    View pending;                 // will, after an acquire fence
    View released;                // knew of at its last release fence
  };
  struct Node {  // who goes on, or what a load returns
    std::vector<std::uint32_t> options;
    std::size_t taken = 0;
    bool is_thread = false;
    std::vector<std::uint32_t> asleep;  // threads, as the node was reached
  };

  static void enter(unsigned low, unsigned high);
  std::uint32_t word_of(const void* at, bool stores);
  void before(std::uint32_t word, bool stores);
  std::uint32_t choose(std::vector<std::uint32_t> options);
  std::uint64_t read(std::uint32_t word, std::uint32_t store, int order);
  void append(std::uint32_t word, std::uint64_t value, int order, const View* chain);
  bool weak(const void* at) const;
  bool pick();
  bool advance();
  void reset();

  std::vector<Range> ranges_;
  std::vector<Range> weak_;
  bool fences_ = true;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::unordered_map<std::uint64_t*, std::uint32_t> ids_;
  std::vector<Word> words_;
  std::vector<std::uint64_t> first_;  // value of each word before
  std::unordered_set<std::uint64_t*> contended_;
  bool found_contended_ = false;
  ucontext_t scheduler_;
  std::int32_t running_ = -1;

  std::vector<Node> path_;
  std::size_t depth_ = 0;
  std::vector<std::uint32_t> asleep_;
  bool dead_ = false;  // this execution is another one in another order
  Count count_;
};

}  // namespace loopscope::model
