// SPDX-License-Identifier: Apache-2.0
//
// The page over TLS, from a certificate that its owner has made: a browser that is given its key shows all of it, live, and
// sends the token nowhere else; one that is not shows nothing.
//
//   LOOPSCOPE_DEMO=path/to/demo LOOPSCOPE_BIN=path/to/loopscope node --test tls.test.mjs
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate, createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { Demo, Tab, eventually, launch, recordings, serve, views } from './support.mjs';

const token = 'correct-horse-battery';

/** A key and a certificate of its own, as the options that serve with them; the hash of the key, by which Chromium is told of it. */
function certificate(t) {
  const directory = recordings(t);
  const [pem, key] = ['cert.pem', 'key.pem'].map((name) => join(directory, name));
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '30', '-subj', '/CN=loopscope'];
  execFileSync('openssl', ['req', '-x509', ...kind, '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', pem], { stdio: 'ignore' });
  const held = new X509Certificate(readFileSync(pem)).publicKey.export({ type: 'spki', format: 'der' });
  return { options: ['--tls-cert', pem, '--tls-key', key], spki: createHash('sha256').update(held).digest('base64') };
}

async function browserWith(t, ...args) {
  const browser = await launch(...args);
  t.after(() => browser.close());
  return browser;
}

test('the page over TLS is live, and keeps its token', { timeout: 240_000 }, async (t) => {
  const directory = recordings(t);
  const file = join(recordings(t), 'token');
  writeFileSync(file, `${token}\n`, { mode: 0o600 });
  await Demo.start(t, directory, { inspector: false });
  const { options, spki } = certificate(t);
  const { url } = await serve(t, directory, ...options, '--token-file', file);
  assert.match(url, /^https:/);
  // This key and no other: what is wrong with any other certificate stays wrong.
  const browser = await browserWith(t, `--ignore-certificate-errors-spki-list=${spki}`);
  const tab = await Tab.open(t, browser, url);
  await eventually('it is locked', async () => (await tab.state()) === 'locked');
  await tab.id('token-form').locator('input').fill('wrong');
  await tab.page.keyboard.press('Enter');
  await eventually('a wrong token is refused', async () => /was not accepted/.test(await tab.text('token-form')));
  await tab.id('token-form').locator('input').fill(token);
  await tab.page.keyboard.press('Enter');
  await tab.live();
  assert.deepEqual(tab.problems.filter((problem) => !/status of 401/.test(problem)), [], 'the browser itself notes each 401');
  tab.problems.length = 0;

  const streams = [];
  const carried = [];
  tab.page.on('response', (response) => response.url().includes('/api/v1/stream') && streams.push(response));
  tab.page.on('request', async (request) => carried.push((await request.allHeaders()).authorization));
  await tab.page.reload();
  await tab.live(); // the tab remembers the token
  await tab.view('loop');
  await tab.loopTab('server').click();
  const turns = async () => /[\d.]+\s*[kM]? since start/.exec(await tab.page.locator('#loop').innerText())?.[0];
  const before = await eventually('turns are counted', turns);
  await eventually('the stream goes on', async () => (await turns()) !== before);
  for (const view of views) {
    await tab.view(view);
    if (view === 'descriptors') await eventually('its tables as well', async () => (await tab.id('fd-table').locator('tr[data-fd]').count()) > 5);
  }
  assert.equal(streams.length, 1);
  const { protocol, subjectName } = await streams[0].securityDetails();
  assert.deepEqual([protocol, subjectName], ['TLS 1.3', 'loopscope']);
  assert.ok(carried.includes(`Bearer ${token}`));
  // All by TLS, from there; no cookie, nothing in an address.
  assert.deepEqual(tab.asked.filter((target) => !target.startsWith(url) && !target.startsWith('data:')), []);
  assert.ok(tab.asked.every((target) => !target.includes(token)));
  assert.deepEqual(await tab.page.context().cookies(), []);
  assert.deepEqual(await tab.page.evaluate(() => [document.cookie, isSecureContext, localStorage.length]), ['', true, 0]);
  await tab.expectNoProblems();
});

test('and is not shown to a browser that cannot verify it', { timeout: 240_000 }, async (t) => {
  const directory = recordings(t);
  const [ours, theirs] = [certificate(t), certificate(t)];
  const { url } = await serve(t, directory, ...ours.options);
  for (const args of [[], [`--ignore-certificate-errors-spki-list=${theirs.spki}`]]) {
    const browser = await browserWith(t, ...args);
    const page = await browser.newPage();
    await assert.rejects(page.goto(url), /ERR_CERT_AUTHORITY_INVALID/);
    await assert.rejects(page.goto(url.replace('https:', 'http:')), /net::ERR_/);
    assert.equal(await page.locator('#page').count(), 0);
    await browser.close();
  }
});
