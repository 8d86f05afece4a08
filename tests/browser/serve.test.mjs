// SPDX-License-Identifier: Apache-2.0
//
// The page of `loopscope serve`: several processes, the overview's keys, the dead among the living, a token, and names that
// would be markup if they were not text.
//
//   LOOPSCOPE_DEMO=path/to/demo LOOPSCOPE_BIN=path/to/loopscope node --test serve.test.mjs
import assert from 'node:assert/strict';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { Demo, Tab, demoBinary, eventually, hostileProxy, launch, recordings, run, serve, snapshot, views } from './support.mjs';

const browser = await launch();
test.after(() => browser.close());

const slowTurn = (tab, watcher, text) =>
  tab.page.locator(`[data-testid=slow-turn][data-slow=true][data-watcher="${watcher}"]:not([data-in-progress])`).filter({ hasText: text }).first().waitFor();
const bannerSays = (tab, pattern) => eventually(`a banner says ${pattern}`, async () => pattern.exec(await tab.text('banner')));

test('two processes side by side', { timeout: 240_000 }, async (t) => {
  const directory = recordings(t);
  const first = await Demo.start(t, directory, { inspector: false, args: ['--connections', '5', '--rate', '100'] });
  const second = await Demo.start(t, directory, { inspector: false });
  const { url } = await serve(t, directory);
  const tab = await Tab.open(t, browser, url);
  await tab.live();
  const grid = tab.id('overview-grid');
  const rows = () =>
    grid.locator('[role=row][data-key]').evaluateAll((all) =>
      all
        .sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top)
        .map((row) => `${row.dataset.pid} ${row.dataset.loop ?? ''}`.trim()),
    );
  const process = (pid) => [`${pid}`, ...['admin', 'server', 'load'].map((loop) => `${pid} ${loop}`)];
  await eventually('a row for each process and loop', async () => (await rows()).length === 8);
  assert.deepEqual((await rows()).sort(), [...process(first.pid), ...process(second.pid)].sort());
  await tab.shoot('overview-two');

  // Sorted by turns: the one with the load, its busiest loop first; and the other way round.
  const head = grid.getByRole('button', { name: /turns\/s/ });
  const turns = async (pid, loop) => {
    const { processes } = await snapshot(url);
    return processes.find((one) => one.pid === pid).loops.find(({ name }) => name === loop).iterations;
  };
  await eventually('the second has turned more', async () => (await turns(second.pid, 'load')) > (await turns(first.pid, 'load')) + 300);
  await head.click();
  const place = async (name) => (await rows()).indexOf(name);
  await tab.page.mouse.move(5, 5); // rows do not move under a pointer
  await eventually('the busy ones are on top', async () => (await place(`${second.pid} load`)) >= 0 && (await place(`${second.pid} load`)) < (await place(`${first.pid} load`)));
  assert.equal(await grid.locator('[aria-sort=descending]').count(), 1);
  await head.click();
  await eventually('and at the end', async () => (await place(`${second.pid} load`)) > (await place(`${first.pid} load`)));

  // Filtered by a key, found by keys, opened by a key.
  await tab.page.keyboard.press('/');
  await tab.page.keyboard.type(`${first.pid}`);
  await eventually('one process is left', async () => (await rows()).length > 0 && (await rows()).every((row) => row.startsWith(`${first.pid}`)));
  await tab.id('overview-filter').fill('server');
  await eventually('by the name of a loop', async () => (await rows()).some((row) => row === `${second.pid} server`) && !(await rows()).some((row) => /admin|load/.test(row)));
  await tab.id('overview-filter').fill('no such thing');
  await eventually('nothing', async () => (await rows()).length === 0 && /Nothing matches/.test(await tab.text('overview')));
  await tab.page.keyboard.press('Escape'); // empties it
  await eventually('all again', async () => (await rows()).length === 8);
  await tab.page.keyboard.press('Escape');
  const active = () => tab.page.evaluate(() => `${document.activeElement.dataset.pid} ${document.activeElement.dataset.loop ?? ''}`.trim());
  await tab.page.keyboard.press('j');
  await eventually('a row has the focus', async () => (await rows()).includes(await active()));
  await tab.page.keyboard.press('End');
  const last = await eventually('the last one has', async () => (await active()) === (await rows()).at(-1) && active());
  await tab.page.keyboard.press('k');
  await eventually('and the one above', async () => (await active()) === (await rows()).at(-2));
  await tab.page.keyboard.press('ArrowDown');
  await eventually('and the last again', async () => (await active()) === last);
  await tab.page.keyboard.press('Enter');
  const view = () => tab.page.locator('main').getAttribute('data-view');
  await eventually('Enter opens it', async () => (await view()) !== 'overview');
  assert.equal(await tab.id('process-picker').getAttribute('data-pid'), last.split(' ')[0]);

  // The views have keys, too; the picker leads to the other process.
  for (const [i, name] of views.entries()) {
    await tab.page.keyboard.press(String(i + 1));
    await eventually(`${i + 1} is ${name}`, async () => (await view()) === name);
  }
  await tab.page.keyboard.press('?');
  await tab.id('help-dialog').waitFor();
  await tab.page.keyboard.press('Escape');
  await eventually('the help is closed', async () => (await tab.page.locator('dialog[open]').count()) === 0);
  await tab.view('loop');
  const tree = await tab.tree();
  assert.deepEqual(tree.map(({ pid }) => pid).sort(), [first.pid, second.pid].sort());
  const other = tree.find(({ selected }) => !selected).pid;
  await tab.page.locator(`[role=treeitem][data-pid="${other}"]`).click();
  await eventually('the other one is on screen', async () => (await tab.id('process-picker').getAttribute('data-pid')) === String(other));
  await tab.page.reload();
  await tab.live();
  await eventually('and after a reload', async () => (await tab.id('process-picker').getAttribute('data-pid')) === String(other));
  assert.equal(await view(), 'loop');
  await tab.expectNoProblems();
});

test('a killed process can still be looked at', { timeout: 240_000 }, async (t) => {
  const directory = recordings(t);
  const demo = await Demo.start(t, directory, { inspector: false });
  const { url } = await serve(t, directory);
  await eventually('it works', async () => (await demo.state()).answers > 100);
  const watching = await Tab.open(t, browser, url);
  await watching.view('loop');
  await eventually('somebody watches', async () => (await watching.figure('turns-per-second')) > 20);
  await demo.press('slow-callback');
  const stalled = (loop) => loop.name === 'server' && loop.stalls >= 1 && loop.stalled_seconds === 0;
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
  const tab = await Tab.open(t, browser, `${url}#view=loop`);
  await tab.live();
  await bannerSays(tab, new RegExp(`Process ${demo.pid} was killed`));
  await tab.loopTab('server').click();
  // What it did last, and what it was doing.
  await slowTurn(tab, 'client', /(?:[2-9]\d\d(?:\.\d+)?\sms|\d\.\d+\ss)/);
  assert.equal(await tab.text('current-watcher'), 'resolver');
  assert.ok(Number(await tab.id('turn-strip').getAttribute('data-turns')) > 50);
  const iterations = (await snapshot(url)).processes[0].loops.find((loop) => loop.name === 'server').iterations;
  assert.ok(iterations > 100);

  const next = await Demo.start(t, directory, { inspector: false });
  await tab.page.getByRole('button', { name: `show the running one, pid ${next.pid}` }).click();
  await eventually('the running one is alive', async () => (await tab.figure('turns-per-second')) > 20);
  assert.doesNotMatch(await tab.text('banner'), /killed/);

  // What is there and cannot be shown is said where processes are chosen.
  writeFileSync(join(directory, '1-2-0.loopscope'), 'not a recording');
  await tab.id('process-picker').click();
  await tab.id('unreadable').filter({ hasText: '1-2-0.loopscope' }).waitFor();
  await tab.expectNoProblems();
});

test('a token opens the page', { timeout: 240_000 }, async (t) => {
  const directory = recordings(t);
  await Demo.start(t, directory, { inspector: false });
  const file = join(recordings(t), 'token');
  writeFileSync(file, 's3cret\n', { mode: 0o600 });
  const { url } = await serve(t, directory, '--token-file', file);
  const tab = await Tab.open(t, browser, url);
  await eventually('it is locked', async () => (await tab.state()) === 'locked');
  await tab.shoot('locked');
  await tab.id('token-form').locator('input').fill('wrong');
  await tab.page.keyboard.press('Enter');
  await eventually('a wrong one is refused', async () => /was not accepted/.test(await tab.text('token-form')));
  assert.equal(await tab.state(), 'locked');
  await tab.id('token-form').locator('input').fill('s3cret');
  await tab.page.keyboard.press('Enter');
  await tab.live();
  assert.deepEqual(tab.problems.filter((problem) => !/status of 401/.test(problem)), [], 'the browser itself notes each 401');
  tab.problems.length = 0;
  await tab.view('loop');
  await eventually('it shows', async () => (await tab.figure('turns-per-second')) > 0);
  await tab.view('descriptors');
  await eventually('its tables as well', async () => (await tab.id('fd-table').locator('tr[data-fd]').count()) > 5);
  await tab.view('take');
  const saved = await tab.saveJson('take-snapshot-save', join(directory, 'snapshot.json'));
  assert.equal(saved.schema, 'loopscope.snapshot/1');
  assert.doesNotMatch(tab.page.url(), /s3cret/);
  await tab.expectNoProblems();
});

const bite = '<img src=x onerror="globalThis.hacked=1"><script>globalThis.hacked=1</script>"\'&amp;\u202e';

/** Everything that can be opened, opened. */
async function lookEverywhere(tab) {
  for (const view of views) {
    await tab.view(view);
    await tab.frames(2);
    if (view === 'loop') {
      await tab.id('slow-turn').first().click();
      await tab.id('turn-panel').waitFor();
      await eventually('the turn is known', async () => (await tab.id('turn-panel').getAttribute('data-detail')) !== 'asking');
      await tab.id('turn-close').click();
    }
    if (view === 'watchers') {
      const row = tab.id('watchers-table').locator('tbody tr[data-watcher]:not(.special)').first();
      if ((await row.count()) > 0) await row.click();
    }
    if (view === 'descriptors') {
      await eventually('rows', async () => (await tab.id('fd-table').locator('tr[data-fd]').count()) > 0);
      for (const summary of await tab.id('sites-table').locator('summary').all()) await summary.click();
      await tab.id('fd-table').locator('tr[data-fd]').first().click();
      await tab.id('fd-details').waitFor();
    }
  }
  assert.equal(await tab.page.evaluate(() => globalThis.hacked), undefined);
  assert.equal(await tab.page.locator('img, body script, [onerror], [onclick]').count(), 0);
}

test('names are text, whatever they say', { timeout: 240_000 }, async (t) => {
  const directory = recordings(t);
  const binary = join(recordings(t), '<b onclick=x>b');
  symlinkSync(demoBinary, binary);
  const demo = await Demo.underRun(t, directory, { binary, args: ['--stall-threshold', '50'] });
  await demo.press('slow-callback');
  await demo.press('leak');
  const tab = await Tab.open(t, browser, await hostileProxy(t, demo.url, bite));
  await tab.live();
  await tab.page.getByText('<b onclick=x>b').first().waitFor();
  await tab.view('loop');
  await tab.page.getByRole('tab', { name: 'server' }).click();
  await tab.id('slow-turns').getByText(`client${bite}`, { exact: true }).first().waitFor();
  await lookEverywhere(tab);
  await tab.view('watchers');
  await tab.id('watchers-table').getByText(`client${bite}`, { exact: true }).waitFor();
  await tab.view('findings');
  await tab.page.locator('[data-rule]').first().waitFor();
  await tab.id('findings').getByText(bite).first().waitFor();
  await tab.view('descriptors');
  await tab.id('sites-table').getByText(bite).first().waitFor({ state: 'attached' }); // in a stack that may be folded
  await tab.id('fd-table').getByText(bite).first().waitFor();
  await tab.shoot('hostile', { height: 900 });
  await tab.expectNoProblems();
});

test('so are those that a program has by itself', { timeout: 240_000 }, async (t) => {
  const directory = recordings(t);
  const places = recordings(t);
  const name = '<img src=x onerror=globalThis.hacked=1>';
  const script = join(places, `${name}.py`);
  writeFileSync(
    script,
    `import select, sys, os
held = [open(os.path.join(${JSON.stringify(places)}, sys.argv[1]), "w") for _ in range(3)]
r, w = os.pipe()
with select.epoll() as epoll:
    epoll.register(r, select.EPOLLIN)
    while True:
        epoll.poll(0.02)
`,
  );
  const observed = await run(t, directory, '/usr/bin/python3', script, name);
  const tab = await Tab.open(t, browser, observed.url);
  await tab.live();
  await tab.view('descriptors');
  await eventually('its path is there as it is', async () => (await tab.id('fd-table').getByText(join(places, name)).count()) >= 3);
  await lookEverywhere(tab);
  await tab.expectNoProblems();
});
