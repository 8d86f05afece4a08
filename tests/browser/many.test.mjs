// SPDX-License-Identifier: Apache-2.0
//
// Much of everything: thousands of real descriptors that are scrolled through to the last, and the page's bounds under a load
// that a stand-in for the server makes: what exists of it in the document and in memory does not grow with what there is.
//
//   LOOPSCOPE_BIN=path/to/loopscope PAGE=path/to/webui/page node --test many.test.mjs
import assert from 'node:assert/strict';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { Tab, eventually, launch, mock, recordings, run } from './support.mjs';

const browser = await launch();
test.after(() => browser.close());
const here = dirname(fileURLToPath(import.meta.url));

const rows = (tab) => tab.id('fd-table').locator('tbody tr[data-fd]').evaluateAll((all) => all.map((row) => Number(row.dataset.fd)));

test('fifteen thousand descriptors', { timeout: 240_000 }, async (t) => {
  const observed = await run(t, recordings(t), '/usr/bin/python3', join(here, 'observed-many.py'), '15000');
  const held = Number(await observed.waitFor(/holds (\d+)/));
  assert.ok(held > 500, `only ${held}: the limit of open descriptors is low here`);
  const tab = await Tab.open(t, browser, `${observed.url}#view=descriptors`);
  await tab.live();
  const count = async () => Number((await tab.text('fd-count')).replaceAll(',', '').split(' ')[0]);
  await eventually('all are counted', async () => (await count()) >= held);
  const total = await count();
  await eventually('the first are there', async () => (await rows(tab)).includes(0));
  const elements = await tab.page.evaluate(() => document.querySelectorAll('*').length);

  // To the last row, by the scroll bar, by the keyboard, and by sorting.
  const scroller = tab.page.locator('.fd-scroll');
  await scroller.evaluate((box) => (box.scrollTop = box.scrollHeight));
  const last = await eventually('the last is there', async () => {
    const now = await rows(tab);
    return now.length > 5 && now.at(-1) >= total - 1 && now.at(-1);
  });
  await scroller.evaluate((box) => (box.scrollTop = 0));
  await eventually('the first again', async () => (await rows(tab)).includes(0));
  await scroller.focus();
  await tab.page.keyboard.press('End');
  await eventually('the last again', async () => (await rows(tab)).at(-1) === last);
  await tab.page.keyboard.press('Enter');
  await eventually('its details', async () => (await tab.id('fd-details').getAttribute('data-fd')) === String(last));
  await tab.id('fd-table').getByRole('button', { name: /^fd/ }).click();
  await eventually('sorted the other way', async () => (await rows(tab))[0] === last);

  // Here and there, as fast as it goes: what is in sight in the end is what is there.
  for (let i = 0; i < 60; i++) {
    await scroller.evaluate((box, at) => (box.scrollTop = at * box.scrollHeight), (i * 37) % 100 / 100);
    await tab.frames(1);
  }
  await scroller.evaluate((box) => (box.scrollTop = box.scrollHeight / 2));
  await eventually('the middle', async () => (await rows(tab)).length > 20 && (await rows(tab)).every((fd, i, all) => i === 0 || all[i - 1] > fd));
  assert.ok((await tab.page.evaluate(() => document.querySelectorAll('*').length)) < elements + 600, 'rows exist for what is in sight only');

  // The one that is called otherwise.
  await tab.page.getByRole('searchbox', { name: 'Search descriptors' }).fill('/dev/zero');
  await eventually('one is left', async () => (await count()) === 1 && (await rows(tab)).length === 1);
  assert.match(await tab.id('fd-table').locator('tr[data-fd]').innerText(), /\/dev\/zero/);
  await tab.expectNoProblems();
});

/** Bytes of the script's heap, after a collection. */
async function heap(tab, session) {
  for (let i = 0; i < 2; i++) await session.send('HeapProfiler.collectGarbage');
  return (await session.send('Runtime.getHeapUsage')).usedSize;
}

test('a hundred thousand descriptors, twenty loops, five hundred watchers', { timeout: 240_000 }, async (t) => {
  const url = await mock(t, '--loops', '20', '--watchers', '500', '--fds', '100000');
  const tab = await Tab.open(t, browser, url);
  await tab.live();
  await eventually('all rows', async () => (await tab.id('overview-loop').count()) >= 10);
  for (const view of ['overview', 'loop', 'watchers', 'descriptors', 'findings', 'take']) {
    await tab.view(view);
    if (view === 'descriptors') await eventually('rows', async () => (await rows(tab)).length > 10);
    if (view === 'watchers') await eventually('rows', async () => (await tab.id('watchers-table').locator('tr[data-watcher]').count()) > 10);
    await tab.frames(3);
    const elements = await tab.page.evaluate(() => document.querySelectorAll('*').length);
    t.diagnostic(`${view}: ${elements} elements`);
    assert.ok(elements < 4000, `${view}: ${elements} elements`);
  }

  // What the server keeps telling is not kept: after the histories have begun, a hundred events more cost little.
  const session = await tab.page.context().newCDPSession(tab.page);
  await session.send('HeapProfiler.enable');
  await tab.view('overview');
  const taken = () => tab.page.locator('footer').innerText();
  const events = async (n) => {
    let seen = 0;
    let last = '';
    await eventually(`${n} more seconds of events`, async () => {
      const now = await taken();
      if (now !== last) seen++;
      last = now;
      return seen > n;
    });
  };
  await events(8);
  const before = await heap(tab, session);
  await events(12);
  const after = await heap(tab, session);
  // Histories of twenty loops may take some 30 kB a second while they fill; an event, some hundred kB, must go.
  t.diagnostic(`${(before / 2 ** 20).toFixed(1)} MiB, then ${(after / 2 ** 20).toFixed(1)} MiB`);
  assert.ok(after - before < 12 * 2 ** 20, `the heap grew from ${before} to ${after} bytes`);
  await tab.expectNoProblems();
});
