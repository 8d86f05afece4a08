// SPDX-License-Identifier: Apache-2.0
//
// What the system refused the server: a descriptor for a connection, memory for an answer. The
// server goes on without; so that somebody notices it is counted here, and shown by /metrics
// (loopscope_server_failures_total) and /healthz. A client that goes away is no failure.
//
// Counts are of this process, since its start, whichever of its servers it was: where descriptors
// or memory are short they are so for all.
//
// Thread-safety: any thread. Cost: one atomic add, on a path that has failed already.
#pragma once

#include <cstdint>
#include <string>

namespace loopscope::webui {

enum class Failure : unsigned {
  kAccept,      // a connection stays in the listen queue: no descriptor, no memory
  kConnection,  // a connection was hung up on: recv(2), send(2) or memory failed
  kAnswer,      // a request was answered 500
  kStream,      // the streams got no snapshot
  kWait,        // poll(2) failed, or there was no memory to get to it
  kCount,
};

void count_failure(Failure what) noexcept;

/// How often so far.
std::uint64_t failures(Failure what) noexcept;

/// The metric in Prometheus' text format, every kind, to be put behind the others.
std::string failures_metric();

/// "failures: 3 accept, 1 answer\n"; empty: none so far.
std::string failures_line();

}  // namespace loopscope::webui
