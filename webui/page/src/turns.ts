// The most recent turns of one loop, and the slow ones among those this page has seen.
import type { Served, Turn } from './model';
import type { LoopWindow } from './cuts';
import { quantile } from './histogram';

export interface SeenTurn extends Turn {
  /** Slow by the rule at the time it was seen. The rule looks at the loop's distribution, which moves on. */
  readonly slow: boolean;
}

/** More than a wide screen can show at 5 px each. */
const keepRecent = 1000;
const keepNotable = 200;
const notableSeconds = 15 * 60;
/** With fewer turns a p99 is only the maximum by another name. */
const enoughTurns = 200;
const outlierFactor = 10;
/** Below this nobody waits, however unusual it is. */
const outlierFloorSeconds = 1e-3;

export interface SlowRule {
  readonly stall: number | null;
  readonly outlier: number | null;
  /** What is usual for this loop, as the rule saw it; null while there are too few turns to tell. */
  readonly usual?: { p50: number; p99: number } | null;
}

/** What an interval between two events had: its own quantiles. */
export interface Intervals {
  readonly p50: readonly (number | null)[];
  readonly p99: readonly (number | null)[];
}

/**
 * Slow: busy beyond the loop's stall threshold, or far beyond what this loop usually needs. What is usual is said by all
 * turns of the reference together, and by the intervals of it, each with one vote; the longer of both counts. A loop that
 * spun through a million empty turns for a second has not become a loop for which a millisecond is long.
 */
export function slowRule(stallThreshold: number | null, reference: LoopWindow | null, intervals: Intervals = { p50: [], p99: [] }): SlowRule {
  const turns = reference?.busyTurn ?? null;
  const known = turns && turns.count >= enoughTurns;
  const usually = (q: number, each: readonly (number | null)[]) => Math.max(quantile(turns, q) ?? 0, middle(each) ?? 0);
  const usual = known ? { p50: usually(0.5, intervals.p50), p99: usually(0.99, intervals.p99) } : null;
  return { stall: stallThreshold, outlier: usual && Math.max(outlierFloorSeconds, outlierFactor * usual.p99), usual };
}

/** Before there are intervals, the turns that came with the first snapshot are one: if they are enough to tell. */
export function intervalOf(turns: readonly Turn[]): Intervals {
  if (turns.length < enoughTurns) return { p50: [], p99: [] };
  const busy = Float64Array.from(turns, (turn) => turn.busy).sort();
  const at = (q: number) => busy[Math.ceil(q * busy.length) - 1]!;
  return { p50: [at(0.5)], p99: [at(0.99)] };
}

function middle(values: readonly (number | null)[]): number | null {
  const known = Float64Array.from(values.filter((value) => value !== null)).sort();
  return known.length === 0 ? null : known[known.length >> 1]!;
}

export const isSlow = (busy: number, rule: SlowRule) =>
  (rule.stall !== null && busy > rule.stall) || (rule.outlier !== null && busy > rule.outlier);

export class TurnLog {
  recent: SeenTurn[] = [];
  /** Turns the server could not show between the last two events. */
  lost = 0;
  /** Since the page was opened. */
  lostTotal = 0;
  slowSeen = 0;
  /** The rule that the latest turns were judged by. */
  rule: SlowRule = { stall: null, outlier: null };
  /** The ones to remember: slowest() sorts them. */
  notable: SeenTurn[] = [];

  /**
   * A connection begins with a whole snapshot: what is known of it already is skipped by its number, and what happened
   * while nobody listened is no loss of the ring.
   */
  add(turns: readonly Turn[], lost: number, firstOfConnection: boolean, rule: SlowRule): void {
    this.rule = rule;
    const newest = this.recent[this.recent.length - 1]?.turn ?? -1;
    const fresh: SeenTurn[] = [];
    for (const turn of turns) {
      // The snapshot's own objects: nobody else keeps them, and thousands of copies a second are felt.
      if (turn.turn > newest) fresh.push(Object.assign(turn, { slow: isSlow(turn.busy, rule) }));
    }
    this.lost = firstOfConnection ? 0 : lost;
    this.lostTotal += this.lost;
    if (fresh.length === 0) return;
    // A new array each time: a paused page keeps the old one.
    this.recent = this.recent.concat(fresh).slice(-keepRecent);
    const slow = fresh.filter((turn) => turn.slow);
    this.slowSeen += slow.length;
    const rest = fresh.filter((turn) => !turn.slow).sort(byBusy).slice(0, 8);
    this.notable.push(...slow, ...rest);
    this.prune(fresh[fresh.length - 1]!.at);
  }

  private prune(now: number): void {
    this.notable = this.notable.filter((turn) => now - turn.at <= notableSeconds);
    if (this.notable.length <= keepNotable) return;
    // Half of the room for the worst, half for the latest slow ones, so that neither list loses its head.
    const worst = this.notable.slice().sort(byBusy).slice(0, keepNotable / 2);
    const latest = this.notable
      .filter((turn) => turn.slow)
      .sort(byTime)
      .slice(0, keepNotable / 2);
    this.notable = [...new Set([...worst, ...latest])];
  }

  /** The slow ones first, then the slowest of the ordinary ones. */
  slowest(limit: number, order: 'busy' | 'time'): SeenTurn[] {
    const sorted = this.notable.slice().sort((a, b) => Number(b.slow) - Number(a.slow) || byBusy(a, b));
    if (order === 'busy') return sorted.slice(0, limit);
    const slow = sorted.filter((turn) => turn.slow);
    return (slow.length > 0 ? slow : sorted.slice(0, limit)).sort(byTime).slice(0, limit);
  }
}

/** Those of several lists, each once, in their order. Turn numbers rise with time. */
export function merged(...lists: (readonly SeenTurn[])[]): SeenTurn[] {
  const all = new Map<number, SeenTurn>();
  for (const list of lists) for (const turn of list) all.set(turn.turn, turn);
  return [...all.values()].sort((a, b) => a.turn - b.turn);
}

/** The slow turn before (-1) or after (+1) the one of this number; null: none is known. */
export function slowBeside(turns: readonly SeenTurn[], number: number, direction: -1 | 1): SeenTurn | null {
  let best: SeenTurn | null = null;
  for (const turn of turns) {
    if (!turn.slow || (turn.turn - number) * direction <= 0) continue;
    if (!best || (best.turn - turn.turn) * direction > 0) best = turn;
  }
  return best;
}

/** When a turn began to wait and when it was over: `at` is the wait's return. */
export const beganAt = (turn: Turn) => turn.at - turn.poll_wait;
export const endedAt = (turn: Turn) => turn.at + turn.busy;

/** A descriptor without a watcher is called by its kind and number. */
export const servedName = ({ watcher, kind, fd }: Served): string =>
  watcher ?? (fd === null ? (kind ?? 'unnamed') : `${kind ?? 'descriptor'} fd ${fd}`);

export interface Cause {
  name: string;
  seconds: number;
}

/** A cause must have taken this share of a turn's busy time to give the turn its colour. */
const causeShare = 0.25;

/**
 * What took most of a turn. null: nothing that has a name took a quarter of it, or what is without name took more: the
 * loop's own work, or many that took a little each.
 */
export function causeOf(turn: Turn): Cause | null {
  let best: Cause | null = turn.watcher === null ? null : { name: turn.watcher, seconds: turn.watcher_seconds ?? 0 };
  let rest = 0;
  if (turn.served) {
    const sums = new Map<string, number>();
    for (const part of turn.served) sums.set(servedName(part), (sums.get(servedName(part)) ?? 0) + part.seconds);
    rest = turn.busy;
    for (const [name, seconds] of sums) {
      rest -= seconds;
      if (!best || seconds > best.seconds) best = { name, seconds };
    }
  }
  return best && best.seconds >= causeShare * turn.busy && best.seconds >= rest ? best : null;
}

const byBusy = (a: Turn, b: Turn) => b.busy - a.busy;
const byTime = (a: Turn, b: Turn) => b.at - a.at;
