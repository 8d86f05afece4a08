import assert from 'node:assert/strict';
import test from 'node:test';
import { baseFor, thin, type Mark } from '../src/marks';

const none = new Map<string, never>();
const mark = (time: number): Mark<never> => ({ time, cuts: none });

function lived(seconds: number, from = 100_000): { marks: Mark<never>[]; now: number } {
  let marks: Mark<never>[] = [];
  let now = from;
  for (let t = from; t <= from + seconds; t += 0.4) {
    now = t;
    marks.push(mark(t));
    marks = thin(marks, t);
  }
  return { marks, now };
}

test('an hour of marks stays small and still serves every window', () => {
  const { marks, now } = lived(3600);
  assert.ok(marks.length < 75, `${marks.length} marks`);
  for (const seconds of [5, 10, 30, 100, 120, 600, 1000]) {
    const base = baseFor(marks, now, seconds, 0)!;
    assert.ok(base.seconds >= seconds - 0.3 && base.seconds <= seconds * 1.1 + 1, `${seconds}: ${base.seconds}`);
    assert.equal(base.seconds, now - base.mark!.time);
  }
});

test('a page that looks for less than the window says how much it has', () => {
  const { marks, now } = lived(12);
  const base = baseFor(marks, now, 30, 0)!;
  assert.ok(Math.abs(base.seconds - 12) < 0.5);
});

test('a process younger than the window is covered from its start', () => {
  const base = baseFor([mark(1000)], 1000, 30, 990)!;
  assert.equal(base.mark, null);
  assert.equal(base.seconds, 10);
});

test('since start', () => {
  assert.deepEqual(baseFor([], 5000, Infinity, 1000), { mark: null, seconds: 4000 });
});

test('one snapshot is no window', () => {
  assert.equal(baseFor([mark(1000)], 1000, 30, 0), undefined);
  assert.equal(baseFor([], 1000, 30, 0), undefined);
});

test('after a sleep of ten minutes a window of 5 s does not stretch over the sleep', () => {
  const marks = [mark(1000), mark(1000.4), mark(1600), mark(1600.4), mark(1600.8)];
  const base = baseFor(marks, 1600.8, 5, 0)!;
  assert.equal(base.mark!.time, 1600);
});
