// SPDX-License-Identifier: Apache-2.0
//
// The page in a real Chromium, on the real demo: what somebody sees who watches a server misbehave, die and come back.
//
//   LOOPSCOPE_DEMO=path/to/demo LOOPSCOPE_BIN=path/to/loopscope node --test story.test.mjs
//
// CHROMIUM: the browser, default: chromium in PATH. SCREENSHOTS: where pictures go.
import assert from 'node:assert/strict';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { Demo, Tab, demoBinary, eventually, hostileProxy, launch, recordings, serve, snapshot } from './support.mjs';

const browser = await launch();
test.after(() => browser.close());

/** A test that starts with a demo and the page of its Inspector, and has no tolerance for errors. */
function story(name, body) {
  test(name, { timeout: 120_000 }, async (t) => {
    const directory = recordings(t);
    const demo = await Demo.start(t, directory);
    const tab = await Tab.open(t, browser, demo.url);
    await tab.live();
    await body({ t, directory, demo, tab });
    await tab.expectNoProblems();
  });
}

/** `text`: the one that is meant. On a machine without a free processor others are slow as well. */
async function slowTurn(tab, watcher, ms, text = /./) {
  const rows = tab.page.locator(`[data-testid=slow-turn][data-slow=true][data-watcher="${watcher}"]:not([data-in-progress])`);
  await rows.filter({ hasText: text }).first().waitFor({ timeout: ms });
}

const bannerSays = (tab, pattern, ms) =>
  eventually(`a banner says ${pattern}`, async () => pattern.exec(await tab.text('banner')), ms);

story('the page is alive', async ({ demo, tab }) => {
  // It opens with the loop that works, not with the main thread's, which waits for signals.
  await eventually('the server is on screen', async () => (await tab.loopTab('server').getAttribute('aria-selected')) === 'true');
  assert.deepEqual(
    await tab.page.getByRole('tab').evaluateAll((tabs) => tabs.map((element) => element.dataset.loop)),
    ['admin', 'server', 'load'],
  );
  for (const name of ['load', 'server']) {
    await tab.loopTab(name).click();
    await eventually(`${name} turns`, async () => (await tab.figure('turns-per-second')) > 100);
    const seen = new Set();
    await eventually(`${name}'s figure moves`, async () => seen.add(await tab.figure('turns-per-second')).size > 1);
    await eventually(`${name}'s utilization shows`, async () => {
      const share = await tab.figure('utilization');
      return share > 0 && share < 100 && /%$/.test(await tab.text('utilization'));
    });
    assert.ok(Number(await tab.id('turn-strip').getAttribute('data-turns')) > 50);
  }

  // The same numbers as the JSON's. The rate is compared over what passes between two snapshots.
  const before = await snapshot(demo.url);
  const iterations = (s) => s.processes[0].loops.find((loop) => loop.name === 'server').iterations;
  const seconds = (s) => new Date(s.taken_at).getTime() / 1000;
  let rates = [];
  const after = await eventually('two seconds of turns', async () => {
    rates.push(await tab.figure('turns-per-second'));
    const now = await snapshot(demo.url);
    return seconds(now) - seconds(before) > 2 && now;
  });
  const rate = (iterations(after) - iterations(before)) / (seconds(after) - seconds(before));
  rates.push(await tab.figure('turns-per-second'));
  assert.ok(Math.min(...rates) < rate * 1.3 && Math.max(...rates) > rate * 0.7, `${rates} turns a second, really ${rate}`);
  const server = after.processes[0].loops.find((loop) => loop.name === 'server');
  assert.equal(await tab.figure('registered-fds'), server.registered_fds);
  assert.ok(Math.abs((await tab.figure('fds-open')) - after.processes[0].fds.open) <= 3);
  const names = await tab.page.locator('[data-testid=watchers-table] tbody tr:not(.special)').evaluateAll((rows) => rows.map((row) => row.dataset.watcher));
  assert.deepEqual(names.sort(), server.watchers.map((watcher) => watcher.name).sort());
  // On a machine without a free processor it may be late, and is told so.
  assert.equal(await tab.id('findings').locator('[data-rule]:not([data-rule=loop-stall], [data-rule=timer-lag])').count(), 0);
  assert.equal(await tab.text('banner'), '');
  await tab.shoot('alive-light');

  // What is looked at survives a reload.
  await tab.loopTab('load').click();
  await tab.id('window-select').selectOption('5');
  await tab.page.reload();
  await tab.live();
  assert.equal(await tab.loopTab('load').getAttribute('aria-selected'), 'true');
  assert.equal(await tab.id('window-select').inputValue(), '5');
});

story('a slow callback has a name', async ({ demo, tab }) => {
  await demo.press('slow-callback');
  await slowTurn(tab, 'client', 2000, /\b2\d\d(\.\d+)?\sms/);
  const finding = tab.page.locator('[data-rule=loop-stall][data-severity=warning]').filter({ hasText: 'loop "server"' });
  await finding.waitFor();
  assert.match(await finding.innerText(), /"server"[^]*"client"/);
  await eventually('calm again', async () => (await tab.id('loop-phase').getAttribute('data-stalled')) === 'false');

  await tab.shoot('slow-light');
  await tab.page.emulateMedia({ colorScheme: 'dark' });
  await tab.shoot('slow-dark');
  await tab.page.setViewportSize({ width: 400, height: 800 });
  const overflow = () => tab.page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
  await eventually('nothing sticks out of a narrow screen', async () => (await overflow()) <= 0, 2000);
  await tab.shoot('slow-400px');
});

story('a stall shows while it lasts', async ({ demo, tab }) => {
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
    20_000,
  );
  await slowTurn(tab, 'resolver', 2000);
});

story('the server is killed and comes back', async ({ t, directory, demo, tab }) => {
  const address = new URL(demo.url).host;
  tab.serverMayBeGone = true;
  await demo.kill();
  await eventually('the connection is lost', async () => (await tab.state()) === 'lost');
  await bannerSays(tab, /Connection lost.*showing what was known/);
  assert.ok((await tab.figure('fds-open')) > 0, 'what was known is still shown');
  await tab.shoot('gone');

  const next = await Demo.start(t, directory, { listen: address });
  assert.equal(next.url, demo.url);
  await tab.live();
  await bannerSays(tab, new RegExp(`Process ${demo.pid} restarted as ${next.pid}`));
  await eventually('it is alive', async () => (await tab.figure('turns-per-second')) > 100);
  assert.doesNotMatch(await tab.text('banner'), /lost/);
  await tab.shoot('restarted');
});

test('a killed process can still be looked at', { timeout: 120_000 }, async (t) => {
  const directory = recordings(t);
  const demo = await Demo.start(t, directory, { inspector: false });
  const { url } = await serve(t, directory);
  await eventually('it works', async () => (await demo.state()).answers > 100);
  const watching = await Tab.open(t, browser, url);
  await eventually('somebody watches', async () => (await watching.figure('turns-per-second')) > 100);
  await demo.press('slow-callback');
  const stalled = (loop) => loop.name === 'server' && loop.stalls === 1 && loop.stalled_seconds === 0;
  await eventually('it has stalled', async () => (await snapshot(url)).processes[0].loops.some(stalled));
  await demo.press('blocking-resolve');
  await eventually('it stalls again', async () => (await snapshot(url)).processes[0].loops.some((loop) => loop.stalled_seconds > 0));
  await demo.kill();

  // Who was watching keeps what there was.
  await bannerSays(watching, new RegExp(`Process ${demo.pid} was killed`));
  for (const name of ['server', 'admin']) {
    await watching.loopTab(name).click();
    await watching.id('slow-turn').first().waitFor();
    const blank = await watching.page.locator('#loop').getByText('nothing measured').count();
    assert.ok(blank <= 1, `${blank} charts of ${name} are blank`); // it may have no timers
  }
  await watching.expectNoProblems();

  // Nobody was watching here.
  const tab = await Tab.open(t, browser, url);
  await tab.live();
  await bannerSays(tab, new RegExp(`Process ${demo.pid} was killed`));
  await tab.loopTab('server').click();
  // What it did last, and what it was doing.
  await slowTurn(tab, 'client', 3000);
  assert.equal(await tab.text('current-watcher'), 'resolver');
  assert.ok(Number(await tab.id('turn-strip').getAttribute('data-turns')) > 50);
  const iterations = (await snapshot(url)).processes[0].loops.find((loop) => loop.name === 'server').iterations;
  assert.ok(iterations > 100);
  await tab.shoot('killed');

  const next = await Demo.start(t, directory, { inspector: false });
  await tab.page.getByRole('button', { name: `show the running one, pid ${next.pid}` }).click();
  await eventually('the running one is alive', async () => (await tab.figure('turns-per-second')) > 100);
  assert.doesNotMatch(await tab.text('banner'), /killed/);
  await tab.expectNoProblems();
});

story('a tab that slept wakes up', async ({ demo, tab }) => {
  const session = await tab.page.context().newCDPSession(tab.page);
  const answers = async () => (await demo.state()).answers;
  const turns = () => tab.page.locator('[data-testid=turns-per-second] ~ .under').innerText();
  await eventually('it works', async () => (await tab.figure('turns-per-second')) > 100);

  await session.send('Page.setWebLifecycleState', { state: 'frozen' });
  const asleep = await answers();
  await eventually('much has happened meanwhile', async () => (await answers()) > asleep + 4000); // four seconds
  await session.send('Page.setWebLifecycleState', { state: 'active' });
  await tab.live();
  const woken = await turns();
  await eventually('numbers move again', async () => (await turns()) !== woken);
  await eventually('and are right', async () => {
    const server = (await snapshot(demo.url)).processes[0].loops.find((loop) => loop.name === 'server');
    return (await tab.figure('turns-per-second')) > 100 && Math.abs((await tab.figure('registered-fds')) - server.registered_fds) === 0;
  });
  assert.equal(await tab.text('banner'), '');
});

test('a token opens the page', { timeout: 120_000 }, async (t) => {
  const directory = recordings(t);
  await Demo.start(t, directory, { inspector: false });
  const file = join(recordings(t), 'token');
  writeFileSync(file, 's3cret\n', { mode: 0o600 });
  const { url } = await serve(t, directory, '--token-file', file);
  const tab = await Tab.open(t, browser, url);
  tab.problems.length = 0; // the browser itself notes the 401
  await eventually('it is locked', async () => (await tab.state()) === 'locked');
  await tab.shoot('locked');
  await tab.id('token-form').locator('input').fill('s3cret');
  await tab.page.keyboard.press('Enter');
  await tab.live();
  await eventually('it shows', async () => (await tab.figure('turns-per-second')) > 0);
  assert.doesNotMatch(tab.page.url(), /s3cret/);
});

test('names are text, whatever they say', { timeout: 120_000 }, async (t) => {
  const suffix = '<img src=x onerror="globalThis.hacked=1"><script>globalThis.hacked=1</script>"\'&amp;\u202e';
  const directory = recordings(t);
  const binary = join(recordings(t), '<b onclick=x>b');
  symlinkSync(demoBinary, binary);
  const demo = await Demo.start(t, directory, { binary, inspector: false });
  const { url } = await serve(t, directory);

  const real = await Tab.open(t, browser, url);
  await real.live();
  await real.page.getByText('<b onclick=x>b').first().waitFor();
  await real.expectNoProblems();

  await demo.press('slow-callback');
  const tab = await Tab.open(t, browser, await hostileProxy(t, url, suffix));
  await tab.live();
  await tab.page.locator('[data-rule]').first().waitFor();
  await tab.page.getByRole('tab', { name: 'server' }).click();
  await tab.page.getByTestId('watchers-table').getByText(`client${suffix}`, { exact: true }).waitFor();
  await tab.page.getByTestId('slow-turns').getByText(`client${suffix}`, { exact: true }).first().waitFor();
  await tab.page.getByTestId('findings').getByText(suffix).first().waitFor();
  assert.equal(await tab.page.evaluate(() => globalThis.hacked), undefined);
  assert.equal(await tab.page.locator('img, body script').count(), 0);
  await tab.shoot('hostile');
  await tab.expectNoProblems();
});
