// SPDX-License-Identifier: Apache-2.0
//
// Connections: one thread has them all, by poll(2); a few others compute what is answered.
//
//   listen queue ──► waiting ──► answering ──► closed
//   (the kernel's)   for a head  computed, being sent,  or: a stream, which takes a frame
//                    ≤ 64        the rest of the        whenever there is one, ≤ max_streams
//                                request thrown away
//                                ≤ 32
//
// It runs inside other people's processes, so what a client costs is bounded, whatever it does:
// descriptors are at most kMostWaiting + kMostAnswering + max_streams + kOwnDescriptors, threads
// kWorkers + 1, each connection's memory kMaxHeadBytes and the answer. Nobody who is silent or slow
// can keep others from being served:
//
//  * A connection that has sent nothing at all stays in the kernel, without a descriptor here, for
//    as long as a request may take (TCP_DEFER_ACCEPT).
//  * Where all places to wait are taken, the one that has waited longest for the rest of its
//    request is hung up on, after kGrace at the earliest. Until then others wait in the listen
//    queue: so 1 000 connections that say half a request pass in 0.8 s.
//  * Where all places to be answered are taken, the answer that has been on its way for longest is
//    given up, after kPatience at the earliest.
//  * With no crowd, a request has `timeout` to arrive, a client as long to take some of an answer,
//    and kLongestSend for all of it, or for one event.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "webui/server/http_message.h"
#include "webui/server/stream_hub.h"

struct pollfd;

namespace loopscope::webui {

/// What a request is answered with: a response, or (if `stream` is set) a stream of events.
struct Answer {
  Response response;
  std::unique_ptr<StreamHub::Subscription> stream;
};

/// What is between a connection and its bytes: TLS. Used by one thread; does not own the
/// descriptor, which does not block.
class Transport {
 public:
  virtual ~Transport() = default;
  /// As recv(2) and send(2): the number of bytes; 0 (of receive): the end; -1 with errno, EAGAIN:
  /// to be tried again when the descriptor is ready for wants().
  virtual ssize_t receive(char* bytes, std::size_t size) = 0;
  virtual ssize_t send(const char* bytes, std::size_t size) = 0;
  /// POLLIN or POLLOUT.
  virtual short wants() const = 0;
  /// All is sent, and the connection will be closed: it may be told, if it takes that now.
  virtual void say_end() = 0;
};

/// For an accepted connection; empty: none is wanted, bytes go as they are.
using MakeTransport = std::function<std::unique_ptr<Transport>(int fd)>;

/// Thread-safety: construct and destroy on any one thread; wake() from any.
class HttpServer {
 public:
  static constexpr unsigned kWorkers = 4;
  static constexpr unsigned kMostWaiting = 64;
  static constexpr unsigned kMostAnswering = 32;
  static constexpr unsigned kOwnDescriptors = 2;  // that listens, and that wakes

  static constexpr std::size_t kMaxHeadBytes = 32 * 1024;  // beyond: a bare 400

  /// Called on a worker; what it throws is answered with 500.
  using Handler = std::function<Answer(const Request&)>;

  /// `listener` is nonblocking and listens; it is closed in the end. `timeout`: see above.
  /// Throws std::system_error if a thread or a descriptor cannot be had.
  HttpServer(int listener, std::chrono::milliseconds timeout, Handler handler,
             MakeTransport make_transport = {});
  /// Closes all connections; takes as long as an answer that is being computed.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// There may be news for streams.
  void wake();

 private:
  struct Connection;
  struct Job;
  using Clock = std::chrono::steady_clock;

  void start();
  void stop();

  // On the workers.
  void work();

  // On the thread of connections.
  void serve();
  void one_round(std::vector<pollfd>& polled);
  Clock::time_point deadline_of(const Connection& connection) const;
  bool may_accept(Clock::time_point now, Clock::time_point& again) const;
  void accept_some(Clock::time_point now);
  bool make_room_to_wait(Clock::time_point now);
  bool make_room_to_answer(Clock::time_point now);
  void begin_waiting_requests(Clock::time_point now);
  void ready(Connection& connection, short events, Clock::time_point now);
  void expire(Connection& connection, Clock::time_point now);
  void enter(Connection& connection, int state, Clock::time_point now);
  void refuse(Connection& connection, const Response& response, Clock::time_point now);
  void receive(Connection& connection, Clock::time_point now);
  void take_results(Clock::time_point now);
  void take_result(Connection& connection, Job& job, Clock::time_point now);
  void next_event(Connection& connection, Clock::time_point now);
  void send_some(Connection& connection, Clock::time_point now);
  void sent(Connection& connection, Clock::time_point now);
  void discard(Connection& connection);
  void hang_up(Connection& connection);
  void hand_over(Job job);
  Connection* find(std::uint64_t id) const;
  Connection* oldest_waiting() const;

  const std::chrono::milliseconds timeout_;
  const Handler handler_;
  const MakeTransport make_transport_;
  int listener_ = -1;
  int wake_ = -1;  // an eventfd

  std::vector<std::unique_ptr<Connection>> connections_;  // of the one thread
  std::uint64_t newest_connection_ = 0;
  unsigned waiting_ = 0;
  unsigned answering_ = 0;
  Clock::time_point accept_again_{};  // after a shortage of descriptors

  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;
  std::condition_variable jobs_waiting_;
  std::list<Job> jobs_;  // lists: what is done is moved on without memory being asked for
  std::list<Job> done_;
  std::vector<std::thread> workers_;
  std::thread thread_;
};

}  // namespace loopscope::webui
