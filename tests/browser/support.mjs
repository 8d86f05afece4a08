// SPDX-License-Identifier: Apache-2.0
//
// What the story needs: programs that end with their test, a browser, and polling with deadlines.
import { chromium } from 'playwright-core';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { accessSync, constants, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';

export const demoBinary = process.env.LOOPSCOPE_DEMO ?? 'demo';
const cliBinary = process.env.LOOPSCOPE_BIN ?? 'loopscope';
const screenshots = resolve(process.env.SCREENSHOTS ?? join(tmpdir(), 'loopscope-screenshots'));

export const views = ['overview', 'loop', 'watchers', 'descriptors', 'findings', 'take'];

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** The first true result of attempt(); what it throws means: not yet. */
export async function eventually(what, attempt, ms = 60_000) {
  const end = Date.now() + ms;
  for (;;) {
    let reason = '';
    try {
      const result = await attempt();
      if (result) return result;
    } catch (error) {
      reason = `: ${error.message}`;
    }
    if (Date.now() > end) assert.fail(`not within ${ms} ms: ${what}${reason}`);
    await sleep(30);
  }
}

/** "1 min 05 s" as the page writes it: 65. */
export function seconds(text) {
  const parts = [...text.matchAll(/([\d.]+)\s*(ms|s|min|h|d)\b/g)];
  assert.ok(parts.length > 0, `no time: ${text}`);
  return parts.reduce((sum, [, value, unit]) => sum + Number(value) * { ms: 1e-3, s: 1, min: 60, h: 3600, d: 86400 }[unit], 0);
}

// --- programs --------------------------------------------------------------------------------------------------------

const children = new Set();

function endAll() {
  for (const child of children) child.kill('SIGKILL');
}
process.on('exit', endAll);
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    endAll();
    process.exit(1);
  });
}

class Program {
  /** `stdin`: 'pipe' for one that ends when its input does. */
  constructor(binary, args, directory, { environment = {}, stdin = 'ignore' } = {}) {
    this.output = '';
    this.child = spawn(binary, args, {
      env: { ...process.env, LOOPSCOPE_DIR: directory, ...environment },
      stdio: [stdin, 'pipe', 'pipe'],
    });
    this.pid = this.child.pid;
    children.add(this.child);
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on('data', (data) => (this.output += data));
    this.ended = new Promise((done) => {
      this.child.on('error', (error) => {
        this.failure = error;
        done();
      });
      this.child.on('exit', () => {
        children.delete(this.child);
        done();
      });
    });
  }

  async waitFor(pattern) {
    const match = await eventually(`${pattern} in ${this.output}`, () => this.failure || this.over || pattern.exec(this.output));
    assert.ok(Array.isArray(match), `${this.child.spawnargs.join(' ')} failed: ${this.failure ?? this.output}`);
    return match[1];
  }

  get over() {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  /** As a terminal would: `loopscope run` passes it on, and ends with its program; one that lingers, by the next. */
  async end() {
    for (let i = 0; i < 20 && !this.over && !this.failure; i++) {
      this.child.kill('SIGTERM');
      await Promise.race([this.ended, sleep(500)]);
    }
    await this.kill();
  }
}

/** Ends with the test. `options`: see Program. */
export function start(t, binary, args, directory, options) {
  const program = new Program(binary, args, directory, options);
  t.after(() => program.kill());
  return program;
}

/** A directory for recordings, gone with the test. */
export function recordings(t) {
  const directory = mkdtempSync(join(process.env.LOOPSCOPE_DIR ?? tmpdir(), 'browser-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export class Demo extends Program {
  static async start(t, directory, { listen = '127.0.0.1:0', inspector = true, binary = demoBinary, args = [] } = {}) {
    const where = inspector ? ['--listen', listen] : ['--no-inspector'];
    const demo = new Demo(binary, [...where, '--admin-port', '0', ...args], directory);
    t.after(() => demo.kill());
    demo.admin = await demo.waitFor(/^admin +(\S+)$/m);
    if (inspector) demo.url = await demo.waitFor(/^page +(\S+)$/m);
    return demo;
  }

  /** Under `loopscope run --linger forever`, as `make demo` has it: the page outlives the demo. */
  static async underRun(t, directory, { binary = demoBinary, args = [] } = {}) {
    const program = [binary, '--no-inspector', '--admin-port', '0', ...args];
    const demo = new Demo(cliBinary, ['run', '--listen', '127.0.0.1:0', '--linger', 'forever', '--summary', 'none', '--', ...program], directory);
    t.after(() => demo.end());
    demo.url = await demo.waitFor(/(http:\/\/127\.0\.0\.1:\d+\/) shows/);
    demo.pid = Number(/ \(pid (\d+)\)/.exec(demo.output)[1]);
    demo.admin = await demo.waitFor(/^admin +(\S+)$/m);
    return demo;
  }

  async press(fault) {
    const response = await fetch(`${this.admin}do/${fault}`, { method: 'POST', redirect: 'manual' });
    assert.equal(response.status, 303);
  }

  async state() {
    return (await fetch(`${this.admin}state`)).json();
  }
}

export async function serve(t, directory, ...args) {
  const server = new Program(cliBinary, ['serve', '--listen', '127.0.0.1:0', '--dir', directory, ...args], directory);
  t.after(() => server.kill());
  server.url = await server.waitFor(/(https?:\/\/127\.0\.0\.1:\d+\/)/);
  return server;
}

/** `loopscope run -- PROGRAM`: what the program writes is in its output too. */
export async function run(t, directory, ...program) {
  const began = performance.now();
  const observed = new Program(cliBinary, ['run', '--listen', '127.0.0.1:0', '--summary', 'none', '--', ...program], directory);
  t.after(() => observed.end());
  observed.began = began;
  observed.url = await observed.waitFor(/(http:\/\/127\.0\.0\.1:\d+\/) shows/);
  return observed;
}

/** The page's stand-in for a server (webui/page/dev). PAGE: where webui/page is; BUILT_PAGE: what was built of it. */
export async function mock(t, ...args) {
  const page = resolve(process.env.PAGE ?? '../../webui/page');
  const dir = resolve(process.env.BUILT_PAGE ?? join(page, 'dist'));
  const server = new Program(process.execPath, [join(page, 'dev/mock-server.mjs'), '--port', '0', '--dir', dir, ...args], tmpdir());
  t.after(() => server.kill());
  return server.waitFor(/(http:\/\/127\.0\.0\.1:\d+\/)/);
}

export async function snapshot(url) {
  return (await fetch(`${url}api/v1/snapshot?recent=0`)).json();
}

/** Passes everything on, but every name and sentence in the data (snapshots, turns, descriptors) ends in `suffix`: a program that names things so. */
export async function hostileProxy(t, url, suffix) {
  const structural = new Set(['schema', 'id', 'taken_at', 'started_at', 'since', 'state', 'phase', 'result', 'severity', 'mode', 'source', 'process', 'origin', 'end', 'ended']);
  const rename = (value, key) => {
    if (typeof value === 'string') return structural.has(key) ? value : value + suffix;
    if (Array.isArray(value)) return value.map((item) => rename(item, key));
    if (value === null || typeof value !== 'object') return value;
    const renameKeys = key === 'by_kind';
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [renameKeys ? name + suffix : name, rename(item, name)]));
  };
  const proxy = http.createServer((request, response) => {
    const upstream = http.get(new URL(request.url, url), { agent: false }, (answer) => {
      const type = answer.headers['content-type'] ?? '';
      response.writeHead(answer.statusCode, { ...answer.headers, 'content-length': [], 'transfer-encoding': [] });
      if (type.startsWith('application/json')) {
        const parts = [];
        answer.on('data', (part) => parts.push(part));
        answer.on('end', () => response.end(JSON.stringify(rename(JSON.parse(Buffer.concat(parts).toString())))));
        return;
      }
      if (!type.startsWith('text/event-stream')) {
        answer.pipe(response);
        return;
      }
      let rest = '';
      answer.setEncoding('utf8');
      answer.on('data', (text) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop();
        for (const line of lines) {
          const data = line.startsWith('data: ') ? `data: ${JSON.stringify(rename(JSON.parse(line.slice(6))))}` : line;
          response.write(`${data}\n`);
        }
      });
      answer.on('close', () => response.destroy());
    });
    upstream.on('error', () => response.destroy());
    response.on('close', () => upstream.destroy());
  });
  t.after(() => {
    proxy.closeAllConnections?.();
    proxy.close();
  });
  await new Promise((done) => proxy.listen(0, '127.0.0.1', done));
  return `http://127.0.0.1:${proxy.address().port}/`;
}

// --- browser ---------------------------------------------------------------------------------------------------------

function findChromium() {
  const places = process.env.PATH.split(delimiter).map((directory) => join(directory, 'chromium'));
  const found = [process.env.CHROMIUM, ...places].find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  assert.ok(found, 'no Chromium: install Debian\'s "chromium", or say where it is in the environment variable CHROMIUM');
  return found;
}

/** With a profile of its own in a temporary directory; playwright removes it. */
export function launch(...args) {
  return chromium.launch({
    executablePath: findChromium(),
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...args,
    ],
  });
}

/**
 * A tab, and what is wrong with it: errors in the console, violations of the content security policy, requests that leave
 * the page's origin. With `t`, the test fails for any of them.
 */
export class Tab {
  static async open(t, browser, url, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: 'light', ...options });
    t.after(() => context.close());
    const page = await context.newPage();
    page.setDefaultTimeout(60_000); // a machine may have other things to do
    const tab = new Tab(page, url);
    await page.addInitScript(() => {
      globalThis.violations = [];
      addEventListener('securitypolicyviolation', (event) => globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
    });
    page.on('console', (message) => {
      if (message.type() !== 'error' && message.type() !== 'warning') return;
      const refused = /^Failed to load resource: net::ERR_/.test(message.text());
      if (!(refused && tab.serverMayBeGone)) tab.problems.push(`console: ${message.text()}`);
    });
    page.on('pageerror', (error) => tab.problems.push(`thrown: ${error.stack}`));
    page.on('dialog', (dialog) => {
      tab.problems.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    const { origin, protocol } = new URL(url);
    const own = (target) => [protocol === 'file:' ? url : `${origin}/`, 'data:', `blob:${origin}/`].some((start) => target.startsWith(start));
    page.on('request', (request) => {
      tab.asked.push(request.url());
      if (!own(request.url())) tab.problems.push(`request: ${request.url()}`);
    });
    page.on('websocket', (socket) => tab.problems.push(`websocket: ${socket.url()}`));
    page.on('popup', (popup) => tab.problems.push(`window: ${popup.url()}`));
    await page.goto(url);
    return tab;
  }

  constructor(page, url) {
    this.page = page;
    this.url = url;
    this.problems = [];
    this.asked = [];
    this.serverMayBeGone = false;
  }

  id(testid) {
    return this.page.getByTestId(testid);
  }

  async text(testid) {
    return (await this.id(testid).innerText()).replaceAll('\u00a0', ' ');
  }

  state() {
    return this.id('connection-state').getAttribute('data-state');
  }

  async live() {
    await eventually('the page is live', async () => (await this.state()) === 'live');
  }

  /** Opens the tree of processes, and gives its rows from top to bottom. */
  async tree() {
    if ((await this.id('process-tree').count()) === 0) await this.id('process-picker').click();
    return this.page.getByTestId('process-tree').getByRole('treeitem').evaluateAll((rows) =>
      rows.map((row) => ({
        pid: Number(row.dataset.pid),
        depth: Number(row.dataset.depth),
        ended: row.dataset.ended,
        selected: row.getAttribute('aria-selected') === 'true',
        text: row.innerText.replaceAll(/\s+/g, ' '),
      })),
    );
  }

  /** By the link that the header has for it. */
  async view(name) {
    await this.id(`view-${name}`).click();
    await eventually(`the view ${name}`, async () => (await this.page.locator('main').getAttribute('data-view')) === name);
  }

  /** Presses a button, and gives what it saves: where to, and under which name it would have been. */
  async save(testid, path) {
    const [download] = await Promise.all([this.page.waitForEvent('download', { timeout: 60_000 }), this.id(testid).click()]);
    await download.saveAs(path);
    return download.suggestedFilename();
  }

  async saveJson(testid, path) {
    await this.save(testid, path);
    return JSON.parse(readFileSync(path, 'utf8'));
  }

  /** The row of a loop in the overview. */
  row(name) {
    return this.page.locator(`[data-testid=overview-loop][data-loop="${name}"]`);
  }

  loopTab(name) {
    return this.page.getByRole('tab', { name });
  }

  /** A figure as the number it stands for: "1.2 k" is 1200, "3.4 %" is 3.4. */
  async figure(testid) {
    const text = await this.text(testid);
    const match = /^([\d.,]+)\s*([kM%]?)/.exec(text);
    assert.ok(match, `${testid} is no number: ${text}`);
    return Number(match[1].replaceAll(',', '')) * ({ k: 1e3, M: 1e6 }[match[2]] ?? 1);
  }

  /**
   * A picture of the page from its top, all of it or so many pixels; or of the part that `from` is. What is below the window is
   * not drawn before it comes near, so the window is as high as the picture.
   */
  async shoot(name, { height, from } = {}) {
    mkdirSync(screenshots, { recursive: true });
    const path = join(screenshots, `${name}.png`);
    const before = this.page.viewportSize();
    const whole = await this.page.evaluate(() => Math.ceil((document.querySelector('footer') ?? document.body).getBoundingClientRect().bottom + scrollY) + 16);
    await this.page.setViewportSize({ width: before.width, height: Math.max(320, Math.min(height ?? whole, whole)) });
    await this.page.evaluate(() => {
      scrollTo(0, 0);
      for (const box of document.querySelectorAll('.sites-scroll, .fd-scroll, .tall')) box.scrollTop = 0;
    });
    await this.frames(5);
    if (from) await this.page.locator(from).screenshot({ path });
    else await this.page.screenshot({ path });
    await this.page.setViewportSize(before);
  }

  /** So many times the page was painted. */
  frames(n) {
    return this.page.evaluate(
      (left) =>
        new Promise((done) => {
          const next = () => (left-- > 0 ? requestAnimationFrame(next) : done());
          next();
        }),
      n,
    );
  }

  async expectNoProblems() {
    assert.deepEqual([...this.problems, ...(await this.page.evaluate(() => globalThis.violations))], []);
  }
}
