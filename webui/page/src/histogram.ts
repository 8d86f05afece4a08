// Histograms as plain arrays of numbers: small ones, by the thousand, are made and dropped faster than typed arrays, and
// engines keep whole numbers in half the room. Two snapshots of one cumulative histogram subtract, bucket by bucket, into the
// histogram of what happened between them: that is how every window of this page is computed.
import type { WireHistogram } from './model';

export interface Histogram {
  /** Total of the buckets, so that quantiles and count can never disagree. */
  readonly count: number;
  readonly sum: number;
  readonly max: number | null;
  /** Upper bounds, rising, of the buckets that are not empty. */
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
}

const none: readonly number[] = [];
export const empty: Histogram = { count: 0, sum: 0, max: null, bounds: none, counts: none };

/**
 * From the wire. Given the histogram before, returns that very object when nothing was added: most of 500 watchers
 * do not run between two events, and sharing keeps the history of all of them small.
 */
export function fromWire(wire: WireHistogram | null | undefined, before?: Histogram | null): Histogram | null {
  if (!wire) return null;
  if (before && before.count === wire.count && before.sum === wire.sum) return before;
  const { buckets } = wire;
  const size = buckets.length;
  const counts = new Array<number>(size);
  let count = 0;
  // Most have values where they had some before: the bounds are then kept once for all cuts.
  let bounds = before?.bounds.length === size ? before.bounds : null;
  for (let i = 0; i < size; i++) {
    const bucket = buckets[i]!;
    counts[i] = bucket[1];
    count += bucket[1];
    if (bounds !== null && bounds[i] !== bucket[0]) bounds = null;
  }
  bounds ??= buckets.map((bucket) => bucket[0]);
  return { count, sum: wire.sum, max: wire.max, bounds, counts };
}

/** What was added between `base` and `now`; null when `now` does not continue `base` (its counters went back). */
export function subtract(now: Histogram, base: Histogram | null | undefined): Histogram | null {
  if (!base || base.count === 0) return now;
  if (now === base) return empty;
  const bounds: number[] = [];
  const counts: number[] = [];
  let count = 0;
  let j = 0;
  for (let i = 0; i < now.bounds.length; i++) {
    const bound = now.bounds[i]!;
    if (j < base.bounds.length && base.bounds[j]! < bound) return null; // a bucket emptied itself
    let n = now.counts[i]!;
    if (j < base.bounds.length && base.bounds[j] === bound) n -= base.counts[j++]!;
    if (n < 0) return null;
    if (n > 0) {
      bounds.push(bound);
      counts.push(n);
      count += n;
    }
  }
  if (j < base.bounds.length) return null;
  if (count === 0) return empty;
  // The record was broken since `base`: then the maximum is known exactly. Else the highest bucket bounds it.
  const record = now.max !== null && (base.max === null || now.max > base.max);
  const highest = bounds[bounds.length - 1]!;
  const max = record ? now.max : now.max === null ? highest : Math.min(highest, now.max);
  return {
    count,
    sum: Math.max(0, now.sum - base.sum),
    max,
    bounds,
    counts,
  };
}

/**
 * The middle of a bucket of the recording, as the server's own quantiles are: 32 buckets to each doubling, counted from 1 µs. A
 * bound that is not one of those says nothing about its bucket's width: then the bound itself.
 */
function middle(bound: number): number {
  const micros = bound * 1e6;
  const octave = 2 ** (Math.ceil(Math.log2(micros) - 1e-9) - 1);
  const step = (micros / octave) * 32;
  return Math.abs(step - Math.round(step)) < 1e-6 ? (micros - octave / 64) / 1e6 : bound;
}

/** The middle of the bucket that holds the q-quantile (so at most 1.6 % off), never beyond the maximum. */
export function quantile(h: Histogram | null, q: number): number | null {
  if (!h || h.count === 0) return null;
  const rank = Math.max(1, Math.ceil(q * h.count - 1e-9));
  let seen = 0;
  for (let i = 0; i < h.counts.length; i++) {
    seen += h.counts[i]!;
    if (seen >= rank) return h.max === null ? middle(h.bounds[i]!) : Math.min(middle(h.bounds[i]!), h.max);
  }
  return h.max;
}

/**
 * quantile(subtract(now, base), q) without making the difference: the overview asks for hundreds at every event. Where
 * `now` does not continue `base`, that of `now`, as everywhere.
 */
export function quantileSince(now: Histogram | null, base: Histogram | null | undefined, q: number): number | null {
  if (!now || !base || base.count === 0) return quantile(now, q);
  const total = now.count - base.count;
  if (now === base) return null;
  const rank = Math.max(1, Math.ceil(q * total - 1e-9));
  let seen = 0;
  let found = -1;
  let highest = -1;
  let j = 0;
  for (let i = 0; i < now.bounds.length; i++) {
    const bound = now.bounds[i]!;
    let n = now.counts[i]!;
    if (j < base.bounds.length && base.bounds[j]! <= bound) {
      if (base.bounds[j]! < bound) return quantile(now, q);
      n -= base.counts[j++]!;
    }
    if (n < 0) return quantile(now, q);
    if (n === 0) continue;
    highest = bound;
    seen += n;
    if (found < 0 && seen >= rank) found = bound;
  }
  if (j < base.bounds.length) return quantile(now, q);
  if (seen === 0) return null;
  const record = now.max !== null && (base.max === null || now.max > base.max);
  const max = record || now.max === null ? (now.max ?? highest) : Math.min(highest, now.max);
  return Math.min(middle(found), max);
}

/** Relative weights (0..1) over `bins` equal steps of log10 from `low` to `high`: the little shape in the table. */
export function shape(h: Histogram | null, low: number, high: number, bins: number): number[] {
  const out = new Array<number>(bins).fill(0);
  if (!h || h.count === 0) return out;
  const from = Math.log10(low);
  const step = (Math.log10(high) - from) / bins;
  for (let i = 0; i < h.bounds.length; i++) {
    const x = h.bounds[i]! > 0 ? Math.floor((Math.log10(h.bounds[i]!) - from) / step) : 0;
    const bin = Math.min(bins - 1, Math.max(0, x));
    out[bin] = out[bin]! + h.counts[i]!;
  }
  const top = Math.max(...out);
  return out.map((n) => n / top);
}
