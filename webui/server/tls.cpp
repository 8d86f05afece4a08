// SPDX-License-Identifier: Apache-2.0
#include "webui/server/tls.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <type_traits>

namespace loopscope::webui {
namespace {

// Not from OpenSSL's headers: they would have to be there to build loopscope, and nothing of it is
// linked. Version 3 keeps its binary interface.
constexpr int kFileTypePem = 1;                     // SSL_FILETYPE_PEM
constexpr int kSetMode = 33;                        // SSL_CTRL_MODE
constexpr int kSetSessionCache = 44;                // SSL_CTRL_SET_SESS_CACHE_MODE
constexpr int kSetMinProtocol = 123;                // SSL_CTRL_SET_MIN_PROTO_VERSION
constexpr long kTls12 = 0x0303;                     // TLS1_2_VERSION
constexpr long kModes = 0x1 | 0x2 | 0x10;           // SSL_MODE_ENABLE_PARTIAL_WRITE,
                                                    // _ACCEPT_MOVING_WRITE_BUFFER, _RELEASE_BUFFERS
constexpr std::uint64_t kNoCompression = 1u << 17;  // SSL_OP_NO_COMPRESSION
constexpr std::uint64_t kServersPreference = 1u << 22;  // SSL_OP_CIPHER_SERVER_PREFERENCE
constexpr std::uint64_t kNoRenegotiation = 1u << 30;    // SSL_OP_NO_RENEGOTIATION
constexpr int kErrorWantRead = 2;                       // SSL_ERROR_WANT_READ
constexpr int kErrorWantWrite = 3;                      // SSL_ERROR_WANT_WRITE
constexpr int kErrorZeroReturn = 6;                     // SSL_ERROR_ZERO_RETURN
// Of TLS 1.2; those of 1.3 are all good.
constexpr char kCiphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK:!SRP";

struct OpenSsl {
  const void* (*server_method)() = nullptr;
  void* (*context_new)(const void*) = nullptr;
  void (*context_free)(void*) = nullptr;
  long (*control)(void*, int, long, void*) = nullptr;
  std::uint64_t (*set_options)(void*, std::uint64_t) = nullptr;
  int (*set_ciphers)(void*, const char*) = nullptr;
  int (*use_chain)(void*, const char*) = nullptr;
  int (*use_key)(void*, const char*, int) = nullptr;
  int (*check_key)(const void*) = nullptr;
  void (*set_password_callback)(void*, int (*)(char*, int, int, void*)) = nullptr;
  void* (*session_new)(void*) = nullptr;
  void (*session_free)(void*) = nullptr;
  int (*set_fd)(void*, int) = nullptr;
  void (*set_accept_state)(void*) = nullptr;
  int (*read)(void*, void*, int) = nullptr;
  int (*write)(void*, const void*, int) = nullptr;
  int (*shutdown)(void*) = nullptr;
  int (*error_of)(const void*, int) = nullptr;
  unsigned long (*get_error)() = nullptr;
  void (*clear_errors)() = nullptr;
  const char* (*reason)(unsigned long) = nullptr;
};

int no_password(char*, int, int, void*) { return -1; }

OpenSsl load_openssl() {
  const auto missing = [](const std::string& what) {
    return TlsError("TLS cannot be had: " + what +
                    "; it needs OpenSSL 3 (libssl.so.3 and libcrypto.so.3; on Debian: apt install "
                    "libssl3)");
  };
  const auto load = [&](const char* name) {
    void* library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) return library;
    const char* why = ::dlerror();  // NOLINT(concurrency-mt-unsafe): glibc's is per thread
    throw missing(why != nullptr ? why : name);
  };
  // Never unloaded: OpenSSL has destructors of threads, and a host may use it too.
  void* const crypto = load("libcrypto.so.3");
  void* const ssl = load("libssl.so.3");
  const auto find = [&](void* library, const char* name, auto& function) {
    function =
        reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, name));
    if (function == nullptr) throw missing(std::string("it has no function ") + name);
  };
  OpenSsl api;
  find(ssl, "TLS_server_method", api.server_method);
  find(ssl, "SSL_CTX_new", api.context_new);
  find(ssl, "SSL_CTX_free", api.context_free);
  find(ssl, "SSL_CTX_ctrl", api.control);
  find(ssl, "SSL_CTX_set_options", api.set_options);
  find(ssl, "SSL_CTX_set_cipher_list", api.set_ciphers);
  find(ssl, "SSL_CTX_use_certificate_chain_file", api.use_chain);
  find(ssl, "SSL_CTX_use_PrivateKey_file", api.use_key);
  find(ssl, "SSL_CTX_check_private_key", api.check_key);
  find(ssl, "SSL_CTX_set_default_passwd_cb", api.set_password_callback);
  find(ssl, "SSL_new", api.session_new);
  find(ssl, "SSL_free", api.session_free);
  find(ssl, "SSL_set_fd", api.set_fd);
  find(ssl, "SSL_set_accept_state", api.set_accept_state);
  find(ssl, "SSL_read", api.read);
  find(ssl, "SSL_write", api.write);
  find(ssl, "SSL_shutdown", api.shutdown);
  find(ssl, "SSL_get_error", api.error_of);
  find(crypto, "ERR_get_error", api.get_error);
  find(crypto, "ERR_clear_error", api.clear_errors);
  find(crypto, "ERR_reason_error_string", api.reason);
  return api;
}

const OpenSsl& openssl() {
  static std::mutex mutex;
  static std::optional<OpenSsl> loaded;
  const std::lock_guard lock(mutex);
  if (!loaded) loaded = load_openssl();
  return *loaded;
}

/// OpenSSL's words for what went wrong.
std::string take_error(const OpenSsl& api) {
  const char* reason = nullptr;
  // The first that has words is the cause.
  while (const unsigned long code = api.get_error()) {
    if (const char* text = api.reason(code); text != nullptr && reason == nullptr) reason = text;
  }
  return reason != nullptr ? reason : "unknown error";
}

void must_be_readable(const char* what, const std::string& file) {
  struct stat status {};
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  const int why = fd < 0 ? errno : 0;
  const bool regular = fd >= 0 && ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  if (fd >= 0) ::close(fd);
  if (regular) return;
  throw TlsError(std::string("cannot read the ") + what + " " + file + ": " +
                 (why != 0 ? std::strerror(why) : "not a file"));  // NOLINT: glibc's is safe
}

int at_most_int(std::size_t size) { return static_cast<int>(std::min<std::size_t>(size, INT_MAX)); }

}  // namespace

TlsContext::TlsContext(const std::string& certificate_file, const std::string& key_file) {
  const std::string& key = key_file.empty() ? certificate_file : key_file;
  must_be_readable("certificate file", certificate_file);
  if (!key_file.empty()) must_be_readable("key file", key_file);
  const OpenSsl& api = openssl();
  api.clear_errors();
  context_ = api.context_new(api.server_method());
  if (context_ == nullptr) throw TlsError("TLS cannot be had: " + take_error(api));
  std::string wrong;
  api.set_options(context_, kNoCompression | kServersPreference | kNoRenegotiation);
  api.control(context_, kSetMode, kModes, nullptr);
  api.control(context_, kSetSessionCache, 0, nullptr);  // tickets do, and take no memory
  api.set_password_callback(context_, no_password);
  if (api.control(context_, kSetMinProtocol, kTls12, nullptr) != 1 ||
      api.set_ciphers(context_, kCiphers) != 1) {
    wrong = "TLS cannot be had: " + take_error(api);
  } else if (api.use_chain(context_, certificate_file.c_str()) != 1) {
    wrong = "cannot use the certificate file " + certificate_file + ": " + take_error(api) +
            "; it is to be PEM, the server's own certificate first";
  } else if (api.use_key(context_, key.c_str(), kFileTypePem) != 1 ||
             api.check_key(context_) != 1) {
    wrong = "cannot use the key in " + key + ": " + take_error(api) +
            "; it is to be the certificate's private key, PEM, without a pass phrase";
  }
  if (wrong.empty()) return;
  api.context_free(context_);
  throw TlsError(wrong);
}

TlsContext::~TlsContext() { openssl().context_free(context_); }

TlsSession::TlsSession(const TlsContext& context, int fd)
    : session_(openssl().session_new(context.context_)), wants_(POLLIN) {
  if (session_ == nullptr) throw std::bad_alloc();
  if (openssl().set_fd(session_, fd) != 1) {
    openssl().session_free(session_);
    throw std::bad_alloc();
  }
  openssl().set_accept_state(session_);
}

TlsSession::~TlsSession() { openssl().session_free(session_); }

/// Of a call of OpenSSL that gave `result`: what recv(2) would have said.
ssize_t TlsSession::failed(int result) {
  const int error = openssl().error_of(session_, result);
  if (error == kErrorWantRead || error == kErrorWantWrite) {
    wants_ = error == kErrorWantRead ? POLLIN : POLLOUT;
    errno = EAGAIN;
    return -1;
  }
  if (error == kErrorZeroReturn) return 0;
  broken_ = true;
  openssl().clear_errors();
  errno = EPROTO;
  return -1;
}

ssize_t TlsSession::receive(char* bytes, std::size_t size) {
  openssl().clear_errors();
  const int got = openssl().read(session_, bytes, at_most_int(size));
  if (got <= 0) return failed(got);
  wants_ = POLLIN;
  return got;
}

ssize_t TlsSession::send(const char* bytes, std::size_t size) {
  openssl().clear_errors();
  const int taken = openssl().write(session_, bytes, at_most_int(size));
  if (taken > 0) {
    wants_ = POLLOUT;
    return taken;
  }
  const ssize_t result = failed(taken);
  if (result == 0) errno = EPIPE;
  return -1;
}

void TlsSession::say_end() {
  if (broken_) return;
  openssl().clear_errors();
  if (openssl().shutdown(session_) < 0) broken_ = true;
  openssl().clear_errors();
}

bool everybody_can_read(const std::string& file) {
  struct stat status {};
  return ::stat(file.c_str(), &status) == 0 && (status.st_mode & 0004) != 0;
}

}  // namespace loopscope::webui
