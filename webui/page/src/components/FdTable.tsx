// All descriptors of a process, however many: rows exist for what is in sight only and are fetched from the server by range,
// sorted and filtered there. What is in sight is renewed once a second while the page is live.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { getJson } from '../api';
import type { App } from '../app';
import * as format from '../format';
import type { HelpKey } from '../help';
import { instant, type Fd, type FdPage, type OpenSite } from '../model';
import {
  columnsFor,
  epollText,
  fdColumns,
  flagWords,
  idleText,
  moveTo,
  parametersOf,
  RowCache,
  sortKeys,
  targetText,
  type FdColumn,
  type FdQuery,
  type SortKey,
} from '../rows';
import { siteText } from '../sites';
import type { ProcessTrack } from '../store';
import { Stack } from './Stack';
import { Term } from './Term';

const rowHeight = 27;
const headHeight = 30;
const beyond = 8;
/** Rendered anew when so many rows have gone by, not at every pixel. */
const step = 4 * rowHeight;
const mostRows = 22;
/** Scrolling through a hundred thousand rows must not ask for each of them. */
const lookEveryMs = 80;
const renewEveryMs = 1000;
const typingMs = 200;

const abouts: Record<string, HelpKey> = {
  target: 'fdTarget',
  age: 'fdAge',
  idle: 'fdIdle',
  events: 'fdEvents',
  event_share: 'fdShare',
  io_calls: 'fdIo',
  busy: 'fdBusy',
  epoll: 'fdEpoll',
  flags: 'fdFlags',
  site: 'fdSite',
};

const cells: Record<string, (fd: Fd, site: OpenSite | undefined) => string> = {
  fd: (fd) => String(fd.fd),
  kind: (fd) => fd.kind,
  target: targetText,
  age: (fd) => (fd.age_seconds === null ? '' : format.span(fd.age_seconds)),
  idle: (fd) => (fd.idle_seconds === null ? '' : idleText(fd.idle_seconds)),
  events: (fd) => (fd.events === null ? '' : format.count(fd.events)),
  event_share: (fd) => (fd.event_share === null ? '' : format.percent(fd.event_share)),
  io_calls: (fd) => (fd.io_calls === null ? '' : format.count(fd.io_calls)),
  busy: (fd) => (fd.busy_seconds === null ? '' : format.duration(fd.busy_seconds)),
  epoll: epollText,
  flags: (fd) => flagWords(fd).join(' '),
  site: (fd, site) => (fd.site === null ? '' : site ? siteText(site).what : `site ${fd.site}`),
};

export interface FdTableProps {
  app: App;
  process: ProcessTrack;
  ledger: boolean;
  kinds: string[];
  sites: ReadonlyMap<number, OpenSite>;
  /** Rows name sites that are not among `sites`. */
  onUnknownSite: () => void;
  onSite: (id: number) => void;
}

export function FdTable({ app, process, ledger, kinds, sites, onUnknownSite, onSite }: FdTableProps) {
  const id = process.latest.id;
  const [, setTick] = useState(0);
  const [width, setWidth] = useState(0);
  const [scroll, setScroll] = useState(0);
  const [active, setActive] = useState<number | null>(null);
  const [opened, setOpened] = useState<Fd | null>(null);
  const [text, setText] = useState(app.recall('fd-q') ?? '');
  const scroller = useRef<HTMLDivElement>(null);
  const cache = useMemo(() => {
    const fetchPage = (query: FdQuery, offset: number, limit: number, signal: AbortSignal) =>
      getJson<FdPage>('api/v1/descriptors', parametersOf(query, offset, limit), signal);
    return new RowCache(fetchPage, () => setTick((n) => n + 1));
  }, []);
  useEffect(() => () => cache.close(), []);

  const wantedSort = app.recall('fd-sort') ?? '';
  const [sortKey, sortOrder] = wantedSort.split('.');
  const sort = sortKeys.includes(sortKey as SortKey) ? (sortKey as SortKey) : 'fd';
  const order = sortOrder === 'desc' ? 'desc' : 'asc';
  const site = app.recall('fd-site') === null ? null : Number(app.recall('fd-site'));
  const kind = app.recall('fd-kind');
  const q = app.recall('fd-q') ?? '';
  const offline = app.connection.state === 'saved';
  const query: FdQuery = { process: id, sort, order, q, kind, site };
  useEffect(() => {
    if (offline) return;
    cache.ask(query);
    scroller.current?.scrollTo({ top: 0 });
    setActive(null);
  }, [id, sort, order, q, kind, site, offline]);
  // Asked for by its number, from another view. A search finds all that contain the number.
  const wanted = app.recall('fd');
  useEffect(() => {
    setOpened(null);
    if (wanted === null || offline) return;
    const abort = new AbortController();
    getJson<FdPage>('api/v1/descriptors', parametersOf({ process: id, sort: 'fd', order: 'asc', q: wanted, kind: null, site: null }, 0, 1000), abort.signal).then(
      (page) => setOpened(page.rows.find((row) => String(row.fd) === wanted) ?? null),
      () => {}, // the table says so
    );
    return () => abort.abort();
  }, [id, wanted, offline]);
  useEffect(() => setText(q), [q]);
  useEffect(() => {
    if (text === q) return;
    const timer = setTimeout(() => app.remember('fd-q', text || null), typingMs);
    return () => clearTimeout(timer);
  }, [text]);

  // What is in sight.
  const rows = cache.matched ?? 0;
  const view = Math.min(mostRows, Math.max(3, rows)) * rowHeight;
  const first = Math.max(0, Math.floor(scroll / rowHeight) - beyond);
  const last = Math.min(Math.max(rows, cache.matched === null ? mostRows : 0), Math.ceil((scroll + view) / rowHeight) + beyond);
  const sight = useRef<[number, number]>([0, mostRows]);
  sight.current = [first, Math.max(last, first + 1)];
  const throttle = useRef(0);
  useEffect(() => {
    if (offline || throttle.current) return;
    cache.look(...sight.current);
    throttle.current = window.setTimeout(() => {
      throttle.current = 0;
      cache.look(...sight.current);
    }, lookEveryMs);
  }, [first, last, offline]);
  useEffect(() => () => clearTimeout(throttle.current), []);

  // Renewed while there is something new: not while paused, hidden, without a server, or after its end.
  const live = app.connection.state === 'live' && app.pause === null && process.running;
  const wasLive = useRef(false);
  useEffect(() => {
    if (!live && !wasLive.current) return;
    wasLive.current = live;
    if (!live) {
      if (app.connection.state === 'live' && app.pause === null) cache.refresh(true); // its last state
      return;
    }
    if (cache.error) cache.refresh(true); // the server is back, or has got its token
    const timer = setInterval(() => {
      if (!document.hidden) cache.refresh();
    }, renewEveryMs);
    return () => clearInterval(timer);
  }, [live, id]);

  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    setWidth(element.clientWidth);
    return () => observer.disconnect();
  }, [offline]);

  const chosen = app.recall('fd-cols');
  const columns = columnsFor(width, ledger, chosen);
  const fixed = columns.reduce((sum, column) => sum + (column.width ?? 0), 0);

  // The opened one may have moved, or be gone.
  let openedNow: Fd | null = null;
  if (opened) {
    for (let i = first; i < last && !openedNow; i++) {
      const row = cache.row(i);
      if (row && row.fd === opened.fd && row.generation === opened.generation) openedNow = row;
    }
  }
  useEffect(() => {
    for (let i = first; i < last; i++) {
      const row = cache.row(i);
      if (row && row.site !== null && !sites.has(row.site)) return onUnknownSite();
    }
  });

  if (offline) {
    return (
      <section class="card" aria-labelledby="fd-title" data-testid="fd-offline">
        <h2 id="fd-title">All descriptors</h2>
        <p class="quiet note">
          The table of all {format.exact(process.latest.fds?.open)} descriptors is asked from the server row by row, and this saved page has none. What is above was saved
          with it: the kinds, the open sites, and how they went.
        </p>
      </section>
    );
  }

  const show = (index: number) => {
    const element = scroller.current;
    if (!element) return;
    const top = index * rowHeight;
    const height = element.clientHeight - headHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + rowHeight > element.scrollTop + height) element.scrollTop = top + rowHeight - height;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return;
    if ((event.key === 'Enter' || event.key === ' ') && active !== null) {
      const row = cache.row(active);
      if (row) setOpened(row);
      event.preventDefault();
      return;
    }
    if (event.key === 'Escape' && opened) return setOpened(null);
    const page = Math.max(1, Math.floor((event.currentTarget as HTMLElement).clientHeight / rowHeight) - 2);
    const to = active === null && event.key.startsWith('Arrow') ? first + (scroll > 0 ? beyond : 0) : moveTo(event.key, active ?? 0, rows, page);
    if (to === null || rows === 0) return;
    event.preventDefault();
    setActive(Math.min(to, rows - 1));
    show(Math.min(to, rows - 1));
  };
  const click = (column: FdColumn) => {
    if (!column.sort) return;
    const down = sort === column.sort ? order === 'asc' : !column.left && column.sort !== 'fd';
    const value = `${column.sort}.${down ? 'desc' : 'asc'}`;
    app.remember('fd-sort', value === 'fd.asc' ? null : value);
  };
  const away = app.connectionText.kind === 'lost';
  const indices: number[] = [];
  for (let i = first; i < last; i++) indices.push(i);
  const siteName = site === null ? null : sites.get(site);
  return (
    <section class="card" aria-labelledby="fd-title" data-testid="fd-section">
      <div class="card-head fd-head">
        <h2 id="fd-title">All descriptors</h2>
        <span class="quiet" data-testid="fd-count" role="status">
          {cache.matched === null || (cache.matched === 0 && cache.total === null)
            ? cache.error || cache.matched !== null
              ? ''
              : 'asking…'
            : cache.matched === cache.total
              ? format.exact(cache.total)
              : `${format.exact(cache.matched)} of ${format.exact(cache.total)}`}
          {cache.leftOut > 0 && ` · ${format.exact(cache.leftOut)} more are not listed`}
          {cache.stale && cache.matched !== null && !cache.error && ' · asking…'}
        </span>
        {site !== null && (
          <span class="chip">
            opened by <code>{siteName ? siteText(siteName).what : `site ${site}`}</code>
            <button type="button" aria-label="Show those of all open sites" onClick={() => app.remember('fd-site', null)}>
              ×
            </button>
          </span>
        )}
        <span class="fd-tools">
          <select aria-label="Kind" value={kind ?? ''} onChange={(event) => app.remember('fd-kind', (event.currentTarget as HTMLSelectElement).value || null)}>
            <option value="">all kinds</option>
            {[...new Set(kind ? [...kinds, kind] : kinds)].map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
          <input
            type="search"
            placeholder="Search number, target, peer"
            aria-label="Search descriptors"
            value={text}
            onInput={(event) => setText((event.currentTarget as HTMLInputElement).value)}
          />
          <ColumnMenu columns={columns} ledger={ledger} onChange={(keys) => app.remember('fd-cols', keys)} chosen={chosen !== null} />
        </span>
      </div>
      {(cache.error || away) && (
        <p class="note fd-error" data-testid="fd-error">
          {errorText(away ? 0 : cache.error!.status, cache.error?.message ?? '')}
          {cache.takenAt !== null && ` The rows are those of ${format.clock(instant(cache.takenAt))}.`}
        </p>
      )}
      {(cache.error === null || cache.matched !== null) && (
        <div class={`fd-area ${opened ? 'with-details' : ''}`}>
          <div
            class={`fd-scroll ${cache.stale && cache.matched !== null ? 'stale' : ''}`}
            ref={scroller}
            tabIndex={0}
            role="group"
            aria-label="Table of all descriptors: arrow keys move, Enter opens"
            aria-activedescendant={active !== null && active >= first && active < last ? `fd-row-${active}` : undefined}
            style={{ height: `${view + headHeight + 2}px` }}
            onScroll={(event) => setScroll(Math.floor((event.currentTarget as HTMLElement).scrollTop / step) * step)}
            onKeyDown={onKeyDown}
          >
            <table class="numbers fd-table" data-testid="fd-table" aria-rowcount={rows + 1} aria-colcount={columns.length} style={{ minWidth: `${fixed + 140}px` }}>
              <colgroup>
                {columns.map((column) => (
                  <col key={column.key} style={column.width === null ? {} : { width: `${column.width}px` }} />
                ))}
              </colgroup>
              <thead>
                <tr aria-rowindex={1}>
                  {columns.map((column) => (
                    <th
                      key={column.key}
                      scope="col"
                      class={column.left ? 'left' : ''}
                      aria-sort={column.sort === null ? undefined : sort === column.sort ? (order === 'desc' ? 'descending' : 'ascending') : 'none'}
                    >
                      <Head column={column} arrow={column.sort !== null && sort === column.sort ? (order === 'desc' ? '↓' : '↑') : ''} onClick={() => click(column)} />
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {first > 0 && (
                  <tr aria-hidden="true">
                    <td colSpan={columns.length} class="spacer" style={{ height: `${first * rowHeight}px` }} />
                  </tr>
                )}
                {indices.map((index) => (
                  <Row
                    key={index}
                    index={index}
                    row={cache.row(index)}
                    columns={columns}
                    sites={sites}
                    active={index === active}
                    opened={opened !== null && cache.row(index)?.fd === opened.fd && cache.row(index)?.generation === opened.generation}
                    onOpen={(row) => {
                      setActive(index);
                      setOpened(row);
                    }}
                  />
                ))}
                {last < rows && (
                  <tr aria-hidden="true">
                    <td colSpan={columns.length} class="spacer" style={{ height: `${(rows - last) * rowHeight}px` }} />
                  </tr>
                )}
              </tbody>
            </table>
            {cache.matched === 0 && <p class="quiet fd-none">{cache.total === null ? 'Not known: the library records the loops of a process, and its descriptors only while it lives.' : q || kind || site !== null ? 'None matches.' : 'None is open.'}</p>}
          </div>
          {opened && <Details fd={openedNow ?? opened} seen={openedNow !== null} sites={sites} onSite={onSite} onClose={() => setOpened(null)} />}
        </div>
      )}
    </section>
  );
}

function errorText(status: number, message: string): string {
  if (status === 0) return 'This table needs the server, and it does not answer.';
  if (status === 401) return 'The server wants a token for this table.';
  if (status === 404) return 'The server has no list of this process’ descriptors (it may be of an older version, or have let go of the process).';
  return `The server cannot list them: ${message}.`;
}

function Head({ column, arrow, onClick }: { column: FdColumn; arrow: string; onClick: () => void }) {
  const about = abouts[column.key];
  if (!column.sort) return about ? <Term about={about}>{column.label}</Term> : <>{column.label}</>;
  const button = (
    <button type="button" class="sort" onClick={onClick}>
      {column.label}
      <span class="arrow" aria-hidden="true">
        {arrow}
      </span>
    </button>
  );
  return about ? (
    <Term about={about} plain>
      {button}
    </Term>
  ) : (
    button
  );
}

interface RowProps {
  index: number;
  row: Fd | undefined;
  columns: FdColumn[];
  sites: ReadonlyMap<number, OpenSite>;
  active: boolean;
  opened: boolean;
  onOpen: (row: Fd) => void;
}

function Row({ index, row, columns, sites, active, opened, onOpen }: RowProps) {
  const site = row?.site == null ? undefined : sites.get(row.site);
  return (
    <tr
      id={`fd-row-${index}`}
      aria-rowindex={index + 2}
      class={`${active ? 'active' : ''} ${opened ? 'opened' : ''} ${row ? '' : 'awaited'}`}
      data-fd={row?.fd}
      onClick={() => row && onOpen(row)}
    >
      {columns.map(({ key, left }) => {
        if (!row) return <td key={key}>{key === 'fd' || key === 'target' ? <span class="placeholder" /> : ''}</td>;
        const text = cells[key]!(row, site);
        return (
          <td key={key} class={`${left ? 'left' : ''} f-${key}`} title={left ? text : undefined}>
            {text}
          </td>
        );
      })}
    </tr>
  );
}

function ColumnMenu(props: { columns: FdColumn[]; ledger: boolean; chosen: boolean; onChange: (keys: string | null) => void }) {
  const shown = new Set(props.columns.map((column) => column.key));
  const toggle = (key: string) => {
    const keys = fdColumns.map((column) => column.key).filter((other) => (other === key ? !shown.has(key) : shown.has(other)));
    props.onChange(keys.join(','));
  };
  return (
    <details class="menu" data-testid="fd-columns">
      <summary>columns</summary>
      <div class="menu-box">
        {fdColumns
          .filter((column) => column.key !== 'fd' && column.key !== 'kind' && (props.ledger || !column.ledger))
          .map((column) => (
            <label key={column.key}>
              <input type="checkbox" checked={shown.has(column.key)} onChange={() => toggle(column.key)} /> {column.label}
            </label>
          ))}
        {props.chosen && (
          <button type="button" class="small-button" onClick={() => props.onChange(null)}>
            what fits
          </button>
        )}
      </div>
    </details>
  );
}

const yes = (value: boolean | null, text: string, not: string) => (value === null ? null : value ? text : not);

function Details({ fd, seen, sites, onSite, onClose }: { fd: Fd; seen: boolean; sites: ReadonlyMap<number, OpenSite>; onSite: (id: number) => void; onClose: () => void }) {
  const site = fd.site === null ? undefined : sites.get(fd.site);
  const facts: [string, string | null][] = [
    ['target', fd.target],
    ['peer', fd.peer],
    ['own end', fd.local],
    ['end', fd.end && `${fd.end} end`],
    ['other end', fd.pair_fd === null ? null : `descriptor ${fd.pair_fd}`],
    ['age', fd.age_seconds === null ? null : format.span(fd.age_seconds)],
    ['idle for', fd.idle_seconds === null ? null : idleText(fd.idle_seconds)],
    ['origin', fd.origin === 'unknown' ? null : fd.accepted ? `${fd.origin}, accepted` : fd.origin],
    ['opened by thread', fd.thread_id === null ? null : String(fd.thread_id)],
    ['events', fd.events === null ? null : `${format.exact(fd.events)}${fd.event_share === null ? '' : `, ${format.percent(fd.event_share)} of its loop’s wake-ups`}`],
    ['I/O calls', fd.io_calls === null ? null : format.exact(fd.io_calls)],
    ['busy time', fd.busy_seconds === null ? null : format.duration(fd.busy_seconds)],
    ['epoll set', fd.epoll_fd === null ? null : `${fd.epoll_fd}${fd.interest ? ` for ${fd.interest.join(', ') || 'nothing'}` : ''}`],
    ['on exec', yes(fd.close_on_exec, 'closed', 'kept open')],
    ['calls', yes(fd.nonblocking, 'do not wait', 'may wait')],
    ['listening', fd.listening ? 'yes' : null],
  ];
  return (
    <aside class="fd-details" aria-label={`Descriptor ${fd.fd}`} data-testid="fd-details" data-fd={fd.fd}>
      <div class="card-head">
        <h3>
          descriptor {fd.fd} <span class="quiet">{fd.kind}</span>
        </h3>
        <button type="button" class="close" aria-label="Close the details" onClick={onClose}>
          ×
        </button>
      </div>
      {!seen && <p class="quiet small">Out of sight or closed: as it was seen last.</p>}
      <dl class="facts-list">
        {facts.map(
          ([label, value]) =>
            value !== null && (
              <div key={label}>
                <dt>{label}</dt>
                <dd>{value}</dd>
              </div>
            ),
        )}
      </dl>
      {fd.site !== null && (
        <>
          <h3>
            opened at{' '}
            <button type="button" class="row-link" onClick={() => onSite(fd.site!)}>
              {site ? siteText(site).what : `site ${fd.site}`}
            </button>
          </h3>
          {site ? <Stack stack={site.stack} /> : <p class="quiet small">Its stack is being asked for.</p>}
        </>
      )}
    </aside>
  );
}
