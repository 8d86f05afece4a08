import assert from 'node:assert/strict';
import test from 'node:test';
import { intervalOf, isSlow, slowRule, TurnLog } from '../src/turns';
import { cutOf, windowOf } from '../src/cuts';
import { loop, turn, wire } from './fixtures';

const usual = (buckets: [number, number][]) => windowOf(cutOf(loop({ busy_turn_seconds: wire(buckets) }), undefined), null, 10, null);
const rule = { stall: 0.05, outlier: null };

test('slow: beyond the stall threshold', () => {
  const r = slowRule(0.05, null);
  assert.equal(isSlow(0.051, r), true);
  assert.equal(isSlow(0.05, r), false);
});

test('slow: ten times the p99 of this loop, and at least 1 ms', () => {
  const r = slowRule(0.1, usual([[0.0004, 1000]]));
  assert.equal(isSlow(0.0041, r), true);
  assert.equal(isSlow(0.0039, r), false);
  const fast = slowRule(0.1, usual([[0.00001, 1000]]));
  assert.equal(isSlow(0.0009, fast), false);
  assert.equal(isSlow(0.0011, fast), true);
});

test('a second of spinning does not make ordinary turns slow: every interval has one vote', () => {
  const spun = usual([[1e-7, 3_000_000], [4e-4, 1000]]);
  const votes = (value: number) => ({ p50: Array<number>(300).fill(value / 4), p99: [null, 1e-7, 1e-7, ...Array<number>(290).fill(value)] });
  assert.equal(slowRule(0.1, spun).outlier, 1e-3);
  const rule = slowRule(0.1, spun, votes(4e-4));
  assert.ok(Math.abs(rule.outlier! - 4e-3) < 1e-9);
  assert.deepEqual(rule.usual, { p50: 1e-4, p99: 4e-4 });
  // It only ever forgives: a p99 that is longer than the intervals' stays.
  assert.ok(Math.abs(slowRule(0.1, usual([[0.001, 1000]]), votes(1e-5)).outlier! - 0.01) < 1e-9);
});

test('the first snapshot judges its turns by each other, too: a slow one does not excuse itself', () => {
  const turns = Array.from({ length: 300 }, (_, i) => turn({ turn: i + 1, busy: i === 150 ? 0.03 : 4e-4 }));
  assert.deepEqual(intervalOf(turns), { p50: [4e-4], p99: [4e-4] });
  assert.deepEqual(intervalOf(turns.slice(0, 100)), { p50: [], p99: [] });
  const r = slowRule(0.1, usual([[1e-7, 3_000_000]]), intervalOf(turns));
  assert.equal(turns.filter(({ busy }) => isSlow(busy, r)).length, 1);
});

test('a handful of turns is no distribution', () => {
  assert.equal(slowRule(0.1, usual([[0.00001, 50]])).outlier, null);
});

test('no threshold known, nothing usual known: nothing is called slow', () => {
  assert.equal(isSlow(10, slowRule(null, null)), false);
});

test('a reconnect repeats turns: they are recognised by number, and nothing is counted as lost', () => {
  const log = new TurnLog();
  log.add([turn({ turn: 1 }), turn({ turn: 2 })], 0, true, rule);
  log.add([turn({ turn: 2 }), turn({ turn: 3 })], 99, true, rule);
  assert.deepEqual(log.recent.map((t) => t.turn), [1, 2, 3]);
  assert.equal(log.lostTotal, 0);
  log.add([turn({ turn: 10 })], 6, false, rule);
  assert.equal(log.lostTotal, 6);
});

test('a slow turn stays readable after thousands of ordinary ones', () => {
  const log = new TurnLog();
  log.add([turn({ turn: 1, at: 1000, busy: 0.2, watcher: 'culprit' })], 0, true, rule);
  for (let i = 1; i < 300; i++) {
    const batch = Array.from({ length: 50 }, (_, k) => turn({ turn: i * 50 + k + 2, at: 1000 + i, busy: 0.001 + k * 1e-6 }));
    log.add(batch, 0, false, rule);
  }
  const [first, ...rest] = log.slowest(8, 'busy');
  assert.equal(first!.watcher, 'culprit');
  assert.equal(first!.slow, true);
  assert.equal(rest.length, 7);
  assert.equal(log.slowSeen, 1);
  assert.deepEqual(log.slowest(8, 'time').map((t) => t.watcher), ['culprit']);
  assert.ok(log.recent.length <= 1000);
});

test('slow turns are forgotten after a quarter of an hour', () => {
  const log = new TurnLog();
  log.add([turn({ turn: 1, at: 1000, busy: 0.2 })], 0, true, rule);
  log.add([turn({ turn: 2, at: 2000, busy: 0.001 })], 0, false, rule);
  assert.deepEqual(log.slowest(8, 'busy').map((t) => t.turn), [2]);
});

test('the newest slow turn is kept even if hundreds were worse', () => {
  const log = new TurnLog();
  for (let i = 1; i <= 400; i++) log.add([turn({ turn: i, at: 1000 + i, busy: 1 })], 0, false, rule);
  log.add([turn({ turn: 401, at: 1401, busy: 0.06 })], 0, false, rule);
  assert.equal(log.slowest(8, 'time')[0]!.turn, 401);
  assert.equal(log.slowest(8, 'busy')[0]!.busy, 1);
});
