import assert from 'node:assert/strict';
import test from 'node:test';
import { endMark, treeRows } from '../src/tree';
import { at, process } from './fixtures';

const make = (id: string, parent: number | null, start: number, changes: Parameters<typeof process>[0] = {}) =>
  process({ id, pid: Number(id.split('-')[0]), parent_pid: parent, started_at: at(start), loops: [], ...changes });
const over = { state: 'exited', ended: 'exit', exit_status: 0 } as const;
const exec = { state: 'exited', ended: 'exec' } as const;
const show = (rows: ReturnType<typeof treeRows>) => rows.map(({ process: p, depth }) => `${'  '.repeat(depth)}${p.id}`);

test('children are below their parents, in whatever order they are told', () => {
  const all = [make('3-3', 2, 3), make('1-1', 999, 1), make('4-4', 1, 4), make('2-2', 1, 2)];
  assert.deepEqual(show(treeRows(all)), ['1-1', '  2-2', '    3-3', '  4-4']);
  assert.deepEqual(treeRows([]), []);
  assert.deepEqual(show(treeRows([make('1-1', null, 1)])), ['1-1']);
});

test('the living come first, oldest on top; of the ended the youngest', () => {
  const all = [make('1-1', 0, 1), make('2-2', 1, 2, over), make('3-3', 1, 3, over), make('4-4', 1, 4), make('5-5', 1, 5)];
  assert.deepEqual(show(treeRows(all)), ['1-1', '  4-4', '  5-5', '  3-3', '  2-2']);
});

test('an ended process with living children is among the living', () => {
  const all = [make('1-1', 0, 1), make('2-2', 1, 2, over), make('3-3', 1, 3, over), make('4-4', 2, 4)];
  assert.deepEqual(show(treeRows(all)), ['1-1', '  2-2', '    4-4', '  3-3']);
});

test('the programs that one process has been are together, each told what it became', () => {
  const all = [
    make('2-2', 1, 2, { ...exec, command: 'sh' }),
    make('3-9', 2, 5),
    make('2-2-2', 1, 4, { command: 'node' }),
    make('2-2-1', 1, 3, { ...exec, command: 'env' }),
    make('1-1', 0, 1),
  ];
  const rows = treeRows(all);
  assert.deepEqual(show(rows), ['1-1', '  2-2-2', '    2-2-1', '    2-2', '    3-9']);
  assert.deepEqual(
    rows.map((row) => row.became?.command ?? null),
    [null, null, 'node', 'env', null],
  );
});

test('a pid that came again: the child belongs to who had it when it began', () => {
  const all = [make('2-10', 0, 10, over), make('2-50', 0, 50), make('3-20', 2, 20), make('4-60', 2, 60)];
  assert.deepEqual(show(treeRows(all)), ['2-10', '  3-20', '2-50', '  4-60']);
  // The recording of a parent may be younger than its child's.
  assert.deepEqual(show(treeRows([make('2-30', 0, 30), make('3-20', 2, 20)])), ['2-30', '  3-20']);
  // Two that claim each other are in no circle.
  assert.equal(treeRows([make('2-1', 3, 1), make('3-2', 2, 2)]).length, 2);
  assert.equal(treeRows([make('2-1', 2, 1)]).length, 1);
});

test('a search keeps what leads to a match', () => {
  const all = [make('1-1', 0, 1), make('2-2', 1, 2), make('3-3', 2, 3, { command: 'wanted' }), make('4-4', 1, 4)];
  assert.deepEqual(show(treeRows(all, (p) => p.command === 'wanted')), ['1-1', '  2-2', '    3-3']);
  assert.deepEqual(treeRows(all, () => false), []);
});

test('hundreds of them, and a chain as deep', () => {
  const wide = [make('1-1', 0, 0), ...Array.from({ length: 300 }, (_, i) => make(`${i + 2}-1`, 1, i + 1, i % 2 ? over : {}))];
  assert.equal(treeRows(wide).length, 301);
  const deep = Array.from({ length: 300 }, (_, i) => make(`${i + 1}-1`, i, i));
  const rows = treeRows(deep);
  assert.equal(rows.length, 300);
  assert.equal(rows[299]!.depth, 299);
});

test('how each ended', () => {
  assert.equal(endMark(make('1-1', 0, 1), null), null);
  assert.equal(endMark(make('1-1', 0, 1, { ...over, exit_status: 3 }), null), 'exited 3');
  assert.equal(endMark(make('1-1', 0, 1, { ...over, exit_status: null }), null), 'ended');
  const killed = { state: 'killed', ended: 'killed', exit_status: null } as const;
  assert.equal(endMark(make('1-1', 0, 1, { ...killed, signal: null }), null), 'killed');
  assert.equal(endMark(make('1-1', 0, 1, { ...killed, signal: 9 }), null), 'killed by SIGKILL');
  assert.equal(endMark(make('1-1', 0, 1, { state: 'killed', ended: 'killed' }), null), 'killed');
  assert.equal(endMark(make('1-1', 0, 1, exec), make('1-1-1', 0, 2, { command: 'node' })), 'exec → node');
  assert.equal(endMark(make('1-1', 0, 1, exec), null), 'exec → another program');
});
