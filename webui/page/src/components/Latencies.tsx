// The durations of a loop's turns in the window: quantiles, and how they are spread.
import type { Histogram } from '../histogram';
import { quantile, shape } from '../histogram';
import * as format from '../format';
import type { HelpKey } from '../help';
import type { LoopTrack, ProcessTrack } from '../store';
import type { SeenTurn } from '../turns';
import { Term } from './Term';
import { coverage } from './windowLabel';

export interface LatenciesProps {
  process: ProcessTrack;
  loop: LoopTrack;
  window: number;
  onOpen: (turn: SeenTurn) => void;
}

/** A maximum of a window may be the upper end of its bucket: at most this much more than the turn it was. */
const bucketWidth = 1.033;

export function Latencies({ process, loop, window, onOpen }: LatenciesProps) {
  const base = process.base(window) ?? (process.running ? undefined : process.base(Infinity));
  const view = base ? process.window(loop, base) : null;
  const rows: [string, HelpKey, string, Histogram | null, boolean][] = [
    ['poll wait', 'pollWait', 'wait', view?.pollWait ?? null, loop.latest.poll_wait_seconds === null],
    ['busy', 'busy', 'busy', view?.busyTurn ?? null, loop.latest.busy_turn_seconds === null],
    ['poll delay', 'pollDelay', 'delay', view?.pollDelay ?? null, loop.latest.poll_delay_seconds === null],
    ['timer lag', 'timerLag', 'lag', view?.timerLag ?? null, loop.latest.timer_lag_seconds === null],
  ];
  const { skew_turns: skew } = loop.latest;
  const longest = view?.busyTurn?.count ? view.busyTurn.max : null;
  const from = process.time - (view?.seconds ?? 0) - 1;
  // The turn that was the maximum, if this page has seen it.
  const culprit =
    longest === null ? undefined : loop.turns.notable.find((turn) => turn.at >= from && turn.busy <= longest * 1.001 && turn.busy * bucketWidth >= longest);
  return (
    <section class="card" aria-labelledby="latencies-title">
      <div class="card-head">
        <h2 id="latencies-title">Durations</h2>
        <span class="quiet">{coverage(process, base, window)}</span>
      </div>
      <div class="scroll">
        <table class="numbers" data-testid="latencies">
          <thead>
            <tr>
              <th scope="col">
                <span class="unseen">what</span>
              </th>
              <th scope="col">
                <Term about="p50">p50</Term>
              </th>
              <th scope="col">
                <Term about="p99">p99</Term>
              </th>
              <th scope="col">
                <Term about="max">max</Term>
              </th>
              <th scope="col">
                <Term about="count">count</Term>
              </th>
              <th scope="col" class="spread-head">
                <Term about="spread">1 µs – 10 s</Term>
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([name, about, key, histogram, absent]) => (
              <tr key={key} data-row={key}>
                <th scope="row">
                  <span class={`key ${key}`} aria-hidden="true" />
                  <Term about={about}>{name}</Term>
                </th>
                <td>{format.duration(quantile(histogram, 0.5))}</td>
                <td>{format.duration(quantile(histogram, 0.99))}</td>
                <td>
                  {key === 'busy' && culprit ? (
                    <button type="button" class="link" onClick={() => onOpen(culprit)} aria-label={`Open the longest turn, ${format.duration(longest)}`}>
                      {format.duration(longest)}
                    </button>
                  ) : (
                    format.duration(histogram?.count ? histogram.max : null)
                  )}
                </td>
                <td title={absent ? 'this source cannot see it' : format.exact(histogram?.count)}>{format.count(histogram?.count)}</td>
                <td class="spread">
                  <Spread histogram={histogram} kind={key} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {skew ? <p class="quiet note">{format.exact(skew)} turns passed while these were copied: counts may differ by as much.</p> : null}
    </section>
  );
}

const bins = 42; // six to a decade

function Spread({ histogram, kind }: { histogram: Histogram | null; kind: string }) {
  const path = shape(histogram, 1e-6, 10, bins)
    .map((weight, i) => (weight === 0 ? '' : `M${i * 3} 22v${-(2 + Math.sqrt(weight) * 19).toFixed(1)}h2V22z`))
    .join('');
  return (
    <svg class={`spread-shape ${kind}`} viewBox={`0 0 ${bins * 3} 26`} width={bins * 3} height="26" aria-hidden="true">
      {[0, 1, 2, 3, 4, 5, 6, 7].map((decade) => (
        <rect key={decade} class="tick" x={Math.min(decade * 18, bins * 3 - 1)} y="23" width="1" height={decade === 3 ? 3 : 2} />
      ))}
      <rect class="tick faint" x="54" y="1" width="1" height="22" />
      <path d={path} />
    </svg>
  );
}
