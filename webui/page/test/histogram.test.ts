import assert from 'node:assert/strict';
import test from 'node:test';
import { empty, fromWire, quantile, shape, subtract } from '../src/histogram';
import { wire } from './fixtures';

test('the difference of two histograms is what was added, bucket by bucket', () => {
  const base = fromWire(wire([[0.001, 10], [0.004, 2]]))!;
  const now = fromWire(wire([[0.001, 15], [0.002, 1], [0.004, 2]]))!;
  const added = subtract(now, base)!;
  assert.deepEqual([...added.bounds], [0.001, 0.002]);
  assert.deepEqual([...added.counts], [5, 1]);
  assert.equal(added.count, 6);
  assert.equal(added.max, 0.002);
});

test('nothing added is empty, and its quantiles are unknown', () => {
  const h = fromWire(wire([[0.001, 10]]))!;
  assert.equal(subtract(h, fromWire(wire([[0.001, 10]])))!.count, 0);
  assert.equal(subtract(h, h), empty);
  assert.equal(quantile(empty, 0.5), null);
  assert.equal(quantile(null, 0.5), null);
});

test('no base means since the start', () => {
  const h = fromWire(wire([[0.001, 10]]))!;
  assert.equal(subtract(h, null), h);
  assert.equal(subtract(h, empty), h);
});

test('counters that went back are told, not guessed', () => {
  const base = fromWire(wire([[0.001, 10], [0.002, 1]]))!;
  assert.equal(subtract(fromWire(wire([[0.001, 9], [0.002, 1]]))!, base), null);
  assert.equal(subtract(fromWire(wire([[0.002, 5]]))!, base), null);
  assert.equal(subtract(fromWire(wire([[0.001, 12]]))!, base), null);
});

test('the maximum of a window is its highest bucket, but never above the record', () => {
  const base = fromWire(wire([[0.001, 1], [1.02, 1]], 1.0))!;
  const below = fromWire(wire([[0.001, 2], [1.02, 1]], 1.0))!;
  assert.equal(subtract(below, base)!.max, 0.001);
  const same = fromWire(wire([[0.001, 1], [1.02, 2]], 1.0))!;
  assert.equal(subtract(same, base)!.max, 1.0);
});

test('a record broken within the window is exact', () => {
  const base = fromWire(wire([[0.001, 1]], 0.00099))!;
  const now = fromWire(wire([[0.001, 1], [0.206, 1]], 0.2034))!;
  assert.equal(subtract(now, base)!.max, 0.2034);
});

test('quantiles take the bucket of the rank', () => {
  const h = fromWire(wire([[0.001, 98], [0.002, 1], [0.512, 1]], 0.5))!;
  assert.equal(quantile(h, 0.5), 0.001);
  assert.equal(quantile(h, 0.98), 0.001);
  assert.equal(quantile(h, 0.99), 0.002);
  assert.equal(quantile(h, 1), 0.5);
  assert.equal(quantile(fromWire(wire([[0.004, 1]], 0.0039))!, 0.01), 0.0039);
});

test('an unchanged histogram is shared', () => {
  const first = fromWire(wire([[0.001, 10]]))!;
  assert.equal(fromWire(wire([[0.001, 10]]), first), first);
  assert.notEqual(fromWire(wire([[0.001, 11]]), first), first);
});

test('the shape spreads over decades and clamps what is outside', () => {
  const h = fromWire(wire([[0, 4], [1.1e-6, 1], [1.1e-3, 8], [100, 2]]))!;
  const bins = shape(h, 1e-6, 10, 7);
  assert.deepEqual(bins, [5 / 8, 0, 0, 1, 0, 0, 2 / 8]);
  assert.deepEqual(shape(null, 1e-6, 10, 2), [0, 0]);
});

test('quantiles are the middles of the recording’s buckets, as the server’s are', () => {
  const one = (bound: number, max: number) => quantile({ count: 1, sum: 0, max, bounds: [bound], counts: [1] }, 0.5)!;
  // Upper bounds and quantiles as a server sent them, the latter rounded to nanoseconds.
  for (const [bound, told] of [[656e-6, 648e-6], [26.624e-3, 26.368e-3], [1.0813439999999999, 1.06496], [1.28125e-6, 1.266e-6], [16.5e-6, 16.25e-6]] as const) {
    assert.ok(Math.abs(one(bound, 10) - told) < 1e-9, `${bound}: ${one(bound, 10)}`);
  }
  assert.equal(one(656e-6, 641e-6), 641e-6, 'never beyond the maximum');
  assert.equal(one(1e-3, 10), 1e-3, 'no bucket of the recording: its bound is all there is');
});
