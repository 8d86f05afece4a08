// The trace against the Trace Event Format: what every event must have by its phase, proper nesting on each track, no time
// that runs backwards; and against the turns that it was made of.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Turn } from '../src/model';
import { instantText, trace, traceText, type Trace, type TraceEvent, type TraceLoop } from '../src/trace';
import { slowRule } from '../src/turns';
import { epoch, loop, process, turn } from './fixtures';

const never = slowRule(null, null);
const of = (turns: Turn[], changes: Partial<TraceLoop['loop']> = {}, rule = never): TraceLoop => ({ loop: loop(changes), turns, rule });
const make = (loops: TraceLoop[], changes: Parameters<typeof process>[0] = {}, taken = epoch + 100) =>
  trace({ process: process({ loops: loops.map((one) => one.loop), ...changes }), taken, loops, writer: 'loopscope test' });

/** What is wrong with a trace; empty: nothing. */
export function problems(text: string): string[] {
  const out: string[] = [];
  const file = JSON.parse(text) as Trace;
  const say = (event: TraceEvent, what: string) => out.push(`${what}: ${JSON.stringify(event)}`);
  if (!Array.isArray(file.traceEvents)) return ['no traceEvents'];
  let before = -Infinity;
  const open = new Map<string, number[]>();
  for (const event of file.traceEvents) {
    for (const name of ['ts', 'pid', 'tid'] as const) {
      if (typeof event[name] !== 'number' || !Number.isFinite(event[name]) || event[name] < 0) say(event, `no ${name}`);
    }
    if (!Number.isInteger(event.pid) || !Number.isInteger(event.tid)) say(event, 'pid and tid are integers');
    if (typeof event.name !== 'string' || event.name === '') say(event, 'no name');
    if (typeof event.args !== 'object' || event.args === null) say(event, 'no args');
    if (Object.values(event.args).some((value) => value === null)) say(event, 'null in args');
    if (event.ph === 'M') {
      const wants = { process_name: 'name', thread_name: 'name', thread_sort_index: 'sort_index' }[event.name];
      if (wants === undefined || !(wants in event.args)) say(event, 'metadata without its argument');
      continue;
    }
    if (event.ts < before) say(event, 'not in the order of time');
    before = event.ts;
    if (event.ph === 'C') {
      if (Object.keys(event.args).length === 0 || Object.values(event.args).some((value) => typeof value !== 'number')) say(event, 'a counter of no number');
      continue;
    }
    if (typeof event.cat !== 'string') say(event, 'no category');
    if (event.ph === 'i') {
      if (event.s !== 't') say(event, 'an instant without scope');
    } else if (event.ph === 'X') {
      if (typeof event.dur !== 'number' || !(event.dur >= 0)) say(event, 'a negative duration');
      // As doubles and to the last bit: readers that add so have found slices to overlap by a rounding.
      const [start, end] = [event.ts, event.ts + event.dur!];
      const track = `${event.pid} ${event.tid}`;
      const stack = open.get(track) ?? [];
      while (stack.length > 0 && stack[stack.length - 1]! <= start) stack.pop();
      if (stack.length > 0 && end > stack[stack.length - 1]!) say(event, `neither inside nor after what is open until ${stack[stack.length - 1]}`);
      stack.push(end);
      open.set(track, stack);
    } else say(event, 'a phase that this trace has no use for');
  }
  return out;
}

const slices = (made: Trace, cat: string) => made.traceEvents.filter((event) => event.ph === 'X' && event.cat === cat);
const instants = (made: Trace) => made.traceEvents.filter((event) => event.ph === 'i');

/** Turns one after the other, as a loop makes them: exact to the nanosecond but for what a double of seconds cuts off `at`. */
function chain(count: number, from = epoch, random = 1): Turn[] {
  const turns: Turn[] = [];
  let now = 0;
  let seed = random;
  const next = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  for (let i = 0; i < count; i++) {
    const wait = Math.round(next() ** 4 * 1e7);
    const busy = Math.round(20 + next() ** 4 * 1e6);
    now += wait;
    turns.push(turn({ turn: i + 1, at: from + now / 1e9, poll_wait: wait / 1e9, busy: busy / 1e9 }));
    now += busy;
  }
  return turns;
}

test('the validator finds what it is for', () => {
  const good = { ph: 'X', ts: 1, dur: 2, pid: 1, tid: 1, cat: 'c', name: 'n', args: {} };
  const bad: object[] = [
    { ...good, dur: -1 }, { ...good, name: '' }, { ...good, ts: NaN }, { ...good, tid: 1.5 }, { ...good, ph: 'B' }, { ...good, args: { a: null } },
    { ...good, ph: 'i' }, { ...good, ph: 'C', args: { a: 'b' } }, { ...good, ph: 'M', name: 'thread_name' },
  ];
  assert.deepEqual(problems(JSON.stringify({ traceEvents: [good] })), []);
  for (const event of bad) assert.equal(problems(JSON.stringify({ traceEvents: [event] })).length > 0, true, JSON.stringify(event));
  assert.match(problems(JSON.stringify({ traceEvents: [good, { ...good, ts: 2 }] }))[0]!, /neither inside nor after/);
  assert.match(problems(JSON.stringify({ traceEvents: [good, { ...good, ts: 0 }] }))[0]!, /order of time/);
  assert.deepEqual(problems(JSON.stringify({ traceEvents: [good, { ...good, dur: 1 }, { ...good, ts: 3 }, { ...good, tid: 2, ts: 4 }] })), []);
});

test('a turn is a wait and a busy part, what was served lies inside', () => {
  const one = turn({
    turn: 7, at: epoch + 1, poll_wait: 0.5, busy: 0.25, ready: 2, timeout: 0.75, result: 'events', watcher: 'http', watcher_seconds: 0.125,
    served: [
      { watcher: 'http', kind: 'io', fd: 5, start: 0.0625, seconds: 0.125 },
      { watcher: null, kind: 'tcp', fd: 9, start: 0.1875, seconds: 0.0625 },
    ],
    served_lost: 3,
  });
  const made = make([of([one])]);
  assert.deepEqual(problems(traceText(made)), []);
  const [wait] = slices(made, 'wait');
  const [busy] = slices(made, 'busy');
  assert.deepEqual([wait!.ts, wait!.dur, busy!.ts, busy!.dur], [0, 500_000, 500_000, 250_000]);
  assert.deepEqual(wait!.args, { turn: 7, timeout: 0.75, result: 'events', ready: 2 });
  assert.deepEqual(busy!.args, { turn: 7, at: instantText(epoch + 1), ready: 2, watcher: 'http', watcher_seconds: 0.125, served_lost: 3 });
  assert.deepEqual(slices(made, 'served').map(({ name, ts, dur }) => [name, ts, dur]), [
    ['http', 562_500, 125_000],
    ['tcp fd 9', 687_500, 62_499.996], // ends with the turn: four nanoseconds before it, for readers that cut
  ]);
  assert.equal(made.otherData['start'], instantText(epoch + 0.5));
  assert.deepEqual(made.traceEvents.filter((event) => event.ph === 'M').map(({ name, args }) => [name, args]), [
    ['process_name', { name: 'app' }], ['thread_name', { name: 'main' }], ['thread_sort_index', { sort_index: 0 }],
  ]);
});

test('every turn is there, to the nanosecond, however many', () => {
  const turns = chain(4096);
  const made = make([of(turns, { phase: 'outside' })]);
  assert.deepEqual(problems(traceText(made)), []);
  for (const [cat, of] of [['wait', (one: Turn) => one.poll_wait], ['busy', (one: Turn) => one.busy]] as const) {
    const less = slices(made, cat).map((event, i) => Math.round(of(turns[i]!) * 1e9) - Math.round(event.dur! * 1000));
    assert.equal(less.length, turns.length);
    assert.deepEqual([...new Set(less)].sort(), [0, 1], 'at times 1 ns shorter, so that doubles do not overlap');
    assert.ok(less.filter((n) => n === 1).length < turns.length / 4);
  }
  assert.equal(made.traceEvents.filter((event) => event.ph === 'C' && event.name === 'main: ready events').length, 4096);
});

test('numbers that miss leave a hole, and overlapping clocks no overlap', () => {
  const turns = [
    turn({ turn: 1, at: epoch + 1, poll_wait: 0.5, busy: 0.125 }),
    turn({ turn: 9, at: epoch + 3, poll_wait: 0.5, busy: 0.125 }),
    turn({ turn: 10, at: epoch + 3.25, poll_wait: 0.5, busy: 0.125 }), // its wait would begin inside the turn before
  ];
  const made = make([of(turns, { phase: 'outside' })]);
  assert.deepEqual(problems(traceText(made)), []);
  assert.deepEqual(slices(made, 'wait').map(({ ts, dur }) => [ts, dur]), [[0, 5e5], [2e6, 5e5], [2_625_000, 125_000]]);
});

test('what a record says wrongly of a turn is not drawn beyond it', () => {
  const served = (start: number, seconds: number) => ({ watcher: 'w', kind: 'io', fd: 1, start, seconds });
  const made = make([of([turn({ at: epoch, busy: 0.001, served: [served(0, 0.0009), served(0.0005, 0.0004), served(0.5, 0.1), served(0.0009, 9)] })])]);
  assert.deepEqual(problems(traceText(made)), []);
  assert.deepEqual(slices(made, 'served').map(({ ts, dur }) => [ts, dur]), [[1000, 900], [1900, 0], [1900, 99.996]]);
});

test('each loop has a track, also two of one thread', () => {
  const made = make([of(chain(50), { id: 1, name: 'a' }), of(chain(50, epoch, 2), { id: 2, name: 'b' }), of(chain(50, epoch, 3), { id: 3, name: 'b', thread_id: null })]);
  assert.deepEqual(problems(traceText(made)), []);
  const names = made.traceEvents.filter((event) => event.name === 'thread_name');
  assert.equal(new Set(names.map(({ tid }) => tid)).size, 3);
  assert.equal(names[0]!.tid, 7);
  assert.equal(new Set(names.map(({ args }) => args['name'])).size, 3);
});

test('slow turns are marked by the rule', () => {
  const turns = [turn({ turn: 1, at: epoch, busy: 0.2, watcher: 'w' }), turn({ turn: 2, at: epoch + 1, busy: 0.02 }), turn({ turn: 3, at: epoch + 2, busy: 0.002 })];
  const made = make([of(turns, {}, { stall: 0.1, outlier: 0.01 })]);
  assert.deepEqual(instants(made).map(({ name, args }) => [name, args]), [
    ['stall', { turn: 1, busy: 0.2, watcher: 'w' }],
    ['slow turn', { turn: 2, busy: 0.02 }],
  ]);
});

test('a turn in progress is drawn as far as it has come', () => {
  const current = { ready: 1, watcher: 'stuck', watcher_seconds: 2 };
  const changes = { phase: 'dispatching', phase_seconds: 3, current } as const;
  const made = make([of([turn({ at: epoch + 1, busy: 0.5 })], changes)], {}, epoch + 10);
  assert.deepEqual(problems(traceText(made)), []);
  const last = slices(made, 'busy')[1]!;
  assert.deepEqual(last.args, { ready: 1, watcher: 'stuck', in_progress: true });
  assert.equal(Math.round(last.dur!), 3_000_000);
  // Longer than all that is kept: time begins there.
  const long = make([of([], { ...changes, phase_seconds: 50 }), of([turn({ at: epoch + 1 })], { id: 2, name: 'b' })], {}, epoch + 10);
  assert.deepEqual(problems(traceText(long)), []);
  assert.equal(slices(long, 'busy')[0]!.ts, 0);
  assert.equal(long.otherData['start'], instantText(epoch - 40));
});

test('of a process that was killed it says what it was in, not since when', () => {
  const changes = { phase: 'dispatching', phase_seconds: null, current: { ready: 1, watcher: 'stuck', watcher_seconds: null } } as const;
  const made = make([of([turn({ at: epoch + 1, busy: 0.5, watcher: null })], changes)], { state: 'killed', ended: 'killed' });
  assert.deepEqual(problems(traceText(made)), []);
  assert.deepEqual(instants(made).map(({ name, ts, args }) => [name, ts, args]), [['at its end in stuck', 501_000, { ready: 1, watcher: 'stuck' }]]);
});

test('utilization counts busy against what was seen of each bin', () => {
  const turns = [turn({ turn: 1, at: epoch + 0.25, poll_wait: 0.25, busy: 0.75 }), turn({ turn: 2, at: epoch + 2, poll_wait: 1, busy: 0 })];
  const ratios = make([of(turns)]).traceEvents.filter((event) => event.name === 'main: utilization').map(({ ts, args }) => [ts, args['ratio']]);
  assert.equal(ratios.length, 200);
  assert.deepEqual([ratios[0], ratios[24], ratios[25], ratios[99], ratios[100]], [[0, 0], [240_000, 0], [250_000, 1], [990_000, 1], [1_000_000, 0]]);
});

test('there is no utilization where turns are missing', () => {
  const turns = [turn({ turn: 1, at: epoch + 1, poll_wait: 1, busy: 0.5 }), turn({ turn: 3, at: epoch + 3, poll_wait: 1, busy: 0 })];
  const made = make([of(turns, { phase: 'outside' })]).traceEvents.filter((event) => event.name === 'main: utilization');
  const at = made.map(({ ts }) => ts);
  assert.equal(at.filter((ts) => ts >= 1_500_000 && ts < 2_000_000).length, 0);
  assert.deepEqual([at[0], at.includes(1_480_000), at.includes(2_000_000)], [0, true, true]);
});

test('nothing but an empty trace from nothing, and names that bite', () => {
  assert.deepEqual(problems(traceText(make([]))), []);
  assert.deepEqual(problems(traceText(make([of([], { phase: 'outside' })]))), []);
  const name = 'a"b\\</script>\u0000\u2028\ud800{}[]';
  const made = make([of([turn({ watcher: name })], { name })], { command: name });
  assert.deepEqual(problems(traceText(made)), []);
  const back = JSON.parse(traceText(made)) as Trace;
  assert.equal(back.traceEvents[1]!.args['name'], name);
  assert.equal(traceText(made).split('\n').length, made.traceEvents.length + 4);
});

test('instants have six digits and carry over', () => {
  assert.equal(instantText(epoch), '2026-01-01T00:00:00.000000Z');
  assert.equal(instantText(epoch + 0.25), '2026-01-01T00:00:00.250000Z');
  assert.equal(instantText(epoch + 0.9999999), '2026-01-01T00:00:01.000000Z');
});
