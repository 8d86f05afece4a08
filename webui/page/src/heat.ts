// Heatmaps: how many turns (or timers) took how long, over time. One column per event, one row per power of two of
// 1 µs. The recorder puts bucket boundaries on exactly these bounds, so every count is exact, and columns add up:
// ageing only makes them wider. No DOM in here.
//
// Storage: a column is its time span and its cells that are not zero, a cell is one 32-bit number (row, count).
// A loop's map of 15 min is some 700 columns, about 30 kB; the bound is keepCells.
import type { Histogram } from './histogram';
import { keepSeconds } from './series';

/** Row 0: up to 1 µs; row k: over 2^(k-1) µs, up to 2^k µs; the last: over 2^24 µs (16.8 s). */
export const heatRows = 26;
const countBits = 27;
const mostCount = 2 ** countBits - 1;

/** Younger than this, columns are what events brought; from then on steps of `step` seconds, aligned to the epoch. */
const tiers = [
  { age: 300, step: 4 },
  { age: 120, step: 2 },
] as const;
/** Ageing copies: not at every event. */
const tidyEvery = 100;
const keepCells = 40_000;

/** The row of a bucket by its upper bound in seconds. Bounds are exact but for the last digit of the JSON number. */
export function rowOf(bound: number): number {
  if (!(bound > 1e-6)) return 0;
  return Math.min(heatRows - 1, Math.max(0, Math.ceil(Math.log2(bound * 1e6) - 1e-9)));
}

/** [over, up to] in seconds. */
export function rowBounds(row: number): [number, number] {
  return [row === 0 ? 0 : 2 ** (row - 1) * 1e-6, row === heatRows - 1 ? Infinity : 2 ** row * 1e-6];
}

export interface HeatView {
  columns: number;
  /** Seconds; a hole between an end and the next start is one where nothing was measured. */
  start: Float64Array;
  end: Float64Array;
  /** Of column i, row r: counts[i * heatRows + r]. */
  counts: Float64Array;
  totals: Float64Array;
  /** Most per second in one cell, and the least that one can be: once in the widest column. 0: no cell. */
  most: number;
  least: number;
}

export class Heat {
  private size = 0;
  private start = new Float64Array(64);
  private end = new Float64Array(64);
  /** Where a column's cells begin; column i has those up to first[i + 1]. */
  private first = new Uint32Array(65);
  private cells = new Uint32Array(256);
  private untidy = 0;

  get columns(): number {
    return this.size;
  }

  /** When the last column ended; 0: there is none. */
  get newest(): number {
    return this.size > 0 ? this.end[this.size - 1]! : 0;
  }

  get bytes(): number {
    return this.start.byteLength + this.end.byteLength + this.first.byteLength + this.cells.byteLength;
  }

  /** What was added in [start, end]. null: this source does not measure it, and there is no column. */
  add(start: number, end: number, added: Histogram | null): void {
    if (!added || !(end > start)) return;
    this.reserve(1, heatRows);
    let at = this.first[this.size]!;
    let row = -1;
    let count = 0;
    for (let i = 0; i < added.bounds.length; i++) {
      const mine = rowOf(added.bounds[i]!);
      if (mine !== row && count > 0) this.cells[at++] = cell(row, count);
      if (mine !== row) count = 0;
      row = mine;
      count += added.counts[i]!;
    }
    if (count > 0) this.cells[at++] = cell(row, count);
    this.start[this.size] = start;
    this.end[this.size] = end;
    this.first[++this.size] = at;
    if (++this.untidy >= tidyEvery || at > keepCells) this.tidy(end);
  }

  /** Forgets what is too old and joins what is not young. Never joins over a hole. */
  private tidy(now: number): void {
    this.untidy = 0;
    const { size, start, end, first, cells } = this;
    let from = 0;
    while (from < size && end[from]! < now - keepSeconds) from++;
    if (first[size]! > keepCells) while (first[size]! - first[from]! > keepCells / 2) from++;
    let columns = 0;
    let at = 0;
    let slot = NaN;
    const sum = new Float64Array(heatRows);
    const flush = (column: number) => {
      for (let row = 0; row < heatRows; row++) if (sum[row]! > 0) cells[at++] = cell(row, sum[row]!);
      first[column + 1] = at;
    };
    for (let i = from; i < size; i++) {
      const age = now - end[i]!;
      const tier = tiers.find((t) => age > t.age);
      const mine = tier ? Math.floor(start[i]! / tier.step) * tier.step + tier.step / 1e3 : NaN;
      const joins = columns > 0 && mine === slot && touches(end[columns - 1]!, start[i]!);
      const [begin, stop] = [first[i]!, first[i + 1]!];
      if (!joins) {
        if (columns > 0) flush(columns - 1);
        sum.fill(0);
        start[columns++] = start[i]!;
      }
      end[columns - 1] = end[i]!;
      for (let k = begin; k < stop; k++) sum[cells[k]! >>> countBits]! += cells[k]! & mostCount;
      slot = mine;
    }
    if (columns > 0) flush(columns - 1);
    first[0] = 0;
    this.size = columns;
  }

  /** As plain numbers, for a page that is taken away: [start, seconds, cells, cell, cell, ...] of each column. */
  pack(): number[] {
    const out: number[] = [];
    for (let i = 0; i < this.size; i++) {
      const cells = this.cells.subarray(this.first[i]!, this.first[i + 1]!);
      const milli = (seconds: number) => Math.round(seconds * 1e3) / 1e3;
      out.push(milli(this.start[i]!), milli(this.end[i]! - this.start[i]!), cells.length, ...cells);
    }
    return out;
  }

  static unpack(packed: readonly number[]): Heat {
    const heat = new Heat();
    for (let at = 0; at + 2 < packed.length; ) {
      const [start, seconds, cells] = packed.slice(at, at + 3) as [number, number, number];
      heat.reserve(1, cells);
      heat.cells.set(packed.slice(at + 3, at + 3 + cells), heat.first[heat.size]!);
      heat.start[heat.size] = start;
      heat.end[heat.size] = start + seconds;
      heat.first[heat.size + 1] = heat.first[heat.size]! + cells;
      heat.size++;
      at += 3 + cells;
    }
    return heat;
  }

  private reserve(columns: number, cells: number): void {
    if (this.size + columns > this.start.length) {
      this.start = grown(this.start, Float64Array);
      this.end = grown(this.end, Float64Array);
      const first = new Uint32Array(this.start.length + 1);
      first.set(this.first);
      this.first = first;
    }
    if (this.first[this.size]! + cells > this.cells.length) this.cells = grown(this.cells, Uint32Array);
  }

  /** The columns that overlap [from, to], neighbours joined until each is at least `seconds` wide: one per few pixels. */
  view(from: number, to: number, seconds: number): HeatView {
    let low = 0;
    while (low < this.size && this.end[low]! <= from) low++;
    let high = low;
    while (high < this.size && this.start[high]! < to) high++;
    const room = high - low;
    const view: HeatView = {
      columns: 0,
      start: new Float64Array(room),
      end: new Float64Array(room),
      counts: new Float64Array(room * heatRows),
      totals: new Float64Array(room),
      most: 0,
      least: 0,
    };
    for (let i = low; i < high; i++) {
      // Joined by slots of the epoch, not by what is at the window's edge: columns must not change while time moves on.
      const slot = Math.floor(this.start[i]! / seconds);
      const last = view.columns - 1;
      const joins = last >= 0 && seconds > 0 && Math.floor(view.start[last]! / seconds) === slot && touches(view.end[last]!, this.start[i]!);
      const column = joins ? last : view.columns++;
      if (!joins) view.start[column] = this.start[i]!;
      view.end[column] = this.end[i]!;
      for (let k = this.first[i]!; k < this.first[i + 1]!; k++) {
        const count = this.cells[k]! & mostCount;
        view.counts[column * heatRows + (this.cells[k]! >>> countBits)]! += count;
        view.totals[column]! += count;
      }
    }
    let widest = 0;
    for (let column = 0; column < view.columns; column++) {
      const width = view.end[column]! - view.start[column]!;
      widest = Math.max(widest, width);
      for (let row = 0; row < heatRows; row++) view.most = Math.max(view.most, view.counts[column * heatRows + row]! / width);
    }
    view.least = widest > 0 ? 1 / widest : 0;
    return view;
  }
}

/** The column that holds an instant; -1 in a hole and outside. */
export function columnAt(view: HeatView, time: number): number {
  for (let i = view.columns - 1; i >= 0 && view.end[i]! >= time; i--) if (view.start[i]! <= time) return i;
  return -1;
}

/** Where a rate lies between the least and the most, logarithmically: 0..1. Whole decades, so that colours hold still. */
export function heatRange(view: HeatView): { low: number; high: number } {
  if (view.most === 0) return { low: 1, high: 10 };
  const low = 10 ** Math.floor(Math.log10(view.least) + 1e-9);
  return { low, high: Math.max(10 ** Math.ceil(Math.log10(view.most) - 1e-9), low * 10) };
}

export const heatPosition = (rate: number, { low, high }: { low: number; high: number }) =>
  Math.min(1, Math.max(0, Math.log(rate / low) / Math.log(high / low)));

export interface HeatSummary {
  total: number;
  /** The row with most. */
  usual: number;
  /** The highest row that is not empty, and when it was last reached. */
  highest: number;
  highestAt: number;
}

export function summarize(view: HeatView): HeatSummary | null {
  const rows = new Float64Array(heatRows);
  for (let i = 0; i < view.columns * heatRows; i++) rows[i % heatRows]! += view.counts[i]!;
  const total = rows.reduce((sum, n) => sum + n, 0);
  if (total === 0) return null;
  let highest = heatRows - 1;
  while (rows[highest] === 0) highest--;
  let at = view.columns - 1;
  while (view.counts[at * heatRows + highest] === 0) at--;
  return { total, usual: rows.indexOf(Math.max(...rows)), highest, highestAt: view.end[at]! };
}

const cell = (row: number, count: number) => row * 2 ** countBits + Math.min(mostCount, Math.round(count));
const touches = (end: number, start: number) => Math.abs(start - end) < 0.05;

function grown<T extends Float64Array | Uint32Array>(old: T, make: new (length: number) => T): T {
  const more = new make(old.length * 2);
  more.set(old);
  return more;
}

// --- colours ---------------------------------------------------------------------------------------------------------

type Lab = [number, number, number];

const toLinear = (c: number) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const toGamma = (c: number) => (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055);

/** OKLab (B. Ottosson, 2020), in which equal steps look equal. */
export function oklab(hex: string): Lab {
  const n = parseInt(hex.replace('#', ''), 16);
  const [r, g, b] = [(n >> 16) & 255, (n >> 8) & 255, n & 255].map((c) => toLinear(c / 255)) as Lab;
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

function fromOklab([L, a, b]: Lab): string {
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const channels = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  const byte = (c: number) => Math.round(Math.min(1, Math.max(0, toGamma(Math.max(0, c)))) * 255);
  return `#${channels.map((c) => byte(c).toString(16).padStart(2, '0')).join('')}`;
}

export const heatSteps = 64;

/**
 * A scale through a few colours that rise (or fall) in lightness: the lightness goes from the first to the last in equal
 * steps, whatever the colours between have; they give the hue. Lightness alone tells the order, for any kind of sight.
 */
export function heatScale(anchors: readonly string[]): string[] {
  const stops = anchors.map(oklab);
  const [first, last] = [stops[0]![0], stops[stops.length - 1]![0]];
  return Array.from({ length: heatSteps }, (_, step) => {
    const L = first + ((last - first) * step) / (heatSteps - 1);
    let i = 0;
    while (i < stops.length - 2 && (last > first ? stops[i + 1]![0] < L : stops[i + 1]![0] > L)) i++;
    const [from, to] = [stops[i]!, stops[i + 1]!];
    const t = Math.min(1, Math.max(0, (L - from[0]) / (to[0] - from[0])));
    return fromOklab([L, from[1] + (to[1] - from[1]) * t, from[2] + (to[2] - from[2]) * t]);
  });
}
