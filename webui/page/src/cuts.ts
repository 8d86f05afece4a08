// A cut is what a loop's counters and histograms were at one instant, compact. A window is the difference of two cuts.
import { empty, fromWire, subtract, type Histogram } from './histogram';
import type { Loop, Phase, Polls } from './model';

export interface WatcherCut {
  readonly invocations: number;
  readonly callback: Histogram;
  readonly lag: Histogram | null;
}

export interface LoopCut {
  readonly iterations: number;
  readonly readyEvents: number | null;
  readonly busy: number;
  readonly idle: number;
  readonly phase: Phase;
  readonly phaseSeconds: number;
  readonly polls: Polls;
  readonly stalls: number | null;
  readonly stalledSeconds: number | null;
  readonly unattributed: number | null;
  readonly pollWait: Histogram | null;
  readonly busyTurn: Histogram | null;
  readonly pollDelay: Histogram | null;
  readonly timerLag: Histogram | null;
  readonly readyPerPoll: Histogram | null;
  readonly watchers: ReadonlyMap<string, WatcherCut>;
}

/** Several watchers may share a name and kind: their row is their sum, so the pair is the key. */
export const watcherKey = (watcher: { name: string; kind: string }) => `${watcher.kind}\u0000${watcher.name}`;

export function cutOf(loop: Loop, before: LoopCut | undefined): LoopCut {
  const watchers = new Map<string, WatcherCut>();
  for (const watcher of loop.watchers) {
    const key = watcherKey(watcher);
    const old = before?.watchers.get(key);
    const callback = fromWire(watcher.callback_seconds, old?.callback) ?? empty;
    const lag = fromWire(watcher.lag_seconds, old?.lag);
    const same = old && old.callback === callback && old.lag === lag && old.invocations === watcher.invocations;
    watchers.set(key, same ? old : { invocations: watcher.invocations, callback, lag });
  }
  return {
    iterations: loop.iterations,
    readyEvents: loop.ready_events,
    busy: loop.busy_seconds,
    idle: loop.idle_seconds,
    phase: loop.phase,
    phaseSeconds: loop.phase_seconds ?? 0,
    polls: loop.polls,
    stalls: loop.stalls,
    stalledSeconds: loop.stalled_seconds,
    unattributed: loop.unattributed_seconds,
    pollWait: fromWire(loop.poll_wait_seconds, before?.pollWait),
    busyTurn: fromWire(loop.busy_turn_seconds, before?.busyTurn),
    pollDelay: fromWire(loop.poll_delay_seconds, before?.pollDelay),
    timerLag: fromWire(loop.timer_lag_seconds, before?.timerLag),
    readyPerPoll: fromWire(loop.ready_events_per_poll, before?.readyPerPoll),
    watchers,
  };
}

/** Did the counters go back? Then the two cuts are not of one life of the loop. */
export const continues = (now: LoopCut, base: LoopCut) =>
  now.iterations >= base.iterations && now.busy >= base.busy - 1e-9 && now.idle >= base.idle - 1e-9;

export interface WatcherWindow {
  calls: number;
  callback: Histogram;
  lag: Histogram | null;
}

export interface LoopWindow {
  seconds: number;
  turns: number;
  turnsPerSecond: number | null;
  readyPerTurn: number | null;
  utilization: number | null;
  busy: number;
  polls: Polls;
  stalls: number | null;
  stalledSeconds: number | null;
  unattributed: number | null;
  pollWait: Histogram | null;
  busyTurn: Histogram | null;
  pollDelay: Histogram | null;
  timerLag: Histogram | null;
  readyPerPoll: Histogram | null;
}

const minus = (now: number | null, base: number | null | undefined) =>
  now === null ? null : Math.max(0, now - (base ?? 0));

/** What a histogram got since `base`; null: not measured. */
export const added = (now: Histogram | null, base: Histogram | null | undefined) => (now ? (subtract(now, base) ?? now) : null);

/**
 * Does the source add the phase in progress to busy_seconds and idle_seconds, or only a turn that is over? An interval
 * that lies within one phase tells: its totals moved by its length, or not at all. null: this interval cannot tell.
 */
export function countsOpenPhase(now: LoopCut, base: LoopCut, seconds: number): boolean | null {
  if (now.phase === 'outside' || now.phase !== base.phase || seconds < 0.1 || now.phaseSeconds < seconds) return null;
  const moved = now.busy - base.busy + now.idle - base.idle;
  return moved > 0.8 * seconds ? true : moved < 0.2 * seconds ? false : null;
}

/** Busy and idle including the phase in progress: without it a hang of 10 s would read as nothing, then as a spike. */
function totals(cut: LoopCut, openCounted: boolean | null): { busy: number; idle: number } {
  const open = openCounted === false ? cut.phaseSeconds : 0;
  return {
    busy: cut.busy + (cut.phase === 'dispatching' ? open : 0),
    idle: cut.idle + (cut.phase === 'polling' ? open : 0),
  };
}

export interface Rates {
  turns: number;
  turnsPerSecond: number | null;
  readyPerTurn: number | null;
  utilization: number | null;
  busy: number;
}

/** What of a window needs no histograms. */
export function ratesOf(now: LoopCut, base: LoopCut | null, seconds: number, openCounted: boolean | null): Rates {
  const turns = now.iterations - (base?.iterations ?? 0);
  const ready = minus(now.readyEvents, base?.readyEvents);
  const end = totals(now, openCounted);
  const begin = base ? totals(base, openCounted) : { busy: 0, idle: 0 };
  const busy = Math.max(0, end.busy - begin.busy);
  const idle = Math.max(0, end.idle - begin.idle);
  return {
    turns,
    turnsPerSecond: seconds > 0 ? turns / seconds : null,
    readyPerTurn: ready === null || turns === 0 ? null : ready / turns,
    utilization: busy + idle > 0 ? busy / (busy + idle) : null,
    busy,
  };
}

/** `base` null: since the start of the loop. */
export function windowOf(now: LoopCut, base: LoopCut | null, seconds: number, openCounted: boolean | null): LoopWindow {
  const polls = {} as Polls;
  for (const name of Object.keys(now.polls) as (keyof Polls)[]) polls[name] = minus(now.polls[name], base?.polls[name]);
  return {
    seconds,
    ...ratesOf(now, base, seconds, openCounted),
    polls,
    stalls: minus(now.stalls, base?.stalls),
    stalledSeconds: minus(now.stalledSeconds, base?.stalledSeconds),
    unattributed: minus(now.unattributed, base?.unattributed),
    pollWait: added(now.pollWait, base?.pollWait),
    busyTurn: added(now.busyTurn, base?.busyTurn),
    pollDelay: added(now.pollDelay, base?.pollDelay),
    timerLag: added(now.timerLag, base?.timerLag),
    readyPerPoll: added(now.readyPerPoll, base?.readyPerPoll),
  };
}

export function watcherWindow(now: WatcherCut, base: WatcherCut | undefined): WatcherWindow {
  return {
    calls: Math.max(0, now.invocations - (base?.invocations ?? 0)),
    callback: added(now.callback, base?.callback) ?? empty,
    lag: added(now.lag, base?.lag),
  };
}
