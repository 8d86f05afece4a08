import assert from 'node:assert/strict';
import test from 'node:test';
import { fromWire } from '../src/histogram';
import type { SeenTurn } from '../src/turns';
import { causedBy, decades, formatSort, matching, parseSort, type Row } from '../src/watchers';
import { turn, wire } from './fixtures';

const row = (name: string, kind: string, fd: number | null): Row => ({
  key: name, name, kind, fd, seconds: 0, share: 0, calls: 0, p50: null, p99: null, max: null, lag: null, callback: null, lateness: null, invocations: 0, special: false,
});

test('the order is remembered as text, and nonsense is the usual order', () => {
  for (const text of ['name.up', 'lag.down', 'fd.up']) assert.equal(formatSort(parseSort(text)), text);
  for (const text of [null, '', 'no.up', 'constructor.down']) assert.deepEqual(parseSort(text), { by: 'share', down: true });
});

test('a filter finds words in name and kind, and the descriptor by its number', () => {
  const rows = [row('http-read', 'io', 12), row('http-flush', 'timer', null), row('dns', 'io', 120)];
  const found = (text: string) => matching(rows, text).map(({ name }) => name);
  assert.deepEqual(found(''), ['http-read', 'http-flush', 'dns']);
  assert.deepEqual(found('HTTP timer'), ['http-flush']);
  assert.deepEqual(found('io'), ['http-read', 'dns']);
  assert.deepEqual(found('12'), ['http-read']);
  assert.deepEqual(found('nothing'), []);
});

test('the slow turns of a watcher, the slowest first', () => {
  const seen = (n: number, busy: number, watcher: string, slow = true): SeenTurn => ({ ...turn({ turn: n, busy, watcher }), slow });
  const turns = [seen(1, 0.1, 'a'), seen(2, 0.3, 'a'), seen(3, 0.9, 'b'), seen(4, 0.5, 'a', false)];
  assert.deepEqual(causedBy(turns, 'a').map((t) => t.turn), [2, 1]);
  assert.deepEqual(causedBy(turns, 'c'), []);
});

test('a picture spans whole decades, three at least, and starts at 100 ns at the lowest', () => {
  const span = (...bounds: number[]) => {
    const { low, high } = decades(fromWire(wire(bounds.map((bound) => [bound, 1]))));
    return [Math.round(Math.log10(low)), Math.round(Math.log10(high))];
  };
  assert.deepEqual(span(2e-6, 3e-1), [-6, 0]);
  assert.deepEqual(span(1e-9, 2e-3), [-7, -2]);
  const [low, high] = span(2e-4, 3e-4);
  assert.ok(high! - low! === 3 && low! <= -4 && high! >= -3, `${low} to ${high}`);
  const none = decades(null);
  assert.ok(none.low < none.high);
  for (const bound of [1e-9, 1, 9e3]) {
    const [from, to] = span(bound);
    assert.ok(to! - from! >= 3 && 10 ** to! >= bound * 0.999, String(bound));
  }
});
