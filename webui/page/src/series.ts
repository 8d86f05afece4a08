// Time series of one loop or process: columns of numbers, oldest first, bounded by age and by size. null is a gap.

export type Value = number | null;

/** What the longest chart shows, plus a little. */
export const keepSeconds = 15 * 60;
/** 15 min at the usual 2.5 events a second, with room. A server that pushes faster loses age, never memory. */
const keepPoints = 2800;

export class Series<Name extends string> {
  readonly time: number[] = [];
  readonly columns: Record<Name, Value[]>;

  constructor(private readonly names: readonly Name[]) {
    this.columns = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Name, Value[]>;
  }

  push(time: number, row: Record<Name, Value>): void {
    this.time.push(time);
    for (const name of this.names) this.columns[name].push(row[name]);
    this.prune(time);
  }

  /** A hole in the lines: one point without values. */
  gap(time: number): void {
    if (this.time.length === 0) return;
    this.time.push(time);
    for (const name of this.names) this.columns[name].push(null);
  }

  /** From the first point of the range (and one before it, so that the line enters the chart from its edge). */
  slice<Wanted extends Name>(from: number, to: number, wanted: readonly Wanted[]): [number[], ...Value[][]] {
    let first = lowerBound(this.time, from);
    if (first > 0) first--;
    let last = this.time.length;
    while (last > first && this.time[last - 1]! > to) last--;
    return [this.time.slice(first, last), ...wanted.map((name) => this.columns[name].slice(first, last))];
  }

  /** One column since an instant. */
  last(name: Name, from: number): Value[] {
    return this.columns[name].slice(lowerBound(this.time, from));
  }

  private prune(now: number): void {
    // In lots of a hundred: moving a few thousand numbers at every event would be work for nothing.
    let drop = lowerBound(this.time, now - keepSeconds);
    drop = Math.max(drop, this.time.length - keepPoints);
    if (drop < 100) return;
    this.time.splice(0, drop);
    for (const name of this.names) this.columns[name].splice(0, drop);
  }
}

export function lowerBound(sorted: readonly number[], value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
