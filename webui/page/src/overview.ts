// The overview's rows: what stands in each, in which order, and the one sentence above them. Pure.
// Cost: figures() is computed once per loop and event, and only for what is in sight or sorted by; its quantiles are taken
// from the difference of two histograms without building it.
import type { LoopCut } from './cuts';
import * as format from './format';
import { quantileSince } from './histogram';
import { loopLabel } from './loops';
import type { Base } from './marks';
import type { Finding, Process } from './model';
import { bySeverity, enoughSeconds } from './rules';
import { enoughTurns, type Selection } from './selection';
import type { Series } from './series';
import { isStalled } from './stalled';
import type { LoopTrack, ProcessTrack } from './store';
import { endMark, endText, treeRows } from './tree';

/** Side by side, so that a spike is told from a trend. */
export const spans = [10, 100, 1000] as const;

/** One figure over the three windows; null: nothing to tell. */
export interface Triple {
  values: (number | null)[];
  /** How the shortest window stands to the longest that covers more: risen, fallen or alike. */
  trend: 'up' | 'down' | null;
}

export interface Figures {
  utilization: Triple;
  busy: Triple;
  lag: Triple;
  turns: number | null;
  ready: number | null;
  /** Seconds that each window really covers; null: the page has seen no more than for the one before, or nothing. */
  covered: (number | null)[];
  /** Mean utilization in steps of `sparkStep`, oldest first, up to now; null: a gap. */
  spark: (number | null)[];
}

export const sparkStep = 2;
export const sparkSteps = 50;

/** Beyond these the shortest window is said to differ: a factor, and a difference that somebody could feel. */
const trendRules = {
  utilization: { factor: 1.5, least: 0.1 },
  busy: { factor: 3, least: 1e-3 },
  lag: { factor: 3, least: 1e-3 },
};

export function trend(values: readonly (number | null)[], rule: { factor: number; least: number }): 'up' | 'down' | null {
  const now = values[0];
  const usual = values.reduce((last, value) => value ?? last, null);
  if (now === null || now === undefined || usual === null || Math.abs(now - usual) < rule.least) return null;
  return now > usual * rule.factor ? 'up' : now < usual / rule.factor ? 'down' : null;
}

const kept = new WeakMap<LoopTrack, { cut: LoopCut; figures: Figures }>();

export function figures(process: ProcessTrack, loop: LoopTrack): Figures {
  const before = kept.get(loop);
  if (before?.cut === loop.cut) return before.figures;
  const fresh = compute(process, loop);
  kept.set(loop, { cut: loop.cut, figures: fresh });
  return fresh;
}

function compute(process: ProcessTrack, loop: LoopTrack): Figures {
  const bases: (Base<LoopCut> | null)[] = [];
  let last: Base<LoopCut> | null = null;
  for (const seconds of spans) {
    const base = process.base(seconds) ?? null;
    // The page has seen less than this: the same again, under a longer name, would be no new figure.
    const more: boolean = base !== null && (last === null || base.seconds > last.seconds + 1);
    bases.push(more ? base : null);
    last = base ?? last;
  }
  const id = String(loop.latest.id);
  const from = bases.map((base) => base && (base.mark?.cuts.get(id) ?? null));
  const rates = bases.map((base) => base && process.rates(loop, base));
  const quantiles = (name: 'busyTurn' | 'timerLag') =>
    bases.map((base, i) => (base ? quantileSince(loop.cut[name], from[i]?.[name], 0.99) : null));
  // Against little more than itself the shortest window proves nothing.
  const comparable = (last?.seconds ?? 0) >= 3 * spans[0];
  const triple = (values: (number | null)[], rule: { factor: number; least: number }): Triple => ({ values, trend: comparable ? trend(values, rule) : null });
  return {
    utilization: triple(rates.map((rate) => rate?.utilization ?? null), trendRules.utilization),
    busy: triple(quantiles('busyTurn'), trendRules.busy),
    lag: triple(quantiles('timerLag'), trendRules.lag),
    turns: rates[0]?.turnsPerSecond ?? null,
    ready: rates[0]?.readyPerTurn ?? null,
    covered: bases.map((base) => base?.seconds ?? null),
    spark: spark(loop.series, process.time),
  };
}

/** Steps are counted from the epoch, so that a line moves but does not change its shape from one event to the next. */
export function spark(series: Pick<Series<'utilization'>, 'time' | 'columns'>, now: number): (number | null)[] {
  const { time } = series;
  const values = series.columns.utilization;
  const last = Math.floor(now / sparkStep);
  const sums = new Array<number>(sparkSteps).fill(0);
  const counts = new Array<number>(sparkSteps).fill(0);
  for (let i = time.length - 1; i >= 0; i--) {
    const at = sparkSteps - 1 - (last - Math.floor(time[i]! / sparkStep));
    if (at < 0) break;
    const value = values[i];
    if (at >= sparkSteps || value === null || value === undefined) continue;
    sums[at]! += value;
    counts[at]! += 1;
  }
  return sums.map((sum, i) => (counts[i]! > 0 ? sum / counts[i]! : null));
}

/** An SVG path: the line from the first known step, interrupted by gaps. */
export function sparkPath(values: readonly (number | null)[], width: number, height: number): string {
  let path = '';
  let open = false;
  const step = width / (values.length - 1);
  values.forEach((value, i) => {
    if (value === null) {
      open = false;
      return;
    }
    const x = (i * step).toFixed(1);
    const y = (height - 1 - Math.min(1, value) * (height - 2)).toFixed(1);
    // A single step between two gaps is still a dot: a line of no length with a round cap.
    path += open ? `L${x} ${y}` : `M${x} ${y}h0`;
    open = true;
  });
  return path;
}

export type StateKind = 'polling' | 'dispatching' | 'stalled' | 'outside' | 'runs' | 'ended' | 'killed';

export interface State {
  kind: StateKind;
  text: string;
}

/** `became`: what it is now, after exec(3), if that is known. */
export function processState(process: Process, became: Process | null = null): State {
  const end = endMark(process, became);
  if (end !== null) return { kind: process.state === 'killed' ? 'killed' : 'ended', text: end };
  return { kind: 'runs', text: process.loops.length === 0 ? 'no loop yet' : 'running' };
}

export function loopState(process: Process, { latest }: Pick<LoopTrack, 'latest'>): State {
  if (process.state !== 'running') return processState(process);
  if (latest.state === 'ended') return { kind: 'ended', text: 'ended' };
  if (isStalled(latest)) return { kind: 'stalled', text: `stalled ${format.duration(latest.phase_seconds)}` };
  return { kind: latest.phase, text: latest.phase };
}

/** What comes first when sorted by state: what needs a look. */
const stateRank: Record<StateKind, number> = { stalled: 6, killed: 5, dispatching: 4, polling: 3, outside: 2, runs: 1, ended: 0 };

export interface Row {
  key: string;
  process: ProcessTrack;
  /** null: the row is about the process alone. */
  loop: LoopTrack | null;
  /** The row speaks for the whole process, too: its descriptors and findings stand here. */
  head: boolean;
  /** Below a head. */
  nested: boolean;
  /** Of the image of a process before exec(3): the one after. */
  became: Process | null;
}

export const sortKeys = [
  'name', 'state', 'util10', 'util100', 'util1000', 'turns', 'busy10', 'busy100', 'busy1000', 'lag10', 'lag100', 'lag1000', 'ready', 'fds', 'findings',
] as const;
export type SortKey = (typeof sortKeys)[number];
export interface Sort {
  key: SortKey;
  descending: boolean;
}

export function parseSort(text: string | null): Sort | null {
  const match = /^(-?)(\w+)$/.exec(text ?? '');
  const key = match?.[2] as SortKey | undefined;
  return key && sortKeys.includes(key) ? { key, descending: match![1] === '-' } : null;
}
export const formatSort = (sort: Sort | null) => sort && `${sort.descending ? '-' : ''}${sort.key}`;

/** First click: what one looks for (the most; names from A); the second turns round, the third is the order of the processes again. */
export function nextSort(now: Sort | null, key: SortKey): Sort | null {
  const first = key !== 'name';
  if (now?.key !== key) return { key, descending: first };
  return now.descending === first ? { key, descending: !first } : null;
}

export const loopName = (process: ProcessTrack, loop: LoopTrack) =>
  loopLabel(loop.latest, [...process.loops.values()].map((track) => track.latest));

/** The findings that are about one loop; with null, those of the process as a whole. */
export function findingsOf(process: Process, loop: LoopTrack | null): Finding[] {
  const all = process.findings ?? [];
  const named = (finding: Finding, name: string) => name !== '' && finding.subject === name;
  if (loop) return all.filter((finding) => named(finding, loop.latest.name));
  return all.filter((finding) => !process.loops.some(({ name }) => named(finding, name)));
}

const severityWeight = { error: 1e6, warning: 1e3, info: 1 };
const weight = (findings: readonly Finding[]) => findings.reduce((sum, { severity }) => sum + (severityWeight[severity] ?? 0), 0);

/** What a row is sorted by; null goes last, whichever way. */
function sortValue(row: Row, key: SortKey): number | string | null {
  const { process, loop } = row;
  switch (key) {
    case 'name':
      return row.head ? `${process.latest.command} ${process.latest.pid}` : loopName(process, loop!);
    case 'state':
      return stateRank[(loop ? loopState(process.latest, loop) : processState(process.latest)).kind];
    case 'fds': {
      const { fds } = process.latest;
      return !fds || fds.open === null ? null : fds.limit ? fds.open / fds.limit : 0;
    }
    case 'findings':
      return weight(row.head ? (process.latest.findings ?? []) : findingsOf(process.latest, loop));
    case 'turns':
      return loop && figures(process, loop).turns;
    case 'ready':
      return loop && figures(process, loop).ready;
    default: {
      const [, name, span] = /^(util|busy|lag)(\d+)$/.exec(key)!;
      const at = spans.indexOf(Number(span) as (typeof spans)[number]);
      const which = name === 'util' ? 'utilization' : (name as 'busy' | 'lag');
      return loop && (figures(process, loop)[which].values[at] ?? null);
    }
  }
}

function compare(a: number | string | null, b: number | string | null, descending: boolean): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  const order = typeof a === 'string' ? a.localeCompare(String(b), undefined, { numeric: true }) : a - Number(b);
  return descending ? -order : order;
}

export interface Layout {
  rows: Row[];
  /** Processes that have ended and are not shown. */
  folded: number;
  ended: number;
}

export interface LayoutOptions {
  sort: Sort | null;
  filter: string;
  /** null: a few. */
  showEnded: boolean | null;
  /** On screen: never folded away. */
  selected: string | null;
}

/** So many of those that have ended stay in sight unless all or none are asked for: first those that had a loop, then the youngest. */
const fewEnded = 3;

export function layout(tracks: ReadonlyMap<string, ProcessTrack>, options: LayoutOptions): Layout {
  const words = options.filter.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const tree = treeRows([...tracks.values()].map((track) => track.latest));
  const ordered = tree.map(({ process }) => tracks.get(process.id)!);
  const became = new Map(tree.map((row) => [row.process.id, row.became]));
  const ended = ordered.filter((track) => !track.running);
  // The tree has the youngest of those that have ended first, and sorting keeps that among equals.
  // What became another program has not ended in a way that anybody looks for: its row is the program's that it became.
  const kept = ended.filter(({ latest, loops }) => latest.ended !== 'exec' || loops.size > 0).sort((a, b) => Number(b.loops.size > 0) - Number(a.loops.size > 0));
  const nothingElse = ended.length === ordered.length;
  const shown = new Set(options.showEnded === null && !nothingElse ? kept.slice(0, fewEnded) : (options.showEnded ?? true) ? ended : []);
  const visible = ordered.filter((track) => track.running || shown.has(track) || words.length > 0 || track.latest.id === options.selected);
  const groups: { rows: Row[]; value: number | string | null }[] = [];
  for (const process of visible) {
    const rows = group(process, tracks.size === 1, became.get(process.latest.id) ?? null).filter((row, _, all) => matches(row, words) || (row.head && all.some((other) => matches(other, words))));
    if (rows.length === 0) continue;
    const { sort } = options;
    if (!sort) {
      groups.push({ rows, value: null });
      continue;
    }
    const valued = rows.map((row) => ({ row, value: sortValue(row, sort.key) }));
    const head = valued.filter(({ row }) => row.head && !row.loop);
    const rest = valued.filter(({ row }) => !(row.head && !row.loop)).sort((a, b) => compare(a.value, b.value, sort.descending));
    // A group stands where its first row stands; figures that only the head has are the head's.
    const ofHead = sort.key === 'name' || sort.key === 'fds' || sort.key === 'findings';
    groups.push({ rows: [...head, ...rest].map(({ row }) => row), value: (ofHead ? head[0] : undefined)?.value ?? rest[0]?.value ?? head[0]?.value ?? null });
  }
  if (options.sort) {
    const { descending } = options.sort;
    groups.sort((a, b) => compare(a.value, b.value, descending));
  }
  return { rows: groups.flatMap(({ rows }) => rows), folded: ordered.length - visible.length, ended: ended.length };
}

/** One row for a process with one loop or none; else a head and a row for each. A single process needs no head. */
function group(process: ProcessTrack, alone: boolean, became: Process | null): Row[] {
  const { id } = process.latest;
  const loops = [...process.loops.values()];
  if (loops.length === 0) return [{ key: id, process, loop: null, head: true, nested: false, became }];
  const key = (loop: LoopTrack) => `${id} ${loop.latest.id}`;
  if (loops.length === 1) return [{ key: key(loops[0]!), process, loop: loops[0]!, head: true, nested: false, became }];
  const rows = loops.map((loop): Row => ({ key: key(loop), process, loop, head: false, nested: !alone, became }));
  return alone ? rows : [{ key: id, process, loop: null, head: true, nested: false, became }, ...rows];
}

function matches({ process, loop }: Row, words: readonly string[]): boolean {
  if (words.length === 0) return true;
  const { command, pid, argv } = process.latest;
  const state = loop ? loopState(process.latest, loop) : processState(process.latest);
  const own = loop ? `${loopName(process, loop)} ${loop.latest.backend} ${loop.latest.thread_id ?? ''}` : '';
  const text = `${own} ${command} ${pid} ${(argv ?? []).join(' ')} ${state.text}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

/** The same rows in the order they had: while somebody points at one it must not move. New ones come last. */
export function hold(rows: readonly Row[], before: readonly string[]): Row[] {
  const place = new Map(before.map((key, i) => [key, i]));
  return rows
    .map((row, i) => ({ row, place: place.get(row.key) ?? before.length + i }))
    .sort((a, b) => a.place - b.place)
    .map(({ row }) => row);
}

export interface Headline {
  level: 'good' | 'unknown' | 'info' | 'warning' | 'error';
  /** Changes when there is something new to say, not with every figure in it. */
  topic: string;
  text: string;
  /** In a word or two, for a title; empty when there is nothing to look at. */
  short: string;
  detail: string;
  /** Where to look. */
  target: Partial<Selection> | null;
}

/** A stall shorter than this is told by its row and by the findings: a headline that comes and goes helps nobody. */
const stallHeadlineSeconds = 0.5;
/** A process that fell is news for so long. */
const freshEndSeconds = 300;
/** By a signal that nobody sends to stop a program in good order (HUP, INT, TERM), or one that is not known. */
const fell = ({ state, signal }: Process) => state === 'killed' && ![1, 2, 15].includes(signal ?? 0);
const levelRank = { error: 2, warning: 1, info: 0 };

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
const plural = (n: number, one: string, many = `${one}s`) => `${format.exact(n)} ${n === 1 ? one : many}`;

/** `gone`: the server lived in the process, and does not answer any more. */
export function headline(tracks: readonly ProcessTrack[], gone = false): Headline {
  const said = judge(tracks, gone);
  return { ...said, text: format.visible(said.text), detail: format.visible(said.detail) };
}

function judge(tracks: readonly ProcessTrack[], gone: boolean): Headline {
  const [only] = tracks;
  if (gone && only?.running) {
    const before = judge(tracks, false);
    return {
      level: 'error',
      topic: `gone ${only.latest.id}`,
      text: `${only.latest.command} ${only.latest.pid} does not answer any more; it has probably ended`,
      short: 'gone',
      detail: `What it did last is kept here. Before that: ${before.text}.`,
      target: { view: 'take', process: only.latest.id, loop: null },
    };
  }
  const running = tracks.filter((track) => track.running);
  const several = tracks.length > 1;
  const of = ({ latest }: ProcessTrack) => (several ? ` of ${latest.command} ${latest.pid}` : '');
  const worstStall = running
    .flatMap((process) => [...process.loops.values()].map((loop) => ({ process, loop, seconds: loop.latest.phase_seconds ?? 0 })))
    .filter(({ loop, seconds }) => isStalled(loop.latest) && seconds >= stallHeadlineSeconds)
    .sort((a, b) => b.seconds - a.seconds)[0];
  if (worstStall) {
    const { process, loop, seconds } = worstStall;
    const watcher = loop.latest.current?.watcher;
    return {
      level: 'error',
      topic: `stall ${process.latest.id} ${loop.latest.id}`,
      text: `Loop ${loopName(process, loop)}${of(process)} is stalled: busy for ${format.span(seconds)}${watcher ? `, in ${watcher}` : ''}`,
      short: 'stalled',
      detail: 'Nothing else that this loop serves is getting any attention.',
      target: { view: 'loop', process: process.latest.id, loop: String(loop.latest.id) },
    };
  }
  if (tracks.length > 0 && running.length === 0) {
    const last = tracks.reduce((a, b) => ((b.endedAt ?? 0) >= (a.endedAt ?? 0) ? b : a));
    const { latest } = last;
    const bad = latest.state === 'killed' || Boolean(latest.exit_status);
    const worst = bySeverity(latest.findings ?? [])[0];
    return {
      level: bad ? 'error' : worst ? worst.severity : 'unknown',
      topic: `end ${latest.id}`,
      text: `${latest.command} ${latest.pid} ${endText(latest)}${several ? '; nothing runs any more' : ''}`,
      short: endMark(latest, null) ?? '',
      detail: worst ? `What was found before: ${worst.title}.` : 'What it did last is kept here.',
      target: worst ? { view: 'findings', process: latest.id, loop: null } : { view: 'take', process: latest.id, loop: null },
    };
  }
  const now = Math.max(...tracks.map((track) => track.time));
  const lost = tracks.filter((track) => track.loops.size > 0 && fell(track.latest) && track.endedAt !== null && now - track.endedAt < freshEndSeconds);
  const fallen = lost.sort((a, b) => b.endedAt! - a.endedAt!)[0];
  if (fallen) {
    const { latest } = fallen;
    return {
      level: 'error',
      topic: `end ${latest.id}`,
      text: `${latest.command} ${latest.pid} ${endText(latest)}`,
      short: endMark(latest, null) ?? '',
      detail: `${format.span(now - fallen.endedAt!)} ago. What it did last is kept here.`,
      target: { view: 'take', process: latest.id, loop: null },
    };
  }
  const found = running.flatMap((process) => (process.latest.findings ?? []).map((finding) => ({ process, finding })));
  found.sort((a, b) => (levelRank[b.finding.severity] ?? 0) - (levelRank[a.finding.severity] ?? 0));
  const worst = found[0];
  if (worst && worst.finding.severity !== 'info') {
    const { process, finding } = worst;
    const others = found.length - 1;
    return {
      level: finding.severity,
      topic: `finding ${process.latest.id} ${finding.rule} ${finding.subject ?? ''}`,
      text: `${capital(finding.title)}${of(process) && ` — ${process.latest.command} ${process.latest.pid}`}`,
      short: plural(found.length, 'finding'),
      detail: others > 0 ? `The worst of ${found.length} findings.` : 'The only finding.',
      target: { view: 'findings', process: process.latest.id, loop: null },
    };
  }
  const loops = running.flatMap((process) => [...process.loops.values()]);
  const turns = loops.reduce((sum, loop) => sum + loop.latest.iterations, 0);
  if (loops.length === 0) {
    const text = `No loop yet: ${running.length === 1 ? 'the process has' : `${plural(running.length, 'process', 'processes')} have`} waited on nothing so far`;
    return { level: 'unknown', topic: 'no loop', text, short: '', detail: 'A loop is seen with its first wait on epoll, poll or select.', target: null };
  }
  const oldest = Math.max(...running.map((process) => process.time - process.startedAt));
  if (turns < enoughTurns || oldest < enoughSeconds) {
    return {
      level: 'unknown',
      topic: 'young',
      text: `Not enough data yet (${plural(turns, 'turn')} in ${format.span(Math.max(0, oldest))})`,
      short: '',
      detail: `The rules want ${enoughTurns} turns and ${enoughSeconds} s before their silence means anything.`,
      target: null,
    };
  }
  const mute = running.filter((process) => process.latest.findings === null).length;
  if (mute === running.length) {
    return { level: 'unknown', topic: 'mute', text: 'No verdict: this source draws no conclusions', short: '', detail: '', target: null };
  }
  const scope = `${plural(loops.length, 'loop')} of ${plural(running.length, 'process', 'processes')}`;
  return {
    level: 'good',
    topic: `healthy ${found.length > 0}`,
    text: found.length > 0 ? `Healthy, with ${plural(found.length, 'thing')} to know` : 'Healthy',
    short: '',
    detail: found.length > 0 ? `${capital(found[0]!.finding.title)}.` : `No rule objects to ${scope}.`,
    target: found[0] ? { view: 'findings', process: found[0].process.latest.id, loop: null } : null,
  };
}
