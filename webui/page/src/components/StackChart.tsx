// Levels over time, stacked: what the whole consists of. Each part has a letter besides its colour, in the chart and beside its name.
import { useRef, useState } from 'preact/hooks';
import * as format from '../format';

export interface Part {
  key: string;
  /** A letter; empty for the rest. */
  mark: string;
  name: string;
  values: number[];
}

const width = 1000;
const height = 148;
/** Below this a letter does not fit its part. */
const letterHeight = 15;

/** 1, 2, 5, 10, 20, ... at or above. */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  for (const step of [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10]) if (value <= step * power && Number.isInteger(step * power)) return step * power;
  return 10 * power;
}

export function StackChart(props: { title: string; time: readonly number[]; parts: Part[]; from: number; to: number; running: boolean }) {
  const { title, time, parts, from, to, running } = props;
  const [cursor, setCursor] = useState<number | null>(null);
  const plot = useRef<HTMLDivElement>(null);
  const n = time.length;
  const x = (t: number) => (to > from ? ((t - from) / (to - from)) * width : 0);
  const totals = time.map((_, i) => parts.reduce((sum, part) => sum + part.values[i]!, 0));
  const top = roundUp(Math.max(1, ...totals) * 1.04);
  const y = (value: number) => height - (value / top) * height;
  const base = new Array<number>(n).fill(0);
  const areas = parts.map((part) => {
    const below = base.slice();
    part.values.forEach((value, i) => (base[i] = base[i]! + value));
    const upper = time.map((t, i) => `${x(t).toFixed(1)} ${y(base[i]!).toFixed(1)}`);
    const lower = time.map((t, i) => `${x(t).toFixed(1)} ${y(below[i]!).toFixed(1)}`).reverse();
    const middle = n > 0 ? (y(below[n - 1]!) + y(base[n - 1]!)) / 2 : 0;
    const room = n > 0 ? y(below[n - 1]!) - y(base[n - 1]!) : 0;
    return { part, path: n > 1 ? `M${upper.join('L')}L${lower.join('L')}Z` : '', middle, room };
  });
  const at = cursor !== null && cursor < n ? cursor : n - 1;
  const move = (event: PointerEvent) => {
    const box = plot.current!.getBoundingClientRect();
    const wanted = from + ((event.clientX - box.left) / box.width) * (to - from);
    let nearest = -1;
    for (let i = 0; i < n; i++) if (nearest < 0 || Math.abs(time[i]! - wanted) < Math.abs(time[nearest]! - wanted)) nearest = i;
    setCursor(nearest < 0 ? null : nearest);
  };
  return (
    <figure class="stack-chart">
      <div class="stack-plot" ref={plot} onPointerMove={move} onPointerLeave={() => setCursor(null)}>
        <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label={title}>
          {[0.5, 1].map((share) => (
            <line key={share} class="stack-grid" x1="0" x2={width} y1={y(top * share)} y2={y(top * share)} />
          ))}
          {areas.map(({ part, path }, i) => (
            <path key={part.key} class={`stack-part ${part.mark ? `p${i}` : 'rest'}`} d={path} />
          ))}
          {cursor !== null && at >= 0 && <line class="stack-cursor" x1={x(time[at]!)} x2={x(time[at]!)} y1="0" y2={height} />}
        </svg>
        <span class="stack-top">{format.count(top)}</span>
        {n > 1 &&
          areas.map(
            ({ part, middle, room }) =>
              part.mark &&
              room >= letterHeight && (
                <span key={part.key} class="stack-letter" aria-hidden="true" style={{ top: `${(middle / height) * 100}%`, left: `${Math.min(99, x(time[n - 1]!) / 10)}%` }}>
                  {part.mark}
                </span>
              ),
          )}
        {n < 2 && <span class="blank-note">{running ? 'collecting' : 'it had ended before this page looked'}</span>}
      </div>
      <div class="stack-axis">
        <span>{format.span(to - from)} {running ? 'ago' : 'before'}</span>
        <span>{cursor !== null && at >= 0 ? format.clock(time[at]!) : running ? 'now' : 'its end'}</span>
      </div>
      <ul class="stack-legend">
        {parts
          .map((part, i) => ({ part, i }))
          .reverse()
          .map(({ part, i }) => (
            <li key={part.key}>
              <span class={`letter ${part.mark ? `p${i}` : 'rest'}`} aria-hidden="true">
                {part.mark}
              </span>
              <span class="stack-name">{part.name}</span>
              <b>{at >= 0 ? format.exact(part.values[at]!) : format.unknown}</b>
            </li>
          ))}
      </ul>
    </figure>
  );
}
