// SPDX-License-Identifier: Apache-2.0
#include "webui/server/server.h"

#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "instrumentation/metrics/collector.h"
#include "instrumentation/recording/fault_signals.h"
#include "instrumentation/snapshot/json.h"
#include "webui/server/access.h"
#include "webui/server/descriptor_table.h"
#include "webui/server/failures.h"
#include "webui/server/http_message.h"
#include "webui/server/http_server.h"
#include "webui/server/page.h"
#include "webui/server/query.h"
#include "webui/server/service_discovery.h"
#include "webui/server/tls.h"
#include "webui/server/turns.h"

namespace loopscope::webui {
namespace {

constexpr std::size_t kMaxUriBytes = 4 * 1024;
constexpr std::size_t kMaxHeaderBytes = 16 * 1024;
constexpr unsigned kMostStreams = 1024;
constexpr std::chrono::milliseconds kLeastTimeout{1};
constexpr std::size_t kDefaultRecent = 256;

/// Threads that are created while this lives inherit a mask that keeps the host's signals away.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    const sigset_t others = recording::all_but_faults();
    pthread_sigmask(SIG_BLOCK, &others, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

/// A socket that listens on `endpoint`; -1 with errno.
int listen_on(const Endpoint& endpoint) {
  const int fd =
      socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
  if (fd < 0) return -1;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (endpoint.address.ss_family == AF_INET6) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  // A long queue: who is not served yet waits there, at no cost to the host.
  if (bind(fd, reinterpret_cast<const sockaddr*>(&endpoint.address), endpoint.address_size) != 0 ||
      listen(fd, SOMAXCONN) != 0) {
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

std::uint16_t port_of(int listener) {
  sockaddr_storage local{};
  socklen_t size = sizeof local;
  if (getsockname(listener, reinterpret_cast<sockaddr*>(&local), &size) != 0) return 0;
  return ntohs(local.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(local).sin6_port
                                           : reinterpret_cast<const sockaddr_in&>(local).sin_port);
}

std::string advice_for(int error, std::uint16_t port) {
  switch (error) {
    case EADDRINUSE:
      return "; something listens there already: choose another port, or 0 for a free one";
    case EACCES:
      return port < 1024
                 ? "; ports below 1024 need CAP_NET_BIND_SERVICE (or root): choose one above"
                 : "; a security policy forbids it";
    case EADDRNOTAVAIL:
      return "; this machine has no such address: see `ip address`, or use 127.0.0.1";
    case EAFNOSUPPORT:
      return "; this kernel has no such address family: use 127.0.0.1";
    case EMFILE:
    case ENFILE:
      return "; too many open descriptors: raise the limit (ulimit -n) or close some";
    default:
      return "";
  }
}

Answer answer_of(Response response) { return {std::move(response), nullptr}; }

Answer refusal(int status, std::string_view code, const std::string& message,
               std::string extra_headers = {}) {
  return answer_of(error_response(status, code, message, std::move(extra_headers)));
}

Answer json_answer(std::string json) {
  Response response;
  response.content_type = "application/json";
  return answer_of(response.with(std::move(json)));
}

/// What /api/v1/snapshot is asked for; `error` says what is wrong with it.
SnapshotRequest snapshot_request(std::string_view query, std::string& error) {
  SnapshotRequest request;
  request.recent = kDefaultRecent;
  for_each_parameter(query, [&](std::string_view name, std::string_view value) {
    if (name == "recent" && !read_number(value, request.recent)) {
      error = "recent must be a number of turns: ?recent=256";
    } else if (name == "descriptors") {
      if (value != "0" && value != "1") error = "descriptors must be 0 or 1: ?descriptors=1";
      request.descriptors = value == "1";
    } else if (name == "served") {
      if (value != "0" && value != "1") error = "served must be 0 or 1: ?served=1";
      request.served = value == "1";
    } else if (name == "pid" && (!read_number(value, request.pid.emplace()) || *request.pid <= 0)) {
      error = "pid must be the number of a process: ?pid=1234";
    }
    return error.empty();
  });
  return request;
}

}  // namespace

static_assert(Server::kThreads == HttpServer::kWorkers + 2);
static_assert(Server::kOtherDescriptors ==
              HttpServer::kMostWaiting + HttpServer::kMostAnswering + HttpServer::kOwnDescriptors);

struct Server::Impl {
  explicit Impl(const ServerOptions& given, SnapshotProvider provider_given)
      : options(given), provider(std::move(provider_given)), tables(provider) {}

  ServerOptions options;
  SnapshotProvider provider;
  DescriptorTables tables;
  Endpoint endpoint;  // as asked for; requests are checked against it
  HostNames known;    // likewise
  std::unique_ptr<TlsContext> tls;
  std::uint16_t port = 0;  // the real one
  pid_t pid = getpid();
  std::unique_ptr<StreamHub> hub;
  std::unique_ptr<HttpServer> http;

  void validate();
  void start();
  void stop();

  // On the server's workers, several at once.
  Answer handle(const Request& request);
  std::optional<Answer> turned_away(const Request& request) const;
  std::optional<Answer> unauthorized(const Request& request) const;
  Answer give_page(const PageFile& file) const;
  Answer give_snapshot(const Request& request);
  Answer give_metrics(const Request& request);
  Answer give_targets(const Request& request);
  Answer give_turns(const Request& request);
  Answer give_descriptors(const Request& request);
  Answer give_stream(const Request& request);
};

void Server::Impl::validate() {
  const std::optional<Endpoint> parsed = parse_endpoint(options.address, options.port);
  if (!parsed) {
    throw std::invalid_argument("cannot listen on \"" + options.address +
                                "\": not an IPv4 or IPv6 address (\"127.0.0.1\", \"::1\")");
  }
  endpoint = *parsed;
  if (options.max_streams > kMostStreams) {
    throw std::invalid_argument("max_streams is " + std::to_string(options.max_streams) +
                                ": at most " + std::to_string(kMostStreams) +
                                ", each costs a descriptor");
  }
  if (!std::all_of(options.token.begin(), options.token.end(),
                   [](char c) { return c > ' ' && c <= '~'; })) {
    throw std::invalid_argument(
        "the token holds a character that cannot be in a header: use letters, digits, punctuation");
  }
  if (!endpoint.loopback && options.token.empty() && !options.insecure) {
    throw std::invalid_argument(
        "listening on " + endpoint.literal +
        " would show this to everybody on the network: set a token, or say that it is meant "
        "(insecure)");
  }
  for (const std::string& name : options.host_names) {
    if (!is_host_name(name)) {
      throw std::invalid_argument("\"" + name + "\" is not the name of a host: no scheme, no port");
    }
  }
  known.any = !endpoint.loopback && !options.token.empty();
  known.names = options.host_names;
  if (!endpoint.loopback) {
    for (std::string& name : names_of_this_machine()) known.names.push_back(std::move(name));
  }
  if (options.tls_certificate.empty()) {
    if (options.tls_key.empty()) return;
    throw std::invalid_argument("there is a key for TLS (" + options.tls_key +
                                "), but no certificate");
  }
  try {
    tls = std::make_unique<TlsContext>(options.tls_certificate, options.tls_key);
  } catch (const TlsError& error) {
    throw std::invalid_argument(error.what());
  }
}

void Server::Impl::start() {
  const std::string where = authority(endpoint.literal, options.port);
  const int listener = listen_on(endpoint);
  if (listener < 0) {
    const int error = errno;
    throw ServerError("cannot listen on " + where + ": " + std::strerror(error) +  // NOLINT: glibc
                      advice_for(error, options.port));
  }
  port = port_of(listener);

  // Who looks at a table looks at the page: its stream notices when the table is old.
  const auto provide = [this](const SnapshotRequest& wanted) {
    tables.let_go();
    return provider(wanted);
  };
  const SignalsBlocked blocked;
  bool taken = false;
  try {
    hub = std::make_unique<StreamHub>(provide, options.stream_interval, options.max_streams);
    taken = true;
    MakeTransport speak;
    if (tls) speak = [this](int fd) { return std::make_unique<TlsSession>(*tls, fd); };
    http = std::make_unique<HttpServer>(
        listener, std::max(options.timeout, kLeastTimeout),
        [this](const Request& request) { return handle(request); }, std::move(speak));
  } catch (const std::system_error& error) {
    if (!taken) close(listener);
    hub.reset();
    throw ServerError("cannot serve on " + where + ": a thread could not be started (" +
                      error.code().message() +
                      "); allow this process more threads (ulimit -u, pids.max) or descriptors "
                      "(ulimit -n)");
  }
  hub->on_news([server = http.get()] { server->wake(); });
}

void Server::Impl::stop() {
  hub->stop();
  hub->on_news({});  // none is under way any more: what it wakes may go
  http.reset();
  hub.reset();
}

// --- the routes ----------------------------------------------------------------------------------

std::optional<Answer> Server::Impl::turned_away(const Request& request) const {
  std::size_t headers = 0;
  for (const auto& [name, value] : request.headers) headers += name.size() + value.size() + 4;
  if (request.target.size() > kMaxUriBytes) {
    return refusal(414, "uri_too_long",
                   "the address is longer than " + std::to_string(kMaxUriBytes) + " bytes");
  }
  if (headers > kMaxHeaderBytes) {
    return refusal(431, "headers_too_long",
                   "the headers are longer than " + std::to_string(kMaxHeaderBytes) + " bytes");
  }
  bool repeated = false;
  const std::string* host = request.header("Host", &repeated);
  if (repeated || (host == nullptr && request.minor_version != 0)) {
    return refusal(400, "bad_request", "a request must have exactly one Host header");
  }
  for (const std::string* name : {host, request.authority.empty() ? nullptr : &request.authority}) {
    if (name != nullptr && !host_allowed(*name, endpoint, known)) {
      return refusal(403, "foreign_host",
                     "this server does not answer to that host name; use " +
                         (endpoint.loopback ? "localhost or " + authority(endpoint.literal, port)
                                            : std::string("its address, or a token")) +
                         ", or start it with --host NAME (Inspector: host_names)");
    }
  }
  if (const std::string* origin = request.header("Origin");
      origin != nullptr && (host == nullptr || !origin_allowed(*origin, *host, tls != nullptr))) {
    return refusal(403, "foreign_origin", "this server does not answer to other sites' pages");
  }
  if (!request.head_only() && request.method != "GET") {
    return refusal(405, "method_not_allowed", "everything here is read-only: use GET or HEAD",
                   "Allow: GET, HEAD\r\n");
  }
  return std::nullopt;
}

std::optional<Answer> Server::Impl::unauthorized(const Request& request) const {
  if (options.token.empty()) return std::nullopt;
  bool repeated = false;
  const std::string* given = request.header("Authorization", &repeated);
  if (given != nullptr && !repeated && token_matches(*given, options.token)) return std::nullopt;
  return refusal(401, "unauthorized",
                 given == nullptr ? "this server wants a token: send Authorization: Bearer TOKEN"
                                  : "the token is wrong",
                 "WWW-Authenticate: Bearer realm=\"loopscope\"\r\n");
}

Answer Server::Impl::handle(const Request& request) {
  if (std::optional<Answer> refused = turned_away(request)) return *std::move(refused);
  tables.let_go();
  if (const std::optional<PageFile> file = page_file(request.path)) return give_page(*file);
  if (request.path == "/healthz") return answer_of(Response{}.with("ok\n" + failures_line()));

  using Route = Answer (Impl::*)(const Request&);
  constexpr std::pair<std::string_view, Route> kRoutes[] = {
      {"/metrics", &Impl::give_metrics},
      {"/sd", &Impl::give_targets},
      {"/api/v1/snapshot", &Impl::give_snapshot},
      {"/api/v1/turns", &Impl::give_turns},
      {"/api/v1/descriptors", &Impl::give_descriptors},
      {"/api/v1/stream", &Impl::give_stream},
  };
  for (const auto& [path, route] : kRoutes) {
    if (request.path != path) continue;
    if (std::optional<Answer> refused = unauthorized(request)) return *std::move(refused);
    return (this->*route)(request);
  }
  return refusal(404, "not_found",
                 "there is /, /metrics, /sd, /api/v1/snapshot, /api/v1/stream, /api/v1/turns, "
                 "/api/v1/descriptors and /healthz");
}

Answer Server::Impl::give_page(const PageFile& file) const {
  std::optional<std::string> bytes = read_page_file(file.name, options.page_directory);
  if (!bytes) {
    return refusal(
        404, "not_found",
        std::string(file.name) + " cannot be read from LOOPSCOPE_WEBUI_DIR: build the page there");
  }
  Response response;
  response.content_type = file.content_type;
  return answer_of(response.with(*std::move(bytes)));
}

Answer Server::Impl::give_snapshot(const Request& request) {
  std::string error;
  const SnapshotRequest wanted = snapshot_request(request.query, error);
  if (!error.empty()) return refusal(400, "bad_request", error);
  return json_answer(snapshot::to_json(provider(wanted)));
}

Answer Server::Impl::give_turns(const Request& request) {
  TurnsAnswer turns = turns_answer(request.query, provider);
  if (turns.status != 200) return refusal(turns.status, turns.code, turns.text);
  return json_answer(std::move(turns.text));
}

Answer Server::Impl::give_metrics(const Request& request) {
  std::optional<std::string> process;
  for_each_parameter(request.query, [&](std::string_view name, std::string_view value) {
    if (name == "process") process = decoded(value).value_or("");
    return true;
  });
  if (process && process->empty()) {
    return refusal(400, "bad_request",
                   "process must be the id of a process, as /sd and /api/v1/snapshot give it");
  }
  SnapshotRequest wanted;
  wanted.recent = 0;
  std::string text;
  if (process) {
    wanted.pid = pid_of_id(*process);
    snapshot::HostSnapshot host;
    if (wanted.pid) host = provider(wanted);
    std::erase_if(host.processes, [&](const snapshot::ProcessSnapshot& each) {
      return each.id() != *process || each.recording.life != recording::Life::kRunning;
    });
    if (host.processes.empty()) {
      return refusal(404, "no_such_process",
                     "no process " + *process + " runs; /sd lists those that do");
    }
    text = metrics::to_text(host, metrics::LabelMode::kSingle);
  } else {
    const snapshot::HostSnapshot host = provider(wanted);
    text = metrics::to_text(host, metrics::label_mode(host)) + failures_metric();
  }
  Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  return answer_of(response.with(std::move(text)));
}

Answer Server::Impl::give_targets(const Request& request) {
  const std::string* host = request.header("Host");
  const std::optional<std::string> target =
      scrape_target(host != nullptr ? *host : authority(endpoint.literal, port));
  if (!target) {
    return refusal(400, "bad_request", "the Host header is not an address that can be scraped");
  }
  SnapshotRequest wanted;
  wanted.recent = 0;
  return json_answer(service_discovery_json(provider(wanted), *target, tls != nullptr));
}

Answer Server::Impl::give_descriptors(const Request& request) {
  std::string error;
  const TableQuery query = table_query(request.query, error);
  if (!error.empty()) {
    return refusal(400, "bad_request", error);
  }
  const std::shared_ptr<const DescriptorTable> table = tables.get(query.process);
  if (!table) {
    return refusal(404, "no_such_process", "there is no process " + query.process);
  }
  return json_answer(table_json(*table, query));
}

Answer Server::Impl::give_stream(const Request& request) {
  if (request.head_only()) {
    Response response;
    response.endless = true;
    return answer_of(response);
  }
  std::unique_ptr<StreamHub::Subscription> subscription = hub->subscribe();
  if (!subscription) {
    return refusal(503, "too_many_streams",
                   "all " + std::to_string(options.max_streams) + " streams are taken: close one",
                   "Retry-After: 5\r\n");
  }
  Response response;
  response.endless = true;
  return {response, std::move(subscription)};
}

// --- public --------------------------------------------------------------------------------------

Server::Server(const ServerOptions& options, SnapshotProvider provider)
    : impl_(std::make_unique<Impl>(options, std::move(provider))) {
  if (!impl_->provider) throw std::invalid_argument("a server needs a snapshot provider");
  impl_->validate();
  impl_->start();
}

Server::~Server() {
  if (getpid() != impl_->pid) {
    // A forked child: see the class comment.
    (void)impl_.release();  // NOLINT(bugprone-unused-return-value)
    return;
  }
  impl_->stop();
}

void Server::finish(std::chrono::milliseconds patience) { impl_->hub->finish(patience); }

std::uint16_t Server::port() const { return impl_->port; }

std::string Server::url() const {
  const Endpoint& endpoint = impl_->endpoint;
  const std::string scheme = impl_->tls ? "https://" : "http://";
  if (!endpoint.wildcard) return scheme + authority(endpoint.literal, impl_->port) + "/";
  const bool v6 = endpoint.address.ss_family == AF_INET6;
  return scheme + authority(v6 ? "::1" : "127.0.0.1", impl_->port) + "/";
}

}  // namespace loopscope::webui
