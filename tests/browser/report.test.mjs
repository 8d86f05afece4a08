// SPDX-License-Identifier: Apache-2.0
//
// A report is a page in a file: opened from the disk it shows every view, asks for nothing, and nothing in a name comes to life.
// Once saved by the page of a server, once made by `loopscope report` from what a crash has left.
//
//   LOOPSCOPE_BIN=path/to/loopscope LOOPSCOPE_DEMO=path/to/demo node --test report.test.mjs
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import { Demo, Tab, eventually, hostileProxy, launch, recordings, snapshot } from './support.mjs';

const cli = process.env.LOOPSCOPE_BIN ?? 'loopscope';
const browser = await launch();
test.after(() => browser.close());

const views = ['overview', 'loop', 'watchers', 'descriptors', 'findings', 'take'];

async function save(tab, testid, path) {
  const [download] = await Promise.all([tab.page.waitForEvent('download'), tab.id(testid).click()]);
  await download.saveAs(path);
  return download.suggestedFilename();
}

/** Opens a file and goes through its views. */
async function openReport(t, path) {
  const tab = await Tab.open(t, browser, pathToFileURL(path).href);
  await eventually('it says that it is saved', async () => (await tab.state()) === 'saved');
  const texts = {};
  for (const view of views) {
    await tab.id(`view-${view}`).click();
    await eventually(`the view ${view}`, async () => (await tab.page.locator('main').getAttribute('data-view')) === view);
    texts[view] = await tab.page.locator('main').innerText();
    assert.match(texts[view], /^Saved page: what was known on \d{4}-\d\d-\d\d at /);
  }
  return { tab, texts };
}

const slices = (trace) =>
  trace.traceEvents
    .filter((event) => event.ph === 'X')
    .map(({ cat, name, tid, args }) => [cat, name, tid, args.turn, args.result, args.watcher, args.timeout]);

test('saved by the page, of a program that names things badly', { timeout: 240_000 }, async (t) => {
  const directory = recordings(t);
  const demo = await Demo.start(t, directory);
  const bite = '</script><script>globalThis.bitten = 1</script><img src=x onerror="globalThis.bitten = 2"><!--';
  const url = await hostileProxy(t, demo.url, bite);
  const tab = await Tab.open(t, browser, url);
  await tab.live();
  await tab.id('view-take').click();
  const path = join(directory, 'saved.html');
  assert.match(await save(tab, 'take-report-save', path), /^loopscope-.*\.html$/);
  await tab.expectNoProblems();

  // The program ends, and its server with it: the report is all there is.
  tab.serverMayBeGone = true;
  await demo.kill();
  const report = await openReport(t, path);
  assert.ok(report.texts.overview.includes(bite), 'names are shown as they are');
  assert.ok(report.texts.watchers.includes(bite));
  assert.equal(await report.tab.page.evaluate(() => globalThis.bitten), undefined);
  assert.equal(await report.tab.page.evaluate(() => document.scripts.length), 2);
  await report.tab.expectNoProblems();

  // The page that has lost its server still gives what it remembers.
  const gone = join(directory, 'gone.trace.json');
  await save(tab, 'take-trace-loop', gone);
  assert.ok(slices(JSON.parse(readFileSync(gone, 'utf8'))).length > 0);
  await eventually('it says so', async () => /that this page remembers/.test(await tab.id('take-trace').innerText()));
  await save(tab, 'take-report-save', join(directory, 'gone.html'));
  assert.equal((await openReport(t, join(directory, 'gone.html'))).texts.watchers.includes(bite), true);
});

test('made by the command, from what a crash has left', { timeout: 240_000 }, async (t) => {
  const directory = recordings(t);
  const demo = await Demo.start(t, directory);
  await demo.press('slow-callback');
  // Over, too: only finished turns are kept.
  const over = (loop) => loop.stalls > 0 && loop.stalled_seconds === 0;
  await eventually('a stall is recorded', async () => (await snapshot(demo.url)).processes[0].loops.some(over));
  const { pid } = demo;
  await demo.kill();
  const environment = { ...process.env, LOOPSCOPE_DIR: directory };
  const report = (...args) => execFileSync(cli, ['report', ...args, String(pid)], { env: environment, encoding: 'utf8', maxBuffer: 2 ** 28 });
  const path = join(directory, 'crash.html');
  report('--format', 'html', '-o', path);

  const { tab, texts } = await openReport(t, path);
  assert.match(texts.loop, /killed/);
  assert.match(texts.take, /This report was made from a recording, without a server/);
  await tab.shoot('report-from-crash');

  // Its trace is the command's.
  const saved = join(directory, 'page.trace.json');
  const button = (await tab.id('take-trace-all').count()) > 0 ? 'take-trace-all' : 'take-trace-loop';
  await save(tab, button, saved);
  const fromPage = JSON.parse(readFileSync(saved, 'utf8'));
  const fromCommand = JSON.parse(report('--format', 'trace'));
  assert.ok(slices(fromCommand).length > 20);
  assert.deepEqual(slices(fromPage).sort(), slices(fromCommand).sort());
  const parts = (trace) => new Map(trace.traceEvents.filter(({ cat }) => cat === 'wait' || cat === 'busy').map((event) => [`${event.tid} ${event.args.turn} ${event.cat}`, event]));
  const page = parts(fromPage);
  for (const [key, { ts, dur }] of parts(fromCommand)) {
    // The page has the instants as doubles of seconds: a quarter of a microsecond. Lengths may be 1 ns shorter, in either.
    assert.ok(Math.abs(page.get(key).ts - ts) < 1.5, `${key}: at ${page.get(key).ts} and ${ts}`);
    assert.ok(Math.abs(page.get(key).dur - dur) < 0.0015, `${key}: ${page.get(key).dur} and ${dur} long`);
  }
  const instants = (trace) => trace.traceEvents.filter((event) => event.ph === 'i').map(({ name, tid, args }) => [name, tid, args.turn]);
  assert.ok(instants(fromCommand).some(([name]) => name === 'stall'));
  assert.deepEqual(instants(fromPage).sort(), instants(fromCommand).sort());
  const tracks = (trace) => trace.traceEvents.filter((event) => event.ph === 'M').map(({ name, tid, args }) => [name, tid, args]);
  assert.deepEqual(tracks(fromPage), tracks(fromCommand));
  await tab.expectNoProblems();
});
