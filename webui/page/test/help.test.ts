import assert from 'node:assert/strict';
import test from 'node:test';
import { help, helpName, helpText, type HelpKey } from '../src/help';

const keys = Object.keys(help) as HelpKey[];

test('every word has a name of its own and says what it is', () => {
  const names = keys.map(helpName);
  assert.equal(new Set(names).size, names.length, names.filter((name, i) => names.indexOf(name) !== i).join(', '));
  for (const key of keys) assert.match(help[key].what, /\w{3}.*[.!?)]$/, key);
});

test('what has a high says what is normal, too', () => {
  for (const key of keys) if (help[key].high) assert.ok(help[key].normal, key);
});

test('in one string, as it is read out', () => {
  assert.match(helpText('utilization'), /^The share of .* High: .* Normal: below 70 %\. Unit: /);
  assert.equal(helpName('pollWait'), 'poll wait');
});
