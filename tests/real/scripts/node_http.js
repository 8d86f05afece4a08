// SPDX-License-Identifier: Apache-2.0
//
// An HTTP server on libuv with everything that gives node a descriptor: a loop on the main thread and one in each of two
// worker threads (each its own epoll descriptor and its own server), timers, files read through the thread pool, a name
// looked up there, a pipe from a child. Prints "READY PORT PORT PORT" (main thread first); ends by itself on SIGTERM.
'use strict';
const dns = require('dns');
const fs = require('fs');
const http = require('http');
const path = require('path');
const {Worker, isMainThread, parentPort} = require('worker_threads');

const TICK_MS = 5;
const WORKERS = 2;

let served = 0;
let ticks = 0;

function answer(request, response) {
  served++;
  const body = (text) => {
    response.setHeader('Content-Type', 'text/plain');
    response.setHeader('Content-Length', Buffer.byteLength(text));
    response.end(text);
  };
  if (request.url.startsWith('/busy/')) {
    const until = process.hrtime.bigint() + BigInt(request.url.slice(6)) * 1000000n;
    while (process.hrtime.bigint() < until);
    body('busy');
  } else if (request.url === '/file') {
    fs.readFile(__filename, (error, data) => body(error ? String(error) : `read ${data.length}`));
  } else if (request.url === '/name') {
    dns.lookup('localhost', (error, address) => body(error ? String(error) : address));
  } else if (request.url === '/child') {
    require('child_process').execFile('/bin/true', (error) => body(error ? String(error) : 'ended'));
  } else {
    body('hello');
  }
}

const server = http.createServer({keepAliveTimeout: 5000}, answer);
const timer = setInterval(() => ticks++, TICK_MS);

function end(then) {
  clearInterval(timer);
  server.close(then);
  server.closeAllConnections();
}

if (isMainThread) {
  const ports = [];
  const workers = [];
  const ready = () => {
    if (ports.filter(Boolean).length === WORKERS + 1) process.stdout.write(`READY ${ports.join(' ')}\n`);
  };
  process.on('SIGUSR2', () => {});
  process.on('SIGTERM', () => {
    let left = WORKERS;
    for (const worker of workers) {
      worker.on('exit', () => {
        if (--left > 0) return;
        end(() => {
          fs.writeSync(1, `DONE served=${served} ticks=${ticks}\n`);
          // Nothing keeps the loop then.
          process.removeAllListeners('SIGTERM');
          process.removeAllListeners('SIGUSR2');
        });
      });
      worker.postMessage('end');
    }
  });
  server.listen(0, '127.0.0.1', () => { ports[0] = server.address().port; ready(); });
  for (let i = 0; i < WORKERS; i++) {
    const worker = new Worker(path.resolve(__filename));
    worker.once('message', (port) => { ports[i + 1] = port; ready(); });
    workers.push(worker);
  }
} else {
  server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
  parentPort.once('message', () => end(() => {}));
}
