// SPDX-License-Identifier: Apache-2.0
//
// Programs that name HTML wherever a name can go, with line breaks, letters from right to left, bytes that are no UTF-8, and
// kilobytes of it: each is shown on the page as the text it is, nothing of it comes to life, on the live page, in a report that
// it saves, in one that the command makes, and in what the server answers without a page.
//
//   LOOPSCOPE_BIN=path/to/loopscope LOOPSCOPE_PROBE_FILE=.../libloopscope-probe.so LIBRARY_CROWD=path/to/storm_library_crowd \
//     HOSTILE=path/to/browser_hostile HOSTILE_MODULE=path/to/its/module node --test injection.test.mjs
//
// Python, Ruby and Node are those of PATH or of Debian.
//
// LOOPSCOPE_WEBUI_DIR: another page than the one that is built in.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Tab, eventually, launch, recordings, serve, snapshot, start, views } from './support.mjs';

const cli = process.env.LOOPSCOPE_BIN ?? 'loopscope';
const probe = process.env.LOOPSCOPE_PROBE_FILE;
const here = dirname(fileURLToPath(import.meta.url));
/** Milliseconds for all names of one program to be seen, on a machine that has other things to do. */
const PATIENCE = 150_000;
const browser = await launch();
test.after(() => browser.close());

// --- what they are called --------------------------------------------------------------------------------------------

/** HTML that sets `bit`, or asks for something, if it is taken for HTML; `id` is a few letters and digits. */
const shapes = {
  svg: (id) => `<svg onload=bit="${id}">`,
  img: (id) => `<img src=x onerror=bit="${id}">`,
  away: (id) => `<img src=\\\\away.example\\${id}>`, // to a browser these are slashes
  quote: (id) => `" autofocus onfocus=bit="${id}" x='`,
  script: (id) => `<script>bit="${id}"</script>`,
  end: (id) => `--></title></script><script>bit="${id}"</script>`,
  frame: (id) => `<iframe srcdoc="<script>top.bit='${id}'</script>">`,
};
const html = Object.keys(shapes);
Object.assign(shapes, {
  bidi: (id) => `<b onclick=bit="${id}">\u202e\u2066x`,
  lines: (id) => `<b onclick=bit="${id}">\r\n\t\u202e\u2028x`,
  bytes: (id) => `<b onclick=bit="${id}">\udcff\udcc3x`, // as Python writes the bytes ff and c3
  long: (id) => `<b onclick=bit="${id}">${'x'.repeat(5000)}`,
});
const all = Object.keys(shapes);
shapes.tail = (id) => `${'x'.repeat(200)}<b onclick=bit="${id}">`; // of a path the end is kept
/** That can be the name of one file. */
const ofFiles = html.filter((shape) => !shapes[shape]('').includes('/'));
/** A thread's has 15 bytes. */
const ofThreads = ['<svg onload=b>', '<b onclick=b()>', '<img src=\\\\b.c>', "\" onclick='b()'", '<b onclick=c>\n\t'];
for (const name of ofThreads) assert.ok(name.length <= 15);

/** What is to be seen of a name: each byte that is no UTF-8 is one U+FFFD; a long name is cut somewhere. */
const seenAs = (name) => name.replaceAll(/[\udc80-\udcff]/g, '\ufffd').replace(/^x{16,}/, '').replace(/(x{16})x*$/, '$1');
/** All names that are given away: {process, kind, text}. */
const given = [];
const give = (process, kind, name) => {
  const text = seenAs(name);
  assert.ok(!given.some((one) => one.text.includes(text) || text.includes(one.text)), `${text} is told from all others`);
  given.push({ process, kind, text });
  return name;
};
/** The bytes of a name. */
const bytesOf = (name) => Buffer.concat([...name].map((one) => (/[\udc80-\udcff]/.test(one) ? Buffer.from([one.charCodeAt(0) & 0xff]) : Buffer.from(one))));
const named = (process, kind, which, limit = Infinity) => which.map((shape) => give(process, kind, shapes[shape](`n${given.length + 100}`).slice(0, limit)));

/** A built file in another place, with HTML where it says hostile_KIND_SHAPE_xxx; as long, so that nothing else moves. */
function renamed(process, from, to) {
  const names = new Map();
  const text = readFileSync(from, 'latin1').replaceAll(/hostile_([a-z]+)_([a-z]+)_x{20,}/g, (place, kind, shape) => {
    if (!names.has(place)) {
      const name = shapes[shape](`n${given.length + 100}`);
      assert.ok(name.length <= place.length);
      names.set(place, give(process, kind, name.padEnd(place.length, '_')));
    }
    return names.get(place);
  });
  writeFileSync(to, text, 'latin1');
  chmodSync(to, 0o755);
  return names.size;
}

/** Paths below `directory`, whose own directories are made. */
const below = (directory, names) =>
  names.map((name) => {
    const path = join(directory, name);
    mkdirSync(dirname(path), { recursive: true });
    return path;
  });

/** Starts them all; {name: pid}. */
async function startAll(t, directory) {
  const places = mkdtempSync(join(tmpdir(), 'lsi-')); // short: an address of a socket has 107 bytes
  t.after(() => execFileSync('rm', ['-rf', places])); // node removes no file whose name is no UTF-8
  const environment = { LD_PRELOAD: probe, LOOPSCOPE_PROBE: 'stacks=full,scripts' };
  const file = (process) => join(places, `${process}.json`);
  const pids = {};
  const begin = async (name, binary, args, says = /^(ready)$/m, options = { environment }) => {
    const program = start(t, binary, args, directory, options);
    await program.waitFor(says);
    pids[name] = program.pid;
    return program;
  };

  // Compiled: a shell that becomes it by exec, in a directory with a name of its own.
  const [binary] = below(places, named('compiled', 'program', ['img']));
  const [directoryName, fileName] = [...named('compiled', 'module directory', ['svg']), ...named('compiled', 'module', ['quote'])];
  const [module] = below(places, [join(directoryName, fileName)]);
  assert.equal(renamed('compiled', process.env.HOSTILE, binary), 14);
  assert.equal(renamed('compiled', process.env.HOSTILE_MODULE, module), 6);
  const shell = await begin('compiled', '/bin/sh', ['-c', 'exec "$0" "$@"', binary, module]);

  // Python: most of what needs no compiler. By a shell, which can give it an argument that is no UTF-8, of another name.
  const [interpreter] = below(places, named('python', 'program', ['quote']));
  symlinkSync('/usr/bin/python3', interpreter);
  const [script] = below(places, named('python', 'script file', ['svg']).map((name) => `${name}.py`));
  copyFileSync(join(here, 'observed-hostile.py'), script);
  const python = {
    threads: ofThreads.map((name) => give('python', 'thread', name)),
    files: below(places, [...named('python', 'file', all, 100), ...named('python', 'file', ['tail'])]),
    memfds: [...named('python', 'memory file', all, 100), ...named('python', 'memory file', ['tail'])],
    sockets: below(places, named('python', 'socket', [...ofFiles, 'bidi', 'lines', 'bytes', 'long'], 80)),
    abstract: named('python', 'abstract socket', [...all, 'svg'], 80),
    functions: named('python', 'script function', all),
  };
  writeFileSync(file('python'), JSON.stringify(python));
  const [bytes] = named('python', 'argument', ['bytes']);
  const octal = [...bytesOf(bytes)].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
  const others = named('python', 'argument', all.filter((shape) => shape !== 'bytes'));
  const told = `script="$1" file="$2"; shift 2; exec "$0" "$script" "$file" "$(printf '${octal}')" "$@"`;
  await begin('python', '/bin/sh', ['-c', told, interpreter, script, file('python'), ...others]);

  const [cjs] = below(places, named('node', 'script file', ['img']).map((name) => `${name}.cjs`));
  copyFileSync(join(here, 'observed-hostile.cjs'), cjs);
  writeFileSync(file('node'), JSON.stringify({ functions: named('node', 'script function', [...html, 'bidi', 'long']), scripts: named('node', 'script file', [...html, 'bidi']) }));
  const require = `--require "${join(dirname(probe), 'node-lines.cjs')}"`;
  await begin('node', process.execPath, [cjs, file('node')], undefined, { environment: { ...environment, NODE_OPTIONS: require } });

  writeFileSync(file('ruby'), JSON.stringify({ scripts: named('ruby', 'script file', [...html, 'lines']) }));
  await begin('ruby', 'ruby', [join(here, 'observed-hostile.rb'), file('ruby')]);

  // With the library: the first name is the loop's, and its watcher's too.
  const watchers = [...named('library', 'loop', ['svg']), ...named('library', 'watcher', all)];
  writeFileSync(file('library'), Buffer.concat(watchers.map((name) => bytesOf(`${name}\0`))));
  await begin('library', process.env.LIBRARY_CROWD, ['names', file('library')], /("names")/, { stdin: 'pipe' });
  return { pids, shell };
}

// --- what becomes of them ---------------------------------------------------------------------------------------------

/** The elements and attributes that no page of ours has; `bit` if one of them ran. */
const aliveIn = (page) =>
  page.evaluate(() => {
    const found = [...document.querySelectorAll('img, iframe, object, embed, base, form[action], svg[onload], b[onclick], [srcdoc], a[href^="javascript:"]')];
    for (const element of document.querySelectorAll('*')) if ([...element.attributes].some(({ name }) => name.startsWith('on'))) found.push(element);
    for (const element of document.querySelectorAll('#page script, #page style, #page link, #page meta')) found.push(element);
    for (const script of document.scripts) if (script.text.startsWith('bit=') && script.type === '') found.push(script);
    const out = found.map((element) => element.outerHTML.slice(0, 200));
    if ('bit' in globalThis) out.push(`ran: ${globalThis.bit}`);
    return out;
  });

let looks = 0;
const shown = new Set();

/** Fails if something has come to life; those of `names` that are on the page as text, or are what an element is called. */
async function look(tab, where, names) {
  const alive = await aliveIn(tab.page);
  tab.problems.push(...alive.map((what) => `${where}: ${what}`)); // what comes to life once is not forgotten by a later look
  assert.deepEqual(alive, [], where);
  const found = await tab.page.evaluate((wanted) => {
    const texts = [document.title, document.getElementById('page').textContent];
    for (const name of ['title', 'aria-label']) for (const element of document.querySelectorAll(`[${name}]`)) texts.push(element.getAttribute(name));
    return wanted.filter((name) => texts.some((text) => text.includes(name)));
  }, names);
  found.forEach((name) => shown.add(name));
  return found;
}

/** All that the page has of a process; the names that were seen. */
async function lookEverywhere(tab, where, names) {
  const seen = new Set();
  const note = async () => (await look(tab, where, names)).forEach((name) => seen.add(name));
  for (const view of views) {
    await tab.view(view);
    await tab.frames(2);
    looks++;
    await note();
    if (view === 'loop' && (await tab.id('slow-turn').count()) > 0) {
      await tab.id('slow-turn').first().click();
      await tab.id('turn-panel').waitFor();
      await eventually('the turn is known', async () => (await tab.id('turn-panel').getAttribute('data-detail')) !== 'asking');
      await note();
      await tab.id('turn-close').click();
    }
    if (view === 'watchers') {
      for (const row of await tab.id('watchers-table').locator('tbody tr[data-watcher]:not(.special)').all()) await row.click();
      await note();
    }
    if (view === 'descriptors') {
      const opened = new Set();
      const more = tab.page.getByRole('button', { name: 'show more' });
      if ((await more.count()) > 0) await more.click();
      // Each row's details: peers are there, and the stack that opened it, once that has been asked for. Rows are where one looks.
      const scroller = tab.page.locator('.fd-scroll');
      const rows = tab.id('fd-table').locator('tr[data-fd]');
      for (let top = 0, end = 0; (await rows.count()) > 0 && top <= end; top += 400) {
        end = await scroller.evaluate((element, to) => ((element.scrollTop = to), element.scrollHeight - element.clientHeight), top);
        await tab.frames(2);
        for (const fd of await rows.evaluateAll((inSight) => inSight.map((row) => row.dataset.fd))) {
          if (opened.has(fd)) continue;
          opened.add(fd);
          await tab.page.evaluate((number) => document.querySelector(`tr[data-fd="${number}"]`)?.click(), fd);
          await tab.frames(1);
          await note();
        }
      }
    }
  }
  return seen;
}

/** Those of a process, but for these kinds. */
const textsOf = (process, without = []) => given.filter((one) => one.process === process && !without.includes(one.kind)).map(({ text }) => text);
/** Of the table of all descriptors, which reports do not have. */
const ofTable = ['file', 'memory file', 'socket', 'abstract socket'];

/** Names of functions are looked up in time, some by an answer that the page asks for: until all of them have been seen. */
async function lookForAll(tab, where, wanted) {
  const seen = new Set();
  await eventually(
    `each name in ${where} is shown`,
    async () => {
      (await lookEverywhere(tab, where, wanted)).forEach((text) => seen.add(text));
      assert.deepEqual(
        wanted.filter((text) => !seen.has(text)),
        [],
      );
      return true;
    },
    PATIENCE,
  );
}

async function pick(tab, pid) {
  await tab.tree();
  await tab.page.locator(`[role=treeitem][data-pid="${pid}"][data-ended=""]`).click();
  await eventually(`${pid} is on screen`, async () => (await tab.id('process-picker').getAttribute('data-pid')) === String(pid));
}

async function openReport(t, path) {
  const tab = await Tab.open(t, browser, pathToFileURL(path).href);
  await eventually('it says that it is saved', async () => (await tab.state()) === 'saved');
  return tab;
}

test('each of these shapes is noticed where it is taken for HTML', { timeout: 240_000 }, async (t) => {
  const { url } = await serve(t, recordings(t));
  for (const shape of [...all.map((one) => shapes[one]('x')), ...ofThreads, '<p title="" autofocus onfocus=bit="x" x=\'\'>']) {
    if (!shape.startsWith('<')) continue; // what ends an attribute is tried as one
    const tab = await Tab.open(t, browser, url);
    await tab.page.evaluate((html) => {
      document.querySelector('#page').insertAdjacentHTML('beforeend', html);
    }, shape);
    assert.notDeepEqual(await aliveIn(tab.page), [], shape);
    await tab.page.context().close();
  }
});

test('HTML in names stays text', { timeout: 900_000 }, async (t) => {
  const directory = recordings(t);
  const { pids, shell } = await startAll(t, directory);
  const { url } = await serve(t, directory);
  await eventually('all are there', async () => {
    const { processes } = await snapshot(url);
    const turns = (pid) => processes.some((one) => one.pid === pid && one.state === 'running' && one.loops.length > 0);
    assert.deepEqual(Object.keys(pids).filter((name) => !turns(pids[name])), [], 'that are not');
    return true;
  });
  const tab = await Tab.open(t, browser, url);
  await tab.live();
  for (const [name, pid] of Object.entries(pids)) {
    await pick(tab, pid);
    await lookForAll(tab, name, textsOf(name));
    // What the page saves of it.
    await tab.view('take');
    const path = join(directory, `${name}.html`);
    await tab.save('take-report-save', path);
    const saved = await openReport(t, path);
    await lookForAll(saved, `${name}, saved by the page`, textsOf(name, ['script function', 'script file', 'function', 'symbol', 'demangled', 'inlined', 'source', 'module', 'module directory', ...ofTable]));
    await saved.expectNoProblems();
    await saved.page.context().close();
  }
  // As cards.
  await tab.page.setViewportSize({ width: 400, height: 900 });
  await lookEverywhere(tab, 'a narrow page', []);

  // A program that is killed is told of in words.
  await pick(tab, pids.compiled);
  await shell.kill();
  await eventually('a banner says so', async () => (await tab.text('banner')).includes(`Process ${pids.compiled} was killed`));
  await lookEverywhere(tab, 'killed', []);
  await tab.expectNoProblems();

  // What the command makes of the recordings, the killed one's too.
  for (const [name, pid] of Object.entries(pids)) {
    const path = join(directory, `${name}.html`);
    execFileSync(cli, ['report', '--format', 'html', '-o', path, String(pid)], { env: { ...process.env, LOOPSCOPE_DIR: directory }, stdio: 'pipe' });
    const report = await openReport(t, path);
    await lookForAll(report, `${name}, by the command`, textsOf(name, ofTable));
    await report.expectNoProblems();
    await report.page.context().close();
  }

  // What is no page is not taken for one.
  const plain = await Tab.open(t, browser, url);
  for (const path of ['api/v1/snapshot?descriptors=1', 'metrics', 'sd', ...html.map((shape) => encodeURI(shapes[shape]('path')))]) {
    plain.serverMayBeGone = true;
    await plain.page.goto(new URL(path, url).href);
    looks++;
    assert.deepEqual(await aliveIn(plain.page), [], path);
  }
  assert.deepEqual(plain.problems.filter((problem) => !/status of 40/.test(problem)), []);

  const kinds = new Set(given.map(({ kind }) => kind));
  assert.deepEqual(
    given.filter(({ text }) => !shown.has(text)),
    [],
  );
  console.log(`reliability: injection-browser: ${given.length} names of ${kinds.size} kinds (${[...kinds].join(', ')}), ${looks} views in Chromium: each name shown as text, none ran, asked for anything or made an element`);
});
