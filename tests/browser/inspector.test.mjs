// SPDX-License-Identifier: Apache-2.0
//
// The page of a program that serves it itself (the library's Inspector): numbers that are right, a server that dies with its
// program and comes back, time that can be held and gone back in, a tab that sleeps, a narrow screen.
//
//   LOOPSCOPE_DEMO=path/to/demo node --test inspector.test.mjs
import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { Demo, Tab, eventually, launch, recordings, seconds, snapshot, views } from './support.mjs';

const browser = await launch();
test.after(() => browser.close());

/** A test that starts with a demo and the page of its Inspector, at its busiest loop, and has no tolerance for errors. */
function story(name, body) {
  test(name, { timeout: 240_000 }, async (t) => {
    const directory = recordings(t);
    const demo = await Demo.start(t, directory);
    const tab = await Tab.open(t, browser, demo.url);
    await tab.live();
    await body({ t, directory, demo, tab });
    await tab.expectNoProblems();
  });
}

/** `text`: the one that is meant. On a machine without a free processor others are slow as well. */
const slowTurn = (tab, watcher, text = /./) =>
  tab.page.locator(`[data-testid=slow-turn][data-slow=true][data-watcher="${watcher}"]:not([data-in-progress])`).filter({ hasText: text }).first().waitFor();

const bannerSays = (tab, pattern) => eventually(`a banner says ${pattern}`, async () => pattern.exec(await tab.text('banner')));

async function lookAt(tab, loop) {
  await tab.view('loop');
  await tab.loopTab(loop).click();
  await eventually(`${loop} is on screen`, async () => (await tab.loopTab(loop).getAttribute('aria-selected')) === 'true');
}

story('the numbers are those of the snapshot', async ({ demo, tab }) => {
  // It opens with the loop that works, not with the main thread's, which waits for signals.
  await tab.view('loop');
  await eventually('the server is on screen', async () => (await tab.loopTab('server').getAttribute('aria-selected')) === 'true');
  assert.deepEqual(
    await tab.page.getByRole('tab').evaluateAll((tabs) => tabs.map((element) => element.dataset.loop)),
    ['admin', 'server', 'load'],
  );
  for (const name of ['load', 'server']) {
    await lookAt(tab, name);
    await eventually(`${name} turns`, async () => (await tab.figure('turns-per-second')) > 20);
    const seen = new Set();
    await eventually(`${name}'s figure moves`, async () => seen.add(await tab.figure('turns-per-second')).size > 1);
    await eventually(`${name}'s utilization shows`, async () => {
      const share = await tab.figure('utilization');
      return share > 0 && share < 100 && /%$/.test(await tab.text('utilization'));
    });
    await eventually('the strip fills', async () => Number(await tab.id('turn-strip').getAttribute('data-turns')) > 50);
  }

  // The rate is compared over what passes between two snapshots: none of the page's may be beyond all that there was.
  const before = await snapshot(demo.url);
  const iterations = (s) => s.processes[0].loops.find((loop) => loop.name === 'server').iterations;
  const time = (s) => new Date(s.taken_at).getTime() / 1000;
  const rates = [];
  const after = await eventually('two seconds of turns', async () => {
    rates.push(await tab.figure('turns-per-second'));
    const now = await snapshot(demo.url);
    return time(now) - time(before) > 2 && now;
  });
  const rate = (iterations(after) - iterations(before)) / (time(after) - time(before));
  rates.push(await tab.figure('turns-per-second'));
  assert.ok(Math.min(...rates) < rate * 1.5 && Math.max(...rates) > rate * 0.5, `${rates} turns a second, really ${rate}`);
  const server = after.processes[0].loops.find((loop) => loop.name === 'server');
  assert.equal(await tab.figure('registered-fds'), server.registered_fds);
  await tab.view('watchers');
  const names = await tab.page.locator('[data-testid=watchers-table] tbody tr:not(.special)').evaluateAll((rows) => rows.map((row) => row.dataset.watcher));
  assert.deepEqual(names.sort(), server.watchers.map((watcher) => watcher.name).sort());

  // The library sees what is open, and not who opened it: it says so, and its table is there all the same.
  await tab.view('descriptors');
  assert.equal(await tab.id('descriptors').getAttribute('data-ledger'), 'false');
  await eventually('as many as there are', async () => Math.abs((await tab.figure('fds-open')) - (await snapshot(demo.url)).processes[0].fds.open) <= 3);
  await eventually('each is in the table', async () => (await tab.id('fd-table').locator('tr[data-fd]').count()) > 20);

  // On a machine without a free processor it may be late, and is told so.
  await tab.view('findings');
  const others = await tab.id('findings').locator('[data-rule][data-severity]:not([data-rule=loop-stall], [data-rule=timer-lag])').count();
  assert.equal(others, 0);
  assert.equal(await tab.text('banner'), '');
});

story('what is looked at survives a reload', async ({ tab }) => {
  await lookAt(tab, 'load');
  await tab.id('window-select').selectOption('5');
  await tab.view('watchers');
  await tab.id('watchers-table').getByRole('button', { name: /calls/ }).click();
  await tab.id('watchers-table').locator('tr[data-watcher=heartbeat]').first().click();
  await tab.id('watcher-details').waitFor();
  await tab.page.reload();
  await tab.live();
  await eventually('the watcher is open again', async () => (await tab.id('watcher-details').getAttribute('data-watcher')) === 'heartbeat');
  assert.equal(await tab.page.locator('main').getAttribute('data-view'), 'watchers');
  assert.equal(await tab.loopTab('load').getAttribute('aria-selected'), 'true');
  assert.equal(await tab.id('window-select').inputValue(), '5');
  assert.match(await tab.id('watchers-table').locator('th[aria-sort=descending]').innerText(), /^calls/);
  // Back leads through what was looked at.
  await tab.page.goBack();
  await eventually('the loop again', async () => (await tab.page.locator('main').getAttribute('data-view')) === 'loop');
});

story('time can be held, zoomed, and gone back in', async ({ demo, tab }) => {
  await demo.press('slow-callback');
  await lookAt(tab, 'server');
  const turns = () => tab.page.locator('[data-testid=turns-per-second] ~ .under').innerText();
  await eventually('some seconds of lines', async () => seconds(/seen (.*) and keeps/.exec(await tab.page.locator('.over-time').innerText())[1]) >= 6);
  const width = async () => seconds(/, (.*)$/.exec(await tab.id('time-stretch').innerText())[1]);
  const held = async () => (await tab.id('time-state').getAttribute('data-held')) === 'true';
  const before = await width();
  assert.equal(await held(), false);
  const earlier = tab.page.getByRole('button', { name: 'Earlier' });
  await eventually('zoomed in, far enough for an earlier', async () => {
    await tab.page.getByRole('button', { name: 'Zoom in' }).click();
    return (await width()) <= 3 && earlier.isEnabled();
  });
  await eventually('zooming holds', held);
  await eventually('and shows less', async () => (await width()) < before);
  const stretch = await tab.id('time-stretch').innerText();
  const counted = await turns();
  await eventually('meanwhile the server goes on', async () => (await turns()) !== counted);
  assert.equal(await tab.id('time-stretch').innerText(), stretch, 'what is held stays');
  await eventually('earlier', async () => {
    if (await earlier.isEnabled()) await earlier.click(); // a step is less than the seconds that are written
    return (await tab.id('time-stretch').innerText()) !== stretch;
  });

  // Dragged over a chart: that stretch.
  const heat = tab.id('heat-busy').locator('canvas[role=img]');
  await heat.evaluate((canvas) => canvas.scrollIntoView({ block: 'center' }));
  await tab.frames(2);
  const chart = await heat.boundingBox();
  const wide = await width();
  await tab.page.mouse.move(chart.x + chart.width * 0.6, chart.y + chart.height / 2);
  await tab.page.mouse.down();
  await tab.page.mouse.move(chart.x + chart.width * 0.75, chart.y + chart.height / 2, { steps: 5 });
  await tab.page.mouse.up();
  await eventually('the drag zooms', async () => (await width()) < wide);

  await tab.page.keyboard.press('Escape');
  await eventually('Escape leads back to live', async () => !(await held()));
  await eventually('the window again', async () => (await width()) === before);
  await tab.page.evaluate(() => document.activeElement.blur()); // a button that has the focus would be pressed
  await tab.page.keyboard.press('Space');
  await eventually('Space holds', held);
  await tab.id('pause').click();
  await eventually('the button releases', async () => !(await held()));
});

story('a stall shows while it lasts', async ({ demo, tab }) => {
  await lookAt(tab, 'server');
  // 0.3 s, of which the page must catch a moment: not each time.
  await eventually(
    'the stalled turn with its watcher',
    async () => {
      if (!(await demo.state()).active['blocking-resolve']) await demo.press('blocking-resolve');
      await tab.page
        .locator('[data-testid=slow-turn][data-in-progress=true][data-watcher=resolver]')
        .waitFor({ state: 'attached', timeout: 700 });
      return true;
    },
    90_000,
  );
  await slowTurn(tab, 'resolver');
});

story('the server is killed and comes back', async ({ t, directory, demo, tab }) => {
  const address = new URL(demo.url).host;
  await lookAt(tab, 'server');
  await demo.press('slow-callback');
  await slowTurn(tab, 'client', /2\d\d(\.\d+)?\sms/);
  await eventually('the page has what a report is made of', () => tab.asked.some((path) => path.endsWith('/report.html')));
  tab.serverMayBeGone = true;
  await demo.kill();
  await eventually('the connection is lost', async () => (await tab.state()) === 'lost');
  await bannerSays(tab, /Connection lost.*showing what was known/);
  await bannerSays(tab, /This server is part of the process, which has probably ended/);
  assert.ok(Number(await tab.id('turn-strip').getAttribute('data-turns')) > 50, 'what was known is still shown');
  await tab.shoot('gone');
  await tab.view('overview');
  assert.match(await tab.text('verdict'), /does not answer any more/);

  // What the page remembers can still be taken away.
  await tab.id('banner-take').click();
  const trace = await tab.saveJson('take-trace-all', join(directory, 'gone.trace.json'));
  const slow = trace.traceEvents.filter(({ ph, cat, dur, args }) => ph === 'X' && cat === 'busy' && args.watcher === 'client' && dur >= 200_000);
  assert.ok(slow.length > 0, 'the slow turn is in the trace');
  await eventually('it says where it is from', async () => /that this page remembers/.test(await tab.text('take-trace')));
  assert.match(await tab.save('take-report-save', join(directory, 'gone.html')), /\.html$/);

  const next = await Demo.start(t, directory, { listen: address });
  assert.equal(next.url, demo.url);
  await tab.live();
  await bannerSays(tab, new RegExp(`Process ${demo.pid} restarted as ${next.pid}`));
  await lookAt(tab, 'server');
  await eventually('it is alive', async () => (await tab.figure('turns-per-second')) > 20);
  assert.doesNotMatch(await tab.text('banner'), /lost/);
});

story('a tab that slept wakes up', async ({ demo, tab }) => {
  const session = await tab.page.context().newCDPSession(tab.page);
  const answers = async () => (await demo.state()).answers;
  await lookAt(tab, 'server');
  const turns = () => tab.page.locator('[data-testid=turns-per-second] ~ .under').innerText();
  await eventually('it works', async () => (await tab.figure('turns-per-second')) > 20);

  await session.send('Page.setWebLifecycleState', { state: 'frozen' });
  const asleep = await answers();
  await eventually('much has happened meanwhile', async () => (await answers()) > asleep + 4000); // two seconds and more
  await session.send('Page.setWebLifecycleState', { state: 'active' });
  await tab.live();
  const woken = await turns();
  await eventually('numbers move again', async () => (await turns()) !== woken);
  await eventually('and are right', async () => {
    const server = (await snapshot(demo.url)).processes[0].loops.find((loop) => loop.name === 'server');
    return (await tab.figure('turns-per-second')) > 20 && (await tab.figure('registered-fds')) === server.registered_fds;
  });
  await eventually('no banner stays', async () => (await tab.text('banner')) === '');
});

story('a narrow screen', async ({ demo, tab }) => {
  await demo.press('slow-callback');
  await demo.press('leak');
  await tab.page.setViewportSize({ width: 400, height: 800 });
  for (const view of views) {
    await tab.view(view);
    if (view === 'loop') await tab.id('slow-turn').first().click(); // its panel, too
    const overflow = () => tab.page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
    await eventually(`nothing sticks out of ${view}`, async () => (await overflow()) <= 0);
    await tab.shoot(`narrow-${view}`, { height: 1400 });
  }
});
