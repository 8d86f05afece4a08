// SPDX-License-Identifier: Apache-2.0
#include "cli/stall_watch.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <system_error>

#include "cli/observation.h"
#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/directory.h"
#include "instrumentation/snapshot/symbol_names.h"

namespace loopscope::cli {
namespace {

using findings::StallGlance;
using recording::StalledLoop;

constexpr std::uint64_t kShortestInterval = 2'000'000;
constexpr std::uint64_t kLongestInterval = 100'000'000;
/// How often processes are asked whether they still live.
constexpr std::uint64_t kEndedInterval = 200'000'000;
/// A turn that has just passed the limit, and not one that is just about to.
constexpr std::uint64_t kPast = 100'000;
/// Each glance at a loop is of a longer stall than the one before: more than a few means that all
/// of its turns are long.
constexpr unsigned kMostGlancesOfLoop = 16;
constexpr unsigned kMostGlances = 256;
constexpr int kTriesOfGlance = 5;
/// A recording is complete some µs after its file appears.
constexpr unsigned kMostTries = 20;

/// Of the last change; 0: no such directory.
std::int64_t changed_ns(const std::string& directory) {
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0) return 0;
  return static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec;
}

StallGlance::Doing doing_of(const process::ThreadLook& look) {
  switch (look.state) {
    case 'T':
    case 't':
      return StallGlance::Doing::kStopped;
    case 'R':
      // It was blocked an instant later.
      return look.call ? StallGlance::Doing::kBlocked : StallGlance::Doing::kComputing;
    case 'S':
    case 'D':
      return StallGlance::Doing::kBlocked;
    default:
      return StallGlance::Doing::kUnknown;
  }
}

}  // namespace

StallWatch::StallWatch(std::vector<std::string> directories, pid_t run, std::uint64_t limit_ns)
    : directories_(std::move(directories)),
      run_(run),
      limit_ns_(limit_ns),
      interval_ns_(std::clamp(limit_ns / 4, kShortestInterval, kLongestInterval)),
      names_(snapshot::symbol_names()),
      thread_([this] { guarded([this] { watch(); }); }) {}

/// A report without a stack is better than none: what goes wrong ends the looking, not the command.
void StallWatch::guarded(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& error) {
    trouble_ = what_of(error);
  }
}

StallWatch::~StallWatch() { stop(); }

void StallWatch::stop() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  thread_.join();
  watched_.clear();
  guarded([this] {
    while (name_one()) {
    }
  });
}

std::vector<StallGlance> StallWatch::take(const recording::RecordingName& name) {
  std::vector<StallGlance> glances;
  const LoopKey from{name.pid, name.start_ticks, name.image, 0, 0};
  for (auto at = loops_.lower_bound(from);
       at != loops_.end() && std::get<0>(at->first) == name.pid &&
       std::get<1>(at->first) == name.start_ticks && std::get<2>(at->first) == name.image;
       ++at) {
    for (const auto* kept : {&at->second.longest, &at->second.before}) {
      if (*kept) glances.push_back((*kept)->glance);
    }
  }
  return glances;
}

void StallWatch::watch() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    lock.unlock();
    const std::uint64_t now = recording::monotonic_ns();
    find_recordings();
    drop_ended(now);
    const std::uint64_t pause = look(now);
    lock.lock();
    stopped_.wait_for(lock, std::chrono::nanoseconds(pause), [this] { return stop_; });
  }
}

void StallWatch::find_recordings() {
  for (const std::string& directory : directories_) {
    const std::int64_t changed = changed_ns(directory);
    std::int64_t& listed = listed_[directory];
    if (changed == 0 || changed == listed) continue;
    // A change in the same tick of the kernel's clock would not be seen later.
    constexpr std::int64_t kTick = 20'000'000;
    const auto realtime = static_cast<std::int64_t>(recording::realtime_ns());
    listed = realtime - changed > kTick ? changed : 0;
    DIR* entries = ::opendir(directory.c_str());
    if (entries == nullptr) continue;
    while (const dirent* entry = ::readdir(entries)) {
      recording::RecordingName name;
      if (!recording::parse_recording_name(entry->d_name, name) || name.run_pid != run_) continue;
      const std::string path = directory + "/" + entry->d_name;
      if (watched_.contains(path) || done_.contains(path)) continue;
      auto reader = recording::Reader::open(path, false);
      // A thread is stopped by its number: only if name and content agree whose that is.
      if (reader && reader->pid() != name.pid) {
        done_.insert(path);
        continue;
      }
      if (reader) {
        watched_.emplace(path, Watched{*std::move(reader), name});
        tried_.erase(path);
      } else if (++tried_[path] == kMostTries) {
        done_.insert(path);
        tried_.erase(path);
      } else {
        listed = 0;
      }
    }
    ::closedir(entries);
  }
}

void StallWatch::drop_ended(std::uint64_t now) {
  if (now - ended_looked_for_ns_ < kEndedInterval) return;
  ended_looked_for_ns_ = now;
  for (auto at = watched_.begin(); at != watched_.end();) {
    if (at->second.reader.alive()) {
      ++at;
      continue;
    }
    done_.insert(at->first);
    at = watched_.erase(at);
  }
}

/// How long to wait until the next.
std::uint64_t StallWatch::look(std::uint64_t now) {
  std::uint64_t pause = interval_ns_;
  const unsigned before = glances_;
  for (const auto& [path, watched] : watched_) {
    for (const StalledLoop& stalled : watched.reader.stalled(limit_ns_ / 4)) {
      pause = std::min(pause, consider(watched, stalled));
    }
  }
  // Reading names takes its time: not while there is something to look at.
  if (glances_ == before && pause == interval_ns_) name_one();
  const std::uint64_t took = recording::monotonic_ns() - now;
  return pause > took ? pause - took : 0;
}

/// How long until this loop should be looked at again, at most.
std::uint64_t StallWatch::consider(const Watched& watched, const StalledLoop& stalled) {
  const LoopKey key{watched.name.pid, watched.name.start_ticks, watched.name.image, stalled.loop_id,
                    stalled.generation};
  LoopState& state = loops_[key];
  if (state.turn != stalled.turn) {
    state.turn = stalled.turn;
    state.at_first = process::read_thread_times(watched.name.pid, stalled.thread_id);
    state.first_seen_ns = recording::monotonic_ns();
  }
  if (state.longest && state.longest->glance.turn == stalled.turn) {
    // A process that was killed in its turn seems to be busy with it for ever.
    if (recording::read_start_ticks(watched.name.pid) == watched.name.start_ticks) {
      state.longest->glance.seen_ns = std::max(state.longest->glance.seen_ns, stalled.age_ns);
    }
    return interval_ns_;
  }
  if (state.glances == kMostGlancesOfLoop || glances_ == kMostGlances) return interval_ns_;
  const std::uint64_t wanted =
      std::max({limit_ns_, stalled.longest_ns, state.longest ? state.longest->glance.seen_ns : 0});
  if (stalled.age_ns <= wanted) return wanted - stalled.age_ns + kPast;
  glance(watched, stalled, state);
  return interval_ns_;
}

/// What one look at a thread has shown.
struct StallWatch::Sight {
  process::ThreadLook look;
  std::optional<process::ThreadTimes> times;
  std::uint64_t at_ns = 0;
  process::StackAttempt attempt;
  symbols::UnwoundStack stack;
};

/// None: the turn is over, or the thread is gone. `still` says whether the turn goes on.
std::optional<StallWatch::Sight> StallWatch::see(std::int32_t pid, std::int32_t thread_id,
                                                 const std::function<bool()>& still,
                                                 std::optional<std::uint32_t> as_user) {
  Sight sight;
  auto look = process::look_at_thread(pid, thread_id);
  if (!look) return std::nullopt;
  sight.look = *std::move(look);
  sight.times = process::read_thread_times(pid, thread_id);
  sight.at_ns = recording::monotonic_ns();
  if (sight.look.call) {
    sight.attempt = process::copy_blocked_stack(pid, thread_id, sight.look);
    if (!still()) return std::nullopt;
    if (sight.attempt.copy) sight.stack = symbols::unwind(*sight.attempt.copy, as_user);
  }
  const bool runs = doing_of(sight.look) == StallGlance::Doing::kComputing;
  const bool resumes = sight.look.state == 'S' && sight.look.call &&
                       process::resumes_unnoticed(sight.look.call->number) && !sight.stack.complete;
  if (runs || resumes) {
    const auto as_it_was = [&] {
      // A thread that runs may do anything by now, but not be blocked.
      const auto again = process::look_at_thread(pid, thread_id);
      return again && again->state == sight.look.state && again->call == sight.look.call && still();
    };
    auto stopped = process::copy_stack(pid, thread_id, as_it_was);
    const bool in_time = still();
    if (runs && !in_time) return std::nullopt;
    if (stopped.copy && in_time) {
      sight.attempt = std::move(stopped);
      sight.stack = symbols::unwind(*sight.attempt.copy, as_user);
    } else if (!sight.attempt.copy) {
      sight.attempt.why = std::move(stopped.why);
    }
  } else if (!sight.look.call) {
    if (!still()) return std::nullopt;
    sight.attempt.why = "the kernel does not say where it waits";
  }
  return sight;
}

void StallWatch::glance(const Watched& watched, const StalledLoop& stalled, LoopState& state) {
  if (!watched.reader.alive()) return;
  std::uint64_t age = stalled.age_ns;
  const auto still = [&] {
    for (const StalledLoop& each : watched.reader.stalled(limit_ns_)) {
      if (each.loop_id != stalled.loop_id || each.generation != stalled.generation ||
          each.turn != stalled.turn) {
        continue;
      }
      age = each.age_ns;
      return true;
    }
    return false;
  };
  std::optional<Sight> sight;
  std::optional<std::uint32_t> as_user;
  if (recording::is_foreign(watched.reader.owner())) as_user = watched.reader.owner();
  // One that sleeps and works in turns may have changed between look and copy.
  for (int tries = 0; tries < kTriesOfGlance; ++tries) {
    sight = see(watched.name.pid, stalled.thread_id, still, as_user);
    if (!sight) return;
    if (!sight->stack.frames.empty()) break;
  }

  ++glances_;
  ++state.glances;
  if (state.longest) state.before = std::move(state.longest);
  StallGlance& seen = state.longest.emplace().glance;
  seen.loop_id = stalled.loop_id;
  seen.generation = stalled.generation;
  seen.turn = stalled.turn;
  seen.into_ns = stalled.age_ns;
  seen.seen_ns = age;
  seen.doing = doing_of(sight->look);
  if (sight->look.call) seen.call = process::system_call_name(sight->look.call->number);
  seen.channel = sight->look.channel;
  if (sight->times && state.at_first && sight->at_ns > state.first_seen_ns) {
    seen.times = {sight->at_ns - state.first_seen_ns, sight->times->cpu_ns - state.at_first->cpu_ns,
                  sight->times->waited_ns - state.at_first->waited_ns};
  }
  if (sight->stack.frames.empty()) {
    seen.no_stack = sight->attempt.copy ? sight->stack.why : sight->attempt.why;
  }
  state.longest->unnamed = std::move(sight->stack.frames);
  state.longest->as_user = as_user;
}

/// False if all are named.
bool StallWatch::name_one() {
  for (auto& [key, state] : loops_) {
    for (auto* kept : {&state.longest, &state.before}) {
      if (!*kept || (*kept)->unnamed.empty()) continue;
      name(**kept);
      return true;
    }
  }
  return false;
}

void StallWatch::name(Kept& kept) {
  std::vector<recording::StackFrame> named;
  for (const symbols::UnwoundFrame& frame : kept.unnamed) {
    // Looked up one byte earlier, as a return address: so one that is none is given one later.
    const std::uint64_t shift = frame.code.is_return_address ? 0 : 1;
    recording::SiteFrame site;
    site.address = frame.address + shift;
    site.offset = frame.code.address + shift;
    recording::ModuleRecord module;
    module.path = frame.code.module;
    module.build_id = frame.code.build_id;
    module.as_user = kept.as_user;
    const bool in_file = !module.path.empty();
    if (in_file) site.module = 0;
    for (recording::StackFrame& each : names_->frames(site, in_file ? &module : nullptr)) {
      each.offset -= shift;
      named.push_back(std::move(each));
    }
  }
  kept.unnamed.clear();
  kept.glance.stack = std::make_shared<const std::vector<recording::StackFrame>>(std::move(named));
}

}  // namespace loopscope::cli
