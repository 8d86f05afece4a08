// SPDX-License-Identifier: Apache-2.0
#include "admin.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <sstream>
#include <utility>

namespace demo {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMostSessions = 32;
constexpr unsigned kMostHeaders = 100;
/// For the whole exchange: a request fits into a packet.
constexpr auto kSessionTimeout = 5s;

constexpr const char* kStyle = R"(
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
td { padding: .3rem 1rem .3rem 0; vertical-align: top }
button { font: inherit; width: 14rem; text-align: left }
.on { font-weight: bold }
:root { color-scheme: light dark }
)";

/// One line of a header: "Name: value".
struct Header {
  std::string name;  // in lower case
  std::string_view value;
};

Header parse_header(std::string_view line) {
  const std::size_t colon = std::min(line.find(':'), line.size());
  Header header;
  std::transform(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(colon),
                 std::back_inserter(header.name), [](unsigned char c) { return std::tolower(c); });
  header.value = line.substr(std::min(colon + 1, line.size()));
  const std::size_t begin = std::min(header.value.find_first_not_of(" \t"), header.value.size());
  header.value.remove_prefix(begin);
  header.value = header.value.substr(0, header.value.find_last_not_of(" \t") + 1);
  return header;
}

/// A site that lets its name point to 127.0.0.1 (DNS rebinding) still sends its name.
bool is_loopback_host(std::string_view host) {
  const std::size_t port = host.rfind(':');
  const std::string_view name = host.substr(0, port);
  return name == "127.0.0.1" || name == "localhost";
}

std::string response(std::string_view status, std::string_view type, std::string_view body,
                     std::string_view more_headers = "") {
  std::ostringstream out;
  out << "HTTP/1.1 " << status << "\r\nContent-Type: " << type
      << "; charset=utf-8\r\nContent-Length: " << body.size()
      << "\r\nConnection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
         "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; form-action "
         "'self'; frame-ancestors 'none'\r\n"
      << more_headers << "\r\n"
      << body;
  return out.str();
}

std::string error(std::string_view status) {
  return response(status, "text/plain", std::string(status) + "\n");
}

}  // namespace

/// A connection; it serves one request.
struct Admin::Session {
  std::unique_ptr<LineConnection> connection;
  loopscope::Timer timeout;
  std::string request_line;
  std::string host;
  std::string origin;
  unsigned lines = 0;
};

Admin::Admin(loopscope::Loop& loop, std::uint16_t port, const Counters& counters, Commit commit)
    : loop_(loop),
      counters_(counters),
      commit_(std::move(commit)),
      acceptor_(loop, "admin-accept", port,
                [this](UniqueFd socket) { add_session(std::move(socket)); }) {}

Admin::~Admin() = default;

void Admin::add_session(UniqueFd socket) {
  if (sessions_.size() >= kMostSessions) return;
  const std::uint64_t id = next_id_++;
  auto& session = *(sessions_[id] = std::make_unique<Session>());
  const auto remove = [this, id] { sessions_.erase(id); };
  session.connection = std::make_unique<LineConnection>(
      loop_, "admin", std::move(socket),
      [this, &session](std::string_view line) { on_line(session, line); }, remove);
  session.timeout = loopscope::Timer(loop_, "admin-timeout", kSessionTimeout, 0s, remove);
}

void Admin::on_line(Session& session, std::string_view line) {
  if (session.lines++ == 0) {
    session.request_line = line;
    return;
  }
  if (!line.empty() && session.lines <= kMostHeaders) {
    const Header header = parse_header(line);
    if (header.name == "host") session.host = header.value;
    if (header.name == "origin") session.origin = header.value;
    return;
  }
  // The end of the headers. A body is not needed, and finish() ignores it.
  session.connection->send(line.empty() ? respond(session)
                                        : error("431 Request Header Fields Too Large"));
  session.connection->finish();
}

std::string Admin::respond(const Session& session) {
  std::istringstream words(session.request_line);
  std::string method, target, version;
  words >> method >> target >> version;
  if (!version.starts_with("HTTP/1.")) return error("400 Bad Request");
  if (!is_loopback_host(session.host)) return error("403 Forbidden");

  constexpr std::string_view kAction = "/do/";
  if (target.starts_with(kAction)) {
    if (method != "POST") {
      return response("405 Method Not Allowed", "text/plain", "POST it\n", "Allow: POST\r\n");
    }
    // Another site's page may post a form here too, but not without saying where it comes from.
    if (!session.origin.empty() && session.origin != "http://" + session.host) {
      return error("403 Forbidden");
    }
    const auto fault = find_fault(std::string_view(target).substr(kAction.size()));
    if (!fault) return error("404 Not Found");
    commit_(*fault);
    return response("303 See Other", "text/plain", "done\n", "Location: /\r\n");
  }
  if (target != "/" && target != "/state") return error("404 Not Found");
  if (method != "GET") {
    return response("405 Method Not Allowed", "text/plain", "GET it\n", "Allow: GET\r\n");
  }
  if (target == "/") return response("200 OK", "text/html", page());
  return response("200 OK", "application/json", state());
}

std::string Admin::page() const {
  std::ostringstream out;
  out << "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">"
         "<meta http-equiv=\"refresh\" content=\"2\"><title>loopscope demo</title><style>"
      << kStyle << "</style></head><body><h1>Make the server misbehave</h1>";
  if (!page_url_.empty()) {
    out << "<p>and watch it <a href=\"" << page_url_ << "\" target=\"_blank\">there</a>.</p>";
  }
  out << "<table>";
  const std::uint32_t active = counters_.active_faults;
  for (const FaultText& fault : kFaults) {
    const bool on = (active >> static_cast<unsigned>(fault.fault) & 1U) != 0;
    out << "<tr><td><form method=\"post\" action=\"/do/" << fault.name << "\"><button"
        << (on ? " class=\"on\"" : "") << ">" << fault.name << (on ? " (now)" : "")
        << "</button></form></td><td>" << fault.text << "</td></tr>";
  }
  out << "</table><p>" << counters_.connections << " connections, " << counters_.messages_per_second
      << " messages a second, " << counters_.reconnects << " reconnects, " << counters_.leaked_fds
      << " descriptors leaked</p></body></html>\n";
  return out.str();
}

std::string Admin::state() const {
  std::ostringstream out;
  out << "{\"connections\":" << counters_.connections << ",\"accepted\":" << counters_.accepted
      << ",\"messages\":" << counters_.messages
      << ",\"messages_per_second\":" << counters_.messages_per_second
      << ",\"idle_timeouts\":" << counters_.idle_timeouts << ",\"answers\":" << counters_.answers
      << ",\"not_sent\":" << counters_.not_sent << ",\"reconnects\":" << counters_.reconnects
      << ",\"leaked_fds\":" << counters_.leaked_fds
      << ",\"forked_child\":" << counters_.forked_child << ",\"active\":{";
  const std::uint32_t active = counters_.active_faults;
  const char* separator = "";
  for (const FaultText& fault : kFaults) {
    const bool on = (active >> static_cast<unsigned>(fault.fault) & 1U) != 0;
    out << separator << '"' << fault.name << "\":" << (on ? "true" : "false");
    separator = ",";
  }
  out << "}}\n";
  return out.str();
}

}  // namespace demo
