// Everything the page knows: one track per process, one per loop, fed by snapshots. No DOM in here.
import { continues, countsOpenPhase, cutOf, windowOf, type LoopCut, type LoopWindow } from './cuts';
import { quantile } from './histogram';
import { baseFor, thin, type Base, type Mark } from './marks';
import { instant, schema, type Loop, type Process, type Snapshot } from './model';
import { Series } from './series';
import { slowRule, TurnLog } from './turns';

export const loopColumns = [
  'utilization',
  'turns',
  'busy50',
  'busy99',
  'busyMax',
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

export class LoopTrack {
  readonly series = new Series(loopColumns);
  readonly turns = new TurnLog();
  openCounted: boolean | null = null;
  constructor(
    public latest: Loop,
    public cut: LoopCut,
  ) {}
}

export class ProcessTrack {
  readonly loops = new Map<string, LoopTrack>();
  readonly fdSeries = new Series(['open'] as const);
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

  get running(): boolean {
    return this.latest.state === 'running';
  }
}

export class Store {
  readonly processes = new Map<string, ProcessTrack>();
  server: Snapshot['server'] = null;
  /** The server's clock at the last snapshot. */
  time: number | null = null;
  foreignSchema: string | null = null;
  snapshots = 0;

  ingest(snapshot: Snapshot, firstOfConnection: boolean): void {
    this.foreignSchema = snapshot.schema === schema ? null : String(snapshot.schema);
    if (this.foreignSchema !== null) return;
    const time = instant(snapshot.taken_at);
    this.server = snapshot.server;
    // The server's clock was set back: times would run into each other, so begin anew.
    if (this.time !== null && time < this.time - 0.5) this.processes.clear();
    this.time = time;
    this.snapshots++;
    const seen = new Set<string>();
    for (const process of snapshot.processes) {
      if (!seen.has(process.id) && seen.size < keepProcesses * 8) this.process(process, time, firstOfConnection);
      seen.add(process.id);
    }
    for (const id of this.processes.keys()) if (!seen.has(id)) this.processes.delete(id);
  }

  private process(process: Process, time: number, firstOfConnection: boolean): void {
    let track = this.processes.get(process.id);
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

    const history = this.processes.size <= keepProcesses;
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
    const rule = slowRule(loop.stall_threshold_seconds, usual?.busyTurn?.count ? usual : windowOf(cut, null, 0, null));
    mine.turns.add(loop.recent, loop.recent_lost ?? 0, firstOfConnection, rule);
    // The page has the turns now; the snapshot need not hold them a second time.
    mine.latest = { ...loop, recent: [] };

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
      wait99: quantile(step.pollWait, 0.99),
      delay99: quantile(step.pollDelay, 0.99),
      lag99: quantile(step.timerLag, 0.99),
      ready: step.readyPerTurn,
      readyMax: step.readyPerPoll?.max ?? null,
    });
    return cut;
  }
}
