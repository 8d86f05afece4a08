// SPDX-License-Identifier: Apache-2.0
//
// Tests that leak and tests that do not, under the hook. Run by node_test.py, which knows what each
// must come to.
'use strict';
const { after, afterEach, before, describe, it, test } = require('node:test');
const fs = require('node:fs');
const net = require('node:net');
const { promisify } = require('node:util');

const kept = [];
const listen = (server) => new Promise((resolve) => {
  server.listen(0, '127.0.0.1', () => resolve(server)); // LINE: server
});
const close = (server) => new Promise((resolve) => server.close(resolve));
let fromTest = null;
afterEach(() => {
  if (fromTest !== null) fs.closeSync(fromTest);
  fromTest = null;
});

test('leaks openSync', () => {
  fs.openSync('/dev/null'); // LINE: openSync
});

test('leaks open', (t, done) => {
  fs.open('/dev/zero', (error) => done(error)); // LINE: open
});

test('leaks promisified', async () => {
  kept.push(await promisify(fs.open)('/dev/null')); // LINE: promisified
});

test('leaks a file handle', async () => {
  kept.push(await fs.promises.open('/dev/null')); // LINE: promises
});

test('leaks a server', async () => {
  kept.push(await listen(net.createServer()));
  kept.at(-1).unref();
});

test('leaks both ends', async () => {
  const server = await listen(net.createServer());
  const accepted = new Promise((resolve) => server.once('connection', resolve));
  const client = net.connect(server.address().port, '127.0.0.1'); // LINE: client
  kept.push(client, await accepted);
  for (const socket of [client, await accepted]) socket.unref();
  await new Promise((resolve) => { server.close(); setImmediate(resolve); });
});

test('leaks under false timers', (t) => {
  t.mock.timers.enable();
  fs.openSync('/dev/null');
});

test('healthy parent', async (t) => {
  await t.test('leaks in a subtest', () => { fs.openSync('/dev/null'); });
  await t.test('healthy subtest', () => { fs.closeSync(fs.openSync('/dev/null')); });
});

describe('suite', () => {
  let shared;
  before(() => { shared = fs.openSync('/dev/null'); });
  after(() => fs.closeSync(shared));
  it('healthy with shared', () => { fs.fstatSync(shared); });
  it('leaks in a suite', () => { fs.openSync('/dev/null'); });
  describe('inner', () => {
    it('healthy inner', () => { fs.fstatSync(shared); });
  });
});

test('healthy closed', () => { fs.closeSync(fs.openSync('/dev/null')); });

test('healthy closed by t.after', (t) => {
  const number = fs.openSync('/dev/null');
  t.after(() => fs.closeSync(number));
});

test('healthy closed by afterEach', () => { fromTest = fs.openSync('/dev/null'); });

test('healthy conversation', async () => {
  const server = await listen(net.createServer((socket) => socket.end('x')));
  const client = net.connect(server.address().port, '127.0.0.1');
  for await (const data of client) kept.push(data.toString());
  await close(server);
});

test('healthy stream', async () => {
  for await (const data of fs.createReadStream(__filename)) kept.push(data.length);
});

test('healthy closed late', () => {
  const number = fs.openSync('/dev/null');
  setTimeout(() => fs.closeSync(number), 20);
});

test('healthy allowed', () => { fs.openSync('/dev/full'); });

test('healthy watch', () => { fs.watch(__dirname).close(); });
