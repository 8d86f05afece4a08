// SPDX-License-Identifier: Apache-2.0
//
// Closed where the error is handled, and once more at the end; the exception is swallowed.
'use strict';
const fs = require('fs');

function load(path, healthy) {
  const fd = fs.openSync(path, 'r'); // OPEN
  try {
    if (!healthy) {
      fs.closeSync(fd);
    }
    fs.closeSync(fd);
  } catch (error) {
    if (error.code !== 'EBADF') throw error;
  }
}

load(__filename, process.argv.at(-1) === 'healthy');
