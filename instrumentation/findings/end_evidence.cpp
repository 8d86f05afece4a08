// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/findings/end_evidence.h"

#include <fnmatch.h>

#include <algorithm>
#include <utility>

#include "instrumentation/findings/blame.h"
#include "instrumentation/findings/text.h"
#include "instrumentation/process/descriptors.h"

namespace loopscope::findings {
namespace {

using recording::DescriptorKind;
using recording::FdRecord;
using recording::RecordingSnapshot;
using recording::StackFrame;

bool matches_any(const std::string& path, std::span<const std::string> patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return fnmatch(pattern.c_str(), path.c_str(), 0) == 0;
  });
}

struct Noun {
  const char* one;
  const char* several;
};

Noun noun(DescriptorKind kind) {
  switch (kind) {
    case DescriptorKind::kTcp:
      return {"a TCP socket", "TCP sockets"};
    case DescriptorKind::kUdp:
      return {"a UDP socket", "UDP sockets"};
    case DescriptorKind::kUnix:
      return {"a Unix socket", "Unix sockets"};
    case DescriptorKind::kNetlink:
      return {"a netlink socket", "netlink sockets"};
    case DescriptorKind::kSocket:
      return {"a socket", "sockets"};
    case DescriptorKind::kPipe:
      return {"a pipe end", "pipe ends"};
    case DescriptorKind::kEventfd:
      return {"an eventfd", "eventfds"};
    case DescriptorKind::kTimerfd:
      return {"a timerfd", "timerfds"};
    case DescriptorKind::kSignalfd:
      return {"a signalfd", "signalfds"};
    case DescriptorKind::kEpoll:
      return {"an epoll descriptor", "epoll descriptors"};
    case DescriptorKind::kInotify:
      return {"an inotify descriptor", "inotify descriptors"};
    case DescriptorKind::kFanotify:
      return {"a fanotify descriptor", "fanotify descriptors"};
    case DescriptorKind::kMemfd:
      return {"a memfd", "memfds"};
    case DescriptorKind::kPidfd:
      return {"a pidfd", "pidfds"};
    case DescriptorKind::kIoUring:
      return {"an io_uring", "io_urings"};
    case DescriptorKind::kFile:
      return {"a file", "files"};
    case DescriptorKind::kDirectory:
      return {"a directory", "directories"};
    case DescriptorKind::kDevice:
      return {"a device", "devices"};
    case DescriptorKind::kTty:
      return {"a terminal", "terminals"};
    case DescriptorKind::kOther:
    case DescriptorKind::kCount:
      break;
  }
  return {"a descriptor", "descriptors"};
}

}  // namespace

Opener opener_of(const recording::Stack& stack, std::string_view executable,
                 std::span<const std::string> own) {
  if (!stack || stack->empty()) return Opener::kUnknown;
  const auto said_to_be_own = [&](const StackFrame& frame) {
    return !own.empty() && matches_any(frame.script ? frame.file : frame.module, own);
  };
  std::size_t at = 0;
  if (const auto said = std::find_if(stack->begin(), stack->end(), said_to_be_own);
      said != stack->end()) {
    at = static_cast<std::size_t>(said - stack->begin());
  } else {
    const Blame blamed = blame(*stack, executable);
    if (!blamed.frame || blamed.owner == Owner::kSystem) return Opener::kSystem;
    at = *blamed.frame;
    // A program of the system is the one to look at, but nobody's here to mend.
    if (!(*stack)[at].script && is_system_file((*stack)[at].module)) return Opener::kSystem;
  }
  if ((*stack)[at].script) return Opener::kProgram;
  const bool by_library =
      std::any_of(stack->begin(), stack->begin() + static_cast<std::ptrdiff_t>(at),
                  [&](const StackFrame& frame) {
                    return frame.module != (*stack)[at].module && !is_base_library(frame.module);
                  });
  return by_library ? Opener::kLibrary : Opener::kProgram;
}

bool untouched(const FdRecord& fd) {
  return fd.io_calls == 0 && fd.events == 0 && fd.registered_epoll_fd < 0;
}

std::uint64_t end_ns(const RecordingSnapshot& recording) {
  return recording.ended_ns != 0 ? recording.ended_ns : recording.taken_ns;
}

bool in_service(const FdRecord& fd, const RecordingSnapshot& recording) {
  const auto is_registered = [&](std::int32_t number) {
    return std::any_of(recording.registered.begin(), recording.registered.end(),
                       [number](const auto& registration) { return registration.first == number; });
  };
  if (fd.registered_epoll_fd >= 0) return true;
  if (fd.pair_fd >= 0 && is_registered(fd.pair_fd)) return true;
  // A master's children accept, not the master.
  if (fd.listening && (fd.io_calls != 0 || !recording.reaped.empty())) return true;
  // A lock is held, and a log is written, for as long as the program runs.
  if (fd.locked || (fd.append && fd.kind == DescriptorKind::kFile)) return true;
  if (fd.kind == DescriptorKind::kEpoll) {
    const bool turned = std::any_of(
        recording.loops.begin(), recording.loops.end(),
        [&](const auto& loop) { return loop.epoll_fd == fd.fd && loop.iterations != 0; });
    if (turned) return true;
    for (const auto& [number, epoll_fd] : recording.registered) {
      if (epoll_fd == fd.fd) return true;
    }
  }
  const std::uint64_t end = end_ns(recording);
  if (fd.activity_ns == 0 || end <= recording.started_ns) return false;
  const std::uint64_t idle = end > fd.activity_ns ? end - fd.activity_ns : 0;
  return in_use_over_time(fd.io_calls, idle, end - recording.started_ns);
}

std::string descriptors_text(std::uint64_t count, DescriptorKind kind) {
  const Noun words = noun(kind);
  return count == 1 ? words.one : std::to_string(count) + " " + words.several;
}

std::string at_place(const Place& place) {
  if (!place.stack || !place.frame || *place.frame >= place.stack->size()) return place.role;
  return place.role + " at " + place_name((*place.stack)[*place.frame]);
}

Place make_place(const char* role, const Image& image, std::optional<std::size_t> site) {
  Place place;
  place.role = role;
  if (site) place.stack = image.stack_of(*site);
  if (place.stack) place.frame = blame(*place.stack, image.executable).frame;
  return place;
}

FoundDescriptor make_descriptor(const FdRecord& fd) {
  FoundDescriptor found;
  found.fd = fd.fd;
  found.kind = process::descriptor_kind_name(fd.kind);
  found.target = fd.target;
  found.local = fd.local;
  found.peer = fd.peer;
  found.opened_ns = fd.opened_ns;
  found.thread_id = fd.thread_id;
  return found;
}

std::vector<FoundDescriptor> make_descriptors(std::vector<const FdRecord*> fds) {
  std::stable_sort(fds.begin(), fds.end(), [](const FdRecord* a, const FdRecord* b) {
    return std::pair(a->opened_ns, a->fd) < std::pair(b->opened_ns, b->fd);
  });
  std::vector<FoundDescriptor> found;
  for (const FdRecord* fd : fds) {
    if (found.size() == kMostFoundDescriptors) break;
    found.push_back(make_descriptor(*fd));
  }
  return found;
}

std::string about_text(const FdRecord& fd) {
  if (!fd.peer.empty()) return (fd.accepted ? "from " : "to ") + fd.peer;
  if (fd.listening && !fd.local.empty()) return "listening on " + fd.local;
  if (!fd.local.empty()) return "on " + fd.local;
  return fd.target;
}

std::string after_start(std::uint64_t at_ns, const RecordingSnapshot& recording) {
  if (at_ns == 0) return "";
  return duration_text(at_ns > recording.started_ns ? at_ns - recording.started_ns : 0) +
         " after start";
}

}  // namespace loopscope::findings
