// SPDX-License-Identifier: Apache-2.0
//
// The page of `loopscope run -- PROGRAM`: programs that nobody prepared, and the processes they start.
//
//   LOOPSCOPE_BIN=path/to/loopscope node --test run.test.mjs
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { Tab, eventually, launch, recordings, run, snapshot } from './support.mjs';

const browser = await launch();
test.after(() => browser.close());

const here = dirname(fileURLToPath(import.meta.url));
const row = (rows, pid) => rows.find((candidate) => candidate.pid === pid) ?? assert.fail(`no ${pid} in ${JSON.stringify(rows)}`);

/** The counts of the ledger as the page shows them, by name. */
const ledger = (tab) =>
  tab.id('ledger').locator('dd').evaluateAll((cells) =>
    Object.fromEntries(cells.map((cell) => [cell.dataset.count, Number(cell.innerText.replaceAll(',', ''))])),
  );

/** In both themes, with the tree open and without. */
async function shootAll(tab, name) {
  for (const colorScheme of ['light', 'dark']) {
    await tab.page.emulateMedia({ colorScheme });
    await tab.tree();
    await tab.shoot(`${name}-tree-${colorScheme}`);
    await tab.page.keyboard.press('Escape');
    assert.equal(await tab.id('process-tree').count(), 0);
    await tab.shoot(`${name}-${colorScheme}`);
  }
  await tab.page.emulateMedia({ colorScheme: 'light' });
}

test('a node server behind a shell', { timeout: 240_000 }, async (t) => {
  // The shell stays, with another program, when the server is gone.
  const script = `node '${join(here, 'observed-server.mjs')}'; exec sleep 600`;
  const observed = await run(t, recordings(t), 'sh', '-c', script);
  const tab = await Tab.open(t, browser, `${observed.url}#view=loop`);
  await tab.id('loop-facts').waitFor();
  const seconds = (performance.now() - observed.began) / 1000;
  t.diagnostic(`a loop is on the page ${seconds.toFixed(2)} s after \`loopscope run\` was started, browser's tab included`);

  // Requests, all the time: the loop is at work.
  const server = await observed.waitFor(/server (\S+)/);
  const get = async (path) => Number(await (await fetch(`${server}${path}`)).text());
  const pid = await get('');
  let working = true;
  const load = (async () => {
    while (working) await get('');
  })();
  try {
    await eventually('its turns show', async () => (await tab.figure('turns-per-second')) > 20);
    assert.match(await tab.text('loop-facts'), /^epoll on descriptor \d+ · thread \d+$/);
    assert.equal(await tab.id('process-picker').getAttribute('data-pid'), String(pid));
    for (let i = 0; i < 7; i++) await get('keep');
    await shootAll(tab, 'run-node');
  } finally {
    working = false;
    await load;
  }

  // The tree: the shell on top, without a loop, the server below it.
  const rows = await tab.tree();
  const [shell] = rows;
  assert.deepEqual([shell.depth, shell.ended, shell.selected], [0, '', false]);
  assert.match(shell.text, /^sh .*no loop$/);
  const node = row(rows, pid);
  assert.deepEqual([node.depth, node.ended, node.selected], [1, '', true]);
  assert.match(node.text, /busy$/);
  await tab.page.keyboard.press('Escape');

  await tab.view('descriptors');
  // Its descriptors: the ledger adds up to what the kernel says, and the place that leaks is on top of its kind.
  assert.equal(await tab.id('descriptors').getAttribute('data-ledger'), 'true');
  await eventually('the number of open descriptors is the kernel\'s', async () => {
    const open = await tab.figure('fds-open');
    const { inherited, opened, closed, unseen } = await ledger(tab);
    return opened > 7 && inherited + opened - closed + unseen === open && open === readdirSync(`/proc/${pid}/fd`).length;
  });
  const sites = () =>
    tab.id('sites-table').locator('tbody tr').evaluateAll((all) => all.map((one) => ({ kind: one.dataset.kind, live: Number(one.dataset.live) })));
  const listed = await sites();
  assert.deepEqual(listed.map((site) => site.live), listed.map((site) => site.live).sort((a, b) => b - a));
  // Of code that is compiled while it runs, one line may be several sites.
  const kept = async () => (await sites()).filter((site) => site.kind === 'file').reduce((sum, site) => sum + site.live, 0);
  await eventually('all that is kept is listed', async () => (await kept()) === 7);
  await get('keep');
  await eventually('and grows', async () => (await kept()) === 8);
  const leak = tab.id('sites-table').locator('tr[data-kind=file]').first();
  await leak.locator('summary').click();
  await eventually('its stack', async () => (await leak.locator('ol li').count()) > 3);
  const oldest = () => leak.locator('td').last().innerText();
  const before = await oldest();
  await eventually('its age moves', async () => (await oldest()) !== before);
  assert.equal(await leak.locator('details').getAttribute('open'), '', 'a stack stays open while numbers move');
  const files = tab.id('kinds-table').locator('tr[data-kind=file] .strong');
  assert.ok(Number(await files.innerText()) >= 8);

  // A process without a loop says so.
  await tab.view('loop');
  await tab.tree();
  await tab.page.getByRole('treeitem', { name: /^sh/ }).click();
  await tab.page.getByText('has waited on nothing so far').waitFor();
  assert.equal(await tab.id('loop-facts').count(), 0);
  await tab.view('descriptors');
  await tab.id('ledger').waitFor();
  await tab.shoot('run-no-loop');
  await tab.view('loop');

  // The server dies, the shell becomes another program; both are still there to look at.
  await tab.tree();
  await tab.page.getByRole('treeitem', { name: /^node/ }).click();
  process.kill(pid, 'SIGKILL');
  await eventually('a banner says so', async () => (await tab.text('banner')).includes(`Process ${pid} was killed`));
  assert.match(await tab.text('loop-facts'), /^epoll/);
  const last = await eventually('the shell is a sleep', async () => {
    const now = await tab.tree();
    return now.some((one) => one.pid === shell.pid && one.ended === 'exec → sleep') && now;
  });
  assert.deepEqual(
    last.filter((one) => one.pid === shell.pid).map((one) => [one.depth, one.ended, one.text.split(' ')[0]]),
    [
      [0, '', 'sleep'],
      [1, 'exec → sleep', 'sh'],
    ],
  );
  assert.deepEqual([row(last, pid).depth, row(last, pid).ended], [1, 'killed by SIGKILL']); // the shell was told
  await shootAll(tab, 'run-ended');
  await tab.tree();
  await tab.page.getByRole('treeitem', { name: /^sh/ }).click();
  await eventually('what became of it', async () => (await tab.text('banner')).includes('became another program by exec'));
  await tab.page.getByRole('button', { name: 'show what it became, sleep' }).click();
  await eventually('the sleep is on screen', async () => (await tab.text('process-picker')).startsWith('sleep'));
  await tab.expectNoProblems();
});

test('a python server that forks', { timeout: 240_000 }, async (t) => {
  const observed = await run(t, recordings(t), '/usr/bin/python3', join(here, 'observed-forks.py'));
  const tab = await Tab.open(t, browser, observed.url);
  await observed.waitFor(/(forked)/);
  const ends = ['exited 0', 'exited 3', 'exec → cat', 'killed by SIGKILL'];
  const rows = await eventually('all children have ended', async () => {
    const now = await tab.tree();
    return ends.every((end) => now.some((one) => one.ended === end)) && now;
  });
  await tab.page.keyboard.press('Escape');
  assert.equal(rows.length, 6, JSON.stringify(rows));
  const { pid } = rows[0];
  assert.deepEqual([rows[0].depth, rows[0].ended], [0, '']);
  // The living child first, below it what it was; then the others.
  assert.deepEqual([rows[1].depth, rows[1].ended, rows[1].text.split(' ')[0]], [1, '', 'cat']);
  assert.deepEqual([rows[2].depth, rows[2].ended, rows[2].pid], [2, 'exec → cat', rows[1].pid]);
  assert.deepEqual(rows.slice(3).map((one) => one.depth), [1, 1, 1]);
  assert.deepEqual(rows.slice(3).map((one) => one.ended).sort(), ['exited 0', 'exited 3', 'killed by SIGKILL']);

  // The server itself waits in select.
  await tab.page.goto('about:blank');
  await tab.page.goto(`${observed.url}#view=loop`); // nobody has chosen
  await eventually('the server is on screen', async () => (await tab.id('process-picker').getAttribute('data-pid')) === String(pid));
  await eventually('its turns show', async () => (await tab.figure('turns-per-second')) > 2);
  assert.match(await tab.text('loop-facts'), /^select · thread \d+$/);
  await eventually('it waits', async () => (await tab.page.getByText('waiting in select').count()) === 1);
  await shootAll(tab, 'run-forks');

  // What an ended child did can still be read.
  await tab.tree();
  await tab.page.locator('[role=treeitem][data-ended="exited 3"]').click();
  const child = rows.find((one) => one.ended === 'exited 3').pid;
  await eventually('a banner says how', async () => (await tab.text('banner')).includes(`Process ${child} exited with status 3`));
  assert.match(await tab.text('loop-facts'), /^epoll on descriptor \d+ · thread \d+$/);
  const { processes } = await snapshot(observed.url);
  assert.equal(processes.find((one) => one.pid === child).loops[0].iterations, 40);
  await tab.page.getByText('40 since start').waitFor();
  await tab.expectNoProblems();
});
