// What can be taken away, as text and a file name; nothing of the screen in here.
import type { App } from './app';
import { ApiError, getJson, tokenKey } from './api';
import { windowOf } from './cuts';
import { freeze } from './frozen';
import { bundle, reportHtml, turnsKey, type SavedTurns } from './htmlreport';
import { instant, schema, turnsSchema, type Process, type Snapshot, type Turn, type Turns } from './model';
import { formatHash } from './selection';
import type { LoopTrack, ProcessTrack } from './store';
import { trace, traceText } from './trace';
import { merged, slowRule } from './turns';

export interface Taken {
  name: string;
  text: string;
  type: string;
  /** Where it comes from: for the reader. */
  told: string;
}

const serverPatienceMs = 15_000;

/** "2026-03-01T12-34-56Z": as a part of a file's name. */
const stamp = (seconds: number) => new Date(seconds * 1000).toISOString().slice(0, 19).replaceAll(':', '-') + 'Z';

/** Of the process, when; whatever its command is called. */
export function fileName(process: Pick<Process, 'command' | 'pid'> | null, time: number, end: string): string {
  const command = (process?.command ?? '').replace(/[^\w.+-]+/g, '_').replace(/^[._]+/, '').slice(0, 60);
  return ['loopscope', command, process?.pid, stamp(time)].filter((part) => part !== '' && part !== undefined).join('-') + end;
}

const why = (error: unknown) => (error instanceof ApiError ? error.message : 'the server does not answer');

/** As the server sent them: what the page concluded of a turn is not part of it. */
function asSent(turns: readonly Turn[]): Turn[] {
  return turns.map((turn) => {
    const { slow: _, ...sent } = turn as Turn & { slow?: boolean };
    return sent;
  });
}

interface Gathered {
  turns: readonly Turn[];
  from: 'ring' | 'report' | 'page';
  why: string | null;
}

/** All that the recording held, in a report that the command made; undefined in one that a page saved. */
const ringOf = (app: App, process: ProcessTrack, loop: LoopTrack): Turn[] | undefined =>
  (app.saved?.extra['turns'] as SavedTurns | undefined)?.[turnsKey(process.latest.id, loop.latest.id)];

/** What the page remembers by itself: the recent ones, and of those before, the slow ones. */
const remembered = (loop: LoopTrack): readonly Turn[] => merged(loop.turns.notable, loop.turns.recent);

/** Of a page without a server: as many as there are. */
export const savedTurns = (app: App, process: ProcessTrack, loop: LoopTrack): readonly Turn[] => ringOf(app, process, loop) ?? remembered(loop);

async function turnsOf(app: App, process: ProcessTrack, loop: LoopTrack): Promise<Gathered> {
  const [id, number] = [process.latest.id, String(loop.latest.id)];
  if (app.offline) return { turns: asSent(savedTurns(app, process, loop)), from: ringOf(app, process, loop) ? 'report' : 'page', why: null };
  try {
    const answer = await getJson<Turns>('api/v1/turns', { process: id, loop: number }, AbortSignal.timeout(serverPatienceMs));
    if (answer.schema !== turnsSchema) throw new ApiError(200, `the server speaks ${String(answer.schema)}`);
    return { turns: answer.turns, from: 'ring', why: null };
  } catch (error) {
    return { turns: asSent(remembered(loop)), from: 'page', why: why(error) };
  }
}

const plural = (n: number, word: string) => `${n.toLocaleString('en-US')} ${word}${n === 1 ? '' : 's'}`;

export async function takeTrace(app: App, process: ProcessTrack, loops: readonly LoopTrack[]): Promise<Taken> {
  const gathered: Gathered[] = [];
  // One after the other: each is a whole ring, and there may be twenty.
  for (const loop of loops) gathered.push(await turnsOf(app, process, loop));
  const made = trace({
    process: process.latest,
    taken: process.time,
    loops: loops.map((loop, i) => ({
      loop: loop.latest,
      turns: gathered[i]!.turns,
      rule: slowRule(loop.latest.stall_threshold_seconds, windowOf(loop.cut, null, 0, null)),
    })),
    writer: `loopscope ${app.store.server?.version ?? ''}`.trim(),
  });
  const turns = gathered.reduce((sum, { turns }) => sum + turns.length, 0);
  const failed = gathered.find((one) => one.why !== null);
  const told = failed
    ? `${plural(turns, 'turn')} that this page remembers, without the rest that the recording may hold: ${failed.why}`
    : gathered.every(({ from }) => from !== 'page')
      ? `${plural(turns, 'turn')}: all that the recording held`
      : `${plural(turns, 'turn')} that the page remembered when it was saved`;
  return { name: fileName(process.latest, process.time, '.trace.json'), text: traceText(made), type: 'application/json', told };
}

/** The last snapshot again, from what the page keeps of it. */
export function rememberedSnapshot(app: Pick<App, 'store'>): Snapshot {
  const { store } = app;
  return {
    schema,
    taken_at: new Date((store.time ?? 0) * 1000).toISOString(),
    server: store.server,
    processes: [...store.processes.values()].map(({ latest, loops }) => ({
      ...latest,
      loops: latest.loops.map((loop) => ({ ...loop, recent: asSent(loops.get(String(loop.id))?.turns.recent ?? []) })),
    })),
    processes_folded: store.folded,
    unreadable: store.unreadable,
  };
}

/** The server's own text: a number that went through a double and back is not what was sent. */
async function snapshotText(descriptors: boolean): Promise<string> {
  const token = sessionStorage.getItem(tokenKey);
  const response = await fetch(`api/v1/snapshot?recent=4096${descriptors ? '&descriptors=1' : ''}`, {
    headers: token ? { Authorization: `Bearer ${token}` } : {},
    cache: 'no-store',
    signal: AbortSignal.timeout(serverPatienceMs),
  });
  if (!response.ok) throw new ApiError(response.status, `the server answered ${response.status}`);
  return response.text();
}

export async function takeSnapshot(app: App, descriptors: boolean): Promise<Taken> {
  const type = 'application/json';
  let failed = '';
  if (!app.offline) {
    try {
      const text = await snapshotText(descriptors);
      const { taken_at, processes } = JSON.parse(text) as Snapshot;
      const told = processes.length === 1 ? 'one process, as of now' : `${processes.length} processes, as of now`;
      return { name: fileName(null, instant(taken_at), '.json'), text, type, told };
    } catch (error) {
      failed = `: ${why(error)}`;
    }
  }
  const text = `${JSON.stringify(rememberedSnapshot(app))}\n`;
  const told = `the last snapshot that this page got, with the turns it remembers and without a list of descriptors${failed}`;
  return { name: fileName(null, app.store.time ?? 0, '.json'), text, type, told };
}

/** Which processes a report holds. */
export type Scope = 'process' | 'all';

function reportOf(app: App, process: ProcessTrack, scope: Scope) {
  const page = freeze(app.store, (track) => scope === 'all' || track === process);
  // Opens with this process and what was looked at before, not with the view it was made in.
  const hash = formatHash({ ...app.selection, process: process.latest.id, view: 'overview' });
  const extra = app.offline ? {} : { origin: location.origin };
  return { page, hash, extra };
}

/** Bytes of the data in it; the page's own files come on top. */
export const reportBytes = (app: App, process: ProcessTrack, scope: Scope): number => JSON.stringify(reportOf(app, process, scope)).length;

export async function takeReport(app: App, process: ProcessTrack, scope: Scope): Promise<Taken> {
  const files = await bundle();
  const { latest } = process;
  const saved = reportOf(app, process, scope);
  const when = new Date(saved.page.time * 1000).toISOString().slice(0, 19).replace('T', ' ');
  const title = `${latest.command}, pid ${latest.pid}: loopscope report of ${when} UTC`;
  return {
    name: fileName(latest, saved.page.time, '.html'),
    text: reportHtml(files, title, saved),
    type: 'text/html;charset=utf-8',
    told: app.connectionText.kind === 'live' ? 'as it is now' : 'as this page last knew it',
  };
}

/** Does this page speak to its server with a token? */
export const usesToken = () => sessionStorage.getItem(tokenKey) !== null;

/** Hands the text to the browser as a file. Returns its size in bytes. */
export function download({ name, text, type }: Taken): number {
  const blob = new Blob([text], { type });
  const url = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // Not at once: the browser may not have begun to read it.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return blob.size;
}
