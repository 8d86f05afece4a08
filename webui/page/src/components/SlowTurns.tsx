// The turns that took longest, or the newest slow ones; a row opens its turn.
import { useState } from 'preact/hooks';
import * as format from '../format';
import { isStalled } from '../stalled';
import type { LoopTrack } from '../store';
import type { SeenTurn } from '../turns';
import { Term } from './Term';

const shown = 8;

export interface SlowTurnsProps {
  loop: LoopTrack;
  now: number;
  running: boolean;
  /** The number of the turn that is open. */
  chosen: number | null;
  onOpen: (turn: SeenTurn) => void;
}

export function SlowTurns({ loop, now, running, chosen, onOpen }: SlowTurnsProps) {
  const [order, setOrder] = useState<'busy' | 'time'>('busy');
  const turns = loop.turns.slowest(shown, order);
  const slow = loop.turns.slowSeen;
  // A loop that hangs finishes no turn: the one it hangs in belongs on top, with the name of what it hangs in.
  const hanging = running && isStalled(loop.latest);
  return (
    <section class="card" aria-labelledby="slow-title">
      <div class="card-head">
        <h2 id="slow-title">Slowest recent turns</h2>
        <span class={slow > 0 || hanging ? 'badge slow' : 'badge good'} title="Since this page was opened">
          {hanging ? `one in progress${slow > 0 ? ', ' : ''}` : ''}
          {slow > 0 ? `${format.count(slow)} slow seen` : hanging ? '' : 'none slow seen'}
        </span>
        <span class="quiet grow rule">
          <Term about="slowRule">what is slow?</Term>
        </span>
        <div class="toggle" role="group" aria-label="Order">
          <button type="button" aria-pressed={order === 'busy'} onClick={() => setOrder('busy')}>
            slowest
          </button>
          <button type="button" aria-pressed={order === 'time'} onClick={() => setOrder('time')}>
            newest
          </button>
        </div>
      </div>
      <div class="scroll">
        <table class="numbers slow-turns">
          <thead>
            <tr>
              <th scope="col" class="left">when</th>
              <th scope="col">busy</th>
              <th scope="col" class="left">longest watcher</th>
              <th scope="col">its time</th>
              <th scope="col">ready</th>
              <th scope="col">poll wait</th>
            </tr>
          </thead>
          <tbody data-testid="slow-turns">
            {hanging && <InProgress loop={loop} />}
            {turns.map((turn) => (
              <tr
                key={turn.turn}
                class={`opens ${turn.slow ? 'is-slow' : ''} ${turn.turn === chosen ? 'is-open' : ''}`}
                onClick={() => onOpen(turn)}
                data-testid="slow-turn"
                data-watcher={turn.watcher ?? ''}
                data-slow={turn.slow ? 'true' : 'false'}
              >
                <td class="left">
                  <button type="button" class="link" aria-label={`Open the turn at ${format.clock(turn.at, true)}`}>
                    {format.clock(turn.at, true)}
                  </button>{' '}
                  <span class="quiet">{format.span(now - turn.at)} ago</span>
                </td>
                <td class="strong">
                  {turn.slow && (
                    <span class="mark" title="slow">
                      <span aria-hidden="true">▼</span>
                      <span class="unseen">slow</span>{' '}
                    </span>
                  )}
                  {format.duration(turn.busy)}
                </td>
                <td class="left">{turn.watcher === null ? <span class="quiet">no named watcher</span> : <code title={turn.watcher}>{turn.watcher}</code>}</td>
                <td>{turn.watcher === null ? '—' : format.duration(turn.watcher_seconds)}</td>
                <td>{format.count(turn.ready)}</td>
                <td>{format.duration(turn.poll_wait)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {turns.length === 0 && <p class="quiet note">No turn yet.</p>}
    </section>
  );
}

function InProgress({ loop }: { loop: LoopTrack }) {
  const { current, phase_seconds: seconds } = loop.latest;
  const watcher = current?.watcher ?? null;
  return (
    <tr class="is-slow" data-testid="slow-turn" data-watcher={watcher ?? ''} data-slow="true" data-in-progress="true">
      <td class="left strong">in progress</td>
      <td class="strong">
        <span class="mark">
          <span aria-hidden="true">▼</span>
          <span class="unseen">slow</span>{' '}
        </span>
        {format.duration(seconds)}
      </td>
      <td class="left">{watcher === null ? <span class="quiet">no named watcher</span> : <code title={watcher}>{watcher}</code>}</td>
      <td>{watcher === null ? '—' : format.duration(current?.watcher_seconds)}</td>
      <td>{format.count(current?.ready)}</td>
      <td>—</td>
    </tr>
  );
}
