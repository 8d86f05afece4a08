// The rows of a table that is too long to hold: those in sight are fetched by range, kept, and renewed. What was there stays on
// screen until something newer has arrived. No DOM, no clock of its own: refresh() is called by whoever has one.
import { ApiError } from './api';
import * as format from './format';
import type { Fd, FdPage } from './model';

export const sortKeys = ['fd', 'kind', 'target', 'age', 'idle', 'events', 'event_share', 'busy', 'io_calls', 'site'] as const;
export type SortKey = (typeof sortKeys)[number];

export interface FdQuery {
  process: string;
  sort: SortKey;
  order: 'asc' | 'desc';
  q: string;
  kind: string | null;
  site: number | null;
}

export const sameQuery = (a: FdQuery, b: FdQuery) =>
  a.process === b.process && a.sort === b.sort && a.order === b.order && a.q === b.q && a.kind === b.kind && a.site === b.site;

export function parametersOf(query: FdQuery, offset: number, limit: number): Record<string, string> {
  const out: Record<string, string> = { process: query.process, offset: String(offset), limit: String(limit), sort: query.sort, order: query.order };
  if (query.q) out['q'] = query.q;
  if (query.kind !== null) out['kind'] = query.kind;
  if (query.site !== null) out['site'] = String(query.site);
  return out;
}

export type FetchPage = (query: FdQuery, offset: number, limit: number, signal: AbortSignal) => Promise<FdPage>;

/** Rows asked for beyond what is in sight, on either side: a turn of the wheel finds them there. */
const beyond = 60;
/** At most so many in one question. */
const mostAsked = 400;
/** Kept: more than that, and those farthest from what is in sight go. */
const mostKept = 4000;

export class RowCache {
  matched: number | null = null;
  total: number | null = null;
  leftOut = 0;
  takenAt: string | null = null;
  /** Of the last question; null: it was answered. */
  error: ApiError | null = null;
  /** The rows are those of the question before: the present one has no answer yet. */
  stale = true;
  private query: FdQuery | null = null;
  private rows = new Map<number, Fd>();
  private sight: [number, number] = [0, 0];
  private flight: { abort: AbortController; from: number; to: number } | null = null;

  constructor(
    private readonly fetchPage: FetchPage,
    private readonly changed: () => void,
  ) {}

  /** What is wanted. The same again does nothing. */
  ask(query: FdQuery): void {
    if (this.query && sameQuery(this.query, query)) return;
    if (this.query && this.query.process !== query.process) {
      this.rows = new Map(); // of another process: never show them as this one's
      this.matched = this.total = this.takenAt = null;
    }
    this.query = query;
    this.stale = true;
    this.error = null;
    this.flight?.abort.abort();
    this.flight = null;
    if (this.sight[1] > 0) this.fetch();
  }

  /** Rows [first, last) are in sight. Asks for what is missing; a question whose rows nobody looks at any more is given up. */
  look(first: number, last: number): void {
    this.sight = [first, last];
    if (this.flight) {
      if (this.flight.from <= first && this.flight.to >= Math.min(last, this.matched ?? last)) return;
      if (this.flight.to > first && this.flight.from < last) return; // part of it is wanted: the rest follows
      this.flight.abort.abort();
      this.flight = null;
    }
    if (this.error === null && (this.stale || this.missing())) this.fetch();
  }

  /** Asks anew for what is in sight. Not what the server has refused: it would be refused again, unless something has changed. */
  refresh(changed = false): void {
    const refused = this.error !== null && this.error.status >= 400 && this.error.status < 500;
    if (this.query && !this.flight && this.sight[1] > 0 && (changed || !refused)) this.fetch();
  }

  row(index: number): Fd | undefined {
    return this.rows.get(index);
  }

  get loading(): boolean {
    return this.flight !== null;
  }

  close(): void {
    this.flight?.abort.abort();
    this.flight = null;
  }

  private missing(): boolean {
    const last = Math.min(this.sight[1], this.matched ?? this.sight[1]);
    for (let i = this.sight[0]; i < last; i++) if (!this.rows.has(i)) return true;
    return false;
  }

  private fetch(): void {
    const { query } = this;
    if (!query) return;
    const from = Math.max(0, this.sight[0] - beyond);
    const to = Math.min(this.sight[1] + beyond, from + mostAsked);
    const flight = { abort: new AbortController(), from, to };
    this.flight = flight;
    this.fetchPage(query, from, to - from, flight.abort.signal).then(
      (page) => this.flight === flight && this.take(page, from),
      (error: unknown) => {
        if (this.flight !== flight) return; // given up
        this.flight = null;
        this.error = error instanceof ApiError ? error : new ApiError(0, String(error));
        this.changed();
      },
    );
  }

  private take(page: FdPage, from: number): void {
    this.flight = null;
    this.error = null;
    if (this.stale) this.rows = new Map();
    this.stale = false;
    this.matched = page.matched;
    this.total = page.total;
    this.leftOut = page.left_out ?? 0;
    this.takenAt = page.taken_at;
    const offset = page.offset ?? from;
    page.rows.forEach((row, i) => this.rows.set(offset + i, row));
    for (const index of this.rows.keys()) if (index >= page.matched) this.rows.delete(index);
    if (this.rows.size > mostKept) {
      const [first, last] = this.sight;
      for (const index of this.rows.keys()) if (index < first - mostKept / 4 || index > last + mostKept / 4) this.rows.delete(index);
    }
    this.changed();
    // The reader has scrolled on meanwhile. An answer that brought nothing (fewer rows than it promised) is not asked for again at once.
    if (page.rows.length > 0 && this.missing()) this.fetch();
  }
}

// --- words for a row --------------------------------------------------------------------------------------------------

/** Path, name, or addresses. */
export function targetText(fd: Fd): string {
  if (fd.target) return fd.target;
  // The peer first: the other end is the same for thousands. The arrow points from who connected.
  if (fd.local && fd.peer) return `${fd.peer} ${fd.accepted ? '→' : '←'} ${fd.local}`;
  if (fd.peer) return fd.peer;
  if (fd.local) return fd.local;
  if (fd.pair_fd !== null) return `pair of ${fd.pair_fd}`;
  return '';
}

/** Below a second it moves faster than it can be read. */
export const idleText = (seconds: number) => (seconds < 1 ? '<1\u00a0s' : format.span(seconds));

/** What is special about it, in words of the system calls. */
export function flagWords(fd: Fd): string[] {
  const out: string[] = [];
  if (fd.listening) out.push('listen');
  if (fd.end) out.push(`${fd.end} end`);
  if (fd.close_on_exec) out.push('cloexec');
  if (fd.nonblocking) out.push('nonblock');
  if (fd.accepted) out.push('accepted');
  if (fd.origin !== 'opened' && fd.origin !== 'unknown') out.push(fd.origin);
  return out;
}

/** "5 · in et": the epoll set and what is asked of it. */
export function epollText(fd: Fd): string {
  if (fd.epoll_fd === null) return '';
  return fd.interest && fd.interest.length > 0 ? `${fd.epoll_fd} · ${fd.interest.join(' ')}` : String(fd.epoll_fd);
}

// --- columns ----------------------------------------------------------------------------------------------------------

export interface FdColumn {
  key: string;
  label: string;
  sort: SortKey | null;
  /** Pixels; null takes what is left. */
  width: number | null;
  left: boolean;
  /** Shown without being asked from this width of the table on. */
  from: number;
  /** Only a source with a ledger knows it. */
  ledger: boolean;
}

export const fdColumns: readonly FdColumn[] = [
  { key: 'fd', label: 'fd', sort: 'fd', width: 68, left: false, from: 0, ledger: false },
  { key: 'kind', label: 'kind', sort: 'kind', width: 84, left: true, from: 0, ledger: false },
  { key: 'target', label: 'target or peer', sort: 'target', width: null, left: true, from: 0, ledger: false },
  { key: 'age', label: 'age', sort: 'age', width: 100, left: false, from: 430, ledger: true },
  { key: 'idle', label: 'idle for', sort: 'idle', width: 100, left: false, from: 640, ledger: true },
  { key: 'events', label: 'events', sort: 'events', width: 78, left: false, from: 560, ledger: true },
  { key: 'event_share', label: 'wake-ups', sort: 'event_share', width: 86, left: false, from: 860, ledger: true },
  { key: 'io_calls', label: 'I/O calls', sort: 'io_calls', width: 84, left: false, from: 1320, ledger: true },
  { key: 'busy', label: 'busy', sort: 'busy', width: 84, left: false, from: 1240, ledger: true },
  { key: 'epoll', label: 'epoll set', sort: null, width: 94, left: true, from: 940, ledger: false },
  { key: 'flags', label: 'flags', sort: null, width: 188, left: true, from: 1300, ledger: true },
  { key: 'site', label: 'opened by', sort: 'site', width: 190, left: true, from: 760, ledger: true },
];

/** Those that fit, or those that were chosen; the number and what it is are always there. */
export function columnsFor(width: number, ledger: boolean, chosen: string | null): FdColumn[] {
  const wanted = chosen === null ? null : new Set(chosen.split(','));
  return fdColumns.filter((column) => {
    if (column.key === 'fd' || column.key === 'kind') return true;
    if (column.ledger && !ledger) return false;
    return wanted ? wanted.has(column.key) : width >= column.from;
  });
}

/** Which row a key leads to, from the one it is on. null: not a key of the table. */
export function moveTo(key: string, at: number, rows: number, page: number): number | null {
  const last = Math.max(0, rows - 1);
  const clamp = (index: number) => Math.min(last, Math.max(0, index));
  switch (key) {
    case 'ArrowDown':
      return clamp(at + 1);
    case 'ArrowUp':
      return clamp(at - 1);
    case 'PageDown':
      return clamp(at + page);
    case 'PageUp':
      return clamp(at - page);
    case 'Home':
      return 0;
    case 'End':
      return last;
    default:
      return null;
  }
}
