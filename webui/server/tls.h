// SPDX-License-Identifier: Apache-2.0
//
// TLS for the server, by OpenSSL 3, which is loaded when it is wanted (libssl.so.3: Debian's
// libssl3): who serves plain HTTP needs none, and pays nothing.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <stdexcept>
#include <string>

#include "webui/server/http_server.h"

namespace loopscope::webui {

/// what() says which file is wrong and why, or what is missing on this machine.
class TlsError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A server's settings: its certificate; TLS 1.2 with ephemeral keys and authenticated ciphers, and
/// TLS 1.3.
///
/// Thread-safety: construct and destroy on any thread; must outlive its sessions.
class TlsContext {
 public:
  /// PEM files. The certificate's may hold those that lead to its root, and the key too: then
  /// `key_file` is empty. Throws TlsError. A key with a pass phrase is refused: nobody is there to
  /// be asked.
  TlsContext(const std::string& certificate_file, const std::string& key_file);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

 private:
  friend class TlsSession;
  void* context_ = nullptr;
};

/// One connection. The handshake is made along with the first receive(); who does not speak TLS, or
/// badly, is hung up on.
///
/// Signals: writing to a connection that is closed raises SIGPIPE, so the thread must have it
/// blocked.
class TlsSession : public Transport {
 public:
  /// Throws std::bad_alloc.
  TlsSession(const TlsContext& context, int fd);
  ~TlsSession() override;
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  ssize_t receive(char* bytes, std::size_t size) override;
  ssize_t send(const char* bytes, std::size_t size) override;
  short wants() const override { return wants_; }
  void say_end() override;

 private:
  ssize_t failed(int result);

  void* session_ = nullptr;
  bool broken_ = false;
  short wants_;
};

/// Whether everybody on this machine may read the file: a key should not be so.
bool everybody_can_read(const std::string& file);

}  // namespace loopscope::webui
