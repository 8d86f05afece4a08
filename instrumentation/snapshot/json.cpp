// SPDX-License-Identifier: Apache-2.0
//
// The snapshot is written straight into one string: a tree of JSON values would take one allocation
// for each of the tens of thousands of numbers in it. nlohmann/json does what is easy to get wrong,
// the strings.
#include "instrumentation/snapshot/json.h"

#include <sys/epoll.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdio>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "instrumentation/findings/text.h"

namespace loopscope::snapshot {
namespace {

using recording::Histogram;
using recording::LoopSnapshot;
using recording::RecordingSnapshot;

/// Appends JSON to a string. Commas come by themselves: one is due unless a container or a key has
/// just been opened, which the last character tells (a string always ends in a quote).
class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  void begin(char bracket) {
    comma();
    out_ += bracket;
  }
  void end(char bracket) { out_ += bracket; }

  /// A key is one of ours: it needs no escapes.
  Writer& key(std::string_view name) {
    comma();
    out_ += '"';
    out_ += name;
    out_ += "\":";
    return *this;
  }

  void null() { literal("null"); }
  void boolean(bool value) { literal(value ? "true" : "false"); }
  void literal(std::string_view text) {
    comma();
    out_ += text;
  }

  template <std::integral T>
  void integer(T value) {
    char text[24];
    const char* end = std::to_chars(text, text + sizeof(text), value).ptr;
    literal({text, static_cast<std::size_t>(end - text)});
  }

  /// Shortest text that reads back as `value`; null unless finite.
  void real(double value) {
    if (!std::isfinite(value)) return null();
    char text[32];
    const char* end = std::to_chars(text, text + sizeof(text), value).ptr;
    literal({text, static_cast<std::size_t>(end - text)});
  }

  /// Nanoseconds as seconds, exactly.
  void seconds(std::uint64_t ns) {
    constexpr std::uint64_t kSecond = 1'000'000'000;
    char text[32];
    char* end = std::to_chars(text, text + sizeof(text), ns / kSecond).ptr;
    if (std::uint64_t rest = ns % kSecond; rest != 0) {
      *end = '.';
      for (int digit = 9; digit >= 1; --digit) {
        end[digit] = static_cast<char>('0' + rest % 10);
        rest /= 10;
      }
      end += 10;
      while (end[-1] == '0') --end;
    }
    literal({text, static_cast<std::size_t>(end - text)});
  }

  void seconds_or_null(std::optional<std::uint64_t> ns) { ns ? seconds(*ns) : null(); }

  void string(const std::string& text) {
    comma();
    // Names are short and plain as a rule.
    const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
      return c >= ' ' && c <= '~' && c != '"' && c != '\\';
    });
    if (plain) {
      out_ += '"';
      out_ += text;
      out_ += '"';
    } else {
      out_ += json_string(text);
    }
  }

  void string_or_null(const std::string& text) { text.empty() ? null() : string(text); }

  template <typename T>
  void integer_or_null(const std::optional<T>& value) {
    value ? integer(*value) : null();
  }

 private:
  void comma() {
    if (out_.empty()) return;
    const char last = out_.back();
    if (last != '{' && last != '[' && last != ':') out_ += ',';
  }

  std::string& out_;
};

/// The upper bounds of all time buckets as text: the same few hundred numbers are written over and
/// over.
const std::string& time_bound_text(std::uint32_t index) {
  static const std::vector<std::string> texts = [] {
    Histogram histogram;
    histogram.scale = Histogram::Scale::kTime;
    std::vector<std::string> all(recording::kTimeBuckets);
    for (std::uint32_t i = 0; i < recording::kTimeBuckets; ++i) {
      Writer(all[i]).real(histogram.upper_bound(i));
    }
    return all;
  }();
  return texts[std::min<std::size_t>(index, texts.size() - 1)];
}

void write_histogram(Writer& json, const Histogram& histogram) {
  const bool times = histogram.scale == Histogram::Scale::kTime;
  const auto value = [&](std::string_view key, std::uint64_t number) {
    json.key(key);
    times ? json.seconds(number) : json.integer(number);
  };
  const auto quantile = [&](std::string_view key, double share) {
    const double number = histogram.quantile(share);
    json.key(key);
    if (!times) return json.real(number);
    // Whole nanoseconds: the buckets are wider than that.
    json.seconds(number > 0 ? static_cast<std::uint64_t>(std::llround(number)) : 0);
  };
  json.begin('{');
  json.key("count").integer(histogram.count);
  value("sum", histogram.sum);
  if (histogram.count == 0) {
    for (const char* key : {"min", "max", "p50", "p90", "p99", "p999"}) json.key(key).null();
  } else {
    value("min", histogram.min);
    value("max", histogram.max);
    quantile("p50", 0.5);
    quantile("p90", 0.9);
    quantile("p99", 0.99);
    quantile("p999", 0.999);
  }
  json.key("buckets").begin('[');
  for (const auto& [index, count] : histogram.buckets) {
    json.begin('[');
    times ? json.literal(time_bound_text(index)) : json.real(histogram.upper_bound(index));
    json.integer(count);
    json.end(']');
  }
  json.end(']');
  json.end('}');
}

const char* phase_name(recording::Phase phase) {
  switch (phase) {
    case recording::Phase::kPolling:
      return "polling";
    case recording::Phase::kDispatching:
      return "dispatching";
    case recording::Phase::kOutside:
      return "outside";
  }
  return "outside";
}

const char* life_name(recording::Life life) {
  switch (life) {
    case recording::Life::kRunning:
      return "running";
    case recording::Life::kExited:
    case recording::Life::kExecuted:
      return "exited";
    case recording::Life::kKilled:
      return "killed";
  }
  return "killed";
}

/// How it ended; null: it has not.
const char* end_name(recording::Life life) {
  switch (life) {
    case recording::Life::kRunning:
      return nullptr;
    case recording::Life::kExited:
      return "exit";
    case recording::Life::kExecuted:
      return "exec";
    case recording::Life::kKilled:
      return "killed";
  }
  return nullptr;
}

/// `ledger`: the source keeps one, so that it could have seen the birth.
const char* origin_name(const Descriptor& descriptor, bool ledger) {
  if (!ledger) return "unknown";
  if (descriptor.unseen) return "unseen";
  switch (descriptor.record.origin) {
    case recording::FdOrigin::kOpened:
      return "opened";
    case recording::FdOrigin::kInherited:
      return "inherited";
    case recording::FdOrigin::kMet:
      return "met";
    case recording::FdOrigin::kUnknown:
      break;
  }
  return "unknown";
}

/// "watcher" and "watcher_seconds", null if none (0, or an index that is not in the table yet).
void write_watcher_time(Writer& json, const LoopSnapshot& loop, std::uint32_t watcher,
                        std::optional<std::uint64_t> ns) {
  const bool named = watcher != 0 && watcher <= loop.watchers.size();
  json.key("watcher");
  named ? json.string(loop.watchers[watcher - 1].name) : json.null();
  json.key("watcher_seconds").seconds_or_null(named ? ns : std::nullopt);
}

/// What was served in a turn, if that is to be told.
void write_served(Writer& json, const LoopSnapshot& loop, const recording::Turn& turn) {
  if (!loop.served || turn.served_first == recording::Turn::kNoServed) return;
  const std::vector<recording::Served>& all = *loop.served;
  const std::size_t end =
      std::min<std::size_t>(all.size(), std::size_t{turn.served_first} + turn.served_count);
  json.key("served").begin('[');
  for (std::size_t i = turn.served_first; i < end; ++i) {
    const recording::Served& served = all[i];
    const bool named = served.watcher != 0 && served.watcher <= loop.watchers.size();
    json.begin('{');
    json.key("watcher");
    if (named) {
      const recording::WatcherSnapshot& watcher = loop.watchers[served.watcher - 1];
      json.string(watcher.name);
      json.key("kind").string(findings::watcher_kind_name(watcher.kind));
      json.key("fd");
      watcher.active == 1 && watcher.fd >= 0 ? json.integer(watcher.fd) : json.null();
    } else {
      json.null();
      json.key("kind");
      served.fd >= 0 ? json.string(process::descriptor_kind_name(served.kind)) : json.null();
      json.key("fd");
      served.fd >= 0 ? json.integer(served.fd) : json.null();
      json.key("gone");
      served.gone ? json.boolean(*served.gone) : json.null();
    }
    json.key("start").seconds(served.start_ns);
    json.key("seconds").seconds(served.ns);
    json.end('}');
  }
  json.end(']');
  json.key("served_lost").integer(turn.served_lost);
}

void write_turn(Writer& json, const LoopSnapshot& loop, const recording::Turn& turn) {
  json.begin('{');
  json.key("turn").integer(turn.turn);
  json.key("at").seconds(turn.at_ns);
  json.key("poll_wait").seconds(turn.poll_ns);
  json.key("busy").seconds(turn.busy_ns);
  json.key("ready");
  turn.ready >= 0 ? json.integer(turn.ready) : json.null();
  json.key("timeout");
  if (turn.timeout_ns >= 0) {
    json.seconds(static_cast<std::uint64_t>(turn.timeout_ns));
  } else if (turn.timeout_ns == recording::kTimeoutInfinite) {
    json.integer(-1);
  } else {
    json.null();
  }
  json.key("result");
  turn.ready == recording::kReadyUnknown
      ? json.null()
      : json.literal('"' + std::string(wait_result_name(turn.result)) + '"');
  write_watcher_time(json, loop, turn.watcher, turn.watcher_ns);
  write_served(json, loop, turn);
  json.end('}');
}

void write_watcher(Writer& json, const recording::WatcherSnapshot& watcher) {
  json.begin('{');
  json.key("name").string(watcher.name);
  json.key("kind").string(findings::watcher_kind_name(watcher.kind));
  json.key("fd");
  watcher.active == 1 && watcher.fd >= 0 ? json.integer(watcher.fd) : json.null();
  json.key("active").integer(watcher.active);
  json.key("invocations").integer(watcher.callback.count);
  json.key("callback_seconds");
  write_histogram(json, watcher.callback);
  json.key("lag_seconds");
  watcher.lag ? write_histogram(json, *watcher.lag) : json.null();
  json.end('}');
}

/// `running`: the process is there. Else nobody knows for how long its last phase lasted.
void write_loop(Writer& json, const LoopSnapshot& loop, const LoopFacts& facts, bool running) {
  const auto lasting = [](bool known, std::uint64_t ns) {
    return known ? std::optional(ns) : std::nullopt;
  };
  const LoopTimes times = loop_times(loop);
  const PollCounts polls = poll_counts(loop);
  json.begin('{');
  json.key("id").integer(loop.id);
  json.key("name").string(loop.name);
  json.key("backend").string(loop.backend);
  json.key("state").string(loop.ended ? "ended" : "live");
  json.key("thread_id").integer(loop.thread_id);
  json.key("epoll_fd");
  loop.epoll_fd >= 0 ? json.integer(loop.epoll_fd) : json.null();
  json.key("iterations").integer(loop.iterations);
  json.key("ready_events").integer(loop.ready_events);
  json.key("registered_fds").integer_or_null(facts.registered_fds);

  json.key("polls").begin('{');
  json.key("blocking").integer(polls.blocking);
  json.key("nonblocking").integer(polls.nonblocking);
  json.key("events").integer(polls.events);
  json.key("timeout").integer(polls.timeout);
  json.key("interrupted").integer(polls.interrupted);
  json.key("error").integer(polls.error);
  json.key("saturated").integer(polls.saturated);
  json.key("unknown").integer(polls.unknown);
  json.end('}');

  json.key("busy_seconds").seconds(times.busy_ns);
  json.key("idle_seconds").seconds(times.idle_ns);
  json.key("utilization");
  times.utilization ? json.real(*times.utilization) : json.null();
  json.key("phase").string(phase_name(loop.phase));
  json.key("phase_seconds").seconds_or_null(lasting(running && !loop.ended, loop.phase_ns));

  json.key("current");
  if (loop.phase == recording::Phase::kDispatching) {
    json.begin('{');
    json.key("ready");
    loop.current_ready&&* loop.current_ready >= 0 ? json.integer(*loop.current_ready) : json.null();
    write_watcher_time(json, loop, loop.running_watcher,
                       lasting(running && !loop.ended, loop.running_watcher_ns));
    json.end('}');
  } else {
    json.null();
  }

  json.key("stall_threshold_seconds").seconds(loop.stall_threshold_ns);
  json.key("stalls").integer(loop.stalls);
  json.key("stalled_seconds").seconds_or_null(lasting(running || loop.ended, loop.stalled_ns));
  json.key("poll_wait_seconds");
  write_histogram(json, loop.poll_wait);
  json.key("busy_turn_seconds");
  write_histogram(json, loop.busy);
  json.key("poll_delay_seconds");
  write_histogram(json, loop.poll_delay);
  json.key("timer_lag_seconds");
  write_histogram(json, loop.timer_lag);
  json.key("ready_events_per_poll");
  write_histogram(json, loop.ready);

  json.key("recent").begin('[');
  for (const auto& turn : loop.recent) write_turn(json, loop, turn);
  json.end(']');
  json.key("recent_lost").integer(loop.recent_lost);
  json.key("ring_capacity").integer(loop.ring_turns);
  json.key("skew_turns").integer(loop.skew_turns);

  json.key("watchers").begin('[');
  for (const auto& watcher : loop.watchers) write_watcher(json, watcher);
  json.end(']');
  json.key("unattributed_seconds").seconds(times.unattributed_ns);
  json.end('}');
}

void write_counts(Writer& json, const std::map<std::string, std::uint64_t>& counts) {
  json.begin('{');
  for (const auto& [kind, count] : counts) json.key(kind).integer(count);
  json.end('}');
}

void write_frame(Writer& json, const StackFrame& frame) {
  json.begin('{');
  json.key("function").string_or_null(frame.function);
  json.key("file").string_or_null(frame.file);
  json.key("line");
  frame.line > 0 ? json.integer(frame.line) : json.null();
  json.key("module").string_or_null(frame.module);
  json.key("offset").integer(frame.offset);
  json.key("inlined").boolean(frame.inlined);
  json.key("script").boolean(frame.script);
  json.end('}');
}

/// From `then` to `at`, which is now, or the end of a process that has ended; null if either is not
/// known (0).
void write_age(Writer& json, std::uint64_t at, std::uint64_t then) {
  if (at == 0 || then == 0) return json.null();
  json.seconds(at > then ? at - then : 0);
}

void write_site(Writer& json, const OpenSite& site, std::uint64_t at) {
  json.begin('{');
  json.key("id").integer(site.id);
  json.key("kind").string(process::descriptor_kind_name(site.kind));
  json.key("live").integer(site.live);
  json.key("opened").integer(site.opened);
  json.key("closed").integer(site.closed);
  json.key("peak").integer(site.peak);
  json.key("oldest_seconds");
  write_age(json, at, site.oldest_ns.value_or(0));
  json.key("stack").begin('[');
  if (site.stack) {
    for (const StackFrame& frame : *site.stack) write_frame(json, frame);
  }
  json.end(']');
  json.end('}');
}

void write_interest(Writer& json, const recording::FdRecord& fd) {
  if (fd.registered_epoll_fd < 0) return json.null();
  static constexpr std::pair<std::uint32_t, const char*> kNames[] = {
      {EPOLLIN, "in"},        {EPOLLOUT, "out"},         {EPOLLPRI, "pri"},
      {EPOLLERR, "err"},      {EPOLLHUP, "hup"},         {EPOLLRDHUP, "rdhup"},
      {EPOLLET, "et"},        {EPOLLONESHOT, "oneshot"}, {EPOLLEXCLUSIVE, "exclusive"},
      {EPOLLWAKEUP, "wakeup"}};
  json.begin('[');
  for (const auto& [bit, name] : kNames) {
    if ((fd.registered_events & bit) != 0) json.string(name);
  }
  json.end(']');
}

void write_descriptor(Writer& json, const Descriptor& descriptor, std::uint64_t at, bool ledger) {
  const recording::FdRecord& fd = descriptor.record;
  const bool known = ledger && !descriptor.unseen;
  const auto or_null = [&json](bool there, auto value) {
    there ? json.integer(value) : json.null();
  };
  const auto flag = [&](bool value) { known ? json.boolean(value) : json.null(); };
  json.begin('{');
  json.key("fd").integer(fd.fd);
  json.key("kind").string(process::descriptor_kind_name(fd.kind));
  json.key("origin").string(origin_name(descriptor, ledger));
  json.key("target").string_or_null(fd.target);
  json.key("local").string_or_null(fd.local);
  json.key("peer").string_or_null(fd.peer);
  json.key("age_seconds");
  write_age(json, at, fd.opened_ns);
  json.key("idle_seconds");
  write_age(json, at, fd.activity_ns);
  json.key("thread_id");
  or_null(fd.thread_id > 0, fd.thread_id);
  json.key("close_on_exec");
  flag(fd.close_on_exec);
  json.key("nonblocking");
  flag(fd.non_blocking);
  json.key("listening");
  flag(fd.listening);
  json.key("accepted");
  flag(fd.accepted);
  json.key("end");
  fd.read_end != fd.write_end ? json.string(fd.read_end ? "read" : "write") : json.null();
  json.key("pair_fd");
  or_null(fd.pair_fd >= 0, fd.pair_fd);
  json.key("epoll_fd");
  or_null(fd.registered_epoll_fd >= 0, fd.registered_epoll_fd);
  json.key("interest");
  write_interest(json, fd);
  json.key("events");
  or_null(known, fd.events);
  json.key("event_share");
  descriptor.event_share ? json.real(*descriptor.event_share) : json.null();
  json.key("io_calls");
  or_null(known, fd.io_calls);
  json.key("busy_seconds");
  known ? json.seconds(fd.busy_ns) : json.null();
  json.key("generation").integer(fd.generation);
  json.key("site").integer_or_null(fd.site);
  json.end('}');
}

void write_descriptors(Writer& json, const ProcessSnapshot& process, std::size_t most_sites) {
  const DescriptorSummary& fds = process.fds;
  const RecordingSnapshot& recording = process.recording;
  const bool running = recording.life == recording::Life::kRunning;
  const std::uint64_t at = running ? recording.taken_ns : recording.ended_ns;
  const auto counter = [&](std::string_view key, std::uint64_t LedgerSummary::*member) {
    json.key(key);
    fds.ledger ? json.integer((*fds.ledger).*member) : json.null();
  };
  const auto counters = [&](std::string_view key,
                            std::map<std::string, std::uint64_t> LedgerSummary::*member) {
    json.key(key);
    fds.ledger ? write_counts(json, (*fds.ledger).*member) : json.null();
  };
  json.begin('{');
  json.key("open").integer_or_null(fds.open);
  json.key("limit").integer_or_null(fds.limit);
  json.key("peak").integer_or_null(fds.peak);
  json.key("opened").integer_or_null(fds.opened);
  json.key("closed").integer_or_null(fds.closed);
  json.key("by_kind");
  write_counts(json, fds.by_kind);
  counters("opened_by_kind", &LedgerSummary::opened_by_kind);
  counters("closed_by_kind", &LedgerSummary::closed_by_kind);
  counter("inherited", &LedgerSummary::inherited);
  counter("unseen", &LedgerSummary::unseen);
  counter("met", &LedgerSummary::met);
  counter("closed_unseen", &LedgerSummary::closed_unseen);
  counter("accepts", &LedgerSummary::accepts);
  counter("bad_closes", &LedgerSummary::bad_closes);
  json.key("sites").begin('[');
  for (std::size_t i = 0; i < std::min(most_sites, process.sites.size()); ++i) {
    write_site(json, process.sites[i], at);
  }
  json.end(']');
  json.key("sites_total").integer(process.sites_total);
  if (process.descriptors) {
    json.key("list").begin('[');
    for (const Descriptor& descriptor : *process.descriptors) {
      write_descriptor(json, descriptor, at, fds.ledger.has_value());
    }
    json.end(']');
    json.key("list_left_out").integer(process.descriptors_left_out);
  }
  json.end('}');
}

void write_finding(Writer& json, const findings::Finding& finding) {
  json.begin('{');
  json.key("rule").string(finding.rule);
  json.key("severity").string(findings::severity_name(finding.severity));
  json.key("title").string(finding.title);
  json.key("detail").string(finding.detail);
  json.key("advice").string(finding.advice);
  json.key("count").integer(finding.count);
  json.key("since");
  finding.since_ns ? json.string(rfc3339(*finding.since_ns)) : json.null();
  json.key("subject").string(finding.subject);
  json.end('}');
}

void write_process(Writer& json, const ProcessSnapshot& process, const JsonOptions& options) {
  const RecordingSnapshot& recording = process.recording;
  const bool running = recording.life == recording::Life::kRunning;
  json.begin('{');
  json.key("id").string(process.id());
  json.key("pid").integer(recording.pid);
  json.key("parent_pid")
      .integer(process.resources ? process.resources->parent_pid : recording.parent_pid);
  json.key("run_pid");
  recording.run_pid > 0 ? json.integer(recording.run_pid) : json.null();
  json.key("command").string(recording.command);
  json.key("argv").begin('[');
  for (const auto& argument : recording.argv) json.string(argument);
  json.end(']');
  json.key("source").string(source_name(recording.source));
  json.key("started_at").string(rfc3339(recording.started_ns));
  json.key("state").string(life_name(recording.life));
  json.key("ended");
  const char* ended = end_name(recording.life);
  ended != nullptr ? json.string(ended) : json.null();
  json.key("uptime_seconds");
  const std::uint64_t end = running ? recording.taken_ns : recording.ended_ns;
  end != 0 && end >= recording.started_ns ? json.seconds(end - recording.started_ns) : json.null();
  json.key("exit_status").integer_or_null(recording.exit_status);
  json.key("signal").integer_or_null(process.signal);
  json.key("cpu_seconds");
  process.resources ? json.real(process.resources->cpu_seconds) : json.null();
  json.key("resident_bytes");
  process.resources ? json.integer(process.resources->resident_bytes) : json.null();

  json.key("recording").begin('{');
  json.key("path").string_or_null(recording.path);
  json.key("version").integer(recording.version);
  json.key("clock").string(recording.clock == recording::ClockKind::kTsc ? "tsc" : "monotonic");
  json.key("error").string_or_null(recording.error);
  json.end('}');

  json.key("loops").begin('[');
  for (std::size_t i = 0; i < recording.loops.size(); ++i) {
    write_loop(json, recording.loops[i],
               i < process.loop_facts.size() ? process.loop_facts[i] : LoopFacts{}, running);
  }
  json.end(']');
  json.key("fds");
  write_descriptors(json, process, running ? options.sites : options.sites_of_ended);
  json.key("findings").begin('[');
  for (const auto& finding : process.findings) write_finding(json, finding);
  json.end(']');
  json.key("dropped").begin('{');
  for (std::size_t i = 0; i < std::size(recording.dropped); ++i) {
    if (const char* name = findings::drop_kind_name(i)) {
      json.key(name).integer(recording.dropped[i]);
    }
  }
  json.end('}');
  json.key("own_failures").begin('[');
  for (const recording::OwnFailures& one : recording.own_failures) {
    json.begin('{');
    json.key("call").string(findings::own_call_name(one.call));
    json.key("errno").string_or_null(findings::errno_name(one.error));
    json.key("failed").integer(one.failed);
    json.key("retried").integer(one.retried);
    json.end('}');
  }
  json.end(']');
  json.end('}');
}

/// The instant that ages are told for: now, or the end of a process that has ended; 0: not known.
std::uint64_t instant_of(const RecordingSnapshot& recording) {
  return recording.life == recording::Life::kRunning ? recording.taken_ns : recording.ended_ns;
}

}  // namespace

const char* wait_result_name(recording::WaitResult result) noexcept {
  switch (result) {
    case recording::WaitResult::kEvents:
      return "events";
    case recording::WaitResult::kTimeout:
      return "timeout";
    case recording::WaitResult::kInterrupted:
      return "interrupted";
    case recording::WaitResult::kError:
      return "error";
  }
  return "error";
}

const char* source_name(recording::SourceKind source) noexcept {
  switch (source) {
    case recording::SourceKind::kLibrary:
      return "library";
    case recording::SourceKind::kProbe:
      return "probe";
    case recording::SourceKind::kKernel:
      return "kernel";
  }
  return "library";
}

void append_descriptor(std::string& out, const ProcessSnapshot& process,
                       const Descriptor& descriptor) {
  Writer json(out);
  write_descriptor(json, descriptor, instant_of(process.recording), process.fds.ledger.has_value());
}

std::string json_string(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string rfc3339(std::uint64_t realtime_ns) {
  const auto seconds = static_cast<std::time_t>(realtime_ns / 1'000'000'000u);
  const auto micros = static_cast<unsigned>(realtime_ns % 1'000'000'000u / 1000u);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[80];
  std::snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%06uZ", utc.tm_year + 1900,
                utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, micros);
  return text;
}

std::string to_json(const HostSnapshot& host, const JsonOptions& options) {
  std::string out;
  out.reserve(64 * 1024);
  Writer json(out);
  json.begin('{');
  json.key("schema").string("loopscope.snapshot/1");
  json.key("taken_at").string(rfc3339(host.taken_at_ns));
  json.key("server").begin('{');
  json.key("version").string(host.version);
  json.key("mode").string(host.mode == Mode::kServe ? "serve" : "inspector");
  json.end('}');
  json.key("processes").begin('[');
  for (const auto& process : host.processes) write_process(json, process, options);
  json.end(']');
  json.key("unreadable").begin('[');
  for (const auto& file : host.unreadable) {
    json.begin('{');
    json.key("path").string(file.path);
    json.key("error").string(file.error);
    json.end('}');
  }
  json.end(']');
  json.key("processes_folded").begin('{');
  json.key("count").integer(host.folded.count);
  json.key("exited").integer(host.folded.exited);
  json.key("killed").integer(host.folded.killed);
  json.key("fds").begin('{');
  json.key("opened").integer(host.folded.opened);
  json.key("closed").integer(host.folded.closed);
  json.key("open_at_end").integer(host.folded.open_at_end);
  json.end('}');
  json.end('}');
  json.end('}');
  return out;
}

std::string turns_to_json(const HostSnapshot& host, const ProcessSnapshot& process,
                          const LoopSnapshot& loop, std::uint64_t lost) {
  std::string out;
  out.reserve(256 + loop.recent.size() * 256);
  Writer json(out);
  json.begin('{');
  json.key("schema").string("loopscope.turns/1");
  json.key("taken_at").string(rfc3339(host.taken_at_ns));
  json.key("process").string(process.id());
  json.key("loop").integer(loop.id);
  json.key("turns").begin('[');
  for (const recording::Turn& turn : loop.recent) write_turn(json, loop, turn);
  json.end(']');
  json.key("lost").integer(lost);
  json.end('}');
  return out;
}

}  // namespace loopscope::snapshot
