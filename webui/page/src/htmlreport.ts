// A saved report: one HTML file with the page's own bundle and what it knows, which opens from a disk without a server.
// `loopscope report --format html` makes the same (cli/report_html.cpp), from one snapshot.
import { freeze, savedText, type SavedPage } from './frozen';
import type { Snapshot, Turn } from './model';
import { Store } from './store';

/** What a report is put together from: the files as the server has them. */
export interface Bundle {
  shell: string;
  style: string;
  script: string;
}

/** The turns of each loop that a report from one snapshot has, as "process loop": more than a page remembers. */
export type SavedTurns = Record<string, Turn[]>;
export const turnsKey = (process: string, loop: string | number) => `${process} ${loop}`;

const escape = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** Each mark is looked for behind the one before, so that what was put in is not looked at again. */
export function reportHtml(bundle: Bundle, title: string, saved: SavedPage): string {
  const parts: [mark: string, text: string][] = [
    ['{{title}}', escape(title)],
    ['{{style}}', bundle.style],
    ['{{data}}', savedText(saved)],
    ['{{script}}', bundle.script],
  ];
  let out = '';
  let rest = bundle.shell;
  for (const [mark, text] of parts) {
    const at = rest.indexOf(mark);
    if (at < 0) throw new Error(`the server's report.html has no place for ${mark}`);
    out += rest.slice(0, at) + text;
    rest = rest.slice(at + mark.length);
  }
  return out + rest;
}

/** What a document holds: a page that was saved, or one snapshot. */
export function openSaved(text: string): SavedPage {
  const held = JSON.parse(text) as SavedPage & { snapshot?: Snapshot };
  const { snapshot } = held;
  if (!snapshot) return held;
  const turns: SavedTurns = {};
  for (const process of snapshot.processes) {
    // Copies: the store writes on those that it is given.
    for (const loop of process.loops) turns[turnsKey(process.id, loop.id)] = loop.recent.map((turn) => ({ ...turn }));
  }
  const store = new Store();
  store.ingest(snapshot, true);
  if (store.foreignSchema !== null) throw new Error(`not a snapshot that this page knows: ${store.foreignSchema}`);
  return { page: freeze(store), hash: held.hash, extra: { ...held.extra, turns } };
}

async function file(name: string): Promise<string> {
  const response = await fetch(name, { cache: 'no-store' });
  if (!response.ok) throw new Error(`the server has no ${name} (status ${response.status})`);
  return response.text();
}

let kept: Promise<Bundle> | null = null;

/** The page's own files: fetched once. A failure is not kept. */
export function bundle(): Promise<Bundle> {
  kept ??= Promise.all([file('report.html'), file('app.css'), file('app.js')]).then(
    ([shell, style, script]) => ({ shell, style, script }),
    (error: unknown) => {
      kept = null;
      throw error;
    },
  );
  return kept;
}

/** When a program dies its own server dies with it: the files are fetched while it lives, once the page has come to rest. */
export function keepBundle(): void {
  const settle = 500;
  setTimeout(() => void bundle().catch(() => undefined), settle);
}
