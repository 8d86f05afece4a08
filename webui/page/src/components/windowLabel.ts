import * as format from '../format';
import { windows } from '../selection';
import type { ProcessTrack } from '../store';
import type { Base } from '../marks';
import type { LoopCut } from '../cuts';

export const windowLabel = (seconds: number) => windows.find((w) => w.seconds === seconds)?.label ?? `${seconds} s`;

/** What the numbers beside really cover: a window is only promised, the page may not have looked for that long. */
export function coverage(process: ProcessTrack, base: Base<LoopCut> | undefined, wanted: number): string {
  if (!base) return 'collecting the first two snapshots';
  if (wanted === Infinity) return `since start, ${format.span(base.seconds)}`;
  if (base.mark === null) return `since it started ${format.span(base.seconds)} ago`;
  if (base.seconds < wanted - 0.5) return `only ${format.span(base.seconds)} of data yet`;
  return `last ${base.seconds > wanted * 1.2 + 1 ? format.span(base.seconds) : windowLabel(wanted)}${process.running ? '' : ' before it ended'}`;
}
