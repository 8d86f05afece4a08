// Which stretch of time the charts show: live (a span that ends now) or held (from, to), and how a held one moves
// within what the page has kept. Pure: components keep the state.
import { lowerBound } from './series';

export interface Stretch {
  readonly from: number;
  readonly to: number;
}

/** Closer than this there is less than one event a chart. */
export const closest = 2;

/** As wide as asked for where there is room, and within what is known. */
export function within(wanted: Stretch, known: Stretch): Stretch {
  const most = Math.max(closest, known.to - known.from);
  const span = Math.min(most, Math.max(closest, wanted.to - wanted.from));
  // A stretch that had to grow or shrink keeps its middle.
  const from = (wanted.from + wanted.to) / 2 - span / 2;
  const begin = Math.max(Math.min(from, known.to - span), Math.min(known.from, known.to - span));
  return { from: begin, to: begin + span };
}

/** Two instants in either order. */
export const between = (a: number, b: number, known: Stretch) => within({ from: Math.min(a, b), to: Math.max(a, b) }, known);

export function pan(stretch: Stretch, seconds: number, known: Stretch): Stretch {
  return within({ from: stretch.from + seconds, to: stretch.to + seconds }, known);
}

/** `factor` over 1: wider. The instant `about` stays where it is on the screen, as far as there is room. */
export function scale(stretch: Stretch, factor: number, about: number, known: Stretch): Stretch {
  const span = Math.max(closest, (stretch.to - stretch.from) * factor);
  const share = Math.min(1, Math.max(0, (about - stretch.from) / (stretch.to - stretch.from)));
  const from = about - span * share;
  return within({ from, to: from + span }, known);
}

/** The lines show the window, and no less than 2 min: a line of 5 s tells nothing. */
export const liveSpan = (window: number) => (window <= 120 ? 120 : window === Infinity ? 900 : window);

/** A page just opened stretches the little it has, in steps, instead of showing an empty plain. */
export function live(window: number, time: readonly number[], now: number): Stretch {
  const known = time.length > 0 ? now - time[0]! : 0;
  return { from: now - Math.min(liveSpan(window), 30 * Math.max(1, Math.ceil(known / 30))), to: now };
}

export interface Move {
  /** Seconds to pan by. */
  pan?: number;
  scale?: number;
}

/** What a key does to a stretch: an eighth of it per arrow, all of it per page. null: not ours. */
export function keyMove(key: string, stretch: Stretch): Move | null {
  const span = stretch.to - stretch.from;
  switch (key) {
    case 'ArrowLeft':
      return { pan: -span / 8 };
    case 'ArrowRight':
      return { pan: span / 8 };
    case 'PageUp':
      return { pan: -span };
    case 'PageDown':
      return { pan: span };
    case '+':
    case '=':
      return { scale: 1 / 2 };
    case '-':
      return { scale: 2 };
    default:
      return null;
  }
}

export interface Mark {
  readonly time: number;
}

/** The mark nearest to an instant, at most `reach` away. Marks in order of time. */
export function nearest<M extends Mark>(marks: readonly M[], time: number, reach: number): M | null {
  const times = marks.map((mark) => mark.time);
  const at = lowerBound(times, time);
  let best: M | null = null;
  for (const mark of [marks[at - 1], marks[at]]) {
    if (mark && Math.abs(mark.time - time) <= reach && (!best || Math.abs(mark.time - time) < Math.abs(best.time - time))) best = mark;
  }
  return best;
}

/** The index of the point that tells about an instant; -1 if it lies in a hole or outside. `reach`: of one point. */
export function pointAt(time: readonly number[], instant: number, reach: number): number {
  const after = lowerBound(time, instant);
  const [before, next] = [time[after - 1], time[after]];
  // A point stands for the interval that ended with it.
  if (next !== undefined && next - instant <= reach) return after;
  if (before !== undefined && instant - before <= reach) return after - 1;
  return -1;
}
