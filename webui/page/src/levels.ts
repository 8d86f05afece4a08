// How many descriptors of each kind and of each open site there were over time: what an event has of them, sampled, bounded.
// A site that an event leaves out (only the first are sent) has a hole there.
import type { Descriptors } from './model';
import { keepSeconds, lowerBound, type Value } from './series';

/** Finer than a spark line can show. */
const stepSeconds = 2;
const most = keepSeconds / stepSeconds;
/** Of kinds and of sites each; an event has 20 sites. */
const keepKeys = 64;

export interface Level {
  live: Value[];
  closed: Value[];
}

export interface PackedLevels {
  time: number[];
  total: Levels['total'];
  kinds: [string, Level][];
  sites: [number, Level][];
}

export class Levels {
  readonly time: number[] = [];
  readonly total = { open: [] as Value[], opened: [] as Value[], closed: [] as Value[] };
  readonly kinds = new Map<string, Level>();
  readonly sites = new Map<number, Level>();

  add(time: number, fds: Descriptors | null): void {
    if (!fds || (this.time.length > 0 && time - this.time[this.time.length - 1]! < stepSeconds - 0.25)) return;
    this.time.push(time);
    this.total.open.push(fds.open);
    this.total.opened.push(fds.opened);
    this.total.closed.push(fds.closed);
    const kinds = new Set([...Object.keys(fds.by_kind ?? {}), ...this.kinds.keys()]);
    for (const kind of kinds) this.push(this.kinds, kind, fds.by_kind && (fds.by_kind[kind] ?? 0), fds.closed_by_kind && (fds.closed_by_kind[kind] ?? 0));
    const sites = new Map((fds.sites ?? []).map((site) => [site.id, site]));
    for (const id of new Set([...sites.keys(), ...this.sites.keys()])) {
      const site = sites.get(id);
      this.push(this.sites, id, site?.live ?? null, site?.closed ?? null);
    }
    if (this.time.length > most + 50) this.drop(50);
  }

  private push<Key>(levels: Map<Key, Level>, key: Key, live: Value, closed: Value): void {
    let level = levels.get(key);
    if (!level) {
      if (levels.size >= keepKeys) {
        // One that the events leave out makes room.
        const out = [...levels].find(([, { live }]) => live[live.length - 1] === null)?.[0];
        if (out === undefined) return;
        levels.delete(out);
      }
      const before = new Array<Value>(this.time.length - 1).fill(null);
      levels.set(key, (level = { live: before, closed: before.slice() }));
    }
    level.live.push(live);
    level.closed.push(closed);
  }

  private drop(n: number): void {
    this.time.splice(0, n);
    for (const values of Object.values(this.total)) values.splice(0, n);
    for (const levels of [this.kinds, this.sites] as Map<unknown, Level>[]) {
      for (const [key, level] of levels) {
        level.live.splice(0, n);
        level.closed.splice(0, n);
        if (level.live.every((value) => value === null)) levels.delete(key);
      }
    }
  }

  /** As plain values, for a page that is taken away. */
  pack(): PackedLevels {
    return { time: this.time, total: this.total, kinds: [...this.kinds], sites: [...this.sites] };
  }

  static unpack(packed: PackedLevels): Levels {
    const levels = new Levels();
    levels.time.push(...packed.time);
    for (const name of ['open', 'opened', 'closed'] as const) levels.total[name].push(...packed.total[name]);
    for (const [key, level] of packed.kinds) levels.kinds.set(key, level);
    for (const [key, level] of packed.sites) levels.sites.set(key, level);
    return levels;
  }

  /** Indices of the samples in [from, to]. */
  range(from: number, to: number): [number, number] {
    let last = this.time.length;
    while (last > 0 && this.time[last - 1]! > to) last--;
    return [Math.min(last, lowerBound(this.time, from)), last];
  }
}

export interface Growth {
  /** How many more are open than at the beginning. */
  more: number;
  seconds: number;
}

/** Before that, it is a start. */
const leastSeconds = 30;
const leastMore = 8;

/**
 * Does it only grow? As the rule fd-growth asks, of what the page has seen: more and more through the whole time, into its last
 * quarter, and nothing of it was closed. `now`: what it is at present. null: no, or too little is known to say so.
 */
export function onlyGrows(levels: Levels, level: Level | undefined, now: { time: number; live: number; closed: number }, from: number): Growth | null {
  if (!level) return null;
  const [first, last] = levels.range(from, now.time);
  const times: number[] = [];
  const live: number[] = [];
  for (let i = first; i < last; i++) {
    const value = level.live[i];
    if (value === null || value === undefined) {
      times.length = live.length = 0; // it was out of sight: who knows what happened meanwhile
      continue;
    }
    if (level.closed[i] !== now.closed) return null;
    times.push(levels.time[i]!);
    live.push(value);
  }
  if (times.length === 0) return null;
  times.push(now.time);
  live.push(now.live);
  const seconds = now.time - times[0]!;
  const more = now.live - live[0]!;
  if (seconds < leastSeconds || more < leastMore) return null;
  let lastRise = 0;
  let half = 0;
  for (let i = 1; i < live.length; i++) {
    if (live[i]! < live[i - 1]!) return null;
    if (live[i]! > live[i - 1]!) lastRise = times[i]!;
    if (times[i]! - times[0]! <= seconds / 2) half = live[i]! - live[0]!;
  }
  // From its first half into its last quarter: neither a start nor an episode.
  if (half === 0 || half === more || lastRise < now.time - seconds / 4) return null;
  return { more, seconds };
}

/**
 * Seconds until `limit` by the trend of the open descriptors: a straight line through the samples, if it describes them (a sawtooth
 * is no trend). null: it does not rise, or too little is known.
 */
export function timeUntil(limit: number | null, time: readonly number[], open: readonly Value[], now: number): number | null {
  if (limit === null) return null;
  const points: [number, number][] = [];
  for (let i = 0; i < time.length; i++) {
    const value = open[i];
    if (value !== null && value !== undefined) points.push([time[i]! - now, value]);
  }
  const n = points.length;
  if (n < 8 || points[n - 1]![0] - points[0]![0] < leastSeconds) return null;
  const mean = (of: (point: [number, number]) => number) => points.reduce((total, point) => total + of(point), 0) / n;
  const [mx, my] = [mean(([x]) => x), mean(([, y]) => y)];
  const xx = mean(([x]) => (x - mx) ** 2);
  const xy = mean(([x, y]) => (x - mx) * (y - my));
  const yy = mean(([, y]) => (y - my) ** 2);
  if (xx === 0 || yy === 0) return null;
  const slope = xy / xx;
  const fit = (xy * xy) / (xx * yy);
  const rise = slope * (points[n - 1]![0] - points[0]![0]);
  if (rise < leastMore || fit < 0.8) return null;
  const current = points[n - 1]![1];
  return current >= limit ? 0 : (limit - current) / slope;
}

/** A level of which there are the most, for a chart of the few that matter; the others are added up. */
export interface Band<Key> {
  key: Key | null;
  values: number[];
}

/** What is known since the last sample: it becomes the last value of each band. */
export interface BandsNow<Key> {
  of: ReadonlyMap<Key, number>;
  total: number | null;
}

/** The `count` keys with the most at their highest, as bands to be stacked, with the rest as one (key null), oldest first. */
export function bands<Key>(
  of: ReadonlyMap<Key, Level>,
  range: readonly [number, number],
  count: number,
  total: readonly Value[] | null,
  now: BandsNow<Key> | null = null,
): Band<Key>[] {
  const [first, last] = range;
  const all = [...of].map(([key, level]) => {
    const values = level.live.slice(first, last).map((value) => value ?? 0);
    if (now) values.push(now.of.get(key) ?? 0);
    return { key: key as Key | null, values, high: values.length > 0 ? Math.max(...values) : 0 };
  });
  all.sort((a, b) => b.high - a.high);
  const shown = all.slice(0, count).filter(({ high }) => high > 0);
  const instants = last - first + (now ? 1 : 0);
  const rest = Array.from({ length: instants }, (_, i) => {
    const mine = shown.reduce((sum, { values }) => sum + values[i]!, 0);
    const known = i < last - first ? total?.[first + i] : now?.total;
    const whole = known ?? all.reduce((sum, { values }) => sum + values[i]!, 0);
    return Math.max(0, whole - mine);
  });
  const out: Band<Key>[] = shown.map(({ key, values }) => ({ key, values }));
  if (rest.some((value) => value > 0)) out.push({ key: null, values: rest });
  return out;
}

/** A line through values of one level in a box of width × height: SVG path data; holes stay holes. `high`: what the top stands for. */
export function sparkPath(time: readonly number[], values: readonly Value[], from: number, to: number, width: number, height: number, high: number): string {
  let path = '';
  let pen = false;
  for (let i = 0; i < time.length; i++) {
    const value = values[i];
    if (value === null || value === undefined) {
      pen = false;
      continue;
    }
    const x = to > from ? Math.min(width, Math.max(0, ((time[i]! - from) / (to - from)) * width)) : 0;
    const y = height - (high > 0 ? value / high : 0) * height;
    path += `${pen ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = true;
  }
  return path;
}

/** How many were opened and closed a second since `from`, or since as long as is known; null: for less than a sample. */
export function pace(levels: Levels, now: { time: number; opened: number | null; closed: number | null }, from: number): { opened: number; closed: number } | null {
  const [first, last] = levels.range(from, now.time);
  const [opened, closed] = [levels.total.opened[first], levels.total.closed[first]];
  if (first >= last || opened == null || closed == null || now.opened === null || now.closed === null) return null;
  const seconds = now.time - levels.time[first]!;
  if (seconds < stepSeconds / 2) return null;
  return { opened: Math.max(0, now.opened - opened) / seconds, closed: Math.max(0, now.closed - closed) / seconds };
}
