import * as format from '../format';
import type { Descriptors as Fds, OpenSite } from '../model';
import { frameText, hasLedger, kindRows, sortSites, type KindRow } from '../sites';
import type { ProcessTrack } from '../store';
import { Chart } from './Chart';
import { chartStart } from './Charts';
import { Term } from './Term';

export function Descriptors(props: { process: ProcessTrack; window: number; pausedAt: number | null }) {
  const { process } = props;
  const { fds } = process.latest;
  if (!fds) return null;
  const ledger = hasLedger(fds);
  const to = props.pausedAt ?? process.time;
  const from = chartStart(props.window, process.fdSeries.time, to);
  const share = fds.open !== null && fds.limit ? fds.open / fds.limit : null;
  const kinds = kindRows(fds);
  return (
    <section aria-labelledby="fds-title" data-testid="descriptors" data-ledger={ledger}>
      <div class="section-head">
        <h2 id="fds-title">Descriptors</h2>
        <span class="quiet">of the whole process</span>
      </div>
      <div class="descriptors">
        <div class="card">
          <h3>
            <Term about="open">{process.running ? 'open' : 'open at its end'}</Term>
          </h3>
          <div class="value">
            <span data-testid="fds-open">{format.exact(fds.open)}</span>{' '}
            {(process.running || fds.limit !== null) && (
              <span class="value-side">of {fds.limit === null ? 'an unknown limit' : format.exact(fds.limit)}</span>
            )}
          </div>
          <div class={`meter large ${share !== null && share > 0.8 ? 'bad' : ''}`} aria-hidden="true">
            <span style={{ width: `${Math.min(1, share ?? 0) * 100}%` }} />
          </div>
          <div class="under">{share !== null && `${format.percent(share)} of the limit`}</div>
          {ledger && <Ledger fds={fds} />}
        </div>
        {ledger ? <LedgerKinds kinds={kinds} /> : <Kinds kinds={kinds} />}
        <Chart
          title="open descriptors"
          lines={[{ label: 'open descriptors', color: 'low', fill: true }]}
          data={process.fdSeries.slice(from, to, ['open'])}
          from={from}
          to={to}
          scale="level"
          print={(v) => format.exact(v)}
          height={120}
        />
      </div>
      {ledger && <Sites fds={fds} running={process.running} />}
    </section>
  );
}

function Ledger({ fds }: { fds: Fds }) {
  return (
    <dl class="ledger" data-testid="ledger">
      <div>
        <dt>peak</dt>
        <dd data-count="peak">{format.exact(fds.peak)}</dd>
      </div>
      <div>
        <dt>
          <Term about="opened">opened</Term>
        </dt>
        <dd data-count="opened">{format.exact(fds.opened)}</dd>
      </div>
      <div>
        <dt>
          <Term about="closed">closed</Term>
        </dt>
        <dd data-count="closed">{format.exact(fds.closed)}</dd>
      </div>
      <div>
        <dt>
          <Term about="inherited">inherited</Term>
        </dt>
        <dd data-count="inherited">{format.exact(fds.inherited)}</dd>
      </div>
      <div>
        <dt>
          <Term about="unseen">unseen</Term>
        </dt>
        <dd data-count="unseen">{format.exact(fds.unseen)}</dd>
      </div>
      {fds.closed_unseen !== null && fds.closed_unseen > 0 && (
        <div>
          <dt>
            <Term about="closedUnseen">closed unseen</Term>
          </dt>
          <dd data-count="closed-unseen">{format.exact(fds.closed_unseen)}</dd>
        </div>
      )}
      {fds.bad_closes !== null && fds.bad_closes > 0 && (
        <div class="bad">
          <dt>
            <Term about="badCloses">bad closes</Term>
          </dt>
          <dd data-count="bad-closes">{format.exact(fds.bad_closes)}</dd>
        </div>
      )}
    </dl>
  );
}

function Meter({ value, most }: { value: number; most: number }) {
  return (
    <span class="meter" aria-hidden="true">
      <span style={{ width: `${(value / Math.max(1, most)) * 100}%` }} />
    </span>
  );
}

/** What is open, where nobody counted what was opened. */
function Kinds({ kinds }: { kinds: KindRow[] }) {
  return (
    <div class="card kinds">
      <h3>by kind</h3>
      {kinds.length === 0 && <p class="quiet">none</p>}
      <ul>
        {kinds.map(({ kind, open }) => (
          <li key={kind}>
            <span>{kind}</span>
            <Meter value={open} most={kinds[0]!.open} />
            <b>{format.exact(open)}</b>
          </li>
        ))}
      </ul>
    </div>
  );
}

function LedgerKinds({ kinds }: { kinds: KindRow[] }) {
  return (
    <div class="card kinds">
      <h3>by kind</h3>
      <table class="numbers" data-testid="kinds-table">
        <thead>
          <tr>
            <th scope="col" class="left">kind</th>
            <th scope="col" class="kind-bar" />
            <th scope="col">open</th>
            <th scope="col">opened</th>
            <th scope="col">closed</th>
          </tr>
        </thead>
        <tbody>
          {kinds.map(({ kind, open, opened, closed }) => (
            <tr key={kind} data-kind={kind}>
              <td class="left">{kind}</td>
              <td>
                <Meter value={open} most={kinds[0]!.open} />
              </td>
              <td class="strong">{format.exact(open)}</td>
              <td>{format.count(opened)}</td>
              <td>{format.count(closed)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {kinds.length === 0 && <p class="quiet note">none</p>}
    </div>
  );
}

function Sites({ fds, running }: { fds: Fds; running: boolean }) {
  const sites = sortSites(fds.sites ?? []);
  const total = fds.sites_total ?? sites.length;
  return (
    <div class="card">
      <div class="card-head">
        <h3>
          <Term about="openSites">open sites</Term>
        </h3>
        <span class="quiet">{total > sites.length ? `the ${sites.length} with the most open of ${format.exact(total)}` : ''}</span>
      </div>
      {sites.length === 0 ? (
        <p class="quiet">
          {fds.opened === 0
            ? 'It opened none itself.'
            : 'Not known: no stacks were recorded (stacks=off).'}
        </p>
      ) : (
        <div class="scroll">
          <table class="numbers sites" data-testid="sites-table">
            <thead>
              <tr>
                <th scope="col" class="left">opened by</th>
                <th scope="col" class="left">kind</th>
                <th scope="col">{running ? 'open' : 'open at end'}</th>
                <th scope="col">opened</th>
                <th scope="col">closed</th>
                <th scope="col">oldest</th>
              </tr>
            </thead>
            <tbody>
              {sites.map((site) => (
                <SiteRow key={site.id} site={site} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}

function SiteRow({ site }: { site: OpenSite }) {
  const top = site.stack[0];
  const first = top ? frameText(top) : { what: 'unknown', where: '' };
  return (
    <tr data-kind={site.kind} data-live={site.live}>
      <td class="left site">
        <details>
          <summary>
            <code>{first.what}</code> <span class="quiet">{first.where}</span>
          </summary>
          <ol>
            {site.stack.map((frame, depth) => {
              const { what, where } = frameText(frame);
              return (
                <li key={depth} title={[frame.file, frame.module].filter(Boolean).join(' in ')}>
                  <code>{what}</code> <span class="quiet">{where}</span>
                  {frame.inlined && <span class="quiet"> inlined</span>}
                </li>
              );
            })}
          </ol>
        </details>
      </td>
      <td class="left quiet">{site.kind}</td>
      <td class="strong">{format.exact(site.live)}</td>
      <td>{format.count(site.opened)}</td>
      <td>{format.count(site.closed)}</td>
      <td>{format.span(site.oldest_seconds)}</td>
    </tr>
  );
}
