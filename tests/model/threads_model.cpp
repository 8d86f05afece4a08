// SPDX-License-Identifier: Apache-2.0
#include "threads_model.h"

#include <algorithm>
#include <cstring>

namespace loopscope::model {
namespace {

constexpr std::size_t kStackBytes = 512 * 1024;
Threads* g_threads = nullptr;

bool acquires(int order) {
  return order == __ATOMIC_ACQUIRE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}
bool releases(int order) {
  return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

void join(std::vector<std::uint32_t>& to, const std::vector<std::uint32_t>& from) {
  if (to.size() < from.size()) to.resize(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) to[i] = std::max(to[i], from[i]);
}
std::uint32_t of(const std::vector<std::uint32_t>& view, std::uint32_t word) {
  return word < view.size() ? view[word] : 0;
}
void raise(std::vector<std::uint32_t>& view, std::uint32_t word, std::uint32_t to) {
  if (view.size() <= word) view.resize(word + 1);
  view[word] = std::max(view[word], to);
}

std::uint64_t* word_at(const void* at) {
  return reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::uintptr_t>(at) &
                                          ~std::uintptr_t{7});
}
unsigned offset_in(const void* at) { return reinterpret_cast<std::uintptr_t>(at) & 7; }

std::uint64_t part(std::uint64_t word, const void* at, unsigned size) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, reinterpret_cast<const unsigned char*>(&word) + offset_in(at), size);
  return bits;
}
std::uint64_t merged(std::uint64_t word, const void* at, unsigned size, std::uint64_t value) {
  std::memcpy(reinterpret_cast<unsigned char*>(&word) + offset_in(at), &value, size);
  return word;
}
std::uint64_t cut(std::uint64_t value, unsigned size) {
  return size == 8 ? value : value & ((1ull << (size * 8)) - 1);
}

}  // namespace

Threads::Threads() = default;
Threads::~Threads() = default;
Threads* Threads::current() {
  return g_threads != nullptr && g_threads->running_ >= 0 ? g_threads : nullptr;
}

void Threads::share(void* at, std::size_t bytes) {
  ranges_.push_back({static_cast<unsigned char*>(at), bytes});
}
void Threads::weaken(const void* at, std::size_t bytes) {
  weak_.push_back({static_cast<unsigned char*>(const_cast<void*>(at)), bytes});
}
void Threads::add(std::function<void()> body) {
  threads_.push_back(std::make_unique<Thread>());
  threads_.back()->body = std::move(body);
  threads_.back()->stack = std::make_unique<unsigned char[]>(kStackBytes);
}

static bool lies_in(const void* at, const unsigned char* base, std::size_t bytes) {
  const auto* byte = static_cast<const unsigned char*>(at);
  return byte >= base && byte < base + bytes;
}
bool Threads::has(const void* at) const {
  return std::any_of(ranges_.begin(), ranges_.end(),
                     [at](const Range& range) { return lies_in(at, range.base, range.bytes); });
}
bool Threads::weak(const void* at) const {
  return std::any_of(weak_.begin(), weak_.end(),
                     [at](const Range& range) { return lies_in(at, range.base, range.bytes); });
}

std::uint32_t Threads::word_of(const void* at, bool stores) {
  std::uint64_t* const place = word_at(at);
  const auto [found, is_new] = ids_.emplace(place, static_cast<std::uint32_t>(words_.size()));
  if (is_new) {
    words_.push_back({place, {{*place, {}}}, 0, 0});
    first_.push_back(*place);
  }
  Word& word = words_[found->second];
  const std::uint32_t me = 1u << running_;
  word.users |= me;
  if (stores) word.writers |= me;
  // Several use it and one of them stores: from now on the order matters.
  if (word.writers != 0 && (word.users & (word.users - 1)) != 0 &&
      contended_.insert(place).second) {
    found_contended_ = true;
  }
  return found->second;
}

/// Lets others go first.
void Threads::before(std::uint32_t word, bool stores) {
  if (contended_.count(words_[word].at) == 0) return;
  Thread& me = *threads_[static_cast<std::size_t>(running_)];
  me.next_word = word;
  me.next_stores = stores;
  swapcontext(&me.context, &scheduler_);
}

std::uint32_t Threads::choose(std::vector<std::uint32_t> options) {
  if (options.size() == 1 || dead_) return options.front();
  if (depth_ == path_.size()) path_.push_back({std::move(options), 0, false, {}});
  const Node& node = path_[depth_++];
  return node.options[node.taken];
}

std::uint64_t Threads::read(std::uint32_t word, std::uint32_t store, int order) {
  Thread& me = *threads_[static_cast<std::size_t>(running_)];
  me.last_word = word;
  const Store& seen = words_[word].stores[store];
  raise(me.view, word, store);
  raise(me.pending, word, store);
  join(me.pending, seen.view);
  if (acquires(order)) join(me.view, seen.view);
  return seen.value;
}

void Threads::append(std::uint32_t word, std::uint64_t value, int order, const View* chain) {
  Thread& me = *threads_[static_cast<std::size_t>(running_)];
  Word& its = words_[word];
  const auto index = static_cast<std::uint32_t>(its.stores.size());
  raise(me.view, word, index);
  raise(me.pending, word, index);
  View view = releases(order) ? me.view : me.released;
  raise(view, word, index);
  if (chain != nullptr) join(view, *chain);
  its.stores.push_back({value, std::move(view)});
  *its.at = value;
  for (const auto& thread : threads_) thread->waiting = false;
}

std::uint64_t Threads::load(const void* at, unsigned size, int order) {
  if (weak(at)) order = __ATOMIC_RELAXED;
  const std::uint32_t word = word_of(at, false);
  before(word, false);
  const Thread& me = *threads_[static_cast<std::size_t>(running_)];
  const std::vector<Store>& stores = words_[word].stores;
  std::vector<std::uint32_t> options;
  for (std::uint32_t i = of(me.view, word); i < stores.size(); ++i) options.push_back(i);
  return part(read(word, choose(std::move(options)), order), at, size);
}

void Threads::store(void* at, unsigned size, std::uint64_t value, int order) {
  if (weak(at)) order = __ATOMIC_RELAXED;
  const std::uint32_t word = word_of(at, true);
  before(word, true);
  append(word, merged(words_[word].stores.back().value, at, size, value), order, nullptr);
}

bool Threads::exchange(void* at, unsigned size, std::uint64_t& expected, std::uint64_t desired,
                       int success, int failure) {
  if (weak(at)) success = failure = __ATOMIC_RELAXED;
  const std::uint32_t word = word_of(at, true);
  before(word, true);
  const Thread& me = *threads_[static_cast<std::size_t>(running_)];
  const std::vector<Store>& stores = words_[word].stores;
  const auto newest = static_cast<std::uint32_t>(stores.size() - 1);
  // Succeeds with the newest alone; may fail with any that is not as expected.
  std::vector<std::uint32_t> options;
  for (std::uint32_t i = of(me.view, word); i <= newest; ++i) {
    if (i == newest || part(stores[i].value, at, size) != expected) options.push_back(i);
  }
  const std::uint32_t taken = choose(std::move(options));
  const std::uint64_t there = part(stores[taken].value, at, size);
  if (there != expected) {
    read(word, taken, failure);
    expected = there;
    return false;
  }
  read(word, taken, success);
  const View chain = words_[word].stores.back().view;
  append(word, merged(words_[word].stores.back().value, at, size, desired), success, &chain);
  return true;
}

std::uint64_t Threads::change(void* at, unsigned size, int order, std::uint64_t operand, bool add) {
  if (weak(at)) order = __ATOMIC_RELAXED;
  const std::uint32_t word = word_of(at, true);
  before(word, true);
  const auto newest = static_cast<std::uint32_t>(words_[word].stores.size() - 1);
  const std::uint64_t there = part(read(word, newest, order), at, size);
  const std::uint64_t after = cut(add ? there + operand : there | operand, size);
  const View chain = words_[word].stores.back().view;
  append(word, merged(words_[word].stores.back().value, at, size, after), order, &chain);
  return there;
}

void Threads::fence(int order) {
  if (!fences_) return;
  Thread& me = *threads_[static_cast<std::size_t>(running_)];
  if (acquires(order)) join(me.view, me.pending);
  if (releases(order)) me.released = me.view;
}

void Threads::yield() {
  Thread& me = *threads_[static_cast<std::size_t>(running_)];
  // What it saw last may be old; it will not stay so for ever.
  const auto newest = static_cast<std::uint32_t>(words_[me.last_word].stores.size() - 1);
  if (of(me.view, me.last_word) < newest) {
    raise(me.view, me.last_word, newest);
    return;
  }
  me.waiting = true;
  me.next_word = ~0u;
  me.next_stores = false;
  swapcontext(&me.context, &scheduler_);
}

void Threads::enter(unsigned low, unsigned high) {
  auto* self = reinterpret_cast<Threads*>(static_cast<std::uintptr_t>(high) << 32 | low);
  Thread& me = *self->threads_[static_cast<std::size_t>(self->running_)];
  me.body();
  me.done = true;
}

void Threads::reset() {
  for (std::size_t i = 0; i < words_.size(); ++i) *words_[i].at = first_[i];
  ids_.clear();
  words_.clear();
  first_.clear();
  for (const auto& thread : threads_) {
    thread->done = thread->waiting = false;
    thread->next_word = ~0u;
    thread->next_stores = false;
    thread->last_word = 0;
    thread->view.clear();
    thread->pending.clear();
    thread->released.clear();
    getcontext(&thread->context);
    thread->context.uc_stack.ss_sp = thread->stack.get();
    thread->context.uc_stack.ss_size = kStackBytes;
    thread->context.uc_link = &scheduler_;
    const auto self = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&thread->context, reinterpret_cast<void (*)()>(&Threads::enter), 2,
                static_cast<unsigned>(self), static_cast<unsigned>(self >> 32));
  }
  depth_ = 0;
  asleep_.clear();
  dead_ = false;
}

/// Whose turn it is; false if nobody can go on.
bool Threads::pick() {
  std::vector<std::uint32_t> able;
  for (std::uint32_t i = 0; i < threads_.size(); ++i) {
    if (!threads_[i]->done && !threads_[i]->waiting) able.push_back(i);
  }
  if (able.empty()) return false;
  const auto sleeps = [this](std::uint32_t one) {
    return std::find(asleep_.begin(), asleep_.end(), one) != asleep_.end();
  };
  std::uint32_t next = able.front();
  if (!dead_) {
    std::vector<std::uint32_t> awake;
    for (const std::uint32_t one : able) {
      if (!sleeps(one)) awake.push_back(one);
    }
    if (awake.empty()) {
      dead_ = true;  // runs on to its end, for its destructors, and counts for nothing
    } else {
      if (depth_ == path_.size()) path_.push_back({awake, 0, true, asleep_});
      const Node& node = path_[depth_++];
      next = node.options[node.taken];
      // Who was tried here before sleeps until something it depends on is done.
      std::vector<std::uint32_t> candidates = node.asleep;
      candidates.insert(candidates.end(), node.options.begin(),
                        node.options.begin() + static_cast<std::ptrdiff_t>(node.taken));
      asleep_.clear();
      const Thread& goes = *threads_[next];
      for (const std::uint32_t one : candidates) {
        const Thread& other = *threads_[one];
        const bool unordered =
            goes.next_word != other.next_word || (!goes.next_stores && !other.next_stores);
        // At its begin, and while it waits, nothing is known of what it does next.
        if (unordered && goes.next_word != ~0u && other.next_word != ~0u) asleep_.push_back(one);
      }
    }
  }
  running_ = static_cast<std::int32_t>(next);
  ++count_.switches;
  swapcontext(&scheduler_, &threads_[next]->context);
  running_ = -1;
  return true;
}

bool Threads::advance() {
  while (!path_.empty() && path_.back().taken + 1 == path_.back().options.size()) path_.pop_back();
  if (path_.empty()) return false;
  ++path_.back().taken;
  return true;
}

Threads::Count Threads::explore(const std::function<bool()>& check, std::uint64_t most) {
  count_ = {};
  path_.clear();
  contended_.clear();
  words_.clear();
  first_.clear();
  g_threads = this;
  for (;;) {
    reset();
    found_contended_ = false;
    while (pick()) {
    }
    const bool stuck = std::any_of(threads_.begin(), threads_.end(),
                                   [](const auto& thread) { return !thread->done; });
    if (found_contended_) {
      // Not known when the tree was begun.
      path_.clear();
      count_ = {};
      if (!stuck) continue;
    }
    if (!dead_ || stuck) {
      ++count_.executions;
      count_.stuck |= stuck;
      if (stuck || !check()) break;
    }
    if (count_.executions >= most) {
      count_.ended = false;
      break;
    }
    if (!advance()) break;
  }
  g_threads = nullptr;
  for (std::size_t i = 0; i < words_.size(); ++i) *words_[i].at = first_[i];
  words_.clear();
  first_.clear();
  ids_.clear();
  return count_;
}

}  // namespace loopscope::model
