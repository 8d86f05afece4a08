// SPDX-License-Identifier: Apache-2.0
//
// poll(2), not epoll: there are a hundred descriptors at most, and a host that looks for its own
// epoll sets finds none of ours.
#include "webui/server/http_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <system_error>
#include <utility>

#include "webui/server/failures.h"

namespace loopscope::webui {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A request's bytes follow its connection at once. Longer than that is waited only where there is
/// room.
constexpr milliseconds kGrace{50};
/// A client on a slow line that has got nothing done in this time gives way to others, if it must.
constexpr seconds kPatience{2};
/// For a whole answer, or one event: a client that takes a byte a second must not have a
/// connection for ever.
constexpr seconds kLongestSend{30};
/// What is left of a request is read and thrown away after the answer: closed without that, the
/// kernel would reset the connection, and the client might never read what it was told.
constexpr seconds kMaxDiscardTime{2};
constexpr std::size_t kMaxDiscardBytes = 256 * 1024;
/// The kernel's buffer of one connection; by itself it would let it grow to megabytes.
constexpr int kSendBuffer = 256 * 1024;
constexpr milliseconds kShortage{100};
/// Of the host's last descriptors none is taken but by the first few connections: who looks for a
/// leak must be able to.
constexpr rlim_t kLeftToHost = 64;
constexpr std::size_t kConnectionsAnyway = 8;
constexpr unsigned kAcceptsAtOnce = 16;
constexpr std::size_t kSendsAtOnce = 1024 * 1024;

bool nearly_out_of_descriptors(int newest) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return false;
  const rlim_t left = std::min(kLeftToHost, limit.rlim_cur / 16);
  return static_cast<rlim_t>(newest) + left >= limit.rlim_cur;  // the lowest free one is given
}

/// Not for a client that went away: ECONNRESET, EPIPE and what a network does.
void count_if_short(int error) {
  if (error == ENOMEM || error == ENOBUFS || error == ENOSPC) count_failure(Failure::kConnection);
}

}  // namespace

/// Of the thread of connections alone.
struct HttpServer::Connection {
  enum State {
    kHead,      // waits for a head
    kReady,     // has one, waits for a place to be answered
    kWorking,   // a worker computes its answer
    kSending,   // what is in head and body goes out
    kIdle,      // a stream without news
    kFraming,   // a worker makes a frame for this stream alone
    kDiscards,  // has its answer; the rest of the request is thrown away
    kGone,
  };

  explicit Connection(int fd_given, std::uint64_t id_given, Clock::time_point now)
      : fd(fd_given), id(id_given), since(now), progress(now) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    if (fd >= 0) close(fd);
  }

  int fd;
  std::unique_ptr<Transport> transport;  // null: none
  const std::uint64_t id;
  State state = Connection::kHead;
  Clock::time_point since;     // in this state
  Clock::time_point progress;  // bytes were taken
  std::string input;           // until the head is complete
  Request request;
  bool more_expected = false;  // of the request
  std::string head;
  std::shared_ptr<const std::string> body;
  std::size_t sent = 0;                             // of both
  std::unique_ptr<StreamHub::Subscription> coming;  // becomes:
  std::shared_ptr<StreamHub::Subscription> stream;
  std::size_t discarded = 0;

  bool waits() const { return state == kHead || state == kReady; }
  bool answers() const { return !waits() && state != kGone && !stream; }
  ssize_t receive(char* bytes, std::size_t size) {
    return transport ? transport->receive(bytes, size) : recv(fd, bytes, size, 0);
  }
  ssize_t send(iovec* parts, int count) {
    if (transport)
      return transport->send(static_cast<const char*>(parts[0].iov_base), parts[0].iov_len);
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = static_cast<std::size_t>(count);
    return sendmsg(fd, &message, MSG_NOSIGNAL);
  }
  /// What poll(2) is to look for. Hang-ups and errors are told anyway.
  short events() const {
    const bool receives = state == kHead || state == kDiscards;
    if (!receives && state != kSending) return 0;
    if (transport) return transport->wants();
    return receives ? POLLIN : POLLOUT;
  }
  std::size_t left() const { return head.size() + (body ? body->size() : 0) - sent; }
};

struct HttpServer::Job {
  std::uint64_t connection;
  Request request;
  std::shared_ptr<StreamHub::Subscription> stream;  // set: its next frame is wanted
  // What comes of it:
  Answer answer;
  std::shared_ptr<const std::string> frame;  // of the stream; null: it has had its last one
};

HttpServer::HttpServer(int listener, milliseconds timeout, Handler handler,
                       MakeTransport make_transport)
    : timeout_(timeout),
      handler_(std::move(handler)),
      make_transport_(std::move(make_transport)),
      listener_(listener) {
  // Inherited by what is accepted. A kernel that knows one of them not does without.
  const int deferred = static_cast<int>(
      std::max<std::int64_t>(1, std::chrono::duration_cast<seconds>(timeout).count()));
  setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &deferred, sizeof deferred);
  setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof kSendBuffer);
  const int on = 1;
  setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // an event is complete at once

  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_ < 0) {
    const int error = errno;
    close(listener_);
    throw std::system_error(error, std::generic_category(), "eventfd");
  }
  try {
    start();
  } catch (...) {
    stop();
    throw;
  }
}

HttpServer::~HttpServer() { stop(); }

void HttpServer::start() {
  workers_.reserve(kWorkers);
  for (unsigned i = 0; i < kWorkers; ++i) {
    workers_.emplace_back([this] {
      pthread_setname_np(pthread_self(), "loopscope-work");
      work();
    });
  }
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "loopscope-http");
    serve();
  });
}

void HttpServer::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    jobs_.clear();
  }
  jobs_waiting_.notify_all();
  wake();
  // Wakes it too: where even an eventfd cannot be written, it would be waited for for ever.
  shutdown(listener_, SHUT_RDWR);
  if (thread_.joinable()) thread_.join();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  done_.clear();
  connections_.clear();
  close(listener_);
  close(wake_);
}

void HttpServer::wake() {
  const std::uint64_t one = 1;
  // It cannot fail but by EAGAIN, when it is to wake already. (Where somebody makes it fail all the
  // same, an answer would wait for the next request: so, once more.)
  if (write(wake_, &one, sizeof one) < 0 && write(wake_, &one, sizeof one) < 0 && errno != EAGAIN) {
    count_failure(Failure::kWait);
  }
}

// --- the workers ---------------------------------------------------------------------------------

void HttpServer::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    jobs_waiting_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    std::list<Job> mine;
    mine.splice(mine.begin(), jobs_, jobs_.begin());
    lock.unlock();

    Job& job = mine.front();
    try {
      if (job.stream) {
        job.frame = job.stream->next();
      } else {
        job.answer = handler_(job.request);
      }
    } catch (const std::exception& error) {
      count_failure(Failure::kAnswer);
      // A stream ends: the closed connection is the message.
      job.answer.response.status = 500;
      try {
        if (!job.stream) job.answer.response = error_response(500, "internal", error.what());
      } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): no memory; 500 it is
      }
    }
    job.stream.reset();

    lock.lock();
    done_.splice(done_.end(), mine);
    wake();
  }
}

void HttpServer::hand_over(Job job) {
  std::list<Job> one;
  one.push_back(std::move(job));
  {
    const std::lock_guard lock(mutex_);
    jobs_.splice(jobs_.end(), one);
  }
  jobs_waiting_.notify_one();
}

void HttpServer::take_results(Clock::time_point now) {
  std::list<Job> results;
  {
    const std::lock_guard lock(mutex_);
    results.swap(done_);
  }
  for (Job& job : results) {
    Connection* connection = find(job.connection);
    if (connection == nullptr) continue;  // its client did not wait for it
    try {
      take_result(*connection, job, now);
    } catch (const std::bad_alloc&) {
      count_failure(Failure::kConnection);
      hang_up(*connection);
    }
  }
}

void HttpServer::take_result(Connection& connection, Job& job, Clock::time_point now) {
  if (connection.state == Connection::kFraming) {
    if (job.frame) {
      connection.body = std::move(job.frame);
      enter(connection, Connection::kSending, now);
      send_some(connection, now);
    } else {
      hang_up(connection);
    }
  } else if (connection.state == Connection::kWorking) {
    if (job.answer.stream) {
      connection.head = head_of(job.answer.response);
      connection.coming = std::move(job.answer.stream);
      enter(connection, Connection::kSending, now);
      send_some(connection, now);
    } else {
      Response& response = job.answer.response;
      connection.head = head_of(response);
      if (!job.request.head_only()) connection.body = std::move(response.body);
      enter(connection, Connection::kSending, now);
      send_some(connection, now);
    }
  }
}

// --- the thread of connections -------------------------------------------------------------------

void HttpServer::serve() {
  std::vector<pollfd> polled;
  while (!stopping_) {
    try {
      one_round(polled);
    } catch (const std::bad_alloc&) {  // the host's memory is at an end: later
      count_failure(Failure::kWait);
      std::this_thread::sleep_for(kShortage);
    }
  }
  // Streams are left here, not by whoever frees this: the hub is still there.
  connections_.clear();
}

void HttpServer::one_round(std::vector<pollfd>& polled) {
  Clock::time_point now = Clock::now();
  Clock::time_point next = Clock::time_point::max();
  const bool accepting = may_accept(now, next);

  polled.clear();
  polled.push_back({wake_, POLLIN, 0});
  polled.push_back({accepting ? listener_ : -1, POLLIN, 0});
  for (const auto& each : connections_) {
    polled.push_back({each->fd, each->events(), 0});
    next = std::min(next, deadline_of(*each));
    if (each->state == Connection::kReady) next = std::min(next, now + kShortage);
  }
  int wait_ms = -1;
  if (next != Clock::time_point::max()) {
    // Up to the next millisecond: one too early would come again at once.
    const auto left = std::chrono::ceil<milliseconds>(next - now).count();
    wait_ms = static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
  }
  if (poll(polled.data(), polled.size(), wait_ms) < 0) {
    // EINTR, or ENOMEM: nothing is known to be ready. Not in a hurry, if it goes on like this.
    if (errno != EINTR) {
      count_failure(Failure::kWait);
      std::this_thread::sleep_for(kShortage);
    }
    return;
  }
  now = Clock::now();

  if (polled[0].revents != 0) {
    std::uint64_t times = 0;
    [[maybe_unused]] const ssize_t got = read(wake_, &times, sizeof times);
    take_results(now);
  }
  const std::size_t known = polled.size() - 2;  // what is accepted now comes after them
  for (std::size_t i = 0; i < known; ++i) {
    Connection& connection = *connections_[i];
    try {
      if (polled[i + 2].revents != 0 && connection.fd == polled[i + 2].fd) {
        ready(connection, polled[i + 2].revents, now);
      }
      if (connection.state == Connection::kIdle) next_event(connection, now);
      if (deadline_of(connection) <= now) expire(connection, now);
    } catch (const std::bad_alloc&) {
      count_failure(Failure::kConnection);
      hang_up(connection);
    }
  }
  begin_waiting_requests(now);
  if (polled[1].revents != 0) accept_some(now);
  begin_waiting_requests(now);
  std::erase_if(connections_, [](const auto& each) { return each->state == Connection::kGone; });
}

/// Into another state, with the counts of those who wait and are answered.
void HttpServer::enter(Connection& connection, int state, Clock::time_point now) {
  if (connection.waits()) --waiting_;
  if (connection.answers()) --answering_;
  if (connection.coming) connection.stream = std::move(connection.coming);
  connection.state = static_cast<Connection::State>(state);
  connection.since = connection.progress = now;
  if (connection.waits()) ++waiting_;
  if (connection.answers()) ++answering_;
}

HttpServer::Connection* HttpServer::find(std::uint64_t id) const {
  const auto found = std::find_if(connections_.begin(), connections_.end(),
                                  [id](const auto& each) { return each->id == id; });
  return found == connections_.end() ? nullptr : found->get();
}

HttpServer::Clock::time_point HttpServer::deadline_of(const Connection& connection) const {
  switch (connection.state) {
    case Connection::kHead:
      return connection.since + timeout_;
    case Connection::kSending:
      return std::min(connection.progress + timeout_, connection.since + kLongestSend);
    case Connection::kDiscards:
      return connection.since + kMaxDiscardTime;
    default:
      return Clock::time_point::max();
  }
}

HttpServer::Connection* HttpServer::oldest_waiting() const {
  // In the order in which they came.
  const auto found = std::find_if(connections_.begin(), connections_.end(), [](const auto& each) {
    return each->state == Connection::kHead;
  });
  return found == connections_.end() ? nullptr : found->get();
}

bool HttpServer::may_accept(Clock::time_point now, Clock::time_point& again) const {
  if (now < accept_again_) {
    again = std::min(again, accept_again_);
    return false;
  }
  if (waiting_ < kMostWaiting) return true;
  const Connection* oldest = oldest_waiting();
  if (oldest == nullptr) {  // all have said what they want: one of those before them must end
    again = std::min(again, now + kShortage);
    return false;
  }
  if (oldest->since + kGrace <= now) return true;
  again = std::min(again, oldest->since + kGrace);
  return false;
}

bool HttpServer::make_room_to_wait(Clock::time_point now) {
  if (waiting_ < kMostWaiting) return true;
  Connection* oldest = oldest_waiting();
  if (oldest == nullptr || oldest->since + kGrace > now) return false;
  receive(*oldest, now);  // it may have spoken meanwhile
  if (oldest->state == Connection::kHead) hang_up(*oldest);
  return waiting_ < kMostWaiting;
}

void HttpServer::accept_some(Clock::time_point now) {
  for (unsigned i = 0; i < kAcceptsAtOnce; ++i) {
    if (!make_room_to_wait(now)) return;
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        // It stays in the listen queue; who only waits gives its place to it.
        if (Connection* oldest = oldest_waiting()) hang_up(*oldest);
        accept_again_ = now + kShortage;
        count_failure(Failure::kAccept);
        return;
      }
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      continue;  // that one went away: ECONNABORTED and errors of its network
    }
    if (nearly_out_of_descriptors(fd) && connections_.size() >= kConnectionsAnyway) {
      close(fd);
      accept_again_ = now + kShortage;
      count_failure(Failure::kAccept);
      return;
    }
    try {
      connections_.push_back(std::make_unique<Connection>(fd, ++newest_connection_, now));
    } catch (const std::bad_alloc&) {
      close(fd);
      throw;
    }
    ++waiting_;
    Connection& connection = *connections_.back();
    try {
      if (make_transport_) connection.transport = make_transport_(fd);
      receive(connection, now);  // as a rule the request is there already
    } catch (const std::exception&) {
      hang_up(connection);
    }
  }
}

bool HttpServer::make_room_to_answer(Clock::time_point now) {
  if (answering_ < kMostAnswering) return true;
  Connection* longest = nullptr;
  for (const auto& each : connections_) {
    if (each->state == Connection::kDiscards) {  // it has its answer
      hang_up(*each);
      return true;
    }
    if (each->state != Connection::kSending || each->stream) continue;
    if (longest == nullptr || each->since < longest->since) longest = each.get();
  }
  if (longest == nullptr || longest->since + kPatience > now) return false;
  hang_up(*longest);
  return true;
}

void HttpServer::begin_waiting_requests(Clock::time_point now) {
  for (const auto& each : connections_) {
    if (each->state != Connection::kReady) continue;
    if (!make_room_to_answer(now)) return;
    hand_over({each->id, std::move(each->request), nullptr, {}, nullptr});
    enter(*each, Connection::kWorking, now);
  }
}

void HttpServer::ready(Connection& connection, short events, Clock::time_point now) {
  switch (connection.state) {
    case Connection::kHead:
      receive(connection, now);
      return;
    case Connection::kDiscards:
      discard(connection);
      return;
    case Connection::kSending:
      if ((events & (POLLERR | POLLNVAL)) != 0) {
        hang_up(connection);
      } else {
        send_some(connection, now);
      }
      return;
    default:
      // A client that only shuts its own direction is still there. (POLLHUP: both are.)
      if ((events & (POLLERR | POLLHUP | POLLNVAL)) != 0) hang_up(connection);
      return;
  }
}

void HttpServer::expire(Connection& connection, Clock::time_point now) {
  // Who has said nothing asked nothing: browsers open connections ahead of need, and show a 408 as
  // an error of the page's.
  if (connection.state == Connection::kHead && !connection.input.empty()) {
    connection.more_expected = true;
    refuse(connection, error_response(408, "timeout", "the request did not arrive in time"), now);
  } else {
    hang_up(connection);
  }
}

void HttpServer::receive(Connection& connection, Clock::time_point now) {
  char bytes[8192];
  bool ended = false;
  while (connection.input.size() < kMaxHeadBytes) {
    const ssize_t got = connection.receive(bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (got < 0) {
      count_if_short(errno);
      hang_up(connection);
      return;
    }
    if (got == 0) {
      ended = true;
      break;
    }
    connection.input.append(bytes, static_cast<std::size_t>(got));
  }
  std::optional<BadRequest> wrong;
  const std::string_view input(connection.input);
  if (const std::optional<std::size_t> length = head_length(input)) {
    connection.request = {};
    wrong = parse_head(input.substr(0, *length), connection.request);
    connection.more_expected = wrong || input.size() > *length || connection.request.has_body();
  } else if (input.size() >= kMaxHeadBytes || !may_be_request(input)) {
    wrong = BadRequest{400, "bad_request",
                       "the request is not HTTP, or its head is longer than " +
                           std::to_string(kMaxHeadBytes) + " bytes"};
    connection.more_expected = true;
  } else if (ended && !input.empty()) {
    wrong = BadRequest{400, "bad_request", "the request ends in the middle of its head"};
  } else if (ended) {
    hang_up(connection);
    return;
  } else {
    return;
  }
  connection.input = {};
  if (wrong) {
    refuse(connection, error_response(wrong->status, wrong->code, wrong->message), now);
  } else {
    enter(connection, Connection::kReady, now);
  }
}

/// Answers what waits, without a worker.
void HttpServer::refuse(Connection& connection, const Response& response, Clock::time_point now) {
  if (!make_room_to_answer(now)) {
    hang_up(connection);
    return;
  }
  connection.head = head_of(response);
  connection.body = response.body;
  enter(connection, Connection::kSending, now);
  send_some(connection, now);
}

void HttpServer::next_event(Connection& connection, Clock::time_point now) {
  StreamHub::Next next = connection.stream->poll();
  switch (next.what) {
    case StreamHub::Next::kNothing:
      enter(connection, Connection::kIdle, now);
      return;
    case StreamHub::Next::kFrame:
      connection.body = std::move(next.frame);
      enter(connection, Connection::kSending, now);
      return;
    case StreamHub::Next::kOwnFrame:
      hand_over({connection.id, {}, connection.stream, {}, nullptr});
      enter(connection, Connection::kFraming, now);
      return;
    case StreamHub::Next::kEnd:
      hang_up(connection);
      return;
  }
}

void HttpServer::send_some(Connection& connection, Clock::time_point now) {
  for (std::size_t total = 0; connection.left() > 0;) {
    if (total >= kSendsAtOnce) return;  // the others' turn
    iovec parts[2];
    int count = 0;
    std::size_t skip = connection.sent;
    const auto add = [&](const std::string& part) {
      if (skip < part.size()) {
        parts[count++] = {const_cast<char*>(part.data()) + skip, part.size() - skip};
        skip = 0;
      } else {
        skip -= part.size();
      }
    };
    add(connection.head);
    if (connection.body) add(*connection.body);
    const ssize_t taken = connection.send(parts, count);
    if (taken < 0 && errno == EINTR) continue;
    if (taken < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (taken < 0) {
      count_if_short(errno);
      hang_up(connection);
      return;
    }
    connection.sent += static_cast<std::size_t>(taken);
    connection.progress = now;
    total += static_cast<std::size_t>(taken);
  }
  sent(connection, now);
}

void HttpServer::sent(Connection& connection, Clock::time_point now) {
  connection.head = {};
  connection.body.reset();
  connection.sent = 0;
  if (connection.stream) {
    next_event(connection, now);
    return;
  }
  int unread = 0;
  if (!connection.more_expected && (ioctl(connection.fd, FIONREAD, &unread) != 0 || unread == 0)) {
    hang_up(connection);
    return;
  }
  if (connection.transport) connection.transport->say_end();
  shutdown(connection.fd, SHUT_WR);
  enter(connection, Connection::kDiscards, now);
}

void HttpServer::discard(Connection& connection) {
  char bytes[8192];
  while (connection.discarded < kMaxDiscardBytes) {
    const ssize_t got = connection.receive(bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) break;
    connection.discarded += static_cast<std::size_t>(got);
  }
  hang_up(connection);
}

void HttpServer::hang_up(Connection& connection) {
  if (connection.state == Connection::kGone) return;
  if (connection.waits()) --waiting_;
  if (connection.answers()) --answering_;
  // An answer that is cut off is to look like one.
  if (connection.transport && connection.left() == 0) connection.transport->say_end();
  shutdown(connection.fd, SHUT_RDWR);  // a child that the host forked may have a copy of it
  close(connection.fd);
  connection.fd = -1;
  connection.state = Connection::kGone;
  connection.stream.reset();
  connection.coming.reset();
  connection.body.reset();
}

}  // namespace loopscope::webui
