import assert from 'node:assert/strict';
import test from 'node:test';
import type { Headline } from '../src/overview';
import { titleOf } from '../src/title';

const said = (level: Headline['level'], short: string): Headline => ({ level, short, topic: '', text: '', detail: '', target: null });

test('the title: the worst first, then who', () => {
  assert.equal(titleOf(said('error', 'stalled'), 'app 12', false), '✖ stalled · app 12 · loopscope');
  assert.equal(titleOf(said('warning', '2 findings'), 'app 12', false), '▲ 2 findings · app 12 · loopscope');
  assert.equal(titleOf(said('good', ''), 'app 12', false), 'app 12 · loopscope');
  assert.equal(titleOf(null, null, false), 'loopscope');
  assert.equal(titleOf(said('good', ''), 'app 12', true), 'no connection · app 12 · loopscope', 'of now nothing is known');
  assert.equal(titleOf(null, 'a\u202eb', false), 'a\ufffdb · loopscope', 'a name does not turn the rest around');
});
