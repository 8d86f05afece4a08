import { useMemo, useRef, useState } from 'preact/hooks';
import * as format from '../format';
import type { HelpKey } from '../help';
import type { LoopTrack, ProcessTrack } from '../store';
import { columns, sortRows, watcherRows, type Column, type Row } from '../watchers';
import { Term } from './Term';
import { coverage } from './windowLabel';

const heads: Record<Column, { label: string; about?: HelpKey }> = {
  name: { label: 'watcher' },
  kind: { label: 'kind' },
  fd: { label: 'fd' },
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
const beyond = 6;

export function Watchers({ process, loop, window }: { process: ProcessTrack; loop: LoopTrack; window: number }) {
  const [sort, setSort] = useState<{ by: Column; down: boolean }>({ by: 'share', down: true });
  const [search, setSearch] = useState('');
  const [scroll, setScroll] = useState(0);
  const scroller = useRef<HTMLDivElement>(null);
  const base = process.base(window) ?? (process.running ? undefined : process.base(Infinity));
  const rows = useMemo(() => watcherRows(process, loop, base), [process.time, loop, loop.cut, window]);
  const sorted = useMemo(() => {
    const wanted = search.trim().toLowerCase();
    const matching = wanted ? rows.filter((row) => `${row.name} ${row.kind}`.toLowerCase().includes(wanted)) : rows;
    return sortRows(matching, sort.by, sort.down);
  }, [rows, sort, search]);
  const first = sorted.length > 40 ? Math.max(0, Math.floor(scroll / rowHeight) - beyond) : 0;
  const last = sorted.length > 40 ? Math.min(sorted.length, Math.ceil((scroll + viewport) / rowHeight) + beyond) : sorted.length;
  const click = (by: Column) => setSort({ by, down: sort.by === by ? !sort.down : !leftAligned.has(by) });
  return (
    <section class="card" aria-labelledby="watchers-title">
      <div class="card-head">
        <h2 id="watchers-title">Watchers</h2>
        <span class="quiet">
          {format.exact(loop.latest.watchers.length)} · {coverage(process, base, window)}
        </span>
        {loop.latest.watchers.length > 12 && (
          <input
            type="search"
            placeholder="Filter by name or kind"
            aria-label="Filter watchers"
            value={search}
            onInput={(event) => setSearch((event.currentTarget as HTMLInputElement).value)}
          />
        )}
      </div>
      <div
        class="scroll tall"
        ref={scroller}
        onScroll={(event) => sorted.length > 40 && setScroll((event.currentTarget as HTMLElement).scrollTop)}
      >
        <table class="numbers watchers" data-testid="watchers-table" aria-rowcount={sorted.length + 1}>
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
            </tr>
          </thead>
          <tbody>
            {first > 0 && (
              <tr aria-hidden="true">
                <td colSpan={columns.length} class="spacer" style={{ height: `${first * rowHeight}px` }} />
              </tr>
            )}
            {sorted.slice(first, last).map((row, i) => (
              <WatcherRow key={row.key} row={row} index={first + i + 2} />
            ))}
            {last < sorted.length && (
              <tr aria-hidden="true">
                <td colSpan={columns.length} class="spacer" style={{ height: `${(sorted.length - last) * rowHeight}px` }} />
              </tr>
            )}
          </tbody>
        </table>
      </div>
      {loop.latest.watchers.length === 0 && (
        <p class="quiet note">No named watchers: this source sees the loop from outside, not its callbacks.</p>
      )}
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

function WatcherRow({ row, index }: { row: Row; index: number }) {
  return (
    <tr data-watcher={row.name} data-kind={row.kind} aria-rowindex={index} class={row.special ? 'special' : row.calls === 0 ? 'still' : ''}>
      <td class="left c-name" title={row.name}>
        {row.special ? <Term about="unattributed">{row.name}</Term> : <code>{row.name}</code>}
      </td>
      <td class="left quiet">{row.kind}</td>
      <td class="quiet">{row.fd === null ? '' : row.fd}</td>
      <td class="c-share">
        <span class="share">
          <span class="meter" aria-hidden="true">
            <span style={{ width: `${(row.share ?? 0) * 100}%` }} />
          </span>
          <span title={`${format.duration(row.seconds)} in the window`}>{format.percent(row.share)}</span>
        </span>
      </td>
      <td>{row.special ? '' : format.rate(row.calls)}</td>
      <td>{row.special ? '' : format.duration(row.p50)}</td>
      <td>{row.special ? '' : format.duration(row.p99)}</td>
      <td>{row.special ? '' : format.duration(row.max)}</td>
      <td>{row.lag === null ? '' : format.duration(row.lag)}</td>
    </tr>
  );
}
