// The processes as a tree: who started whom, which programs one process has been, how each ended. Pure.
import type { Process } from './model';

export type Known = Pick<Process, 'id' | 'pid' | 'parent_pid' | 'command' | 'argv' | 'started_at' | 'state' | 'ended' | 'exit_status' | 'signal'>;

export interface TreeRow<P> {
  process: P;
  depth: number;
  /** An earlier program of the process above it: the one that it became by exec. Else null. */
  became: P | null;
}

/** What all images of one process share: pid and start time. Each exec appends a number to the id. */
const life = (id: string) => id.split('-', 2).join('-');
const image = (id: string) => Number(id.split('-')[2] ?? 0);

/** Images of one process: the same pid and start time, another program. */
export const sameProcess = (a: Pick<Process, 'id'>, b: Pick<Process, 'id'>) => life(a.id) === life(b.id);
export const laterImage = (a: Pick<Process, 'id'>, b: Pick<Process, 'id'>) => sameProcess(a, b) && image(a.id) > image(b.id);

interface Node<P> {
  /** In the order in which the process became them; the last is what it is, or was at its end. */
  images: P[];
  parent: Node<P> | null;
  children: Node<P>[];
  /** It, or something below it, runs. */
  lives: boolean;
}

const current = <P>(node: Node<P>): P => node.images[node.images.length - 1]!;
const started = <P extends Known>(node: Node<P>) => node.images[0]!.started_at;

/** The process that had this pid when `child` began: pids come again, so of several the youngest that is older than it. */
function parentOf<P extends Known>(child: Node<P>, withPid: readonly Node<P>[]): Node<P> | null {
  const others = withPid.filter((node) => node !== child);
  const older = others.filter((node) => started(node) <= started(child));
  // A parent's recording may be younger than its child's: a library makes one with the first loop.
  const found = older[older.length - 1] ?? others[0] ?? null;
  for (let up = found; up; up = up.parent) if (up === child) return null;
  return found;
}

/**
 * Rows in the order to show them: parents before their children, living before ended ones; of the living the oldest
 * first, so that rows stay where they are, of the ended the youngest. A process whose parent is not known is a root.
 * With `wanted`, only rows that it accepts, and what is above them.
 */
export function treeRows<P extends Known>(processes: readonly P[], wanted: (process: P) => boolean = () => true): TreeRow<P>[] {
  const lives = new Map<string, Node<P>>();
  for (const process of processes) {
    const node = lives.get(life(process.id));
    if (node) node.images.push(process);
    else lives.set(life(process.id), { images: [process], parent: null, children: [], lives: false });
  }
  const nodes = [...lives.values()];
  for (const node of nodes) node.images.sort((a, b) => image(a.id) - image(b.id));
  nodes.sort((a, b) => (started(a) < started(b) ? -1 : started(a) > started(b) ? 1 : 0));
  const byPid = new Map<number, Node<P>[]>();
  for (const node of nodes) {
    const { pid } = current(node);
    byPid.set(pid, [...(byPid.get(pid) ?? []), node]);
  }
  const roots: Node<P>[] = [];
  for (const node of nodes) {
    const parent = current(node).parent_pid;
    node.parent = parent === null ? null : parentOf(node, byPid.get(parent) ?? []);
    (node.parent?.children ?? roots).push(node);
  }
  for (const node of nodes) {
    if (current(node).state !== 'running') continue;
    for (let up: Node<P> | null = node; up && !up.lives; up = up.parent) up.lives = true;
  }

  const rows: TreeRow<P>[] = [];
  const add = (siblings: readonly Node<P>[], depth: number) => {
    const living = siblings.filter((node) => node.lives);
    const ended = siblings.filter((node) => !node.lives).reverse();
    for (const node of [...living, ...ended]) {
      const { images } = node;
      const from = rows.length;
      rows.push({ process: current(node), depth, became: null });
      for (let i = images.length - 2; i >= 0; i--) {
        if (wanted(images[i]!)) rows.push({ process: images[i]!, depth: depth + 1, became: images[i + 1]! });
      }
      add(node.children, depth + 1);
      if (rows.length === from + 1 && !wanted(current(node))) rows.pop();
    }
  };
  add(roots, 0);
  return rows;
}

/** Linux' names on the architectures that people run servers on (x86, Arm, RISC-V, POWER). */
const signals: Readonly<Record<number, string>> = {
  1: 'HUP', 2: 'INT', 3: 'QUIT', 4: 'ILL', 5: 'TRAP', 6: 'ABRT', 7: 'BUS', 8: 'FPE', 9: 'KILL', 10: 'USR1', 11: 'SEGV', 12: 'USR2', 13: 'PIPE', 14: 'ALRM', 15: 'TERM',
  16: 'STKFLT', 24: 'XCPU', 25: 'XFSZ', 26: 'VTALRM', 27: 'PROF', 29: 'IO', 30: 'PWR', 31: 'SYS',
};
export const signalName = (signal: number) => (signals[signal] ? `SIG${signals[signal]}` : `signal ${signal}`);

/** How it ended, in a word or two; null: it runs. `became`: what it became by exec, if that is known. */
export function endMark(process: Pick<Process, 'state' | 'ended' | 'exit_status' | 'signal'>, became: Pick<Process, 'command'> | null): string | null {
  if (process.state === 'running') return null;
  if (process.ended === 'exec') return `exec → ${became?.command ?? 'another program'}`;
  if (process.state === 'killed') return process.signal ? `killed by ${signalName(process.signal)}` : 'killed';
  return process.exit_status === null ? 'ended' : `exited ${process.exit_status}`;
}

/** The same as a part of a sentence: "process 12 ...". */
export function endText(process: Pick<Process, 'state' | 'ended' | 'exit_status' | 'signal'>): string {
  if (process.ended === 'exec') return 'became another program by exec';
  if (process.state === 'killed') return process.signal ? `was killed by ${signalName(process.signal)}` : 'was killed';
  return process.exit_status === null ? 'ended' : `exited with status ${process.exit_status}`;
}
