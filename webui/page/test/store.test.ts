import assert from 'node:assert/strict';
import test from 'node:test';
import { instant } from '../src/model';
import { Series } from '../src/series';
import { isStalled } from '../src/stalled';
import { Store } from '../src/store';
import { at, descriptors, epoch, loop, process, snapshot, turn, watcher, wire } from './fixtures';
import { sortRows, watcherRows } from '../src/watchers';

/** 100 turns a second, 30 % busy, 1 ms each turn's busy part in the histogram. */
const running = (t: number) =>
  loop({
    iterations: Math.round(t * 100),
    ready_events: Math.round(t * 250),
    busy_seconds: t * 0.3,
    idle_seconds: t * 0.7,
    busy_turn_seconds: wire([[0.003, Math.round(t * 100)]]),
  });
const feed = (store: Store, from: number, to: number, step = 0.4) => {
  for (let t = from; t <= to + 1e-9; t += step) store.ingest(snapshot(t, process({ loops: [running(t)] })), t === from);
};
const near = (a: number | null | undefined, b: number, slack = 1e-6) => assert.ok(Math.abs(a! - b) < slack, `${a} is not ${b}`);

test('instants keep their microseconds', () => {
  near(instant('2026-01-01T00:00:00.123456789Z') - epoch, 0.123456789, 1e-6);
  assert.equal(instant('2026-01-01T00:00:01Z') - epoch, 1);
  assert.equal(instant('2026-01-01T02:00:00.5+02:00') - epoch, 0.5);
});

test('rates of a window are differences', () => {
  const store = new Store();
  feed(store, 10, 50);
  const track = store.processes.get('12-1')!;
  const base = track.base(30)!;
  near(base.seconds, 30, 1);
  const window = track.window(track.loops.get('1')!, base);
  near(window.turnsPerSecond, 100, 0.5);
  near(window.utilization, 0.3);
  near(window.readyPerTurn, 2.5, 0.01);
  near(window.busyTurn!.count, window.turns, 2);
});

test('a long silence is a gap in the lines, no spike, and the next interval counts again', () => {
  const store = new Store();
  feed(store, 10, 20);
  feed(store, 400, 402);
  const { series } = store.processes.get('12-1')!.loops.get('1')!;
  const turns = series.columns.turns;
  assert.ok(turns.includes(null));
  assert.ok(turns.every((n) => n === null || Math.abs(n - 100) < 5), 'no spike');
  const hole = turns.indexOf(null);
  assert.ok(series.time[hole]! > epoch + 20 && series.time[hole]! < epoch + 400.1);
  assert.deepEqual(series.time.slice().sort((a, b) => a - b), series.time);
});

test('the same snapshot twice changes nothing', () => {
  const store = new Store();
  feed(store, 10, 12);
  const { series } = store.processes.get('12-1')!.loops.get('1')!;
  const before = series.time.length;
  store.ingest(snapshot(12, process({ loops: [running(12)] })), true);
  assert.equal(series.time.length, before);
});

test('another process takes the place: nothing of the old one remains', () => {
  const store = new Store();
  feed(store, 10, 20);
  store.ingest(snapshot(20.4, process({ id: '13-2', pid: 13, started_at: at(20), loops: [running(0.4)] })), false);
  assert.deepEqual([...store.processes.keys()], ['13-2']);
  const track = store.processes.get('13-2')!;
  assert.equal(track.loops.get('1')!.series.time.length, 0);
  near(track.base(30)!.seconds, 0.4, 1e-3);
  assert.equal(track.base(30)!.mark, null);
});

test('counters that go back under the same id start a new history', () => {
  const store = new Store();
  feed(store, 10, 20);
  store.ingest(snapshot(20.4, process({ loops: [running(0.4)] })), false);
  const track = store.processes.get('12-1')!;
  assert.equal(track.loops.get('1')!.series.time.length, 0);
});

test('a killed process stands still: windows end with it', () => {
  const store = new Store();
  feed(store, 10, 50);
  const dead = process({ state: 'killed', loops: [running(50.2)] });
  store.ingest(snapshot(50.4, dead), false);
  store.ingest(snapshot(500, dead), false);
  const track = store.processes.get('12-1')!;
  near(track.time, epoch + 50.4, 1e-3);
  near(track.endedAt, epoch + 50.4, 1e-3);
  const window = track.window(track.loops.get('1')!, track.base(30)!);
  near(window.turnsPerSecond, 100, 2);
});

test('killed in the middle of a phase: it keeps its history, and no dip is drawn', () => {
  const store = new Store();
  feed(store, 10, 50);
  // The phase in progress is no longer counted, as nobody knows how long it was.
  const last = { ...running(50.01), idle_seconds: 50 * 0.7 - 5, phase_seconds: null, stalled_seconds: null };
  store.ingest(snapshot(50.4, process({ state: 'killed', uptime_seconds: null, loops: [last] })), false);
  const track = store.processes.get('12-1')!;
  const { series } = track.loops.get('1')!;
  assert.ok(series.columns.turns.length > 90 && series.columns.turns.every((n) => n !== null && Math.abs(n - 100) < 5));
  near(track.window(track.loops.get('1')!, track.base(30)!).utilization, 0.3, 0.01);
});

test('killed in the middle of a callback: nobody says that it is stalled, or for how long', () => {
  const dying = loop({
    phase: 'dispatching',
    phase_seconds: null,
    stalled_seconds: null,
    current: { ready: 1, watcher: 'query', watcher_seconds: null },
  });
  assert.equal(isStalled(dying), false);
  assert.equal(isStalled({ ...dying, phase_seconds: 2 }), true);
  const store = new Store();
  store.ingest(snapshot(0, process({ state: 'killed', uptime_seconds: null, loops: [dying] })), true);
  assert.equal(store.processes.get('12-1')!.loops.get('1')!.latest.current?.watcher, 'query');
});

test('turns that the server leaves out are counted, and waits without a result', () => {
  const store = new Store();
  const polls = { blocking: 9, nonblocking: 0, events: 0, timeout: 0, interrupted: 0, error: 0, saturated: 0, unknown: 9 };
  const news = (recent_lost: number, ...turns: number[]) =>
    loop({ iterations: turns.at(-1)!, polls, recent_lost, recent: turns.map((n) => turn({ turn: n, ready: null, result: null })) });
  store.ingest(snapshot(0, process({ loops: [news(0, 1, 2)] })), true);
  store.ingest(snapshot(0.4, process({ loops: [news(4, 4, 8, 9)] })), false);
  const { turns, cut } = store.processes.get('12-1')!.loops.get('1')!;
  assert.deepEqual(turns.recent.map((seen) => seen.turn), [1, 2, 4, 8, 9]);
  assert.equal(turns.lostTotal, 4);
  assert.equal(cut.polls.unknown, 9);
});

test('a process ends where its uptime stopped, not where the page heard of it', () => {
  const store = new Store();
  feed(store, 10, 50);
  store.ingest(snapshot(50.4, process({ state: 'exited', started_at: at(-1000), uptime_seconds: 1050.2, loops: [running(50.2)] })), false);
  const track = store.processes.get('12-1')!;
  near(track.endedAt, epoch + 50.2, 1e-3);
  const { turns } = track.loops.get('1')!.series.columns;
  assert.ok(turns.every((n) => n !== null && Math.abs(n - 100) < 5));
});

test('a process found dead ended at its start plus its uptime', () => {
  const store = new Store();
  store.ingest(snapshot(100, process({ state: 'killed', started_at: at(0), uptime_seconds: 40, loops: [running(40)] })), true);
  const track = store.processes.get('12-1')!;
  near(track.endedAt, epoch + 40, 1e-3);
  near(track.base(Infinity)!.seconds, 40, 1e-3);
});

test('a hang is busy time while it lasts, whether the source counts it at once or at the end', () => {
  for (const countsOpen of [true, false]) {
    const store = new Store();
    feed(store, 10, 20);
    for (let t = 20.4; t <= 24.01; t += 0.4) {
      const hang = t - 20;
      const stuck = { ...running(20), phase: 'dispatching' as const, phase_seconds: hang };
      if (countsOpen) stuck.busy_seconds += hang;
      store.ingest(snapshot(t, process({ loops: [stuck] })), false);
    }
    const track = store.processes.get('12-1')!;
    const mine = track.loops.get('1')!;
    assert.equal(mine.openCounted, countsOpen);
    near(track.window(mine, track.base(2)!).utilization, 1);
    assert.equal(mine.series.columns.utilization.at(-1), 1);
    // and when it is over, the interval is no more than full
    const after = { ...running(20), iterations: 2041, busy_seconds: 6 + 4.1 + 0.1, idle_seconds: 14 + 0.2 };
    store.ingest(snapshot(24.4, process({ loops: [after] })), false);
    const last = mine.series.columns.utilization.at(-1)!;
    assert.ok(last > 0.4 && last < 0.6, `the last 0.4 s were half busy, not ${last}`);
  }
});

test('a long wait is idle time while it lasts', () => {
  const store = new Store();
  feed(store, 10, 20);
  for (let t = 20.4; t <= 24.01; t += 0.4) {
    store.ingest(snapshot(t, process({ loops: [{ ...running(20), phase: 'polling', phase_seconds: t - 20 }] })), false);
  }
  const track = store.processes.get('12-1')!;
  near(track.window(track.loops.get('1')!, track.base(2)!).utilization, 0);
});

test('a loop made while the page looks counts from zero', () => {
  const store = new Store();
  feed(store, 10, 20);
  store.ingest(snapshot(20.4, process({ loops: [running(20.4), loop({ id: 2, iterations: 7 })] })), false);
  const track = store.processes.get('12-1')!;
  assert.equal(track.window(track.loops.get('2')!, track.base(5)!).turns, 7);
});

test('slow turns reach the list with the name of their watcher', () => {
  const store = new Store();
  feed(store, 10, 20);
  const slow = turn({ turn: 2001, at: epoch + 20.1, busy: 0.2, watcher: 'sleepy', watcher_seconds: 0.199 });
  store.ingest(snapshot(20.4, process({ loops: [{ ...running(20.4), recent: [slow] }] })), false);
  const track = store.processes.get('12-1')!.loops.get('1')!;
  assert.equal(track.turns.slowest(8, 'busy')[0]!.watcher, 'sleepy');
  assert.equal(track.latest.recent.length, 0);
});

test('a clock set back begins anew instead of running lines backwards', () => {
  const store = new Store();
  feed(store, 100, 110);
  feed(store, 50, 52);
  const { series } = store.processes.get('12-1')!.loops.get('1')!;
  assert.deepEqual(series.time.slice().sort((a, b) => a - b), series.time);
  assert.ok(series.time.every((t) => t < epoch + 60));
});

test('a foreign schema is not read', () => {
  const store = new Store();
  store.ingest({ ...snapshot(1, process()), schema: 'loopscope.snapshot/2' }, true);
  assert.equal(store.processes.size, 0);
  assert.equal(store.foreignSchema, 'loopscope.snapshot/2');
});

test('memory is bounded: hours later no more than a quarter of an hour is there', () => {
  const store = new Store();
  feed(store, 10, 2 * 3600);
  const track = store.processes.get('12-1')!;
  const { series } = track.loops.get('1')!;
  assert.ok(series.time.length < 2900, `${series.time.length} points`);
  assert.ok(series.time.at(-1)! - series.time[0]! < 16 * 60);
  assert.ok(track.marks.length < 120);
});

test('slices of a series carry the point before the range', () => {
  const series = new Series(['a'] as const);
  for (let t = 0; t < 10; t++) series.push(t, { a: t * t });
  assert.deepEqual(series.slice(4.5, 6, ['a']), [[4, 5, 6], [16, 25, 36]]);
});

test('watcher rows: shares of busy time, the rest included, sorted either way with unknown last', () => {
  const store = new Store();
  const state = (t: number, a: number, b: number, rest: number) =>
    process({
      loops: [
        {
          ...running(t),
          watchers: [
            watcher({ name: 'a', invocations: a, callback_seconds: wire([[0.01, a]]) }),
            watcher({ name: 'b', kind: 'timer', invocations: b, callback_seconds: wire([[0.02, b]]), lag_seconds: wire([[0.001, b]]) }),
          ],
          unattributed_seconds: rest,
        },
      ],
    });
  store.ingest(snapshot(10, state(10, 100, 100, 1)), true);
  store.ingest(snapshot(15, state(15, 160, 115, 1.6)), false);
  const track = store.processes.get('12-1')!;
  const rows = watcherRows(track, track.loops.get('1')!, track.base(5));
  const by = new Map(rows.map((row) => [row.name, row]));
  near(by.get('a')!.seconds, 0.6);
  near(by.get('b')!.seconds, 0.3);
  near(by.get('(unattributed)')!.seconds, 0.6);
  near(by.get('a')!.share, 0.4);
  near(by.get('a')!.calls, 12);
  near(by.get('b')!.lag, 0.001);
  assert.deepEqual(sortRows(rows, 'lag', true).map((r) => r.name), ['b', '(unattributed)', 'a']);
  assert.deepEqual(sortRows(rows, 'lag', false)[0]!.name, 'b');
  assert.equal(sortRows(rows, 'share', false)[0]!.name, 'b');
});

test('among hundreds, those that work and the one on screen have a history', () => {
  const store = new Store();
  const old = Array.from({ length: 200 }, (_, i) => process({ id: `${i}-1`, pid: i, state: 'exited', ended: 'exit', exit_status: 0, uptime_seconds: 1, loops: [] }));
  const idle = Array.from({ length: 100 }, (_, i) => process({ id: `${i + 300}-1`, pid: i + 300, loops: [] }));
  const turning = (second: number) => process({ id: '900-1', loops: [loop({ iterations: 1000 * second, idle_seconds: 0.9 * second, busy_seconds: 0.1 * second })] });
  const lines = (id: string) => store.processes.get(id)!.fdSeries.time.length;
  for (let second = 1; second <= 5; second++) store.ingest(snapshot(second, ...old, ...idle, turning(second)), second === 1);
  assert.equal(store.processes.size, 301);
  assert.equal(lines('900-1'), 5);
  assert.equal([...store.processes.values()].filter((track) => track.fdSeries.time.length > 0).length, 64);
  assert.ok(store.processes.get('900-1')!.loops.get('1')!.series.time.length > 0);

  store.watched = '399-1';
  const before = lines('399-1');
  store.ingest(snapshot(6, ...old, ...idle, turning(6)), false);
  store.ingest(snapshot(7, ...old, ...idle, turning(7)), false);
  assert.ok(lines('399-1') >= before + 2);
  assert.equal(lines('900-1'), 7);
  assert.equal([...store.processes.values()].filter((track) => track.fdSeries.time.length > 0).length, 64);
});

test('how busy a process is: its busiest loop, now', () => {
  const store = new Store();
  const at = (second: number, busy: number, iterations: number) =>
    process({ loops: [loop({ id: 1 }), loop({ id: 2, iterations, busy_seconds: busy, idle_seconds: 1000 + second - busy, utilization: 0.5 })] });
  store.ingest(snapshot(0, at(0, 500, 50)), true);
  assert.deepEqual(store.processes.get('12-1')!.load, { utilization: 0.5, sure: false });
  for (let second = 1; second <= 4; second++) store.ingest(snapshot(second, at(second, 500 + second / 4, 50 + second)), false);
  const few = store.processes.get('12-1')!.load!;
  assert.ok(Math.abs(few.utilization - 0.25) < 1e-6 && !few.sure, JSON.stringify(few));
  store.ingest(snapshot(5, at(5, 501.25, 200)), false);
  assert.equal(store.processes.get('12-1')!.load!.sure, true);
  store.ingest(snapshot(6, process({ loops: [] })), false);
  assert.equal(store.processes.get('12-1')!.load, null);
});

test('of one that has ended without a record of its descriptors, those seen last stay', () => {
  const store = new Store();
  const of = () => store.processes.get('12-1')!.latest.fds!.open;
  store.ingest(snapshot(0, process({ fds: descriptors({ open: 7 }) })), true);
  const nothing = descriptors({ open: null, limit: null, by_kind: {} });
  for (const t of [1, 2, 3]) {
    store.ingest(snapshot(t, process({ state: 'killed', fds: nothing })), false);
    assert.equal(of(), 7);
  }
  store.ingest(snapshot(4, process({ id: '12-1', state: 'killed', fds: descriptors({ open: 5 }) })), false);
  assert.equal(of(), 5, 'what a ledger says holds');
});
