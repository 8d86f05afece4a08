// The most recent turns of one loop, and the slow ones among those this page has seen.
import type { Turn } from './model';
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
}

/** Slow: busy beyond the loop's stall threshold, or far beyond what this loop usually needs. */
export function slowRule(stallThreshold: number | null, reference: LoopWindow | null): SlowRule {
  const usual = reference?.busyTurn ?? null;
  const p99 = usual && usual.count >= enoughTurns ? quantile(usual, 0.99) : null;
  return { stall: stallThreshold, outlier: p99 === null ? null : Math.max(outlierFloorSeconds, outlierFactor * p99) };
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
  private notable: SeenTurn[] = [];

  /**
   * A connection begins with a whole snapshot: what is known of it already is skipped by its number, and what happened
   * while nobody listened is no loss of the ring.
   */
  add(turns: readonly Turn[], lost: number, firstOfConnection: boolean, rule: SlowRule): void {
    const newest = this.recent[this.recent.length - 1]?.turn ?? -1;
    const fresh = turns.filter((turn) => turn.turn > newest).map((turn) => ({ ...turn, slow: isSlow(turn.busy, rule) }));
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

const byBusy = (a: Turn, b: Turn) => b.busy - a.busy;
const byTime = (a: Turn, b: Turn) => b.at - a.at;
