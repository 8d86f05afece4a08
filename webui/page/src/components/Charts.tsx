// Everything about one loop over time: the bar that says which time, the heatmaps, the lines. One axis, one cursor.
import { useMemo } from 'preact/hooks';
import * as format from '../format';
import type { HelpKey } from '../help';
import type { Value } from '../series';
import type { LoopColumn, LoopTrack, ProcessTrack } from '../store';
import type { TimeAxis } from '../timeaxis';
import { live } from '../zoom';
import { Chart, type ChartProps } from './Chart';
import { HeatMap } from './HeatMap';
import { pressKey, TimeBar } from './TimeBar';

/** Where the lines of a window begin while the page is live. */
export const chartStart = (window: number, time: readonly number[], to: number) => live(window, time, to).from;

type Spec = Pick<ChartProps, 'title' | 'lines' | 'scale' | 'print'> & { about: HelpKey; columns: LoopColumn[] };

const time = (value: Value) => format.duration(value);
const specs: Spec[] = [
  {
    title: 'utilization',
    about: 'utilization',
    columns: ['utilization'],
    lines: [{ label: 'utilization', color: 'busy', fill: true }],
    scale: 'ratio',
    print: (v) => format.percent(v),
  },
  {
    title: 'turns per second',
    about: 'turns',
    columns: ['turns'],
    lines: [{ label: 'turns per second', color: 'wait', fill: true }],
    scale: 'count',
    print: (v) => format.rate(v),
  },
  {
    title: 'busy',
    about: 'busy',
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
  {
    title: 'timer lag and poll delay',
    about: 'timerLag',
    columns: ['lag99', 'delay99'],
    lines: [
      { label: 'lag p99', color: 'lag' },
      { label: 'delay p99', color: 'delay', dash: [6, 3] },
    ],
    scale: 'duration',
    print: time,
  },
  {
    title: 'poll wait',
    about: 'pollWait',
    columns: ['wait50', 'wait99'],
    lines: [
      { label: 'p50', color: 'low' },
      { label: 'p99', color: 'wait', width: 2.5 },
    ],
    scale: 'duration',
    print: time,
  },
  {
    title: 'ready events per turn',
    about: 'readyPerTurn',
    columns: ['ready', 'readyMax'],
    lines: [
      { label: 'mean', color: 'ready' },
      { label: 'max', color: 'low', dash: [3, 2] },
    ],
    scale: 'count',
    print: (v) => format.rate(v),
  },
];

export function Charts(props: { process: ProcessTrack; loop: LoopTrack; axis: TimeAxis; heldAt: number | null; onToggle: () => void }) {
  const { process, loop, axis } = props;
  const { from, to } = axis.stretch;
  const sources = useMemo(() => specs.map(({ columns }) => (f: number, t: number) => loop.series.slice(f, t, columns)), [loop]);
  const onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const onButton = event.target instanceof HTMLButtonElement;
    if (onButton && (event.key === 'Home' || event.key === 'End' || event.key.startsWith('Page'))) return;
    if (pressKey(axis, event.key)) event.preventDefault();
  };
  return (
    <section class="over-time" aria-labelledby="charts-title" onKeyDown={onKey}>
      <div class="section-head">
        <h2 id="charts-title">Over time</h2>
        <span class="quiet">
          this page has seen {format.span(axis.known.to - axis.known.from)} and keeps 15 min; <span class="mark">▲</span> slow turn,{' '}
          <span class="finding-mark">◆</span> finding: a click opens it
        </span>
      </div>
      <TimeBar
        axis={axis}
        heldAt={props.heldAt}
        running={process.running}
        onToggle={props.onToggle}
        time={loop.series.time}
        utilization={loop.series.columns.utilization}
      />
      <div class="charts">
        <HeatMap
          title="busy, every turn"
          about="heatBusy"
          one="turn"
          heat={loop.heat.busy}
          absent={loop.latest.busy_turn_seconds === null}
          axis={axis}
          threshold={loop.latest.stall_threshold_seconds}
          testid="heat-busy"
        />
        <HeatMap
          title="timer lag, every timer"
          about="heatLag"
          one="timer"
          heat={loop.heat.lag}
          absent={loop.latest.timer_lag_seconds === null}
          axis={axis}
          threshold={null}
          testid="heat-lag"
        />
        {specs.map(({ columns: _, ...spec }, i) => (
          <Chart key={spec.title} {...spec} data={() => sources[i]!(from, to)} from={from} to={to} axis={axis} />
        ))}
      </div>
    </section>
  );
}
