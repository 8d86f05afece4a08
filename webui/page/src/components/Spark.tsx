// A line no larger than a word, from 0 to its own highest value.
import type { Value } from '../series';
import { sparkPath } from '../levels';

export const sparkWidth = 110;
const height = 20;

export function Spark(props: { time: readonly number[]; values: readonly Value[]; from: number; to: number; label: string; strong?: boolean }) {
  const { time, values, from, to, label, strong } = props;
  const high = values.reduce<number>((most, value) => Math.max(most, value ?? 0), 1);
  const path = sparkPath(time, values, from, to, sparkWidth, height - 3, high);
  return (
    <svg class={`spark ${strong ? 'strong' : ''}`} width={sparkWidth} height={height} viewBox={`0 -1.5 ${sparkWidth} ${height}`} role="img" aria-label={label}>
      <line class="spark-zero" x1="0" x2={sparkWidth} y1={height - 2.5} y2={height - 2.5} />
      <path d={path} />
    </svg>
  );
}
