// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/findings/check_rules.h"

#include <algorithm>
#include <iterator>

namespace loopscope::findings {
namespace {

constexpr CheckRule kRules[] = {
    {"fd-leak", Severity::kError, true, false, "descriptors were opened and never closed",
     "Descriptors that were opened at one place were still open when the process ended, and what "
     "is "
     "known of them says that nobody needed them any more. In a process that runs for longer they "
     "add up until nothing can be opened (EMFILE); a socket or pipe that stays open also keeps its "
     "other side waiting.",
     "Close them on every way out of the code that opens them: errors, early returns and "
     "exceptions "
     "too. An object that closes what it holds (in C++ a destructor, in Python a with statement, "
     "in "
     "Ruby a block) cannot forget. If they are meant to stay open, suppress the place with a "
     "reason."},
    {"fd-growth", Severity::kError, true, false,
     "a place opened ever more descriptors through the run and none of them was closed",
     "The number of open descriptors of one place only ever rose, from the beginning of the run to "
     "its end, and most of them lie idle: a list or cache that never lets go of anything.",
     "Look for what holds them (a connection pool, a cache, a table of clients) and give it a "
     "limit "
     "or a way to let go."},
    {"fd-lost-by-thread", Severity::kError, true, false,
     "descriptors outlived the only thread that knew of them",
     "Threads opened descriptors and ended without closing them. Descriptors belong to the "
     "process: "
     "nothing closes them at a thread's end, and each further thread adds its own.",
     "Close them before the thread's function returns, on its error paths too and where it is "
     "cancelled (pthread_cleanup_push, destructors of thread_local objects)."},
    {"double-close", Severity::kError, false, false, "a descriptor was closed twice",
     "A descriptor number was closed again after it had been closed. It failed here with EBADF. As "
     "soon as something else is opened in between, in another thread for example, the second close "
     "takes that away from its owner: data then goes to the wrong file or connection.",
     "Decide which of the two owns the descriptor and let only that one close it. Set the variable "
     "to -1 after closing. fclose, closedir and the like close the number that they were made "
     "from."},
    {"close-never-opened", Severity::kWarning, false, false,
     "a number was closed that never was a descriptor",
     "close was called with a number that was not open and that nothing had opened before: an "
     "uninitialised variable, a return value of -1 that nobody checked, or a number of another "
     "process.",
     "Check what the open returned before it is stored, and start with -1. A loop that closes "
     "every possible number is better written as close_range or closefrom."},
    {"use-after-close", Severity::kError, false, false, "a descriptor was used after its close",
     "A system call was made on a descriptor number that had been closed, and failed with EBADF. "
     "Once the number has been given to something else, the same call reads from it or writes to "
     "it.",
     "Find who still holds the number when it is closed: a copy in another object, a callback or "
     "thread that has not been told. Let that end first, then close."},
    {"event-after-close", Severity::kError, false, false,
     "an epoll set still reports a descriptor whose number was closed",
     "A descriptor's number was closed while it was registered in an epoll set and a copy of it "
     "(by "
     "dup, fork or a passed message) is still open. The set goes on reporting its events under the "
     "old number, and with that number they cannot be switched off any more.",
     "Take the descriptor out of the set (EPOLL_CTL_DEL) before closing it, and close the copies."},
    {"close-wait", Severity::kError, true, false,
     "connections stayed open long after their peer had closed",
     "The other side had closed these TCP connections (the kernel shows them as CLOSE_WAIT), but "
     "they were still open at the end. Each holds a descriptor and kernel memory, for a "
     "conversation that is over.",
     "A read that returns 0 is the peer's close: close then too. Connections that nobody reads, in "
     "a pool for example, need a check before they are used again, or an idle time after which "
     "they are closed."},
    {"fd-inherited-by-exec", Severity::kWarning, true, false,
     "another program was given descriptors that it does not know of",
     "Descriptors without the close-on-exec flag were open when a process executed another "
     "program, which never touched them. They keep files, ports and locks in use for as long as "
     "that program lives, and let it reach what it should not.",
     "Open with O_CLOEXEC, SOCK_CLOEXEC, EFD_CLOEXEC or the like, and use accept4, pipe2, dup3 and "
     "the mode \"e\" of fopen. A flag that is set later by fcntl leaves a gap for other threads."},
    {"fd-kept", Severity::kInfo, true, false, "descriptors were kept until the process ended",
     "Descriptors were open at the end of the process, but there is a reason for that: they were "
     "in use, opened once by a library or runtime, or the process was killed before it could close "
     "them. The system closes them. It is no fault by itself.",
     "Nothing, as a rule. With --strict they fail the run; what is meant to be so can then be "
     "suppressed."},
    {"stall-budget", Severity::kError, false, true,
     "a turn of an event loop took longer than allowed",
     "The busy part of a turn, from the return of the wait to the next wait, took longer than "
     "--max-stall. All other descriptors and timers of that loop waited meanwhile.",
     "Look at what was served in that turn: move the work to a thread, cut it over several turns, "
     "or replace the call that blocks."},
    {"timer-lag-budget", Severity::kError, false, true, "a timer ran later than allowed",
     "A timer's callback ran later than --max-timer-lag after it was due: the loop was busy with "
     "something else, or the machine had no processor free.",
     "Look for the long turn before it. If the loop was idle at that time, the machine was "
     "overloaded."},
    {"busy-p99-budget", Severity::kError, false, true,
     "one in a hundred turns of an event loop took longer than allowed",
     "The 99th percentile of the busy parts of a loop's turns is above --max-busy-p99. It is not a "
     "single mishap: one turn in a hundred is so slow.",
     "Look at the callbacks that take the most time, and at how many events one turn serves."},
};

}  // namespace

std::span<const CheckRule> check_rules() noexcept { return kRules; }

const CheckRule* find_check_rule(std::string_view name) noexcept {
  const auto* const found = std::find_if(std::begin(kRules), std::end(kRules),
                                         [&](const CheckRule& rule) { return rule.name == name; });
  return found == std::end(kRules) ? nullptr : found;
}

}  // namespace loopscope::findings
