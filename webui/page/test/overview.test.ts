import assert from 'node:assert/strict';
import test from 'node:test';
import { fromWire, quantile, quantileSince, subtract } from '../src/histogram';
import { onKey, type KeyActions } from '../src/keys';
import { figures, findingsOf, formatSort, headline, hold, layout, loopState, nextSort, parseSort, processState, spark, sparkPath, sparkStep, sparkSteps, trend } from '../src/overview';
import { Series } from '../src/series';
import { Store } from '../src/store';
import type { Finding, Loop, Process } from '../src/model';
import { at, epoch, loop, process, snapshot, wire } from './fixtures';

const finding = (changes: Partial<Finding>): Finding =>
  ({ rule: 'r', severity: 'warning', title: 'a thing', detail: '', advice: '', count: 1, since: null, subject: 'main', ...changes }) as Finding;

/** Turns of 2 ms until `slowFrom`, then of 60 ms; a hundred a second, 30 % busy, then 90 %. */
const lived = (t: number, slowFrom = Infinity, changes: Partial<Loop> = {}) => {
  const slow = Math.max(0, Math.round((t - slowFrom) * 10));
  const quick = Math.round(Math.min(t, slowFrom) * 100);
  const busy = Math.min(t, slowFrom) * 0.3 + Math.max(0, t - slowFrom) * 0.9;
  return loop({
    iterations: quick + slow,
    ready_events: 2 * (quick + slow),
    busy_seconds: busy,
    idle_seconds: t - busy,
    busy_turn_seconds: wire([[0.00201, quick], ...(slow > 0 ? [[0.0602, slow] as [number, number]] : [])]),
    ...changes,
  });
};
const feed = (store: Store, from: number, to: number, make: (t: number) => Process[]) => {
  for (let t = from; t <= to; t += 0.5) store.ingest(snapshot(t, ...make(t)), t === from);
};

test('a quantile of a difference, without the difference', () => {
  const h = (buckets: [number, number][], max?: number) => fromWire(wire(buckets, max))!;
  const now = h([[1, 5], [2, 7], [4, 1], [8, 2]], 7.5);
  const bases = [null, h([]), h([[1, 5]]), h([[2, 7], [4, 1]]), h([[1, 5], [2, 7], [4, 1]], 3.9), h([[1, 5], [2, 7], [4, 1], [8, 1]], 7.5), h([[1, 6]]), h([[3, 1]]), h([[9, 1]]), now, h([[1, 5], [2, 7], [4, 1], [8, 2]], 7.5)];
  for (const base of bases) {
    for (const q of [0, 0.1, 0.5, 0.9, 0.99, 1]) assert.equal(quantileSince(now, base, q), quantile(subtract(now, base) ?? now, q), JSON.stringify([base, q]));
  }
  assert.equal(quantileSince(null, now, 0.5), null);
});

test('a trend is a factor and a difference that can be felt', () => {
  const rule = { factor: 3, least: 1e-3 };
  assert.equal(trend([0.01, 0.002, 0.002], rule), 'up');
  assert.equal(trend([0.01, 0.004, 0.004], rule), null);
  assert.equal(trend([0.0009, 0.0001, 0.0001], rule), null);
  assert.equal(trend([0.002, null, 0.02], rule), 'down');
  assert.equal(trend([0.01, null, null], rule), null);
  assert.equal(trend([null, 1, 1], rule), null);
});

test('the three windows tell a spike from a trend', () => {
  const store = new Store();
  feed(store, 10, 1300, (t) => [process({ loops: [lived(t, 1295)] })]);
  const track = store.processes.get('12-1')!;
  const now = figures(track, track.loops.get('1')!);
  assert.deepEqual(now.covered.slice(0, 2).map((seconds) => Math.round(seconds! / 10)), [1, 10]);
  assert.ok(now.covered[2]! >= 999 && now.covered[2]! <= 1070);
  assert.equal(now.busy.values[0], 0.0602);
  assert.equal(now.busy.values[2], 0.00201);
  assert.equal(now.busy.trend, 'up');
  assert.equal(now.utilization.trend, 'up');
  assert.ok(Math.abs(now.utilization.values[0]! - 0.6) < 0.05);
  assert.equal(now.lag.values[0], null);
  assert.equal(figures(track, track.loops.get('1')!), now, 'computed once for an event');
});

test('windows that the page has not seen stay empty, and nothing is compared', () => {
  const store = new Store();
  feed(store, 500, 518, (t) => [process({ loops: [lived(t, 510)] })]);
  const track = store.processes.get('12-1')!;
  const now = figures(track, track.loops.get('1')!);
  assert.ok(Math.abs(now.covered[0]! - 10) < 1);
  assert.ok(Math.abs(now.covered[1]! - 18) < 1);
  assert.equal(now.covered[2], null);
  assert.equal(now.busy.values[2], null);
  assert.equal(now.busy.trend, null);
});

test('a spark line moves in whole steps and has gaps', () => {
  const series = new Series(['utilization'] as const);
  for (let t = 0; t < 40; t += 0.5) if (t < 10 || t > 20) series.push(epoch + t, { utilization: t < 10 ? 0.2 : 0.8 });
  const values = spark(series, epoch + 40);
  assert.equal(values.length, sparkSteps);
  const known = values.filter((value) => value !== null);
  assert.ok(known.length >= 13 && known.length <= 16, `${known.length}`);
  assert.equal(values.indexOf(null), 0);
  // The same values one step later, one place further left.
  assert.deepEqual(spark(series, epoch + 40 + sparkStep).slice(0, -1), values.slice(1));
  assert.equal(sparkPath([null, 0, 1, null, 1], 8, 10), 'M2.0 9.0h0L4.0 1.0M8.0 1.0h0');
});

test('states in words', () => {
  const p = process();
  const state = (changes: Partial<Loop>, of = p) => loopState(of, { latest: loop(changes) });
  assert.deepEqual(state({}), { kind: 'polling', text: 'polling' });
  assert.equal(state({ phase: 'dispatching', phase_seconds: 0.01 }).kind, 'dispatching');
  assert.deepEqual(state({ phase: 'dispatching', phase_seconds: 2.3 }), { kind: 'stalled', text: 'stalled 2.30\u00a0s' });
  assert.equal(state({ state: 'ended' }).kind, 'ended');
  assert.deepEqual(state({}, process({ state: 'killed', signal: 9 })), { kind: 'killed', text: 'killed by SIGKILL' });
  assert.equal(processState(process({ state: 'exited', ended: 'exec' }), process({ command: 'worker' })).text, 'exec → worker');
});

function several(): Store {
  const store = new Store();
  const make = (t: number) => [
    process({ id: '1-a', pid: 1, started_at: at(-30), command: 'gate', loops: [loop({ id: 1, name: 'idle', iterations: t * 9, busy_seconds: t * 0.1, idle_seconds: t * 0.9 }), loop({ id: 2, name: 'busy', iterations: t * 9, busy_seconds: t * 0.9, idle_seconds: t * 0.1 })], findings: [finding({ subject: 'busy', severity: 'error' }), finding({ subject: 'process' })] }),
    process({ id: '2-b', pid: 2, started_at: at(-20), command: 'work', loops: [loop({ iterations: t * 9, busy_seconds: t * 0.5, idle_seconds: t * 0.5 })] }),
    process({ id: '3-c', pid: 3, started_at: at(-10), command: 'sh', loops: [] }),
    ...[4, 5, 6, 7].map((pid) => process({ id: `${pid}-d`, pid, started_at: at(-9), command: 'gone', state: 'killed', signal: 11, loops: [] })),
  ];
  feed(store, 20, 30, make);
  return store;
}
const options = { sort: null, filter: '', showEnded: null as boolean | null, selected: null as string | null };
const running = { ...options, showEnded: false };

test('rows: a head for several loops, one row for one or none, the ended folded when many', () => {
  const { processes } = several();
  const { rows, folded, ended } = layout(processes, options);
  assert.deepEqual(rows.map(({ key, head, nested }) => `${key}${head ? ' head' : ''}${nested ? ' nested' : ''}`), ['1-a head', '1-a 1 nested', '1-a 2 nested', '2-b 1 head', '3-c head', '7-d head', '6-d head', '5-d head']);
  assert.deepEqual([folded, ended], [1, 4]);
  assert.equal(layout(processes, { ...options, showEnded: false }).rows.length, 5);
  assert.equal(layout(processes, { ...options, showEnded: true }).rows.length, 9);
  assert.equal(layout(processes, { ...options, showEnded: false, selected: '5-d' }).rows.length, 6, 'the one on screen is never folded away');
});

test('a single process is no tree', () => {
  const store = new Store();
  feed(store, 20, 22, () => [process({ loops: [loop({ id: 1 }), loop({ id: 2, name: 'b' })] })]);
  assert.deepEqual(layout(store.processes, options).rows.map(({ head, nested }) => head || nested), [false, false]);
});

test('sorted: loops within their process, processes by their first loop', () => {
  const { processes } = several();
  const keys = (text: string) => layout(processes, { ...running, sort: parseSort(text) }).rows.map(({ key }) => key);
  assert.deepEqual(keys('-util10'), ['1-a', '1-a 2', '1-a 1', '2-b 1', '3-c']);
  assert.deepEqual(keys('util10'), ['1-a', '1-a 1', '1-a 2', '2-b 1', '3-c'], 'what has no figure stays last');
  assert.deepEqual(keys('-name'), ['2-b 1', '3-c', '1-a', '1-a 1', '1-a 2']);
  assert.equal(keys('-findings')[0], '1-a');
});

test('filtered by every word, in names, arguments, states; a head stays over its loops', () => {
  const { processes } = several();
  const keys = (filter: string) => layout(processes, { ...options, filter }).rows.map(({ key }) => key);
  assert.deepEqual(keys('busy gate'), ['1-a', '1-a 2']);
  assert.deepEqual(keys('SIGSEGV 5'), ['5-d'], 'among the folded, too');
  assert.deepEqual(keys('nothing'), []);
});

test('held rows keep their places; new ones come last, gone ones leave', () => {
  const { processes } = several();
  const { rows } = layout(processes, running);
  assert.deepEqual(hold(rows, ['2-b 1', 'gone', '1-a 2', '1-a', '1-a 1']).map(({ key }) => key), ['2-b 1', '1-a 2', '1-a', '1-a 1', '3-c']);
});

test('sorting by clicks and in the address', () => {
  assert.deepEqual(nextSort(null, 'util10'), { key: 'util10', descending: true });
  assert.deepEqual(nextSort({ key: 'util10', descending: true }, 'util10'), { key: 'util10', descending: false });
  assert.equal(nextSort({ key: 'util10', descending: false }, 'util10'), null);
  assert.deepEqual(nextSort(null, 'name'), { key: 'name', descending: false });
  assert.equal(formatSort(parseSort('-lag100')), '-lag100');
  assert.equal(parseSort('-nonsense'), null);
});

test('findings belong to the loop they name, else to the process', () => {
  const track = several().processes.get('1-a')!;
  assert.equal(findingsOf(track.latest, track.loops.get('2')!).length, 1);
  assert.equal(findingsOf(track.latest, track.loops.get('1')!).length, 0);
  assert.equal(findingsOf(track.latest, null)[0]!.subject, 'process');
});

test('the headline', () => {
  const said = (...processes: Process[]) => {
    const store = new Store();
    store.ingest(snapshot(0, ...processes), true);
    return headline([...store.processes.values()]);
  };
  const turned = loop({ iterations: 5000 });
  assert.equal(said(process({ loops: [turned] })).text, 'Healthy');
  assert.equal(said(process({ loops: [turned] })).level, 'good');
  assert.equal(said(process({ loops: [loop({ iterations: 12 })] })).text.replaceAll('\u00a0', ' '), 'Not enough data yet (12 turns in 16 min 40 s)');
  assert.equal(said(process({ loops: [loop({ iterations: 1 })] })).text.replaceAll('\u00a0', ' '), 'Not enough data yet (1 turn in 16 min 40 s)');
  assert.match(said(process({ loops: [] })).text, /^No loop yet: the process has/);
  assert.equal(said(process({ loops: [turned], findings: null })).level, 'unknown');
  const info = said(process({ loops: [turned], findings: [finding({ severity: 'info' })] }));
  assert.deepEqual([info.level, info.text, info.target?.view], ['good', 'Healthy, with 1 thing to know', 'findings']);
  const bad = said(process({ loops: [turned], findings: [finding({}), finding({ severity: 'error', title: 'worse' })] }));
  assert.deepEqual([bad.level, bad.text, bad.detail], ['error', 'Worse', 'The worst of 2 findings.']);

  const stalled = { ...turned, phase: 'dispatching' as const, phase_seconds: 3, current: { ready: 1, watcher: 'read', watcher_seconds: 3 } };
  const now = said(process({ loops: [stalled], findings: [finding({ severity: 'error' })] }));
  assert.equal(now.text.replaceAll('\u00a0', ' '), 'Loop main is stalled: busy for 3 s, in read');
  assert.equal(now.target?.view, 'loop');
  const short = said(process({ loops: [{ ...stalled, phase_seconds: 0.2 }] }));
  assert.equal(short.level, 'good', 'a short one is for the row and the findings');

  const killed = said(process({ state: 'killed', signal: 9, loops: [turned] }));
  assert.deepEqual([killed.level, killed.text, killed.target?.view], ['error', 'app 12 was killed by SIGKILL', 'take']);
  const other = said(process({ id: '9-9', pid: 9, state: 'killed', loops: [turned] }), process({ loops: [turned] }));
  assert.equal(other.level, 'good', 'one that died at some time unknown is no verdict on those that run');
  const store = new Store();
  const dying = process({ id: '9-9', pid: 9, loops: [turned] });
  const living = process({ loops: [turned], findings: [finding({ severity: 'error' })] });
  store.ingest(snapshot(0, dying, living), true);
  store.ingest(snapshot(1, { ...dying, state: 'killed', signal: 11 }, living), false);
  const seen = () => headline([...store.processes.values()]);
  assert.equal(seen().text, 'app 9 was killed by SIGSEGV');
  for (let t = 2; t < 320; t += 2) store.ingest(snapshot(t, { ...dying, state: 'killed', signal: 11 }, living), false);
  assert.equal(seen().target?.view, 'findings', 'after a while it is no news');
});

test('a server inside the process that is gone is the headline; another one is not', () => {
  const store = new Store();
  store.ingest(snapshot(0, process({ loops: [loop({ iterations: 5000 })] })), true);
  const said = headline([...store.processes.values()], true);
  assert.equal(said.text, 'app 12 does not answer any more; it has probably ended');
  assert.match(said.detail, /Before that: Healthy\.$/);
});

test('keys', () => {
  const calls: string[] = [];
  const actions: KeyActions = { go: (view) => calls.push(view), back: () => calls.push('back'), help: () => calls.push('help'), search: () => calls.push('search') > 0 };
  const press = (key: string, more = {}, typing = false) =>
    onKey({ key, ctrlKey: false, metaKey: false, altKey: false, defaultPrevented: false, ...more }, typing, actions);
  assert.ok(press('1') && press('6') && press('?') && press('Escape') && press('/'));
  assert.deepEqual(calls.splice(0), ['overview', 'take', 'help', 'back', 'search']);
  assert.ok(!press('7') && !press('x') && !press('1', { ctrlKey: true }) && !press('1', {}, true) && !press('Escape', { defaultPrevented: true }));
  assert.deepEqual(calls, []);
});
