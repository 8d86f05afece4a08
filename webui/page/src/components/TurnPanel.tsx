// One turn: when, what it waited for and got, how it compares with what is usual for its loop, and what was served in it.
import { useEffect, useRef, useState } from 'preact/hooks';
import * as format from '../format';
import type { CauseColors } from '../causes';
import type { Turn } from '../model';
import { ask, detailOf, rowsOf, savedDetail, times, type Detail } from '../served';
import type { LoopTrack } from '../store';
import { servedName, slowBeside, type SeenTurn } from '../turns';
import { Term } from './Term';

/** Of a turn that served thousands; the record keeps fewer, other sources may not. */
const mostRows = 400;

export interface TurnPanelProps {
  turn: SeenTurn;
  loop: LoopTrack;
  processId: string;
  /** The turns that a saved page carries; null: there is a server to ask. */
  saved: readonly Turn[] | null;
  colors: CauseColors | null;
  /** All that are known, in order. */
  turns: readonly SeenTurn[];
  now: number;
  onTurn: (turn: SeenTurn) => void;
  onClose: () => void;
}

export function TurnPanel({ turn, loop, processId, saved, colors, turns, now, onTurn, onClose }: TurnPanelProps) {
  const title = useRef<HTMLHeadingElement>(null);
  const loopId = String(loop.latest.id);
  const [asked, setAsked] = useState<{ key: string; detail: Detail }>({ key: '', detail: { state: 'asking' } });
  const [attempt, setAttempt] = useState(0);
  const known = detailOf(turn);
  const key = `${processId} ${loopId} ${turn.turn} ${attempt}`;

  useEffect(() => {
    if (known || saved) return;
    const abort = new AbortController();
    void ask(processId, loopId, turn.turn, abort.signal).then((detail) => {
      if (!abort.signal.aborted) setAsked({ key, detail });
    });
    return () => abort.abort();
  }, [key, known !== null, saved]);
  useEffect(() => title.current?.focus({ preventScroll: true }), []);

  const detail: Detail = known ?? (saved ? savedDetail(saved, turn.turn) : asked.key === key ? asked.detail : { state: 'asking' });
  const at = turns.findIndex((each) => each.turn === turn.turn);
  const [before, after] = [turns[at - 1] ?? null, at < 0 ? null : (turns[at + 1] ?? null)];
  const [slowBefore, slowAfter] = [slowBeside(turns, turn.turn, -1), slowBeside(turns, turn.turn, 1)];
  const step = (to: SeenTurn | null, label: string, text: string) => (
    <button type="button" disabled={!to} onClick={() => to && onTurn(to)} aria-label={label} title={label}>
      {text}
    </button>
  );
  return (
    <aside
      class="turn-panel"
      aria-labelledby="turn-title"
      data-testid="turn-panel"
      data-turn={turn.turn}
      data-detail={detail.state}
      onKeyDown={(event) => {
        const to = event.key === 'ArrowLeft' ? (event.shiftKey ? slowBefore : before) : event.key === 'ArrowRight' ? (event.shiftKey ? slowAfter : after) : null;
        if (event.key !== 'Escape' && !to) return;
        event.stopPropagation();
        event.preventDefault();
        if (to) onTurn(to);
        else onClose();
      }}
    >
      <div class="turn-inner">
        <div class="turn-head">
          <h2 id="turn-title" tabIndex={-1} ref={title}>
            Turn {format.exact(turn.turn)}
          </h2>
          {turn.slow && (
            <span class="badge slow">
              <span aria-hidden="true">▼ </span>slow
            </span>
          )}
          <span class="quiet">
            {format.clock(turn.at, true)}, {format.span(now - turn.at)} ago
          </span>
          <span class="buttons turn-nav" role="group" aria-label="Other turns">
            {step(slowBefore, 'Slow turn before', '▼ ◀')}
            {step(before, 'Turn before, of those this page remembers', '◀')}
            {step(after, 'Next turn, of those this page remembers', '▶')}
            {step(slowAfter, 'Next slow turn', '▶ ▼')}
          </span>
          <button type="button" class="close" onClick={onClose} aria-label="Close" data-testid="turn-close">
            ✕
          </button>
        </div>
        <div class="turn-body">
          <Facts turn={turn} loop={loop} />
          <ServedRows turn={turn} detail={detail} saved={saved !== null} colors={colors} onRetry={() => setAttempt(attempt + 1)} />
        </div>
      </div>
    </aside>
  );
}

function Facts({ turn, loop }: { turn: SeenTurn; loop: LoopTrack }) {
  const { usual, stall } = loop.turns.rule;
  const [median, p99] = [times(turn.busy, usual?.p50), times(turn.busy, usual?.p99)];
  return (
    <dl class="turn-facts">
      <div>
        <dt>busy</dt>
        <dd class={turn.slow ? 'bad' : ''}>
          <b>{format.duration(turn.busy)}</b>
          <span class="quiet">
            {median
              ? `${median} the usual median (${format.duration(usual!.p50)}), ${p99} the usual p99 (${format.duration(usual!.p99)}) of this loop`
              : 'too few turns to say what is usual for this loop'}
            {stall !== null && turn.busy > stall && `; stall threshold ${format.duration(stall)}`}
          </span>
        </dd>
      </div>
      <div>
        <dt>poll wait</dt>
        <dd>
          <b>{format.duration(turn.poll_wait)}</b>
          <span class="quiet">{waited(turn)}</span>
        </dd>
      </div>
      <div>
        <dt>ready events</dt>
        <dd>
          <b>{turn.ready === null ? format.unknown : format.exact(turn.ready)}</b>
          {turn.ready === null && <span class="quiet">the wait call of this backend cannot be seen</span>}
        </dd>
      </div>
    </dl>
  );
}

/** What the wait asked for and what it got. */
export function waited(turn: Pick<SeenTurn, 'timeout' | 'result' | 'poll_wait'>): string {
  const { timeout, result } = turn;
  const asked =
    timeout === null
      ? 'asked for an unknown time'
      : timeout < 0
        ? 'asked to wait without limit'
        : timeout === 0
          ? 'only looked (timeout 0)'
          : `asked to wait ${format.duration(timeout)} at most`;
  switch (result) {
    case 'events':
      return `${asked}; events ended it`;
    case 'timeout':
      if (timeout === null || timeout < 0) return `${asked}; timed out`;
      return timeout === 0 ? `${asked}, nothing was there` : `${asked}; timed out, ${lateness(turn.poll_wait - timeout)}`;
    case 'interrupted':
      return `${asked}; a signal ended it`;
    case 'error':
      return `${asked}; it failed`;
    default:
      return `${asked}; how it ended cannot be seen`;
  }
}

const lateness = (delay: number) => (delay >= 0 ? `${format.duration(delay)} late (poll delay)` : `${format.duration(-delay)} early`);

function ServedRows(props: { turn: SeenTurn; detail: Detail; saved: boolean; colors: CauseColors | null; onRetry: () => void }) {
  const { turn, detail, saved, colors, onRetry } = props;
  if (detail.state !== 'known') {
    return (
      <div class="turn-served">
        <h3>
          <Term about="served">Served in this turn</Term>
        </h3>
        <p class="quiet" data-testid="served-note">
          {detail.state === 'asking' && 'asking the recording …'}
          {detail.state === 'gone' && 'No longer in the recording: its ring has moved on. '}
          {detail.state === 'blind' && 'This source cannot tell. '}
          {detail.state === 'failed' && `Not to be had: ${detail.why}. `}
          {detail.state !== 'asking' && turn.watcher !== null && (
            <>
              Longest was <code>{turn.watcher}</code> with {format.duration(turn.watcher_seconds)}.
            </>
          )}
        </p>
        {detail.state === 'failed' && !saved && (
          <button type="button" onClick={onRetry}>
            Ask again
          </button>
        )}
      </div>
    );
  }
  const { rows, rest, restShare } = rowsOf(turn, detail.served.slice(0, mostRows));
  const whole = Math.max(turn.busy, 1e-9);
  const all = detail.served.length + detail.more;
  const hidden = all - rows.length;
  return (
    <div class="turn-served">
      <h3>
        <Term about="served">Served in this turn</Term>
        <span class="quiet">
          {' '}
          {all === 0 ? 'nothing that has a name' : `${format.exact(all)} in ${format.duration(turn.busy)}`}
        </span>
      </h3>
      <div class="gantt-scroll" tabIndex={0} role="group" aria-label="What was served, in order">
        <table class="gantt">
          <thead>
            <tr>
              <th scope="col" class="left">
                name
              </th>
              <th scope="col" class="left gantt-lane-head">
                <span class="gantt-scale">
                  <span>0</span>
                  <span>{format.duration(turn.busy / 2)}</span>
                  <span>{format.duration(turn.busy)}</span>
                </span>
              </th>
              <th scope="col">began</th>
              <th scope="col">took</th>
              <th scope="col">share</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((part, i) => {
              const name = servedName(part);
              const slot = colors?.slotOf(name) ?? null;
              return (
                <tr key={i} data-testid="turn-served" data-name={name} data-fd={part.fd ?? ''}>
                  <td class="left gantt-name">
                    {part.watcher === null ? <span>{part.kind ?? 'unnamed'}</span> : <code>{part.watcher}</code>}{' '}
                    <span class="quiet small">
                      {part.watcher !== null && part.kind}
                      {part.fd !== null && ` fd ${part.fd}`}
                    </span>
                  </td>
                  <td class="gantt-lane">
                    <span
                      class={`gantt-bar ${slot === null ? 'cause-rest' : `cause-${slot + 1}`}`}
                      style={{ left: `${Math.min(99.6, (part.start / whole) * 100)}%`, width: `${Math.max(0.4, Math.min(1, part.share) * 100)}%` }}
                    />
                  </td>
                  <td>{format.duration(part.start)}</td>
                  <td class="strong">{format.duration(part.seconds)}</td>
                  <td>{format.percent(part.share)}</td>
                </tr>
              );
            })}
            {hidden > 0 && (
              <tr>
                <td class="left quiet" colSpan={5}>
                  and {format.exact(hidden)} more{detail.more > 0 && ' that the record has no room for'}; their time is in the row below
                </td>
              </tr>
            )}
            <tr class="gantt-rest" data-testid="turn-rest">
              <td class="left">
                <Term about="turnRest">unattributed</Term>
              </td>
              <td class="gantt-lane">
                <span class="gantt-bar hollow" style={{ left: '0', width: `${Math.max(0.4, Math.min(1, restShare) * 100)}%` }} />
              </td>
              <td />
              <td class="strong">{format.duration(rest)}</td>
              <td>{format.percent(restShare)}</td>
            </tr>
          </tbody>
        </table>
      </div>
    </div>
  );
}
