// SPDX-License-Identifier: Apache-2.0
#include "cli/check_push.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "cli/push_gateway.h"
#include "cli/report.h"
#include "instrumentation/findings/check_rules.h"
#include "instrumentation/findings/text.h"
#include "instrumentation/recording/clock.h"

namespace loopscope::cli {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using recording::Error;

constexpr const char* kJob = "loopscope_check";
/// Of what a gateway says to its refusal, so much is read and this much shown.
constexpr std::size_t kMostAnswer = 64 << 10;
constexpr std::size_t kMostShown = 300;
/// The child's last words, behind the gateway's answer: what PushFunction returned.
using Status = std::int32_t;

Error bad(std::string message) { return Error{Error::Code::kBadArgument, std::move(message)}; }

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
        hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

/// base64url, as the Pushgateway takes values that cannot stand in a path.
std::string base64(std::string_view text) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string out;
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (held += 8; held >= 6; held -= 6) out += kDigits[bits >> (held - 6) & 63];
  }
  if (held > 0) out += kDigits[bits << (6 - held) & 63];
  return out;
}

/// prometheus-cpp 1.0 puts labels into the path as they are.
prometheus::Labels in_path(const std::map<std::string, std::string>& labels) {
  prometheus::Labels out;
  for (const auto& [name, value] : labels) {
    const bool plain = std::all_of(value.begin(), value.end(), [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
    });
    if (plain) {
      out[name] = value;
    } else {
      out[name + "@base64"] = base64(value);
    }
  }
  return out;
}

/// One gauge a family: a run is over when it is pushed, nothing counts on.
MetricFamily family(std::string name, std::string help) {
  MetricFamily out;
  out.name = std::move(name);
  out.help = std::move(help);
  out.type = MetricType::Gauge;
  return out;
}

void add(MetricFamily& to, double value, std::vector<ClientMetric::Label> labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  to.metric.push_back(std::move(metric));
}

/// Where it was installed, or next to this command in the build tree. Empty: that is not known; by
/// no means a library of the directory that we happen to run in.
std::string push_library() {
  std::error_code why;
  const auto here = std::filesystem::read_symlink("/proc/self/exe", why).parent_path();
  if (!here.is_absolute()) return {};
  const auto installed = here / LOOPSCOPE_PROBE_FROM_BINDIR / kPushLibrary;
  const auto built = here / kPushLibrary;
  return access(built.c_str(), R_OK) == 0 ? built : installed.lexically_normal();
}

Status push_with_library(const PushRequest& request) {
  const std::string path = push_library();
  if (path.empty()) {
    std::fputs("/proc is not there, which says where this command and its library are", stdout);
    return -1;
  }
  void* library = dlopen(path.c_str(), RTLD_NOW);
  void* function = library != nullptr ? dlsym(library, kPushFunction) : nullptr;
  if (function == nullptr) {
    std::fputs(dlerror(), stdout);
    return -1;
  }
  return reinterpret_cast<PushFunction*>(function)(request);
}

/// In the child: never returns.
[[noreturn]] void push_and_exit(const PushRequest& request, int pipe) {
  dup2(pipe, STDOUT_FILENO);
  const Status status = push_with_library(request);
  std::fwrite(&status, sizeof status, 1, stdout);
  std::fflush(stdout);
  _exit(0);
}

/// What the child writes, until it ends; false: not in time.
bool read_until(int fd, std::uint64_t deadline_ns, std::string& out) {
  std::array<char, 4096> buffer;
  for (;;) {
    const std::uint64_t now = recording::monotonic_ns();
    if (now >= deadline_ns) return false;
    pollfd ready{fd, POLLIN, 0};
    const std::uint64_t left_ms = (deadline_ns - now) / 1'000'000 + 1;
    const int polled = poll(&ready, 1, static_cast<int>(std::min<std::uint64_t>(left_ms, 60'000)));
    if (polled == 0 || (polled < 0 && errno == EINTR)) continue;
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return true;
    out.append(buffer.data(), static_cast<std::size_t>(got));
    // A hostile gateway may send for ever: the end counts, which says how it went.
    if (out.size() > kMostAnswer) out.erase(kMostShown, out.size() - kMostShown - sizeof(Status));
  }
}

std::string first_words(const std::string& answer) {
  std::string text = answer.substr(0, kMostShown);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0)
    text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text.empty() ? "" : ": " + printable(text) + (answer.size() > kMostShown ? "…" : "");
}

/// Why it failed; of a success: nothing.
std::optional<std::string> judged(Status status, const std::string& answer) {
  if (status < 0) return printable(answer.substr(0, kMostShown));
  if (status >= 300 && status < 400) {
    return "it leads elsewhere (status " + std::to_string(status) +
           "), and redirections are not followed";
  }
  if (status < 200 || status >= 300) {
    return "it answered with status " + std::to_string(status) + first_words(answer);
  }
  // A Pushgateway says nothing when it has taken a push.
  if (!answer.empty()) {
    return "what answered is no Pushgateway, or leads elsewhere (redirections are not followed)" +
           first_words(answer);
  }
  return std::nullopt;
}

}  // namespace

recording::Result<PushTarget> push_target(const std::string& url) {
  const auto wrong = [](const std::string& why) {
    // Without the URL: it may hold a password wherever it is wrong.
    return bad("--push: " + why + "; write http://HOST:PORT, as http://localhost:9091");
  };
  PushTarget target;
  std::string_view rest = url;
  std::string_view scheme, default_port;
  if (rest.starts_with("http://")) {
    scheme = "http://", default_port = "80";
  } else if (rest.starts_with("https://")) {
    scheme = "https://", default_port = "443";
  } else {
    return wrong("the URL does not begin with http:// or https://");
  }
  rest.remove_prefix(scheme.size());
  if (rest.find_first_of("?#") != std::string_view::npos) return wrong("the URL has a query");
  if (std::any_of(rest.begin(), rest.end(), [](unsigned char c) { return c <= ' ' || c == 127; })) {
    return wrong("the URL has a blank in it");
  }
  std::string_view authority = rest.substr(0, rest.find('/'));
  std::string_view path = rest.substr(authority.size());
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.find('@') != std::string_view::npos) {
    // A password with a slash: the rest of it would be shown, and its begin asked for as a host.
    return wrong("the URL has an @ behind a /; in user and password / is %2F, in a path @ is %40");
  }
  if (const auto at = authority.rfind('@'); at != std::string_view::npos) {
    const std::string_view credentials = authority.substr(0, at);
    authority.remove_prefix(at + 1);
    const auto colon = credentials.find(':');
    target.user = percent_decoded(credentials.substr(0, colon));
    if (colon != std::string_view::npos) {
      target.password = percent_decoded(credentials.substr(colon + 1));
    }
    if (target.user.empty()) return wrong("the URL has an @ and no user");
  }
  std::string_view port = default_port;
  // Of "[::1]:9091" the last colon, of "[::1]" none.
  const auto colon = authority.rfind(':');
  if (colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos) {
    port = authority.substr(colon + 1);
    authority = authority.substr(0, colon);
  }
  const bool digits =
      !port.empty() && port.size() <= 5 &&
      std::all_of(port.begin(), port.end(), [](unsigned char c) { return std::isdigit(c) != 0; }) &&
      std::stoi(std::string(port)) > 0 && std::stoi(std::string(port)) < 65536;
  if (!digits) return wrong("the URL's port is not a number from 1 to 65535");
  if (authority.empty()) return wrong("the URL has no host");
  target.host = std::string(scheme) + std::string(authority);
  target.port = std::string(port) + std::string(path);
  target.shown = target.host + ":" + target.port;
  return target;
}

recording::Result<std::pair<std::string, std::string>> push_label(const std::string& text) {
  const auto equals = text.find('=');
  const std::string name = text.substr(0, equals);
  const auto wrong = [&](const std::string& why) {
    return bad("--push-label " + printable(text) + ": " + why);
  };
  if (equals == std::string::npos) return wrong("write NAME=VALUE");
  const auto allowed = [](unsigned char c) {
    return (std::isalnum(c) != 0 && c < 128) || c == '_';
  };
  if (name.empty() || !std::all_of(name.begin(), name.end(), allowed) ||
      std::isdigit(static_cast<unsigned char>(name[0])) != 0 || name.starts_with("__")) {
    return wrong(
        "a label's name is of letters, digits and _, and does not begin with a digit or __");
  }
  if (name == "job" || name == "rule" || name == "severity" || name == "status") {
    return wrong("the label " + name + " is taken by what is pushed");
  }
  if (equals + 1 == text.size()) return wrong("an empty label is none to Prometheus");
  return std::pair(name, text.substr(equals + 1));
}

std::vector<MetricFamily> check_metrics(const CheckResult& result, std::uint64_t now_ns) {
  std::vector<MetricFamily> out;
  const auto one = [&out](const char* name, const char* help, double value) {
    out.push_back(family(name, help));
    add(out.back(), value);
  };
  const int status = result.exit_status();
  one("loopscope_check_success", "1 if loopscope check exited with 0, else 0.", status == 0);
  one("loopscope_check_exit_status", "What loopscope check exited with.", status);
  one("loopscope_check_observed", "1 if the program could be observed; else nothing was judged.",
      result.unseen.empty());
  one("loopscope_check_timestamp_seconds", "When the run was over, since unix epoch in seconds.",
      static_cast<double>(now_ns) / 1e9);
  one("loopscope_check_duration_seconds", "How long the program ran.",
      static_cast<double>(result.duration_ns) / 1e9);
  // Of what was not observed 0 findings would be a lie.
  if (!result.unseen.empty()) return out;

  std::map<std::pair<std::string, std::string>, double> by_rule;
  for (const findings::CheckRule& rule : findings::check_rules()) {
    const auto& budgets = result.budgets;
    const bool judged = std::find(budgets.begin(), budgets.end(), rule.name) != budgets.end();
    if (rule.budget && !judged) continue;
    by_rule[{rule.name, findings::severity_name(rule.severity)}] = 0;
  }
  for (const CheckedFinding& checked : result.findings) {
    if (checked.status != CheckedFinding::Status::kNew) continue;
    by_rule[{checked.finding.rule, findings::severity_name(checked.finding.severity)}] += 1;
  }
  out.push_back(family("loopscope_check_findings", "New findings, by rule and severity."));
  for (const auto& [key, count] : by_rule) {
    add(out.back(), count, {{"rule", key.first}, {"severity", key.second}});
  }
  const CheckCounts counts = count(result);
  out.push_back(family("loopscope_check_known_findings",
                       "Findings that are not new, by what became of them: suppressed, in the "
                       "baseline, or fewer than --min-count."));
  add(out.back(), static_cast<double>(counts.suppressed), {{"status", "suppressed"}});
  add(out.back(), static_cast<double>(counts.baseline), {{"status", "baseline"}});
  add(out.back(), static_cast<double>(counts.fewer), {{"status", "fewer"}});

  double opened = 0, closed = 0, left_open = 0;
  for (const CheckedProcess& process : result.processes) {
    opened += static_cast<double>(process.opened);
    closed += static_cast<double>(process.closed);
    // What was open at an exec is told by the program that it became.
    if (process.ending != CheckedProcess::Ending::kExec) {
      left_open += static_cast<double>(process.open_at_end);
    }
  }
  one("loopscope_check_processes", "Processes that were seen, one a program they ran.",
      static_cast<double>(result.processes.size()));
  one("loopscope_check_descriptors_opened", "Descriptors opened, in all processes.", opened);
  one("loopscope_check_descriptors_closed", "Descriptors closed, in all processes.", closed);
  one("loopscope_check_descriptors_open_at_end",
      "Descriptors opened by the processes themselves and open at their end.", left_open);
  return out;
}

std::optional<std::string> push(const PushTarget& target,
                                const std::map<std::string, std::string>& labels,
                                const std::vector<MetricFamily>& families,
                                std::chrono::milliseconds patience) {
  const std::string prefix = "cannot push to " + printable(target.shown) + ": ";
  const std::uint64_t deadline =
      recording::monotonic_ns() +
      static_cast<std::uint64_t>(std::chrono::nanoseconds(patience).count());
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return prefix + std::strerror(errno);
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) {
    const int error = errno;
    close(ends[0]);
    close(ends[1]);
    return prefix + std::strerror(error);
  }
  if (child == 0) {
    // Ours are blocked since PROGRAM's launch: Ctrl-C may end this.
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    push_and_exit(
        {target.host, target.port, target.user, target.password, kJob, in_path(labels), &families},
        ends[1]);
  }
  close(ends[1]);
  std::string said;
  const bool ended = read_until(ends[0], deadline, said);
  close(ends[0]);
  if (!ended) kill(child, SIGKILL);
  int how = 0;
  while (waitpid(child, &how, 0) < 0 && errno == EINTR) {
  }
  if (!ended) {
    return prefix + "no answer within " +
           findings::duration_text(
               static_cast<std::uint64_t>(std::chrono::nanoseconds(patience).count()));
  }
  if (!WIFEXITED(how) || said.size() < sizeof(Status)) return prefix + "it was interrupted";
  Status status = 0;
  std::memcpy(&status, said.data() + said.size() - sizeof status, sizeof status);
  said.resize(said.size() - sizeof status);
  if (const auto why = judged(status, said)) return prefix + *why;
  return std::nullopt;
}

}  // namespace loopscope::cli
