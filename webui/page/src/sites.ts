// Open sites and descriptors by kind: the rows of their tables. Pure.
import type { Descriptors, Frame, OpenSite } from './model';

/** Whether the source saw descriptors being opened and closed: the probe does, the library knows only what is open. */
export const hasLedger = (fds: Descriptors) => fds.opened !== null;

const base = (path: string) => path.replace(/^.*\//, '');

/** A frame in two parts: what, and where. Without a name: module+offset; without a module, code that is in no file, unless it is a script's. */
export function frameText(frame: Frame): { what: string; where: string } {
  const line = frame.file ? `${base(frame.file)}${frame.line === null ? '' : `:${frame.line}`}` : null;
  if (frame.function !== null) return { what: frame.function, where: line ?? (frame.module === null ? '' : base(frame.module)) };
  if (frame.script) return { what: line ?? 'script', where: '' };
  const offset = frame.offset === null ? '' : `0x${frame.offset.toString(16)}`;
  if (frame.module === null) return { what: offset || 'unknown', where: offset && 'generated code' };
  return { what: `${base(frame.module)}${offset && `+${offset}`}`, where: line ?? '' };
}

/** Those with the most open descriptors first; between equals those that opened more, then the older. */
export function sortSites(sites: readonly OpenSite[]): OpenSite[] {
  return sites.slice().sort((a, b) => b.live - a.live || b.opened - a.opened || a.id - b.id);
}

export interface KindRow {
  kind: string;
  open: number;
  opened: number | null;
  closed: number | null;
}

/** Every kind that is open or, with a ledger, ever was. */
export function kindRows(fds: Descriptors): KindRow[] {
  const { by_kind, opened_by_kind, closed_by_kind } = fds;
  const kinds = new Set([by_kind, opened_by_kind, closed_by_kind].flatMap((counts) => Object.keys(counts ?? {})));
  const of = (counts: Record<string, number> | null, kind: string) => counts && (counts[kind] ?? 0);
  return [...kinds]
    .map((kind) => ({ kind, open: by_kind?.[kind] ?? 0, opened: of(opened_by_kind, kind), closed: of(closed_by_kind, kind) }))
    .sort((a, b) => b.open - a.open || (b.opened ?? 0) - (a.opened ?? 0) || (a.kind < b.kind ? -1 : 1));
}
