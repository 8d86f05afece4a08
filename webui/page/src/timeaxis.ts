// What all charts of a loop have in common: the stretch of time they show, what is marked on it, and one cursor.
import type { Mark, Stretch } from './zoom';

/** Where a chart's area begins and how far from its right edge it ends, in CSS pixels: the same for lines and maps. */
export const plotLeft = 58;
export const plotRight = 24;

export interface TimeMark extends Mark {
  /** Each has a shape of its own besides its colour. */
  kind: 'slow' | 'finding';
  text: string;
  open: () => void;
}

export interface TimeAxis {
  readonly stretch: Stretch;
  /** All that the page has kept. */
  readonly known: Stretch;
  readonly held: boolean;
  /** It can be read, not moved. */
  readonly fixed?: boolean;
  /** In order of time. */
  readonly marks: readonly TimeMark[];
  readonly cursor: Cursor;
  /** The interval between two measurements that an instant lies in: what a value under the cursor stands for. */
  interval(time: number): Stretch | null;
  /** Holds the page, if it is live, and shows this. */
  move(to: Stretch): void;
  live(): void;
}

/** The instant under the pointer. Listeners draw themselves: moving a mouse must not render the page. */
export class Cursor {
  time: number | null = null;
  private readonly listeners = new Set<() => void>();

  set(time: number | null): void {
    if (time === this.time) return;
    this.time = time;
    for (const listener of this.listeners) listener();
  }

  /** Returns how to stop. */
  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];

/** Instants for an axis, at least `space` pixels apart, at round times. */
export function timeTicks({ from, to }: Stretch, pixels: number, space: number): number[] {
  const least = ((to - from) * space) / Math.max(1, pixels);
  const step = steps.find((each) => each >= least) ?? 900;
  const out: number[] = [];
  for (let i = Math.ceil(from / step); i * step <= to; i++) out.push(i * step);
  return out;
}
