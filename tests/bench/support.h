// SPDX-License-Identifier: Apache-2.0
//
// What the benchmark programs share: a cheap clock, pinning, limits, order statistics, options and
// the one line of JSON that each program prints for run.py.
#pragma once

#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace loopscope::bench {

[[noreturn]] inline void die(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(3);
}

[[noreturn]] inline void die_errno(const std::string& what) {
  die(what + ": " + std::strerror(errno));
}

/// Checks a system call's answer.
inline int must(int result, const char* what) {
  if (result < 0) die_errno(what);
  return result;
}

inline std::uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(now.tv_nsec);
}

/// For the edges of a slice. Serialised on both sides, so that work of the slice is neither begun
/// before nor finished after it.
inline std::uint64_t ticks() {
#if defined(__x86_64__)
  unsigned aux = 0;
  const std::uint64_t now = __builtin_ia32_rdtscp(&aux);
  __builtin_ia32_lfence();
  return now;
#else
  return monotonic_ns();
#endif
}

/// Nanoseconds per tick, from the time between construction and the question.
class TickRate {
 public:
  double ns_per_tick() const {
    const std::uint64_t now_ticks = ticks();
    const std::uint64_t now_ns = monotonic_ns();
    return static_cast<double>(now_ns - start_ns_) / static_cast<double>(now_ticks - start_ticks_);
  }

 private:
  std::uint64_t start_ticks_ = ticks();
  std::uint64_t start_ns_ = monotonic_ns();
};

/// Binds the calling thread to a CPU; -1: leaves it alone.
inline void pin(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  must(sched_setaffinity(0, sizeof set, &set), "sched_setaffinity");
}

/// Makes room for `wanted` descriptors; also beyond the hard limit where we may.
inline void allow_descriptors(rlim_t wanted) {
  rlimit limit{};
  must(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  if (limit.rlim_cur >= wanted) return;
  rlimit raised{wanted, std::max(limit.rlim_max, wanted)};
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) return;
  raised.rlim_cur = raised.rlim_max = limit.rlim_max;
  if (limit.rlim_max < wanted || setrlimit(RLIMIT_NOFILE, &raised) != 0) {
    die("needs " + std::to_string(wanted) + " descriptors, but only " +
        std::to_string(limit.rlim_max) + " are allowed (ulimit -Hn)");
  }
}

inline double quantile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::ptrdiff_t>(p * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

/// `--name value` pairs.
class Options {
 public:
  Options(int argc, char** argv) {
    for (int i = 1; i < argc; i += 2) {
      const std::string_view name = argv[i];
      if (name.substr(0, 2) != "--" || i + 1 == argc) {
        die("usage: " + std::string(argv[0]) + " [--option value]...; not understood: " + argv[i]);
      }
      values_[std::string(name.substr(2))] = argv[i + 1];
    }
  }
  std::string text(const std::string& name, const std::string& otherwise) {
    const auto at = values_.find(name);
    if (at == values_.end()) return otherwise;
    used_[name] = true;
    return at->second;
  }
  double number(const std::string& name, double otherwise) {
    const std::string value = text(name, "");
    return value.empty() ? otherwise : std::strtod(value.c_str(), nullptr);
  }
  int integer(const std::string& name, int otherwise) {
    return static_cast<int>(number(name, otherwise));
  }
  /// Call after the last question.
  void refuse_unknown() const {
    for (const auto& [name, value] : values_) {
      if (used_.count(name) == 0) die("unknown option --" + name);
    }
  }

 private:
  std::map<std::string, std::string> values_;
  std::map<std::string, bool> used_;
};

/// A flat JSON object, printed as one line.
class Line {
 public:
  Line& add(const std::string& name, double value) {
    char text[64];
    std::snprintf(text, sizeof text, "%.9g", value);
    return raw(name, text);
  }
  Line& add(const std::string& name, const std::string& value) {
    return raw(name, '"' + value + '"');  // our own words only: nothing to escape
  }
  Line& add(const std::string& name, const Line& value) {
    return raw(name, "{" + value.text_ + "}");
  }
  void print() const { std::printf("{%s}\n", text_.c_str()); }

 private:
  Line& raw(const std::string& name, const std::string& value) {
    if (!text_.empty()) text_ += ", ";
    text_ += '"' + name + "\": " + value;
    return *this;
  }
  std::string text_;
};

}  // namespace loopscope::bench
