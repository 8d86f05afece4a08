// What is looked at, and where it is remembered: #process=1234-987&loop=1&window=30
import type { Loop, Process } from './model';

export interface Selection {
  process: string | null;
  loop: string | null;
  window: number;
}

export const windows: { seconds: number; label: string }[] = [
  { seconds: 5, label: '5 s' },
  { seconds: 30, label: '30 s' },
  { seconds: 120, label: '2 min' },
  { seconds: 600, label: '10 min' },
  { seconds: Infinity, label: 'since start' },
];
export const defaultWindow = 30;

export function parseHash(hash: string): Selection {
  const parameters = new URLSearchParams(hash.replace(/^#/, ''));
  const text = parameters.get('window');
  const wanted = text === 'all' ? Infinity : Number(text);
  return {
    process: parameters.get('process'),
    loop: parameters.get('loop'),
    window: windows.some(({ seconds }) => seconds === wanted) ? wanted : defaultWindow,
  };
}

export function formatHash(selection: Selection): string {
  const parameters = new URLSearchParams();
  if (selection.process !== null) parameters.set('process', selection.process);
  if (selection.loop !== null) parameters.set('loop', selection.loop);
  if (selection.window !== defaultWindow) {
    parameters.set('window', selection.window === Infinity ? 'all' : String(selection.window));
  }
  const text = parameters.toString();
  return text ? `#${text}` : '';
}

type Known = Pick<Process, 'id' | 'pid' | 'command' | 'started_at' | 'state'>;

const startedLater = (a: Known, b: Known) => (a.started_at < b.started_at ? 1 : a.started_at > b.started_at ? -1 : 0);

/** A younger process of the same command that runs: what a restart looks like from outside. */
export function successor(of: Known, processes: readonly Known[]): Known | null {
  const heirs = processes.filter(
    (p) => p.id !== of.id && p.command === of.command && p.state === 'running' && p.started_at > of.started_at,
  );
  return heirs.sort(startedLater)[0] ?? null;
}

/**
 * The process to show. The chosen one as long as the server still tells of it, dead or alive; when it has vanished, its
 * successor; else the youngest that runs. `restarted` when `last` was on screen and something else takes its place.
 */
export function chooseProcess<P extends Known>(
  wanted: string | null,
  last: Known | null,
  processes: readonly P[],
): { process: P | null; restarted: boolean } {
  const exact = processes.find((p) => p.id === wanted);
  if (exact) return { process: exact, restarted: false };
  const heir = last && (successor(last, processes) as P | null);
  const sorted = processes.slice().sort(startedLater);
  const process = heir ?? sorted.find((p) => p.state === 'running') ?? sorted[0] ?? null;
  return { process, restarted: last !== null && process !== null && process.id !== last.id };
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
