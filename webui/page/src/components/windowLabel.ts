// What a window is called, and how much of it there is.
import * as format from '../format';
import { windows } from '../selection';
import type { ProcessTrack } from '../store';
import type { Base } from '../marks';
import type { LoopCut } from '../cuts';

export const windowLabel = (seconds: number) => windows.find((w) => w.seconds === seconds)?.label ?? `${seconds} s`;

/** The same for a small place: the window, or how much of it there is yet. */
export function shortCoverage(process: ProcessTrack, base: Base<LoopCut> | undefined, wanted: number): string {
  if (!base || wanted === Infinity) return windowLabel(wanted);
  const { seconds } = base;
  return process.running && seconds >= wanted - 0.5 && seconds <= wanted * 1.2 + 1 ? windowLabel(wanted) : format.span(seconds);
}

/** What the numbers beside really cover: a window is only promised, the page may not have looked for that long. */
export function coverage(process: ProcessTrack, base: Base<LoopCut> | undefined, wanted: number): string {
  if (!base) return 'collecting the first two snapshots';
  if (wanted === Infinity) return `since start, ${format.span(base.seconds)}`;
  if (base.mark === null) return process.running ? `since it started ${format.span(base.seconds)} ago` : `all ${format.span(base.seconds)} of its life`;
  if (base.seconds < wanted - 0.5) return `only ${format.span(base.seconds)} of data yet`;
  return `last ${base.seconds > wanted * 1.2 + 1 ? format.span(base.seconds) : windowLabel(wanted)}${process.running ? '' : ' before it ended'}`;
}
