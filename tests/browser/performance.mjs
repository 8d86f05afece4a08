// SPDX-License-Identifier: Apache-2.0
//
// The page's budget, measured: with 20 loops, 500 watchers and 10 000 descriptors at 2.5 events a second at least 50 frames a
// second in every view while somebody scrolls and points, and memory that does not grow. A measurement, not a test: it needs a
// machine that has nothing else to do.
//
//   PAGE=webui/page BUILT_PAGE=build/release/webui/page node performance.mjs [--seconds 20] [--minutes 10]
//
// The server is the page's stand-in (webui/page/dev/mock-server.mjs --loops 20 --watchers 500 --fds 10000). Frames are counted
// by requestAnimationFrame in a headless Chromium without a GPU, which paints at most 60 a second, on the processor: a frame
// costs more here than on a desktop. Work is what the browser says of the main thread (CDP Performance.getMetrics), per
// event, without a pointer. Memory is the script's heap after two collections. Ends with status 1 if a budget is missed.
import { parseArgs } from 'node:util';
import { Tab, eventually, launch, mock, sleep, views } from './support.mjs';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '20' }, minutes: { type: 'string', default: '10' } } });
const seconds = Number(values.seconds);
const minutes = Number(values.minutes);
const leastFrames = 50;
/** Lines and heatmaps of 15 minutes for each of 20 loops fill while the page looks on, some 0.3 MiB a minute, and then no more. */
const mostGrowth = 5 * 2 ** 20;
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

const cleanups = [];
const t = { after: (cleanup) => cleanups.push(cleanup) };
const browser = await launch();
let failed = false;
const verdict = (good) => {
  if (!good) failed = true;
  return good ? 'ok' : 'MISSED';
};

try {
  const url = await mock(t, '--loops', '20', '--watchers', '500', '--fds', '10000');
  const tab = await Tab.open(t, browser, url);
  await tab.live();
  const session = await tab.page.context().newCDPSession(tab.page);
  await session.send('Performance.enable');
  await session.send('HeapProfiler.enable');
  const metrics = async () => Object.fromEntries((await session.send('Performance.getMetrics')).metrics.map(({ name, value }) => [name, value]));
  const heap = async () => {
    for (let i = 0; i < 2; i++) await session.send('HeapProfiler.collectGarbage');
    return (await session.send('Runtime.getHeapUsage')).usedSize;
  };

  // Moves the pointer about and turns the wheel, as fast as the browser takes it.
  const handle = async (until) => {
    for (let i = 0; Date.now() < until; i++) {
      await tab.page.mouse.move(200 + ((i * 53) % 900), 150 + ((i * 31) % 700));
      await tab.page.mouse.wheel(0, Math.floor(i / 40) % 2 === 0 ? 60 : -60);
    }
  };

  console.log(`view          frames/s  longest gap  frames > 33 ms  work/event  script  layout   (${seconds} s each)`);
  for (const view of views) {
    await tab.view(view);
    if (view === 'descriptors') await eventually('rows', async () => (await tab.id('fd-table').locator('tr[data-fd]').count()) > 10);
    await sleep(3000);
    await tab.page.evaluate(() => {
      globalThis.gaps = [];
      let last = performance.now();
      globalThis.counting = true;
      const frame = (now) => {
        globalThis.gaps.push(now - last);
        last = now;
        if (globalThis.counting) requestAnimationFrame(frame);
      };
      requestAnimationFrame(frame);
    });
    await handle(Date.now() + seconds * 1000);
    const gaps = (await tab.page.evaluate(() => ((globalThis.counting = false), globalThis.gaps))).slice(2);
    const whole = gaps.reduce((sum, gap) => sum + gap, 0) / 1000;
    const rate = gaps.length / whole;

    // What an event costs by itself: nobody moves, nobody counts frames.
    await tab.page.mouse.move(5, 895);
    await sleep(1000);
    const before = await metrics();
    await sleep(8000);
    const after = await metrics();
    const events = (after.Timestamp - before.Timestamp) * 2.5;
    const per = (name) => `${(((after[name] - before[name]) * 1000) / events).toFixed(1)} ms`.padStart(7);
    console.log(
      `${view.padEnd(12)} ${rate.toFixed(1).padStart(9)} ${`${Math.max(...gaps).toFixed(0)} ms`.padStart(12)} ${String(gaps.filter((gap) => gap > 33.5).length).padStart(15)} ` +
        `${per('TaskDuration').padStart(11)} ${per('ScriptDuration')} ${per('LayoutDuration')}   ${verdict(rate >= leastFrames)}`,
    );
  }

  // Round and round through the views.
  await tab.view('overview');
  const begin = await heap();
  const lines = [begin];
  console.log(`\nheap after collection, going round all views: ${mib(begin)} at the beginning`);
  for (let minute = 1; minute <= minutes; minute++) {
    const until = Date.now() + 60_000;
    for (let i = 0; Date.now() < until; i++) {
      await tab.view(views[i % views.length]);
      await sleep(4000);
    }
    await tab.view('overview');
    lines.push(await heap());
    const { Nodes: nodes } = await metrics();
    console.log(`  minute ${String(minute).padStart(2)}: ${mib(lines.at(-1))}, ${nodes} nodes`);
  }
  // In the first minute every view is opened for the first time, and the dense part of the windows fills.
  const growth = lines.at(-1) - lines[1];
  console.log(`growth since minute 1: ${mib(growth)}, at most ${mib(mostGrowth)}   ${verdict(growth <= mostGrowth)}`);
  if (tab.problems.length > 0) console.log(tab.problems.join('\n'), verdict(false));
} finally {
  for (const cleanup of cleanups.reverse()) await cleanup();
  await browser.close();
}
process.exit(failed ? 1 : 0);
