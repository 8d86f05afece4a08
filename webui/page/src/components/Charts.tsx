import * as format from '../format';
import { lowerBound, type Value } from '../series';
import type { LoopColumn, LoopTrack, ProcessTrack } from '../store';
import { Chart, type ChartProps } from './Chart';

/** The lines show the window, and no less than 2 min: a line of 5 s tells nothing. */
export const chartSpan = (window: number) => (window <= 120 ? 120 : window === Infinity ? 900 : window);

/** A page just opened stretches the little it has, in steps, instead of showing an empty plain. */
export function chartStart(window: number, time: readonly number[], to: number): number {
  const known = time.length > 0 ? to - time[0]! : 0;
  return to - Math.min(chartSpan(window), 30 * Math.max(1, Math.ceil(known / 30)));
}

type Spec = Pick<ChartProps, 'title' | 'lines' | 'scale' | 'print'> & { columns: LoopColumn[] };

const time = (value: Value) => format.duration(value);
const specs: Spec[] = [
  {
    title: 'utilization',
    columns: ['utilization'],
    lines: [{ label: 'utilization', color: 'busy', fill: true }],
    scale: 'ratio',
    print: (v) => format.percent(v),
  },
  {
    title: 'turns per second',
    columns: ['turns'],
    lines: [{ label: 'turns per second', color: 'wait', fill: true }],
    scale: 'count',
    print: (v) => format.rate(v),
  },
  {
    title: 'busy',
    columns: ['busy50', 'busy99', 'busyMax'],
    lines: [
      { label: 'p50', color: 'low' },
      { label: 'p99', color: 'busy', width: 2.5 },
      // often equal to the p99 (few turns in 0.4 s): thin and dotted, so that both are seen
      { label: 'max', color: 'slow', dash: [2, 4] },
    ],
    scale: 'duration',
    print: time,
  },
  { title: 'poll wait', columns: ['wait99'], lines: [{ label: 'p99', color: 'wait' }], scale: 'duration', print: time },
  {
    title: 'timer lag and poll delay',
    columns: ['lag99', 'delay99'],
    lines: [
      { label: 'lag p99', color: 'lag' },
      { label: 'delay p99', color: 'delay', dash: [6, 3] },
    ],
    scale: 'duration',
    print: time,
  },
  {
    title: 'ready events per turn',
    columns: ['ready', 'readyMax'],
    lines: [
      { label: 'mean', color: 'ready' },
      { label: 'max', color: 'low', dash: [3, 2] },
    ],
    scale: 'count',
    print: (v) => format.rate(v),
  },
];

export function Charts(props: {
  process: ProcessTrack;
  loop: LoopTrack;
  window: number;
  pausedAt: number | null;
  onPause: () => void;
}) {
  const { process, loop, pausedAt } = props;
  const to = pausedAt ?? process.time;
  const { time } = loop.series;
  const from = chartStart(props.window, time, to);
  const first = time[lowerBound(time, from)];
  const known = first === undefined ? 0 : Math.max(0, to - first);
  return (
    <section aria-labelledby="charts-title">
      <div class="section-head">
        <h2 id="charts-title">Over time</h2>
        <span class="quiet">
          {known < chartSpan(props.window) - 5 ? `the ${format.span(known)} this page has seen` : `last ${format.span(known)}`}
        </span>
        <button type="button" class="pause" aria-pressed={pausedAt !== null} onClick={props.onPause} data-testid="pause">
          {pausedAt !== null ? `Resume (held at ${format.clock(pausedAt)})` : 'Pause'}
        </button>
      </div>
      <div class="charts">
        {specs.map(({ columns, ...spec }) => (
          <Chart key={spec.title} {...spec} data={loop.series.slice(from, to, columns)} from={from} to={to} />
        ))}
      </div>
    </section>
  );
}
