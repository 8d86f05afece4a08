import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import type { Finding } from '../src/model';
import { bySeverity, checkDuration, loopOf, looks, mentions, quote, recordingOf, rules, siteOf, verdict, type Context } from '../src/rules';
import { descriptors, loop, process, site, watcher, wire } from './fixtures';

const finding = (changes: Partial<Finding> = {}): Finding => ({
  rule: 'loop-stall', severity: 'warning', title: 'loop "main" stalled once', detail: null, advice: null, count: 1, since: null, subject: 'main', ...changes,
});

/** The rules that docs/findings.md lists before what only `loopscope check` judges. */
function documented(): string[] {
  const text = readFileSync(new URL('../../../docs/findings.md', import.meta.url), 'utf8');
  const live = text.split('## After the end')[0]!;
  const names = [...live.matchAll(/^\| \[`([a-z-]+)`\]\(#/gm)].map((match) => match[1]!);
  assert.ok(names.length >= 9, 'the table of rules was not found');
  return names;
}

test('every rule that can speak while a process runs has its words here, and no other', () => {
  assert.deepEqual(Object.keys(rules).sort(), documented().sort());
});

const process_ = process({
  argv: ['/usr/bin/app', '--name', 'a b'],
  fds: descriptors({ open: 900, limit: 1000 }),
  dropped: { fds: 3, loops: 0 },
  own_failures: [{ call: 'madvise', errno: 'ENOSPC', failed: 2, retried: 1 }],
  recording: { path: '/dev/shm/ls/12-1.loopscope', version: 2, clock: 'tsc', error: null },
  loops: [loop({ name: 'main', thread_id: 77, iterations: 5000, timer_lag_seconds: wire([[0.2, 2000]]), busy_turn_seconds: wire([[0.3, 5000]]) })],
});
const context = (rule: string, changes: Partial<Context> = {}): Context => ({
  finding: finding({ rule }), process: process_, loop: process_.loops[0]!, site: site({ live: 40, opened: 40 }), ...changes,
});

test('each says what it does to the program, with figures and a command', () => {
  for (const [name, rule] of Object.entries(rules)) {
    const its = context(name);
    assert.match(rule.consequence(its), /^[A-Z].*\.$/, name);
    assert.match(rule.headline(its), /^[A-Z].*[^.]$/, name);
    assert.ok(rule.numbers(its).length > 0, name);
    const commands = rule.commands(its);
    assert.ok(commands.length > 0, name);
    for (const { text, why } of commands) {
      assert.match(text, /^(loopscope (check|report)|perf record|strace|timeout 1 strace|gdb|prlimit|df|cat) /, name);
      assert.match(why, /\.$/, name);
      assert.doesNotMatch(text, /undefined|null|NaN/, name);
    }
    for (const [label, value] of rule.numbers(its)) assert.doesNotMatch(`${label} ${value}`, /undefined|null|NaN/, name);
  }
});

test('each stands a finding without its loop, of a process that is gone and of which little is known', () => {
  const gone = process({ state: 'killed', ended: 'killed', argv: null, fds: null, dropped: null, recording: null, loops: [] });
  for (const [name, rule] of Object.entries(rules)) {
    const its = context(name, { process: gone, loop: null, site: null });
    assert.doesNotMatch(rule.consequence(its) + rule.headline(its) + JSON.stringify(rule.numbers(its)), /undefined|null|NaN/, name);
    for (const { text } of rule.commands(its)) assert.doesNotMatch(text, /^(gdb|perf|cat|prlimit|timeout)|undefined|null/, `${name}: ${text}`);
  }
});

test('commands are the right ones for the shell and the process', () => {
  const [first] = rules['loop-stall']!.commands(context('loop-stall'));
  assert.equal(first!.text, "loopscope check --max-stall 50ms -- /usr/bin/app --name 'a b'");
  const [now] = rules['loop-stall']!.commands(context('loop-stall', { finding: finding({ severity: 'error' }) }));
  assert.equal(now!.text, "gdb -p 12 -batch -ex 'thread apply all bt'");
  assert.equal(quote("it's"), `'it'\\''s'`);
  assert.equal(quote('/a-b_c.d:1=2'), '/a-b_c.d:1=2');
  assert.equal(quote(''), "''");
  assert.deepEqual([0.0005, 0.02, 0.1, 1.5, 0.0123456].map(checkDuration), ['500us', '20ms', '100ms', '1.5s', '12.3ms']);
});

test('a report is offered of a file, or of a process that runs; not where nothing was written', () => {
  const recording = { path: null, version: 2, clock: 'tsc', error: null };
  assert.equal(recordingOf(process_), '/dev/shm/ls/12-1.loopscope');
  assert.equal(recordingOf(process({ recording })), '12');
  assert.equal(recordingOf(process({ recording, state: 'killed' })), null);
  assert.equal(recordingOf(process({ recording: { ...recording, error: 'no space' } })), null);
});

test('the loop, the turns, the watchers and the site that a finding means', () => {
  const watchers = [watcher({ name: 'read', kind: 'io' }), watcher({ name: 'read', kind: 'timer' }), watcher({ name: 'flush', kind: 'timer' })];
  const main = loop({ id: 1, name: 'main', watchers });
  assert.equal(loopOf(finding(), [main, loop({ id: 2, name: 'other' })]), main);
  assert.equal(loopOf(finding(), [main, loop({ id: 2, name: 'main' })]), null);
  assert.equal(loopOf(finding({ subject: 'process' }), [main]), null);
  const stalls = finding({ detail: 'The longest: 300 ms in turn 120, 299 ms of it in "read" (io); 200 ms in turn 99; 150 ms in turn 120.' });
  assert.deepEqual(mentions(stalls, main), { turns: [120, 99], watchers: [{ name: 'read', kind: 'io' }] });
  assert.deepEqual(mentions(finding({ detail: 'The latest of the named ones is "flush".' }), main).watchers, [{ name: 'flush', kind: 'timer' }]);
  const frame = { function: 'leak', file: null, line: null, module: null, offset: null, inlined: false };
  const sites = [site({ id: 1, opened: 40 }), site({ id: 2, opened: 50, closed: 1 }), site({ id: 3, opened: 60 }), site({ id: 4, opened: 60, stack: [frame] })];
  const grows = (n: number, title = '') => siteOf(finding({ rule: 'fd-growth', title, detail: `This place has opened ${n} in 31.2 s, the last one 1 s ago, and none was ever closed.` }), sites)?.id ?? null;
  assert.equal(grows(40), 1);
  assert.equal(grows(50), null, 'one was closed');
  assert.equal(grows(60), null, 'two places');
  assert.equal(grows(60, '60 files opened at leak (a.cpp:3) lie idle'), 4);
  assert.equal(siteOf(finding(), sites), null);
});

const states = (changes: Parameters<typeof process>[0], age = 100) => Object.fromEntries(looks(process(changes), age).map(({ rule, look }) => [rule, look.state]));

test('silence says what it is worth', () => {
  const worked = loop({ iterations: 5000, backend: 'epoll', timer_lag_seconds: wire([[0.001, 2000]]), busy_turn_seconds: wire([[0.001, 5000]]) });
  const full = states({ loops: [worked], fds: descriptors({ opened: 0 }) });
  assert.deepEqual(new Set(Object.values(full)), new Set(['clear']));
  const young = states({ loops: [loop({ iterations: 10, timer_lag_seconds: wire([[0.001, 5]]) })], fds: descriptors({ opened: 0 }) }, 12);
  assert.equal(young['busy-spin'], 'waiting');
  assert.equal(young['timer-lag'], 'waiting');
  assert.equal(young['fd-growth'], 'waiting');
  assert.equal(young['loop-stall'], 'clear');
  const outside = states({ source: 'probe', loops: [worked], fds: descriptors({ limit: null }) });
  assert.equal(outside['fork-without-loop-fork'], 'blind');
  assert.equal(outside['backend-rebuilt'], 'blind');
  assert.equal(outside['fd-limit'], 'blind');
  const gone = states({ state: 'exited', ended: 'exit', loops: [worked], fds: descriptors() });
  assert.equal(gone['busy-spin'], 'blind');
  assert.equal(gone['fd-growth'], 'blind');
  assert.equal(states({ loops: [] })['loop-stall'], 'blind');
  assert.equal(states({ loops: [worked], findings: [finding()] })['loop-stall'], 'found');
});

test('a place with many open that the rule does not accuse is named, not denied', () => {
  const many = process({ fds: descriptors({ opened: 500, sites: [site({ live: 500, opened: 500 })], sites_total: 1 }) });
  const look = looks(many, 100).find(({ rule }) => rule === 'fd-growth')!.look;
  assert.equal(look.state, 'clear');
  assert.match(look.text, /500 open and none closed/);
});

test('the verdict: findings, too early, healthy, ended, none drawn', () => {
  const loops = [loop({ iterations: 5000 })];
  const found = verdict(process({ loops, findings: [finding({ rule: 'timer-lag' }), finding({ severity: 'error' })] }), 100, null);
  assert.equal(found.kind, 'findings');
  assert.equal(found.severity, 'error');
  assert.equal(found.headline, 'Loop “main” is stuck right now');
  assert.equal(found.text, '1 error, 1 warning: loop-stall, timer-lag');
  const unknown = verdict(process({ loops, findings: [finding({ rule: 'of-a-later-version', title: 'something odd' })] }), 100, null);
  assert.equal(unknown.headline, 'Something odd');
  assert.equal(verdict(process({ loops }), 3, null).kind, 'young');
  assert.equal(verdict(process({ loops: [loop({ iterations: 0 })] }), 300, null).kind, 'young');
  const healthy = verdict(process({ loops }), 300, null);
  assert.equal(healthy.kind, 'none');
  assert.equal(healthy.headline, 'Healthy');
  assert.match(healthy.text, /5,000 turns/);
  assert.equal(verdict(process({ loops, state: 'killed' }), 3, 'was killed').headline, 'No findings; it was killed');
  assert.equal(verdict(process({ loops, findings: null }), 300, null).kind, 'mute');
});

test('the most severe first, else in the order of the server', () => {
  const list = [finding({ rule: 'a', severity: 'info' }), finding({ rule: 'b' }), finding({ rule: 'c', severity: 'error' }), finding({ rule: 'd' })];
  assert.deepEqual(bySeverity(list).map(({ rule }) => rule), ['c', 'b', 'd', 'a']);
});
