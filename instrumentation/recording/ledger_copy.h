// SPDX-License-Identifier: Apache-2.0
//
// Copies the descriptor ledger while the observed program's threads write it: the reader's side of
// FdSlot::generation (layout.h). What is in the file is not trusted: counts, indices and kinds that
// cannot be are cut or left out.
//
// Thread-safety: a LedgerCopier may be used from one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "instrumentation/recording/bytes.h"
#include "instrumentation/recording/snapshot.h"

namespace loopscope::recording {

/// A struct sockaddr_in or sockaddr_in6 as "127.0.0.1:80", "[::1]:80", "[fe80::1%2]:80"; empty for
/// anything else, also for all zeros.
std::string address_text(const void* address, std::size_t size);

/// A number that is in an epoll set, and the epoll descriptor of that set.
using Registration = std::pair<std::int32_t, std::int32_t>;

/// Copies the ledger of one recording again and again. Remembers when descriptors were born, so
/// that only those of new ones are fetched.
///
/// Cost: 0.1 µs a descriptor number in use; 0.3 µs with details, or for one that is new.
class LedgerCopier {
 public:
  /// `parts` says where the parts are: a header that was checked. `now` has the counters. False if
  /// the bytes are not there.
  bool copy(const Bytes& bytes, const Header& parts, const Header& now, std::int64_t to_realtime,
            bool details, Ledger& ledger, std::vector<Registration>& registered);

 private:
  struct Birth {
    std::uint32_t generation = 0;
    std::int32_t thread_id = 0;
    std::uint64_t opened_ns = 0;  // CLOCK_MONOTONIC; 0: not known
  };
  struct Chunk;

  bool copy_chunk(const Bytes& bytes, const Header& parts, std::uint32_t chunk, bool details,
                  Chunk& copy);

  std::vector<std::vector<Birth>> births_;  // by chunk; empty: none known
  std::size_t whole_incidents_ = 0;         // so many from the first were seen whole
  std::size_t whole_sites_ = 0;
};

/// The registrations alone, of a source that keeps no ledger.
bool copy_registrations(const Bytes& bytes, const Header& parts, const Header& now,
                        std::vector<Registration>& registered);

/// FdSlot::generation of each of `numbers`: 0 for one that was never seen. False if the bytes are
/// not there.
bool copy_generations(const Bytes& bytes, const Header& parts, const Header& now,
                      const std::vector<std::int32_t>& numbers,
                      std::vector<std::uint32_t>& generations);

}  // namespace loopscope::recording
