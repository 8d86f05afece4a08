// uPlot in a card: own legend with the values under the cursor, gaps where data is missing, one cursor for all charts.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import type { Value } from '../series';
import { canvasFont, color, onThemeChange } from '../theme';
import * as format from '../format';

export interface Line {
  label: string;
  /** A colour's name in app.css. */
  color: string;
  fill?: boolean;
  width?: number;
  dash?: number[];
}

export interface ChartProps {
  title: string;
  lines: Line[];
  data: [number[], ...Value[][]];
  from: number;
  to: number;
  scale: 'ratio' | 'duration' | 'count' | 'level';
  print: (value: Value) => string;
  height?: number;
}

const sync = uPlot.sync('loopscope');
/** A logarithmic axis has no zero: what is below (a lag of 0) is drawn at its foot, the legend tells the true value. */
const logFoot = 1e-7;

export function Chart(props: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const legend = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;

  const writeLegend = () => {
    const chart = plot.current;
    const { data, print, lines } = latest.current;
    const at = chart?.cursor.idx ?? null;
    const cells = legend.current?.querySelectorAll('b');
    lines.forEach((_, i) => {
      const column = data[i + 1] ?? [];
      const value = at === null ? column[column.length - 1] : column[at];
      if (cells?.[i]) cells[i].textContent = print(value ?? null);
    });
  };

  useEffect(() => {
    const element = box.current!;
    const height = props.height ?? 150;
    const create = () => {
      plot.current?.destroy();
      const grid = { stroke: color('line'), width: 1 };
      const axis = { stroke: color('muted'), font: canvasFont, grid, ticks: { show: false } };
      const chart: uPlot = new uPlot(
        {
          width: Math.max(120, element.clientWidth),
          height,
          pxAlign: 1,
          legend: { show: false },
          padding: [8, 24, 0, 0],
          cursor: { y: false, sync: { key: sync.key }, drag: { x: false, y: false }, points: { size: 6 } },
          scales: {
            x: { time: true, range: () => [latest.current.from, latest.current.to] },
            y: yScale(props.scale),
          },
          axes: [
            { ...axis, size: 26, space: 64, values: xLabels },
            {
              ...axis,
              size: 58,
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
          hooks: { setCursor: [() => writeLegend()] },
        },
        drawn(latest.current),
        element,
      );
      plot.current = chart;
      sync.sub(chart);
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
      if (plot.current) {
        sync.unsub(plot.current);
        plot.current.destroy();
      }
      plot.current = null;
    };
  }, []);

  useEffect(() => {
    plot.current?.batch(() => {
      plot.current!.setData(drawn(props), false);
      plot.current!.setScale('x', { min: props.from, max: props.to });
    });
    writeLegend();
  });

  const blank = props.data.slice(1).every((column) => column.every((value) => value === null));
  return (
    <figure class="card chart">
      <figcaption>
        <h3>{props.title}</h3>
        <div class="legend" ref={legend}>
          {props.lines.map((line) => (
            <span key={line.label}>
              <i class={`key ${line.color}`} aria-hidden="true" />
              {props.lines.length > 1 || line.label !== props.title ? line.label : ''} <b />
            </span>
          ))}
        </div>
      </figcaption>
      <div class="plot" ref={box}>
        {blank && <span class="blank">nothing measured in this span</span>}
      </div>
    </figure>
  );
}

const wholes: number[] = [];
for (let power = 1; power < 1e12; power *= 10) wholes.push(power, 2 * power, 5 * power);

function drawn(props: ChartProps): uPlot.AlignedData {
  if (props.scale !== 'duration') return props.data;
  const [time, ...columns] = props.data;
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
  if (scale === 'duration') {
    const power = Math.round(Math.log10(value));
    const [unit, name] = power < -6 ? [-9, 'ns'] : power < -3 ? [-6, 'µs'] : power < 0 ? [-3, 'ms'] : [0, 's'];
    return `${10 ** (power - unit)} ${name}`;
  }
  if (value < 10) return String(Number(value.toFixed(2)));
  return value < 1e5 ? format.exact(value) : format.count(value).replace(/\.0+(?=\D)/, '');
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
