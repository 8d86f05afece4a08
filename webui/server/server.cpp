// SPDX-License-Identifier: Apache-2.0
//
// What CivetWeb 1.15 does, and what is done about it here:
//
//  * Every thread it starts sets SIGPIPE to be ignored, for the whole process, before it calls
//    init_thread. It sends with MSG_NOSIGNAL, so nothing needs that: when init_thread has been
//    called for all threads, the host's disposition is put back.
//  * mg_init_library() counts, but neither it nor mg_exit_library() may run on two threads at once,
//    and the last exit pulls thread-local storage from under servers that were started without an
//    init. So: one init a process, no exit.
//  * A request line and headers must arrive within request_timeout_ms in all (a last read may
//  double
//    it), and fit max_request_size. Too long, too slow and malformed all come to http_error() as
//    400 "Malformed message".
//  * request_timeout_ms is also how long a send may make no progress.
//  * It notices mg_stop() only every 2 s where it waits in poll(2): see connections.h.
//  * Debian 12 builds it without IPv6 (mg_check_feature() says so); it then calls "[::1]:80" an
//    invalid port.
//  * begin_request comes before everything it would do itself: files, CGI, WebSocket, CORS.
//  Handling
//    every request there leaves none of that reachable.
//  * With keep-alive off it closes after an answer without reading what is left of the request; the
//    kernel then resets the connection. Bodies are read (up to a limit) before answering.
#include "webui/server/server.h"

#include <civetweb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "instrumentation/metrics/collector.h"
#include "instrumentation/snapshot/json.h"
#include "webui/server/access.h"
#include "webui/server/connections.h"
#include "webui/server/descriptor_table.h"
#include "webui/server/page.h"
#include "webui/server/query.h"
#include "webui/server/response.h"
#include "webui/server/service_discovery.h"
#include "webui/server/turns.h"

namespace loopscope::webui {
namespace {

constexpr std::size_t kMaxRequestBytes = 32 * 1024;  // CivetWeb's buffer: beyond it, a bare 400
constexpr std::size_t kMaxUriBytes = 4 * 1024;
constexpr std::size_t kMaxHeaderBytes = 16 * 1024;
constexpr std::size_t kMaxDrainedBytes = 64 * 1024;
constexpr std::chrono::seconds kMaxDrainTime{2};
constexpr unsigned kMostStreams = 1024;
constexpr std::size_t kDefaultRecent = 256;

/// When the connection began that this CivetWeb thread handles: tells a request that was too slow
/// from one that makes no sense. (CivetWeb's own data of a connection is lost before its
/// connection_closed callback could free it.)
thread_local std::chrono::steady_clock::time_point t_connection_began;

/// Threads that are created while this lives inherit a mask that keeps the host's signals away.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

/// Puts the host's disposition of SIGPIPE back if it was changed to "ignore" meanwhile.
class SigpipeKept {
 public:
  SigpipeKept() { sigaction(SIGPIPE, nullptr, &before_); }
  ~SigpipeKept() {
    struct sigaction now {};
    sigaction(SIGPIPE, nullptr, &now);
    if (now.sa_handler == SIG_IGN && before_.sa_handler != SIG_IGN) {
      sigaction(SIGPIPE, &before_, nullptr);
    }
  }
  SigpipeKept(const SigpipeKept&) = delete;
  SigpipeKept& operator=(const SigpipeKept&) = delete;

 private:
  struct sigaction before_ {};
};

void init_civetweb() {
  static std::once_flag once;
  std::call_once(once, [] { mg_init_library(MG_FEATURES_DEFAULT); });
}

/// What the kernel says to listening on `endpoint`: an errno, or 0.
int try_to_listen(const Endpoint& endpoint) {
  const int fd = socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
  if (fd < 0) return errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (endpoint.address.ss_family == AF_INET6) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  int error = 0;
  if (bind(fd, reinterpret_cast<const sockaddr*>(&endpoint.address), endpoint.address_size) != 0 ||
      listen(fd, 1) != 0) {
    error = errno;
  }
  close(fd);
  return error;
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

struct Request {
  mg_connection* connection;
  const mg_request_info* info;
  std::string_view path;
  std::string_view query;
  bool head_only = false;

  /// None: the header is not there; `repeated`: more than once.
  const char* header(const char* name, bool* repeated = nullptr) const {
    const char* value = nullptr;
    for (int i = 0; i < info->num_headers; ++i) {
      if (mg_strcasecmp(info->http_headers[i].name, name) != 0) continue;
      if (value != nullptr && repeated != nullptr) *repeated = true;
      if (value == nullptr) value = info->http_headers[i].value;
    }
    return value;
  }

  void refuse(int status, std::string_view code, const std::string& message,
              std::string extra_headers = {}) const {
    send_error(connection, status, code, message, head_only, std::move(extra_headers));
  }
};

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

struct Server::Impl {
  explicit Impl(const ServerOptions& given, SnapshotProvider provider_given)
      : options(given), provider(std::move(provider_given)), tables(provider) {}

  ServerOptions options;
  SnapshotProvider provider;
  DescriptorTables tables;
  Endpoint endpoint;  // as asked for; requests are checked against it
  bool any_host_name = false;
  std::atomic<std::uint16_t> port = 0;  // the real one
  pid_t pid = getpid();
  std::unique_ptr<StreamHub> hub;
  mg_context* context = nullptr;

  std::mutex mutex;
  std::condition_variable thread_started;
  unsigned threads = 0;
  std::thread::id starter;
  std::string complaint;  // CivetWeb's first one about starting

  void validate();
  void start();
  void wait_for_threads(unsigned wanted);
  void stop();

  void handle(const Request& request);
  bool admitted(const Request& request);
  bool authorized(const Request& request);
  void give_metrics(const Request& request);
  void give_targets(const Request& request);
  void give_descriptors(const Request& request);
  void stream(const Request& request);

  static Impl& of(const mg_context* context) {
    return *static_cast<Impl*>(mg_get_user_data(context));
  }
  static Impl& of(const mg_connection* connection) { return of(mg_get_context(connection)); }

  static int on_request(mg_connection* connection);
  static int on_error(mg_connection* connection, int status, const char* message);
  static int on_log(const mg_connection* connection, const char* message);
  static void* on_thread(const mg_context* context, int type);
  static int on_connection(const mg_connection* connection, void** data);
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
                                ", each costs a thread");
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
  any_host_name = !endpoint.loopback;
}

void Server::Impl::start() {
  init_civetweb();
  const std::string where = authority(endpoint.literal, options.port);
  const unsigned workers = options.max_streams + kSpareThreads;
  const std::pair<const char*, std::string> settings[] = {
      {"listening_ports", where},
      {"num_threads", std::to_string(workers)},
      {"max_request_size", std::to_string(kMaxRequestBytes)},
      {"request_timeout_ms", std::to_string(std::max<long>(1, options.timeout.count()))},
      {"connection_queue", "64"},
      {"tcp_nodelay", "1"},                // an event is complete when it is written
      {"enable_keep_alive", "no"},         // an idle connection would hold a thread
      {"enable_auth_domain_check", "no"},  // absolute URIs: Host is checked here
      {"decode_url", "no"},                // no route needs it, and %00 would cut a path short
  };
  std::vector<const char*> configuration;
  for (const auto& [name, value] : settings) {
    configuration.push_back(name);
    configuration.push_back(value.c_str());
  }
  configuration.push_back(nullptr);

  mg_callbacks callbacks{};
  callbacks.begin_request = on_request;
  callbacks.http_error = on_error;
  callbacks.log_message = on_log;
  callbacks.init_thread = on_thread;
  callbacks.init_connection = on_connection;
  mg_init_data init{};
  init.callbacks = &callbacks;
  init.user_data = this;
  init.configuration_options = configuration.data();
  std::array<char, 256> text{};
  mg_error_data failure{};
  failure.text = text.data();
  failure.text_buffer_size = text.size();

  const SigpipeKept sigpipe;
  starter = std::this_thread::get_id();
  {
    const SignalsBlocked blocked;
    // Who looks at a table looks at the page: its stream notices when the table is old.
    const auto provide = [this](const SnapshotRequest& wanted) {
      tables.let_go();
      return provider(wanted);
    };
    hub = std::make_unique<StreamHub>(provide, options.stream_interval, options.max_streams);
    context = mg_start2(&init, &failure);
  }
  if (context == nullptr) {
    hub.reset();
    const int error = try_to_listen(endpoint);
    std::string message = "cannot listen on " + where + ": ";
    if (endpoint.address.ss_family == AF_INET6 && mg_check_feature(MG_FEATURES_IPV6) == 0) {
      message += "the CivetWeb library of this system is built without IPv6: use 127.0.0.1";
    } else if (error != 0) {
      message += std::strerror(error) + advice_for(error, options.port);  // NOLINT: glibc's is safe
    } else {
      message += complaint.empty() ? std::string(text.data()) : complaint;
    }
    throw ServerError(message);
  }
  wait_for_threads(workers + 1);

  std::array<mg_server_port, 2> ports{};
  if (mg_get_server_ports(context, static_cast<int>(ports.size()), ports.data()) < 1) {
    stop();
    throw ServerError("cannot listen on " + where + ": the port is unknown");
  }
  port = static_cast<std::uint16_t>(ports[0].port);
}

void Server::Impl::wait_for_threads(unsigned wanted) {
  std::unique_lock lock(mutex);
  const auto ready = [&] { return threads >= wanted || !complaint.empty(); };
  thread_started.wait_for(lock, std::chrono::seconds(10), ready);
  if (threads >= wanted) return;
  const std::string message =
      "cannot serve on " + authority(endpoint.literal, options.port) + ": only " +
      std::to_string(threads) + " of " + std::to_string(wanted) + " threads could be started" +
      (complaint.empty() ? "" : " (" + complaint + ")") +
      "; allow this process more threads (ulimit -u, pids.max) or lower max_streams";
  lock.unlock();
  stop();
  throw ServerError(message);
}

void Server::Impl::stop() {
  hub->stop();
  // Wakes whoever waits for a connection or for a client.
  if (port != 0) shut_down_connections(*parse_endpoint(endpoint.literal, port));
  mg_stop(context);
  context = nullptr;
  hub.reset();
}

// --- called by CivetWeb, on its threads: no exception may reach its C code -----------------------

void* Server::Impl::on_thread(const mg_context* context, int) {
  pthread_setname_np(pthread_self(), "loopscope-http");
  Impl& self = of(context);
  const std::lock_guard lock(self.mutex);
  ++self.threads;
  self.thread_started.notify_all();
  return nullptr;
}

int Server::Impl::on_log(const mg_connection* connection, const char* message) {
  // Complaints about single requests, and why a start fails. The host's stderr is not ours.
  try {
    Impl& self = of(connection);
    const std::lock_guard lock(self.mutex);
    if (std::this_thread::get_id() == self.starter && self.complaint.empty()) {
      self.complaint = message;
    }
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): a lost message is all
  }
  return 1;
}

int Server::Impl::on_connection(const mg_connection*, void**) {
  t_connection_began = std::chrono::steady_clock::now();
  return 0;
}

int Server::Impl::on_error(mg_connection* connection, int status, const char* message) {
  try {
    std::string text = message;
    std::string_view code = "bad_request";
    if (text == "Malformed message") {
      if (std::chrono::steady_clock::now() - t_connection_began >= of(connection).options.timeout) {
        status = 408;
        code = "timeout";
        text = "the request did not arrive in time";
      } else {
        text = "the request is not HTTP, or its head is longer than " +
               std::to_string(kMaxRequestBytes) + " bytes";
      }
    } else if (status >= 500 && status != 505) {
      code = "internal";
    }
    send_error(connection, status, code, text, false);
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): the connection is closed
  }
  return 0;
}

int Server::Impl::on_request(mg_connection* connection) {
  try {
    Request request{connection, mg_get_request_info(connection), {}, {}, false};
    request.path = request.info->local_uri;
    if (request.info->query_string != nullptr) request.query = request.info->query_string;
    request.head_only = std::strcmp(request.info->request_method, "HEAD") == 0;
    of(connection).handle(request);
  } catch (const std::exception& error) {
    // Half an answer may be out already; then the closed connection is the message.
    try {
      send_error(connection, 500, "internal", error.what(), false);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    }
  }
  return 200;
}

// --- the routes ----------------------------------------------------------------------------------

bool Server::Impl::admitted(const Request& request) {
  const mg_request_info& info = *request.info;
  std::size_t uri = std::strlen(info.request_uri) + request.query.size();
  std::size_t headers = 0;
  for (int i = 0; i < info.num_headers; ++i) {
    headers += std::strlen(info.http_headers[i].name) + std::strlen(info.http_headers[i].value) + 4;
  }
  // Without this a client that still sends would be reset before it can read the answer. Byte by
  // byte, because mg_read waits for all it is asked for and begins its timeout anew with each byte:
  // a body that trickles in is given up at the deadline.
  const auto deadline = std::chrono::steady_clock::now() + kMaxDrainTime;
  char byte = 0;
  for (std::size_t drained = 0; drained < kMaxDrainedBytes; ++drained) {
    if (mg_read(request.connection, &byte, 1) <= 0 || std::chrono::steady_clock::now() > deadline)
      break;
  }

  if (uri > kMaxUriBytes) {
    request.refuse(414, "uri_too_long",
                   "the address is longer than " + std::to_string(kMaxUriBytes) + " bytes");
    return false;
  }
  if (headers > kMaxHeaderBytes) {
    request.refuse(431, "headers_too_long",
                   "the headers are longer than " + std::to_string(kMaxHeaderBytes) + " bytes");
    return false;
  }
  bool repeated = false;
  const char* host = request.header("Host", &repeated);
  if (repeated || (host == nullptr && std::strcmp(info.http_version, "1.0") != 0)) {
    request.refuse(400, "bad_request", "a request must have exactly one Host header");
    return false;
  }
  if (host != nullptr && !host_allowed(host, endpoint, any_host_name)) {
    request.refuse(403, "foreign_host",
                   "this server does not answer to that host name; use localhost or " +
                       authority(endpoint.literal, port));
    return false;
  }
  if (const char* origin = request.header("Origin");
      origin != nullptr && (host == nullptr || !origin_allowed(origin, host))) {
    request.refuse(403, "foreign_origin", "this server does not answer to other sites' pages");
    return false;
  }
  if (!request.head_only && std::strcmp(info.request_method, "GET") != 0) {
    request.refuse(405, "method_not_allowed", "everything here is read-only: use GET or HEAD",
                   "Allow: GET, HEAD\r\n");
    return false;
  }
  return true;
}

bool Server::Impl::authorized(const Request& request) {
  if (options.token.empty()) return true;
  bool repeated = false;
  const char* given = request.header("Authorization", &repeated);
  if (given != nullptr && !repeated && token_matches(given, options.token)) return true;
  request.refuse(401, "unauthorized",
                 given == nullptr ? "this server wants a token: send Authorization: Bearer TOKEN"
                                  : "the token is wrong",
                 "WWW-Authenticate: Bearer realm=\"loopscope\"\r\n");
  return false;
}

void Server::Impl::handle(const Request& request) {
  if (!admitted(request)) return;
  tables.let_go();

  Response response;
  if (const std::optional<PageFile> file = page_file(request.path)) {
    const std::optional<std::string> bytes = read_page_file(file->name, options.page_directory);
    if (!bytes) {
      request.refuse(404, "not_found",
                     std::string(file->name) +
                         " cannot be read from LOOPSCOPE_WEBUI_DIR: build "
                         "the page there");
      return;
    }
    response.content_type = file->content_type;
    response.body = *bytes;
    send_response(request.connection, response, request.head_only);
  } else if (request.path == "/healthz") {
    response.body = "ok\n";
    send_response(request.connection, response, request.head_only);
  } else if (request.path == "/metrics") {
    if (authorized(request)) give_metrics(request);
  } else if (request.path == "/sd") {
    if (authorized(request)) give_targets(request);
  } else if (request.path == "/api/v1/snapshot") {
    if (!authorized(request)) return;
    std::string error;
    const SnapshotRequest wanted = snapshot_request(request.query, error);
    if (!error.empty()) {
      request.refuse(400, "bad_request", error);
      return;
    }
    const std::string json = snapshot::to_json(provider(wanted));
    response.content_type = "application/json";
    response.body = json;
    send_response(request.connection, response, request.head_only);
  } else if (request.path == "/api/v1/turns") {
    if (!authorized(request)) return;
    const TurnsAnswer turns = turns_answer(request.query, provider);
    if (turns.status != 200) {
      request.refuse(turns.status, turns.code, turns.text);
      return;
    }
    response.content_type = "application/json";
    response.body = turns.text;
    send_response(request.connection, response, request.head_only);
  } else if (request.path == "/api/v1/descriptors") {
    if (authorized(request)) give_descriptors(request);
  } else if (request.path == "/api/v1/stream") {
    if (!authorized(request)) return;
    stream(request);
  } else {
    request.refuse(404, "not_found",
                   "there is /, /metrics, /sd, /api/v1/snapshot, /api/v1/stream, /api/v1/turns, "
                   "/api/v1/descriptors and /healthz");
  }
}

void Server::Impl::give_metrics(const Request& request) {
  std::optional<std::string> process;
  for_each_parameter(request.query, [&](std::string_view name, std::string_view value) {
    if (name == "process") process = decoded(value).value_or("");
    return true;
  });
  if (process && process->empty()) {
    request.refuse(400, "bad_request",
                   "process must be the id of a process, as /sd and /api/v1/snapshot give it");
    return;
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
      request.refuse(404, "no_such_process",
                     "no process " + *process + " runs; /sd lists those that do");
      return;
    }
    text = metrics::to_text(host, metrics::LabelMode::kSingle);
  } else {
    const snapshot::HostSnapshot host = provider(wanted);
    text = metrics::to_text(host, metrics::label_mode(host));
  }
  Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = text;
  send_response(request.connection, response, request.head_only);
}

void Server::Impl::give_targets(const Request& request) {
  const char* host = request.header("Host");
  const std::optional<std::string> target =
      scrape_target(host != nullptr ? host : authority(endpoint.literal, port));
  if (!target) {
    request.refuse(400, "bad_request", "the Host header is not an address that can be scraped");
    return;
  }
  SnapshotRequest wanted;
  wanted.recent = 0;
  const std::string json = service_discovery_json(provider(wanted), *target);
  Response response;
  response.content_type = "application/json";
  response.body = json;
  send_response(request.connection, response, request.head_only);
}

void Server::Impl::give_descriptors(const Request& request) {
  std::string error;
  const TableQuery query = table_query(request.query, error);
  if (!error.empty()) {
    request.refuse(400, "bad_request", error);
    return;
  }
  const std::shared_ptr<const DescriptorTable> table = tables.get(query.process);
  if (!table) {
    request.refuse(404, "no_such_process", "there is no process " + query.process);
    return;
  }
  const std::string json = table_json(*table, query);
  Response response;
  response.content_type = "application/json";
  response.body = json;
  send_response(request.connection, response, request.head_only);
}

void Server::Impl::stream(const Request& request) {
  if (request.head_only) {
    send_stream_head(request.connection);
    return;
  }
  const std::unique_ptr<StreamHub::Subscription> subscription = hub->subscribe();
  if (!subscription) {
    request.refuse(503, "too_many_streams",
                   "all " + std::to_string(options.max_streams) + " streams are taken: close one",
                   "Retry-After: 5\r\n");
    return;
  }
  if (!send_stream_head(request.connection)) return;
  while (const std::shared_ptr<const std::string> event = subscription->next()) {
    if (!send_all(request.connection, *event)) return;
  }
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
  if (!endpoint.wildcard) return "http://" + authority(endpoint.literal, impl_->port) + "/";
  const bool v6 = endpoint.address.ss_family == AF_INET6;
  return "http://" + authority(v6 ? "::1" : "127.0.0.1", impl_->port) + "/";
}

}  // namespace loopscope::webui
