// SPDX-License-Identifier: Apache-2.0
//
// The descriptors of one process, as the kernel and the ledger tell them together. The kernel knows
// which are open; the ledger knows where they come from. What the ledger did not see born, or did
// not see closed (inside libc, by io_uring, by a system call it does not hook), is found by
// comparing the two, so that how many are open is always the kernel's number.
//
// The two are not read at one instant. So a difference counts only if a second look finds it again
// while nothing was noted for that number in between:
//
//   open in /proc, not in the ledger      looked at again kSettleNs later: the thread that opened
//   it
//                                         may not have noted it yet
//   open in the ledger, not in /proc      looked at again at once: a close is noted before it is
//   done
//
// Thread-safety: one account by one thread at a time. Cost: 3 µs and 10 ns a descriptor while the
// numbers agree; a listing, 1 µs a descriptor, when they do not, and now and then (at most 1 % of
// the time).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "instrumentation/process/descriptors.h"
#include "instrumentation/recording/reader.h"
#include "instrumentation/recording/snapshot.h"
#include "instrumentation/snapshot/host_snapshot.h"

namespace loopscope::snapshot {

class DescriptorAccount {
 public:
  /// How long a descriptor must be open without a note in the ledger to be called unseen: longer
  /// than a thread is kept from running between its open(2) and the note, as a rule.
  static constexpr std::uint64_t kSettleNs = 20'000'000;

  /// Compares with the kernel. `recording` has just been read from `reader` and its process lives.
  /// False if the kernel tells nothing.
  bool look(const recording::Reader& reader, const recording::RecordingSnapshot& recording,
            const CollectorTiming& timing);
  /// Whether a first look found descriptors that only a second one can tell: look_again() after
  /// kSettleNs.
  bool wants_second_look() const { return first_look_ && has_unsettled(); }
  void look_again(const recording::Reader& reader, const recording::RecordingSnapshot& recording);

  /// What was found; without a successful look before, what the ledger alone says.
  DescriptorSummary summary(const recording::RecordingSnapshot& recording) const;
  /// Each open descriptor, rising, at most `most`. What only the kernel can tell of them is asked
  /// of all (`ask_all`), or of kMostAsked each time: the rest of a ledger's then by a later call,
  /// and of a source without a ledger no more are listed.
  void list(ProcessSnapshot& process, std::size_t most, bool ask_all);
  /// Whether a descriptor that the ledger has as open is.
  bool is_open(const recording::FdRecord& fd) const;
  /// The registrations of `recording` whose number is open.
  std::vector<recording::Registration> registered(
      const recording::RecordingSnapshot& recording) const;

  /// What the kernel said last does not hold for a process that is gone.
  void forget_kernel() {
    looked_ = false;
    unseen_.clear();
    gone_.clear();
  }

 private:
  /// Open in the kernel, not in the ledger.
  struct Unseen {
    std::uint32_t generation = 0;  // of its slot: nothing was noted since
    std::uint64_t since_ns = 0;    // CLOCK_MONOTONIC
    bool confirmed = false;
    process::DescriptorTarget what;
  };
  /// What the kernel says of a descriptor whose kind or target the ledger does not know.
  struct Asked {
    std::uint32_t generation = 0;
    process::DescriptorTarget what;
  };

  bool has_unsettled() const;
  void list_by_kernel(ProcessSnapshot& process, std::size_t most);
  bool take_census(std::int32_t pid, const CollectorTiming& timing);
  bool reconcile(const recording::Reader& reader, const recording::RecordingSnapshot& recording,
                 const CollectorTiming& timing);
  void forget_changed(const recording::Reader& reader,
                      const recording::RecordingSnapshot& recording);
  void compare(const recording::Reader& reader, const recording::RecordingSnapshot& recording,
               const std::vector<std::int32_t>& open);
  void confirm(const recording::Reader& reader, std::int32_t pid);
  void ask_kinds(const recording::RecordingSnapshot& recording);
  const process::DescriptorTarget* asked(const recording::FdRecord& fd) const;
  bool ask(std::int32_t pid, const recording::FdRecord& fd);

  bool looked_ = false;             // the last look succeeded
  bool first_look_ = false;         // and was the first one
  std::uint64_t looked_at_ns_ = 0;  // CLOCK_MONOTONIC, of the last listing; 0: none yet
  std::uint64_t cost_ns_ = 0;
  std::uint64_t open_ = 0;
  std::uint64_t peak_ = 0;
  std::optional<std::uint64_t> limit_;

  process::DescriptorCensus census_;                     // of a source without a ledger
  std::vector<process::DescribedDescriptor> described_;  // likewise: the last list

  std::map<std::int32_t, Unseen> unseen_;
  std::map<std::int32_t, std::uint32_t> gone_;  // closed out of sight: number -> its generation
  std::unordered_map<std::int32_t, Asked> asked_;
};

}  // namespace loopscope::snapshot
