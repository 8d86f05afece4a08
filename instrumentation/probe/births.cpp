// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/probe/births.h"

#include <errno.h>
#include <time.h>

namespace loopscope::probe {

void born(Thread& thread, int fd, const StackStart& site, const Born& facts) noexcept {
  LedgerWriter::Birth birth;
  birth.kind = facts.kind;
  birth.flags = facts.flags;
  birth.thread_id = thread.tid;
  birth.now_ns = now(thread);
  birth.site = place_of(site, recording::SiteRole::kOpen, facts.kind, birth.now_ns);
  birth.target = facts.target;
  birth.target_size = facts.target_size;
  birth.pair_fd = facts.pair_fd;
  // An epoll descriptor of this number that was closed out of sight has loops no more.
  const FdSlot* before = g_ledger.slot(fd);
  const bool was_epoll = before != nullptr && LedgerWriter::kind(*before) == DescriptorKind::kEpoll;
  g_ledger.opened(fd, birth);
  if (was_epoll || facts.kind == DescriptorKind::kEpoll) close_epoll(fd);
}

void accepted(Thread& thread, int fd, int listener, int flags, const StackStart& site,
              const struct sockaddr* peer, socklen_t size) noexcept {
  const FdSlot* from = g_ledger.slot(listener);
  DescriptorKind kind = DescriptorKind::kSocket;
  if (from != nullptr && LedgerWriter::is_open(*from) &&
      LedgerWriter::kind(*from) != DescriptorKind::kOther) {
    kind = LedgerWriter::kind(*from);
  } else if (peer != nullptr && size >= sizeof(sa_family_t)) {
    kind = opened_socket(peer->sa_family, SOCK_STREAM).kind;
  }
  born(thread, fd, site, Born(kind, kFdAccepted | close_on_exec(flags)));
  if (peer != nullptr) g_ledger.set_peer(fd, peer, size);
  g_ledger.accepted();
}

LedgerWriter::Death death_at(Thread& thread, const StackStart& site) noexcept {
  if (!g_probe.closes) return {};
  const std::uint64_t now_ns = now(thread);
  return {call_site(site, now_ns), thread.tid, now_ns};
}

bool closing(Thread& thread, int fd, const StackStart& site) noexcept {
  FdSlot* slot = g_ledger.slot(fd);
  if (slot == nullptr) return false;
  if (LedgerWriter::kind(*slot) == DescriptorKind::kEpoll) {
    close_epoll(fd);
    leave_closed(thread);
  }
  // What follows in this turn is not its any more.
  if (thread.turn.slot == slot) stop_serving(thread);
  if (!LedgerWriter::is_open(*slot)) return false;
  return g_ledger.closed(fd, death_at(thread, site));
}

std::uint64_t coarse_ns() noexcept {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace loopscope::probe
