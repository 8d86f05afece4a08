import assert from 'node:assert/strict';
import test from 'node:test';
import { banners, type BannerInput } from '../src/banners';
import { bestProcess, busyLoop, changed, chooseProcess, formatHash, parseHash, settle, successor, type Load, type Selection } from '../src/selection';
import { at, process } from './fixtures';

const old = process({ id: '1-a', pid: 1, started_at: at(0) });
const young = process({ id: '2-b', pid: 2, started_at: at(50) });
const other = process({ id: '3-c', pid: 3, started_at: at(90), command: 'other' });

test('the hash keeps the selection', () => {
  const selections: Selection[] = [
    { view: 'loop', process: '1234-99', loop: '2', window: 30, own: {} },
    { view: 'overview', process: null, loop: null, window: Infinity, own: {} },
    { view: 'take', process: 'a&b=c#', loop: 'ö', window: 5, own: { 'overview.q': 'a=b&c', __proto__x: '' } },
  ];
  for (const selection of selections) {
    assert.deepEqual(parseHash(formatHash(selection)), selection);
  }
  assert.equal(formatHash({ view: 'overview', process: null, loop: null, window: 30, own: {} }), '');
  assert.equal(parseHash('#view=nonsense').view, 'overview');
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

test('without a choice and without turns: the youngest that runs and has a loop', () => {
  assert.equal(chooseProcess(null, null, [old, { ...other, state: 'exited' as const }, young]).process!.id, '2-b');
  assert.equal(chooseProcess('gone', null, [old]).restarted, false);
  assert.equal(chooseProcess(null, null, []).process, null);
});

/** A shell that starts a server through a launcher with a loop of its own, and a short-lived child. */
const shell = process({ id: '10-1', pid: 10, command: 'sh', started_at: at(0), loops: [] });
const launcher = process({ id: '11-2', pid: 11, command: 'npm', started_at: at(1) });
const server = process({ id: '12-3', pid: 12, command: 'node', started_at: at(2) });
const sleep = process({ id: '13-4', pid: 13, command: 'sleep', started_at: at(3), loops: [] });
const family = [shell, launcher, server, sleep];
const loads = (of: Record<string, Load>) => (p: { command: string }) => of[p.command] ?? null;
const measured = (utilization: number): Load => ({ utilization, sure: true });
const guessed = (utilization: number): Load => ({ utilization, sure: false });

test('it opens with the busiest loop, not with the shell', () => {
  const best = (of: Record<string, Load>, among = family) => bestProcess(among, loads(of))!.command;
  assert.equal(best({ npm: measured(0.01), node: measured(0.2) }), 'node');
  assert.equal(best({ npm: measured(0.3), node: measured(0.2) }), 'npm');
  assert.equal(best({ npm: guessed(0.9), node: measured(0.01) }), 'node');
  assert.equal(best({ npm: guessed(0.1) }), 'npm');
  assert.equal(best({}, [shell, sleep]), 'sh'); // without loops: who stays
  const over = family.map((p) => ({ ...p, state: 'exited' as const, ended: 'exit' as const }));
  assert.equal(best({ node: measured(0.1) }, over), 'node');
  assert.equal(best({ node: measured(0.9) }, [over[2]!, shell]), 'sh');
});

test('what it opened with gives way to more only, until a loop has shown that it works', () => {
  const go = (shown: typeof shell, of: Record<string, Load>) => {
    const { process: chosen, settled } = settle(shown, family, loads(of));
    return [chosen.command, settled];
  };
  assert.deepEqual(go(shell, { npm: guessed(0.9) }), ['npm', false]);
  assert.deepEqual(go(launcher, { npm: guessed(0.1), node: guessed(0.9) }), ['npm', false]); // no hopping
  assert.deepEqual(go(launcher, { npm: guessed(0.9), node: measured(0.1) }), ['node', true]);
  assert.deepEqual(go(launcher, { npm: measured(0.1), node: measured(0.2) }), ['node', true]);
  assert.deepEqual(settle(shell, [shell, sleep], () => null), { process: shell, settled: false });
  // What has ended stays if nothing else has anything to show.
  const dead = { ...server, state: 'killed' as const };
  assert.deepEqual(settle(dead, [dead], loads({ node: guessed(0.1) })), { process: dead, settled: true });
  assert.equal(settle(dead, [dead, launcher], loads({ node: guessed(0.1), npm: guessed(0) })).process, launcher);
});

test('a process that became another program is followed there', () => {
  const before = process({ id: '7-9', command: 'sh', state: 'exited', ended: 'exec' });
  const after = process({ id: '7-9-1', command: 'env', state: 'exited', ended: 'exec' });
  const last = process({ id: '7-9-2', command: 'node' });
  assert.equal(successor(before, [before, after, last]), last);
  assert.equal(successor(before, [before, process({ id: '8-9', command: 'sh', started_at: at(500) })]), null);
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
  process: { pid: 1234, state: 'running', exit_status: null, ended: null },
  endedAgo: null,
  endedAt: null,
  inProcess: false,
  restart: null,
  foreignSchema: null,
};
const texts = (change: Partial<BannerInput>) => banners({ ...calm, ...change }).map((b) => b.text.replaceAll('\u00a0', ' '));

test('no banner when all is well', () => assert.deepEqual(texts({}), []));

test('a killed process', () => {
  assert.deepEqual(texts({ process: { pid: 1234, state: 'killed', exit_status: null, ended: 'killed' }, endedAgo: 3 }), [
    'Process 1234 was killed 3 s ago — showing its last state',
  ]);
  const killed = { pid: 1234, state: 'killed', exit_status: null, ended: 'killed', signal: 9 } as const;
  assert.match(texts({ process: killed, endedAgo: 3, endedAt: 1_700_000_000 })[0]!, /was killed by SIGKILL at \d\d:\d\d:\d\d, 3 s ago/);
  assert.equal(banners({ ...calm, process: killed })[0]!.keep, true);
  assert.deepEqual(texts({ process: { pid: 1, state: 'exited', exit_status: 2, ended: 'exit' } }), [
    'Process 1 exited with status 2 — showing its last state',
  ]);
});

test('a process that became another program', () => {
  assert.deepEqual(texts({ process: { pid: 1, state: 'exited', exit_status: null, ended: 'exec' }, endedAgo: 2 }), [
    'Process 1 became another program by exec 2 s ago — showing its last state',
  ]);
});

test('a lost connection says why and when', () => {
  assert.deepEqual(texts({ connection: { state: 'waiting', retryAt: 0, reason: 'no update for 3 s' }, silent: 4, retryIn: 1.2 }), [
    'Connection lost (no update for 3 s), retrying in 2 s — showing what was known 4 s ago',
  ]);
  assert.deepEqual(texts({ connection: { state: 'connecting', since: 0 }, silent: null }), []);
  assert.match(texts({ connection: { state: 'waiting', retryAt: 0, reason: 'x' }, silent: null })[0]!, /^No connection/);
});

test('a server inside the process is said to have gone with it, after a while', () => {
  const gone = { connection: { state: 'waiting', retryAt: 0, reason: 'the server cannot be reached' }, inProcess: true } as const;
  assert.doesNotMatch(texts({ ...gone, silent: 2 })[0]!, /probably/);
  assert.match(texts({ ...gone, silent: 6 })[0]!, /part of the process, which has probably ended/);
  assert.equal(banners({ ...calm, ...gone, silent: 6 })[0]!.keep, true);
});

test('a saved page says so', () => {
  assert.match(texts({ connection: { state: 'saved', at: 1_700_000_000 }, silent: null })[0]!, /^Saved page: .* on 2023-11-1\d at .*nothing here is live$/);
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

test('what singles out a thing of one process or loop does not go along to another; sorting does', () => {
  const own = { 'fd-site': '3', 'fd-sort': 'age.desc', watcher: 'io:read', 'w-q': 'x', turn: '7', 'overview.sort': '-turns' };
  const selection: Selection = { view: 'descriptors', process: '1-a', loop: '1', window: 30, own };
  const shown = { process: '1-a', loop: '1' };
  const settings = { 'fd-sort': 'age.desc', 'overview.sort': '-turns' };
  assert.deepEqual(changed(selection, { view: 'watchers' }, shown).own, own);
  assert.deepEqual(changed(selection, { process: '1-a', loop: '1' }, shown).own, own);
  assert.deepEqual(changed({ ...selection, process: null }, { process: '1-a' }, shown).own, own, 'it was on screen without having been chosen');
  assert.deepEqual(changed(selection, { process: '2-b', loop: null }, shown).own, settings);
  assert.deepEqual(changed(selection, { loop: '2' }, shown).own, { ...settings, 'fd-site': '3' });
  assert.deepEqual(changed(selection, { own: { fd: '9' } }, shown).own, { ...settings, fd: '9' }, 'a link says what it is about');
});
