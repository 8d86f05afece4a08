// What is open, of which kinds, and who opened it: the summary above the table of all descriptors.
import type { App } from '../app';
import * as format from '../format';
import { bands, onlyGrows, pace, timeUntil, type Growth } from '../levels';
import type { Descriptors as Fds, OpenSite } from '../model';
import { growthText, hasLedger, kindRows, siteText, sortSites } from '../sites';
import type { ProcessTrack } from '../store';
import { chartStart } from './Charts';
import { Spark } from './Spark';
import { Stack } from './Stack';
import { StackChart, type Part } from './StackChart';
import { Term } from './Term';

const letters = 'ABCD';
/** Beyond a week nobody acts on it. */
const farSeconds = 7 * 86400;

/** What is shown of the past, for all parts of the view alike. */
export interface Span {
  from: number;
  to: number;
}

export function spanOf(process: ProcessTrack, window: number, pausedAt: number | null): Span {
  const to = pausedAt ?? process.time;
  return { from: chartStart(window, process.levels.time, to), to };
}

export interface SummaryProps {
  app: App;
  process: ProcessTrack;
  span: Span;
  /** By number, those of earlier events too. */
  sites: ReadonlyMap<number, OpenSite>;
}

export function Summary({ app, process, span, sites }: SummaryProps) {
  const { levels } = process;
  const fds = process.latest.fds!;
  const ledger = hasLedger(fds);
  const range = levels.range(span.from, span.to);
  const samples = levels.time.slice(...range);
  // Samples are seconds apart: the present is drawn as well, or the chart ends before "now" and tells other numbers than the tables.
  const fresh = span.to >= process.time && samples[samples.length - 1] !== process.time;
  const time = fresh ? [...samples, process.time] : samples;
  const share = fds.open !== null && fds.limit ? fds.open / fds.limit : null;
  const until = process.running ? timeUntil(fds.limit, samples, levels.total.open.slice(...range), process.time) : null;
  const { window } = app.selection;
  const rates = ledger ? pace(levels, { time: process.time, opened: fds.opened, closed: fds.closed }, process.time - window) : null;
  const bySite = ledger && (fds.sites?.length ?? 0) > 0 && app.recall('fd-by') !== 'kind';
  const parts: Part[] = bySite
    ? bands(levels.sites, range, letters.length, levels.total.open, fresh ? { of: new Map((fds.sites ?? []).map((site) => [site.id, site.live])), total: fds.open } : null).map(({ key, values }, i) => {
        const site = key === null ? null : sites.get(key);
        const name = key === null ? 'other places' : site ? `${siteText(site).what} · ${site.kind}` : `site ${key}`;
        return { key: String(key), mark: key === null ? '' : letters[i]!, name, values };
      })
    : bands(levels.kinds, range, letters.length, null, fresh ? { of: new Map(Object.entries(fds.by_kind ?? {})), total: null } : null).map(({ key, values }, i) => ({
        key: String(key),
        mark: key === null ? '' : letters[i]!,
        name: key ?? 'other kinds',
        values,
      }));
  return (
    <div class="descriptors">
      <div class="card fd-open">
        <h3>
          <Term about="open">{process.running ? 'open' : 'open at its end'}</Term>
        </h3>
        <div class="value">
          <span data-testid="fds-open">{format.exact(fds.open)}</span>{' '}
          {(process.running || fds.limit !== null) && (
            <span class="value-side">of {fds.limit === null ? 'an unknown limit' : format.exact(fds.limit)}</span>
          )}
        </div>
        <div class={`meter large ${share !== null && share >= 0.8 ? 'bad' : ''}`} aria-hidden="true">
          <span style={{ width: `${Math.min(1, share ?? 0) * 100}%` }} />
        </div>
        <div class="under">
          {share !== null && `${format.percent(share)} of the limit`}
          {until !== null && until <= farSeconds && (
            <>
              {' · '}
              <Term about="untilLimit">
                <b class={until < 3600 ? 'warn-text' : ''} data-testid="until-limit">
                  {until === 0 ? 'at the limit' : `limit in ${format.span(until)} at this pace`}
                </b>
              </Term>
            </>
          )}
        </div>
        {ledger && <Ledger fds={fds} />}
        {rates && (
          <p class="under fd-pace" data-testid="fd-pace">
            <Term about="opening">opening</Term> <b>{format.rate(rates.opened)}</b> / s, closing <b>{format.rate(rates.closed)}</b> / s
          </p>
        )}
        {!ledger && (
          <p class="under note">
            The library sees what is open, not who opens and closes it. <code>loopscope run</code> sees both.
          </p>
        )}
      </div>
      <div class="card">
        <div class="card-head">
          <h3>{bySite ? 'open, by the place that opened them' : 'open, by kind'}</h3>
          {ledger && (fds.sites?.length ?? 0) > 0 && (
            <div class="toggle grow-left" role="group" aria-label="Stacked by">
              <button type="button" aria-pressed={bySite} onClick={() => app.remember('fd-by', null)}>
                by place
              </button>
              <button type="button" aria-pressed={!bySite} onClick={() => app.remember('fd-by', 'kind')}>
                by kind
              </button>
            </div>
          )}
        </div>
        <StackChart title={bySite ? 'Open descriptors over time, by open site' : 'Open descriptors over time, by kind'} time={time} parts={parts} from={span.from} to={span.to} running={process.running} />
      </div>
      <Kinds process={process} span={span} ledger={ledger} />
    </div>
  );
}

function Ledger({ fds }: { fds: Fds }) {
  return (
    <dl class="ledger" data-testid="ledger">
      <div>
        <dt>
          <Term about="peak">peak</Term>
        </dt>
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

/** A line's points: the samples in the span, and what it is now. */
function lineOf(process: ProcessTrack, values: readonly (number | null)[] | undefined, now: number, span: Span): [number[], (number | null)[]] {
  const [first, last] = process.levels.range(span.from, span.to);
  const time = process.levels.time.slice(first, last);
  const out = (values ?? []).slice(first, last);
  if (span.to >= process.time && time[time.length - 1] !== process.time) {
    time.push(process.time);
    out.push(now);
  }
  return [time, out];
}

/** How much of the span the page has seen. */
function seenOf(process: ProcessTrack, span: Span): number {
  const [first, last] = process.levels.range(span.from, span.to);
  return first < last ? span.to - process.levels.time[first]! : 0;
}

const change = (values: readonly (number | null)[]) => {
  const known = values.filter((value): value is number => value !== null);
  return known.length < 2 ? null : known[known.length - 1]! - known[0]!;
};
const signed = (n: number) => (n > 0 ? `+${format.exact(n)}` : n < 0 ? `−${format.exact(-n)}` : '±0');

function Kinds({ process, span, ledger }: { process: ProcessTrack; span: Span; ledger: boolean }) {
  const kinds = kindRows(process.latest.fds!);
  const seen = format.span(seenOf(process, span));
  return (
    <div class="card kinds">
      <h3>by kind</h3>
      <div class="scroll kinds-scroll">
        <table class="numbers" data-testid="kinds-table">
          <thead>
            <tr>
              <th scope="col" class="left">
                kind
              </th>
              <th scope="col" class="left">
                <span class="unseen">over time</span>
              </th>
              <th scope="col">open</th>
              {ledger && <th scope="col">opened</th>}
              {ledger && <th scope="col">closed</th>}
            </tr>
          </thead>
          <tbody>
            {kinds.map(({ kind, open, opened, closed }) => {
              const [time, values] = lineOf(process, process.levels.kinds.get(kind)?.live, open, span);
              return (
                <tr key={kind} data-kind={kind}>
                  <td class="left">{kind}</td>
                  <td class="left">
                    <Spark time={time} values={values} from={span.from} to={span.to} label={`${kind}: ${signed(change(values) ?? 0)} in ${seen}`} />
                  </td>
                  <td class="strong">{format.exact(open)}</td>
                  {ledger && <td>{format.count(opened)}</td>}
                  {ledger && <td>{format.count(closed)}</td>}
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      {kinds.length === 0 && <p class="quiet note">none</p>}
    </div>
  );
}

// --- open sites -------------------------------------------------------------------------------------------------------

export interface SitesProps {
  app: App;
  process: ProcessTrack;
  span: Span;
  /** More than the stream has, asked for once; null: not asked for. */
  more: readonly OpenSite[] | null;
  onMore: (() => void) | null;
  /** Its descriptors in the table below. */
  onShow: (site: OpenSite) => void;
  /** Opened from elsewhere: its stack is shown. */
  target: number | null;
}

export function Sites({ app, process, span, more, onMore, onShow, target }: SitesProps) {
  const fds = process.latest.fds!;
  const streamed = fds.sites ?? [];
  const known = new Set(streamed.map((site) => site.id));
  const sites = sortSites([...streamed, ...(more ?? []).filter((site) => !known.has(site.id))]);
  const total = Math.max(fds.sites_total ?? 0, sites.length);
  const parts = bands(process.levels.sites, process.levels.range(span.from, span.to), letters.length, process.levels.total.open);
  const bySite = app.recall('fd-by') !== 'kind';
  const marks = new Map(bySite ? parts.map(({ key }, i) => [key, i] as const) : []);
  const growing = new Map<number, Growth>();
  if (process.running) {
    for (const site of streamed) {
      const growth = onlyGrows(process.levels, process.levels.sites.get(site.id), { time: process.time, live: site.live, closed: site.closed }, span.from);
      if (growth) growing.set(site.id, growth);
    }
  }
  return (
    <section class="card" aria-labelledby="sites-title">
      <div class="card-head">
        <h2 id="sites-title">
          <Term about="openSites">Open sites</Term>
        </h2>
        <span class="quiet">
          {total > sites.length ? `the ${sites.length} with the most open of ${format.exact(total)}` : sites.length > 0 ? format.exact(total) : ''}
        </span>
        {growing.size > 0 && (
          <span class="badge warn" data-testid="sites-growing">
            {growing.size === 1 ? 'one only grows' : `${growing.size} only grow`}
          </span>
        )}
        {onMore && total > sites.length && (
          <button type="button" class="small-button" onClick={onMore}>
            show more
          </button>
        )}
      </div>
      {sites.length === 0 ? (
        <p class="quiet">{fds.opened === 0 ? 'It opened none itself.' : 'Not known: no stacks were recorded (stacks=off).'}</p>
      ) : (
        <div class="scroll sites-scroll">
          <table class="numbers sites" data-testid="sites-table">
            <thead>
              <tr>
                <th scope="col" class="left">
                  opened by
                </th>
                <th scope="col" class="left c-kind">
                  kind
                </th>
                <th scope="col" class="left c-trend">
                  <Term about="change">in {format.span(seenOf(process, span))}</Term>
                </th>
                <th scope="col">
                  <Term about="siteOpen">{process.running ? 'open' : 'open at end'}</Term>
                </th>
                <th scope="col" class="c-wide">
                  opened
                </th>
                <th scope="col" class="c-wide">
                  closed
                </th>
                <th scope="col" class="c-wide">
                  <Term about="oldest">oldest</Term>
                </th>
              </tr>
            </thead>
            <tbody>
              {sites.map((site) => (
                <SiteRow
                  key={site.id}
                  process={process}
                  site={site}
                  span={span}
                  mark={marks.get(site.id) ?? null}
                  growth={growing.get(site.id) ?? null}
                  streamed={known.has(site.id)}
                  target={target === site.id}
                  onShow={onShow}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function SiteRow(props: {
  process: ProcessTrack;
  site: OpenSite;
  span: Span;
  mark: number | null;
  growth: Growth | null;
  streamed: boolean;
  target: boolean;
  onShow: (site: OpenSite) => void;
}) {
  const { process, site, span, mark, growth, streamed, target, onShow } = props;
  const first = siteText(site);
  const [time, values] = streamed ? lineOf(process, process.levels.sites.get(site.id)?.live, site.live, span) : [[], []];
  const changed = change(values);
  const said = growth ? growthText(growth.more, format.span(growth.seconds)) : changed === null ? '' : signed(changed);
  return (
    <tr data-kind={site.kind} data-live={site.live} data-site={site.id} data-grows={growth ? growth.more : undefined} class={growth ? 'grows' : ''}>
      <td class="left site">
        <details open={target} id={`site-${site.id}`}>
          <summary title={site.stack[0]?.function ?? undefined}>
            {mark !== null && letters[mark] && (
              <span class={`letter p${mark}`} aria-hidden="true">
                {letters[mark]}
              </span>
            )}
            <code>{first.what}</code> <span class="quiet">{first.where}</span>
            {growth && (
              <span class="grows-text">
                <span class="badge warn">only grows</span> {said}
              </span>
            )}
          </summary>
          <Stack stack={site.stack} />
          {site.live > 0 && (
            <button type="button" class="small-button" onClick={() => onShow(site)}>
              show {site.live === 1 ? 'its descriptor' : `its ${format.exact(site.live)} descriptors`} below
            </button>
          )}
        </details>
      </td>
      <td class="left quiet c-kind">{site.kind}</td>
      <td class="left c-trend">
        {streamed && <Spark time={time} values={values} from={span.from} to={span.to} strong={growth !== null} label={`open: ${said}`} />}
        <span class={`c-change ${changed === 0 ? 'quiet' : ''}`}>{changed === null ? '' : signed(changed)}</span>
      </td>
      <td class="strong">{format.exact(site.live)}</td>
      <td class="c-wide">{format.count(site.opened)}</td>
      <td class="c-wide">{format.count(site.closed)}</td>
      <td class="c-wide">{format.span(site.oldest_seconds)}</td>
    </tr>
  );
}
