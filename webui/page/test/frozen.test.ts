import assert from 'node:assert/strict';
import test from 'node:test';
import { freeze, frozenSchema, packRows, thaw, unpackRows } from '../src/frozen';
import { Store } from '../src/store';
import { loop, process, snapshot, turn, watcher, wire } from './fixtures';

/** Twenty minutes of one loop with two watchers, an event every 0.4 s for the last of them; a second process is killed on the way. */
function lived(): Store {
  const store = new Store();
  const event = (time: number) => {
    const n = Math.round(time * 100) + 1000;
    const mine = loop({
      iterations: n,
      ready_events: 2 * n,
      busy_seconds: n * 0.004,
      idle_seconds: n * 0.006,
      busy_turn_seconds: wire([[0.0039, n - 1], [0.0512, 1]], 0.05),
      poll_wait_seconds: wire([[0.0063, n]]),
      recent: [turn({ turn: n, at: 1000 + time, busy: n % 700 === 0 ? 0.2 : 0.004 })],
      watchers: [
        watcher({ name: 'read', invocations: n, callback_seconds: wire([[0.0031, n]]) }),
        watcher({ name: 'tick', kind: 'timer', invocations: 3, callback_seconds: wire([[0.001, 3]]), lag_seconds: wire([[1e-5, 3]]) }),
      ],
    });
    const dying = process({ id: '13-1', pid: 13, state: time < 1190 ? 'running' : 'killed', loops: [loop({ iterations: 5, busy_seconds: 1, idle_seconds: 1 })] });
    const seen = snapshot(time, process({ loops: [mine], started_at: new Date(0).toISOString() }), dying);
    store.ingest({ ...seen, unreadable: [{ path: '/x', error: '9 recordings in /x are left out' }] }, time === 0);
  };
  store.watched = '12-1';
  for (let time = 0; time < 1100; time += 1) event(time);
  for (let time = 1100; time < 1200; time += 0.4) event(time);
  return store;
}

test('what is frozen and thawed is the same: windows, lines, turns, ends', () => {
  const store = lived();
  const frozen = JSON.parse(JSON.stringify(freeze(store)));
  const back = thaw(frozen);
  assert.equal(back.time, store.time);
  assert.equal(back.watched, '12-1');
  assert.deepEqual(back.server, store.server);
  assert.deepEqual(back.unreadable, [{ path: '/x', error: '9 recordings in /x are left out' }]);
  assert.deepEqual([...back.processes.keys()], [...store.processes.keys()]);
  for (const [id, was] of store.processes) {
    const now = back.processes.get(id)!;
    assert.equal(now.endedAt, was.endedAt);
    assert.equal(now.running, was.running);
    assert.deepEqual(now.load, was.load);
    assert.equal(now.latest.loops.length, was.latest.loops.length);
    for (const seconds of [2, 5, 10, 30, 100, 120, 600, 1000, Infinity]) {
      const [base, expected] = [now.base(seconds), was.base(seconds)];
      assert.equal(base?.seconds, expected?.seconds, `${seconds} s`);
      for (const [loopId, track] of was.loops) {
        if (!base || !expected) continue;
        assert.deepEqual(now.window(now.loops.get(loopId)!, base), was.window(track, expected), `${id}, ${seconds} s`);
      }
    }
    for (const [loopId, track] of was.loops) {
      const thawed = now.loops.get(loopId)!;
      assert.deepEqual(thawed.cut, track.cut);
      assert.deepEqual(thawed.turns.recent, track.turns.recent);
      assert.deepEqual(thawed.turns.rule, track.turns.rule);
      assert.deepEqual(thawed.heat.busy.pack(), track.heat.busy.pack());
      assert.deepEqual(thawed.heat.lag.pack(), track.heat.lag.pack());
      assert.deepEqual(thawed.turns.slowest(50, 'busy'), track.turns.slowest(50, 'busy'));
      assert.equal(thawed.turns.slowSeen, track.turns.slowSeen);
      assert.equal(thawed.series.time.length, track.series.time.length);
      thawed.series.time.forEach((time, i) => assert.ok(Math.abs(time - track.series.time[i]!) < 2e-3));
      track.series.columns.utilization.forEach((value, i) => {
        const kept = thawed.series.columns.utilization[i];
        if (value === null) assert.equal(kept, null);
        else assert.ok(Math.abs(kept! - value) <= 5e-4 * value);
      });
    }
  }
});

test('a part may be frozen: the process on screen', () => {
  const back = thaw(freeze(lived(), (process) => process.latest.pid === 13));
  assert.deepEqual([...back.processes.keys()], ['13-1']);
});

test('only marks that a window begins at are kept, and each histogram once', () => {
  const store = lived();
  const frozen = freeze(store);
  const [first] = frozen.processes;
  assert.ok(first!.marks.length <= 10);
  assert.ok(first!.marks.length < store.processes.get('12-1')!.marks.length);
  // "tick" stood still: one histogram for all the marks.
  const ticks = first!.marks.flatMap(({ cuts }) => cuts.flatMap(([, cut]) => cut.w.filter(([key]) => key.includes('tick'))));
  assert.equal(new Set(ticks.map(([, , callback]) => callback)).size, 1);
});

test('a page that has seen nothing can be frozen', () => assert.equal(thaw(freeze(new Store())).processes.size, 0));

test('anything else is refused', () => {
  for (const foreign of [null, {}, { schema: 'loopscope.page/2' }, 'x']) assert.throws(() => thaw(foreign), /loopscope\.page\/1/);
  assert.equal(frozenSchema, 'loopscope.page/1');
});

test('rows keep which members an object has', () => {
  const objects = [{ a: 1, b: null }, { a: 2, served: [] }, { a: 3, b: 4 }];
  assert.deepEqual(unpackRows(packRows(objects)), objects);
  assert.deepEqual(unpackRows(packRows([{ a: 1, b: undefined }])), [{ a: 1 }]);
});
