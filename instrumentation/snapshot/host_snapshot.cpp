// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/snapshot/host_snapshot.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <limits>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>
#include <utility>

#include "instrumentation/findings/rules.h"
#include "instrumentation/recording/clock.h"
#include "instrumentation/recording/directory.h"
#include "instrumentation/recording/paths.h"
#include "instrumentation/snapshot/descriptor_account.h"
#include "instrumentation/snapshot/open_sites.h"

namespace loopscope::snapshot {
namespace {

using recording::LoopSnapshot;
using recording::RecordingSnapshot;

/// How much time lies between two samples of a loop's counters at least (see LoopWindow).
constexpr std::uint64_t kWindowNs = 1'000'000'000;
/// The recent turns that active_ready_ratio is taken over.
constexpr std::size_t kRatioTurns = 256;

/// A process that calls exec(3) leaves a recording behind and begins another, PID-STARTTICKS-IMAGE:
/// the first image's id is that of the process, a later one's has its number appended.
std::string process_id(const RecordingSnapshot& recording) {
  std::string id = std::to_string(recording.pid) + "-" + std::to_string(recording.start_ticks);
  recording::RecordingName name;
  const std::size_t slash = recording.path.rfind('/');
  const std::size_t begin = slash == std::string::npos ? 0 : slash + 1;
  if (recording::parse_recording_name(recording.path.c_str() + begin, name) &&
      name.pid == recording.pid && name.start_ticks == recording.start_ticks && name.image != 0) {
    id += "-" + std::to_string(name.image);
  }
  return id;
}

/// A file's identity: one of the same name may have taken its place since it was opened.
struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FileId&) const = default;
};

std::optional<FileId> file_id(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return std::nullopt;
  return FileId{status.st_dev, status.st_ino};
}

struct CounterSample {
  std::uint64_t at_ns = 0;  // CLOCK_MONOTONIC
  std::uint64_t iterations = 0;
  std::uint64_t nonblocking = 0;
};

/// Two samples of a loop: `base` is what the next window begins at, `next` will replace it once it
/// is old enough. So windows are one to two periods long however often somebody looks.
struct LoopHistory {
  std::optional<CounterSample> base;
  std::optional<CounterSample> next;

  std::optional<findings::LoopWindow> update(const CounterSample& now) {
    if (next && now.at_ns - next->at_ns >= kWindowNs) {
      base = next;
      next = now;
    } else if (!next) {
      next = now;
      return std::nullopt;
    }
    const CounterSample& begin = base ? *base : *next;
    if (now.at_ns <= begin.at_ns || now.iterations < begin.iterations ||
        now.nonblocking < begin.nonblocking) {
      return std::nullopt;
    }
    return findings::LoopWindow{now.at_ns - begin.at_ns, now.iterations - begin.iterations,
                                now.nonblocking - begin.nonblocking};
  }
};

/// Of processes that ended, only so many keep all their turns; of earlier ones the last few.
constexpr std::size_t kEndedWithTurns = 32;
constexpr std::size_t kTurnsOfEnded = 64;
/// And of all of them together only so many descriptors (350 bytes each) are kept; those of the one
/// that ended last in any case.
constexpr std::size_t kDescriptorsOfEnded = 1u << 18;

/// One recording and what is kept about its process between two collections.
struct Source {
  std::optional<recording::Reader> reader;  // none once `final_words` are there
  std::optional<FileId> file;
  std::int32_t pid = 0;

  DescriptorAccount account;
  SiteBook sites;
  std::map<std::pair<std::uint32_t, std::uint64_t>, LoopHistory> history;
  LoopSeries series;

  /// What the recording said after its process was gone, with all turns; the descriptors by
  /// themselves, so that nobody copies them who does not want them.
  std::optional<ProcessSnapshot> final_words;
  std::optional<std::vector<Descriptor>> final_descriptors;
  std::uint64_t ended_ns = 0;  // CLOCK_REALTIME; if it is not known, when it was noticed
  bool removed = false;        // the file

  explicit Source(recording::Reader opened) : reader(std::move(opened)), pid(reader->pid()) {}
};

/// How many descriptors are registered in each loop's epoll set and open, parallel to its loops.
std::vector<std::optional<std::uint64_t>> count_registered(const RecordingSnapshot& recording,
                                                           const DescriptorAccount& account) {
  std::map<std::int32_t, std::uint64_t> by_epoll_fd;
  for (const auto& [fd, epoll_fd] : account.registered(recording)) ++by_epoll_fd[epoll_fd];
  std::vector<std::optional<std::uint64_t>> counts;
  counts.reserve(recording.loops.size());
  for (const LoopSnapshot& loop : recording.loops) {
    if (loop.ended || loop.epoll_fd < 0) {
      counts.emplace_back(std::nullopt);
    } else {
      const auto found = by_epoll_fd.find(loop.epoll_fd);
      counts.emplace_back(found == by_epoll_fd.end() ? 0 : found->second);
    }
  }
  return counts;
}

/// Mean number of ready events of the newest turns whose number is known.
std::optional<double> mean_ready(const LoopSnapshot& loop) {
  std::uint64_t sum = 0, turns = 0;
  for (auto turn = loop.recent.rbegin(); turn != loop.recent.rend() && turns < kRatioTurns;
       ++turn) {
    if (turn->ready < 0) continue;
    sum += static_cast<std::uint64_t>(turn->ready);
    ++turns;
  }
  if (turns == 0) return std::nullopt;
  return static_cast<double>(sum) / static_cast<double>(turns);
}

/// Cuts `recent` down from what the rules wanted to what was asked for.
void cut_recent(LoopSnapshot& loop, std::size_t wanted, const std::uint64_t* cursor) {
  auto first = loop.recent.begin();
  if (cursor != nullptr) {
    first = std::find_if(first, loop.recent.end(),
                         [&](const recording::Turn& turn) { return turn.turn > *cursor; });
  }
  const auto kept = static_cast<std::size_t>(loop.recent.end() - first);
  if (kept > wanted) first += static_cast<std::ptrdiff_t>(kept - wanted);
  loop.recent_lost = 0;
  if (cursor != nullptr) {
    // With `wanted` 0 nothing is left to count from: the newest turn tells.
    const std::uint64_t next = first != loop.recent.end() ? first->turn
                               : loop.recent.empty()      ? *cursor + 1
                                                          : loop.recent.back().turn + 1;
    loop.recent_lost = next > *cursor ? next - *cursor - 1 : 0;
  }
  loop.recent.erase(loop.recent.begin(), first);
}

void follow(RecordingSnapshot& recording, std::size_t wanted, recording::TurnCursors& cursors) {
  recording::TurnCursors moved;  // without the loops that are gone
  for (LoopSnapshot& loop : recording.loops) {
    const std::pair key(loop.id, loop.generation);
    const auto found = cursors.find(key);
    const std::uint64_t* cursor = found != cursors.end() ? &found->second : nullptr;
    std::uint64_t last = cursor != nullptr ? *cursor : 0;
    if (!loop.recent.empty()) last = std::max(last, loop.recent.back().turn);
    cut_recent(loop, wanted, cursor);
    moved.emplace(key, last);
  }
  cursors = std::move(moved);
}

/// What the recording says, and what the kernel says of the process if it lives: the first half of
/// a description, up to where it may be worth waiting a moment.
ProcessSnapshot begin_describing(Source& source, RecordingSnapshot recording,
                                 const CollectorTiming& timing) {
  ProcessSnapshot process;
  process.recording = std::move(recording);
  const RecordingSnapshot& record = process.recording;
  if (record.life == recording::Life::kRunning) {
    process.resources = process::read_resources(record.pid);
    // The number may have been given to another process meanwhile.
    if (process.resources && record.start_ticks != 0 &&
        process.resources->start_ticks != record.start_ticks) {
      process.resources.reset();
    }
  }
  if (!process.resources || !source.account.look(*source.reader, record, timing)) {
    source.account.forget_kernel();
  }
  return process;
}

void finish_describing(Source& source, ProcessSnapshot& process, StackNames* names,
                       const NamingTime& time) {
  const RecordingSnapshot& record = process.recording;
  process.loop_facts.resize(record.loops.size());
  std::vector<LoopPlace> places = source.series.places(record.loops);
  for (std::size_t i = 0; i < places.size(); ++i)
    process.loop_facts[i].place = std::move(places[i]);
  process.fds = source.account.summary(record);
  const bool running = record.life == recording::Life::kRunning;
  if (running && process.fds.open) {
    const auto registered = count_registered(record, source.account);
    for (std::size_t i = 0; i < registered.size(); ++i) {
      LoopFacts& facts = process.loop_facts[i];
      facts.registered_fds = registered[i];
      const auto ready = mean_ready(record.loops[i]);
      if (ready && registered[i] && *registered[i] != 0) {
        facts.active_ready_ratio = *ready / static_cast<double>(*registered[i]);
      }
    }
  }

  const std::uint64_t now = recording::monotonic_ns();
  std::vector<std::optional<findings::LoopWindow>> windows;
  decltype(source.history) history;
  for (const LoopSnapshot& loop : record.loops) {
    const std::pair key(loop.id, loop.generation);
    LoopHistory& kept = history[key];
    if (const auto found = source.history.find(key); found != source.history.end()) {
      kept = found->second;
    }
    windows.push_back(kept.update({now, loop.iterations, loop.nonblocking}));
  }
  source.history = std::move(history);

  process.findings =
      findings::evaluate({.recording = record,
                          .open_fds = running ? process.fds.open : std::nullopt,
                          .fd_limit = process.fds.limit,
                          .windows = windows,
                          .process_state = process.resources ? process.resources->state : '?',
                          .stack_of = [&](std::size_t site) {
                            return source.sites.stack(*record.ledger, site, names, time);
                          }});
}

}  // namespace

std::string ProcessSnapshot::id() const { return process_id(recording); }

LoopTimes loop_times(const LoopSnapshot& loop) noexcept {
  LoopTimes times;
  times.busy_ns = loop.busy.sum;
  times.idle_ns = loop.poll_wait.sum;
  std::uint64_t attributed = 0;
  if (loop.phase == recording::Phase::kDispatching) {
    times.busy_ns += loop.phase_ns;
    attributed += loop.running_watcher_ns;
  } else if (loop.phase == recording::Phase::kPolling) {
    times.idle_ns += loop.phase_ns;
  }
  for (const auto& watcher : loop.watchers) attributed += watcher.callback.sum;
  // The watchers' sums are read at other instants than the loop's: they can be ahead.
  times.unattributed_ns = times.busy_ns > attributed ? times.busy_ns - attributed : 0;
  const double total = static_cast<double>(times.busy_ns) + static_cast<double>(times.idle_ns);
  if (total > 0) times.utilization = static_cast<double>(times.busy_ns) / total;
  return times;
}

PollCounts poll_counts(const LoopSnapshot& loop) noexcept {
  const auto minus = [](std::uint64_t a, std::uint64_t b) { return a > b ? a - b : 0; };
  PollCounts counts;
  counts.nonblocking = loop.nonblocking;
  counts.blocking = minus(loop.iterations, loop.nonblocking);
  counts.timeout = loop.timeouts;
  counts.interrupted = loop.interrupted;
  counts.error = loop.errors;
  counts.saturated = loop.saturated;
  counts.unknown = loop.ready_unknown;
  counts.events =
      minus(minus(minus(minus(loop.iterations, loop.timeouts), loop.interrupted), loop.errors),
            loop.ready_unknown);
  return counts;
}

/// A process that was killed left no word; its parent, which waited for it, knows.
static void learn_ends(std::vector<ProcessSnapshot>& processes) {
  // Of another user's recording only what it says of that user's.
  std::map<std::pair<std::optional<std::uint32_t>, std::int32_t>, int> ends;
  for (const ProcessSnapshot& process : processes) {
    for (const auto& [pid, status] : process.recording.reaped) {
      ends[{process.recording.as_user, pid}] = status;
    }
  }
  if (ends.empty()) return;
  for (ProcessSnapshot& process : processes) {
    if (process.recording.life != recording::Life::kKilled) continue;
    auto found = ends.find({process.recording.as_user, process.recording.pid});
    if (found == ends.end()) found = ends.find({std::nullopt, process.recording.pid});
    if (found == ends.end()) continue;
    if (WIFSIGNALED(found->second)) {
      process.signal = WTERMSIG(found->second);
    } else if (WIFEXITED(found->second)) {
      process.recording.life = recording::Life::kExited;
      process.recording.exit_status = WEXITSTATUS(found->second);
    }
  }
}

/// Leaves of the descriptors what was asked for.
static void show_descriptors(ProcessSnapshot& process, const CollectOptions& options) {
  auto& list = process.descriptors;
  if (options.table || !list) return;
  if (!options.descriptors) {
    list.reset();
    process.descriptors_left_out = 0;
  } else if (list->size() > kMostListed) {
    process.descriptors_left_out += list->size() - kMostListed;
    list->resize(kMostListed);
  }
}

/// Leaves of what was served that of the turns that are left.
static void cut_served(LoopSnapshot& loop) {
  if (!loop.served) return;
  std::size_t wanted = 0;
  for (const recording::Turn& turn : loop.recent) wanted += turn.served_count;
  if (loop.served->size() <= wanted) return;
  std::vector<recording::Served> kept;
  kept.reserve(wanted);
  for (recording::Turn& turn : loop.recent) {
    const auto first = loop.served->begin() + static_cast<std::ptrdiff_t>(turn.served_first);
    turn.served_first = static_cast<std::uint32_t>(kept.size());
    kept.insert(kept.end(), first, first + static_cast<std::ptrdiff_t>(turn.served_count));
  }
  loop.served = std::make_shared<const std::vector<recording::Served>>(std::move(kept));
}

static void forget_served(ProcessSnapshot& process) {
  for (LoopSnapshot& loop : process.recording.loops) loop.served.reset();
}

struct Collector::Impl {
  std::mutex mutex;
  Mode mode = Mode::kServe;
  CollectorTiming timing;
  std::vector<std::string> directories;
  bool all_directories = false;  // wherever recordings may be: root's grow
  std::optional<std::int32_t> run_pid;
  std::int32_t program = 0;       // whom the run started; 0: not known
  std::set<std::string> earlier;  // paths that are not of the run, though they are named so
  std::size_t most_of_another = Collector::kMostOfAnother;  // not of a run
  std::string file;
  bool follow_link = true;  // of `file`
  std::shared_ptr<StackNames> names;
  std::uint64_t scanned_at_ns = 0;  // CLOCK_MONOTONIC; 0: never

  std::map<std::string, Source> sources;          // by path
  std::map<std::string, std::string> unreadable;  // path -> why, as of the last scan
  FoldedProcesses folded;
  std::uint64_t looked_at_ns = 0;      // CLOCK_REALTIME, when the look that goes on began
  std::set<std::string> folded_paths;  // that could not be removed and are still there
  std::set<std::string> just_folded;   // by the last tidy()

  void open(const std::string& path) {
    // Identity first: if the file is replaced in between, the next scan opens it again.
    const auto id = file_id(path);
    auto found = sources.find(path);
    if (found != sources.end()) {
      // The name of one that was removed is free for what its process becomes next, and so may be
      // the number of its file.
      if (!id || (found->second.file == id && !found->second.removed)) return;
      if (found->second.removed) {
        fold(path, found->second);
      } else {
        sources.erase(found);
      }
    }
    // A directory of another user's may hold a link to anything.
    auto reader = recording::Reader::open(path, path == file && follow_link);
    if (reader) {
      const auto source = sources.try_emplace(path, *std::move(reader)).first;
      source->second.file = id;
    } else if (reader.error().code != recording::Error::Code::kNotFound || path == file) {
      unreadable[path] = reader.error().message;  // not found: removed since it was listed
    }
  }

  /// What is in `directory` and is to be shown goes to `there`, and is opened. Of what has no
  /// `room` any more it is said that it is left out.
  void scan(const std::string& directory, std::size_t& room, std::set<std::string>& there) {
    constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();
    // Whoever comes after another user finds room, too.
    const std::size_t most = run_pid ? kAll : std::min(most_of_another, room / 2);
    bool more = false;
    const auto listed = recording::list_recordings(
        directory, run_pid ? kAll : most * Collector::kNamesLookedAt, &more);
    if (!listed) {
      unreadable[directory] = listed.error().message;
      // What was found there before is still open and may still be read.
      for (const auto& [path, source] : sources) {
        if (path.starts_with(directory + "/")) there.insert(path);
      }
      return;
    }
    std::size_t of_another = 0;
    std::size_t left_out = 0;
    for (const auto& found : *listed) {
      if (run_pid && (found.run_pid != *run_pid || earlier.contains(found.path))) continue;
      if (room == 0 || (found.foreign && of_another == most)) {
        ++left_out;
        continue;
      }
      --room;
      if (found.foreign) ++of_another;
      there.insert(found.path);
      if (!folded_paths.contains(found.path)) open(found.path);
    }
    if (left_out == 0 && !more) return;
    unreadable[directory] =
        std::to_string(left_out) + (more ? " or more" : "") + " recordings in " + directory +
        " are left out: " +
        (room == 0 ? "the limit of open files (ulimit -Hn) is too low"
                   : "of another user's, " + std::to_string(most) + " are shown at most");
  }

  void scan() {
    const std::uint64_t now = recording::monotonic_ns();
    if (scanned_at_ns != 0 && now - scanned_at_ns < timing.rescan_ns) return;
    scanned_at_ns = now;
    unreadable.clear();
    if (!file.empty()) {
      open(file);
      return;
    }
    if (all_directories) directories = recording::recording_directories();
    std::set<std::string> there;
    // Each that lives takes a descriptor; as many are left to those who look.
    rlimit limit{};
    std::size_t room = std::numeric_limits<std::size_t>::max();
    if (!run_pid && ::getrlimit(RLIMIT_NOFILE, &limit) == 0) room = limit.rlim_cur / 2;
    for (const std::string& directory : directories) scan(directory, room, there);
    std::erase_if(folded_paths, [&](const std::string& path) { return !there.contains(path); });
    std::erase_if(sources, [&](const auto& entry) {
      // A run remembers what its processes left.
      return !there.contains(entry.first) && !(run_pid && entry.second.final_words);
    });
  }

  recording::Result<RecordingSnapshot> read(Source& source, bool details, bool table, bool served) {
    // The rules want the whole ring, however little of it a view asks for.
    constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();
    recording::ReadOptions options{table ? 0 : kAll, nullptr, details || table, served && !table};
    auto recording = source.reader->read(options);
    // What a process leaves is kept whole.
    if (recording && recording->finished && (table || !served || (recording->ledger && !details))) {
      options.recent = kAll;
      options.details = true;
      options.served = true;
      recording = source.reader->read(options);
    }
    return recording;
  }

  /// Everything that can be said of the process; what of it is said is cut later.
  void describe(Source& source, ProcessSnapshot& process, bool list, const NamingTime& time) {
    finish_describing(source, process, names.get(), time);
    const bool finished = process.recording.finished;
    bool all_named = true;
    if (auto& ledger = process.recording.ledger) {
      // Of one that has ended they are kept, for a table of them too.
      if (list || finished) {
        source.account.list(process, finished ? kMostInTable : kMostListed, false);
      }
      all_named = source.sites.describe(
          process, [&source](const recording::FdRecord& fd) { return source.account.is_open(fd); },
          names.get(), time);
      ledger->fds = {};
      ledger->sites = {};
      ledger->modules = {};
    } else if (list) {
      source.account.list(process, kMostListed, false);
    }
    if (!finished || !all_named) return;
    source.ended_ns = process.recording.ended_ns != 0 ? process.recording.ended_ns : looked_at_ns;
    source.final_descriptors = std::exchange(process.descriptors, std::nullopt);
    source.final_words = process;
    process.descriptors = source.final_descriptors;
    source.reader.reset();
    source.history.clear();
  }

  /// Only what a table of its descriptors shows.
  static void describe_table(Source& source, ProcessSnapshot& process) {
    process.fds = source.account.summary(process.recording);
    source.account.list(process, kMostInTable, true);
    if (auto& ledger = process.recording.ledger) {
      ledger->fds = {};
      ledger->sites = {};
      ledger->modules = {};
    }
  }

  /// Keeps what ended processes take in memory and in the directory within bounds.
  void tidy() {
    // Newest first. Of those that were killed only the look that noticed it is known: of two, who
    // began later. The run's own program, which may have waited for all of them, before all.
    std::vector<std::tuple<bool, std::uint64_t, std::uint64_t, const std::string*>> ended;
    for (const auto& [path, source] : sources) {
      if (!source.final_words) continue;
      const RecordingSnapshot& words = source.final_words->recording;
      ended.emplace_back(program != 0 && words.pid == program, source.ended_ns, words.started_ns,
                         &path);
    }
    std::sort(ended.begin(), ended.end(), std::greater<>());
    std::size_t descriptors = 0;
    for (std::size_t i = 0; i < ended.size(); ++i) {
      const std::string path = *std::get<const std::string*>(ended[i]);
      Source& source = sources.find(path)->second;
      auto& list = source.final_descriptors;
      if (list) descriptors += list->size();
      if (i >= kEndedWithTurns || (i > 0 && descriptors > kDescriptorsOfEnded)) list.reset();
      if (i >= kEndedWithTurns) {
        for (LoopSnapshot& loop : source.final_words->recording.loops) {
          cut_recent(loop, kTurnsOfEnded, nullptr);
          loop.recent.shrink_to_fit();
          cut_served(loop);
        }
      }
      if (!run_pid) continue;
      if (i >= recording::kKeptRecordings && !source.removed) {
        source.removed = recording::remove_recording(path);
      }
      if (i >= Collector::kShownEnded) fold(path, source);
    }
  }

  void fold(const std::string& path, const Source& source) {
    const ProcessSnapshot& process = *source.final_words;
    ++folded.count;
    ++(process.recording.life == recording::Life::kKilled ? folded.killed : folded.exited);
    folded.opened += process.fds.opened.value_or(0);
    folded.closed += process.fds.closed.value_or(0);
    if (process.fds.ledger) folded.open_at_end += process.fds.open.value_or(0);
    if (!source.removed) folded_paths.insert(path);
    just_folded.insert(path);
    sources.erase(path);
  }
};

Collector::Collector(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Collector::~Collector() = default;

std::unique_ptr<Collector> Collector::in_process(recording::Reader reader, CollectorTiming timing) {
  auto impl = std::make_unique<Impl>();
  impl->mode = Mode::kInspector;
  impl->timing = timing;
  const std::string path = reader.path();
  impl->sources.try_emplace(path, std::move(reader));
  return std::unique_ptr<Collector>(new Collector(std::move(impl)));
}

std::unique_ptr<Collector> Collector::of_directories(std::vector<std::string> directories,
                                                     CollectorTiming timing,
                                                     std::size_t most_of_another) {
  auto impl = std::make_unique<Impl>();
  impl->most_of_another = most_of_another;
  impl->timing = timing;
  impl->all_directories = directories.empty();
  impl->directories = std::move(directories);
  return std::unique_ptr<Collector>(new Collector(std::move(impl)));
}

std::unique_ptr<Collector> Collector::of_run(std::vector<std::string> directories,
                                             std::int32_t run_pid, CollectorTiming timing,
                                             std::set<std::string> earlier, std::int32_t program) {
  auto collector = of_directories(std::move(directories), timing);
  collector->impl_->run_pid = run_pid;
  collector->impl_->earlier = std::move(earlier);
  collector->impl_->program = program;
  return collector;
}

std::unique_ptr<Collector> Collector::of_file(std::string path, CollectorTiming timing,
                                              bool follow_link) {
  auto impl = std::make_unique<Impl>();
  impl->timing = timing;
  impl->file = std::move(path);
  impl->follow_link = follow_link;
  return std::unique_ptr<Collector>(new Collector(std::move(impl)));
}

void Collector::name_stacks(std::shared_ptr<StackNames> names) {
  const std::lock_guard lock(impl_->mutex);
  impl_->names = std::move(names);
}

void Collector::tend() {
  const std::lock_guard lock(impl_->mutex);
  impl_->looked_at_ns = recording::realtime_ns();
  if (impl_->mode != Mode::kServe) return;
  impl_->scan();
  const NamingTime time(impl_->timing.naming_ns);
  for (auto& [path, source] : impl_->sources) {
    if (source.final_words || source.reader->alive()) continue;
    auto recording = impl_->read(source, true, false, true);
    if (!recording) continue;  // collect() says why
    ProcessSnapshot process = begin_describing(source, *std::move(recording), impl_->timing);
    impl_->describe(source, process, true, time);
  }
  impl_->just_folded.clear();
  impl_->tidy();
}

HostSnapshot Collector::collect(const CollectOptions& options) {
  const std::lock_guard lock(impl_->mutex);
  impl_->looked_at_ns = recording::realtime_ns();
  HostSnapshot host;
  host.version = LOOPSCOPE_VERSION;
  host.mode = impl_->mode;
  if (host.mode == Mode::kServe) impl_->scan();

  std::vector<std::pair<Source*, ProcessSnapshot>> living;
  bool wait = false;
  for (auto& [path, source] : impl_->sources) {
    if (options.pid && source.pid != *options.pid) continue;
    if (source.final_words) {
      ProcessSnapshot& process = host.processes.emplace_back(*source.final_words);
      if (options.descriptors || options.table) process.descriptors = source.final_descriptors;
      show_descriptors(process, options);
      if (!options.served) forget_served(process);
      continue;
    }
    auto recording = impl_->read(source, options.descriptors, options.table, options.served);
    if (!recording) {
      host.unreadable.push_back({path, recording.error().message});
      continue;
    }
    living.emplace_back(&source, begin_describing(source, *std::move(recording), impl_->timing));
    wait = wait || source.account.wants_second_look();
  }
  if (wait) {
    std::this_thread::sleep_for(std::chrono::nanoseconds(DescriptorAccount::kSettleNs));
  }
  const NamingTime time(impl_->timing.naming_ns);
  for (auto& [source, process] : living) {
    source->account.look_again(*source->reader, process.recording);
    // The number may have passed to somebody else's process while the kernel was asked.
    if (process.recording.as_user && process.resources && !source->reader->alive()) {
      process.resources.reset();
      source->account.forget_kernel();
    }
    if (options.table && !process.recording.finished) {
      Impl::describe_table(*source, process);
    } else {
      impl_->describe(*source, process, options.descriptors || options.table, time);
    }
    show_descriptors(process, options);
    if (!options.served) forget_served(process);
    host.processes.push_back(std::move(process));
  }
  impl_->just_folded.clear();
  impl_->tidy();
  // Who has just been folded is counted there, and nowhere else.
  std::erase_if(host.processes, [&](const ProcessSnapshot& process) {
    return impl_->just_folded.contains(process.recording.path);
  });
  host.folded = impl_->folded;

  StreamCursors moved;  // without the processes that are gone
  for (ProcessSnapshot& process : host.processes) {
    if (options.cursors != nullptr) {
      auto& cursors = moved[process.id()];
      if (const auto found = options.cursors->find(process.id()); found != options.cursors->end()) {
        cursors = std::move(found->second);
      }
      follow(process.recording, options.recent, cursors);
    } else {
      for (LoopSnapshot& loop : process.recording.loops) cut_recent(loop, options.recent, nullptr);
    }
  }
  if (options.cursors != nullptr) *options.cursors = std::move(moved);
  for (const auto& [path, error] : impl_->unreadable) host.unreadable.push_back({path, error});
  // Directories first: files in one of another user's are not to hide what is said of the others.
  std::stable_partition(
      host.unreadable.begin(), host.unreadable.end(),
      [](const Unreadable& entry) { return !entry.path.ends_with(recording::kFileSuffix); });

  learn_ends(host.processes);

  const auto order = [](const ProcessSnapshot& process) {
    const RecordingSnapshot& recording = process.recording;
    return std::tuple(recording.life != recording::Life::kRunning, ~recording.started_ns,
                      recording.pid, recording.start_ticks);
  };
  std::sort(host.processes.begin(), host.processes.end(),
            [&](const auto& a, const auto& b) { return order(a) < order(b); });
  host.taken_at_ns = recording::realtime_ns();
  return host;
}

}  // namespace loopscope::snapshot
