// SPDX-License-Identifier: Apache-2.0
//
// fs.openSync gives a number; nothing but fs.closeSync closes it.
'use strict';
const fs = require('fs');

function firstByte(path, healthy) {
  const fd = fs.openSync(path, 'r'); // LEAK
  const bytes = Buffer.alloc(1);
  fs.readSync(fd, bytes, 0, 1, 0);
  if (healthy) fs.closeSync(fd);
  return bytes[0];
}

for (let i = 0; i < 3; i++) firstByte(__filename, process.argv.at(-1) === 'healthy');
