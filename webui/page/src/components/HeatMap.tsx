// A heatmap: time to the right, duration upwards in powers of two, the colour says how many a second. Under the pointer it is
// read as text; for who does not see it, a sentence says what is usual and what was longest.
import { useEffect, useRef, useState } from 'preact/hooks';
import { crisp, paintMark, snap } from '../canvas';
import * as format from '../format';
import { columnAt, heatPosition, heatRange, heatRows, heatScale, heatSteps, rowBounds, summarize, type Heat, type HeatView } from '../heat';
import type { HelpKey } from '../help';
import { canvasFont, color, onThemeChange } from '../theme';
import { plotLeft, plotRight, timeTicks, type TimeAxis } from '../timeaxis';
import { decade } from './Chart';
import { Plane } from './Plane';
import { Term } from './Term';
import { useSight } from './useSight';

const rowHeight = 7;
const top = 8;
const bottom = 26;
const mapHeight = heatRows * rowHeight;
const height = top + mapHeight + bottom;
const decades = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10];
/** Narrower than this a column cannot be pointed at. */
const columnPixels = 3;

export const heatAnchors = () => [1, 2, 3, 4, 5].map((i) => color(`heat-${i}`));

/** Row 0 (up to 1 µs) is at the foot; row k ends at 2^k µs. */
const yOf = (seconds: number) => top + mapHeight - (1 + Math.log2(seconds * 1e6)) * rowHeight;

interface Look {
  scale: string[];
  empty: string;
  grid: string;
  text: string;
  slow: string;
  finding: string;
}

const look = (): Look => ({
  scale: heatScale(heatAnchors()),
  empty: color('heat-0'),
  grid: color('line'),
  text: color('muted'),
  slow: color('slow'),
  finding: color('accent'),
});

export interface HeatMapProps {
  title: string;
  about: HelpKey;
  /** What is counted: "turn", "timer". */
  one: string;
  heat: Heat;
  /** This source does not measure it at all. */
  absent: boolean;
  axis: TimeAxis;
  /** Drawn as a dashed line. */
  threshold: number | null;
  testid: string;
}

export function HeatMap(props: HeatMapProps) {
  const { axis } = props;
  const card = useRef<HTMLElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const readout = useRef<HTMLSpanElement>(null);
  const ramp = useRef<HTMLCanvasElement>(null);
  const ends = useRef<[HTMLElement | null, HTMLElement | null]>([null, null]);
  const latest = useRef(props);
  latest.current = props;
  const view = useRef<HeatView | null>(null);
  const colors = useRef<Look | null>(null);
  const pointer = useRef<number | null>(null);
  const drawn = useRef('');
  const [blank, setBlank] = useState(false);

  const read = () => {
    const element = readout.current;
    const map = view.current;
    if (!element || !map) return;
    const time = latest.current.axis.cursor.time;
    const text = time === null ? sentence(map, latest.current) : cellText(map, time, pointer.current, latest.current.one);
    if (element.textContent !== text) element.textContent = text;
  };

  const draw = () => {
    const element = canvas.current;
    if (!element || !sight.current) return;
    const { axis, heat, threshold, absent } = latest.current;
    const { from, to } = axis.stretch;
    const width = element.parentElement?.clientWidth ?? 0;
    const key = [from, to, width, heat.columns, heat.newest, axis.marks.length, devicePixelRatio].join(' ');
    if (key === drawn.current) return;
    drawn.current = key;
    const context = crisp(element, width, height);
    if (!context) return;
    colors.current ??= look();
    const area = Math.max(1, width - plotLeft - plotRight);
    const map = heat.view(from, to, ((to - from) / area) * columnPixels);
    view.current = map;
    setBlank(map.columns === 0 || absent);
    paint(context, width, map, latest.current, colors.current, threshold);
    const range = heatRange(map);
    legend(ramp.current, colors.current.scale);
    const [low, high] = ends.current;
    const one = latest.current.one;
    if (low) low.textContent = range.low < 1 ? String(Number(range.low.toPrecision(1))) : format.count(range.low);
    if (high) high.textContent = `${format.count(range.high)} ${one}s/s`;
    const summary = sentence(map, latest.current);
    if (element.getAttribute('aria-label') !== summary) element.setAttribute('aria-label', summary);
    read();
  };
  const sight = useSight(card, draw);

  useEffect(() => {
    const observer = new ResizeObserver(draw);
    observer.observe(canvas.current!.parentElement!);
    const stop = onThemeChange(() => {
      colors.current = null;
      drawn.current = '';
      draw();
    });
    return () => {
      observer.disconnect();
      stop();
    };
  }, []);
  useEffect(() => axis.cursor.listen(read), [axis.cursor]);
  useEffect(draw);

  return (
    <figure class="card chart heat" ref={card} data-testid={props.testid}>
      <figcaption>
        <h3>
          <Term about={props.about}>{props.title}</Term>
        </h3>
        <div class="legend heat-legend" aria-hidden="true" title="How many a second in one cell">
          <span ref={(e) => void (ends.current[0] = e)} />
          <canvas ref={ramp} width={heatSteps} height={1} />
          <span ref={(e) => void (ends.current[1] = e)} />
          </div>
      </figcaption>
      <Plane
        axis={axis}
        onPointer={(y) => {
          pointer.current = y;
          read();
        }}
      >
        <div class="heat-plot">
          <canvas ref={canvas} role="img" aria-label={props.title} />
          {blank && <span class="blank">{props.absent ? 'this source cannot see it' : 'nothing measured in this span'}</span>}
        </div>
      </Plane>
      <p class="heat-read">
        <span ref={readout} />
      </p>
    </figure>
  );
}

function paint(context: CanvasRenderingContext2D, width: number, map: HeatView, { axis }: HeatMapProps, look: Look, threshold: number | null) {
  const { from, to } = axis.stretch;
  const area = Math.max(1, width - plotLeft - plotRight);
  const x = (time: number) => plotLeft + ((Math.min(to, Math.max(from, time)) - from) / (to - from)) * area;
  context.clearRect(0, 0, width, height);
  // What was measured and is empty has a ground; a hole has none.
  context.fillStyle = look.empty;
  for (let i = 0; i < map.columns; ) {
    const first = i;
    while (i + 1 < map.columns && map.start[i + 1]! - map.end[i]! < 0.05) i++;
    const [left, right] = [snap(x(map.start[first]!)), snap(x(map.end[i]!))];
    context.fillRect(left, top, right - left, mapHeight);
    i++;
  }
  context.font = canvasFont;
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  for (const seconds of decades) {
    const y = Math.round(yOf(seconds));
    context.fillStyle = look.grid;
    context.fillRect(plotLeft, y, area, 1);
    context.fillStyle = look.text;
    context.fillText(decade(seconds), plotLeft - 7, y);
  }
  context.textAlign = 'center';
  for (const time of timeTicks(axis.stretch, area, 72)) {
    const at = Math.round(x(time));
    context.fillStyle = look.grid;
    context.fillRect(at, top, 1, mapHeight);
    context.fillStyle = look.text;
    if (at - plotLeft > 20) context.fillText(format.clock(time), Math.min(at, width - 26), top + mapHeight + 14);
  }
  const range = heatRange(map);
  for (let i = 0; i < map.columns; i++) {
    const left = snap(x(map.start[i]!));
    const wide = Math.max(1, snap(x(map.end[i]!)) - left);
    const seconds = map.end[i]! - map.start[i]!;
    for (let row = 0; row < heatRows; row++) {
      const count = map.counts[i * heatRows + row]!;
      if (count === 0) continue;
      context.fillStyle = look.scale[Math.round(heatPosition(count / seconds, range) * (heatSteps - 1))]!;
      context.fillRect(left, top + mapHeight - (row + 1) * rowHeight, wide, rowHeight);
    }
  }
  if (threshold !== null && threshold > 0) {
    const y = Math.round(yOf(threshold)) + 0.5;
    context.strokeStyle = look.slow;
    context.setLineDash([4, 4]);
    context.beginPath();
    context.moveTo(plotLeft, y);
    context.lineTo(plotLeft + area, y);
    context.stroke();
    context.setLineDash([]);
  }
  for (const mark of axis.marks) {
    if (mark.time < from || mark.time > to) continue;
    context.fillStyle = look[mark.kind];
    paintMark(context, mark.kind, x(mark.time), top + mapHeight + 5, 3.5);
  }
}

function legend(canvas: HTMLCanvasElement | null, scale: readonly string[]): void {
  const context = canvas?.getContext('2d');
  if (!context) return;
  scale.forEach((each, i) => {
    context.fillStyle = each;
    context.fillRect(i, 0, 1, 1);
  });
}

export function rowText(row: number): string {
  const [over, upTo] = rowBounds(row);
  if (row === 0) return `up to ${format.duration(upTo)}`;
  if (upTo === Infinity) return `over ${format.duration(over)}`;
  const [low, high] = [format.duration(over).split('\u00a0'), format.duration(upTo).split('\u00a0')];
  return `${low[1] === high[1] ? low[0] : low.join('\u00a0')}–${high.join('\u00a0')}`;
}

function cellText(map: HeatView, time: number, pixel: number | null, one: string): string {
  const column = columnAt(map, time);
  if (column < 0) return `${format.clock(time)}: nothing measured`;
  const seconds = map.end[column]! - map.start[column]!;
  const when = `${format.clock(map.end[column]!)} (${format.duration(seconds)})`;
  const total = map.totals[column]!;
  const row = pixel === null ? -1 : Math.floor((top + mapHeight - pixel) / rowHeight);
  if (row < 0 || row >= heatRows) return `${when}: ${format.exact(total)} ${one}${total === 1 ? '' : 's'}`;
  const count = map.counts[column * heatRows + row]!;
  return `${when}, ${rowText(row)}: ${format.exact(count)} ${one}${count === 1 ? '' : 's'} of ${format.exact(total)}`;
}

function sentence(map: HeatView, { one }: HeatMapProps): string {
  const summary = summarize(map);
  if (!summary) return `No ${one}s in this span.`;
  const all = `${format.exact(summary.total)} ${one}${summary.total === 1 ? '' : 's'}`;
  return `${all}: most ${rowText(summary.usual)}, longest ${rowText(summary.highest)}, at ${format.clock(summary.highestAt)}`;
}
