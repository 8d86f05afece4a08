// The recent turns as bars. Looking closer (hover, focus) holds the strip; a click or Enter opens the turn.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { crisp } from '../canvas';
import { causeColors, type CauseColors } from '../causes';
import * as format from '../format';
import type { LoopTrack } from '../store';
import { gutter, niceSpan, paintStrip, sideBySide, stripHeight, toScale, turnAt, type StripColors, type StripLayout } from '../strip';
import { canvasFont, color, onThemeChange } from '../theme';
import { timeTicks } from '../timeaxis';
import { beganAt, endedAt, type SeenTurn } from '../turns';
import { Term } from './Term';

const palette = (): StripColors => ({
  causes: Array.from({ length: causeColors }, (_, i) => color(`cause-${i + 1}`)),
  rest: color('cause-rest'),
  wait: color('wait-soft'),
  ready: color('low'),
  slow: color('slow'),
  slowBand: color('slow-band'),
  grid: color('line'),
  text: color('muted'),
  cursor: color('cursor'),
  chosen: color('chosen'),
  unknown: color('raised'),
  font: canvasFont,
});

const shownCauses = 5;
/** To scale: an eighth to eight times of what fits side by side. */
const mostZoom = 3;

export interface TurnStripProps {
  loop: LoopTrack;
  causes: CauseColors;
  /** The turns of a page that is held: all, or those that are known of the time shown. */
  held: readonly SeenTurn[] | null;
  /** They are those of a stretch of time that was zoomed to. */
  zoomed: boolean;
  chosen: number | null;
  onOpen: (turn: SeenTurn) => void;
}

export function TurnStrip({ loop, causes, held, zoomed, chosen, onOpen }: TurnStripProps) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [look, setLook] = useState<{ loop: LoopTrack; turns: readonly SeenTurn[]; turn: number } | null>(null);
  const [scaled, setScaled] = useState(false);
  const [zoom, setZoom] = useState(0);
  const colors = useRef<StripColors | null>(null);
  const drawn = useRef<unknown[]>([]);

  useEffect(() => {
    const element = box.current!;
    const measure = () => box.current && setWidth(Math.floor(element.clientWidth));
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    measure();
    const stop = onThemeChange(() => {
      colors.current = null;
      drawn.current = [];
      setLook((now) => (now ? { ...now } : now));
    });
    return () => {
      observer.disconnect();
      stop();
    };
  }, []);

  const looking = look && look.loop === loop ? look : null;
  const all = looking?.turns ?? held ?? loop.turns.recent;
  const layout = useMemo<StripLayout>(() => {
    if (width === 0) return sideBySide([], 0);
    const near = sideBySide(all, width);
    if (!scaled || near.turns.length === 0) return near;
    const last = near.turns[near.turns.length - 1]!;
    const span = niceSpan((endedAt(last) - beganAt(near.turns[0]!)) * 2 ** -zoom);
    return toScale(all, width, endedAt(last), span);
  }, [all, width, scaled, zoom]);
  const { turns } = layout;
  const ranked = useMemo(() => causes.rank(turns), [turns, causes]);
  const index = looking ? turns.findIndex((turn) => turn.turn === looking.turn) : -1;
  const chosenIndex = chosen === null ? -1 : turns.findIndex((turn) => turn.turn === chosen);
  const shown = turns[index] ?? turns[chosenIndex] ?? null;

  useEffect(() => {
    const wanted = [layout, index, chosenIndex, width, devicePixelRatio, loop.latest.stall_threshold_seconds, ranked];
    if (width === 0 || wanted.every((each, i) => each === drawn.current[i])) return;
    drawn.current = wanted;
    const context = crisp(canvas.current!, width, stripHeight);
    if (!context) return;
    colors.current ??= palette();
    const x = (time: number) => gutter + ((time - layout.from) / (layout.to - layout.from)) * (width - gutter);
    const ticks = layout.toScale ? tickLabels(layout, width).map(([time, label]): [number, string] => [x(time), label]) : [];
    paintStrip(context, width, layout, colors.current, {
      colorOf: (turn) => causes.colorOf(turn),
      cursor: index,
      chosen: chosenIndex,
      stallThreshold: loop.latest.stall_threshold_seconds,
      ticks,
    });
  });

  const lookAt = (i: number) => {
    const turn = turns[Math.min(turns.length - 1, Math.max(0, i))];
    if (turn) setLook({ loop, turns: all, turn: turn.turn });
  };
  const under = (event: MouseEvent) => turnAt(layout, event.clientX - box.current!.getBoundingClientRect().left);
  const onMove = (event: MouseEvent) => {
    const i = under(event);
    if (i >= 0) lookAt(i);
  };
  const onClick = (event: MouseEvent) => {
    const turn = turns[under(event)];
    if (turn) onOpen(turn);
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const at = index >= 0 ? index : chosenIndex >= 0 ? chosenIndex : turns.length - 1;
    const slow = (direction: -1 | 1) => {
      for (let i = at + direction; i >= 0 && i < turns.length; i += direction) if (turns[i]!.slow) return i;
      return at;
    };
    const to = {
      ArrowLeft: event.shiftKey ? slow(-1) : at - 1,
      ArrowRight: event.shiftKey ? slow(1) : at + 1,
      Home: 0,
      End: turns.length - 1,
      PageUp: at - 10,
      PageDown: at + 10,
    }[event.key];
    if (event.key === 'Escape' && looking) {
      setLook(null);
      event.stopPropagation();
    }
    if (event.key === 'Enter' && turns[at]) onOpen(turns[at]!);
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    lookAt(to);
  };

  const first = turns[0];
  const last = turns[turns.length - 1];
  const span = layout.toScale ? layout.to - layout.from : first && last ? endedAt(last) - beganAt(first) : 0;
  const lost = loop.turns.lostTotal;
  const slow = turns.filter((turn) => turn.slow).length;
  const more = ranked.filter(({ color }, i) => color !== null && i >= shownCauses).length;
  return (
    <section class="card" aria-labelledby="strip-title">
      <div class="card-head">
        <h2 id="strip-title">
          <Term about="turnStrip">{zoomed ? 'Turns of this time' : 'Recent turns'}</Term>
        </h2>
        <span class="quiet">
          {first && last
            ? `${format.count(turns.length)} turns in ${format.duration(span)}${zoomed ? ', those this page remembers' : ''}`
            : zoomed
              ? 'this page remembers none of this time'
              : 'no turn yet'}
        </span>
        {lost > 0 && (
          <span
            class="badge warn"
            data-testid="turns-lost"
            title="Between two updates of this page more turns went by than an update carries. Counters and histograms include them."
          >
            {format.count(lost)} turns not shown (too many at once)
          </span>
        )}
        {(looking || held) && <span class="badge">held</span>}
        <span class="strip-tools">
          {scaled && (
            <span class="buttons" role="group" aria-label="Zoom of the strip">
              <button type="button" aria-label="Less time" disabled={zoom >= mostZoom} onClick={() => setZoom(zoom + 1)}>
                +
              </button>
              <button type="button" aria-label="More time" disabled={zoom <= -mostZoom} onClick={() => setZoom(zoom - 1)}>
                −
              </button>
            </span>
          )}
          <span class="toggle" role="group" aria-label="Time axis of the strip">
            <button type="button" aria-pressed={!scaled} onClick={() => setScaled(false)}>
              side by side
            </button>
            <button type="button" aria-pressed={scaled} onClick={() => setScaled(true)} data-testid="to-scale">
              to scale
            </button>
          </span>
        </span>
      </div>
      <div
        class="strip"
        ref={box}
        data-testid="turn-strip"
        data-turns={turns.length}
        data-slow={slow}
        tabIndex={0}
        role="group"
        aria-label="Turns, newest at the right. Arrow keys step through them, with shift through the slow ones; Enter opens one."
        onMouseMove={onMove}
        onMouseLeave={() => setLook(null)}
        onClick={onClick}
        onFocus={() => !looking && box.current!.matches(':focus-visible') && lookAt(chosenIndex >= 0 ? chosenIndex : turns.length - 1)}
        onBlur={() => setLook(null)}
        onKeyDown={onKey}
      >
        <canvas ref={canvas} />
      </div>
      <p class="legend causes">
        {ranked.slice(0, shownCauses).map(({ name, color }) => (
          <span key={name}>
            <i class={`key ${color === null ? 'cause-rest' : `cause-${color + 1}`}`} aria-hidden="true" />
            <code>{name}</code>
          </span>
        ))}
        {more > 0 && <span>{more} more</span>}
        <span>
          <i class="key cause-rest" aria-hidden="true" />
          {ranked.length > 0 ? 'rest, unattributed' : 'busy, unattributed'}
        </span>
        <span>
          <i class="key wait-soft" aria-hidden="true" />
          poll wait
        </span>
        <SlowLegend loop={loop} />
      </p>
      <div class="detail" aria-live={looking && box.current?.matches(':focus-visible') ? 'polite' : 'off'}>
        {shown ? (
          <Detail turn={shown} />
        ) : (
          <span class="quiet">Logarithmic, both ways from the line; dashed: the stall threshold. Hover to read a turn, click to open it.</span>
        )}
      </div>
    </section>
  );
}

/** The rule with its numbers, as it judges turns now. */
function SlowLegend({ loop }: { loop: LoopTrack }) {
  const { stall, outlier, usual } = loop.turns.rule;
  const own = usual && 10 * usual.p99 >= 1e-3 ? `10 × this loop’s usual p99, ${format.duration(usual.p99)}` : '10 × its usual p99 would be below 1 ms';
  const parts: string[] = [];
  if (stall !== null && outlier !== null && outlier >= stall) parts.push(`over ${format.duration(stall)} (stall threshold; ${own})`);
  else {
    if (stall !== null) parts.push(`over ${format.duration(stall)} (stall threshold)`);
    if (outlier !== null) parts.push(`over ${format.duration(outlier)} (${own})`);
  }
  return (
    <span class="slow-rule" data-testid="slow-rule">
      <i class="mark" aria-hidden="true">
        ▼
      </i>{' '}
      <Term about="slowRule">slow</Term>: {parts.length > 0 ? `busy ${parts.join(' or ')}` : 'nothing usual known yet'}
    </span>
  );
}

const milli = (time: number) => format.clock(time, true);

/** Clock times as exact as the ticks are apart; below a millisecond counted from the last whole second. */
function tickLabels(layout: StripLayout, width: number): [number, string][] {
  const span = layout.to - layout.from;
  if (span >= 1) return timeTicks(layout, width - gutter, 80).map((time) => [time, span < 8 ? milli(time).slice(0, -2) : format.clock(time)]);
  const step = niceSpan((span * 90) / Math.max(1, width - gutter));
  const base = Math.floor(layout.from);
  const out: [number, string][] = [];
  for (let i = Math.ceil((layout.from - base) / step); base + i * step <= layout.to; i++) {
    out.push([base + i * step, step >= 1e-3 ? milli(base + i * step).slice(3) : `:${format.clock(base).slice(-2)} + ${(i * step * 1e3).toFixed(1)} ms`]);
  }
  return out;
}

function Detail({ turn }: { turn: SeenTurn }) {
  const pairs: [string, string][] = [
    ['turn', format.exact(turn.turn)],
    ['at', format.clock(turn.at, true)],
    ['poll wait', format.duration(turn.poll_wait)],
    ['busy', format.duration(turn.busy) + (turn.slow ? ' (slow)' : '')],
    ['ready', format.count(turn.ready)],
    ['timeout', format.timeout(turn.timeout)],
    ['result', turn.result ?? '—'],
    ['longest watcher', turn.watcher === null ? '—' : `${turn.watcher}, ${format.duration(turn.watcher_seconds)}`],
  ];
  return (
    <dl>
      {pairs.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
