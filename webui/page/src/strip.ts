// Paints the strip of recent turns: busy upwards, poll wait downwards, both on one logarithmic scale, ready events below.
import type { SeenTurn } from './turns';

export interface StripColors {
  busy: string;
  wait: string;
  ready: string;
  slow: string;
  slowBand: string;
  grid: string;
  text: string;
  cursor: string;
  font: string;
}

export const gutter = 52;
export const slotWidth = 6;
const barWidth = 4;
const lanes = { top: 16, busy: 104, wait: 52, gap: 8, ready: 20 };
export const stripHeight = lanes.top + lanes.busy + lanes.wait + lanes.gap + lanes.ready + 2;

const low = 1e-6;
const high = 10;
const decades = Math.log10(high / low);

/** 0 for 1 µs and less, 1 for 10 s and more: 5 µs and 200 ms are both visible. */
export function logHeight(seconds: number): number {
  if (!(seconds > low)) return 0;
  return Math.min(1, Math.log10(seconds / low) / decades);
}

export const slotsIn = (width: number) => Math.max(1, Math.floor((width - gutter - 2) / slotWidth));

export function paintStrip(
  context: CanvasRenderingContext2D,
  width: number,
  turns: readonly SeenTurn[],
  colors: StripColors,
  cursor: number | null,
  stallThreshold: number | null,
): void {
  context.clearRect(0, 0, width, stripHeight);
  const zero = lanes.top + lanes.busy;
  const waitEnd = zero + lanes.wait;
  const readyBase = stripHeight - 1;
  context.font = colors.font;
  context.textBaseline = 'middle';
  context.textAlign = 'right';

  const line = (y: number) => context.fillRect(gutter, Math.round(y), width - gutter, 1);
  for (const [seconds, label] of [
    [1e-5, '10 µs'],
    [1e-3, '1 ms'],
    [1e-1, '100 ms'],
    [10, '10 s'],
  ] as const) {
    const y = zero - logHeight(seconds) * lanes.busy;
    context.fillStyle = colors.grid;
    line(y);
    context.fillStyle = colors.text;
    context.fillText(label, gutter - 7, y);
  }
  context.fillStyle = colors.text;
  context.fillText('wait', gutter - 7, zero + lanes.wait / 2);
  context.fillText('ready', gutter - 7, readyBase - lanes.ready / 2);

  const first = width - turns.length * slotWidth;
  turns.forEach((turn, i) => {
    const x = first + i * slotWidth;
    if (turn.slow) {
      context.fillStyle = colors.slowBand;
      context.fillRect(x - 1, 0, slotWidth, stripHeight);
    }
    if (i === cursor) {
      context.fillStyle = colors.cursor;
      context.fillRect(x - 1, 0, slotWidth, stripHeight);
    }
    const busy = Math.max(1, Math.round(logHeight(turn.busy) * lanes.busy));
    context.fillStyle = turn.slow ? colors.slow : colors.busy;
    context.fillRect(x, zero - busy, barWidth, busy);
    if (turn.slow) {
      // A shape as well as a colour.
      const y = Math.max(9, zero - busy - 3);
      context.beginPath();
      context.moveTo(x + barWidth / 2 - 4, y - 7);
      context.lineTo(x + barWidth / 2 + 4, y - 7);
      context.lineTo(x + barWidth / 2, y);
      context.fill();
    }
    const wait = Math.round(logHeight(turn.poll_wait) * lanes.wait);
    context.fillStyle = colors.wait;
    context.fillRect(x, zero + 1, barWidth, wait);
    if (turn.ready !== null && turn.ready > 0) {
      const ready = Math.max(2, Math.min(1, Math.log2(turn.ready + 1) / 10) * lanes.ready);
      context.fillStyle = colors.ready;
      context.fillRect(x, readyBase - Math.round(ready), barWidth, Math.round(ready));
    }
  });

  context.fillStyle = colors.text;
  line(zero);
  context.fillStyle = colors.grid;
  line(readyBase);
  line(waitEnd + lanes.gap / 2);
  if (stallThreshold !== null && stallThreshold > 0) {
    const y = Math.round(zero - logHeight(stallThreshold) * lanes.busy) + 0.5;
    context.strokeStyle = colors.slow;
    context.setLineDash([4, 4]);
    context.beginPath();
    context.moveTo(gutter, y);
    context.lineTo(width, y);
    context.stroke();
    context.setLineDash([]);
  }
}
