// uPlot in a card: own legend with the values under the shared cursor, gaps where data is missing. Pointer and time axis are
// those of Plane; without an axis of its section a chart has one of its own, which only reads.
import { useEffect, useMemo, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { paintMark } from '../canvas';
import type { Value } from '../series';
import { canvasFont, color, onThemeChange } from '../theme';
import { Cursor, plotRight, plotLeft, type TimeAxis } from '../timeaxis';
import { pointAt } from '../zoom';
import * as format from '../format';
import type { HelpKey } from '../help';
import { Plane } from './Plane';
import { Term } from './Term';
import { useSight } from './useSight';

export interface Line {
  label: string;
  /** A colour's name in base.css. */
  color: string;
  fill?: boolean;
  width?: number;
  dash?: number[];
}

type Data = [number[], ...Value[][]];

export interface ChartProps {
  title: string;
  about?: HelpKey;
  lines: Line[];
  /** A function is asked only when there is something to draw. */
  data: Data | (() => Data);
  from: number;
  to: number;
  scale: 'ratio' | 'duration' | 'count' | 'level';
  print: (value: Value) => string;
  height?: number;
  axis?: TimeAxis;
}

/** A logarithmic axis has no zero: what is below (a lag of 0) is drawn at its foot, the legend tells the true value. */
const logFoot = 1e-7;
/** A point stands for the interval that ended with it; beyond this it says nothing about an instant. */
const reach = 1;

export function Chart(props: ChartProps) {
  const card = useRef<HTMLElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const legend = useRef<HTMLDivElement>(null);
  const blank = useRef<HTMLSpanElement>(null);
  const plot = useRef<uPlot | null>(null);
  const data = useRef<Data>([[]]);
  const latest = useRef(props);
  latest.current = props;
  const cursor = useMemo(() => new Cursor(), []);
  const axis = props.axis ?? fixedAxis(props, cursor);
  const shared = axis.cursor;
  const drawn = useRef('');

  const writeLegend = () => {
    const { print, lines } = latest.current;
    const [time, ...columns] = data.current;
    const instant = shared.time;
    const at = instant === null ? time.length - 1 : pointAt(time, instant, reach);
    const cells = legend.current?.querySelectorAll('b');
    lines.forEach((_, i) => {
      const text = print(columns[i]?.[at] ?? null);
      if (cells?.[i] && cells[i].textContent !== text) cells[i].textContent = text;
    });
    const chart = plot.current;
    if (chart) chart.setCursor({ left: instant === null || at < 0 ? -10 : chart.valToPos(time[at]!, 'x'), top: 0 }, false);
  };

  /** At most once per rendering, and not at all when nothing that is drawn has changed or when out of sight. */
  const draw = () => {
    const chart = plot.current;
    if (!chart || !sight.current) return;
    const { from, to, axis } = latest.current;
    const source = latest.current.data;
    const fresh = typeof source === 'function' ? source() : source;
    const [time] = fresh;
    const marks = axis?.marks ?? [];
    const key = [from, to, time.length, time[0], time[time.length - 1], marks.length, marks[marks.length - 1]?.time].join(' ');
    if (key === drawn.current) return;
    drawn.current = key;
    data.current = fresh;
    const empty = fresh.slice(1).every((column) => column.every((value) => value === null));
    blank.current!.hidden = !empty;
    blank.current!.textContent = empty ? 'nothing measured in this span' : '';
    chart.batch(() => {
      chart.setData(onScale(latest.current.scale, fresh), false);
      chart.setScale('x', { min: from, max: to });
    });
    writeLegend();
  };
  const sight = useSight(card, draw);

  useEffect(() => {
    const element = box.current!;
    const height = props.height ?? 150;
    const create = () => {
      plot.current?.destroy();
      const grid = { stroke: color('line'), width: 1 };
      const lines = { stroke: color('muted'), font: canvasFont, grid, ticks: { show: false } };
      const marked = { slow: color('slow'), finding: color('accent') };
      const none = () => null;
      plot.current = new uPlot(
        {
          width: Math.max(120, element.clientWidth),
          height,
          pxAlign: 1,
          legend: { show: false },
          padding: [8, plotRight, 0, 0],
          cursor: {
            x: false,
            y: false,
            drag: { x: false, y: false },
            points: { size: 6 },
            bind: { mousedown: none, mouseup: none, click: none, dblclick: none, mousemove: none, mouseleave: none, mouseenter: none },
          },
          scales: {
            x: { time: true, range: () => [latest.current.from, latest.current.to] },
            y: yScale(props.scale),
          },
          axes: [
            { ...lines, size: 26, space: 64, values: xLabels },
            {
              ...lines,
              size: plotLeft,
              gap: 4,
              space: height < 140 ? 18 : 28,
              values: (_u, splits) => splits.map((s) => (s === null ? '' : tick(props.scale, s))),
              ...(props.scale === 'duration' ? { splits: decades, filter: (_u: uPlot, splits: number[]) => splits } : {}),
              ...(props.scale === 'count' || props.scale === 'level' ? { incrs: [0.1, 0.2, 0.5, ...wholes] } : {}),
            },
          ],
          series: [
            {},
            ...props.lines.map((line) => ({
              label: line.label,
              stroke: color(line.color),
              width: line.width ?? 1.5,
              spanGaps: false,
              points: { show: () => false, filter: isolated, size: 4, fill: color(line.color) },
              ...(line.fill ? { fill: color(`${line.color}-fill`) } : {}),
              ...(line.dash ? { dash: line.dash } : {}),
            })),
          ],
          hooks: {
            draw: [
              (u) => {
                const { ctx } = u;
                const ratio = devicePixelRatio || 1;
                for (const mark of latest.current.axis?.marks ?? []) {
                  const x = u.valToPos(mark.time, 'x', true);
                  if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
                  ctx.fillStyle = marked[mark.kind];
                  paintMark(ctx, mark.kind, x, u.bbox.top + u.bbox.height, 3.5 * ratio);
                }
              },
            ],
          },
        },
        [[], ...props.lines.map(() => [])],
        element,
      );
      drawn.current = '';
      draw();
    };
    create();
    const observer = new ResizeObserver(() => {
      const width = Math.max(120, element.clientWidth);
      if (plot.current && plot.current.width !== width) plot.current.setSize({ width, height });
    });
    observer.observe(element);
    const stop = onThemeChange(create);
    return () => {
      stop();
      observer.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);

  useEffect(() => shared.listen(writeLegend), [shared]);
  useEffect(() => {
    draw();
    writeLegend();
  });

  return (
    <figure class="card chart" ref={card}>
      <figcaption>
        <h3>{props.about ? <Term about={props.about}>{props.title}</Term> : props.title}</h3>
        <div class="legend" ref={legend}>
          {props.lines.map((line) => (
            <span key={line.label}>
              <i class={`key ${line.color}${line.dash ? ' dashed' : ''}`} aria-hidden="true" />
              {props.lines.length > 1 || line.label !== props.title ? line.label : ''} <b />
            </span>
          ))}
        </div>
      </figcaption>
      <Plane axis={axis}>
        <div class="plot" ref={box}>
          <span class="blank" ref={blank} hidden />
        </div>
      </Plane>
    </figure>
  );
}

function fixedAxis({ from, to }: ChartProps, cursor: Cursor): TimeAxis {
  const stretch = { from, to };
  return { stretch, known: stretch, fixed: true, held: false, marks: [], cursor, interval: () => null, move: () => {}, live: () => {} };
}

const wholes: number[] = [];
for (let power = 1; power < 1e12; power *= 10) wholes.push(power, 2 * power, 5 * power);

function onScale(scale: ChartProps['scale'], data: Data): uPlot.AlignedData {
  if (scale !== 'duration') return data;
  const [time, ...columns] = data;
  return [time, ...columns.map((column) => column.map((v) => (v === null ? null : Math.max(v, logFoot))))];
}

function yScale(scale: ChartProps['scale']): uPlot.Scale {
  switch (scale) {
    case 'ratio':
      return { range: () => [0, 1] };
    case 'duration':
      return {
        distr: 3,
        log: 10,
        range: (_u, min, max) => {
          if (!(min > 0) || !Number.isFinite(max)) return [1e-5, 1e-1];
          const low = Math.floor(Math.log10(min) - 0.05);
          const high = Math.ceil(Math.log10(max) - 1e-9);
          return [10 ** low, 10 ** Math.max(high, low + 2)];
        },
      };
    case 'count':
      return { range: (_u, _min, max) => [0, Number.isFinite(max) && max > 0 ? max * 1.1 : 1] };
    case 'level':
      return {
        range: (_u, min, max) => {
          if (!Number.isFinite(min) || min === null) return [0, 1];
          const room = Math.max(2, (max - min) * 0.15);
          return [Math.max(0, Math.floor(min - room)), Math.ceil(max + room)];
        },
      };
  }
}

function decades(_u: uPlot, _axis: number, min: number, max: number): number[] {
  const out: number[] = [];
  const low = Math.round(Math.log10(min));
  const high = Math.round(Math.log10(max));
  const step = high - low > 5 ? 2 : 1;
  for (let power = low; power <= high; power += step) out.push(10 ** power);
  return out;
}

/** Half a label must fit to the left of its tick, or it runs into the lowest label of the other axis. */
const halfLabel = 26;
const xLabels = (u: uPlot, splits: number[]) => splits.map((s) => (u.valToPos(s, 'x') < halfLabel ? '' : format.clock(s)));

function tick(scale: ChartProps['scale'], value: number): string {
  if (scale === 'ratio') return `${Math.round(value * 100)} %`;
  if (scale === 'duration') return decade(value);
  if (value < 10) return String(Number(value.toFixed(2)));
  return value < 1e5 ? format.exact(value) : format.count(value).replace(/\.0+(?=\D)/, '');
}

/** A power of ten of a second: 100 ns, 1 µs, 10 s. */
export function decade(value: number): string {
  const power = Math.round(Math.log10(value));
  const [unit, name] = power < -6 ? [-9, 'ns'] : power < -3 ? [-6, 'µs'] : power < 0 ? [-3, 'ms'] : [0, 's'];
  return `${10 ** (power - unit)} ${name}`;
}

/** An interval without a turn has no duration to show. A point between two such has no line to be seen by: a dot. */
const isolated = (u: uPlot, series: number): number[] | null => {
  const values = u.data[series] as Value[];
  const [from, to] = u.series[0]!.idxs ?? [0, values.length - 1];
  const out: number[] = [];
  for (let i = from; i <= to; i++) {
    if (values[i] != null && values[i - 1] == null && values[i + 1] == null) out.push(i);
  }
  return out.length > 0 ? out : null;
};
