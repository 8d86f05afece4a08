// SPDX-License-Identifier: Apache-2.0
#include "loopscope/testing/fd_leak_scope.h"

#include <fnmatch.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <stdexcept>
#include <thread>
#include <utility>

#include "instrumentation/findings/blame.h"
#include "testing/open_places.h"
#include "testing/own_descriptors.h"

namespace loopscope::testing {
namespace {

constexpr std::size_t kShownDescriptors = 8;  // of one place
constexpr std::size_t kShownCallers = 5;

/// A descriptor with its generation in the probe's ledger.
struct Known {
  OwnDescriptor descriptor;
  std::uint32_t generation = 0;
};

std::vector<Known> look_at_all() {
  std::vector<Known> all;
  std::vector<std::int32_t> numbers;
  for (const OwnDescriptor& descriptor : list_own_descriptors()) {
    all.push_back({descriptor, 0});
    numbers.push_back(descriptor.fd);
  }
  const std::vector<std::uint32_t> found = generations(numbers);
  for (std::size_t i = 0; i < all.size(); ++i) all[i].generation = found[i];
  return all;
}

const Known* find(const std::vector<Known>& all, int fd) {
  const auto found = std::lower_bound(all.begin(), all.end(), fd,
                                      [](const Known& a, int b) { return a.descriptor.fd < b; });
  return found != all.end() && found->descriptor.fd == fd ? &*found : nullptr;
}

/// The same file under the same number is the same descriptor, also if it was away for a while: who
/// redirects stdout and puts it back by dup2(2) has leaked nothing. Anonymous inodes are all one
/// file; there the ledger knows, if it had both open.
bool same_descriptor(const Known& a, const Known& b) {
  if (!same_file(a.descriptor, b.descriptor)) return false;
  const bool anonymous = a.descriptor.type == 0;
  const bool both_in_ledger = a.generation % 2 == 1 && b.generation % 2 == 1;
  return !anonymous || !both_in_ledger || a.generation == b.generation;
}

bool matches(const std::string& pattern, const std::string& text) {
  return ::fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
}

bool allows(const FdAllowance& allowance, const FdLeak& leak) {
  if (!matches(allowance.kind, leak.kind) || !matches(allowance.target, leak.target)) return false;
  if (allowance.where == "*") return true;
  return std::any_of(leak.stack.begin(), leak.stack.end(), [&](const FdFrame& frame) {
    return matches(allowance.where, frame.function) || matches(allowance.where, frame.file) ||
           matches(allowance.where, frame.module);
  });
}

recording::StackFrame internal_frame(const FdFrame& frame) {
  recording::StackFrame one;
  one.function = frame.function;
  one.file = frame.file;
  one.line = frame.line;
  one.module = frame.module;
  one.offset = frame.offset;
  one.inlined = frame.inlined;
  one.script = frame.script;
  return one;
}

bool is_of_framework(const FdFrame& frame) {
  return frame.function.starts_with("testing::") || frame.function.starts_with("Catch::") ||
         frame.function.find(" testing::internal::") != std::string::npos;
}

/// The program's own calls that led to `leak.where`, up to the test.
std::vector<std::string> callers(const FdLeak& leak) {
  std::vector<std::string> names;
  bool beyond = false;
  for (const FdFrame& each : leak.stack) {
    if (is_of_framework(each)) break;
    const recording::StackFrame frame = internal_frame(each);
    std::string name = findings::place_name(frame);
    if (beyond && findings::is_own_frame(frame) && names.size() < kShownCallers) {
      names.push_back(std::move(name));
    } else if (name == leak.where) {
      beyond = true;
    }
  }
  return names;
}

std::string advice() {
  switch (probe_state()) {
    case ProbeState::kAbsent:
      return "To see the line that opened them, run the tests under `loopscope check -- "
             "COMMAND`.\n";
    case ProbeState::kOtherVersion:
      return "The preloaded probe is of another loopscope than this program is linked with, so the "
             "lines that opened them are not known here; use one version of both.\n";
    case ProbeState::kNotRecording:
      return "The probe is preloaded but records nothing (is there room in the directory of "
             "recordings?), so the lines that opened them are not known.\n";
    case ProbeState::kPresent:
      break;
  }
  return "Those without a place were opened out of the probe's sight (inside libc, by a system "
         "call "
         "of its own, or before it could record).\n";
}

}  // namespace

std::vector<FdAllowance> first_use() {
  return {
      {"unix", "*-> /dev/log", "*", "syslog(3) keeps its socket", 1},
      {"unix", "*-> /run/systemd/journal/*", "*", "the journal's socket is kept", 1},
      {"unix", "*-> */sss/pipes/*", "*", "the name service SSSD keeps its socket", 1},
      {"file", "/var/lib/sss/mc/*", "*", "the name service SSSD keeps its maps", 3},
      {"unix", "*-> */nscd/socket", "*", "nscd's socket, for look-ups", 1},
      {"device", "/dev/urandom", "*", "the source of random numbers is kept", 1},
      {"device", "/dev/random", "*", "the source of random numbers is kept", 1},
  };
}

FdLeakOptions& default_options() {
  static auto* const options = new FdLeakOptions;  // for ever: static destructors may hold scopes
  return *options;
}

struct FdLeakScope::State {
  State(FdLeakOptions with, AtEnd then) : options(std::move(with)), at_end(std::move(then)) {}

  FdLeakOptions options;
  AtEnd at_end;
  pid_t process = ::getpid();
  std::vector<Known> before = look_at_all();
  std::vector<Known> ignored;
  std::vector<std::function<bool(const FdLeak&)>> predicates;
  std::vector<Allowed> allowed;
  bool asked = false;

  bool is_new(const Known& known) const {
    const Known* was = find(before, known.descriptor.fd);
    if (was != nullptr && same_descriptor(*was, known)) return false;
    return std::none_of(ignored.begin(), ignored.end(), [&](const Known& each) {
      return each.descriptor.fd == known.descriptor.fd && same_descriptor(each, known);
    });
  }

  bool ignores(const FdLeak& leak) const {
    if (options.ignore_if && options.ignore_if(leak)) return true;
    return std::any_of(predicates.begin(), predicates.end(),
                       [&](const auto& predicate) { return predicate(leak); });
  }

  std::vector<FdLeak> look();
  const FdAllowance* allowance_for(const FdLeak& leak, const std::vector<Known>& open) const;
};

/// The one that lets `leak` stay; `open`: what else is open, and counts towards its number.
const FdAllowance* FdLeakScope::State::allowance_for(const FdLeak& leak,
                                                     const std::vector<Known>& open) const {
  for (const FdAllowance& allowance : options.allowed) {
    if (!allows(allowance, leak)) continue;
    if (allowance.most == ~0u) return &allowance;
    unsigned others = 0;
    for (const Known& known : open) {
      // Those with higher numbers are judged after this one.
      if (known.descriptor.fd >= leak.fd && is_new(known)) continue;
      const OwnTarget target = target_of(known.descriptor.fd);
      if (matches(allowance.kind, target.kind) && matches(allowance.target, target.target)) {
        ++others;
      }
    }
    if (others < allowance.most) return &allowance;
  }
  return nullptr;
}

std::vector<FdLeak> FdLeakScope::State::look() {
  const std::vector<Known> open = look_at_all();
  std::vector<FdLeak> found;
  for (const Known& known : open) {
    if (!is_new(known)) continue;
    FdLeak leak;
    leak.fd = known.descriptor.fd;
    OwnTarget target = target_of(leak.fd);
    leak.kind = std::move(target.kind);
    leak.target = std::move(target.target);
    leak.reused = find(before, leak.fd) != nullptr;
    leak.device = known.descriptor.device;
    leak.inode = known.descriptor.inode;
    leak.generation = known.generation % 2 == 1 ? known.generation : 0;
    found.push_back(std::move(leak));
  }
  if (!found.empty()) find_places(found);
  allowed.clear();
  std::vector<FdLeak> leaks;
  for (FdLeak& leak : found) {
    if (ignores(leak)) continue;
    if (const FdAllowance* allowance = allowance_for(leak, open)) {
      allowed.push_back({std::move(leak), allowance->reason});
    } else {
      leaks.push_back(std::move(leak));
    }
  }
  return leaks;
}

FdLeakScope::FdLeakScope() : FdLeakScope(default_options(), AtEnd()) {}
FdLeakScope::FdLeakScope(FdLeakOptions options) : FdLeakScope(std::move(options), AtEnd()) {}
FdLeakScope::FdLeakScope(AtEnd at_end) : FdLeakScope(default_options(), std::move(at_end)) {}
FdLeakScope::FdLeakScope(FdLeakOptions options, AtEnd at_end)
    : state_(std::make_unique<State>(std::move(options), std::move(at_end))) {}

FdLeakScope::~FdLeakScope() {
  if (!state_->at_end && state_->asked) return;
  const std::vector<FdLeak> found = leaks();
  if (found.empty()) return;
  if (state_->at_end) {
    state_->at_end(found);
  } else {
    std::fputs(("loopscope: " + describe(found)).c_str(), stderr);
  }
}

void FdLeakScope::ignore(int fd) {
  Known known;
  if (!look_at(fd, known.descriptor)) {
    throw std::invalid_argument("FdLeakScope::ignore(" + std::to_string(fd) +
                                "): no descriptor of this number is open; call it while the "
                                "descriptor is");
  }
  known.generation = generations({fd}).front();
  state_->ignored.push_back(known);
}

void FdLeakScope::allow(FdAllowance allowance) {
  state_->options.allowed.push_back(std::move(allowance));
}

void FdLeakScope::ignore_if(std::function<bool(const FdLeak&)> predicate) {
  state_->predicates.push_back(std::move(predicate));
}

std::vector<FdLeak> FdLeakScope::leaks() {
  using Clock = std::chrono::steady_clock;
  state_->asked = true;
  // A forked child has its parent's descriptors by inheritance, and its own to answer for.
  if (state_->process != ::getpid()) return {};
  const Clock::time_point end = Clock::now() + state_->options.patience;
  constexpr auto kLongestPause = std::chrono::milliseconds(20);
  for (auto pause = std::chrono::milliseconds(1);; pause = std::min(2 * pause, kLongestPause)) {
    std::vector<FdLeak> found = state_->look();
    const auto left = end - Clock::now();
    if (found.empty() || left <= Clock::duration::zero()) return found;
    std::this_thread::sleep_for(std::min<Clock::duration>(pause, left));
  }
}

const std::vector<FdLeakScope::Allowed>& FdLeakScope::allowed() const { return state_->allowed; }

bool fd_is_still_open(const FdLeak& leak) {
  Known known;
  if (!look_at(leak.fd, known.descriptor)) return false;
  if (known.descriptor.device != leak.device || known.descriptor.inode != leak.inode) return false;
  const std::uint32_t generation = generations({leak.fd}).front();
  return leak.generation == 0 || generation % 2 == 0 || generation == leak.generation;
}

std::string describe(const std::vector<FdLeak>& leaks, const std::string& when) {
  if (leaks.empty()) return "";
  std::string text = leaks.size() == 1
                         ? "1 descriptor that was opened " + when + " is still open\n"
                         : std::to_string(leaks.size()) + " descriptors that were opened " + when +
                               " are still open\n";
  std::vector<std::vector<const FdLeak*>> places;
  for (const FdLeak& leak : leaks) {
    const auto same = std::find_if(places.begin(), places.end(), [&](const auto& place) {
      return place.front()->where == leak.where && callers(*place.front()) == callers(leak);
    });
    if (same != places.end()) {
      same->push_back(&leak);
    } else {
      places.push_back({&leak});
    }
  }
  bool unknown = false;
  for (const auto& place : places) {
    const FdLeak& first = *place.front();
    unknown = unknown || first.where.empty();
    if (!first.where.empty()) {
      text += "  opened at " + first.where + "\n";
      for (const std::string& caller : callers(first)) text += "    called by " + caller + "\n";
    }
    for (std::size_t i = 0; i < std::min(place.size(), kShownDescriptors); ++i) {
      const FdLeak& leak = *place[i];
      text += "      fd " + std::to_string(leak.fd) + "  " + leak.kind;
      if (!leak.target.empty()) text += "  " + leak.target;
      if (leak.reused) text += "  (the number belonged to another descriptor at the start)";
      text += "\n";
    }
    if (place.size() > kShownDescriptors) {
      text += "      and " + std::to_string(place.size() - kShownDescriptors) + " more\n";
    }
  }
  if (unknown) text += advice();
  return text;
}

}  // namespace loopscope::testing
