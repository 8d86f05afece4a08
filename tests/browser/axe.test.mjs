// SPDX-License-Identifier: Apache-2.0
//
// What axe can tell of accessibility: every view, light and dark, wide and narrow, of a demo that has something to show
// everywhere. WCAG 2.0 to 2.2, A and AA; no exceptions.
//
//   LOOPSCOPE_DEMO=path/to/demo LOOPSCOPE_BIN=path/to/loopscope node --test axe.test.mjs
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import { Demo, Tab, eventually, launch, recordings, serve, views } from './support.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
const browser = await launch();
test.after(() => browser.close());

/** Violations as lines that say which rule, where and why. */
async function violations(tab, where, part) {
  if (!(await tab.page.evaluate(() => 'axe' in globalThis))) await tab.page.evaluate(axe);
  const found = await tab.page.evaluate(async ([wanted, only]) => {
    const { violations, passes } = await globalThis.axe.run(only ?? document, { runOnly: { type: 'tag', values: wanted }, resultTypes: ['violations'] });
    return { passed: passes.length, lines: violations.flatMap(({ id, nodes }) => nodes.slice(0, 4).map((node) => `${id}: ${node.html.slice(0, 160)}: ${node.failureSummary.replaceAll(/\s+/g, ' ')}`)) };
  }, [tags, part]);
  assert.ok(found.passed >= 3, `axe has looked at ${where}`);
  return found.lines.map((line) => `${where}: ${line}`);
}

/** In both themes and widths. `part`: a selector; without one the whole page. */
async function inAllLights(tab, name, out, part) {
  for (const colorScheme of ['light', 'dark']) {
    await tab.page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    for (const width of [1280, 400]) {
      await tab.page.setViewportSize({ width, height: 900 });
      await tab.frames(3);
      out.push(...(await violations(tab, `${name}, ${colorScheme}, ${width} px`, part)));
    }
  }
  await tab.page.setViewportSize({ width: 1280, height: 900 });
}

test('every view of a process that does everything wrong', { timeout: 400_000 }, async (t) => {
  const directory = recordings(t);
  const demo = await Demo.underRun(t, directory);
  // The tests may evaluate scripts that the page's policy forbids.
  const tab = await Tab.open(t, browser, demo.url, { bypassCSP: true });
  await tab.live();
  await demo.press('slow-callback');
  await demo.press('leak');
  const found = [];
  await eventually('a finding', async () => (await tab.id('verdict').getAttribute('data-level')) === 'warning');
  for (const view of views) {
    await tab.view(view);
    if (view === 'loop') {
      await tab.loopTab('server').click();
      await inAllLights(tab, view, found);
      await tab.id('slow-turn').first().click();
      await tab.id('turn-panel').waitFor();
      await inAllLights(tab, 'a turn', found);
      await tab.id('turn-close').click();
      continue;
    }
    if (view === 'watchers') {
      await tab.loopTab('server').click();
      await tab.id('watchers-table').locator('tr[data-watcher=client]').first().click();
      await tab.id('watcher-details').waitFor();
    }
    if (view === 'descriptors') {
      const leak = tab.id('sites-table').locator('tr[data-kind=device]').first();
      await leak.locator('summary').click();
      await eventually('rows', async () => (await tab.id('fd-table').locator('tr[data-fd]').count()) > 0);
      await tab.id('fd-table').locator('tr[data-fd]').first().click();
      await tab.id('fd-details').waitFor();
    }
    await inAllLights(tab, view, found);
  }
  await tab.id('help-button').click();
  await tab.id('help-dialog').waitFor();
  await inAllLights(tab, 'help', found);
  await tab.page.keyboard.press('Escape');

  await tab.view('overview');
  await demo.press('kill');
  await tab.id('banner-take').waitFor();
  await inAllLights(tab, 'killed', found);
  await tab.view('take');
  const path = join(directory, 'report.html');
  await tab.save('take-report-save', path);
  const report = await Tab.open(t, browser, pathToFileURL(path).href, { bypassCSP: true });
  await inAllLights(report, 'report', found);
  assert.deepEqual(found, []);
});

test('several processes', { timeout: 240_000 }, async (t) => {
  const directory = recordings(t);
  await Demo.start(t, directory, { inspector: false, args: ['--slow-callback-every', '1'] });
  await Demo.start(t, directory, { inspector: false });
  const { url } = await serve(t, directory);
  const tab = await Tab.open(t, browser, url, { bypassCSP: true });
  await tab.live();
  const found = [];
  await eventually('both', async () => (await tab.id('overview-loop').count()) === 6);
  await inAllLights(tab, 'two processes', found);
  await tab.tree();
  await inAllLights(tab, 'the tree', found, '[data-testid=process-tree]'); // it covers part of what is below
  assert.deepEqual(found, []);
});
