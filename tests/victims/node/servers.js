// SPDX-License-Identifier: Apache-2.0
//
// Each of three test cases starts a server and forgets to close it; the harness ends by
// process.exit when all have begun to listen.
'use strict';
const fs = require('fs');
const net = require('net');
const os = require('os');
const path = require('path');

const healthy = process.argv.at(-1) === 'healthy';
let running = 3;

function ended() {
  if (--running === 0) process.exit(0);
}

function testCase(number) {
  const where = path.join(os.tmpdir(), `loopscope-victim-${process.pid}-${number}.sock`);
  const server = net.createServer();
  server.on('listening', () => {
    fs.unlinkSync(where);
    if (healthy) server.close(ended);
    else ended();
  });
  server.listen(where); // LEAK
}

for (let i = 0; i < 3; i++) testCase(i);
