// SPDX-License-Identifier: Apache-2.0
//
// The whole story, in a real Chromium on the real demo, as `make demo` runs it: a healthy server blocks, leaks and is killed;
// the page says each time what, where and what to do about it, and what it knows can be taken away.
//
//   LOOPSCOPE_DEMO=path/to/demo LOOPSCOPE_BIN=path/to/loopscope node --test story.test.mjs
//
// CHROMIUM: the browser, default: chromium in PATH. SCREENSHOTS: where pictures go; those of docs/images are made here.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import { Demo, Tab, eventually, launch, recordings, seconds, snapshot } from './support.mjs';

const browser = await launch();
test.after(() => browser.close());

/** On a machine without a free processor a healthy server stalls and is late. It is told so, rightly, and this test goes on. */
const lateness = ['loop-stall', 'timer-lag'];

/** 200 ms, or what a busy machine makes of it. */
const blocked = /(?:[2-9]\d\d(?:\.\d+)?\sms|\d\.\d+\ss)/;

/** A demo that runs for some seconds without a finding; after three attempts one that was late. */
async function healthy(t) {
  for (let attempt = 1; ; attempt++) {
    const directory = recordings(t);
    const demo = await Demo.underRun(t, directory);
    const tab = await Tab.open(t, browser, demo.url);
    await tab.live();
    const level = await eventually('a verdict', async () => {
      const said = await tab.id('verdict').getAttribute('data-level');
      return said !== 'unknown' && said;
    });
    const { findings } = (await snapshot(demo.url)).processes[0];
    assert.deepEqual(findings.filter(({ rule }) => !lateness.includes(rule)), []);
    if (level === 'good' && findings.length === 0) {
      assert.match(await tab.text('verdict'), /^Healthy/);
      return { demo, tab, directory };
    }
    t.diagnostic(`attempt ${attempt}: this machine is so busy that a healthy demo was late: ${findings.map(({ title }) => title).join('; ')}`);
    if (attempt === 3) return { demo, tab, directory };
    await tab.page.close();
    await demo.end();
  }
}

/** The middle of what the strip paints in the colour of slow turns above the dashed line, which is the stall threshold; the newest. */
const markOf = (tab) =>
  tab.id('turn-strip').evaluate((strip) => {
    const canvas = strip.querySelector('canvas');
    const wanted = document.createElement('canvas').getContext('2d');
    wanted.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--slow').trim();
    wanted.fillRect(0, 0, 1, 1);
    const [r, g, b] = wanted.getImageData(0, 0, 1, 1).data;
    const box = canvas.getBoundingClientRect();
    const scale = canvas.width / box.width;
    const lane = Math.round(46 * scale);
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, lane);
    let last = -1;
    let first = -1;
    for (let x = canvas.width - 1; x >= 0; x--) {
      let found = false;
      for (let y = 0; y < lane && !found; y++) {
        const at = (y * canvas.width + x) * 4;
        found = data[at + 3] > 200 && Math.abs(data[at] - r) + Math.abs(data[at + 1] - g) + Math.abs(data[at + 2] - b) < 24;
      }
      if (found && last < 0) last = x;
      if (found) first = x;
      else if (last >= 0) break;
    }
    return last < 0 ? null : { x: box.x + (first + last) / 2 / scale, y: box.y + 80 };
  });

const busyOf = (trace, watcher) => trace.traceEvents.filter(({ ph, cat, args }) => ph === 'X' && cat === 'busy' && args.watcher === watcher);

test('healthy, slow, leaking, killed', { timeout: 480_000 }, async (t) => {
  const { demo, tab, directory } = await healthy(t);

  // The buttons' page leads here; the loops are the demo's three, and none of loopscope's.
  const loops = () => tab.id('overview-loop').evaluateAll((rows) => rows.map((row) => row.dataset.loop));
  assert.deepEqual((await loops()).sort(), ['admin', 'load', 'server']);
  await eventually('it has been seen for a while', async () => seconds(/seen so far: (.*)/.exec(await tab.text('overview'))[1]) >= 15, 60_000);
  await tab.shoot('overview');

  // A slow callback. The overview says which loop, and leads there.
  await demo.press('slow-callback');
  await eventually('the overview flags the loop', async () => /[Ll]oop "?server"? stalled/.test(await tab.text('verdict')));
  assert.equal(await tab.id('verdict').getAttribute('data-level'), 'warning');
  assert.equal(await tab.row('server').locator('.ov-found').getAttribute('aria-label'), '1 warning');
  await tab.shoot('overview-stalled');
  await tab.row('server').click();
  await eventually('its loop is on screen', async () => (await tab.loopTab('server').getAttribute('aria-selected')) === 'true');

  // The strip shows the turn while it is among the recent ones: held there, as somebody does who has seen it.
  await eventually('the strip shows a slow turn', async () => {
    if (!(await demo.state()).active['slow-callback']) await demo.press('slow-callback');
    return tab.page
      .waitForFunction(
        () => {
          const strip = document.querySelector('[data-testid=turn-strip]');
          if (Number(strip.dataset.slow) === 0) return false;
          document.querySelector('[data-testid=pause]').click();
          return true;
        },
        undefined,
        { timeout: 5000 },
      )
      .then(() => true);
  }, 60_000);
  await eventually('the page is held', async () => (await tab.id('time-state').getAttribute('data-held')) === 'true');
  const opened = await eventually('a click on its mark opens it', async () => {
    const mark = await markOf(tab);
    if (!mark) return false;
    await tab.page.mouse.click(mark.x, mark.y);
    return (await tab.id('turn-panel').count()) === 1;
  });
  assert.ok(opened);
  const panel = tab.id('turn-panel');
  await eventually('what it served is known', async () => (await panel.getAttribute('data-detail')) === 'known');
  assert.match(await panel.innerText(), /slow/);
  await panel.locator('[data-testid=turn-served][data-name=client] td.strong').filter({ hasText: blocked }).first().waitFor();
  await tab.shoot('loop', { height: 1180 });
  await tab.page.emulateMedia({ colorScheme: 'dark' });
  await tab.shoot('loop-dark', { height: 1180 });
  await tab.page.emulateMedia({ colorScheme: 'light' });
  await tab.id('turn-close').click();
  await tab.id('pause').click();
  await eventually('live again', async () => (await tab.id('time-state').getAttribute('data-held')) === 'false');

  // The finding: evidence with names, what it does to the program, what to do, what to run next.
  await tab.view('findings');
  const stall = tab.page.locator('[data-rule=loop-stall][data-severity=warning]').filter({ hasText: 'loop "server"' });
  await stall.waitFor();
  const prose = await stall.innerText();
  for (const part of [/"client"/, /what it does/i, /what to do\s+Move the work to a thread/i, /next/i, /loopscope /]) assert.match(prose, part);
  await tab.shoot('findings');

  // Its watcher, by its share and its longest call.
  await tab.view('watchers');
  await tab.loopTab('server').click();
  const client = tab.id('watchers-table').locator('tr[data-watcher=client]').first();
  await client.click();
  await tab.id('watcher-details').waitFor();
  await eventually('the turns it caused', async () => blocked.test(await tab.id('watcher-details').innerText()));
  await tab.shoot('watchers');

  // A leak. The place that opens is named, and only grows.
  await demo.press('leak');
  await tab.view('descriptors');
  const leak = tab.id('sites-table').locator('tr[data-kind=device]').filter({ hasText: 'demo::Misbehaviour::leak' });
  await leak.waitFor();
  assert.match(await leak.locator('summary').innerText(), /misbehaviour\.cpp:\d+/);
  const live = async () => Number(await leak.getAttribute('data-live'));
  const before = await live();
  await eventually('it grows', async () => (await live()) > before + 20, 60_000);
  await leak.locator('summary').click();
  await eventually('its stack', async () => /demo::Server::on_message/.test(await leak.locator('ol').innerText()));
  await eventually('the word for it', async () => Number(await leak.getAttribute('data-grows')) > 0, 90_000);
  assert.match(await leak.innerText(), /only grows/);
  // The descriptors themselves.
  await leak.getByRole('button', { name: /show its/ }).click();
  await eventually('they are in the table', async () => (await tab.id('fd-table').locator('tbody tr[data-fd]').count()) > 20);
  assert.match(await tab.id('fd-table').locator('tbody tr[data-fd]').first().innerText(), /device\s.*\/dev\/null/);
  await tab.shoot('descriptors', { height: 930 });
  await tab.view('findings');
  const growth = tab.page.locator('[data-rule=fd-growth][data-severity]');
  await growth.waitFor({ timeout: 120_000 });
  assert.match(await growth.innerText(), /Misbehaviour::leak/);

  // Killed, just after another slow turn. The page outlives it, and says how it ended.
  await demo.press('slow-callback');
  await demo.press('kill');
  await eventually('a banner says so', async () => (await tab.text('banner')).includes(`Process ${demo.pid} was killed by SIGKILL`), 60_000);
  assert.equal(await tab.state(), 'live');
  await tab.view('loop');
  await tab.loopTab('server').click();
  assert.ok(Number(await tab.id('turn-strip').getAttribute('data-turns')) > 50, 'its last turns are still there');
  await tab.shoot('killed', { height: 760 });
  await tab.shoot('over-time', { from: '.over-time' });
  await tab.view('overview');
  assert.match(await tab.text('verdict'), /killed by SIGKILL/);
  await tab.id('banner-take').click();
  await tab.id('take-away').waitFor();
  await tab.shoot('take-away');

  // The trace has the turn and whose it was; so has the report, from the disk and without a server.
  const trace = await tab.saveJson('take-trace-loop', join(directory, 'demo.trace.json'));
  const slow = busyOf(trace, 'client').filter(({ dur }) => dur >= 200_000);
  assert.ok(slow.length > 0, 'the slow turn is in the trace');
  const served = trace.traceEvents.filter(({ ph, name, dur, ts }) => ph === 'X' && name.startsWith('client') && dur >= 190_000 && ts >= slow[0].ts - 1);
  assert.ok(served.length > 0, 'and in it what took the time');
  const path = join(directory, 'demo.html');
  assert.match(await tab.save('take-report-save', path), /^loopscope-demo-\d+-.*\.html$/);
  assert.ok(readFileSync(path).length > 100_000);
  await tab.expectNoProblems();

  const report = await Tab.open(t, browser, pathToFileURL(path).href);
  await eventually('it says that it is saved', async () => (await report.state()) === 'saved');
  assert.match(await report.text('verdict'), /killed by SIGKILL/);
  await report.view('loop');
  await report.loopTab('server').click();
  await report.page.locator('[data-testid=slow-turn][data-slow=true][data-watcher=client]').filter({ hasText: blocked }).first().click();
  await eventually('whose it was', async () => /client/.test(await report.id('turn-panel').innerText()));
  await report.id('turn-close').click();
  await report.view('descriptors');
  await report.id('sites-table').getByText('demo::Misbehaviour::leak').first().waitFor();
  await report.view('findings');
  await report.page.locator('[data-rule=loop-stall][data-severity]').first().waitFor();
  assert.deepEqual(report.asked, [pathToFileURL(path).href], 'the file itself, and nothing else');
  await report.expectNoProblems();

  // Small and dark.
  await tab.view('overview');
  await tab.page.emulateMedia({ colorScheme: 'dark' });
  await tab.shoot('overview-dark');
});
