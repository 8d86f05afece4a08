// Everything the page knows: one track per process, one per loop, fed by snapshots. No DOM in here.
import { added, continues, countsOpenPhase, cutOf, ratesOf, windowOf, type LoopCut, type LoopWindow, type Rates } from './cuts';
import { Heat } from './heat';
import { quantile } from './histogram';
import { Levels } from './levels';
import { baseFor, thin, type Base, type Mark } from './marks';
import { instant, schema, type Loop, type Process, type Snapshot } from './model';
import { enoughTurns, type Load } from './selection';
import { Series } from './series';
import { intervalOf, slowRule, TurnLog } from './turns';

export const loopColumns = [
  'utilization',
  'turns',
  'busy50',
  'busy99',
  'busyMax',
  'wait50',
  'wait99',
  'delay99',
  'lag99',
  'ready',
  'readyMax',
] as const;
export type LoopColumn = (typeof loopColumns)[number];

/** Events come every 0.4 s; beyond this the time between two is a hole, not an interval. */
export const gapSeconds = 2;
/** What "usual" means to the rule for slow turns. */
const referenceSeconds = 120;
/** Histories are kept for this many processes; a host with hundreds of recordings must not fill the tab. */
const keepProcesses = 64;
/** Of one that ended, the library's recording does not know what was open: what was seen last is nearer to it than nothing. */
const withDescriptors = (process: Process, before: Process): Process =>
  process.state !== 'running' && process.fds?.open === null && before.fds ? { ...process, fds: before.fds } : process;
/** What "now" means: long enough to be calm, short enough to be now. */
export const nowSeconds = 2;

export class LoopTrack {
  series = new Series(loopColumns);
  heat = { busy: new Heat(), lag: new Heat() };
  openCounted: boolean | null = null;
  constructor(
    public latest: Loop,
    public cut: LoopCut,
    readonly turns = new TurnLog(),
  ) {}
}

export class ProcessTrack {
  readonly loops = new Map<string, LoopTrack>();
  fdSeries = new Series(['open'] as const);
  levels = new Levels();
  marks: Mark<LoopCut>[] = [];
  /** When its counters were taken last while it ran: a dead process' windows end there, not now. */
  time = 0;
  /** When it ended; null: it runs, or nobody knows. */
  endedAt: number | null = null;
  readonly startedAt: number;

  constructor(public latest: Process) {
    this.startedAt = instant(latest.started_at);
  }

  /**
   * Its clock stopped at start + uptime, as far as the source knows: not when we heard of it, or the rates of its last
   * seconds would be too low. Never before what was seen of it alive. null: it ended at some time unknown.
   */
  endOf(process: Process, now: number): number | null {
    if (process.uptime_seconds === null) return null;
    const end = Math.min(now, this.startedAt + process.uptime_seconds);
    return this.time === 0 ? end : Math.max(end, this.time + 1e-3);
  }

  base(seconds: number): Base<LoopCut> | undefined {
    return baseFor(this.marks, this.time, seconds, this.startedAt);
  }

  window(loop: LoopTrack, base: Base<LoopCut>): LoopWindow {
    const from = base.mark?.cuts.get(String(loop.latest.id)) ?? null; // a loop made since then began at zero
    return windowOf(loop.cut, from, base.seconds, loop.openCounted);
  }

  /** The same without the histograms. */
  rates(loop: LoopTrack, base: Base<LoopCut>): Rates {
    return ratesOf(loop.cut, base.mark?.cuts.get(String(loop.latest.id)) ?? null, base.seconds, loop.openCounted);
  }

  get running(): boolean {
    return this.latest.state === 'running';
  }

  /** How busy its busiest loop is: now, or over its whole life as long as there is one snapshot only. null: none has turned. */
  get load(): Load | null {
    const base = this.base(nowSeconds);
    let load: Load | null = null;
    for (const loop of this.loops.values()) {
      const { iterations, state } = loop.latest;
      if (iterations === 0 || (this.running && state === 'ended')) continue;
      const now = base && this.marks.length > 1 ? this.rates(loop, base).utilization : null;
      const mine = { utilization: now ?? loop.latest.utilization ?? 0, sure: now !== null && iterations >= enoughTurns };
      if (!load || Number(mine.sure) - Number(load.sure) > 0 || (mine.sure === load.sure && mine.utilization > load.utilization)) load = mine;
    }
    return load;
  }

  forget(): void {
    this.marks = [];
    this.fdSeries = new Series(['open'] as const);
    this.levels = new Levels();
    for (const loop of this.loops.values()) {
      loop.series = new Series(loopColumns);
      loop.heat = { busy: new Heat(), lag: new Heat() };
    }
  }
}

export class Store {
  readonly processes = new Map<string, ProcessTrack>();
  /** Who has a history: lines, and marks for windows. */
  private readonly histories = new Set<string>();
  /** On screen: has one, however many others there are. */
  watched: string | null = null;
  server: Snapshot['server'] = null;
  folded: Snapshot['processes_folded'] = null;
  unreadable: NonNullable<Snapshot['unreadable']> = [];
  /** The server's clock at the last snapshot. */
  time: number | null = null;
  foreignSchema: string | null = null;
  snapshots = 0;

  ingest(snapshot: Snapshot, firstOfConnection: boolean): void {
    this.foreignSchema = snapshot.schema === schema ? null : String(snapshot.schema);
    if (this.foreignSchema !== null) return;
    const time = instant(snapshot.taken_at);
    this.server = snapshot.server;
    this.folded = snapshot.processes_folded ?? null;
    this.unreadable = snapshot.unreadable ?? [];
    // The server's clock was set back: times would run into each other, so begin anew.
    if (this.time !== null && time < this.time - 0.5) this.processes.clear();
    this.time = time;
    this.snapshots++;
    this.grantHistories(snapshot.processes);
    const seen = new Set<string>();
    for (const process of snapshot.processes) {
      if (!seen.has(process.id) && seen.size < keepProcesses * 8) this.process(process, time, firstOfConnection);
      seen.add(process.id);
    }
    for (const id of this.processes.keys()) if (!seen.has(id)) this.processes.delete(id);
  }

  /** To the one on screen, to those that run and have loops, to those that run, to the rest: as far as there is room. */
  private grantHistories(processes: readonly Process[]): void {
    const rank = (process: Process) =>
      process.id === this.watched ? 3 : process.state !== 'running' ? 0 : process.loops.length > 0 ? 2 : 1;
    const ranks = new Map(processes.map((process) => [process.id, rank(process)]));
    for (const id of this.histories) if (!ranks.has(id)) this.histories.delete(id);
    const asking = processes.filter((process) => !this.histories.has(process.id)).sort((a, b) => rank(b) - rank(a));
    const losing = [...this.histories].sort((a, b) => ranks.get(a)! - ranks.get(b)!);
    for (const process of asking) {
      if (this.histories.size >= keepProcesses) {
        // Lines that exist are worth more than lines to come: an equal has no claim to them.
        const loser = losing[0];
        if (loser === undefined || ranks.get(loser)! >= rank(process)) return;
        losing.shift();
        this.histories.delete(loser);
        this.processes.get(loser)?.forget();
      }
      this.histories.add(process.id);
    }
  }

  private process(said: Process, time: number, firstOfConnection: boolean): void {
    let track = this.processes.get(said.id);
    const process = track ? withDescriptors(said, track.latest) : said;
    if (!track) {
      track = new ProcessTrack(process);
      this.processes.set(process.id, track);
      if (process.state !== 'running') track.endedAt = track.endOf(process, time);
    } else if (track.running && process.state !== 'running') {
      track.endedAt = track.endOf(process, time) ?? time;
    } else if (process.state !== 'running') {
      track.latest = process; // it has ended before: its windows and lines stand still
      return;
    }
    const before = track.time;
    track.latest = process;
    track.time = process.state !== 'running' && track.endedAt !== null ? track.endedAt : time;
    const seconds = before === 0 ? 0 : track.time - before;
    if (before !== 0 && seconds <= 0) return; // the same instant twice
    const gap = seconds > gapSeconds;

    const history = this.histories.has(process.id);
    // Killed some time since the last look: a rate over all of it would draw a dip that was not there.
    const interval = process.state !== 'running' && process.uptime_seconds === null ? 0 : seconds;
    const cuts = new Map<string, LoopCut>();
    for (const loop of process.loops) {
      cuts.set(String(loop.id), this.loop(track, loop, interval, gap, firstOfConnection, history));
    }
    for (const id of track.loops.keys()) if (!cuts.has(id)) track.loops.delete(id);
    if (history) {
      track.marks.push({ time: track.time, cuts });
      track.marks = thin(track.marks, track.time);
      if (gap) track.fdSeries.gap(track.time - gapSeconds / 2);
      track.fdSeries.push(track.time, { open: process.fds?.open ?? null });
      track.levels.add(track.time, process.fds);
    }
  }

  private loop(
    track: ProcessTrack,
    loop: Loop,
    seconds: number,
    gap: boolean,
    firstOfConnection: boolean,
    history: boolean,
  ): LoopCut {
    const id = String(loop.id);
    let mine = track.loops.get(id);
    let before = mine?.cut;
    let cut = cutOf(loop, before);
    // Of one that was killed, nobody can tell how long its last phase was; what was seen of it remains true.
    if (before && !track.running) cut = { ...cut, busy: Math.max(cut.busy, before.busy), idle: Math.max(cut.idle, before.idle) };
    if (mine && before && !continues(cut, before)) {
      mine = before = undefined; // the same id, another life
      track.marks = [];
    }
    if (!mine) {
      mine = new LoopTrack(loop, cut);
      track.loops.set(id, mine);
    }
    mine.latest = loop;
    mine.cut = cut;
    if (before && seconds > 0 && mine.openCounted === null) mine.openCounted = countsOpenPhase(cut, before, seconds);

    // The reference is what came before these turns: a slow turn must not excuse itself.
    const base = history ? track.base(referenceSeconds) : undefined;
    const usual = base && before ? windowOf(before, base.mark?.cuts.get(id) ?? null, base.seconds, null) : null;
    const { series } = mine;
    const recently = track.time - referenceSeconds;
    const intervals = series.time.length > 0 ? { p50: series.last('busy50', recently), p99: series.last('busy99', recently) } : intervalOf(loop.recent);
    const rule = slowRule(loop.stall_threshold_seconds, usual?.busyTurn?.count ? usual : windowOf(cut, null, 0, null), intervals);
    mine.turns.add(loop.recent, loop.recent_lost ?? 0, firstOfConnection, rule);
    // The page has the turns now; the snapshot need not hold them a second time.
    mine.latest = { ...loop, recent: [] };

    if (history && before && !gap) {
      mine.heat.busy.add(track.time - seconds, track.time, added(cut.busyTurn, before.busyTurn));
      mine.heat.lag.add(track.time - seconds, track.time, added(cut.timerLag, before.timerLag));
    }
    // Below a tenth of a second (a process' last instant) a rate would be mostly rounding.
    if (!history || !before || seconds < 0.1) return cut;
    if (gap) {
      // Average over the hole would be true, but drawn as one point it would look like a measurement of that instant.
      mine.series.gap(track.time - gapSeconds / 2);
      return cut;
    }
    const step = windowOf(cut, before, seconds, mine.openCounted);
    mine.series.push(track.time, {
      utilization: step.utilization,
      turns: step.turnsPerSecond,
      busy50: quantile(step.busyTurn, 0.5),
      busy99: quantile(step.busyTurn, 0.99),
      busyMax: step.busyTurn?.max ?? null,
      wait50: quantile(step.pollWait, 0.5),
      wait99: quantile(step.pollWait, 0.99),
      delay99: quantile(step.pollDelay, 0.99),
      lag99: quantile(step.timerLag, 0.99),
      ready: step.readyPerTurn,
      readyMax: step.readyPerPoll?.max ?? null,
    });
    return cut;
  }
}
