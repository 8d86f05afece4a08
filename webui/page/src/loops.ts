// What a loop is: its name among others, the call it waits in, where it runs.
import type { Loop } from './model';

type Named = Pick<Loop, 'id' | 'name' | 'thread_id' | 'epoll_fd'>;

/** Its name; with the thread, and then the epoll descriptor, where another loop of the process has the same. */
export function loopLabel(loop: Named, all: readonly Named[]): string {
  const name = loop.name || `loop ${loop.id}`;
  const alike = all.filter((other) => other.id !== loop.id && other.name === loop.name);
  if (alike.length === 0 || !loop.name) return name;
  if (alike.every((other) => other.thread_id !== loop.thread_id)) return `${name} · thread ${loop.thread_id}`;
  return `${name} · ${loop.epoll_fd === null ? `loop ${loop.id}` : `epoll ${loop.epoll_fd}`}`;
}

/** The call that a loop of this backend waits in; null: one that is not visible (linuxaio, io_uring). */
export function waitCall(backend: string): string | null {
  if (backend === 'epoll') return 'epoll_wait';
  return /^p?(poll|select)$/.test(backend) ? backend : null;
}

/** poll and select are handed their descriptors anew with each call: nothing is registered. */
export const registers = (backend: string) => !/^p?(poll|select)$/.test(backend);

export function loopFacts(loop: Pick<Loop, 'backend' | 'epoll_fd' | 'thread_id'>): string {
  const facts = [loop.epoll_fd === null ? loop.backend : `${loop.backend} on descriptor ${loop.epoll_fd}`];
  if (loop.thread_id !== null) facts.push(`thread ${loop.thread_id}`);
  return facts.join(' · ');
}
