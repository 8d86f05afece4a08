import assert from 'node:assert/strict';
import test from 'node:test';
import { banners, type BannerInput } from '../src/banners';
import { busyLoop, chooseProcess, formatHash, parseHash } from '../src/selection';
import { at, process } from './fixtures';

const old = process({ id: '1-a', pid: 1, started_at: at(0) });
const young = process({ id: '2-b', pid: 2, started_at: at(50) });
const other = process({ id: '3-c', pid: 3, started_at: at(90), command: 'other' });

test('the hash keeps the selection', () => {
  for (const selection of [
    { process: '1234-99', loop: '2', window: 30 },
    { process: null, loop: null, window: Infinity },
    { process: 'a&b=c#', loop: 'ö', window: 5 },
  ]) {
    assert.deepEqual(parseHash(formatHash(selection)), selection);
  }
  assert.equal(formatHash({ process: null, loop: null, window: 30 }), '');
  assert.equal(parseHash('#window=17').window, 30);
  assert.equal(parseHash('').window, 30);
});

test('the chosen process stays, dead or alive', () => {
  const dead = { ...old, state: 'killed' as const };
  assert.deepEqual(chooseProcess('1-a', dead, [young, dead]), { process: dead, restarted: false });
});

test('one that vanished is followed by its successor, before any younger stranger', () => {
  const { process: chosen, restarted } = chooseProcess('1-a', old, [other, young]);
  assert.equal(chosen!.id, '2-b');
  assert.equal(restarted, true);
});

test('without a choice: the youngest that runs', () => {
  assert.equal(chooseProcess(null, null, [old, { ...other, state: 'exited' as const }, young]).process!.id, '2-b');
  assert.equal(chooseProcess('gone', null, [old]).restarted, false);
  assert.equal(chooseProcess(null, null, []).process, null);
});

test('the loop to open with is the first that works', () => {
  const loop = (id: number, iterations: number, state: 'live' | 'ended' = 'live') => ({ id, iterations, state });
  const id = (...loops: ReturnType<typeof loop>[]) => busyLoop(loops)?.id;
  assert.equal(id(loop(0, 3), loop(1, 4000), loop(2, 7000)), 1);
  assert.equal(id(loop(0, 0), loop(1, 0)), 0);
  assert.equal(id(loop(0, 9000, 'ended'), loop(1, 10)), 1);
  assert.equal(id(loop(0, 1, 'ended'), loop(1, 9000, 'ended')), 1);
  assert.equal(id(), undefined);
});

const calm: BannerInput = {
  connection: { state: 'live' },
  silent: 0.2,
  retryIn: null,
  process: { pid: 1234, state: 'running', exit_status: null },
  endedAgo: null,
  restart: null,
  foreignSchema: null,
};
const texts = (change: Partial<BannerInput>) => banners({ ...calm, ...change }).map((b) => b.text.replaceAll('\u00a0', ' '));

test('no banner when all is well', () => assert.deepEqual(texts({}), []));

test('a killed process', () => {
  assert.deepEqual(texts({ process: { pid: 1234, state: 'killed', exit_status: null }, endedAgo: 3 }), [
    'Process 1234 was killed 3 s ago — showing its last state',
  ]);
  assert.deepEqual(texts({ process: { pid: 1, state: 'exited', exit_status: 2 } }), [
    'Process 1 exited with status 2 — showing its last state',
  ]);
});

test('a lost connection says why and when', () => {
  assert.deepEqual(texts({ connection: { state: 'waiting', retryAt: 0, reason: 'no update for 3 s' }, silent: 4, retryIn: 1.2 }), [
    'Connection lost (no update for 3 s), retrying in 2 s — showing what was known 4 s ago',
  ]);
  assert.deepEqual(texts({ connection: { state: 'connecting', since: 0 }, silent: null }), []);
  assert.match(texts({ connection: { state: 'waiting', retryAt: 0, reason: 'x' }, silent: null })[0]!, /^No connection/);
});

test('a reconnect that takes a moment is not shouted about', () => {
  assert.deepEqual(texts({ connection: { state: 'connecting', since: 0 }, silent: 0.6 }), []);
  assert.deepEqual(texts({ connection: { state: 'waiting', retryAt: 0, reason: 'x' }, silent: 0.6, retryIn: 0.4 }), []);
  assert.equal(texts({ silent: 2 }).length, 1);
});

test('a restart is told for a minute', () => {
  const restart = { from: 1, to: 2, ago: 5, sameCommand: true };
  assert.match(texts({ restart })[0]!, /^Process 1 restarted as 2/);
  assert.deepEqual(texts({ restart: { ...restart, ago: 61 } }), []);
});
