// SPDX-License-Identifier: Apache-2.0
//
// Browsers that look on for as long as the soak test lasts: COUNT tabs of one Chromium, each in a context of its own (nothing is
// shared but the program), spread over the URLs and over the views. Every sixth goes round all views, one every 20 s.
//
//   node soak_browsers.mjs COUNT URL...
//
// Lines of JSON on stdout: {"ready": COUNT}, then one a minute {"seconds", "heaps": [bytes of each tab after a collection]}. A line on
// stdin asks for a look: {"look": [{"url", "view", "problems", "heap"}]}, of each tab after it was seen live and the clock of
// its view `loop`, which goes on with each event only, was seen to move. The end of stdin ends it.
import { createInterface } from 'node:readline';
import { Tab, eventually, launch, sleep, views } from './support.mjs';

const count = Number(process.argv[2]);
const urls = process.argv.slice(3);
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

/** For what takes milliseconds on a machine that is not at full load. */
const patience = 240_000;

const cleanups = [];
const t = { after: (cleanup) => cleanups.push(cleanup) };
let ending = false;

const browser = await launch();
process.on('exit', () => void browser.close());
const tabs = [];
for (let i = 0; i < count; i++) {
  const tab = await Tab.open(t, browser, urls[i % urls.length]);
  await eventually('the page is live', async () => (await tab.state()) === 'live', patience);
  tab.rounds = i % 6 === 5;
  await go(tab, views[Math.floor(i / urls.length) % views.length]);
  const session = await tab.page.context().newCDPSession(tab.page);
  await session.send('HeapProfiler.enable');
  tab.heap = async () => {
    await session.send('HeapProfiler.collectGarbage');
    return (await session.send('Runtime.getHeapUsage')).usedSize;
  };
  tabs.push(tab);
}
say({ ready: tabs.length });

/** As a click on the view's link; playwright's own waits for the page to hold still first. */
async function go(tab, view) {
  await tab.page.evaluate((id) => document.querySelector(`[data-testid=${id}]`).click(), `view-${view}`);
  await eventually(`the view ${view}`, async () => (await tab.page.locator('main').getAttribute('data-view')) === view, patience);
  tab.at = view;
}

async function goRound() {
  for (let i = 0; !ending; i++) {
    await sleep(20_000);
    for (const tab of tabs.filter(({ rounds }) => rounds)) {
      if (ending) return;
      await go(tab, views[i % views.length]);
    }
  }
}

async function heaps() {
  const begin = performance.now();
  for (;;) {
    await sleep(60_000);
    if (ending) return;
    const sizes = [];
    for (const tab of tabs) sizes.push(await tab.heap());
    say({ seconds: (performance.now() - begin) / 1000, heaps: sizes });
  }
}

/** Of the view `loop`. */
const clock = (tab) => tab.page.evaluate(() => document.querySelector('[data-testid=time-stretch]')?.textContent);

async function look(tab) {
  const view = tab.at;
  await go(tab, 'loop');
  const before = await clock(tab);
  await eventually('the clock moves', async () => (await clock(tab)) !== before, patience);
  await eventually('it is live', async () => (await tab.state()) === 'live', patience);
  return {
    url: tab.url,
    view,
    problems: [...tab.problems, ...(await tab.page.evaluate(() => globalThis.violations))],
    heap: await tab.heap(),
  };
}

const failed = (error) => {
  if (ending) return;
  console.error(error);
  process.exit(1);
};
goRound().catch(failed);
heaps().catch(failed);
const lookOrSay = (tab) => look(tab).catch((error) => ({ url: tab.url, view: tab.at, problems: [...tab.problems, String(error)], heap: 0 }));
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== 'look') continue;
  tabs.forEach((tab) => (tab.rounds = false));
  say({ look: await Promise.all(tabs.map(lookOrSay)) });
}
ending = true;
for (const cleanup of cleanups.reverse()) await cleanup().catch(() => {});
await browser.close();
process.exit(0);
