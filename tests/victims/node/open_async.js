// SPDX-License-Identifier: Apache-2.0
//
// fs.open with a callback: a thread of libuv opens the file, whose stack has no line of the script.
'use strict';
const fs = require('fs');

const healthy = process.argv.at(-1) === 'healthy';

function opened(error, fd) {
  if (error) throw error;
  if (healthy) fs.close(fd);
}

for (let i = 0; i < 3; i++) {
  fs.open(__filename, 'r', opened); // LEAK
}
