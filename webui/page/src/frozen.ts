// What the page knows, as JSON and back: for a page that is taken away (a saved report) and opened without a server.
// Compact rather than pretty: numbers of lines to four digits, rows without their names, each histogram once.
// Kept: the latest snapshot, the recent and the slow turns, all lines, and of the marks those that the windows on offer
// begin at. Not kept: other marks, so that a thawed page shows the same windows but grows no new ones.
import { loopColumns, LoopTrack, ProcessTrack, Store } from './store';
import type { LoopCut, WatcherCut } from './cuts';
import { Heat } from './heat';
import type { Histogram } from './histogram';
import type { Mark } from './marks';
import { Levels, type PackedLevels } from './levels';
import type { Process, Snapshot } from './model';
import { windows } from './selection';
import { Series } from './series';
import { TurnLog, type SeenTurn, type SlowRule } from './turns';

export const frozenSchema = 'loopscope.page/1';

/** Windows whose beginnings are kept: those to choose from, those of the overview, and what "now" is. */
const keptWindows = [2, 10, 100, 1000, ...windows.map(({ seconds }) => seconds)];

export interface Frozen {
  schema: typeof frozenSchema;
  /** Seconds since the epoch, the server's clock: what ages are counted from. */
  time: number;
  server: Snapshot['server'];
  folded: Snapshot['processes_folded'];
  unreadable: Store['unreadable'];
  watched: string | null;
  snapshots: number;
  bounds: number[];
  /** [sum, max, bound, count, bound, count, ...]: bounds are indices. */
  histograms: (number | null)[][];
  processes: FrozenProcess[];
}

/** What a saved page holds in <script type="application/json" id="loopscope-data">. */
export interface SavedPage {
  page: Frozen;
  /** What was looked at: the address' hash. */
  hash: string;
  /** What else was fetched for it, by name. */
  extra: Record<string, unknown>;
}

/** As the text of that element: no "<" in it, so that no name in the data can end it. */
export const savedText = (saved: SavedPage): string => JSON.stringify(saved).replaceAll('<', '\\u003c');

interface FrozenProcess {
  latest: Process;
  time: number;
  endedAt: number | null;
  fds: FrozenSeries;
  levels: PackedLevels;
  marks: { time: number; cuts: [id: string, cut: FrozenCut][] }[];
  loops: FrozenLoop[];
}

interface FrozenLoop {
  id: string;
  cut: FrozenCut;
  openCounted: boolean | null;
  series: FrozenSeries;
  recent: Rows;
  notable: Rows;
  lost: number;
  lostTotal: number;
  slowSeen: number;
  rule: SlowRule;
  heat: { busy: number[]; lag: number[] };
}

/** A cut whose histograms are indices into the common table. */
type FrozenCut = Omit<LoopCut, HistogramName | 'watchers'> & {
  h: (number | null)[];
  w: [key: string, invocations: number, callback: number, lag: number | null][];
};
type HistogramName = (typeof histogramNames)[number];
const histogramNames = ['pollWait', 'busyTurn', 'pollDelay', 'timerLag', 'readyPerPoll'] as const;

/** Objects of like members as rows: names once per kind of object, because some members are there at times only. */
interface Rows {
  names: string[][];
  rows: unknown[][];
}

interface FrozenSeries {
  from: number;
  /** Milliseconds since `from`, each counted from the one before. */
  steps: number[];
  columns: (number | null)[][];
}

/** `wanted` leaves processes out: the one on screen may be all that is to be carried. */
export function freeze(store: Store, wanted: (process: ProcessTrack) => boolean = () => true): Frozen {
  const table = new HistogramTable();
  const processes = [...store.processes.values()].filter(wanted).map((track) => freezeProcess(track, table));
  return {
    schema: frozenSchema,
    time: store.time ?? 0,
    server: store.server,
    folded: store.folded,
    unreadable: store.unreadable,
    watched: store.watched,
    snapshots: store.snapshots,
    bounds: table.bounds,
    histograms: table.rows,
    processes,
  };
}

/** Throws on anything but what freeze() made: the file may come from another version of the page. */
export function thaw(value: unknown): Store {
  const frozen = value as Frozen;
  if (frozen?.schema !== frozenSchema) throw new Error(`not ${frozenSchema}: ${String(frozen?.schema)}`);
  const store = new Store();
  store.time = frozen.time;
  store.server = frozen.server;
  store.folded = frozen.folded;
  store.unreadable = frozen.unreadable ?? [];
  store.watched = frozen.watched;
  store.snapshots = frozen.snapshots;
  const histograms = frozen.histograms.map((row) => thawHistogram(row, frozen.bounds));
  for (const process of frozen.processes) store.processes.set(process.latest.id, thawProcess(process, histograms));
  return store;
}

function freezeProcess(track: ProcessTrack, table: HistogramTable): FrozenProcess {
  const bases = new Set(keptWindows.map((seconds) => track.base(seconds)?.mark ?? null));
  // load() asks whether there is more than one mark: the last one stays, too.
  bases.add(track.marks[track.marks.length - 1] ?? null);
  return {
    latest: { ...track.latest, loops: [...track.loops.values()].map((loop) => loop.latest) },
    time: track.time,
    endedAt: track.endedAt,
    fds: freezeSeries(track.fdSeries, ['open']),
    levels: track.levels.pack(),
    marks: track.marks
      .filter((mark) => bases.has(mark))
      .map((mark) => ({ time: mark.time, cuts: [...mark.cuts].map(([id, cut]) => [id, freezeCut(cut, table)]) })),
    loops: [...track.loops].map(([id, loop]) => ({
      id,
      cut: freezeCut(loop.cut, table),
      openCounted: loop.openCounted,
      series: freezeSeries(loop.series, loopColumns),
      recent: packRows(loop.turns.recent),
      notable: packRows(loop.turns.notable),
      lost: loop.turns.lost,
      lostTotal: loop.turns.lostTotal,
      slowSeen: loop.turns.slowSeen,
      rule: loop.turns.rule,
      heat: { busy: loop.heat.busy.pack(), lag: loop.heat.lag.pack() },
    })),
  };
}

function thawProcess(frozen: FrozenProcess, histograms: readonly Histogram[]): ProcessTrack {
  const track = new ProcessTrack(frozen.latest);
  track.time = frozen.time;
  track.endedAt = frozen.endedAt;
  track.fdSeries = thawSeries(frozen.fds, ['open'] as const);
  track.levels = Levels.unpack(frozen.levels);
  track.marks = frozen.marks.map(
    ({ time, cuts }): Mark<LoopCut> => ({ time, cuts: new Map(cuts.map(([id, cut]) => [id, thawCut(cut, histograms)])) }),
  );
  const latest = new Map(frozen.latest.loops.map((loop) => [String(loop.id), loop]));
  for (const { id, cut, openCounted, series, recent, notable, lost, lostTotal, slowSeen, rule, heat } of frozen.loops) {
    const loop = latest.get(id);
    if (!loop) continue;
    const turns = Object.assign(new TurnLog(), { lost, lostTotal, slowSeen, rule });
    turns.recent = unpackRows(recent) as SeenTurn[];
    turns.notable = unpackRows(notable) as SeenTurn[];
    const mine = new LoopTrack(loop, thawCut(cut, histograms), turns);
    mine.openCounted = openCounted;
    mine.heat = { busy: Heat.unpack(heat.busy), lag: Heat.unpack(heat.lag) };
    mine.series = thawSeries(series, loopColumns);
    track.loops.set(id, mine);
  }
  return track;
}

class HistogramTable {
  readonly bounds: number[] = [];
  readonly rows: (number | null)[][] = [];
  private readonly boundIndex = new Map<number, number>();
  private readonly known = new Map<Histogram, number>();

  index(h: Histogram): number {
    let at = this.known.get(h);
    if (at === undefined) {
      at = this.rows.length;
      this.known.set(h, at);
      const row: (number | null)[] = [h.sum, h.max];
      for (let i = 0; i < h.bounds.length; i++) row.push(this.bound(h.bounds[i]!), h.counts[i]!);
      this.rows.push(row);
    }
    return at;
  }

  private bound(value: number): number {
    let at = this.boundIndex.get(value);
    if (at === undefined) {
      at = this.bounds.length;
      this.boundIndex.set(value, at);
      this.bounds.push(value);
    }
    return at;
  }
}

function thawHistogram(row: readonly (number | null)[], table: readonly number[]): Histogram {
  const size = (row.length - 2) / 2;
  const bounds = new Array<number>(size);
  const counts = new Array<number>(size);
  let count = 0;
  for (let i = 0; i < size; i++) {
    bounds[i] = table[row[2 + 2 * i]!]!;
    counts[i] = row[3 + 2 * i]!;
    count += counts[i]!;
  }
  return { count, sum: row[0]!, max: row[1]!, bounds, counts };
}

function freezeCut(cut: LoopCut, table: HistogramTable): FrozenCut {
  const { watchers, pollWait, busyTurn, pollDelay, timerLag, readyPerPoll, ...rest } = cut;
  const index = (h: Histogram | null) => h && table.index(h);
  return {
    ...rest,
    h: [pollWait, busyTurn, pollDelay, timerLag, readyPerPoll].map(index),
    w: [...watchers].map(([key, w]) => [key, w.invocations, table.index(w.callback), index(w.lag)]),
  };
}

function thawCut(frozen: FrozenCut, histograms: readonly Histogram[]): LoopCut {
  const { h, w, ...rest } = frozen;
  const at = (index: number | null | undefined) => (index === null || index === undefined ? null : histograms[index]!);
  const named = Object.fromEntries(histogramNames.map((name, i) => [name, at(h[i])])) as Record<HistogramName, Histogram | null>;
  const watchers = new Map(
    w.map(([key, invocations, callback, lag]): [string, WatcherCut] => [key, { invocations, callback: at(callback)!, lag: at(lag) }]),
  );
  return { ...rest, ...named, watchers };
}

const fourDigits = (value: number | null) => (value === null ? null : Number(value.toPrecision(4)));

export function freezeSeries<Name extends string>(series: Series<Name>, names: readonly Name[]): FrozenSeries {
  const from = series.time[0] ?? 0;
  let last = 0;
  const steps = series.time.map((time) => {
    const at = Math.round((time - from) * 1000);
    const step = at - last;
    last = at;
    return step;
  });
  return { from, steps, columns: names.map((name) => series.columns[name].map(fourDigits)) };
}

export function thawSeries<Name extends string>(frozen: FrozenSeries, names: readonly Name[]): Series<Name> {
  const series = new Series(names);
  let at = 0;
  for (const step of frozen.steps) series.time.push(frozen.from + (at += step) / 1000);
  names.forEach((name, i) => {
    const column = frozen.columns[i];
    for (let k = 0; k < series.time.length; k++) series.columns[name].push(column?.[k] ?? null); // a column that is new since
  });
  return series;
}

export function packRows(objects: readonly object[]): Rows {
  const kinds = new Map<string, number>();
  const out: Rows = { names: [], rows: [] };
  for (const object of objects) {
    const entries = Object.entries(object).filter(([, value]) => value !== undefined);
    const names = entries.map(([name]) => name);
    const key = names.join('\u0000');
    let kind = kinds.get(key);
    if (kind === undefined) {
      kind = out.names.length;
      kinds.set(key, kind);
      out.names.push(names);
    }
    out.rows.push([kind, ...entries.map(([, value]) => value)]);
  }
  return out;
}

export function unpackRows({ names, rows }: Rows): object[] {
  return rows.map(([kind, ...values]) => Object.fromEntries(names[kind as number]!.map((name, i) => [name, values[i]])));
}
