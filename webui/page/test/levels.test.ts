import assert from 'node:assert/strict';
import test from 'node:test';
import { bands, Levels, onlyGrows, pace, sparkPath, timeUntil } from '../src/levels';
import { descriptors, site } from './fixtures';

/** One site's open and closed descriptors at a second; undefined: the event leaves it out. */
type At = (t: number) => { live: number; closed?: number } | undefined;

function fed(at: At, to: number, from = 0): Levels {
  const levels = new Levels();
  for (let t = from; t <= to + 1e-9; t += 0.4) {
    const it = at(t);
    const sites = it ? [site({ id: 7, live: it.live, closed: it.closed ?? 0 })] : [];
    levels.add(t, descriptors({ open: 10 + (it?.live ?? 0), opened: 50 + (it?.live ?? 0), closed: 40, sites, by_kind: { file: it?.live ?? 0 } }));
  }
  return levels;
}
const growth = (at: At, to: number, from = 0) => {
  const levels = fed(at, to);
  const now = at(to)!;
  return onlyGrows(levels, levels.sites.get(7), { time: to, live: now.live, closed: now.closed ?? 0 }, from);
};

test('samples are 2 s apart whatever the pace of the events, and what comes late has a hole before it', () => {
  const levels = fed((t) => (t < 20 ? undefined : { live: 5 }), 40);
  for (let i = 1; i < levels.time.length; i++) assert.ok(levels.time[i]! - levels.time[i - 1]! > 1.7);
  assert.ok(levels.time.length >= 18 && levels.time.length <= 22, String(levels.time.length));
  const { live } = levels.sites.get(7)!;
  assert.equal(live.length, levels.time.length);
  assert.equal(live[0], null);
  assert.equal(live[live.length - 1], 5);
  assert.equal(levels.kinds.get('file')!.live[0], 0);
});

test('bounded in time and in keys', () => {
  const levels = new Levels();
  for (let t = 0; t < 4000; t += 2) {
    levels.add(t, descriptors({ sites: Array.from({ length: 20 }, (_, i) => site({ id: Math.floor(t / 10) * 20 + i, live: 1 })) }));
  }
  assert.ok(levels.time.length <= 510, String(levels.time.length));
  assert.ok(levels.sites.size <= 64, String(levels.sites.size));
  for (const level of levels.sites.values()) assert.equal(level.live.length, levels.time.length);
  assert.ok(levels.sites.has(Math.floor(3998 / 10) * 20 + 19), 'the present ones have taken the place of those long gone');
});

test('a site that only grows is said to', () => {
  const found = growth((t) => ({ live: 10 + Math.floor(t) }), 100)!;
  assert.ok(found.more >= 95 && found.more <= 101, String(found.more));
  assert.ok(found.seconds > 95);
});

test('what does not only grow is not', () => {
  assert.equal(growth((t) => ({ live: 10 + Math.floor(t) }), 20), null, 'too short');
  assert.equal(growth(() => ({ live: 500 }), 100), null, 'stands still');
  assert.equal(growth((t) => ({ live: 10 + Math.floor(t / 20) }), 100), null, 'a handful');
  assert.equal(growth((t) => ({ live: 10 + Math.floor(t), closed: t > 50 ? 1 : 0 }), 100), null, 'one was closed');
  assert.equal(growth((t) => ({ live: 100 + Math.floor(t) - (t > 40 && t < 44 ? 6 : 0) }), 100), null, 'fell meanwhile');
  assert.equal(growth((t) => ({ live: Math.min(50, Math.floor(t * 5)) }), 100), null, 'a start');
  assert.equal(growth((t) => ({ live: t > 80 ? 300 : 10 }), 100), null, 'an episode at the end');
  assert.equal(growth((t) => (t < 80 ? undefined : { live: Math.floor(t) }), 100), null, 'was out of sight');
});

test('what was closed before the time that is looked at does not count', () => {
  const at: At = (t) => ({ live: 10 + Math.floor(t), closed: t > 30 ? 4 : 0 });
  assert.equal(growth(at, 100), null);
  assert.ok(growth(at, 100, 40));
});

const line = (n: number, of: (t: number) => number) => {
  const time = Array.from({ length: n }, (_, i) => i * 2);
  return [time, time.map(of)] as const;
};

test('the time until the limit: of a steady rise', () => {
  const [time, open] = line(60, (t) => 100 + t * 2);
  const now = time[time.length - 1]!;
  const until = timeUntil(1000, time, open, now)!;
  assert.ok(Math.abs(until - (1000 - open[open.length - 1]!) / 2) < 1, String(until));
  assert.equal(timeUntil(null, time, open, now), null);
  assert.equal(timeUntil(200, time, open, now), 0);
});

test('the time until the limit: not of noise, a sawtooth, a jump, a fall or a few seconds', () => {
  const none = (of: (t: number) => number, n = 60) => {
    const [time, open] = line(n, of);
    assert.equal(timeUntil(1000, time, open, time[time.length - 1]!), null);
  };
  none((t) => 100 + (t % 4 === 0 ? 3 : -3));
  none((t) => 100 + (t % 40) * 3);
  none((t) => (t < 100 ? 100 : 160));
  none((t) => 500 - t);
  none(() => 100);
  none((t) => 100 + t * 2, 8);
});

test('the most are bands of their own, the rest is one that makes up the whole', () => {
  const levels = new Levels();
  const sites = [site({ id: 1, live: 50 }), site({ id: 2, live: 30 }), site({ id: 3, live: 5 }), site({ id: 4, live: 2 })];
  for (let t = 0; t < 10; t += 2) levels.add(t, descriptors({ open: 100, sites }));
  const out = bands(levels.sites, levels.range(0, 10), 2, levels.total.open);
  assert.deepEqual(out.map(({ key }) => key), [1, 2, null]);
  assert.deepEqual(out.map(({ values }) => values[0]), [50, 30, 20]);
  for (let i = 0; i < 5; i++) assert.equal(out.reduce((sum, { values }) => sum + values[i]!, 0), 100);
  const now = bands(levels.sites, levels.range(0, 10), 2, levels.total.open, { of: new Map([[1, 60], [2, 30], [3, 1], [4, 1]]), total: 101 });
  assert.deepEqual(now.map(({ values }) => [values.length, values[5]]), [[6, 60], [6, 30], [6, 11]], 'the present is the last value');
});

test('a spark line has holes where nothing is known', () => {
  assert.equal(sparkPath([0, 1, 2, 3], [0, 5, null, 10], 0, 4, 40, 10, 10), 'M0.0 10.0L10.0 5.0M30.0 0.0');
  assert.equal(sparkPath([], [], 0, 4, 40, 10, 10), '');
});

test('pace is the difference of what was counted', () => {
  const levels = fed((t) => ({ live: Math.round(t * 10) }), 60);
  const rates = pace(levels, { time: 60, opened: 50 + 600, closed: 40 }, 30)!;
  assert.ok(Math.abs(rates.opened - 10) < 0.5, String(rates.opened));
  assert.equal(rates.closed, 0);
  assert.equal(pace(levels, { time: 60, opened: null, closed: null }, 30), null);
  assert.equal(pace(new Levels(), { time: 60, opened: 1, closed: 1 }, 30), null);
});

test('packed and unpacked it is the same, also after JSON', () => {
  const levels = fed((t) => (t < 10 ? undefined : { live: Math.round(t) }), 60);
  const back = Levels.unpack(JSON.parse(JSON.stringify(levels.pack())));
  assert.deepEqual(back, levels);
  back.add(70, descriptors({ sites: [site({ id: 7, live: 9 })] }));
  assert.equal(back.sites.get(7)!.live.length, back.time.length);
});
