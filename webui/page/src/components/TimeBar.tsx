// Live or held: says which, and moves through what the page has kept. The scrubber below shows all of it in small.
import { useEffect, useRef } from 'preact/hooks';
import { crisp, paintMark } from '../canvas';
import * as format from '../format';
import type { Value } from '../series';
import { color, onThemeChange } from '../theme';
import type { TimeAxis } from '../timeaxis';
import { keyMove, pan, scale, within } from '../zoom';

/** Applies a key to the axis; false: it is not one of ours. */
export function pressKey(axis: TimeAxis, key: string): boolean {
  const { stretch, known } = axis;
  const move = keyMove(key, stretch);
  if (key === 'End') {
    axis.move(pan(stretch, known.to - stretch.to, known));
    return true;
  }
  if (key === 'Home') {
    axis.move(pan(stretch, known.from - stretch.from, known));
    return true;
  }
  if (!move) return false;
  if (move.pan !== undefined) axis.move(pan(stretch, move.pan, known));
  if (move.scale !== undefined) axis.move(scale(stretch, move.scale, axis.cursor.time ?? (stretch.from + stretch.to) / 2, known));
  return true;
}

export function TimeBar(props: {
  axis: TimeAxis;
  /** The page was held at this instant; null: it is live. */
  heldAt: number | null;
  /** The process runs: there is a live to go back to. */
  running: boolean;
  onToggle: () => void;
  time: readonly number[];
  utilization: readonly Value[];
}) {
  const { axis, heldAt, running } = props;
  const readout = useRef<HTMLSpanElement>(null);
  const bar = useRef<HTMLDivElement>(null);
  const { from, to } = axis.stretch;
  const key = (name: string) => () => pressKey(axis, name);

  useEffect(() => {
    const write = () => {
      const { time } = axis.cursor;
      const text = time === null ? '' : format.clock(time, true).slice(0, -2);
      if (readout.current) readout.current.textContent = text;
    };
    write();
    return axis.cursor.listen(write);
  }, [axis.cursor]);

  // It stays below the page's own head, whose height depends on what is in it.
  useEffect(() => {
    const head = document.querySelector('header');
    if (!head) return;
    const observer = new ResizeObserver(() => bar.current?.style.setProperty('--over', `${head.offsetHeight}px`));
    observer.observe(head);
    return () => observer.disconnect();
  }, []);

  return (
    <div class="timebar" ref={bar}>
      <div class="timebar-row">
        <span class={`pill ${heldAt === null ? (running ? 'live' : '') : 'held'}`} data-testid="time-state" data-held={heldAt !== null}>
          <span class="dot" aria-hidden="true" />
          {heldAt !== null ? `paused at ${format.clock(heldAt)}` : running ? 'live' : 'the end'}
        </span>
        <button type="button" class="pause" aria-pressed={heldAt !== null} onClick={props.onToggle} data-testid="pause" aria-keyshortcuts="Space">
          {heldAt !== null ? (running ? 'Back to live' : 'Back to the end') : 'Pause'}
        </button>
        {/* Not `disabled`: a button that has the focus would keep it and swallow every key. */}
        <span class="buttons" role="group" aria-label="Move in time">
          <button type="button" onClick={key('ArrowLeft')} aria-label="Earlier" aria-disabled={from <= axis.known.from + 0.01}>
            ◀
          </button>
          <button type="button" onClick={key('ArrowRight')} aria-label="Later" aria-disabled={!axis.held || to >= axis.known.to - 0.01}>
            ▶
          </button>
          <button type="button" onClick={key('+')} aria-label="Zoom in">
            +
          </button>
          <button type="button" onClick={key('-')} aria-label="Zoom out">
            −
          </button>
        </span>
        <span class="quiet stretch" data-testid="time-stretch">
          {format.clock(from)} – {format.clock(to)}, {format.span(to - from)}
        </span>
        <span class="cursor-time" ref={readout} />
        <span class="quiet small hint">drag to zoom · shift-drag or ← → to go back · double click: live</span>
      </div>
      <Scrubber {...props} />
    </div>
  );
}

const height = 30;

function Scrubber({ axis, time, utilization }: { axis: TimeAxis; time: readonly number[]; utilization: readonly Value[] }) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const latest = useRef({ axis, time, utilization });
  latest.current = { axis, time, utilization };
  const drawn = useRef('');
  const colors = useRef<Record<'fill' | 'line' | 'slow' | 'finding', string> | null>(null);
  const { known, stretch } = axis;
  const span = Math.max(1, known.to - known.from);

  const draw = () => {
    const { axis, time, utilization } = latest.current;
    const element = canvas.current;
    if (!element) return; // it has left the page, and its observer is told so first
    const width = element.parentElement!.clientWidth;
    const key = [width, axis.known.from, axis.known.to, time.length, axis.marks.length, devicePixelRatio].join(' ');
    if (key === drawn.current) return;
    drawn.current = key;
    const context = crisp(element, width, height);
    if (!context) return;
    const look = (colors.current ??= { fill: color('busy-fill'), line: color('busy'), slow: color('slow'), finding: color('accent') });
    const wide = Math.max(1, axis.known.to - axis.known.from);
    const x = (t: number) => ((t - axis.known.from) / wide) * width;
    const y = (value: number) => height - 2 - value * (height - 8);
    context.clearRect(0, 0, width, height);
    let open = -1;
    for (let i = 0; i <= time.length; i++) {
      const value = i < time.length ? utilization[i] : null;
      if (value !== null && value !== undefined) {
        if (open < 0) open = i;
        continue;
      }
      if (open >= 0) {
        context.beginPath();
        context.moveTo(x(time[open]!), height);
        for (let k = open; k < i; k++) context.lineTo(x(time[k]!), y(utilization[k]!));
        context.lineTo(x(time[i - 1]!), height);
        context.fillStyle = look.fill;
        context.fill();
        context.beginPath();
        for (let k = open; k < i; k++) context.lineTo(x(time[k]!), y(utilization[k]!));
        context.strokeStyle = look.line;
        context.lineWidth = 1;
        context.stroke();
      }
      open = -1;
    }
    for (const mark of axis.marks) {
      context.fillStyle = look[mark.kind];
      paintMark(context, mark.kind, x(mark.time), height - 1, 3);
    }
  };

  useEffect(() => {
    const observer = new ResizeObserver(draw);
    observer.observe(box.current!);
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
  useEffect(draw);

  const moveTo = (event: PointerEvent) => {
    const rect = box.current!.getBoundingClientRect();
    const { known, stretch } = latest.current.axis;
    const middle = known.from + ((event.clientX - rect.left) / rect.width) * (known.to - known.from);
    const half = (stretch.to - stretch.from) / 2;
    latest.current.axis.move(within({ from: middle - half, to: middle + half }, known));
  };
  const share = (t: number) => Math.min(100, Math.max(0, ((t - known.from) / span) * 100));
  const [left, right] = [share(stretch.from), share(stretch.to)];
  return (
    <div
      class="scrubber"
      ref={box}
      role="slider"
      tabIndex={0}
      aria-label="Time shown"
      aria-valuemin={Math.round(known.from)}
      aria-valuemax={Math.round(known.to)}
      aria-valuenow={Math.round(stretch.to)}
      aria-valuetext={`${format.clock(stretch.from)} to ${format.clock(stretch.to)} of ${format.span(span)} kept`}
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        box.current!.setPointerCapture(event.pointerId);
        event.preventDefault();
        box.current!.focus({ preventScroll: true });
        moveTo(event);
      }}
      onPointerMove={(event) => box.current!.hasPointerCapture(event.pointerId) && moveTo(event)}
      onDblClick={() => axis.live()}
      data-testid="scrubber"
    >
      <canvas ref={canvas} aria-hidden="true" />
      <span class="scrubber-shade" style={{ left: '0', width: `${left}%` }} />
      <span class="scrubber-shade" style={{ left: `${right}%`, width: `${100 - right}%` }} />
      <span class="scrubber-frame" style={{ left: `${left}%`, width: `${Math.max(0.4, right - left)}%` }} />
    </div>
  );
}
