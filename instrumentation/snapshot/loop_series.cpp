// SPDX-License-Identifier: Apache-2.0
#include "instrumentation/snapshot/loop_series.h"

#include <algorithm>
#include <tuple>

namespace loopscope::snapshot {
namespace {

using recording::Histogram;
using recording::LoopSnapshot;

/// Names that nobody has any more are forgotten beyond so many: a program may name each loop anew.
constexpr std::size_t kMostNames = 2048;

void add_histogram(Histogram& to, const Histogram& from) {
  if (from.count == 0) return;
  if (to.count == 0) {
    to = from;
    return;
  }
  std::vector<std::pair<std::uint32_t, std::uint64_t>> merged;
  merged.reserve(to.buckets.size() + from.buckets.size());
  auto a = to.buckets.begin();
  auto b = from.buckets.begin();
  while (a != to.buckets.end() || b != from.buckets.end()) {
    if (b == from.buckets.end() || (a != to.buckets.end() && a->first < b->first)) {
      merged.push_back(*a++);
    } else if (a == to.buckets.end() || b->first < a->first) {
      merged.push_back(*b++);
    } else {
      merged.emplace_back(a->first, a->second + b->second);
      ++a;
      ++b;
    }
  }
  to.buckets = std::move(merged);
  to.count += from.count;
  to.sum += from.sum;
  to.min = std::min(to.min, from.min);
  to.max = std::max(to.max, from.max);
}

LoopSnapshot counts_of(const LoopSnapshot& loop) {
  LoopSnapshot counts;
  for (Histogram LoopSnapshot::*histogram :
       {&LoopSnapshot::poll_wait, &LoopSnapshot::busy, &LoopSnapshot::poll_delay,
        &LoopSnapshot::timer_lag, &LoopSnapshot::ready}) {
    (counts.*histogram).scale = (loop.*histogram).scale;
  }
  add_counts(counts, loop);
  return counts;
}

}  // namespace

void add_counts(LoopSnapshot& to, const LoopSnapshot& from) {
  for (std::uint64_t LoopSnapshot::*counter :
       {&LoopSnapshot::iterations, &LoopSnapshot::ready_events, &LoopSnapshot::nonblocking,
        &LoopSnapshot::timeouts, &LoopSnapshot::interrupted, &LoopSnapshot::errors,
        &LoopSnapshot::saturated, &LoopSnapshot::ready_unknown, &LoopSnapshot::spins,
        &LoopSnapshot::stalls, &LoopSnapshot::outside_ns}) {
    to.*counter += from.*counter;
  }
  for (Histogram LoopSnapshot::*histogram :
       {&LoopSnapshot::poll_wait, &LoopSnapshot::busy, &LoopSnapshot::poll_delay,
        &LoopSnapshot::timer_lag, &LoopSnapshot::ready}) {
    add_histogram(to.*histogram, from.*histogram);
  }
  for (const recording::WatcherSnapshot& watcher : from.watchers) {
    const auto same = std::find_if(to.watchers.begin(), to.watchers.end(), [&](const auto& there) {
      return there.kind == watcher.kind && there.name == watcher.name;
    });
    if (same == to.watchers.end()) {
      to.watchers.push_back(watcher);
      continue;
    }
    add_histogram(same->callback, watcher.callback);
    if (!watcher.lag) continue;
    if (!same->lag) {
      same->lag = watcher.lag;
    } else {
      add_histogram(*same->lag, *watcher.lag);
    }
  }
}

std::vector<LoopPlace> LoopSeries::places(const std::vector<LoopSnapshot>& loops) {
  std::set<Key> there;
  for (const LoopSnapshot& loop : loops) there.emplace(loop.id, loop.generation);
  for (auto& [name, places] : by_name_) {
    for (Place& place : places) place.free = place.free || !there.contains(place.key);
  }

  std::erase_if(passed_, [&](const Key& key) { return !there.contains(key); });

  // In the order in which they were made: each may go on where one before it has ended.
  std::vector<std::size_t> order(loops.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::tie(loops[a].started_ns, loops[a].id) < std::tie(loops[b].started_ns, loops[b].id);
  });
  std::vector<LoopPlace> out(loops.size());
  // What is known already first: who has a place may have ended by now.
  std::vector<std::size_t> fresh;
  for (const std::size_t i : order) {
    const Key key(loops[i].id, loops[i].generation);
    if (passed_.contains(key)) continue;
    std::vector<Place>& places = by_name_[loops[i].name];
    const auto mine =
        std::find_if(places.begin(), places.end(), [&](const Place& p) { return p.key == key; });
    if (mine == places.end()) {
      fresh.push_back(i);
      continue;
    }
    mine->last = counts_of(loops[i]);
    mine->free = loops[i].ended;
  }
  for (const std::size_t i : fresh) {
    const LoopSnapshot& loop = loops[i];
    std::vector<Place>& places = by_name_[loop.name];
    const Key key(loop.id, loop.generation);
    auto place = std::find_if(places.begin(), places.end(), [](const Place& p) { return p.free; });
    if (place == places.end()) {
      place = places.emplace(places.end());
    } else {
      auto sum = std::make_shared<LoopSnapshot>(place->last);
      if (place->before) add_counts(*sum, *place->before);
      place->before = std::move(sum);
      if (there.contains(place->key)) passed_.insert(place->key);
    }
    place->key = key;
    place->last = counts_of(loop);
    place->free = loop.ended;
  }

  for (std::size_t i = 0; i < loops.size(); ++i) {
    const std::vector<Place>& places = by_name_[loops[i].name];
    for (std::size_t at = 0; at < places.size(); ++at) {
      if (places[at].key != Key(loops[i].id, loops[i].generation)) continue;
      out[i] = {static_cast<std::uint32_t>(at + 1), places[at].before};
    }
  }
  if (by_name_.size() > kMostNames) {
    std::erase_if(by_name_, [](const auto& entry) {
      return std::all_of(entry.second.begin(), entry.second.end(),
                         [](const Place& place) { return place.free; });
    });
  }
  return out;
}

}  // namespace loopscope::snapshot
