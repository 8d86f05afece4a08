// One loop: what it does now, its recent turns, its latencies, and all of it over time. One turn may be open.
import { useEffect, useMemo, useReducer, useRef, useState } from 'preact/hooks';
import type { App } from '../app';
import { CauseColors } from '../causes';
import { Charts } from '../components/Charts';
import { NoLoop } from '../components/Empty';
import { Latencies } from '../components/Latencies';
import { LiveState } from '../components/LiveState';
import { LoopHead, LoopTabs } from '../components/LoopTabs';
import { SlowTurns } from '../components/SlowTurns';
import { pressKey } from '../components/TimeBar';
import { TurnPanel } from '../components/TurnPanel';
import { TurnStrip } from '../components/TurnStrip';
import * as format from '../format';
import { turnsKey, type SavedTurns } from '../htmlreport';
import { instant } from '../model';
import { keepSeconds, lowerBound } from '../series';
import type { LoopTrack, ProcessTrack } from '../store';
import { Cursor, type TimeAxis, type TimeMark } from '../timeaxis';
import { turnOf } from '../turnlink';
import { merged, type SeenTurn } from '../turns';
import { live, within, type Stretch } from '../zoom';

export function LoopView({ app }: { app: App; version: number }) {
  const { process, loop } = app;
  if (!process) return null;
  if (!loop) return <NoLoop process={process} />;
  return (
    <>
      {process.loops.size > 1 && <LoopTabs process={process} selected={loop} onSelect={(id) => app.select({ loop: id })} />}
      <div id="loop" role={process.loops.size > 1 ? 'tabpanel' : undefined} aria-label={`Loop ${loop.latest.name}`}>
        <OneLoop app={app} process={process} loop={loop} />
      </div>
    </>
  );
}

/** A stretch that was zoomed to stays while one looks at another loop or view, as long as the page is held. */
const stretches = new WeakMap<ProcessTrack, Stretch>();
/** The colours of names in a loop, likewise. */
const colors = new WeakMap<LoopTrack, CauseColors>();

/** Keys that a control under the focus understands itself. */
const hasKeys = 'input, select, textarea, button, a, summary, [role="slider"], [contenteditable]';

function OneLoop({ app, process, loop }: { app: App; process: ProcessTrack; loop: LoopTrack }) {
  const { selection, pause } = app;
  const [, again] = useReducer((n: number, _: void) => n + 1, 0);
  const [open, setOpen] = useState<{ loop: LoopTrack; turn: SeenTurn } | null>(null);
  const cursor = useMemo(() => new Cursor(), []);
  const opener = useRef<HTMLElement | null>(null);
  let causes = colors.get(loop);
  if (!causes) colors.set(loop, (causes = new CauseColors()));

  const openTurn = (turn: SeenTurn) => {
    if (!opener.current) opener.current = document.activeElement as HTMLElement | null;
    setOpen({ loop, turn });
  };
  const closeTurn = () => {
    setOpen(null);
    opener.current?.focus({ preventScroll: true });
    opener.current = null;
  };

  // Linked to from another view: opened once, and the address forgets it.
  const linked = app.recall('turn');
  useEffect(() => {
    if (linked === null) return;
    const abort = new AbortController();
    turnOf(loop.turns, linked, { process: process.latest.id, loop: String(loop.latest.id) }, abort.signal)
      .then((turn) => {
        if (abort.signal.aborted) return;
        if (turn) openTurn(turn);
        app.remember('turn', null);
      })
      .catch(() => !abort.signal.aborted && app.remember('turn', null)); // it stays unopened: the banners say that there is no server
    return () => abort.abort();
  }, [linked, loop]);

  const { time } = loop.series;
  const newest = Math.max(process.time, pause?.time ?? 0);
  const oldest = Math.max(newest - keepSeconds, Math.min(time[0] ?? newest, pause?.time ?? newest));
  const known: Stretch = { from: Math.min(oldest, newest - 2), to: newest };
  if (!pause) stretches.delete(process);
  const zoomed = stretches.get(process) ?? null;
  const marks = useMarks(app, process, loop, openTurn);
  const axis: TimeAxis = {
    stretch: zoomed ? within(zoomed, known) : live(selection.window, time, pause?.time ?? process.time),
    known,
    held: pause !== null,
    marks,
    cursor,
    interval: (instant) => {
      const i = lowerBound(time, instant);
      return i > 0 && i < time.length && loop.series.columns.turns[i] !== null ? { from: time[i - 1]!, to: time[i]! } : null;
    },
    move: (to) => {
      stretches.set(process, to);
      if (!app.pause) app.togglePause(); // renders
      again();
    },
    live: () => {
      stretches.delete(process);
      if (app.pause) app.togglePause();
      again();
    },
  };

  const heldTurns = pause?.turns.get(String(loop.latest.id)) ?? null;
  const stripTurns = useMemo(() => {
    if (!pause || !zoomed) return heldTurns;
    const { from, to } = axis.stretch;
    return merged(loop.turns.notable, loop.turns.recent, heldTurns ?? []).filter((turn) => turn.at + turn.busy >= from && turn.at <= to);
  }, [pause, heldTurns, loop, zoomed && axis.stretch.from, zoomed && axis.stretch.to]);

  const opened = open && open.loop === loop ? open.turn : null;
  const onKey = useRef<(event: KeyboardEvent) => void>(() => {});
  onKey.current = (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    const target = event.target as Element | null;
    if (event.key === 'Escape') {
      if (target?.closest('input, select, textarea, .tree')) return;
      if (!opened && !app.pause) return;
      event.preventDefault();
      if (opened) closeTurn();
      else axis.live();
      return;
    }
    if (target?.closest(hasKeys) || target?.closest('.strip, .over-time')) {
      // Space presses what has the focus; in the strip and the charts nothing is there to be pressed.
      if (event.key !== ' ' || target.closest('button, a, input, select, textarea, summary')) return;
    }
    if (event.key === ' ') {
      app.togglePause();
      event.preventDefault();
    } else if ((event.key === 'ArrowLeft' || event.key === 'ArrowRight') && target === document.body && pressKey(axis, event.key)) event.preventDefault();
  };
  useEffect(() => {
    // Before the page's own keys, which listen at the document and leave alone what was dealt with.
    const listener = (event: KeyboardEvent) => onKey.current(event);
    document.body.addEventListener('keydown', listener);
    return () => document.body.removeEventListener('keydown', listener);
  }, []);

  const all = useMemo(() => (opened ? merged(loop.turns.notable, loop.turns.recent, heldTurns ?? [], [opened]) : []), [opened, loop, heldTurns]);
  const chosen = opened?.turn ?? null;
  const carried = app.saved?.extra['turns'] as SavedTurns | undefined;
  const saved = app.offline ? (carried?.[turnsKey(process.latest.id, loop.latest.id)] ?? loop.turns.recent) : null;
  return (
    <>
      <LoopHead process={process} loop={loop} />
      <LiveState process={process} loop={loop} window={selection.window} />
      <TurnStrip loop={loop} causes={causes} held={stripTurns} zoomed={zoomed !== null} chosen={chosen} onOpen={openTurn} />
      <div class="pair">
        <SlowTurns loop={loop} now={app.now} running={process.running} chosen={chosen} onOpen={openTurn} />
        <Latencies process={process} loop={loop} window={selection.window} onOpen={openTurn} />
      </div>
      <Charts process={process} loop={loop} axis={axis} heldAt={pause?.time ?? null} onToggle={() => app.togglePause()} />
      {opened && (
        <TurnPanel
          turn={opened}
          loop={loop}
          processId={process.latest.id}
          saved={saved}
          colors={causes}
          turns={all}
          now={app.now}
          onTurn={openTurn}
          onClose={closeTurn}
        />
      )}
    </>
  );
}

/** Slow turns and what was found, in order of time. The same array as long as nothing came: charts compare it. */
function useMarks(app: App, process: ProcessTrack, loop: LoopTrack, open: (turn: SeenTurn) => void): TimeMark[] {
  const handler = useRef(open);
  handler.current = open;
  const { slowSeen } = loop.turns;
  // Those about this loop, and those about none of the process' loops.
  const loops = new Set([...process.loops.values()].map((each) => each.latest.name));
  const findings = (process.latest.findings ?? []).filter(({ subject }) => subject === null || subject === loop.latest.name || !loops.has(subject));
  const signature = findings.map(({ rule, since }) => `${rule} ${since}`).join('\n');
  const oldest = loop.turns.notable[0]?.turn;
  return useMemo(() => {
    const marks: TimeMark[] = loop.turns.notable
      .filter((turn) => turn.slow)
      .map((turn) => ({
        time: turn.at,
        kind: 'slow',
        text: `slow turn, ${format.duration(turn.busy)}${turn.watcher === null ? '' : ` (${turn.watcher})`}`,
        open: () => handler.current(turn),
      }));
    for (const { since, title } of findings) {
      const time = typeof since === 'number' ? since : since === null ? NaN : instant(since);
      if (Number.isFinite(time)) marks.push({ time, kind: 'finding', text: `finding: ${title}`, open: () => void (location.hash = app.href({ view: 'findings' })) });
    }
    return marks.sort((a, b) => a.time - b.time);
  }, [loop, slowSeen, oldest, loop.turns.notable.length, signature]);
}
