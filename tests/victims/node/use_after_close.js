// SPDX-License-Identifier: Apache-2.0
//
// Reads from a number that has been closed; the exception is swallowed.
'use strict';
const fs = require('fs');

const healthy = process.argv.at(-1) === 'healthy';
const fd = fs.openSync(__filename, 'r'); // OPEN
const bytes = Buffer.alloc(4);
if (healthy) fs.readSync(fd, bytes);
fs.closeSync(fd);
try {
  if (!healthy) {
    fs.readSync(fd, bytes);
  }
} catch (error) {
  if (error.code !== 'EBADF') throw error;
}
