// Every process and loop, one row each, under one sentence that says how things stand.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { App } from '../app';
import { Fds, Found, Heads, OverviewRow, rowHeight, rowTarget, sortNames, stampOf } from '../components/Overview';
import { LevelGlyph } from '../components/Glyphs';
import { Term } from '../components/Term';
import * as format from '../format';
import type { HelpKey } from '../help';
import { formatSort, headline, hold, layout, nextSort, parseSort, type Row, type SortKey } from '../overview';
import type { View } from '../selection';
import { isStalled } from '../stalled';
import type { ProcessTrack } from '../store';

/** Rows change places at most this often, and never under somebody's hand. */
const sortEveryMs = 4000;
const cardsBelow = '(max-width: 1119px)';
/** Rendered beyond the edges of the window, in pixels: enough for a flick of the wheel. */
const margin = 400;
const narrow = matchMedia(cardsBelow);
/** On a touch screen the last thing touched stays "hovered". */
const hovers = matchMedia('(hover: hover)');

export function OverviewView({ app }: { app: App; version: number }) {
  const tracks = [...app.store.processes.values()];
  return (
    <section class="overview" aria-labelledby="overview-title" data-testid="overview">
      <Verdict app={app} tracks={tracks} />
      <Table app={app} tracks={tracks} />
    </section>
  );
}

const targetWords: Partial<Record<View, string>> = { loop: 'Open the loop', findings: 'Read the findings', take: 'Take it away' };

function Verdict({ app, tracks }: { app: App; tracks: ProcessTrack[] }) {
  const said = headline(tracks, app.gone);
  // A banner right above that shouts the same is loud enough.
  const loud = !app.banners.some((banner) => banner.level === 'error');
  const running = tracks.filter((track) => track.running);
  const loops = running.flatMap((track) => [...track.loops.values()]);
  const stalled = loops.filter((loop) => isStalled(loop.latest)).length;
  const alone = tracks.length === 1 ? tracks[0]! : null;
  return (
    <div class={`card ov-verdict ${said.level} ${loud ? '' : 'calm'}`} data-testid="verdict" data-level={said.level}>
      <LevelGlyph level={said.level} size={26} />
      <div class="said">
        <h2 id="overview-title">{said.text}</h2>
        <p>
          <span class="quiet">{said.detail}</span>{' '}
          {said.target && (
            <a href={app.href(said.target)} data-testid="verdict-link">
              {targetWords[said.target.view!]} ›
            </a>
          )}
        </p>
      </div>
      <dl class="ov-facts">
        {alone ? (
          <>
            <Fact label="descriptors" about="open">
              <a href={app.href({ view: 'descriptors', process: alone.latest.id })}>
                <Fds process={alone} />
              </a>
            </Fact>
            {alone.latest.resident_bytes !== null && (
              <Fact label="memory" about="memory">
                {format.bytes(alone.latest.resident_bytes)}
              </Fact>
            )}
            <Fact label="findings" about="findings">
              {(alone.latest.findings ?? []).length > 0 ? <Found app={app} process={alone} findings={alone.latest.findings!} /> : '0'}
            </Fact>
          </>
        ) : (
          <>
            <Fact label="running">
              {format.exact(running.length)} <span class="quiet">of {format.exact(tracks.length)}</span>
            </Fact>
            <Fact label="loops">{format.exact(loops.length)}</Fact>
            <Fact label="stalled now" about="stalledNow" bad={stalled > 0}>
              {format.exact(stalled)}
            </Fact>
          </>
        )}
      </dl>
    </div>
  );
}

function Fact(props: { label: string; about?: HelpKey; bad?: boolean; children: preact.ComponentChildren }) {
  const { label, about, bad, children } = props;
  return (
    <div class={bad ? 'bad' : ''}>
      <dt>{about ? <Term about={about}>{label}</Term> : label}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Table({ app, tracks }: { app: App; tracks: ProcessTrack[] }) {
  const [cards, setCards] = useState(narrow.matches);
  useEffect(() => {
    const change = () => setCards(narrow.matches);
    narrow.addEventListener('change', change);
    return () => narrow.removeEventListener('change', change);
  }, []);

  const grid = useRef<HTMLDivElement>(null);
  const sort = parseSort(app.recall('overview.sort'));
  const filter = app.recall('overview.q') ?? '';
  const ended = app.recall('overview.ended');
  const { rows, folded, ended: endedCount } = useOrder(app, grid, formatSort(sort) ?? '', filter, ended);
  const processes = tracks.length > 1;
  const setSort = (key: SortKey) => app.remember('overview.sort', formatSort(nextSort(sort, key)));

  const heights = rows.map((row) => rowHeight[cards ? 'cards' : 'wide'][row.loop ? 'loop' : 'process']);
  const tops: number[] = [];
  let total = 0;
  for (const height of heights) {
    tops.push(total);
    total += height;
  }
  const body = useRef<HTMLDivElement>(null);
  const [from, to] = useRange(body, total);
  const [active, setActive] = useState<string | null>(null);
  const activeAt = Math.max(0, rows.findIndex((row) => row.key === active));

  /** The row must exist to be focused: bring it into sight, then wait for it. */
  const wanted = useRef<string | null>(null);
  useLayoutEffect(() => {
    if (wanted.current === null) return;
    const element = grid.current?.querySelector<HTMLElement>(`[data-key="${CSS.escape(wanted.current)}"]`);
    if (!element) return;
    wanted.current = null;
    element.focus({ preventScroll: true });
  });
  const go = (index: number) => {
    const at = Math.max(0, Math.min(rows.length - 1, index));
    const row = rows[at];
    if (!row || !body.current) return;
    wanted.current = row.key;
    setActive(row.key);
    const top = body.current.getBoundingClientRect().top + tops[at]!;
    const head = cards ? stickyTop() : stickyTop() + 52;
    if (top < head) scrollBy(0, top - head - 8);
    else if (top + heights[at]! > innerHeight) scrollBy(0, top + heights[at]! - innerHeight + 8);
  };
  const keys = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.target as HTMLElement).closest('[role=row][data-key]')) return;
    const page = Math.max(1, Math.floor((innerHeight - stickyTop() - 60) / (heights[0] ?? 44)));
    const to = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page }[event.key];
    const end = { Home: 0, End: rows.length - 1 }[event.key];
    if (to === undefined && end === undefined && event.key !== 'Enter') return;
    if (event.key === 'Enter') {
      if ((event.target as HTMLElement).closest('a')) return;
      const row = rows[activeAt];
      if (row) location.hash = app.href(rowTarget(row));
    } else go(end ?? activeAt + to!);
    event.preventDefault();
  };
  // From anywhere on the view: the first j or arrow enters the table.
  useEffect(() => {
    const enter = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      const at = document.activeElement ?? document.body;
      // Letters mean nothing to a button; arrows may mean something to whatever has the focus.
      const free = ['j', 'k'].includes(event.key) ? !at.closest('input, select, textarea, dialog, [role=tree]') : at === document.body && event.key.startsWith('Arrow');
      if (!free || !['j', 'k', 'ArrowDown', 'ArrowUp'].includes(event.key)) return;
      event.preventDefault();
      go(activeAt);
    };
    document.addEventListener('keydown', enter);
    return () => document.removeEventListener('keydown', enter);
  });

  const seen = Math.max(0, ...tracks.filter((track) => track.running).map((track) => track.base(1000)?.seconds ?? 0));
  return (
    <div class="card ov-table">
      <div class="ov-tools">
        <h3 class="unseen">Loops</h3>
        <input
          type="search"
          class="ov-filter"
          placeholder="Filter  ( / )"
          title="By name, pid, argument, thread or state"
          aria-label="Filter processes and loops"
          value={filter}
          data-testid="overview-filter"
          onInput={(event) => app.remember('overview.q', (event.currentTarget as HTMLInputElement).value || null)}
        />
        {cards && (
          <label class="ov-sort">
            <span class="quiet">sort</span>
            <select
              value={formatSort(sort) ?? ''}
              data-testid="overview-sort"
              onChange={(event) => app.remember('overview.sort', (event.currentTarget as HTMLSelectElement).value || null)}
            >
              <option value="">as started</option>
              {sortNames.map(([key, name]) => (
                <option key={key} value={key === 'name' ? key : `-${key}`}>
                  {name}
                </option>
              ))}
            </select>
          </label>
        )}
        {endedCount > 0 && endedCount < tracks.length && filter === '' && (
          <button type="button" data-testid="overview-ended" onClick={() => app.remember('overview.ended', folded > 0 ? 'all' : 'none')}>
            {folded > 0 ? `Show ${format.exact(folded)} ended` : `Hide ${format.exact(endedCount)} ended`}
          </button>
        )}
        <p class="quiet small ov-note">
          <Term about="windows">10, 100 and 1000 s</Term>, all up to {tracks.every((track) => !track.running) ? 'the end' : app.offline ? 'when this was saved' : 'now'}
          {seen > 0 && seen < 990 && `; seen so far: ${format.span(seen)}`}
        </p>
      </div>
      <div
        role="grid"
        aria-label="Processes and loops"
        aria-rowcount={rows.length + 1}
        class={`ov-grid ${cards ? 'cards' : 'wide'} ${processes ? 'with-processes' : ''}`}
        ref={grid}
        onKeyDown={keys}
        data-testid="overview-grid"
      >
        {!cards && <Heads sort={sort} onSort={setSort} processes={processes} />}
        <div role="rowgroup" class="ov-body" ref={body} style={{ height: `${total}px` }}>
          {rows.map((row, i) =>
            tops[i]! + heights[i]! < from || tops[i]! > to ? null : (
              <OverviewRow
                key={row.key}
                app={app}
                selection={app.selection}
                row={row}
                index={i}
                top={tops[i]!}
                cards={cards}
                processes={processes}
                tabIndex={i === activeAt ? 0 : -1}
                current={processes && row.process === app.process}
                onFocus={setActive}
                stamp={stampOf(row)}
              />
            ),
          )}
        </div>
      </div>
      {rows.length === 0 && <p class="quiet ov-none">{filter !== '' ? 'Nothing matches.' : 'No process runs.'}</p>}
    </div>
  );
}

/** Where the sticky header ends. */
const stickyTop = () => document.querySelector('header')?.getBoundingClientRect().bottom ?? 0;

/** Which part of the rows' box is in the window or close to it, in its own pixels. */
function useRange(box: { current: HTMLElement | null }, total: number): [number, number] {
  const [range, setRange] = useState<[number, number]>([0, innerHeight + margin]);
  useLayoutEffect(() => {
    const look = () => {
      const top = box.current?.getBoundingClientRect().top ?? 0;
      // In steps, so that most events of a scroll change nothing.
      const from = Math.floor((-top - margin) / 200) * 200;
      const to = Math.ceil((innerHeight - top + margin) / 200) * 200;
      setRange((old) => (old[0] === from && old[1] === to ? old : [from, to]));
    };
    look();
    addEventListener('scroll', look, { passive: true });
    addEventListener('resize', look);
    return () => {
      removeEventListener('scroll', look);
      removeEventListener('resize', look);
    };
  }, [total]);
  return range;
}

/** The rows in their order: new figures move them every few seconds only, and not while a pointer or the focus is on them. */
function useOrder(app: App, grid: { current: HTMLElement | null }, sort: string, filter: string, ended: string | null) {
  const order = useRef<{ asked: string; at: number; keys: string[] }>({ asked: '', at: 0, keys: [] });
  return useMemo(() => {
    const asked = JSON.stringify([sort, filter, ended]);
    const mine = order.current;
    const touched = (hovers.matches && grid.current?.matches(':hover')) || document.activeElement?.closest('[role=row][data-key]');
    const due = performance.now() - mine.at > sortEveryMs && !touched;
    const free = asked !== mine.asked || due;
    // Held: the order is not asked for, so nothing needs the figures of rows out of sight.
    const result = layout(app.store.processes, {
      sort: free ? parseSort(sort) : null,
      filter,
      showEnded: ended === null ? null : ended === 'all',
      selected: app.selection.process,
    });
    const rows: Row[] = free || sort === '' ? result.rows : hold(result.rows, mine.keys);
    if (free || rows.length !== mine.keys.length) order.current = { asked, at: free ? performance.now() : mine.at, keys: rows.map((row) => row.key) };
    return { ...result, rows };
  }, [app.version, sort, filter, ended, app.selection.process]);
}
