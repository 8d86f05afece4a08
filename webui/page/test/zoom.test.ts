import assert from 'node:assert/strict';
import test from 'node:test';
import { Cursor, timeTicks } from '../src/timeaxis';
import { between, closest, keyMove, live, nearest, pan, pointAt, scale, within } from '../src/zoom';

const known = { from: 1000, to: 1900 };

test('a stretch stays within what is known, at its own width', () => {
  assert.deepEqual(within({ from: 1100, to: 1200 }, known), { from: 1100, to: 1200 });
  assert.deepEqual(within({ from: 900, to: 1000 }, known), { from: 1000, to: 1100 });
  assert.deepEqual(within({ from: 1850, to: 1950 }, known), { from: 1800, to: 1900 });
  assert.deepEqual(within({ from: 0, to: 5000 }, known), known);
});

test('no closer than an event or two, however little was dragged', () => {
  const tiny = between(1500, 1500.01, known);
  assert.ok(Math.abs(tiny.to - tiny.from - closest) < 1e-9);
  assert.ok(tiny.from < 1500 && tiny.to > 1500);
  assert.deepEqual(between(1500, 1400, known), { from: 1400, to: 1500 });
});

test('a page of one second has something to show', () => {
  const s = within({ from: 1000, to: 1120 }, { from: 1000, to: 1001 });
  assert.ok(s.to > s.from);
  assert.equal(s.to, 1001);
});

test('panning ends at both ends', () => {
  const s = { from: 1100, to: 1200 };
  assert.deepEqual(pan(s, -50, known), { from: 1050, to: 1150 });
  assert.deepEqual(pan(s, -500, known), { from: 1000, to: 1100 });
  assert.deepEqual(pan(s, 5000, known), { from: 1800, to: 1900 });
});

test('zooming keeps the instant under the pointer where it is', () => {
  const s = scale({ from: 1400, to: 1600 }, 0.5, 1450, known);
  assert.deepEqual(s, { from: 1425, to: 1525 });
  assert.equal((1450 - s.from) / (s.to - s.from), 0.25);
  assert.deepEqual(scale({ from: 1400, to: 1600 }, 100, 1500, known), known);
});

test('live: the window, no less than two minutes, and no more than is known in steps', () => {
  const time = [1000];
  assert.deepEqual(live(5, time, 1900), { from: 1780, to: 1900 });
  assert.deepEqual(live(600, time, 1900), { from: 1300, to: 1900 });
  assert.deepEqual(live(Infinity, time, 1900), { from: 1000, to: 1900 });
  assert.deepEqual(live(120, time, 1010), { from: 980, to: 1010 });
  assert.deepEqual(live(120, [], 1010), { from: 980, to: 1010 });
});

test('keys', () => {
  const s = { from: 1400, to: 1480 };
  assert.deepEqual(keyMove('ArrowLeft', s), { pan: -10 });
  assert.deepEqual(keyMove('PageDown', s), { pan: 80 });
  assert.deepEqual(keyMove('+', s), { scale: 0.5 });
  assert.equal(keyMove('a', s), null);
});

test('the nearest mark within reach', () => {
  const marks = [10, 20, 21].map((time) => ({ time }));
  assert.equal(nearest(marks, 12, 3)?.time, 10);
  assert.equal(nearest(marks, 20.6, 3)?.time, 21);
  assert.equal(nearest(marks, 15, 3), null);
  assert.equal(nearest([], 15, 3), null);
  assert.equal(nearest(marks, 22, 3)?.time, 21);
});

test('a point stands for the interval that ended with it; a hole has none', () => {
  const time = [10, 10.4, 10.8, 15, 15.4];
  assert.equal(pointAt(time, 10.5, 1), 2);
  assert.equal(pointAt(time, 10.4, 1), 1);
  assert.equal(pointAt(time, 12.5, 1), -1);
  assert.equal(pointAt(time, 15.5, 1), 4);
  assert.equal(pointAt(time, 3, 1), -1);
  assert.equal(pointAt([], 3, 1), -1);
});

test('ticks are at round times, as many as fit', () => {
  assert.deepEqual(timeTicks({ from: 1001, to: 1061 }, 600, 80), [1010, 1020, 1030, 1040, 1050, 1060]);
  assert.deepEqual(timeTicks({ from: 0, to: 900 }, 500, 80), [0, 300, 600, 900]);
  for (const span of [0.3, 2, 17, 120, 900]) {
    const ticks = timeTicks({ from: 1e9 + 0.123, to: 1e9 + 0.123 + span }, 600, 70);
    assert.ok(ticks.length >= 1 && ticks.length <= 9, `${span} s: ${ticks.length}`);
  }
});

test('the cursor tells its listeners, once a change', () => {
  const cursor = new Cursor();
  let calls = 0;
  const stop = cursor.listen(() => calls++);
  cursor.set(5);
  cursor.set(5);
  cursor.set(null);
  stop();
  cursor.set(7);
  assert.equal(calls, 2);
  assert.equal(cursor.time, 7);
});
