import assert from 'node:assert/strict';
import test from 'node:test';
import { ApiError } from '../src/api';
import type { Fd, FdPage } from '../src/model';
import { columnsFor, epollText, flagWords, moveTo, parametersOf, RowCache, targetText, type FdQuery } from '../src/rows';

const fd = (changes: Partial<Fd> = {}): Fd => ({
  fd: 5, kind: 'tcp', origin: 'opened', target: null, local: null, peer: null, age_seconds: 1, idle_seconds: 1, thread_id: 1, close_on_exec: null, nonblocking: null,
  listening: null, accepted: null, end: null, pair_fd: null, epoll_fd: null, interest: null, events: 0, event_share: 0, io_calls: 0, busy_seconds: 0, generation: 1, site: 1,
  ...changes,
});
const query = (changes: Partial<FdQuery> = {}): FdQuery => ({ process: 'p', sort: 'fd', order: 'asc', q: '', kind: null, site: null, ...changes });

/** A server that answers when it is told to. */
class Server {
  readonly asked: { query: FdQuery; offset: number; limit: number; signal: AbortSignal; answer: (total?: number) => Promise<void>; fail: (error: unknown) => Promise<void> }[] = [];
  readonly fetch = (q: FdQuery, offset: number, limit: number, signal: AbortSignal) =>
    new Promise<FdPage>((resolve, reject) => {
      const settle = async (act: () => void) => {
        act();
        await new Promise((later) => setImmediate(later));
      };
      this.asked.push({
        query: q, offset, limit, signal,
        answer: (total = 100_000) =>
          settle(() => {
            const rows = Array.from({ length: Math.max(0, Math.min(limit, total - offset)) }, (_, i) => fd({ fd: offset + i, target: `${q.sort} ${offset + i}` }));
            resolve({ schema: 'loopscope.descriptors/1', taken_at: '2026-01-01T00:00:00Z', process: q.process, total: 100_000, matched: total, offset, rows, left_out: 0 });
          }),
        fail: (error) => settle(() => reject(error)),
      });
    });
  get last() {
    return this.asked[this.asked.length - 1]!;
  }
}
const made = () => {
  const server = new Server();
  let changes = 0;
  const cache = new RowCache(server.fetch, () => changes++);
  return { server, cache, changes: () => changes };
};

test('what is in sight is asked for, with some around it, once', async () => {
  const { server, cache, changes } = made();
  cache.ask(query());
  assert.equal(server.asked.length, 0, 'nothing is in sight yet');
  cache.look(0, 30);
  cache.look(0, 30);
  cache.look(5, 35);
  assert.equal(server.asked.length, 1);
  assert.equal(server.last.offset, 0);
  assert.ok(server.last.limit >= 60);
  await server.last.answer();
  assert.equal(changes(), 1);
  assert.equal(cache.matched, 100_000);
  assert.equal(cache.row(29)?.fd, 29);
  cache.look(10, 40);
  assert.equal(server.asked.length, 1, 'it is there already');
});

test('a jump gives up the question that nobody waits for any more', async () => {
  const { server, cache } = made();
  cache.ask(query());
  cache.look(0, 30);
  await server.last.answer();
  cache.look(40_000, 40_030);
  const first = server.last;
  cache.look(80_000, 80_030);
  assert.ok(first.signal.aborted);
  assert.equal(server.asked.length, 3);
  assert.ok(server.last.offset <= 80_000 && server.last.offset + server.last.limit >= 80_030);
  await first.answer(); // comes all the same: is not taken
  assert.equal(cache.row(40_000), undefined);
  await server.last.answer();
  assert.equal(cache.row(80_010)?.fd, 80_010);
  assert.equal(cache.row(10)?.fd, 10, 'what was there stays');
});

test('scrolled on a little: the answer is waited for, and the rest asked for after it', async () => {
  const { server, cache } = made();
  cache.ask(query());
  cache.look(0, 30);
  const { limit } = server.last;
  cache.look(limit - 10, limit + 20);
  assert.equal(server.asked.length, 1);
  await server.last.answer();
  assert.equal(server.asked.length, 2);
  assert.ok(server.last.offset + server.last.limit >= limit + 20);
});

test('another order keeps the rows on screen until there are new ones', async () => {
  const { server, cache } = made();
  cache.ask(query());
  cache.look(0, 30);
  await server.last.answer();
  cache.ask(query({ sort: 'events', order: 'desc' }));
  assert.ok(cache.stale);
  assert.equal(cache.row(3)?.target, 'fd 3');
  await server.last.answer();
  assert.ok(!cache.stale);
  assert.equal(cache.row(3)?.target, 'events 3');
});

test('another process: nothing of the one before is shown', async () => {
  const { server, cache } = made();
  cache.ask(query());
  cache.look(0, 30);
  await server.last.answer();
  cache.ask(query({ process: 'other' }));
  assert.equal(cache.row(3), undefined);
  assert.equal(cache.matched, null);
});

test('renewed, and what has gone disappears', async () => {
  const { server, cache } = made();
  cache.ask(query());
  cache.look(0, 30);
  await server.last.answer(25);
  assert.equal(cache.row(24)?.fd, 24);
  cache.refresh();
  cache.refresh();
  assert.equal(server.asked.length, 2, 'one at a time');
  await server.last.answer(10);
  assert.equal(cache.matched, 10);
  assert.equal(cache.row(9)?.fd, 9);
  assert.equal(cache.row(10), undefined);
  assert.equal(server.asked.length, 2);
});

test('no answer: the rows stay, it is tried again; a refusal is not repeated', async () => {
  const { server, cache } = made();
  cache.ask(query());
  cache.look(0, 30);
  await server.last.answer();
  cache.refresh();
  await server.last.fail(new ApiError(0, 'no answer'));
  assert.equal(cache.error?.status, 0);
  assert.equal(cache.row(3)?.fd, 3);
  cache.refresh();
  assert.equal(server.asked.length, 3);
  await server.last.fail(new ApiError(404, 'gone'));
  cache.refresh();
  assert.equal(server.asked.length, 3);
  cache.refresh(true);
  assert.equal(server.asked.length, 4);
  await server.last.answer();
  assert.equal(cache.error, null);
});

test('a server that promises more rows than it sends is not asked in a circle', async () => {
  const { server, cache } = made();
  cache.ask(query());
  cache.look(0, 30);
  const flight = server.asked[0]!;
  flight.limit = 0;
  await flight.answer(0);
  assert.equal(cache.matched, 0);
  assert.equal(server.asked.length, 1);
});

test('memory is bounded however far one scrolls', async () => {
  const { server, cache } = made();
  cache.ask(query());
  for (let at = 0; at < 60_000; at += 100) {
    cache.look(at, at + 30);
    if (cache.loading) await server.last.answer();
  }
  let kept = 0;
  for (let i = 0; i < 100_000; i++) if (cache.row(i)) kept++;
  assert.ok(kept > 30 && kept <= 4400, String(kept));
});

test('parameters are those of the interface', () => {
  assert.deepEqual(parametersOf(query(), 0, 200), { process: 'p', offset: '0', limit: '200', sort: 'fd', order: 'asc' });
  assert.deepEqual(parametersOf(query({ q: 'a b', kind: 'tcp', site: 0, sort: 'idle', order: 'desc' }), 7, 9), {
    process: 'p', offset: '7', limit: '9', sort: 'idle', order: 'desc', q: 'a b', kind: 'tcp', site: '0',
  });
});

test('words for a row', () => {
  assert.equal(targetText(fd({ target: '/a', peer: 'x' })), '/a');
  assert.equal(targetText(fd({ local: 'me:1', peer: 'you:2', accepted: true })), 'you:2 → me:1');
  assert.equal(targetText(fd({ local: 'me:1', peer: 'you:2', accepted: false })), 'you:2 ← me:1');
  assert.equal(targetText(fd({ local: 'me:1' })), 'me:1');
  assert.equal(targetText(fd({ pair_fd: 9 })), 'pair of 9');
  assert.equal(targetText(fd()), '');
  assert.deepEqual(flagWords(fd({ listening: true, accepted: true, close_on_exec: true, nonblocking: true, end: 'read', origin: 'inherited' })), ['listen', 'read end', 'cloexec', 'nonblock', 'accepted', 'inherited']);
  assert.deepEqual(flagWords(fd({ close_on_exec: false, origin: 'unknown' })), []);
  assert.equal(epollText(fd()), '');
  assert.equal(epollText(fd({ epoll_fd: 4, interest: ['in', 'et'] })), '4 · in et');
  assert.equal(epollText(fd({ epoll_fd: 4, interest: [] })), '4');
});

test('columns: those that fit, or those chosen; never one that the source knows nothing of', () => {
  const keys = (width: number, ledger: boolean, chosen: string | null = null) => columnsFor(width, ledger, chosen).map(({ key }) => key);
  assert.deepEqual(keys(350, true), ['fd', 'kind', 'target']);
  assert.ok(keys(1200, true).includes('site'));
  assert.deepEqual(keys(1200, false), ['fd', 'kind', 'target', 'epoll']);
  assert.deepEqual(keys(350, true, 'busy,age'), ['fd', 'kind', 'age', 'busy']);
});

test('keys move within the table', () => {
  assert.equal(moveTo('ArrowDown', 4, 10, 3), 5);
  assert.equal(moveTo('ArrowUp', 0, 10, 3), 0);
  assert.equal(moveTo('PageDown', 8, 10, 3), 9);
  assert.equal(moveTo('PageUp', 8, 10, 3), 5);
  assert.equal(moveTo('End', 0, 100_000, 3), 99_999);
  assert.equal(moveTo('Home', 8, 10, 3), 0);
  assert.equal(moveTo('End', 0, 0, 3), 0);
  assert.equal(moveTo('a', 0, 10, 3), null);
});
