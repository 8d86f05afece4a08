// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/recording/ledger_copy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "instrumentation/recording/loop_copy.h"

namespace loopscope::recording {
namespace {

/// Tries for one descriptor that is opened and closed while it is copied. One that always changes
/// is left out: it is neither open nor closed for as long as a look takes.
constexpr int kAttempts = 3;
/// From so many new descriptors in a chunk on, all its details are copied in one piece.
constexpr std::size_t kOneByOne = 8;

bool is_open(std::uint32_t generation) { return (generation & 1) != 0; }

bool chunk_is_there(const Header& now, std::uint32_t chunk) {
  return (now.fd_chunks[chunk / 64].load() >> (chunk % 64) & 1) != 0;
}

/// How many numbers a chunk has; 0: it lies beyond the table.
std::uint32_t numbers_in(const Header& parts, std::uint32_t chunk) {
  const std::uint64_t first = std::uint64_t{chunk} * kFdsPerChunk;
  if (first >= parts.fd_slots) return 0;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(kFdsPerChunk, parts.fd_slots - first));
}

bool read_slots(const Bytes& bytes, const Header& parts, std::uint64_t first, FdSlot* to,
                std::size_t count) {
  return bytes.read(parts.fds_offset + first * sizeof(FdSlot), to, count * sizeof(FdSlot));
}
bool read_details(const Bytes& bytes, const Header& parts, std::uint64_t first, FdDetail* to,
                  std::size_t count) {
  return bytes.read(parts.details_offset + first * sizeof(FdDetail), to, count * sizeof(FdDetail));
}

DescriptorKind valid_kind(std::uint32_t kind) {
  return kind < kDescriptorKinds ? static_cast<DescriptorKind>(kind) : DescriptorKind::kOther;
}

std::uint64_t not_negative(std::int64_t value) {
  return value > 0 ? static_cast<std::uint64_t>(value) : 0;
}

/// An instant of the recording as CLOCK_REALTIME; 0 stays "not known".
std::uint64_t instant(std::uint64_t ns, std::int64_t to_realtime) {
  return ns == 0 ? 0 : ns + static_cast<std::uint64_t>(to_realtime);
}

FdRecord record_of(std::uint64_t number, const FdSlot& slot, std::int64_t to_realtime) {
  FdRecord record;
  const std::uint32_t facts = slot.facts.load();
  const std::uint32_t origin = facts >> kFdOriginShift & 0xFF;
  record.fd = static_cast<std::int32_t>(number);
  record.generation = slot.generation.load();
  record.kind = valid_kind(facts & kFdKindMask);
  record.origin = origin <= static_cast<std::uint32_t>(FdOrigin::kMet)
                      ? static_cast<FdOrigin>(origin)
                      : FdOrigin::kUnknown;
  record.close_on_exec = (facts & kFdCloseOnExec) != 0;
  record.non_blocking = (facts & kFdNonBlocking) != 0;
  record.listening = (facts & kFdListening) != 0;
  record.accepted = (facts & kFdAccepted) != 0;
  record.read_end = (facts & kFdReadEnd) != 0;
  record.write_end = (facts & kFdWriteEnd) != 0;
  record.append = (facts & kFdAppend) != 0;
  record.locked = (facts & kFdLocked) != 0;
  record.registered_epoll_fd = std::max(slot.registered_epoll_fd.load(), 0) - 1;
  record.registered_events = slot.registered_events.load();
  record.events = slot.events.load();
  record.io_calls = slot.io_calls.load();
  record.activity_ns = instant(slot.activity_ns.load(), to_realtime);
  record.busy_ns = slot.busy_ns.load();
  record.thread_ended = (facts & kFdThreadEnded) != 0;
  return record;
}

/// What lies in a table of at most `most` entries of which `used` are in use.
template <typename Entry>
bool copy_table(const Bytes& bytes, std::uint64_t offset, std::uint32_t used, std::uint32_t most,
                std::vector<Entry>& entries) {
  entries.resize(std::min(used, most));
  __atomic_thread_fence(
      __ATOMIC_ACQUIRE);  // with the release store of `used`, or of who names them
  return bytes.read(offset, entries.data(), entries.size() * sizeof(Entry));
}

/// Likewise of entries that are whole once their hash is there: one that another thread is making
/// may lie before `used`. Its hash stays 0. `whole`: so many from the first were whole before.
template <typename Entry>
bool copy_hashed(const Bytes& bytes, std::uint64_t offset, std::uint32_t used, std::uint32_t most,
                 std::size_t& whole, std::vector<Entry>& entries) {
  if (!copy_table(bytes, offset, used, most, entries)) return false;
  const std::size_t first = std::min(whole, entries.size());
  std::vector<bool> made(entries.size());
  for (std::size_t i = first; i < entries.size(); ++i) made[i] = entries[i].hash.load() != 0;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);  // with the release store of `hash`
  if (!bytes.read(offset + first * sizeof(Entry), entries.data() + first,
                  (entries.size() - first) * sizeof(Entry))) {
    return false;
  }
  for (std::size_t i = first; i < entries.size(); ++i) {
    if (!made[i]) entries[i].hash.store(0);
    if (whole == i && made[i]) ++whole;
  }
  return true;
}

void put_texts(FdRecord& record, const FdDetail& detail) {
  record.target = text(detail.target.raw, sizeof detail.target.raw);
  record.local = address_text(detail.local.raw, sizeof detail.local.raw);
  record.peer = address_text(detail.peer.raw, sizeof detail.peer.raw);
}

/// A number that is closed, if its close was noted.
std::optional<ClosedFd> closed_fd(std::uint64_t number, const FdSlot& slot, const FdDetail& detail,
                                  std::int64_t to_realtime) {
  if (detail.closed_ns.load() == 0 || detail.generation.load() + 1 != slot.generation.load()) {
    return {};
  }
  ClosedFd closed;
  closed.fd = record_of(number, slot, to_realtime);
  closed.fd.registered_epoll_fd = -1;
  closed.fd.thread_id = detail.thread_id.load();
  closed.fd.opened_ns = instant(detail.opened_ns.load(), to_realtime);
  if (const std::uint32_t site = slot.site.load(); site != 0) closed.fd.site = site - 1;
  put_texts(closed.fd, detail);
  closed.closed_ns = instant(detail.closed_ns.load(), to_realtime);
  closed.close_thread_id = detail.close_thread_id.load();
  if (const std::uint32_t site = detail.close_site.load(); site != 0) closed.close_site = site - 1;
  return closed;
}

bool copy_modules(const Bytes& bytes, const Header& parts, const Header& now,
                  std::vector<Module>& modules) {
  return copy_table(bytes, parts.modules_offset, now.module_count.load(), kMaxModules, modules);
}

ScriptFrame script_frame_of(const ScriptFrameEntry& entry) {
  return {text(entry.function.raw, sizeof entry.function.raw),
          text(entry.file.raw, sizeof entry.file.raw), entry.line.load()};
}

/// The index of a site that an incident names, if there is one.
std::optional<std::size_t> place(std::uint32_t site, std::size_t sites) {
  if (site == 0 || site > sites) return {};
  return site - 1;
}

std::optional<IncidentRecord> incident_of(const Incident& incident, std::size_t sites,
                                          std::int64_t to_realtime) {
  const std::uint32_t kind = incident.kind.load();
  if (incident.hash.load() == 0 || kind < 1 ||
      kind > static_cast<std::uint32_t>(IncidentKind::kEventAfterClose)) {
    return {};  // being made, or of no kind that we know
  }
  IncidentRecord record;
  record.kind = static_cast<IncidentKind>(kind);
  record.descriptor_kind = valid_kind(incident.descriptor_kind.load());
  record.call = text(incident.call.raw, sizeof incident.call.raw);
  record.count = incident.count.load();
  record.consecutive = incident.consecutive.load();
  record.fd = incident.fd.load();
  record.last_fd = incident.last_fd.load();
  record.thread_id = incident.thread_id.load();
  record.close_thread_id = incident.close_thread_id.load();
  record.first_ns = instant(incident.first_ns.load(), to_realtime);
  record.last_ns = instant(incident.last_ns.load(), to_realtime);
  record.opened_ns = instant(incident.opened_ns.load(), to_realtime);
  record.closed_ns = instant(incident.closed_ns.load(), to_realtime);
  record.site = place(incident.site.load(), sites);
  record.close_site = place(incident.close_site.load(), sites);
  record.open_site = place(incident.open_site.load(), sites);
  return record;
}

SiteRecord site_of(const Site& site, const std::vector<Module>& modules,
                   const std::vector<ScriptFrameEntry>& scripts, std::int64_t to_realtime) {
  SiteRecord record;
  // Without a hash: being made, or made twice and this one is not used.
  if (site.hash.load() == 0) return record;
  if (site.role.load() == static_cast<std::uint32_t>(SiteRole::kCall)) {
    record.role = SiteRole::kCall;
  }
  record.kind = valid_kind(site.kind.load());
  record.opened = site.opened.load();
  record.closed = site.closed.load();
  record.peak = site.peak.load();
  record.first_ns = instant(site.first_ns.load(), to_realtime);
  record.last_ns = instant(site.last_ns.load(), to_realtime);
  const std::uint32_t frames = std::min(site.frame_count.load(), kSiteFrames);
  record.frames.reserve(frames);
  for (std::uint32_t i = 0; i < frames; ++i) {
    SiteFrame frame;
    frame.address = site.frames[i].load();
    const std::size_t module = site.modules[i].load();
    if (module != 0 && module <= modules.size()) {
      frame.module = module - 1;
      frame.offset = frame.address - modules[module - 1].bias.load();
    }
    record.frames.push_back(frame);
  }
  const std::uint32_t lines = std::min(site.script_count.load(), kSiteScriptFrames);
  for (std::uint32_t i = 0; i < lines; ++i) {
    const std::size_t line = site.scripts[i].load();
    if (line == 0 || line > scripts.size()) break;
    record.scripts.push_back(script_frame_of(scripts[line - 1]));
  }
  return record;
}

ModuleRecord module_of(const Module& module) {
  ModuleRecord record;
  record.path = text(module.path.raw, sizeof module.path.raw);
  record.executable = (module.flags.load() & kModuleExecutable) != 0;
  const std::size_t bytes =
      std::min<std::size_t>(module.build_id_bytes.load(), sizeof module.build_id.raw - 1);
  record.build_id.assign(module.build_id.raw, module.build_id.raw + bytes);
  return record;
}

}  // namespace

std::string address_text(const void* address, std::size_t size) {
  sa_family_t family = AF_UNSPEC;
  if (size >= sizeof family) std::memcpy(&family, address, sizeof family);
  char host[INET6_ADDRSTRLEN] = {};
  if (family == AF_INET && size >= sizeof(sockaddr_in)) {
    sockaddr_in in{};
    std::memcpy(&in, address, sizeof in);
    if (inet_ntop(AF_INET, &in.sin_addr, host, sizeof host) == nullptr) return "";
    return std::string(host) + ":" + std::to_string(ntohs(in.sin_port));
  }
  if (family == AF_INET6 && size >= sizeof(sockaddr_in6)) {
    sockaddr_in6 in{};
    std::memcpy(&in, address, sizeof in);
    if (inet_ntop(AF_INET6, &in.sin6_addr, host, sizeof host) == nullptr) return "";
    std::string text = std::string("[") + host;
    if (in.sin6_scope_id != 0) text += "%" + std::to_string(in.sin6_scope_id);
    return text + "]:" + std::to_string(ntohs(in.sin6_port));
  }
  return "";
}

/// Copies of one chunk. A slot is one descriptor's if its generation is odd; others are left out.
struct LedgerCopier::Chunk {
  std::uint32_t numbers = 0;
  std::vector<FdSlot> before{kFdsPerChunk};  // for their generations, as `after`
  std::vector<FdSlot> slots{kFdsPerChunk};
  std::vector<FdSlot> after{kFdsPerChunk};
  std::vector<FdDetail> details{kFdsPerChunk};
  std::vector<bool> has_detail = std::vector<bool>(kFdsPerChunk);
};

bool LedgerCopier::copy_chunk(const Bytes& bytes, const Header& parts, std::uint32_t chunk,
                              bool details, Chunk& copy) {
  const std::uint64_t first = std::uint64_t{chunk} * kFdsPerChunk;
  const std::vector<Birth>& births = births_[chunk];
  // Generations, then what they are of, then generations again: loads within one read() are in no
  // order.
  if (!read_slots(bytes, parts, first, copy.before.data(), copy.numbers)) return false;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);  // with the release store of a generation that is odd
  if (!read_slots(bytes, parts, first, copy.slots.data(), copy.numbers)) return false;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);

  std::vector<std::uint32_t> wanted;
  for (std::uint32_t i = 0; i < copy.numbers; ++i) {
    const std::uint32_t generation = copy.slots[i].generation.load();
    copy.has_detail[i] = false;
    if (!is_open(generation)) {
      if (details && generation != 0) wanted.push_back(i);
      continue;
    }
    if (details || births.empty() || births[i].generation != generation) wanted.push_back(i);
  }
  if (wanted.size() > kOneByOne) {
    if (!read_details(bytes, parts, first, copy.details.data(), copy.numbers)) return false;
  } else {
    for (const std::uint32_t i : wanted) {
      if (!read_details(bytes, parts, first + i, &copy.details[i], 1)) return false;
    }
  }
  for (const std::uint32_t i : wanted) copy.has_detail[i] = true;

  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (!read_slots(bytes, parts, first, copy.after.data(), copy.numbers)) return false;
  for (std::uint32_t i = 0; i < copy.numbers; ++i) {
    if (copy.after[i].generation.load() == copy.before[i].generation.load()) continue;
    // Opened or closed meanwhile.
    bool settled = false;
    for (int attempt = 0; attempt < kAttempts && !settled; ++attempt) {
      const auto read_generation = [&](std::uint32_t& generation) {
        return bytes.read(parts.fds_offset + (first + i) * sizeof(FdSlot), &generation,
                          sizeof generation);
      };
      std::uint32_t before = 0;
      std::uint32_t after = 0;
      if (!read_generation(before)) return false;
      __atomic_thread_fence(__ATOMIC_ACQUIRE);
      if (!read_slots(bytes, parts, first + i, &copy.slots[i], 1) ||
          !read_details(bytes, parts, first + i, &copy.details[i], 1)) {
        return false;
      }
      __atomic_thread_fence(__ATOMIC_ACQUIRE);
      if (!read_generation(after)) return false;
      settled = after == before;
    }
    copy.has_detail[i] = settled;
    if (!settled) copy.slots[i].generation.store(0);
  }
  return true;
}

bool LedgerCopier::copy(const Bytes& bytes, const Header& parts, const Header& now,
                        std::int64_t to_realtime, bool details, Ledger& ledger,
                        std::vector<Registration>& registered) {
  ledger.open = not_negative(now.fd_open.load());
  ledger.peak = not_negative(now.fd_peak.load());
  ledger.inherited = now.fd_inherited.load();
  ledger.met = now.fd_met.load();
  ledger.lost = now.fd_lost.load();
  ledger.bad_closes = now.bad_closes.load();
  ledger.accepts = now.accepts.load();
  for (std::size_t kind = 0; kind < kKindSlots; ++kind) {
    const auto to = static_cast<std::size_t>(valid_kind(static_cast<std::uint32_t>(kind)));
    ledger.opened[to] += now.fd_opened[kind].load();
    ledger.closed[to] += now.fd_closed[kind].load();
  }

  // Descriptors before sites: a site is published before a descriptor names it.
  Chunk copy;
  for (std::uint32_t chunk = 0; chunk < kFdChunks; ++chunk) {
    copy.numbers = numbers_in(parts, chunk);
    if (copy.numbers == 0) break;
    if (!chunk_is_there(now, chunk)) continue;
    if (births_.size() <= chunk) births_.resize(chunk + 1);
    if (!copy_chunk(bytes, parts, chunk, details, copy)) return false;
    std::vector<Birth>& births = births_[chunk];
    births.resize(kFdsPerChunk);
    for (std::uint32_t i = 0; i < copy.numbers; ++i) {
      const FdSlot& slot = copy.slots[i];
      const std::uint32_t generation = slot.generation.load();
      if (!is_open(generation)) {
        if (generation == 0 || !copy.has_detail[i]) continue;
        auto closed =
            closed_fd(std::uint64_t{chunk} * kFdsPerChunk + i, slot, copy.details[i], to_realtime);
        if (closed) ledger.closed_fds.push_back(*std::move(closed));
        continue;
      }
      FdRecord record = record_of(std::uint64_t{chunk} * kFdsPerChunk + i, slot, to_realtime);
      if (const std::uint32_t site = slot.site.load(); site != 0) record.site = site - 1;
      if (copy.has_detail[i]) {
        const FdDetail& detail = copy.details[i];
        births[i] = {generation, 0, 0};
        // Of an earlier descriptor, if it could not be written for this one.
        if (detail.generation.load() == generation) {
          births[i].thread_id = detail.thread_id.load();
          births[i].opened_ns = detail.opened_ns.load();
          record.pair_fd = std::max(detail.pair_fd.load(), 0) - 1;
          if (const std::uint32_t age = detail.peer_closed_ms.load(); age != 0) {
            record.peer_closed_ns = std::max<std::uint64_t>(age - 1, 1) * 1'000'000;
          }
          if (details) {
            put_texts(record, detail);
          }
        }
      }
      record.thread_id = births[i].thread_id;
      record.opened_ns = instant(births[i].opened_ns, to_realtime);
      if (record.registered_epoll_fd >= 0) {
        registered.emplace_back(record.fd, record.registered_epoll_fd);
      }
      ledger.fds.push_back(std::move(record));
    }
  }

  Header later;
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (!bytes.read(0, &later, sizeof later)) return false;
  std::vector<Incident> incidents;
  std::vector<Site> sites;
  std::vector<Module> modules;
  std::vector<ScriptFrameEntry> scripts;
  // Incidents before sites, and what sites name after them, for the same reason: what is named is
  // whole before its name is published.
  if (!copy_hashed(bytes, parts.incidents_offset, later.incident_count.load(), kMaxIncidents,
                   whole_incidents_, incidents)) {
    return false;
  }
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (!bytes.read(0, &later, sizeof later) ||
      !copy_hashed(bytes, parts.sites_offset, later.site_count.load(), kMaxSites, whole_sites_,
                   sites)) {
    return false;
  }
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (!bytes.read(0, &later, sizeof later) || !copy_modules(bytes, parts, later, modules) ||
      !copy_table(bytes, parts.script_frames_offset, later.script_frame_count.load(),
                  kMaxScriptFrames, scripts)) {
    return false;
  }
  ledger.end_census = later.end_census.load() == static_cast<std::uint32_t>(EndCensus::kDone);
  ledger.sites.reserve(sites.size());
  for (const Site& site : sites) {
    ledger.sites.push_back(site_of(site, modules, scripts, to_realtime));
  }
  for (const Incident& incident : incidents) {
    if (auto record = incident_of(incident, sites.size(), to_realtime)) {
      ledger.incidents.push_back(*std::move(record));
    }
  }
  ledger.modules.reserve(modules.size());
  for (const Module& module : modules) ledger.modules.push_back(module_of(module));
  const auto cut = [&](std::optional<std::size_t>& site) {
    if (site && *site >= ledger.sites.size()) site.reset();
  };
  for (FdRecord& record : ledger.fds) cut(record.site);
  for (ClosedFd& closed : ledger.closed_fds) {
    cut(closed.fd.site);
    cut(closed.close_site);
  }
  return true;
}

bool copy_registrations(const Bytes& bytes, const Header& parts, const Header& now,
                        std::vector<Registration>& registered) {
  std::vector<FdSlot> slots(kFdsPerChunk);
  for (std::uint32_t chunk = 0; chunk < kFdChunks; ++chunk) {
    const std::uint32_t numbers = numbers_in(parts, chunk);
    if (numbers == 0) break;
    if (!chunk_is_there(now, chunk)) continue;
    const std::uint64_t first = std::uint64_t{chunk} * kFdsPerChunk;
    if (!read_slots(bytes, parts, first, slots.data(), numbers)) return false;
    for (std::uint32_t i = 0; i < numbers; ++i) {
      const std::int32_t epoll_fd = std::max(slots[i].registered_epoll_fd.load(), 0) - 1;
      if (epoll_fd >= 0) registered.emplace_back(static_cast<std::int32_t>(first + i), epoll_fd);
    }
  }
  return true;
}

bool copy_generations(const Bytes& bytes, const Header& parts, const Header& now,
                      const std::vector<std::int32_t>& numbers,
                      std::vector<std::uint32_t>& generations) {
  generations.assign(numbers.size(), 0);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const auto number = static_cast<std::uint64_t>(numbers[i]);
    if (numbers[i] < 0 || number >= parts.fd_slots || number / kFdsPerChunk >= kFdChunks) continue;
    if (!chunk_is_there(now, static_cast<std::uint32_t>(number / kFdsPerChunk))) continue;
    if (!bytes.read(parts.fds_offset + number * sizeof(FdSlot), &generations[i],
                    sizeof generations[i])) {
      return false;
    }
  }
  return true;
}

}  // namespace loopscope::recording
