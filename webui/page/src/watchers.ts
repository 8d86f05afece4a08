// The rows of the watchers table: what each did in the window. Pure, so that 500 of them can be tested and sorted.
import { watcherKey, watcherWindow, type LoopCut } from './cuts';
import { quantile, type Histogram } from './histogram';
import type { Base } from './marks';
import type { LoopTrack, ProcessTrack } from './store';
import type { SeenTurn } from './turns';

export const columns = ['name', 'kind', 'fd', 'share', 'calls', 'p50', 'p99', 'max', 'lag'] as const;
export type Column = (typeof columns)[number];

export interface Row {
  key: string;
  name: string;
  kind: string;
  fd: number | null;
  /** Time spent in the window, and its part of the loop's busy time. */
  seconds: number | null;
  share: number | null;
  /** Per second. */
  calls: number | null;
  p50: number | null;
  p99: number | null;
  max: number | null;
  lag: number | null;
  /** In the window: its calls, and how late they were; null where there is nothing to know. */
  callback: Histogram | null;
  lateness: Histogram | null;
  /** Since the start. */
  invocations: number | null;
  /** Not a watcher: the rest. */
  special: boolean;
}

export function watcherRows(process: ProcessTrack, loop: LoopTrack, base: Base<LoopCut> | undefined): Row[] {
  const from = base?.mark?.cuts.get(String(loop.latest.id)) ?? null;
  const view = base ? process.window(loop, base) : null;
  const rows: Row[] = [];
  let attributed = 0;
  for (const watcher of loop.latest.watchers) {
    const key = watcherKey(watcher);
    const cut = loop.cut.watchers.get(key);
    const window = base && cut ? watcherWindow(cut, from?.watchers.get(key)) : null;
    attributed += window?.callback.sum ?? 0;
    rows.push({
      key,
      name: watcher.name,
      kind: watcher.kind,
      fd: watcher.fd,
      seconds: window?.callback.sum ?? null,
      share: null,
      calls: window && base && base.seconds > 0 ? window.calls / base.seconds : null,
      p50: quantile(window?.callback ?? null, 0.5),
      p99: quantile(window?.callback ?? null, 0.99),
      max: window?.callback.max ?? null,
      lag: quantile(window?.lag ?? null, 0.99),
      callback: window?.callback ?? null,
      lateness: window?.lag ?? null,
      invocations: watcher.invocations,
      special: false,
    });
  }
  const rest = view?.unattributed ?? null;
  if (rest !== null) {
    rows.push({
      key: '',
      name: '(unattributed)',
      kind: '',
      fd: null,
      seconds: rest,
      share: null,
      calls: null,
      p50: null,
      p99: null,
      max: null,
      lag: null,
      callback: null,
      lateness: null,
      invocations: null,
      special: true,
    });
  }
  // A turn in progress is in some of the sums and not yet in others: never show parts larger than the whole.
  const whole = Math.max(view?.busy ?? 0, attributed + (rest ?? 0));
  for (const row of rows) row.share = row.seconds === null ? null : whole > 0 ? row.seconds / whole : 0;
  return rows;
}

export function sortRows(rows: readonly Row[], by: Column, down: boolean): Row[] {
  const sign = down ? -1 : 1;
  const compare = (a: Row, b: Row): number => {
    const x = a[by];
    const y = b[by];
    if (x === y) return 0;
    if (x === null) return 1; // unknown last, whichever way
    if (y === null) return -1;
    return sign * (x < y ? -1 : 1);
  };
  // The name decides between equals: else rows that did nothing would dance.
  return rows.slice().sort((a, b) => compare(a, b) || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
}

/** "share.down", as the address keeps it. */
export function parseSort(text: string | null): { by: Column; down: boolean } {
  const [by, way] = (text ?? '').split('.');
  return columns.includes(by as Column) ? { by: by as Column, down: way !== 'up' } : { by: 'share', down: true };
}
export const formatSort = ({ by, down }: { by: Column; down: boolean }) => `${by}.${down ? 'down' : 'up'}`;

/** Every word is in the name or the kind, or is the descriptor's number. */
export function matching(rows: readonly Row[], search: string): readonly Row[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return rows;
  return rows.filter((row) => {
    const text = `${row.name} ${row.kind}`.toLowerCase();
    return words.every((word) => text.includes(word) || String(row.fd) === word);
  });
}

/** The slow turns in which the watcher of this name took the most time, the slowest first. */
export const causedBy = (turns: readonly SeenTurn[], name: string): SeenTurn[] =>
  turns.filter((turn) => turn.slow && turn.watcher === name).sort((a, b) => b.busy - a.busy);

/**
 * Whole decades around all that a histogram holds, three at least: what a picture of it spans. Not below 100 ns: that is as good
 * as nothing, and timers that were not late at all would push everything else aside.
 */
export function decades(h: Histogram | null): { low: number; high: number } {
  const lowest = h && h.count > 0 ? h.bounds[0]! : 1e-6;
  const highest = h && h.count > 0 ? h.bounds[h.bounds.length - 1]! : 1e-3;
  let low = Math.max(-7, Math.floor(Math.log10(lowest > 0 ? lowest : 1e-9) - 1e-9));
  let high = Math.min(4, Math.ceil(Math.log10(highest > 0 ? highest : 1e-9) - 1e-9));
  while (high - low < 3) {
    high++;
    if (high - low < 3 && low > -7) low--;
  }
  return { low: 10 ** low, high: 10 ** high };
}
