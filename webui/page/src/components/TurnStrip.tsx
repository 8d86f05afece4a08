import { useEffect, useRef, useState } from 'preact/hooks';
import * as format from '../format';
import type { LoopTrack } from '../store';
import { gutter, paintStrip, slotsIn, slotWidth, stripHeight, type StripColors } from '../strip';
import { canvasFont, color, onThemeChange } from '../theme';
import type { SeenTurn } from '../turns';

function colors(): StripColors {
  return {
    busy: color('busy'),
    wait: color('wait'),
    ready: color('ready'),
    slow: color('slow'),
    slowBand: color('slow-band'),
    grid: color('line'),
    text: color('muted'),
    cursor: color('cursor'),
    font: canvasFont,
  };
}

/** `held`: the turns of a paused page. Looking closer (hover, focus) holds the strip as well. */
export function TurnStrip({ loop, held }: { loop: LoopTrack; held: SeenTurn[] | null }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [palette, setPalette] = useState<StripColors | null>(null);
  const [look, setLook] = useState<{ loop: LoopTrack; turns: SeenTurn[]; turn: number } | null>(null);

  useEffect(() => {
    const element = canvas.current!;
    const measure = () => setWidth(Math.floor(element.parentElement!.clientWidth));
    const observer = new ResizeObserver(measure);
    observer.observe(element.parentElement!);
    measure();
    setPalette(colors());
    const stop = onThemeChange(() => setPalette(colors()));
    return () => {
      observer.disconnect();
      stop();
    };
  }, []);

  const looking = look && look.loop === loop ? look : null;
  const all = looking?.turns ?? held ?? loop.turns.recent;
  const turns = width > 0 ? all.slice(-slotsIn(width)) : [];
  const index = looking ? turns.findIndex((turn) => turn.turn === looking.turn) : -1;
  const chosen = index >= 0 ? turns[index]! : null;

  useEffect(() => {
    const element = canvas.current!;
    if (width === 0 || !palette) return;
    const ratio = devicePixelRatio || 1;
    const pixels = Math.round(width * ratio);
    if (element.width !== pixels || element.height !== Math.round(stripHeight * ratio)) {
      element.width = pixels;
      element.height = Math.round(stripHeight * ratio);
      element.style.height = `${stripHeight}px`;
    }
    const context = element.getContext('2d')!;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    paintStrip(context, width, turns, palette, index >= 0 ? index : null, loop.latest.stall_threshold_seconds);
  });

  const lookAt = (i: number) => {
    const turn = turns[Math.min(turns.length - 1, Math.max(0, i))];
    if (turn) setLook({ loop, turns: all, turn: turn.turn });
  };
  const onMove = (event: MouseEvent) => {
    const x = event.clientX - canvas.current!.getBoundingClientRect().left;
    const i = Math.floor((x - (width - turns.length * slotWidth)) / slotWidth);
    if (x >= gutter && i >= 0 && i < turns.length) lookAt(i);
  };
  const onKey = (event: KeyboardEvent) => {
    const at = index >= 0 ? index : turns.length - 1;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: turns.length - 1, PageUp: at - 10, PageDown: at + 10 }[event.key];
    if (event.key === 'Escape') setLook(null);
    if (to === undefined) return;
    event.preventDefault();
    lookAt(to);
  };

  const first = turns[0];
  const last = turns[turns.length - 1];
  const lost = loop.turns.lostTotal;
  return (
    <section class="card" aria-labelledby="strip-title">
      <div class="card-head">
        <h2 id="strip-title">Recent turns</h2>
        <span class="quiet">
          {first && last ? `${format.count(turns.length)} turns in ${format.duration(last.at - first.at)}` : 'no turn yet'}
        </span>
        {lost > 0 && (
          <span class="badge warn" data-testid="turns-lost" title="Between two updates of this page more turns went by than an update carries. Counters and histograms include them.">
            {format.count(lost)} turns not shown (too many at once)
          </span>
        )}
        {(looking || held) && <span class="badge">held</span>}
        <span class="legend" aria-hidden="true">
          <span><i class="key busy" />busy</span>
          <span><i class="key wait" />poll wait</span>
          <span><i class="key ready" />ready events</span>
          <span><i class="mark">▼</i> slow</span>
        </span>
      </div>
      <div
        class="strip"
        data-testid="turn-strip"
        data-turns={turns.length}
        tabIndex={0}
        role="group"
        aria-label="Recent turns, newest at the right. Arrow keys step through them."
        onMouseMove={onMove}
        onMouseLeave={() => setLook(null)}
        onFocus={() => lookAt(turns.length - 1)}
        onBlur={() => setLook(null)}
        onKeyDown={onKey}
      >
        <canvas ref={canvas} />
      </div>
      <div class="detail" aria-live="polite">
        {chosen ? (
          <Detail turn={chosen} />
        ) : (
          <span class="quiet">Logarithmic, both ways from the line. Hover or focus to read a turn; dashed: the stall threshold.</span>
        )}
      </div>
    </section>
  );
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
