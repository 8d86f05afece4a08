// Open sites and descriptors by kind: the rows of their tables. Pure.
import type { Descriptors, Frame, OpenSite } from './model';

/** Whether the source saw descriptors being opened and closed: the probe does, the library knows only what is open. */
export const hasLedger = (fds: Descriptors) => fds.opened !== null;

const base = (path: string) => path.replace(/^.*\//, '');
const hex = (offset: number) => `0x${offset.toString(16)}`;

/** A frame in two parts: what, and where. Without a name: module+offset; without a module, code that is in no file, unless it is a script's. */
export function frameText(frame: Frame): { what: string; where: string } {
  const line = frame.file ? `${base(frame.file)}${frame.line === null ? '' : `:${frame.line}`}` : null;
  if (frame.function !== null) return { what: frame.function, where: line ?? (frame.module === null ? '' : base(frame.module)) };
  if (frame.script) return { what: line ?? 'script', where: '' };
  const offset = frame.offset === null ? '' : hex(frame.offset);
  if (frame.module === null) return { what: offset || 'unknown', where: offset && 'generated code' };
  return { what: `${base(frame.module)}${offset && `+${offset}`}`, where: line ?? '' };
}

/** Where in the binary: module+offset; empty where frameText() has said so already, or there is none. */
export function frameModule(frame: Frame): string {
  if (frame.module === null || frame.function === null || frame.script) return '';
  return `${base(frame.module)}${frame.offset === null ? '' : `+${hex(frame.offset)}`}`;
}

/** Lines of scripts before the frames of the interpreter that ran them; each part innermost first. */
export function scriptFirst(stack: readonly Frame[]): Frame[] {
  return [...stack.filter((frame) => frame.script), ...stack.filter((frame) => !frame.script)];
}

/**
 * The frame that a site is called by: a script's line; else the innermost with a source line of its own (not of a header of the
 * system, which was inlined); else the innermost with a name; else the innermost. null: no stack.
 */
export function mainFrame(stack: readonly Frame[]): Frame | null {
  return (
    stack.find((frame) => frame.script) ??
    stack.find((frame) => frame.file !== null && !frame.file.startsWith('/usr/')) ??
    stack.find((frame) => frame.function !== null) ??
    stack[0] ??
    null
  );
}

/** A function of C++ without its parameters, template arguments and unnamed namespaces: what fits a column. */
export function briefName(name: string): string {
  const plain = name.replaceAll('(anonymous namespace)::', '').replaceAll('{anonymous}::', '');
  let out = '';
  let depth = 0;
  for (let i = 0; i < plain.length; i++) {
    const c = plain[i]!;
    if (/(^|[^\w])operator$/.test(out)) {
      // Its signs are a part of the name: operator(), operator<, operator<<, operator->.
      const sign = /^(\(\)|[<>=!+\-*/%^&|~,[\]]+)/.exec(plain.slice(i))?.[0] ?? '';
      if (sign) {
        out += sign;
        i += sign.length - 1;
        continue;
      }
    }
    if (c === '<' && out !== '') {
      if (depth++ === 0) out += '<…';
    }
    if (depth === 0) {
      if (c === '(') break;
      out += c;
    } else if (c === '>' && plain[i - 1] !== '-' && --depth === 0) out += '>';
  }
  // "<module>" of Python and the like are names, not arguments.
  return depth > 0 || out === '' ? name : out.trimEnd();
}

export function siteText(site: Pick<OpenSite, 'stack'>): { what: string; where: string } {
  const frame = mainFrame(site.stack);
  if (!frame) return { what: 'unknown', where: '' };
  const { what, where } = frameText(frame);
  return { what: frame.function === null || frame.script ? what : briefName(what), where };
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

/** "+132 in 1 min 40 s, none closed" */
export const growthText = (more: number, span: string) => `+${more} in ${span}, none closed`;
