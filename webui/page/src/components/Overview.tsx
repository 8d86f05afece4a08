// The overview's table: a grid of rows on wide screens, cards on narrow ones. Only rows in sight exist, and a row is
// rendered again only when its figures, its place in the keyboard's order or the address has changed.
import { Component } from 'preact';
import type { App } from '../app';
import * as format from '../format';
import type { Finding } from '../model';
import { figures, findingsOf, loopName, loopState, processState, spans, sparkPath, type Figures, type Row, type Sort, type SortKey, type Triple } from '../overview';
import type { HelpKey } from '../help';
import type { Selection } from '../selection';
import type { ProcessTrack } from '../store';
import { LevelGlyph, StateGlyph } from './Glyphs';
import { Term } from './Term';

/** Fixed, because what is not in sight must still take its room. CSS says the same. */
export const rowHeight = { wide: { process: 38, loop: 44 }, cards: { process: 62, loop: 166 } };

const spanLabel = (seconds: number) => `${seconds}\u00a0s`;

interface Column {
  key: SortKey;
  label: string;
  about: HelpKey;
}
const state: Column = { key: 'state', label: 'state', about: 'state' };
const triples: { name: 'utilization' | 'busy' | 'lag'; label: string; about: HelpKey; keys: SortKey[] }[] = [
  { name: 'utilization', label: 'utilization', about: 'utilization', keys: ['util10', 'util100', 'util1000'] },
  { name: 'busy', label: 'p99 busy', about: 'busy', keys: ['busy10', 'busy100', 'busy1000'] },
  { name: 'lag', label: 'p99 timer lag', about: 'timerLag', keys: ['lag10', 'lag100', 'lag1000'] },
];
const turns: Column = { key: 'turns', label: 'turns/s', about: 'turns' };
const ready: Column = { key: 'ready', label: 'ready', about: 'readyPerTurn' };
const fds: Column = { key: 'fds', label: 'descriptors', about: 'open' };
const found: Column = { key: 'findings', label: 'findings', about: 'findings' };

/** For the choice on narrow screens, which have no heads to click. */
export const sortNames: [SortKey, string][] = [
  ['name', 'name'],
  ['state', 'state'],
  ...triples.flatMap(({ label, keys }) => keys.map((key, i): [SortKey, string] => [key, `${label}, ${spanLabel(spans[i]!)}`])),
  ['turns', 'turns per second'],
  ['ready', 'ready events a turn'],
  ['fds', 'descriptors'],
  ['findings', 'findings'],
];

export function Heads({ sort, onSort, processes }: { sort: Sort | null; onSort: (key: SortKey) => void; processes: boolean }) {
  const order = (key: SortKey) => (sort?.key !== key ? undefined : sort.descending ? 'descending' : 'ascending');
  const button = (key: SortKey, content: preact.ComponentChildren) => (
    <button type="button" class="sort" onClick={() => onSort(key)}>
      {content}
      {sort?.key === key && (
        <span class="arrow" aria-hidden="true">
          {sort.descending ? '▾' : '▴'}
        </span>
      )}
    </button>
  );
  const single = ({ key, label, about }: Column, className = '') => (
    <div role="columnheader" class={`tall ${className}`} aria-sort={order(key)}>
      <Term about={about} plain>
        {button(key, label)}
      </Term>
    </div>
  );
  return (
    <div role="row" class="ov-head">
      <div role="columnheader" class="tall left" aria-sort={order('name')}>
        {button('name', processes ? 'process, loop' : 'loop')}
      </div>
      {single(state, 'left')}
      {triples.map(({ name, label, about, keys }) =>
        keys.map((key, i) => (
          <div key={key} role="columnheader" class={`${i === 0 ? `first ${name}` : ''}`} aria-sort={order(key)}>
            {i === 0 && (
              <span class="group">
                <Term about={about}>{label}</Term>
              </span>
            )}
            <span class="unseen">{i > 0 && label}</span>
            {button(key, spanLabel(spans[i]!))}
          </div>
        )),
      )}
      {single(turns)}
      {single(ready)}
      {processes && single(fds, 'fds')}
      {processes && single(found, 'left found')}
    </div>
  );
}

interface RowProps {
  app: App;
  selection: Selection;
  row: Row;
  index: number;
  top: number;
  cards: boolean;
  /** There are several processes: their descriptors and findings have columns. */
  processes: boolean;
  tabIndex: number;
  current: boolean;
  onFocus: (key: string) => void;
  /** Changes with the figures. */
  stamp: string;
}

export const stampOf = ({ process }: Row) =>
  // One that has ended stands still, though every event tells of it again.
  process.running ? String(process.time) : `${process.time} ended ${process.latest.findings?.length ?? 0}`;

export const rowTarget = ({ process, loop }: Row): Partial<Selection> =>
  loop || process.loops.size > 0
    ? { view: 'loop', process: process.latest.id, loop: loop && String(loop.latest.id) }
    : { view: 'descriptors', process: process.latest.id, loop: null };

export class OverviewRow extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps): boolean {
    const now = this.props;
    return (
      next.stamp !== now.stamp ||
      next.row.loop !== now.row.loop ||
      next.row.process !== now.row.process ||
      next.row.head !== now.row.head ||
      next.row.nested !== now.row.nested ||
      next.top !== now.top ||
      next.index !== now.index ||
      next.cards !== now.cards ||
      next.processes !== now.processes ||
      next.tabIndex !== now.tabIndex ||
      next.current !== now.current ||
      next.selection !== now.selection
    );
  }

  render({ app, row, index, top, cards, processes, tabIndex, current, onFocus }: RowProps) {
    const { process, loop, head } = row;
    const { latest } = process;
    const now = loop ? loopState(latest, loop) : processState(latest, row.became);
    const href = app.href(rowTarget(row));
    const open = (event: Event) => {
      if ((event.target as Element).closest('a, button') || getSelection()?.toString()) return;
      location.hash = href;
    };
    const content = loop ? figures(process, loop) : null;
    // Which of five pythons it is.
    const args = head && processes ? (latest.argv ?? []).slice(1).join(' ') : '';
    const name = (
      <a class="ov-name" href={href} tabIndex={-1} title={(latest.argv ?? []).join(' ')}>
        <span class="ov-line">
          {head && (
            <span class="ov-process">
              <b>{latest.command || '?'}</b> <span class="quiet">{latest.pid}</span>
            </span>
          )}
          {head && loop && <span class="quiet"> › </span>}
          {loop && <b class={head ? 'ov-only' : ''}>{loopName(process, loop)}</b>}
        </span>
        {args !== '' && <span class="ov-args">{args}</span>}
      </a>
    );
    const stateText = (
      <span class={`ov-state ${now.kind}`} data-testid="row-state" data-state={now.kind} title={now.text}>
        <StateGlyph kind={now.kind} />
        <span>{now.text}</span>
      </span>
    );
    const common = {
      role: 'row' as const,
      class: `${cards ? 'ov-card' : 'ov-row'} ${loop ? '' : 'is-process'} ${row.nested ? 'nested' : ''} ${process.running ? '' : 'over'} ${now.kind === 'stalled' ? 'is-stalled' : ''}`,
      style: { transform: `translateY(${top}px)` },
      tabIndex,
      'aria-rowindex': index + 2,
      'aria-current': current ? ('true' as const) : undefined,
      'data-testid': loop ? 'overview-loop' : 'overview-process',
      'data-key': row.key,
      'data-pid': latest.pid,
      'data-loop': loop?.latest.name,
      onClick: open,
      onFocusIn: () => onFocus(row.key),
    };
    if (cards) return <Card common={common} name={name} state={stateText} content={content} row={row} app={app} processes={processes} />;
    return (
      <div {...common}>
        <div role="rowheader" class="left ov-head-cell">
          {name}
          {!processes && loop && <Found app={app} process={process} findings={findingsOf(latest, loop)} />}
        </div>
        <div role="gridcell" class="left">
          {stateText}
        </div>
        {triples.map(({ name: which }) =>
          spans.map((_, i) => (
            <div key={i} role="gridcell" class={i === 0 ? `first ${which}` : i === 2 ? 'last' : ''}>
              {content && i === 0 && which === 'utilization' && <Spark values={content.spark} />}
              {content && <Value triple={content[which]} at={i} covered={content.covered[i] ?? null} ratio={which === 'utilization'} />}
            </div>
          )),
        )}
        <div role="gridcell">{content && format.rate(content.turns)}</div>
        <div role="gridcell">{content && format.rate(content.ready)}</div>
        {processes && (
          <div role="gridcell" class="fds">
            {head && <Fds process={process} />}
          </div>
        )}
        {processes && (
          <div role="gridcell" class="left found">
            <Found app={app} process={process} findings={head ? (latest.findings ?? []) : findingsOf(latest, loop)} />
          </div>
        )}
      </div>
    );
  }
}

function Card(props: { common: object; name: preact.VNode; state: preact.VNode; content: Figures | null; row: Row; app: App; processes: boolean }) {
  const { content, row, app, processes } = props;
  const { process, head, loop } = row;
  return (
    <div {...props.common}>
      <div role="rowheader" class="card-name">
        {props.name}
      </div>
      <div role="gridcell" class="card-state">
        {props.state}
      </div>
      {content && (
        <>
          <div role="presentation" class="card-heads" aria-hidden="true">
            <Spark values={content.spark} />
            {spans.map((seconds) => (
              <span key={seconds}>{spanLabel(seconds)}</span>
            ))}
          </div>
          {triples.map(({ name, label, about }) => (
            <div key={name} role="gridcell" class="card-line">
              <Term about={about} plain>
                {label}
              </Term>
              {spans.map((_, i) => (
                <span key={i} class={i === 0 ? 'first' : ''}>
                  <Value triple={content[name]} at={i} covered={content.covered[i] ?? null} ratio={name === 'utilization'} />
                </span>
              ))}
            </div>
          ))}
        </>
      )}
      <div role="gridcell" class="card-rest">
        {content && (
          <span>
            <b>{format.rate(content.turns)}</b> turns/s
          </span>
        )}
        {content && (
          <span>
            <b>{format.rate(content.ready)}</b> ready
          </span>
        )}
        {processes && head && <Fds process={process} words />}
        <Found app={app} process={process} findings={head && processes ? (process.latest.findings ?? []) : findingsOf(process.latest, loop)} />
      </div>
    </div>
  );
}

function Value({ triple, at, covered, ratio }: { triple: Triple; at: number; covered: number | null; ratio: boolean }) {
  const value = triple.values[at] ?? null;
  if (value === null) return <span class="none">{covered === null ? '·' : format.unknown}</span>;
  const short = covered !== null && covered < spans[at]! * 0.9;
  const moved = at === 0 ? triple.trend : null;
  return (
    <span class={`figure-now ${short ? 'short' : ''} ${moved ?? ''}`} title={short ? `covers ${format.span(covered)} only` : undefined}>
      {moved && (
        <span class="trend" role="img" aria-label={moved === 'up' ? 'higher than before' : 'lower than before'}>
          {moved === 'up' ? '▲' : '▼'}
        </span>
      )}
      {ratio ? format.percent(value) : format.duration(value)}
      {ratio && at === 0 && (
        <span class="meter" aria-hidden="true">
          <span style={{ width: `${Math.min(1, value) * 100}%` }} />
        </span>
      )}
    </span>
  );
}

/** The box is 0 to 100 %. */
const sparkSize = { width: 54, height: 24 };

function Spark({ values }: { values: readonly (number | null)[] }) {
  const { width, height } = sparkSize;
  return (
    <svg class="ov-spark" width={width} height={height} viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
      <rect class="box" width={width} height={height} />
      <path class="line" d={sparkPath(values, width - 2, height - 2)} transform="translate(1 1)" />
    </svg>
  );
}

export function Fds({ process, words }: { process: ProcessTrack; words?: boolean }) {
  const { fds } = process.latest;
  if (!fds || fds.open === null) return <span class="none">{words ? '' : format.unknown}</span>;
  const share = fds.limit ? fds.open / fds.limit : null;
  return (
    <span class="ov-fds" title={share === null ? undefined : `${format.percent(share)} of the limit`}>
      <b>{format.count(fds.open)}</b>
      {fds.limit !== null && <span class="quiet"> / {format.short(fds.limit)}</span>}
      {words && <span class="quiet"> fds</span>}
      {share !== null && (
        <span class={`meter ${share > 0.8 ? 'bad' : ''}`} aria-hidden="true">
          <span style={{ width: `${Math.min(1, share) * 100}%` }} />
        </span>
      )}
    </span>
  );
}

const levels = ['error', 'warning', 'info'] as const;

/** Counts by severity, worst first. */
export function Found({ app, process, findings }: { app: App; process: ProcessTrack; findings: readonly Finding[] }) {
  const counts = levels.map((level) => ({ level, n: findings.filter(({ severity }) => severity === level).length })).filter(({ n }) => n > 0);
  if (counts.length === 0) return null;
  const label = counts.map(({ level, n }) => (level === 'info' ? `${n} to know` : `${n} ${level}${n === 1 ? '' : 's'}`)).join(', ');
  return (
    <a class="ov-found" href={app.href({ view: 'findings', process: process.latest.id, loop: null })} aria-label={label} title={label} tabIndex={-1}>
      {counts.map(({ level, n }) => (
        <span key={level} class={level}>
          <LevelGlyph level={level} />
          {n}
        </span>
      ))}
    </a>
  );
}
