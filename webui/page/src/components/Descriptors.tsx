import * as format from '../format';
import type { Descriptors as Fds, Frame, OpenSite } from '../model';
import type { ProcessTrack } from '../store';
import { Chart } from './Chart';
import { chartStart } from './Charts';
import { Term } from './Term';

export function Descriptors(props: { process: ProcessTrack; window: number; pausedAt: number | null }) {
  const { process } = props;
  const { fds } = process.latest;
  if (!fds) return null;
  const to = props.pausedAt ?? process.time;
  const from = chartStart(props.window, process.fdSeries.time, to);
  const share = fds.open !== null && fds.limit ? fds.open / fds.limit : null;
  const kinds = Object.entries(fds.by_kind ?? {}).sort((a, b) => b[1] - a[1]);
  const most = Math.max(1, ...kinds.map(([, n]) => n));
  return (
    <section aria-labelledby="fds-title">
      <div class="section-head">
        <h2 id="fds-title">Descriptors</h2>
        <span class="quiet">of the whole process</span>
      </div>
      <div class="descriptors">
        <div class="card">
          <h3>
            <Term about="open">open</Term>
          </h3>
          <div class="value">
            <span data-testid="fds-open">{format.exact(fds.open)}</span>{' '}
            <span class="value-side">of {fds.limit === null ? 'an unknown limit' : format.exact(fds.limit)}</span>
          </div>
          <div class={`meter large ${share !== null && share > 0.8 ? 'bad' : ''}`} aria-hidden="true">
            <span style={{ width: `${Math.min(1, share ?? 0) * 100}%` }} />
          </div>
          <div class="under">
            {share !== null && `${format.percent(share)} of the limit`}
            {totals(fds)}
          </div>
        </div>
        <div class="card kinds">
          <h3>by kind</h3>
          {kinds.length === 0 && <p class="quiet">none</p>}
          <ul>
            {kinds.map(([kind, n]) => (
              <li key={kind}>
                <span>{kind}</span>
                <span class="meter" aria-hidden="true">
                  <span style={{ width: `${(n / most) * 100}%` }} />
                </span>
                <b>{format.exact(n)}</b>
              </li>
            ))}
          </ul>
        </div>
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
      {fds.sites && fds.sites.length > 0 && <Sites sites={fds.sites} />}
    </section>
  );
}

function totals(fds: Fds): string {
  const parts = [];
  if (fds.peak !== null) parts.push(`peak ${format.exact(fds.peak)}`);
  if (fds.opened !== null) parts.push(`${format.count(fds.opened)} opened`);
  if (fds.closed !== null) parts.push(`${format.count(fds.closed)} closed`);
  return parts.length > 0 ? ` · ${parts.join(' · ')}` : '';
}

const shownSites = 20;

function Sites({ sites }: { sites: OpenSite[] }) {
  const sorted = sites.slice().sort((a, b) => b.live - a.live || b.opened - a.opened);
  return (
    <div class="card">
      <div class="card-head">
        <h3>
          <Term about="openSites">open sites</Term>
        </h3>
        <span class="quiet">{sites.length > shownSites ? `the ${shownSites} with most live of ${sites.length}` : ''}</span>
      </div>
      <div class="scroll">
        <table class="numbers sites">
          <thead>
            <tr>
              <th scope="col" class="left">opened by</th>
              <th scope="col" class="left">kind</th>
              <th scope="col">live</th>
              <th scope="col">opened</th>
              <th scope="col">closed</th>
              <th scope="col">oldest</th>
            </tr>
          </thead>
          <tbody>
            {sorted.slice(0, shownSites).map((site, i) => (
              <tr key={site.kind + (site.stack.map(frameText).join() || i)}>
                <td class="left">
                  <details>
                    <summary>
                      <code>{site.stack[0] ? frameText(site.stack[0]) : 'unknown'}</code>
                    </summary>
                    <ol>
                      {site.stack.map((frame, depth) => (
                        <li key={depth}>
                          <code>{frameText(frame)}</code> <span class="quiet">{frame.module}</span>
                        </li>
                      ))}
                    </ol>
                  </details>
                </td>
                <td class="left quiet">{site.kind}</td>
                <td class="strong">{format.exact(site.live)}</td>
                <td>{format.count(site.opened)}</td>
                <td>{format.count(site.closed)}</td>
                <td>{format.span(site.oldest_seconds)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

function frameText(frame: Frame): string {
  const where = frame.file ? ` ${frame.file.replace(/^.*\//, '')}${frame.line ? `:${frame.line}` : ''}` : '';
  return `${frame.function ?? frame.module ?? '?'}${where}`;
}
