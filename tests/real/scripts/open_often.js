// SPDX-License-Identifier: Apache-2.0
//
// 20 000 descriptors in the main thread and two workers, one way and another, while garbage is collected.
'use strict';
const fs = require('fs');
const net = require('net');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

function opens(depth) {
  if (depth > 0) return opens(depth - 1);
  fs.closeSync(fs.openSync('/dev/null', 'r'));
  return 1;
}

async function work(number) {
  let count = 0;
  for (let i = 0; i < 2000; ++i) {
    count += opens(i % 40);
    const handle = await fs.promises.open('/etc/passwd');
    await handle.close();
    await new Promise((done) => fs.open('/dev/null', 'r', (_, fd) => fs.close(fd, done)));
    count += 2;
    if (i % 100 === number) global.gc();
  }
  return count;
}

async function main() {
  const workers = [1, 2].map((number) => new Promise((done) => {
    new Worker(__filename, { workerData: number }).on('message', done);
  }));
  let opened = await work(0);
  for (const worker of workers) opened += await worker;
  const server = net.createServer((connection) => connection.end('x'));
  server.listen(0, '127.0.0.1', async () => {
    for (let i = 0; i < 1000; ++i) {
      await new Promise((done) => net.connect(server.address().port, '127.0.0.1').resume().on('close', done));
      opened += 2;
    }
    server.close();
    console.log('opened', opened);
  });
}

if (isMainThread) main();
else work(workerData).then((count) => parentPort.postMessage(count));
