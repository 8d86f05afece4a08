// A saved report: nothing in the data gets out of its element, nothing that was put in is taken for a mark, and what was put in
// comes out again.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freeze, thaw } from '../src/frozen';
import { openSaved, reportHtml, turnsKey } from '../src/htmlreport';
import { Store } from '../src/store';
import { at, loop, process, snapshot, turn } from './fixtures';

const shell = '<title>{{title}}</title><style>{{style}}</style><script type="application/json" id="d">{{data}}</script><script>{{script}}</script>end';
const bundle = { shell, style: 'a{}', script: 'run()' };
const hostile = '</script><script>alert(1)</script><!-- {{script}} {{data}} $& $1 \u2028 \u0000 \ud800 </title><img src=x>';

/** As an HTML parser finds it: up to the first end tag. */
function held(html: string): string {
  const from = html.indexOf('id="d">') + 'id="d">'.length;
  return html.slice(from, html.toLowerCase().indexOf('</script', from));
}

function store(name: string): Store {
  const made = new Store();
  const turns = [turn({ turn: 1, at: 100, watcher: name })];
  made.ingest(snapshot(0, process({ command: name, argv: [name], loops: [loop({ name, iterations: 1, recent: turns })] })), true);
  return made;
}

test('what a name holds stays data', () => {
  const html = reportHtml(bundle, hostile, { page: freeze(store(hostile)), hash: `#loop=${hostile}`, extra: { [hostile]: hostile } });
  assert.equal(html.split('<script').length, 3, 'two elements, as in the template');
  assert.equal(html.split('<img').length, 1);
  assert.equal(html.split('<!--').length, 1);
  assert.ok(html.endsWith('<script>run()</script>end'));
  const saved = openSaved(held(html));
  assert.equal(saved.hash, `#loop=${hostile}`);
  const back = thaw(saved.page).processes.get('12-1')!;
  assert.equal(back.latest.command, hostile);
  assert.equal(back.loops.get('1')!.turns.recent[0]!.watcher, hostile);
});

test('a template of another version is refused, not filled in part', () => {
  const saved = { page: freeze(store('a')), hash: '', extra: {} };
  for (const mark of ['{{title}}', '{{style}}', '{{data}}', '{{script}}']) {
    assert.throws(() => reportHtml({ ...bundle, shell: shell.replace(mark, '') }, 't', saved), new RegExp(mark.replaceAll(/[{}]/g, '.')));
  }
});

test('one snapshot opens as a page, with all of its turns', () => {
  const turns = Array.from({ length: 3000 }, (_, i) => turn({ turn: i + 1, at: 100 + i }));
  const sent = snapshot(5, process({ loops: [loop({ iterations: 3000, busy_seconds: 3, idle_seconds: 1, recent: turns })] }));
  const saved = openSaved(JSON.stringify({ hash: '#window=all', extra: {}, snapshot: sent }));
  assert.deepEqual((saved.extra['turns'] as Record<string, unknown>)[turnsKey('12-1', 1)], JSON.parse(JSON.stringify(turns)));
  const thawed = thaw(saved.page);
  assert.equal(thawed.time, Date.parse(at(5)) / 1000);
  const track = thawed.processes.get('12-1')!;
  const all = track.base(Infinity)!;
  assert.equal(track.window([...track.loops.values()][0]!, all).turns, 3000);
});

test('a snapshot of another schema says so', () => {
  const foreign = { ...snapshot(0), schema: 'loopscope.snapshot/9' };
  assert.throws(() => openSaved(JSON.stringify({ hash: '', extra: {}, snapshot: foreign })), /snapshot\/9/);
});
