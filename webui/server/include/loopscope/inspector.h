// SPDX-License-Identifier: Apache-2.0
//
// loopscope::Inspector: the page, JSON, stream and Prometheus metrics of this process, served by
// the process itself.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "loopscope/export.h"

namespace loopscope {

class Loop;

struct InspectorOptions {
  /// Where to listen: an IPv4 or IPv6 address. Beyond loopback a token is required, or `insecure`.
  std::string address = "127.0.0.1";
  /// 0: a free port, see Inspector::port().
  std::uint16_t port = 0;
  /// If set, requests must carry `Authorization: Bearer TOKEN`.
  std::string token;
  /// Says that listening beyond loopback without a token is meant.
  bool insecure = false;
  /// What this machine is called besides its addresses, "localhost" and its own name. Without a
  /// token, requests to other names are refused: another site's page may have found us by a name
  /// of its own (DNS rebinding).
  std::vector<std::string> host_names;
  /// If set, https, with this certificate and its private key: PEM files, the key may be in the
  /// certificate's. Needs OpenSSL 3, which is loaded then (docs/security.md).
  std::string tls_certificate;
  std::string tls_key;
  /// Streams served at once; one more is answered 503. Each costs a descriptor.
  unsigned max_streams = 56;
};

/// The server cannot start: `what()` names the address and says what to do.
class LOOPSCOPE_EXPORT InspectorError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Serves what this process records, on threads of its own; never on a loop's. Lives as long as the
/// object: the destructor closes all connections and joins the threads.
///
/// Thread-safety: construct and destroy on any thread; the accessors may be called from any. After
/// fork(2) the child has no server (threads are not inherited); a child that wants one makes its
/// own. Cost: nothing on the loop's thread; but a process with a second thread pays for descriptor
/// table sharing in every system call on a descriptor (fdget; about 130 ns a turn measured on a
/// pipe loop). `loopscope serve` watches from outside without.
class LOOPSCOPE_EXPORT Inspector {
 public:
  /// All loops of this process. Throws InspectorError if the address cannot be listened on,
  /// std::invalid_argument for options that make no sense, a certificate that cannot be used
  /// among them.
  explicit Inspector(const InspectorOptions& options = {});
  /// Only this loop.
  explicit Inspector(const Loop& loop, const InspectorOptions& options = {});
  ~Inspector();
  Inspector(const Inspector&) = delete;
  Inspector& operator=(const Inspector&) = delete;

  std::uint16_t port() const;
  /// "http://127.0.0.1:41234/", or https
  std::string url() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The same without a server, for a host that has its own: the JSON of /api/v1/snapshot and the
/// text of /metrics for this process. Any thread; takes a few milliseconds.
LOOPSCOPE_EXPORT std::string snapshot_json();
LOOPSCOPE_EXPORT std::string metrics_text();

}  // namespace loopscope
