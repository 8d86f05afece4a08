// SPDX-License-Identifier: Apache-2.0
//
// The HTTP server of docs/http-api.md: page, snapshot, stream, metrics. It knows snapshots only,
// not where they come from.
//
// Connections and what they may cost: http_server.h. HTTP itself: http_message.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "webui/server/stream_hub.h"

namespace loopscope::webui {

struct ServerOptions {
  /// An IPv4 or IPv6 literal, or "localhost". Beyond loopback a token is required, or `insecure`.
  std::string address = "127.0.0.1";
  /// 0: a free one.
  std::uint16_t port = 0;
  /// If set, the API and the metrics want `Authorization: Bearer TOKEN`.
  std::string token;
  bool insecure = false;
  /// What this machine is called besides its addresses, "localhost" and its own name: without a
  /// token, requests to other names are refused (DNS rebinding).
  std::vector<std::string> host_names;
  /// If set, https, with this certificate and key (PEM files; the key may be in the certificate's).
  std::string tls_certificate;
  std::string tls_key;
  /// Streams at once; one more is answered 503. Each costs a descriptor.
  unsigned max_streams = 56;
  /// If set, the page's files are read from here on every request instead of those compiled in.
  std::string page_directory;

  /// Between two events of the stream.
  std::chrono::milliseconds stream_interval{400};
  /// A request must arrive, and a client must take some of the answer, within this time.
  std::chrono::milliseconds timeout{10'000};
};

/// The server cannot start: what() names the address or the file and says what to do.
class ServerError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Serves until destroyed. One thread ("loopscope-http") has all connections, four
/// ("loopscope-work") compute answers, one ("loopscope-tick") takes the stream's snapshots; all
/// with all signals blocked. Descriptors: kOtherDescriptors + max_streams at most.
///
/// Thread-safety: construct and destroy on any thread; accessors from any.
/// Fork: a child has no server. Destroying the child's copy frees nothing (its threads, and locks
/// they may have held, are not there to be waited for).
/// Signals: it raises none, SIGPIPE neither.
class Server {
 public:
  static constexpr unsigned kThreads = 6;
  /// Apart from streams: connections whose requests are on their way or being answered, and two.
  static constexpr unsigned kOtherDescriptors = 98;

  /// Throws ServerError if the address cannot be listened on, std::invalid_argument for options
  /// that make no sense (a certificate that cannot be used among them). `provider` is called on
  /// several threads at once.
  Server(const ServerOptions& options, SnapshotProvider provider);
  /// Ends all connections and joins the threads; takes as long as a snapshot that is being taken.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// To be called before this is destroyed, when the last word is not said yet: every stream gets
  /// one more event, of a snapshot taken now, and ends. Waits for clients that have not read it
  /// all, for at most `patience`; not at all without streams.
  void finish(std::chrono::milliseconds patience);

  std::uint16_t port() const;
  /// "http://127.0.0.1:41234/", or https; for a wildcard address the loopback one.
  std::string url() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace loopscope::webui
