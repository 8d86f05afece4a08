// What is looked at, and where it is remembered: #view=loop&process=1234-987&loop=1&window=30
import type { Loop, Process } from './model';
import { laterImage } from './tree';

export const views = ['overview', 'loop', 'watchers', 'descriptors', 'findings', 'take'] as const;
export type View = (typeof views)[number];

export interface Selection {
  view: View;
  process: string | null;
  loop: string | null;
  window: number;
  /** What a view remembers of its own (sorting, a filter), under any other name: see App.remember(). */
  own: Readonly<Record<string, string>>;
}

export const windows: { seconds: number; label: string }[] = [
  { seconds: 5, label: '5 s' },
  { seconds: 30, label: '30 s' },
  { seconds: 120, label: '2 min' },
  { seconds: 600, label: '10 min' },
  { seconds: Infinity, label: 'since start' },
];
export const defaultWindow = 30;

const shared = new Set(['view', 'process', 'loop', 'window']);

export function parseHash(hash: string): Selection {
  const parameters = new URLSearchParams(hash.replace(/^#/, ''));
  const text = parameters.get('window');
  const wanted = text === 'all' ? Infinity : Number(text);
  const view = parameters.get('view') as View;
  return {
    view: views.includes(view) ? view : 'overview',
    process: parameters.get('process'),
    loop: parameters.get('loop'),
    window: windows.some(({ seconds }) => seconds === wanted) ? wanted : defaultWindow,
    own: Object.fromEntries([...parameters].filter(([name]) => !shared.has(name))),
  };
}

export function formatHash(selection: Selection): string {
  const parameters = new URLSearchParams();
  if (selection.view !== 'overview') parameters.set('view', selection.view);
  if (selection.process !== null) parameters.set('process', selection.process);
  if (selection.loop !== null) parameters.set('loop', selection.loop);
  if (selection.window !== defaultWindow) {
    parameters.set('window', selection.window === Infinity ? 'all' : String(selection.window));
  }
  for (const [name, value] of Object.entries(selection.own)) parameters.set(name, value);
  const text = parameters.toString();
  return text ? `#${text}` : '';
}

/** Settings that single out something of one process; of these, what is about one loop. */
const ofProcess = new Set(['fd', 'fd-q', 'fd-kind', 'fd-site', 'site', 'w-q', 'watcher', 'turn']);
const ofLoop = new Set(['w-q', 'watcher', 'turn']);
const without = (own: Selection['own'], names: ReadonlySet<string>) => Object.fromEntries(Object.entries(own).filter(([name]) => !names.has(name)));

/**
 * The selection after a change. Sorting and columns stay; what singles out a descriptor, a watcher, a site goes with the process
 * or loop it was of, or elsewhere it would mean another. `own` of the change says what is singled out now. `shown`: what is on
 * screen, chosen or not.
 */
export function changed(selection: Selection, change: Partial<Selection>, shown: { process: string | null; loop: string | null }): Selection {
  const moved = (now: string | null | undefined, before: string | null) => now !== undefined && now !== null && now !== before;
  let { own } = selection;
  if (change.own) own = { ...without(own, ofProcess), ...change.own };
  else if (moved(change.process, shown.process)) own = without(own, ofProcess);
  else if (moved(change.loop, shown.loop)) own = without(own, ofLoop);
  return { ...selection, ...change, own };
}

type Known = Pick<Process, 'id' | 'pid' | 'command' | 'started_at' | 'state' | 'ended' | 'loops'>;

/** How busy the busiest loop of a process is. */
export interface Load {
  utilization: number;
  /** Measured over the last seconds, on enough turns. */
  sure: boolean;
}
export type LoadOf<P> = (process: P) => Load | null;

const startedLater = (a: Known, b: Known) => (a.started_at < b.started_at ? 1 : a.started_at > b.started_at ? -1 : 0);

/** The program that it became by exec; else a younger process of the same command that runs: what a restart looks like from outside. */
export function successor(of: Known, processes: readonly Known[]): Known | null {
  const images = processes.filter((p) => laterImage(p, of));
  if (images.length > 0) return images.reduce((last, p) => (laterImage(p, last) ? p : last));
  if (of.ended === 'exec') return null; // it lives on, unseen: nobody has taken its place
  const heirs = processes.filter(
    (p) => p.id !== of.id && p.command === of.command && p.state === 'running' && p.started_at > of.started_at,
  );
  return heirs.sort(startedLater)[0] ?? null;
}

/** What there is to see: a loop that works, one that has begun to, one at all, a process, what is left of one. */
function worth<P extends Known>(process: P, load: Load | null): number {
  if (process.state !== 'running') return load ? 1 : 0;
  return load ? (load.sure ? 5 : 4) : process.loops.length > 0 ? 3 : 2;
}

/**
 * Whom to show when nobody chose: the process with the busiest loop, not the shell that started it. Before any loop has
 * turned: the youngest with a loop; without loops the oldest, because whoever else runs may be gone at once.
 */
export function bestProcess<P extends Known>(processes: readonly P[], load: LoadOf<P>): P | null {
  const all = processes.map((process) => ({ process, load: load(process), worth: worth(process, load(process)) }));
  all.sort((a, b) => {
    if (a.worth !== b.worth) return b.worth - a.worth;
    if (a.load && b.load && a.worth >= 4 && a.load.utilization !== b.load.utilization) return b.load.utilization - a.load.utilization;
    return a.worth === 2 ? startedLater(b.process, a.process) : startedLater(a.process, b.process);
  });
  return all[0]?.process ?? null;
}

/**
 * The process to show. The chosen one as long as the server still tells of it, dead or alive; when it has vanished, its
 * successor; else the best. `restarted` when `last` was on screen and something else takes its place.
 */
export function chooseProcess<P extends Known>(
  wanted: string | null,
  last: Known | null,
  processes: readonly P[],
  load: LoadOf<P> = () => null,
): { process: P | null; restarted: boolean } {
  const exact = processes.find((p) => p.id === wanted);
  if (exact) return { process: exact, restarted: false };
  const heir = last && (successor(last, processes) as P | null);
  const process = heir ?? bestProcess(processes, load);
  return { process, restarted: last !== null && process !== null && process.id !== last.id };
}

/**
 * As long as nobody chose and no loop has shown that it works, the choice is open: programs start one after the other.
 * What is shown gives way only to one that has more to show, so that the page does not follow every short-lived child.
 * `settled`: from now on it stays.
 */
export function settle<P extends Known>(shown: P, processes: readonly P[], load: LoadOf<P>): { process: P; settled: boolean } {
  const best = bestProcess(processes, load) ?? shown;
  const [mine, its] = [worth(shown, load(shown)), worth(best, load(best))];
  const process = its > mine || its === 5 ? best : shown;
  const now = Math.max(mine, its);
  return { process, settled: now === 5 || now === 1 };
}

/** Turns: with fewer, nobody knows yet which loop does the work. */
export const enoughTurns = 100;
const fairShare = 0.1;

/**
 * The loop to open with: the first that does a fair share of the turns. A program's first loop is often its main thread's,
 * which waits for signals only.
 */
export function busyLoop<L extends Pick<Loop, 'iterations' | 'state'>>(loops: readonly L[]): L | null {
  const live = loops.filter((loop) => loop.state !== 'ended');
  const candidates = live.length > 0 ? live : loops;
  const most = Math.max(0, ...candidates.map((loop) => loop.iterations));
  return candidates.find((loop) => loop.iterations >= most * fairShare) ?? null;
}
