// Marks: cuts kept for a while so that a window has something to subtract. Dense when young, sparse when old:
// a window of 10 min may begin a minute early, one of 5 s may not. The oldest are for the overview's 1000 s. Some sixty in all:
// each holds the histograms of every watcher, most of what the page remembers.

export interface Mark<Cut> {
  readonly time: number;
  readonly cuts: ReadonlyMap<string, Cut>;
}

/** [age up to, seconds between marks]. Each step is a multiple of the one before, or thinning would drift. */
const tiers: [number, number][] = [
  [7, 0],
  [13, 1],
  [36, 2],
  [150, 10],
  [1065, 60],
];

/** Keeps the first mark of every step, counted from the epoch: thinning again changes nothing that was kept. */
export function thin<Cut>(marks: readonly Mark<Cut>[], now: number): Mark<Cut>[] {
  const kept: Mark<Cut>[] = [];
  for (const mark of marks) {
    const tier = tiers.find(([age]) => now - mark.time <= age);
    if (!tier) continue;
    const step = tier[1];
    const last = kept[kept.length - 1];
    if (last && step > 0 && Math.floor(mark.time / step) === Math.floor(last.time / step)) continue;
    kept.push(mark);
  }
  return kept;
}

export interface Base<Cut> {
  /** null: from the start of the process, when all counters were zero. */
  mark: Mark<Cut> | null;
  /** How much time the window really covers. */
  seconds: number;
}

/**
 * Where a window of `seconds` that ends `now` begins. Infinity asks for everything. A process younger than the window
 * is covered from its start even if the page came later: its counters began at zero. undefined: nothing to subtract yet.
 */
export function baseFor<Cut>(
  marks: readonly Mark<Cut>[],
  now: number,
  seconds: number,
  startedAt: number,
): Base<Cut> | undefined {
  const age = now - startedAt;
  if (age > 0 && age <= seconds) return { mark: null, seconds: age };
  const slack = 0.25; // an event more or less
  let before: Mark<Cut> | undefined;
  let within: Mark<Cut> | undefined;
  for (const mark of marks) {
    if (mark.time >= now) break;
    if (now - mark.time >= seconds - slack) before = mark;
    else within ??= mark;
  }
  // After a long sleep the mark before the window may be minutes too old: then rather less than asked for.
  const pick = before && (now - before.time <= seconds * 1.25 + 1 || !within) ? before : within;
  return pick && { mark: pick, seconds: now - pick.time };
}
