// The watchers of a loop: what each did in the window, and of one chosen all that is known.
import { Component } from 'preact';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { App } from '../app';
import * as format from '../format';
import type { HelpKey } from '../help';
import { quantile, shape, type Histogram } from '../histogram';
import type { LoopTrack, ProcessTrack } from '../store';
import { causedBy, columns, decades, formatSort, matching, parseSort, sortRows, watcherRows, type Column, type Row } from '../watchers';
import { Term } from './Term';
import { coverage } from './windowLabel';

const heads: Record<Column, { label: string; about?: HelpKey }> = {
  name: { label: 'watcher' },
  kind: { label: 'kind' },
  fd: { label: 'fd', about: 'watcherFd' },
  share: { label: 'share of busy', about: 'share' },
  calls: { label: 'calls / s', about: 'calls' },
  p50: { label: 'p50', about: 'callback' },
  p99: { label: 'p99', about: 'callback' },
  max: { label: 'max', about: 'max' },
  lag: { label: 'lag p99', about: 'lag' },
};
const leftAligned = new Set<Column>(['name', 'kind']);

/** Rows have one height so that only those in sight need to exist: 500 rows cost as much as 30. */
const rowHeight = 31;
const viewport = 560;
const beyond = 7;
/** Rendered anew when so many rows have gone by, not at every pixel. */
const step = 4 * rowHeight;
const typingMs = 200;

/** As the address names one: kind:name. */
const nameOf = (row: Row) => `${row.kind}:${row.name}`;

export function Watchers({ app, process, loop, window }: { app: App; process: ProcessTrack; loop: LoopTrack; window: number }) {
  const q = app.recall('w-q') ?? '';
  const [search, setSearch] = useState(q);
  const [scroll, setScroll] = useState(0);
  const scroller = useRef<HTMLDivElement>(null);
  const sort = parseSort(app.recall('w-sort'));
  const chosen = app.recall('watcher');
  useEffect(() => setSearch(q), [q]);
  useEffect(() => {
    if (search === q) return;
    const timer = setTimeout(() => app.remember('w-q', search || null), typingMs);
    return () => clearTimeout(timer);
  }, [search]);
  const base = process.base(window) ?? (process.running ? undefined : process.base(Infinity));
  const rows = useMemo(() => watcherRows(process, loop, base), [process.time, loop, loop.cut, window]);
  const sorted = useMemo(() => sortRows(matching(rows, search), sort.by, sort.down), [rows, sort.by, sort.down, search]);
  const first = sorted.length > 40 ? Math.max(0, Math.floor(scroll / rowHeight) - beyond) : 0;
  const last = sorted.length > 40 ? Math.min(sorted.length, Math.ceil((scroll + viewport) / rowHeight) + beyond) : sorted.length;
  const click = (by: Column) => {
    const next = formatSort({ by, down: sort.by === by ? !sort.down : !leftAligned.has(by) });
    app.remember('w-sort', next === 'share.down' ? null : next);
  };
  const open = chosen === null ? null : (rows.find((row) => !row.special && nameOf(row) === chosen) ?? null);
  // Chosen elsewhere: it may be out of sight.
  useEffect(() => {
    const index = open ? sorted.indexOf(open) : -1;
    if (index >= 0 && scroller.current && (index < first || index >= last)) scroller.current.scrollTop = index * rowHeight;
  }, [chosen]);
  // One function for all renderings, or no row could tell that nothing has changed.
  const choosing = useRef<(row: Row) => void>(() => {});
  choosing.current = (row) => app.remember('watcher', nameOf(row) === chosen ? null : nameOf(row));
  const choose = useMemo(() => (row: Row) => choosing.current(row), []);
  return (
    <section class="card" aria-labelledby="watchers-title">
      <div class="card-head">
        <h2 id="watchers-title">Watchers</h2>
        <span class="quiet">
          {search && sorted.length !== rows.length ? `${format.exact(sorted.length)} of ` : ''}
          {format.exact(loop.latest.watchers.length)} · {coverage(process, base, window)}
        </span>
        {(loop.latest.watchers.length > 12 || search !== '') && (
          <input
            type="search"
            placeholder="Filter by name, kind, fd"
            aria-label="Filter watchers"
            value={search}
            onInput={(event) => setSearch((event.currentTarget as HTMLInputElement).value)}
          />
        )}
      </div>
      <div class={`watchers-area ${open ? 'with-details' : ''}`}>
        <div
          class="scroll tall"
          ref={scroller}
          onScroll={(event) => sorted.length > 40 && setScroll(Math.floor((event.currentTarget as HTMLElement).scrollTop / step) * step)}
        >
          <table class="numbers watchers w-table" data-testid="watchers-table" aria-rowcount={sorted.length + 1}>
            <thead>
              <tr>
                {columns.map((column) => (
                  <th
                    key={column}
                    scope="col"
                    class={leftAligned.has(column) ? `left c-${column}` : `c-${column}`}
                    aria-sort={sort.by === column ? (sort.down ? 'descending' : 'ascending') : 'none'}
                  >
                    <Head column={column} onClick={() => click(column)} arrow={sort.by === column ? (sort.down ? '↓' : '↑') : ''} />
                  </th>
                ))}
                <th scope="col" class="spread-head c-shape">
                  <Term about="spread">1 µs – 10 s</Term>
                </th>
              </tr>
            </thead>
            <tbody>
              {first > 0 && (
                <tr aria-hidden="true">
                  <td class="spacer" style={{ height: `${first * rowHeight}px` }} />
                </tr>
              )}
              {sorted.slice(first, last).map((row, i) => (
                <WatcherRow key={row.key} row={row} index={first + i + 2} open={row === open} onChoose={choose} />
              ))}
              {last < sorted.length && (
                <tr aria-hidden="true">
                  <td class="spacer" style={{ height: `${(sorted.length - last) * rowHeight}px` }} />
                </tr>
              )}
            </tbody>
          </table>
          {sorted.length === 0 && <p class="quiet note">None matches.</p>}
        </div>
        {open && <Details app={app} process={process} loop={loop} row={open} seconds={base?.seconds ?? null} onClose={() => app.remember('watcher', null)} />}
      </div>
    </section>
  );
}

function Head({ column, arrow, onClick }: { column: Column; arrow: string; onClick: () => void }) {
  const { label, about } = heads[column];
  const button = (
    <button type="button" class="sort" onClick={onClick}>
      {label}
      <span class="arrow" aria-hidden="true">
        {arrow}
      </span>
    </button>
  );
  return about ? <Term about={about} plain>{button}</Term> : button;
}

interface RowProps {
  row: Row;
  index: number;
  open: boolean;
  onChoose: (row: Row) => void;
}

/** Rendered when its figures have changed, not when the table is scrolled. */
class WatcherRow extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps): boolean {
    const now = this.props;
    return next.row !== now.row || next.index !== now.index || next.open !== now.open;
  }

  render({ row, index, open, onChoose }: RowProps) {
    return watcherRow(row, index, open, onChoose);
  }
}

function watcherRow(row: Row, index: number, open: boolean, onChoose: (row: Row) => void) {
  const state = row.special ? 'special' : row.calls === 0 ? 'still' : '';
  return (
    <tr
      data-watcher={row.name}
      data-kind={row.kind}
      aria-rowindex={index}
      class={`${state} ${open ? 'opened' : ''}`}
      onClick={row.special ? undefined : () => onChoose(row)}
    >
      <td class="left c-name" title={row.name}>
        {row.special ? (
          <Term about="unattributed">{row.name}</Term>
        ) : (
          <button
            type="button"
            class="row-link"
            aria-expanded={open}
            onClick={(event) => {
              event.stopPropagation();
              onChoose(row);
            }}
          >
            <code>{row.name}</code>
          </button>
        )}
      </td>
      <td class="left quiet c-kind">{row.kind}</td>
      <td class="quiet c-fd">{row.fd === null ? '' : row.fd}</td>
      <td class="c-share">
        <span class="share">
          <span class="meter" aria-hidden="true">
            <span style={{ width: `${(row.share ?? 0) * 100}%` }} />
          </span>
          <span title={`${format.duration(row.seconds)} in the window`}>{format.percent(row.share)}</span>
        </span>
      </td>
      <td class="c-calls">{row.special ? '' : format.rate(row.calls)}</td>
      <td class="c-p50">{row.special ? '' : format.duration(row.p50)}</td>
      <td class="c-p99">{row.special ? '' : format.duration(row.p99)}</td>
      <td class="c-max">{row.special ? '' : format.duration(row.max)}</td>
      <td class="c-lag">{row.lag === null ? '' : format.duration(row.lag)}</td>
      <td class={`spread c-shape ${row.special ? '' : 'ticked'}`}>
        {!row.special && row.callback !== null && row.callback.count > 0 && (
          <svg class="spread-shape busy" viewBox={`0 0 ${bins * 3} 24`} width={bins * 3} height="24" aria-hidden="true">
            <path d={shapePath(row.callback)} />
          </svg>
        )}
      </td>
    </tr>
  );
}

const bins = 42; // six to a decade

/** The ticks below are the cell's background: at hundreds of rows each element counts. */
function shapePath(histogram: Histogram | null): string {
  return shape(histogram, 1e-6, 10, bins)
    .map((weight, i) => (weight > 0 ? `M${i * 3} 20v${-(2 + Math.sqrt(weight) * 16).toFixed(1)}h2V20z` : ''))
    .join('');
}

// --- one watcher ------------------------------------------------------------------------------------------------------

const turnsShown = 8;

function Details(props: { app: App; process: ProcessTrack; loop: LoopTrack; row: Row; seconds: number | null; onClose: () => void }) {
  const { app, process, loop, row, seconds, onClose } = props;
  const slow = causedBy(loop.turns.notable, row.name);
  const calls = row.callback?.count ?? 0;
  const at = { process: process.latest.id, loop: String(loop.latest.id) };
  const sameName = loop.latest.watchers.filter((watcher) => watcher.name === row.name).length > 1;
  const facts: [string, string][] = [
    ['calls', `${format.exact(calls)}${seconds === null ? '' : ` in ${format.span(seconds)}`}`],
    ['since start', format.exact(row.invocations)],
    ['time taken', `${format.duration(row.seconds)}, ${format.percent(row.share)} of busy`],
    ['mean', calls > 0 ? format.duration(row.callback!.sum / calls) : format.unknown],
  ];
  return (
    <aside class="watcher-details" aria-label={`Watcher ${row.name}`} data-testid="watcher-details" data-watcher={row.name}>
      <div class="card-head">
        <h3>
          <code>{row.name}</code> <span class="quiet">{row.kind}</span>
        </h3>
        <button type="button" class="close" aria-label="Close the details" onClick={onClose}>
          ×
        </button>
      </div>
      <dl class="facts-list">
        {facts.map(([label, value]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{value}</dd>
          </div>
        ))}
        {row.fd !== null && (
          <div>
            <dt>watches</dt>
            <dd>
              <a href={app.href({ ...at, view: 'descriptors', own: { 'fd-q': String(row.fd), fd: String(row.fd) } })}>descriptor {row.fd}</a>
            </dd>
          </div>
        )}
      </dl>
      <Picture title="time of a call" about="callback" histogram={row.callback} kind="busy" />
      {row.lateness && <Picture title="timer lag" about="timerLag" histogram={row.lateness} kind="lag" />}
      <h3>
        <Term about="calledMost">slow turns it caused</Term> <span class="quiet">{slow.length > 0 ? format.exact(slow.length) : 'none since this page was opened'}</span>
      </h3>
      {slow.length > 0 && (
        <ul class="watcher-turns">
          {slow.slice(0, turnsShown).map((turn) => (
            <li key={turn.turn}>
              <a href={app.href({ ...at, view: 'loop', own: { turn: String(turn.turn) } })}>turn {turn.turn}</a>
              <span class="quiet">
                {format.clock(turn.at)}, {format.span(app.now - turn.at)} ago
              </span>
              <b>{format.duration(turn.busy)}</b>
              <span class="quiet">{format.duration(turn.watcher_seconds)} here</span>
            </li>
          ))}
        </ul>
      )}
      {sameName && slow.length > 0 && <p class="quiet small">A turn names the watcher, not its kind: watchers of other kinds have this name too.</p>}
    </aside>
  );
}

const high = 70;
const plotWidth = 360;

/** Counts over log time, with axis and marks. */
function Picture({ title, about, histogram, kind }: { title: string; about: HelpKey; histogram: Histogram | null; kind: 'busy' | 'lag' }) {
  const { low, high: top } = decades(histogram);
  const span = Math.round(Math.log10(top / low));
  const n = span * 12;
  const step = plotWidth / n;
  const x = (seconds: number) => Math.min(plotWidth, Math.max(0, (Math.log10(seconds / low) / span) * plotWidth));
  const path = shape(histogram, low, top, n)
    .map((weight, i) => (weight > 0 ? `M${(i * step).toFixed(1)} ${high}v${-Math.max(1.5, weight * (high - 4)).toFixed(1)}h${Math.max(1, step - 0.8).toFixed(1)}V${high}z` : ''))
    .join('');
  const marks: [string, number | null][] = histogram?.count ? [['p50', quantile(histogram, 0.5)], ['p99', quantile(histogram, 0.99)], ['max', histogram.max]] : [];
  return (
    <figure class="picture">
      <figcaption>
        <Term about={about}>{title}</Term>
        {marks.map(([name, value]) => (
          <span key={name}>
            <span class="quiet">{name}</span> {format.duration(value)}
          </span>
        ))}
        {!histogram?.count && <span class="quiet">none in the window</span>}
      </figcaption>
      <svg viewBox={`0 0 ${plotWidth} ${high + 16}`} role="img" aria-label={`${title}: ${marks.map(([name, value]) => `${name} ${format.duration(value)}`).join(', ') || 'no calls'}`}>
        {Array.from({ length: span + 1 }, (_, i) => (
          <rect key={i} class="picture-grid" x={Math.min(plotWidth - 1, (i * plotWidth) / span)} y="0" width="1" height={high} />
        ))}
        <path class={`spread-shape ${kind}`} d={path} />
        {marks.map(([name, value]) => value !== null && value > 0 && <rect key={name} class={`picture-mark ${name}`} x={x(value)} y="0" width="1" height={high} />)}
        {Array.from({ length: span + 1 }, (_, i) => (
          <text key={i} class="picture-axis" x={(i * plotWidth) / span} y={high + 13} text-anchor={i === 0 ? 'start' : i === span ? 'end' : 'middle'}>
            {i === 0 && histogram?.count && histogram.bounds[0]! < low ? `≤ ${axisText(low)}` : axisText(low * 10 ** i)}
          </text>
        ))}
      </svg>
    </figure>
  );
}

/** A power of ten. */
function axisText(seconds: number): string {
  const exponent = Math.round(Math.log10(seconds));
  const [unit, name] = exponent < -6 ? [-9, 'ns'] : exponent < -3 ? [-6, 'µs'] : exponent < 0 ? [-3, 'ms'] : [0, 's'];
  return `${10 ** (exponent - unit)} ${name}`;
}
