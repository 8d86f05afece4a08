import assert from 'node:assert/strict';
import test from 'node:test';
import { CauseColors, causeColors } from '../src/causes';
import type { Served } from '../src/model';
import { detailFrom, detailOf, rowsOf, savedDetail, times } from '../src/served';
import { gutter, logHeight, niceSpan, sideBySide, slotsIn, slotWidth, toScale, turnAt } from '../src/strip';
import { causeOf, merged, servedName, slowBeside, type SeenTurn } from '../src/turns';
import { turn } from './fixtures';

const seen = (changes: Partial<SeenTurn>): SeenTurn => ({ ...turn(changes), slow: false, ...changes });
const part = (changes: Partial<Served>): Served => ({ watcher: null, kind: null, fd: null, start: 0, seconds: 0, ...changes });
const row = (n: number, changes: (i: number) => Partial<SeenTurn> = () => ({})) =>
  Array.from({ length: n }, (_, i) => seen({ turn: i + 1, at: 1000 + i * 0.01, poll_wait: 0.005, busy: 0.001, ...changes(i) }));

test('side by side: the newest that fit, each in its slot', () => {
  const width = gutter + 2 + 10 * slotWidth;
  const layout = sideBySide(row(50), width);
  assert.equal(slotsIn(width), 10);
  assert.deepEqual(layout.turns.map((t) => t.turn), [41, 42, 43, 44, 45, 46, 47, 48, 49, 50]);
  layout.turns.forEach((_, i) => assert.equal(turnAt(layout, layout.wait[i]! + 2), i));
  assert.equal(turnAt(layout, gutter - 30), -1);
  assert.deepEqual(layout.holes, []);
});

test('turns that are missing leave a hole', () => {
  const turns = row(10).filter((t) => t.turn !== 5);
  assert.equal(sideBySide(turns, 500).holes.length, 1);
  const layout = toScale(turns, gutter + 1000, 1000.091, 0.1);
  const hole = layout.holes.find(([from]) => from > gutter)!;
  assert.ok(hole[1] - hole[0] > 50, 'a turn of 6 ms and the idle time around it');
});

test('to scale: a wait begins before the return, busy is as wide as it lasted', () => {
  const turns = [seen({ turn: 1, at: 1000.5, poll_wait: 0.25, busy: 0.25 })];
  const layout = toScale(turns, gutter + 1000, 1001, 1);
  assert.equal(Math.round(layout.wait[0]! - gutter), 250);
  assert.equal(Math.round(layout.busy[0]! - gutter), 500);
  assert.equal(Math.round(layout.end[0]! - gutter), 750);
  assert.equal(turnAt(layout, gutter + 600), 0);
  assert.equal(turnAt(layout, gutter + 300), 0, 'the wait is part of it');
  assert.equal(turnAt(layout, gutter + 900), -1);
});

test('to scale: turns outside are left out, one that reaches in is cut at the edge', () => {
  const turns = row(100);
  const layout = toScale(turns, gutter + 500, 1000.5, 0.1);
  assert.ok(layout.turns.length > 9 && layout.turns.length < 13, String(layout.turns.length));
  assert.ok(layout.wait.every((x) => x >= gutter));
  assert.ok(layout.end.every((x) => x <= gutter + 500));
});

test('to scale: a slow turn is what a click among many hits', () => {
  const turns = row(400, (i) => ({ at: 1000 + i * 1e-4, poll_wait: 5e-5, busy: i === 200 ? 4e-5 : 1e-5, slow: i === 200 }));
  const layout = toScale(turns, gutter + 300, 1000.05, 0.05);
  assert.equal(layout.turns[turnAt(layout, layout.busy[200]!)]!.turn, 201);
});

test('spans hold still: 1, 2, 5, 10', () => {
  assert.equal(niceSpan(0.3), 0.5);
  assert.equal(niceSpan(1), 1);
  assert.equal(niceSpan(1.01), 2);
  assert.ok(Math.abs(niceSpan(0.00071) - 0.001) < 1e-12);
  assert.ok(niceSpan(0) > 0);
});

test('heights are logarithmic and clamp', () => {
  assert.equal(logHeight(0), 0);
  assert.equal(logHeight(1e-6), 0);
  assert.equal(logHeight(100), 1);
  assert.ok(Math.abs(logHeight(1e-3) - 3 / 7) < 1e-9);
});

test('the cause is what took most, if it took a quarter and no less than what has no name', () => {
  assert.deepEqual(causeOf(turn({ busy: 0.1, watcher: 'a', watcher_seconds: 0.09 })), { name: 'a', seconds: 0.09 });
  assert.equal(causeOf(turn({ busy: 0.1, watcher: 'a', watcher_seconds: 0.02 })), null);
  assert.equal(causeOf(turn({ busy: 0.1 })), null);
  const served = [part({ watcher: 'a', seconds: 0.02 }), part({ kind: 'tcp', fd: 7, seconds: 0.03 }), part({ watcher: 'a', seconds: 0.02 })];
  assert.deepEqual(causeOf(turn({ busy: 0.08, served })), { name: 'a', seconds: 0.04 });
  assert.equal(causeOf(turn({ busy: 0.15, served })), null, 'the rest took more');
});

test('what has no watcher is called by its descriptor', () => {
  assert.equal(servedName(part({ watcher: 'w', fd: 3 })), 'w');
  assert.equal(servedName(part({ kind: 'tcp', fd: 7 })), 'tcp fd 7');
  assert.equal(servedName(part({ fd: 7 })), 'descriptor fd 7');
  assert.equal(servedName(part({ kind: 'prepare' })), 'prepare');
});

const named = (...sums: [string, number][]) => sums.map(([watcher, busy], i) => seen({ turn: i + 1, busy, watcher, watcher_seconds: busy }));
const names = 'abcdefghijklmnop'.split('');

test('the first names get colours of their own, the rest is grey', () => {
  const colors = new CauseColors();
  const ranked = colors.rank(named(...names.map((name, i): [string, number] => [name, 1 / (i + 1)])));
  assert.deepEqual(ranked.map(({ name }) => name), names);
  const given = ranked.map(({ color }) => color);
  assert.deepEqual(given.slice(0, causeColors).slice().sort(), [0, 1, 2, 3, 4, 5]);
  assert.ok(given.slice(causeColors).every((color) => color === null));
});

test('a name keeps its colour while others come and go', () => {
  const colors = new CauseColors();
  const before = new Map(colors.rank(named(['a', 5], ['b', 4], ['c', 3])).map(({ name, color }) => [name, color]));
  const after = new Map(colors.rank(named(['d', 9], ['c', 3], ['b', 2], ['e', 1], ['a', 0.5])).map(({ name, color }) => [name, color]));
  for (const name of ['a', 'b', 'c']) assert.equal(after.get(name), before.get(name));
  assert.equal(new CauseColors().rank(named(['a', 5]))[0]!.color, new CauseColors().rank(named(['a', 1]))[0]!.color, 'the same after a reload');
});

test('what took most has a colour even if all are taken', () => {
  const colors = new CauseColors();
  const old = names.slice(0, causeColors).map((name, i): [string, number] => [name, 10 - i]);
  colors.rank(named(...old));
  const ranked = colors.rank(named(['culprit', 100], ...old));
  assert.equal(ranked[0]!.name, 'culprit');
  assert.notEqual(ranked[0]!.color, null);
  assert.equal(colors.slotOf('f'), null, 'the least of the old ones has given it up');
});

test('two names at the edge do not change places', () => {
  const colors = new CauseColors();
  const top = names.slice(0, causeColors - 1).map((name, i): [string, number] => [name, 100 - i]);
  colors.rank(named(...top, ['x', 2], ['y', 1]));
  const x = colors.slotOf('x');
  assert.notEqual(x, null);
  colors.rank(named(...top, ['x', 1], ['y', 2]));
  assert.equal(colors.slotOf('x'), x);
});

test('slow turns before and after', () => {
  const turns = row(10, (i) => ({ slow: i === 2 || i === 6 }));
  assert.equal(slowBeside(turns, 5, -1)?.turn, 3);
  assert.equal(slowBeside(turns, 5, 1)?.turn, 7);
  assert.equal(slowBeside(turns, 7, 1), null);
  assert.equal(slowBeside(turns, 3, -1), null);
});

test('lists of turns merge, each once, in order', () => {
  const [a, b, c] = [seen({ turn: 1 }), seen({ turn: 2 }), seen({ turn: 3 })] as const;
  assert.deepEqual(merged([c, a], [b, a]), [a, b, c]);
});

test('what was served: from the turn, or as the server answers', () => {
  assert.equal(detailOf(turn()), null);
  assert.deepEqual(detailOf(turn({ served: [], served_lost: 2 })), { state: 'known', served: [], more: 2 });
  const answer = { schema: 'loopscope.turns/1', taken_at: '', process: 'p', loop: 1, turns: [turn({ turn: 7, served: [] })], lost: 0 };
  assert.deepEqual(detailFrom(answer, 7), { state: 'known', served: [], more: 0 });
  assert.deepEqual(detailFrom(answer, 8), { state: 'gone' });
  assert.deepEqual(detailFrom({ ...answer, turns: [turn({ turn: 7 })] }, 7), { state: 'blind' });
  assert.equal(detailFrom({ ...answer, schema: 'other' }, 7).state, 'failed');
});

test('a saved page has what it carries, and says so of the rest', () => {
  const turns = [turn({ turn: 1, served: [] }), turn({ turn: 2 })];
  assert.equal(savedDetail(turns, 1).state, 'known');
  assert.equal(savedDetail(turns, 2).state, 'failed');
  assert.equal(savedDetail(turns, 3).state, 'failed');
});

test('shares of a turn; the rest is what none of them took, never less than nothing', () => {
  const rows = rowsOf(turn({ busy: 0.1 }), [part({ watcher: 'b', start: 0.05, seconds: 0.025 }), part({ watcher: 'a', seconds: 0.05 })]);
  assert.deepEqual(rows.rows.map(({ watcher, share }) => [watcher, share]), [['a', 0.5], ['b', 0.25]]);
  assert.ok(Math.abs(rows.restShare - 0.25) < 1e-9);
  assert.equal(rowsOf(turn({ busy: 0.1 }), [part({ seconds: 0.1000001 })]).rest, 0);
  assert.equal(rowsOf(turn({ busy: 0 }), []).rest, 0);
});

test('how a turn compares with what is usual', () => {
  assert.equal(times(0.048, 0.001), '48×');
  assert.equal(times(0.002, 0.001), '2.0×');
  assert.equal(times(1.5, 0.0001), '15,000×');
  assert.equal(times(0.00005, 0.001), '0.05×');
  assert.equal(times(1, null), null);
  assert.equal(times(1, 0), null);
});
