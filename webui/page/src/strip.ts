// The strip of turns: where each turn's bars are, and painting them. Busy time goes up from the line, the wait down, both
// on one logarithmic scale; ready events below. Side by side every turn has a slot of its own; to scale x is time.
import type { SeenTurn } from './turns';
import { beganAt, endedAt } from './turns';

export interface StripColors {
  causes: string[];
  rest: string;
  wait: string;
  ready: string;
  slow: string;
  slowBand: string;
  grid: string;
  text: string;
  cursor: string;
  chosen: string;
  unknown: string;
  font: string;
}

export const gutter = 52;
export const slotWidth = 6;
const barWidth = 4;
const lanes = { top: 16, busy: 112, wait: 52, gap: 8, ready: 20, axis: 18 };
const readyBase = lanes.top + lanes.busy + lanes.wait + lanes.gap + lanes.ready;
export const stripHeight = readyBase + lanes.axis;

const low = 1e-6;
const high = 10;
const decades = Math.log10(high / low);

/** 0 for 1 µs and less, 1 for 10 s and more: 5 µs and 200 ms are both visible. */
export function logHeight(seconds: number): number {
  if (!(seconds > low)) return 0;
  return Math.min(1, Math.log10(seconds / low) / decades);
}

export const slotsIn = (width: number) => Math.max(1, Math.floor((width - gutter - 2) / slotWidth));

export interface StripLayout {
  readonly turns: readonly SeenTurn[];
  /** Pixels: where a turn's wait begins, where its busy part begins, where it ends. Side by side all is one slot. */
  readonly wait: Float64Array;
  readonly busy: Float64Array;
  readonly end: Float64Array;
  readonly toScale: boolean;
  /** Seconds; to scale only. */
  readonly from: number;
  readonly to: number;
  /** Pixels between turns that are not neighbours: what happened there is not known here. */
  readonly holes: readonly [number, number][];
}

/** The newest turns, as many as there are slots; the last at the right edge. */
export function sideBySide(all: readonly SeenTurn[], width: number): StripLayout {
  const turns = all.slice(-slotsIn(width));
  const first = width - turns.length * slotWidth;
  const wait = Float64Array.from(turns, (_, i) => first + i * slotWidth);
  const end = wait.map((x) => x + barWidth);
  const holes: [number, number][] = [];
  turns.forEach((turn, i) => {
    const before = turns[i - 1];
    if (before && turn.turn - before.turn > 1) holes.push([wait[i]! - 2, wait[i]! - 1]);
  });
  return { turns, wait, busy: wait, end, toScale: false, from: 0, to: 0, holes };
}

/** What overlaps the last `seconds` up to `to`. */
export function toScale(all: readonly SeenTurn[], width: number, to: number, seconds: number): StripLayout {
  const from = to - seconds;
  let first = all.length;
  while (first > 0 && endedAt(all[first - 1]!) > from) first--;
  const turns = all.slice(first).filter((turn) => beganAt(turn) < to);
  const x = (time: number) => gutter + ((time - from) / seconds) * (width - gutter);
  const inside = (time: number) => Math.min(width, Math.max(gutter, x(time)));
  const wait = Float64Array.from(turns, (turn) => inside(beganAt(turn)));
  const busy = Float64Array.from(turns, (turn) => inside(turn.at));
  const end = Float64Array.from(turns, (turn) => inside(endedAt(turn)));
  const holes: [number, number][] = [];
  turns.forEach((turn, i) => {
    const before = turns[i - 1] ?? all[first - 1];
    if (before && turn.turn - before.turn > 1) holes.push([inside(endedAt(before)), wait[i]!]);
  });
  if (first === 0 && wait.length > 0 && wait[0]! > gutter) holes.unshift([gutter, wait[0]!]);
  return { turns, wait, busy, end, toScale: true, from, to, holes };
}

const niceSteps = [1, 2, 5];

/** The smallest of 1, 2, 5, 10, ... that holds a span: an axis that fits its data to the microsecond would never hold still. */
export function niceSpan(seconds: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1e-4, seconds)));
  for (const step of niceSteps) if (step * power >= seconds * (1 - 1e-9)) return step * power;
  return 10 * power;
}

/** The turn at a pixel; side by side the one whose slot it is, to scale the nearest within a few pixels. -1: none. */
export function turnAt(layout: StripLayout, x: number): number {
  let best = -1;
  let bestAway = layout.toScale ? 5 : slotWidth - barWidth;
  for (let i = 0; i < layout.turns.length; i++) {
    const from = layout.toScale ? layout.busy[i]! : layout.wait[i]!;
    const away = x < from ? from - x : x > layout.end[i]! ? x - layout.end[i]! : 0;
    // A slow turn hides hundreds of short ones beside it, never the other way round.
    if (away < bestAway || (best >= 0 && away === bestAway && layout.turns[i]!.busy > layout.turns[best]!.busy)) {
      best = i;
      bestAway = away;
    }
  }
  if (best >= 0 || !layout.toScale) return best;
  return layout.turns.findIndex((_, i) => layout.wait[i]! <= x && x <= layout.end[i]!);
}

export interface StripLook {
  colorOf: (turn: SeenTurn) => number | null;
  cursor: number;
  chosen: number;
  stallThreshold: number | null;
  /** Tick positions and texts below; to scale only. */
  ticks: readonly [number, string][];
}

export function paintStrip(context: CanvasRenderingContext2D, width: number, layout: StripLayout, colors: StripColors, look: StripLook): void {
  context.clearRect(0, 0, width, stripHeight);
  const zero = lanes.top + lanes.busy;
  const waitEnd = zero + lanes.wait;
  context.font = colors.font;
  context.textBaseline = 'middle';
  context.textAlign = 'right';

  const line = (y: number) => context.fillRect(gutter, Math.round(y), width - gutter, 1);
  context.fillStyle = colors.unknown;
  for (const [from, to] of layout.holes) context.fillRect(from, lanes.top, Math.max(1, to - from), readyBase - lanes.top);
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

  const { turns } = layout;
  const band = (i: number, style: string) => {
    const from = layout.toScale ? layout.busy[i]! : layout.wait[i]!;
    context.fillStyle = style;
    context.fillRect(from - 1, 0, Math.max(layout.toScale ? 3 : slotWidth, layout.end[i]! - from + 2), readyBase);
  };
  turns.forEach((turn, i) => turn.slow && band(i, colors.slowBand));
  if (look.chosen >= 0) band(look.chosen, colors.chosen);
  if (look.cursor >= 0) band(look.cursor, colors.cursor);

  const bars = (turn: SeenTurn, i: number) => {
    const wide = (from: number, to: number) => (layout.toScale ? Math.max(1, to - from) : barWidth);
    const wait = Math.round(logHeight(turn.poll_wait) * lanes.wait);
    context.fillStyle = colors.wait;
    if (layout.toScale) context.fillRect(layout.wait[i]!, zero + 1, Math.max(0.5, layout.busy[i]! - layout.wait[i]!), wait);
    else context.fillRect(layout.wait[i]!, zero + 1, barWidth, wait);
    const x = layout.busy[i]!;
    const height = Math.max(1, Math.round(logHeight(turn.busy) * lanes.busy));
    const color = look.colorOf(turn);
    context.fillStyle = color === null ? colors.rest : colors.causes[color]!;
    context.fillRect(x, zero - height, wide(x, layout.end[i]!), height);
    if (turn.ready !== null && turn.ready > 0) {
      const ready = Math.max(2, Math.min(1, Math.log2(turn.ready + 1) / 10) * lanes.ready);
      context.fillStyle = colors.ready;
      context.fillRect(x, readyBase - Math.round(ready), layout.toScale ? Math.min(barWidth, wide(x, layout.end[i]!)) : barWidth, Math.round(ready));
    }
  };
  // The slow ones last: to scale, thousands of short ones may lie on the same pixels.
  turns.forEach((turn, i) => turn.slow || bars(turn, i));
  turns.forEach((turn, i) => {
    if (!turn.slow) return;
    bars(turn, i);
    // A shape as well as a colour.
    const middle = layout.toScale ? (layout.busy[i]! + layout.end[i]!) / 2 : layout.busy[i]! + barWidth / 2;
    const y = Math.max(9, zero - Math.round(logHeight(turn.busy) * lanes.busy) - 3);
    context.fillStyle = colors.slow;
    context.beginPath();
    context.moveTo(middle - 4, y - 7);
    context.lineTo(middle + 4, y - 7);
    context.lineTo(middle, y);
    context.fill();
  });

  context.fillStyle = colors.text;
  line(zero);
  context.fillStyle = colors.grid;
  line(readyBase);
  line(waitEnd + lanes.gap / 2);
  if (look.stallThreshold !== null && look.stallThreshold > 0) {
    const y = Math.round(zero - logHeight(look.stallThreshold) * lanes.busy) + 0.5;
    context.strokeStyle = colors.slow;
    context.setLineDash([4, 4]);
    context.beginPath();
    context.moveTo(gutter, y);
    context.lineTo(width, y);
    context.stroke();
    context.setLineDash([]);
  }
  context.textAlign = 'center';
  for (const [x, label] of look.ticks) {
    context.fillStyle = colors.grid;
    context.fillRect(Math.round(x), readyBase, 1, 4);
    context.fillStyle = colors.text;
    context.fillText(label, Math.min(x, width - context.measureText(label).width / 2), readyBase + 11);
  }
}
